"""Bicubic resizing that equals MATLAB's `imresize`, the one by which super-resolution benchmarks are defined."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.options import require

SUPPORT = 4.0  # width of the cubic kernel in source pixels, when it is not widened


def imresize(image: NDArray[Any], scale: float) -> NDArray[Any]:
    """Resize by bicubic interpolation, antialiased when shrinking; equal to MATLAB's `imresize(image, scale)`.

    Args:
        image: (H, W) or (H, W, C), uint8, uint16 or floating. Integers are rounded (half up) and clipped after each
            of the two passes, as MATLAB does: without that, about one pixel in eight differs by one.
        scale: size of the result over size of the image, > 0; 0.5 halves. Sizes are rounded up.
    Returns:
        (ceil(scale * H), ceil(scale * W)[, C]) of the same dtype.
    Raises:
        OptionError: another dtype or number of axes, an empty image, or a scale that is not positive.
    Source:
        R. Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -1/2.
    """
    where = "imresize"
    require(image.dtype in (np.uint8, np.uint16) or image.dtype.kind == "f", where, "dtype", "uint8, uint16 or float",
            str(image.dtype))  # fmt: skip
    require(image.ndim in (2, 3) and image.size > 0, where, "shape", "(H, W) or (H, W, C), not empty", image.shape)
    require(math.isfinite(scale) and scale > 0, where, "scale", "a positive number", scale)
    rows = _resize_rows(image, scale)
    columns = _resize_rows(np.ascontiguousarray(rows.swapaxes(0, 1)), scale)
    return np.ascontiguousarray(columns.swapaxes(0, 1))


def crop_to_multiple(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """The largest top left part of (H, W[, C]) whose sides are multiples; what benchmarks call "modcrop"."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def _resize_rows(image: NDArray[Any], scale: float) -> NDArray[Any]:
    """Resize along axis 0 only; the taps are added one after another, so that the result is the same everywhere."""
    sources, weights = _taps(image.shape[0], scale)
    values = image.reshape(image.shape[0], -1).astype(np.float64)
    total = np.zeros((sources.shape[1], values.shape[1]))
    taken = np.empty_like(total)
    for source, weight in zip(sources, weights, strict=True):
        np.take(values, source, axis=0, out=taken, mode="clip")  # "clip" lets numpy write into out without a buffer
        taken *= weight[:, None]
        total += taken
    result = total.reshape(-1, *image.shape[1:])
    if image.dtype.kind == "f":
        return result.astype(image.dtype)
    result += 0.5
    np.floor(result, out=result)
    np.clip(result, 0, np.iinfo(image.dtype).max, out=result)
    return result.astype(image.dtype)


@lru_cache(maxsize=64)
def _taps(size: int, scale: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For every output row the source rows and their weights: two (taps, outputs) arrays, read only."""
    shrink = min(scale, 1.0)  # the kernel is widened by 1 / shrink
    outputs = math.ceil(round(scale * size, 9))  # 1/3 * 255 must not become 86 by a rounding error
    centre = (np.arange(outputs) + 0.5) / scale - 0.5
    first = np.floor(centre - SUPPORT / shrink / 2).astype(np.intp) + 1
    source = first + np.arange(math.ceil(SUPPORT / shrink) + 1)[:, None]
    weight = _cubic((centre - source) * shrink)
    weight /= weight.sum(axis=0)
    used = (weight != 0).any(axis=1)
    source, weight = source[used] % (2 * size), weight[used]
    source = np.minimum(source, 2 * size - 1 - source)  # symmetric edges: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    source.flags.writeable = weight.flags.writeable = False
    return source, weight


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic convolution kernel with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
