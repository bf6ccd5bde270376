"""Checked launchers of the kernels between pictures and frames; see `launchers`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cupy_kernels import geometry
from cupy_kernels.check import Check
from cupy_kernels.device import Device, Macros

Pair = tuple[int, int]
PADDING, LARGE_PADDING = 1, 4  # rows and columns that a frame may have more than its picture; enlarged


class Conversions:
    """Pictures to frames and back, on one device; in every precision the same."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def unpack_picture(self, picture: Any, frame: Any, *, white: int, planar: bool) -> None:
        """RGB (rows, columns, 3), or planar (3, rows, columns), uint8, uint16, half or float, to floats 0..255.

        The frame has even sides; where it has a row or column more than the picture, that repeats the last one.
        """
        height, width, *picture_sides = self._rgb(Check(self.device, "unpack_picture"), picture, frame, planar, PADDING)
        arguments = picture, frame, np.float32(255 / white), height, width, *picture_sides, np.int32(planar)
        self._convert("unpack_picture", picture, height * width, arguments)

    def pack_picture(self, frame: Any, picture: Any, *, white: int, planar: bool) -> None:
        """The inverse; integers are rounded."""
        _, width, *picture_sides = self._rgb(Check(self.device, "pack_picture"), picture, frame, planar, LARGE_PADDING)
        numbers = np.float32(255 / white), np.float32(white), width, *picture_sides, np.int32(planar)
        self._convert("pack_picture", picture, picture_sides[0] * picture_sides[1], (frame, picture, *numbers))

    def unpack_planes(
        self, luma: Any, blue: Any, red: Any, table: Any, frame: Any, *, firsts: Pair, shifts: Pair
    ) -> None:
        """Planes of uint8 or uint16 to floats 0..255 RGB; the chroma of grey has shape (0, 0).

        Args:
            table: matrix of decoding and weights; see the kernel.
            firsts, shifts: down and across, where chroma is and how far apart; see picture.cu.
        """
        check, planes = Check(self.device, "unpack_planes"), (luma, blue, red)
        height, width, *sides = self._planes(check, planes, table, frame, firsts, shifts, PADDING)
        numbers = height, width, *sides, *map(np.int32, firsts), *map(np.int32, shifts)
        self._convert("unpack_planes", luma, height * width, (*planes, table, frame, *numbers))

    def pack_planes(
        self, frame: Any, table: Any, luma: Any, blue: Any, red: Any, *, peak: int, firsts: Pair, shifts: Pair
    ) -> None:
        """The inverse, rounded, with the matrix and weights of encoding; peak is the greatest code."""
        check, planes = Check(self.device, "pack_planes"), (luma, blue, red)
        _, width, *sides = self._planes(check, planes, table, frame, firsts, shifts, LARGE_PADDING)
        numbers = np.float32(peak), width, *sides, *map(np.int32, firsts), *map(np.int32, shifts)
        self._convert("pack_planes", luma, sides[0] * sides[1] + sides[2] * sides[3], (frame, table, *planes, *numbers))

    def _rgb(self, check: Check, picture: Any, frame: Any, planar: bool, padding: int) -> list[np.int32]:
        """Check both arrays; returns height and width of the frame and of the picture."""
        height, width = self._sides(check, frame)
        shape = (3, None, None) if planar else (None, None, 3)
        found = check("picture", picture, geometry.PICTURE_TYPES, *shape)
        rows, columns = found[1:] if planar else found[:2]
        check.within("picture", rows, columns, height, width, padding)
        return [np.int32(side) for side in (height, width, rows, columns)]

    def _planes(
        self,
        check: Check,
        planes: tuple[Any, Any, Any],
        table: Any,
        frame: Any,
        firsts: Pair,
        shifts: Pair,
        padding: int,
    ) -> list[np.int32]:
        """Check all arrays; returns height and width of the frame, of luma and of chroma."""
        height, width = self._sides(check, frame)
        luma, blue, red = planes
        rows, columns = check("luma", luma, geometry.PICTURE_TYPES[:2], None, None)
        check.within("luma", rows, columns, height, width, padding)
        chroma = check("blue", blue, luma.dtype, None, None)
        if chroma != (0, 0):
            chroma = tuple(-(-side >> shift) for side, shift in zip((rows, columns), shifts, strict=True))
        check("blue", blue, luma.dtype, *chroma)
        check("red", red, luma.dtype, *chroma)
        for first, shift in zip(firsts, shifts, strict=True):
            if not (0 <= shift <= 2 and 0 <= first < 2 << shift):
                raise ValueError(f"{check.where}: shifts must be 0, 1 or 2, and firsts fit, got {shifts} and {firsts}.")
        check("table", table, np.float32, 12 + sum(4 << shift for shift in shifts))
        return [np.int32(side) for side in (height, width, rows, columns, *chroma)]

    def _sides(self, check: Check, frame: Any) -> tuple[int, ...]:
        height, width = check("frame", frame, np.float32, None, None, 3)[:2]
        check.sides(height, width)
        return height, width

    def _convert(self, kernel: str, picture: Any, threads: Any, arguments: tuple[Any, ...]) -> None:
        macros: Macros = {"TYPE": geometry.PICTURE_TYPES.index(picture.dtype.name)}
        self.device.launch("picture.cu", kernel, macros, -(-int(threads) // 256), 256, 0, arguments)
