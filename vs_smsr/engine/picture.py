"""Pictures as callers, decoders and encoders hold them: planes of their own type, and what the numbers mean.

Only the numbers are here. `conversion` converts on the host; the cuda engine has kernels for it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
Floats = NDArray[np.float32]
WHITE = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1}  # what white is in callers' arrays, by dtype
BAND = 128  # rows that are converted at a time: large results are large in floats
CUBIC = 0.6  # -a of the cubic that resamples chroma
TAPS = 4  # of that cubic, times the subsampling on the way down
MATRIX = 12  # numbers of a table before the weights
MOST_NUMBERS = MATRIX + 2 * (TAPS << 2)  # of a table


@dataclass(frozen=True)
class Sampling:
    """Where chroma is along one axis.

    Attributes:
        shift: log2 of luma samples per chroma sample, 0..2.
        first: twice the luma position of the first chroma sample: 0 on the first luma sample, 2 ** shift - 1 centred.
    """

    shift: int = 0
    first: int = 0

    def count(self, luma: int) -> int:
        """Chroma samples for that many luma samples."""
        return -(-luma >> self.shift)

    def up(self) -> Floats:
        """(4 * 2 ** shift,) weights by phase; luma sample x takes four from floor((x - first / 2) / 2 ** shift) - 1."""
        position = (np.arange(1 << self.shift) - self.first / 2) / (1 << self.shift)
        distance = np.abs(position[:, None] - (np.floor(position)[:, None] - 1 + np.arange(TAPS)))
        return _normal(_cubic(distance)).ravel()

    def down(self) -> Floats:
        """(4 * 2 ** shift,) weights; chroma sample i takes as many from 2 ** shift * (i - 2) + first // 2 + 1."""
        size = 1 << self.shift
        start = (self.first >> 1) - 2 * size + 1
        distance = np.abs(start + np.arange(TAPS * size) - self.first / 2) / size
        return _normal(_cubic(distance)[None]).ravel()


@dataclass(frozen=True)
class Layout:
    """How a picture's numbers lie in memory, and what they mean.

    Attributes:
        kind: "packed": one plane (H, W, 3), red, green, blue; "planar": three planes (H, W) of those; "yuv": Y, Cb, Cr;
            "grey": Y alone.
        dtype: uint8, uint16, float16 or float32; the last two for RGB alone.
        peak: the greatest code; white, for RGB.
        encoding: for "yuv" and "grey", rows of Y, Cb, Cr: what red, green, blue (0..255) and 1 are multiplied with.
        across, down: where chroma is.
    """

    kind: Literal["packed", "planar", "yuv", "grey"]
    dtype: str
    peak: int
    encoding: tuple[tuple[float, ...], ...] = ()
    across: Sampling = Sampling()
    down: Sampling = Sampling()

    @property
    def is_rgb(self) -> bool:
        return self.kind in ("packed", "planar")

    def shapes(self, height: int, width: int) -> tuple[tuple[int, ...], ...]:
        """Of the planes of a picture of that size."""
        if self.kind == "packed":
            return ((height, width, 3),)
        if self.kind == "planar":
            return ((height, width),) * 3
        chroma = self.down.count(height), self.across.count(width)
        return ((height, width), chroma, chroma) if self.kind == "yuv" else ((height, width),)

    def size(self, height: int, width: int) -> int:
        """Bytes of a picture of that size."""
        return sum(int(np.prod(shape)) for shape in self.shapes(height, width)) * np.dtype(self.dtype).itemsize

    def empty(self, height: int, width: int) -> Picture:
        """A new picture of undefined content, its planes one after the other in memory."""
        return self.over(np.empty(self.size(height, width), np.uint8), height, width)

    def over(self, memory: NDArray[np.uint8], height: int, width: int) -> Picture:
        """The picture whose planes lie one after the other in these bytes."""
        return Picture(tuple(self.planes(memory, height, width)), self)

    def planes(self, memory: Any, height: int, width: int) -> list[Any]:
        """Views of bytes, of the host or a device, in which the planes lie one after the other."""
        planes, start, dtype = [], 0, np.dtype(self.dtype)
        for shape in self.shapes(height, width):
            end = start + int(np.prod(shape)) * dtype.itemsize
            planes.append(memory[start:end].view(dtype).reshape(shape))
            start = end
        return planes

    def encoding_table(self) -> Floats:
        """(12 + taps,) float32: the encoding, row by row, then weights of `across.down` and of `down.down`."""
        matrix = np.zeros((3, 4))
        matrix[: len(self.encoding)] = self.encoding
        return np.concatenate([matrix.ravel(), self.across.down(), self.down.down()]).astype(np.float32)

    def decoding_table(self) -> Floats:
        """(12 + taps,) float32: codes and 1 to red, green, blue, then weights of `across.up` and of `down.up`."""
        if self.kind == "grey":
            luma = self.encoding[0]
            gain = 1 / sum(luma[:3])
            matrix = np.tile([gain, 0, 0, -luma[3] * gain], (3, 1))
        else:
            matrix = np.linalg.inv(np.vstack([self.encoding, [0, 0, 0, 1]]))[:3]
        return np.concatenate([matrix.ravel(), self.across.up(), self.down.up()]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of any size; its planes may be views with rows further apart than they are long.

    Attributes:
        planes: as `layout` says.
    """

    planes: tuple[Plane, ...]
    layout: Layout

    @classmethod
    def of(cls, array: NDArray[Any]) -> Picture:
        """RGB (H, W, 3) of a type in `WHITE`, 0..white; planar where it lies so in memory."""
        layout = Layout("packed", array.dtype.name, WHITE[array.dtype.name])
        planes = array.transpose(2, 0, 1)
        if planes.flags.c_contiguous and not array.flags.c_contiguous:
            return cls(tuple(planes), dataclasses.replace(layout, kind="planar"))
        return cls((array,), layout)

    @property
    def array(self) -> NDArray[Any]:
        """RGB as (H, W, 3), in the memory order of the planes."""
        return self.planes[0] if self.layout.kind == "packed" else np.stack(self.planes).transpose(1, 2, 0)

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of its samples."""
        return self.layout.size(self.height, self.width)

    def same(self, other: Picture) -> bool:
        """The same numbers that mean the same."""
        equal = (np.array_equal(a, b) for a, b in zip(self.planes, other.planes, strict=False))
        return self.layout == other.layout and all(equal)


def to_frame(array: NDArray[Any]) -> Floats:
    """Any shape, 0..white -> float32 0..255."""
    return levels(array, WHITE[array.dtype.name])


def from_frame(frame: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Any shape, float32 0..255 -> 0..white; integers are rounded to the nearest, ties to even."""
    array = np.empty(frame.shape, dtype)
    codes(frame, WHITE[dtype.name], array)
    return array


def levels(array: NDArray[Any], white: int) -> Floats:
    """Any shape, 0..white -> float32 0..255."""
    frame: Floats = np.multiply(array, np.float32(255 / white), dtype=np.float32)
    return frame


def codes(frame: Floats, white: int, out: NDArray[Any]) -> None:
    """The inverse of `levels`, into an array of the same shape."""
    for top in range(0, len(frame), BAND):
        values = frame[top : top + BAND] / np.float32(255 / white)
        if out.dtype.kind == "u":
            values = np.rint(values).clip(0, white)
        out[top : top + BAND] = values


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Source: R. Keys, Cubic convolution interpolation, 1981, with a = -0.6: libswscale's default bicubic."""
    near = ((2 - CUBIC) * distance - (3 - CUBIC)) * distance**2 + 1
    far = -CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _normal(weights: NDArray[np.float64]) -> Floats:
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
