"""Arrays in, arrays out: grey, colour and alpha of any type through frames of RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.engine.picture import WHITE, Picture, from_frame, to_frame
from vs_smsr.options import require
from vs_smsr.tiling import Sequence, Tiler

Array = NDArray[Any]
Plane = NDArray[np.float32]
type Run = Callable[[Frame], Upscaled]


@dataclass(frozen=True)
class UpscaledArray:
    """The result for one array.

    Attributes:
        pixels: (scale * H, scale * W[, C]), channels and dtype of the input.
        sparsity: shares of skipped (pixel, channel) positions, one per masked block, 0..1.
    """

    pixels: Array
    sparsity: tuple[float, ...]

    @property
    def skipped(self) -> float:
        """Mean sparsity, 0..1: the share of the masked layers' work that was not needed."""
        return sum(self.sparsity) / len(self.sparsity)


def upscale_array(tiler: Tiler, array: Array) -> UpscaledArray:
    """Upscale one array by itself; see `vs_smsr.Upscaler.upscale` for what it may be."""
    return _started(tiler, _checked(array))()


def _started(tiler: Tiler, array: Array) -> Callable[[], UpscaledArray]:
    """Begin with an array by itself; what is returned waits for the result."""
    overhead = conversion_bytes(array, tiler.scale)
    if array.ndim == 3 and array.shape[2] == 3:
        sent = tiler.submit(Picture.of(array), overhead=overhead)

        def finish() -> UpscaledArray:
            result = sent.result()
            return UpscaledArray(result.picture.array, result.sparsity)

        return finish

    def alone(frame: Frame) -> Upscaled:
        return tiler.upscale(frame, overhead=overhead)

    made = _by_frames(array, tiler.scale, alone, alone)
    return lambda: made


class ArraySequence:
    """Arrays of one clip in order, by the tiler's options: what did not change is copied from the result before.

    An array of another shape or type begins anew. Arrays that were given must not be changed afterwards.
    """

    def __init__(self, tiler: Tiler) -> None:
        self._tiler = tiler
        self._kind: tuple[object, ...] = ()
        self._last: tuple[Array, Callable[[], UpscaledArray]] | None = None

    def submit(self, array: Array) -> Callable[[], UpscaledArray]:
        """As `upscale_array`, for the next array; what is returned waits for the result."""
        array = _checked(array)
        if self._tiler.options.has_temporal_tiles:
            result = self._next(array)
            return lambda: result
        if self._tiler.options.reuse == "off":
            return _started(self._tiler, array)
        if self._last is None or not _equal(self._last[0], array):
            self._last = array, cache(_started(self._tiler, array))
        last = self._last[1]
        return lambda: UpscaledArray(last().pixels.copy(), last().sparsity)

    def _next(self, array: Array) -> UpscaledArray:
        tiler = self._tiler
        if (array.shape, array.dtype) != self._kind:
            self._kind = array.shape, array.dtype
            overhead = conversion_bytes(array, tiler.scale)
            self._colours, self._alpha = (Sequence(tiler, overhead=overhead) for _ in range(2))
        return _by_frames(array, tiler.scale, self._colours.upscale, self._alpha.upscale)


def _equal(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def _by_frames(array: Array, scale: int, colours: Run, alphas: Run) -> UpscaledArray:
    """Grey goes through the network as three equal channels, and their mean is taken of the result.

    Alpha goes through as grey, after the colours; see `_upscale_alpha`.
    """
    frame = to_frame(array)
    if frame.ndim == 2 or frame.shape[2] == 1:
        pixels, sparsity = _upscale_grey(colours, frame.reshape(frame.shape[:2]))
        pixels = pixels.reshape(*pixels.shape, *array.shape[2:])
    elif frame.shape[2] == 3:
        result = colours(np.ascontiguousarray(frame))
        pixels, sparsity = result.frame, result.sparsity
    else:
        alpha = frame[..., 3]
        result = colours(_spread(frame[..., :3], alpha))
        pixels, sparsity = np.dstack([result.frame, _upscale_alpha(alphas, scale, alpha)]), result.sparsity
    return UpscaledArray(from_frame(pixels, array.dtype), sparsity)


def conversion_bytes(array: Array, scale: int) -> int:
    """What a result takes beside the network's own result: as the caller gets it, and on the way there.

    With alpha, the colours' float32 wait for alpha's, whose bounds are float32 too.
    """
    height, width = array.shape[:2]
    per_pixel = 3 * 12 if array.ndim == 3 and array.shape[2] == 4 else 3 * array.dtype.itemsize
    return int(per_pixel * height * width * scale**2)


def _checked(array: Array) -> Array:
    """The array in native byte order, if it can be upscaled."""
    array, where = np.asarray(array), "upscale"
    require(array.dtype.name in WHITE, where, "array.dtype", f"one of {tuple(WHITE)}", array.dtype.name)
    rule = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    require(fits, where, "array.shape", rule, array.shape, "Use frames() for a sequence.")
    require(array.size > 0, where, "array.shape", "at least 1x1", array.shape)
    finite = array.dtype.kind == "u" or bool(np.isfinite(array).all())
    require(finite, where, "array", "finite everywhere", "NaN or infinity")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _upscale_grey(run: Run, plane: Plane) -> tuple[Plane, tuple[float, ...]]:
    """(H, W) 0..255 -> (scale * H, scale * W) and the sparsity."""
    result = run(np.repeat(plane[..., None], 3, axis=2))
    return result.frame.mean(axis=2), result.sparsity


def _upscale_alpha(run: Run, scale: int, alpha: Plane) -> Plane:
    """(H, W) 0..255 -> (scale * H, scale * W), edges as sharp as the colours' edges.

    The network's result is held between the least and the greatest of the 3x3 input pixels around it: what is fully
    opaque or fully clear stays exactly so, and no edge rings.
    """
    if alpha.min() == alpha.max():
        height, width = alpha.shape
        return np.full((scale * height, scale * width), alpha.flat[0], np.float32)
    around = np.ones((3, 3), np.uint8)
    large = np.ones((scale, scale), np.float32)
    least = np.kron(cv2.erode(alpha, around), large)
    greatest = np.kron(cv2.dilate(alpha, around), large)
    return np.clip(_upscale_grey(run, alpha)[0], least, greatest)


def _spread(rgb: Plane, alpha: Plane) -> Plane:
    """(H, W, 3) with the colour of fully clear pixels replaced by that of the nearest visible one.

    Nobody sees the colour of a clear pixel, often black, but the network would blend it into the visible edge.
    """
    clear = alpha == 0
    if clear.all() or not clear.any():
        return rgb
    # Visible pixels are the zeros; each has a label of its own, which the nearest clear pixels get too.
    _, labels = cv2.distanceTransformWithLabels(clear.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((labels.max() + 1, 3), np.float32)
    colours[labels[~clear]] = rgb[~clear]
    return np.where(clear[..., None], colours[labels], rgb)
