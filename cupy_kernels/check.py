"""The check of what a launcher is given: a kernel gets bare addresses, so what is wrong is found before the launch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cupy_kernels.device import Device

Size = int | None


class Check:
    """Checks the arrays of one launcher; the messages begin with its name."""

    def __init__(self, device: Device, where: str) -> None:
        self.device = device
        self.where = where

    def __call__(self, name: str, array: Any, dtype: DTypeLike | tuple[str, ...], *shape: Size) -> tuple[int, ...]:
        """Check an array and return its shape; None in `shape` is any size, names in `dtype` are a choice."""
        where = f"{self.where}: {name}"
        if not self.device.owns(array):
            found = f"{type(array).__module__}.{type(array).__name__}"
            raise ValueError(f"{where} must be an array on {self.device.properties.name}, got {found} elsewhere.")
        allowed = dtype if isinstance(dtype, tuple) else (np.dtype(dtype).name,)
        if array.dtype.name not in allowed:
            raise TypeError(f"{where} must be {' or '.join(allowed)}, got {array.dtype.name}.")
        found_shape = tuple(array.shape)
        fits = len(found_shape) == len(shape) and all(
            wanted in (None, size) for wanted, size in zip(shape, found_shape, strict=True)
        )
        if not fits:
            wanted_shape = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"{where} must have shape ({wanted_shape}), got {found_shape}.")
        if not array.flags.c_contiguous:
            raise ValueError(f"{where} must be C-contiguous. Make it so with a copy.")
        return found_shape

    def even(self, height: int, width: int) -> None:
        if height % 2 or width % 2:
            raise ValueError(f"{self.where}: height and width must be even, got {height}x{width}.")

    def sides(self, height: int, width: int) -> None:
        """Pixels are packed as y << 16 | x, and their number is an int."""
        if height >= 1 << 15 or width >= 1 << 15 or height * width >= 1 << 30:
            raise ValueError(f"{self.where}: sides must be below 32768, got {height}x{width}. Use smaller tiles.")

    def within(self, name: str, rows: int, columns: int, height: int, width: int, padding: int) -> None:
        """A frame has the picture's sides, or so much more."""
        if not (rows and columns and 0 <= height - rows <= padding and 0 <= width - columns <= padding):
            rule = f"{height}x{width} or up to {padding} less"
            raise ValueError(f"{self.where}: {name} must be {rule}, got {rows}x{columns}.")

    def differ(self, name: str, array: Any, other_name: str, other: Any) -> None:
        if array is other:
            raise ValueError(f"{self.where}: {name} and {other_name} must be different arrays.")
