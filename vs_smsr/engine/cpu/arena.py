"""Memory of a workspace: named flat arrays that are allocated once, grow when they must, and are reused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Words, aligned

BAND = 12 << 20  # bytes of a band's features, about
QUAD_LISTS = ("active quads", "inactive quads", "passive quads")


def maps(network: PackedNetwork) -> tuple[str, ...]:
    """Names of the maps of all channels. f_0 lies where later f_k do, unless something but a tail needs it in the end.

    A tail is linear, so what it makes of f_0 can be taken before f_0 goes.
    """
    return "features", "fused", "collected", *(["head"] if network.collect and network.upsampling else [])


def ahead(network: PackedNetwork) -> int:
    """Rows that the first masked layer is ahead of a band: whole quads a layer."""
    return 2 * (network.layers - 1)


def band_rows(network: PackedNetwork, height: int, width: int) -> int:
    """Rows of pixels that the masked layers work on at a time; even."""
    row = width * network.line * network.word.itemsize
    return min(height, max(BAND // row & -2, 4 * ahead(network), 2))


def upsampling_rows(network: PackedNetwork, height: int, width: int) -> int:
    """Rows of the frame whose upsampling is done at a time; even."""
    row = width * network.line * network.word.itemsize << 2 * len(network.upsampling)
    return min(height, max(2 * BAND // row & -2, 8))


def sizes(network: PackedNetwork, height: int, width: int) -> dict[str, tuple[int, np.dtype[Any]]]:
    """Elements and type of every array for a frame of that size.

    Scratch is what its largest tenant takes: the frame as `head` and `tail` read it, a mask branch, or the rows of a
    block's masked layers (here all pixels active).
    """
    integers: np.dtype[Any] = np.dtype(np.int32)
    pixels, grid = height * width, (height + 2) * (width + 2)
    half = (height // 2 + 2) * (width // 2 + 2)
    band = min(1 + band_rows(network, height, width) + ahead(network), height)
    table = dict.fromkeys(maps(network), (grid * network.line, network.word))
    table |= {f"dense {layer}": ((band + 2) * (width + 2) * network.dense_stride(layer), network.word)
              for layer in range(network.layers)}  # fmt: skip
    levels, part = len(network.upsampling), upsampling_rows(network, height, width) if network.upsampling else 0
    for level in range(1, levels + 1):
        larger = (min(part + 2 * (levels - level + 2), height) << level) + 2
        table[f"level {level}"] = larger * ((width << level) + 2) * network.line, network.word
    if levels:
        table["level lists"] = (part * width << 2 * levels, integers)  # counted here, made as they are needed
    rows = network.layers * (band * width + 1) * network.line
    table |= {
        "scratch": (max(rows, 2 * half * network.mask_channels, grid * 3), network.word),
        "pixel_to_row": (grid, integers),
        "active": (pixels, integers),
        "inactive": (pixels, integers),
        "all": (pixels, integers),
        "quads": (pixels, integers),
        "half": (pixels // 4, integers),
        **dict.fromkeys(QUAD_LISTS, (pixels // 4, integers)),
    }
    return table


def total_bytes(network: PackedNetwork, height: int, width: int) -> int:
    """The most memory that a workspace for frames of that size takes."""
    return sum(count * dtype.itemsize for count, dtype in sizes(network, height, width).values())


class Bordered(NamedTuple):
    """A map's shape (rows, pitch, line), its border zero, and the rows of the highest one with the same sides."""

    pitch: int
    line: int
    rows: int
    highest: int


class Arena:
    """Flat arrays by name for one frame size at a time.

    What is taken lives until the next `resize`; what is borrowed from scratch lives as long as its block, and nothing
    else may borrow meanwhile.
    """

    def __init__(self, network: PackedNetwork) -> None:
        self._network = network
        self._arrays: dict[str, Words] = {}
        self._sizes: dict[str, tuple[int, np.dtype[Any]]] = {}
        self._bordered: dict[str, Bordered] = {}
        self._tenant: str | None = None

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size; borders of maps are zero, the rest is what it was.

        Raises:
            MemoryError: an array cannot be allocated.
        """
        self._sizes = sizes(self._network, height, width)
        self._tenant = None

    def take(self, name: str, count: int | None = None) -> Words:
        """The named array, `count` elements of it (all that the size needs if None)."""
        needed, dtype = self._sizes[name]
        count = needed if count is None else count
        assert count <= needed, f"{name}: {count} elements are more than the {needed} that were planned"
        if name not in self._arrays or self._arrays[name].size < count:
            self._arrays.pop(name, None)  # before the new one is made
            self._bordered.pop(name, None)
            self._arrays[name] = aligned(count, dtype)
        return self._arrays[name][:count]

    def take_map(self, name: str, rows: int, pitch: int, line: int, *, in_use: bool = False) -> Words:
        """A map of (rows, pitch) lines, flat, its border zero, which nobody changes.

        Maps of bands are higher and lower by turns: what lies at their sides stays zero, and the row below a lower one
        is a row of the higher ones.

        Args:
            in_use: others may still work on one with the same sides, so the row below a lower one is left as it is.
        """
        flat = self.take(name, rows * pitch * line)
        lines, known = flat.reshape(rows, pitch, line), self._bordered.get(name)
        if known is None or (known.pitch, known.line) != (pitch, line):
            known = Bordered(pitch, line, 0, 0)
        if rows > known.highest:
            zero_border(lines)
        elif rows != known.rows and not in_use:
            lines[-1] = 0
        self._bordered[name] = Bordered(pitch, line, rows, max(rows, known.highest))
        return flat

    @contextmanager
    def scratch(self, tenant: str, count: int) -> Iterator[Words]:
        """Borrow `count` words for the block; what they hold is undefined."""
        assert self._tenant is None, f"scratch belongs to {self._tenant}, {tenant} must wait"
        self._tenant = tenant
        try:
            yield self.take("scratch", count)
        finally:
            self._tenant = None


def inside_grid(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Words:
    """(height, width, line) inside a new map whose border is zero."""
    height, width, line = shape
    grid = aligned((height + 2) * (width + 2) * line, dtype)
    inside: Words = grid.reshape(height + 2, width + 2, line)[1:-1, 1:-1]
    return inside


def grid_around(values: Words) -> Words | None:
    """The flat map of rows of what `inside_grid` made, with a row more above and below; None if they are none."""
    height, width, line = values.shape
    base, pitch = values.base, (width + 2) * line
    if base is None or base.ndim != 1 or base.dtype != values.dtype or values.itemsize * pitch != values.strides[0]:
        return None
    begin = (values.ctypes.data - base.ctypes.data) // values.itemsize - pitch - line
    flat: Words = base[begin : begin + (height + 2) * pitch]
    return flat


def zero_border(lines: Words) -> None:
    """Make the border of a map (rows, pitch, line) zero."""
    if not lines.size:
        return
    for border in (lines[0], lines[-1], lines[:, 0], lines[:, -1]):
        border[:] = 0
