"""Memory of a workspace: named flat arrays that are allocated once, grow when they must, and are reused."""

from __future__ import annotations

from typing import Any

import numpy as np

from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Words
from vs_smsr.weights import CHANNELS, LAYERS, MASK_CHANNELS

BAND = 12 << 20  # bytes of a band's features, about
REACH = LAYERS - 1  # rows that the first masked layer is ahead of a band
MAPS = ("head", "features", "total", "collected")


def band_rows(network: PackedNetwork, height: int, width: int) -> int:
    """Rows of pixels that the masked layers work on at a time."""
    row = width * network.line * network.word.itemsize
    return min(height, max(BAND // row, 8 * REACH))


def sizes(network: PackedNetwork, height: int, width: int) -> dict[str, tuple[int, np.dtype[Any]]]:
    """Elements and type of every buffer for a frame of that size.

    "scratch" holds, one after the other, the frame as `head` reads it, an SMM's mask branch, the rows of its masked
    layers (here all pixels active), and the frame again for `tail`.
    """
    integers: np.dtype[Any] = np.dtype(np.int32)
    pixels, grid = height * width, (height + 2) * (width + 2)
    half = (height // 2 + 2) * (width // 2 + 2)
    band = min(1 + band_rows(network, height, width) + REACH, height)
    table = dict.fromkeys(MAPS, (grid * network.line, network.word))
    table |= {f"dense {layer}": ((band + 2) * (width + 2) * network.widest_dense_stride(layer), network.word)
              for layer in range(LAYERS)}  # fmt: skip
    table |= {
        "scratch": (max(LAYERS * (band * width + 1) * network.line, 2 * half * MASK_CHANNELS, grid * 3), network.word),
        "inverse": (grid, integers),
        "active": (pixels, integers),
        "inactive": (pixels, integers),
        "all": (pixels, integers),
        "quads": (pixels, integers),
        "half": (pixels // 4, integers),
    }
    return table


def total_bytes(network: PackedNetwork, height: int, width: int) -> int:
    """The most memory that a workspace for frames of that size takes."""
    return sum(count * dtype.itemsize for count, dtype in sizes(network, height, width).values())


class Buffers:
    """Flat arrays by name for one frame size at a time."""

    def __init__(self, network: PackedNetwork) -> None:
        self._network = network
        self._arrays: dict[str, Words] = {}
        self._sizes: dict[str, tuple[int, np.dtype[Any]]] = {}

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size; borders of maps are zero, the rest is what it was.

        Raises:
            MemoryError: an array cannot be allocated.
        """
        self._sizes = sizes(self._network, height, width)

    def take(self, name: str, count: int | None = None) -> Words:
        """The named array, `count` elements of it (all that the size needs if None)."""
        needed, dtype = self._sizes[name]
        count = needed if count is None else count
        if name not in self._arrays or self._arrays[name].size < count:
            self._arrays.pop(name, None)  # before the new one is made
            self._arrays[name] = np.zeros(count, dtype)
        return self._arrays[name][:count]

    def take_map(self, name: str, rows: int, pitch: int, line: int) -> Words:
        """A map of (rows, pitch) lines, flat, its border zero."""
        flat = self.take(name, rows * pitch * line)
        zero_border(flat.reshape(rows, pitch, line))
        return flat


def zero_border(lines: Words) -> None:
    """Make the border of a map (rows, pitch, line) zero."""
    if not lines.size:
        return
    for border in (lines[0], lines[-1], lines[:, 0], lines[:, -1]):
        border[:] = 0


assert CHANNELS % 8 == 0, "lines of a map are whole vectors"
