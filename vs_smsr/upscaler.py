"""The Python API: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr import engine as engines
from vs_smsr.engine.picture import WHITE, from_frame, to_frame
from vs_smsr.options import EngineName, EngineOptions, Precision, TilingOptions, parse_bytes, require
from vs_smsr.tiling.tiler import Tiler

Array = NDArray[Any]
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class UpscaledArray:
    """A result of `Upscaler.upscale_with_info`.

    Attributes:
        pixels: (scale * H, scale * W[, C]), channels and dtype of the input.
        sparsity: 5 shares of skipped (pixel, channel) positions, one per sparse mask module, 0..1.
    """

    pixels: Array
    sparsity: tuple[float, ...]

    @property
    def skipped(self) -> float:
        """Mean sparsity, 0..1: the share of the masked layers' work that was not needed."""
        return sum(self.sparsity) / len(self.sparsity)


class Upscaler:
    """Upscales images and frames; make one and use it for many, also from several threads at once.

        upscaler = Upscaler()
        large = upscaler.upscale(small)

    Args:
        scale: 2, 3 or 4.
        model: name of shipped weights.
        weights: a .safetensors file to use instead of shipped weights.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: "auto", "cpu", "cuda" or "reference" (PyTorch).
        precision: "auto" (the fastest that the device has), "fp32", "bf16" or "fp16".
        threads: CPU threads; 0 = all that this process may use.
        memory: most memory that the process may use, in bytes or such as "2G"; None: a share of what is free.
        tile: side of a tile in pixels; 0 = as large as the memory allows. Tiles change no bit of the result.
    Attributes:
        engine: name of the engine that was chosen.
        device: "cpu" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        scale: 2, 3 or 4.
    Raises:
        OptionError: an argument is not allowed. WeightsError: the weights cannot be read.
        EngineError: the engine or device does not work here; the message says which part is missing.
    """

    def __init__(
        self,
        *,
        scale: int = 2,
        model: str = "smsr",
        weights: Path | str | None = None,
        device: str = "auto",
        engine: EngineName = "auto",
        precision: Precision = "auto",
        threads: int = 0,
        memory: int | str | None = None,
        tile: int = 0,
    ) -> None:
        options = EngineOptions(
            scale=scale,
            model=model,
            weights=None if weights is None else Path(weights),
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
        )
        limit = parse_bytes(memory) if isinstance(memory, str) else memory
        self._tiler = Tiler(engines.create(options), TilingOptions(memory=limit, tile=tile))
        chosen = self._tiler.engine
        self.engine, self.device, self.precision, self.scale = chosen.name, chosen.device, chosen.precision, scale

    def __repr__(self) -> str:
        return f"Upscaler(scale={self.scale}, engine={self.engine!r}, device={self.device!r}, {self.precision})"

    def upscale(self, array: Array) -> Array:
        """Upscale one image.

        Args:
            array: (H, W) or (H, W, 1) grey, (H, W, 3) RGB, or (H, W, 4) RGB with straight alpha; uint8 0..255,
                uint16 0..65535, float16 or float32 0..1; gamma as coded (sRGB, BT.709 ...), any size from 1x1.
        Returns:
            (scale * H, scale * W[, C]) of the same dtype and range: a new array.
        Raises:
            OptionError: wrong shape or dtype, or a value is not finite.
            MemoryBudgetError: the memory does not suffice; the message names the least that does.
        """
        return self.upscale_with_info(array).pixels

    def upscale_with_info(self, array: Array) -> UpscaledArray:
        """As `upscale`, but the result also tells how much work the masks saved."""
        return upscale_array(self._tiler, array)

    def frames(self, arrays: Iterable[Array]) -> Iterator[Array]:
        """Upscale one after the other, in order; each is taken only when it is its turn (see `upscale`)."""
        for array in arrays:
            yield self.upscale(array)


def upscale_array(tiler: Tiler, array: Array) -> UpscaledArray:
    """`Upscaler.upscale_with_info` on a tiler that is there already.

    Grey goes through the network as three equal channels, and their mean is taken of the result. Alpha goes through
    as grey, after the colours; see `_upscale_alpha`.
    """
    array = np.asarray(array)
    _check(array)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    tiler.reserve(0, converted(array))
    if array.ndim == 3 and array.shape[2] == 3:
        result = tiler.upscale_picture(array)
        return UpscaledArray(result.frame, result.sparsity)
    frame = to_frame(array)
    if frame.ndim == 2 or frame.shape[2] == 1:
        pixels, sparsity = _upscale_grey(tiler, frame.reshape(frame.shape[:2]))
        pixels = pixels.reshape(*pixels.shape, *array.shape[2:])
    else:
        alpha = frame[..., 3]
        result = tiler.upscale(_spread(frame[..., :3], alpha))
        pixels, sparsity = np.dstack([result.frame, _upscale_alpha(tiler, alpha)]), result.sparsity
    return UpscaledArray(from_frame(pixels, array.dtype), sparsity)


def converted(array: Array) -> int:
    """Bytes of a result's pixel beside those of the network's own result: as the caller gets it, and on the way there.

    With alpha, the colours' float32 wait for alpha's, whose bounds are float32 too.
    """
    return 3 * 12 if array.ndim == 3 and array.shape[2] == 4 else 3 * array.dtype.itemsize


def _check(array: Array) -> None:
    where = "upscale"
    require(array.dtype.name in WHITE, where, "array.dtype", f"one of {tuple(WHITE)}", array.dtype.name)
    rule = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    require(fits, where, "array.shape", rule, array.shape, "Use frames() for a sequence.")
    require(array.size > 0, where, "array.shape", "at least 1x1", array.shape)
    finite = array.dtype.kind == "u" or bool(np.isfinite(array).all())
    require(finite, where, "array", "finite everywhere", "NaN or infinity")


def _upscale_grey(tiler: Tiler, plane: Plane) -> tuple[Plane, tuple[float, ...]]:
    """(H, W) 0..255 -> (scale * H, scale * W) and the sparsity."""
    result = tiler.upscale(np.repeat(plane[..., None], 3, axis=2))
    return result.frame.mean(axis=2), result.sparsity


def _upscale_alpha(tiler: Tiler, alpha: Plane) -> Plane:
    """(H, W) 0..255 -> (scale * H, scale * W), edges as sharp as the colours' edges.

    The network's result is held between the least and the greatest of the 3x3 input pixels around it: what is fully
    opaque or fully clear stays exactly so, and no edge rings.
    """
    if alpha.min() == alpha.max():
        height, width = alpha.shape
        return np.full((tiler.scale * height, tiler.scale * width), alpha.flat[0], np.float32)
    around = np.ones((3, 3), np.uint8)
    large = np.ones((tiler.scale, tiler.scale), np.float32)
    least = np.kron(cv2.erode(alpha, around), large)
    greatest = np.kron(cv2.dilate(alpha, around), large)
    return np.clip(_upscale_grey(tiler, alpha)[0], least, greatest)


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
