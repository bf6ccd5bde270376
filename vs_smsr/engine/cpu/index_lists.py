"""Lists of grid positions that the kernels go over: those of the whole frame, or of some of its pixels."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.cpu.arena import Arena

Positions = NDArray[np.int32]
Chosen = NDArray[np.bool_]


class IndexLists(Protocol):
    """What is computed; half-size positions are those of the grid on which the mask branch works."""

    @property
    def pixels(self) -> Positions:
        """(n,)."""

    @property
    def quads(self) -> Positions:
        """(n, 4) the pixels of each quad."""

    @property
    def pooled(self) -> Positions:
        """(n, 4) the quads whose means the mask branch needs, a quad further than it decides."""

    @property
    def means(self) -> Positions:
        """(n,) half-size positions of those."""

    @property
    def hidden(self) -> Positions:
        """(n,) half-size positions of the mask branch's second convolution."""


class AllPixels:
    """All pixels of a frame; the lists lie in the arena."""

    def __init__(self, arena: Arena, height: int, width: int) -> None:
        every = _grid_positions(height, width)
        self.pixels, self.quads = arena.take("all"), arena.take("quads").reshape(-1, 4)
        self.means = self.hidden = arena.take("half")
        self.pixels[:] = every.ravel()
        self.quads[:] = every.reshape(height // 2, 2, width // 2, 2).swapaxes(1, 2).reshape(-1, 4)
        self.means[:] = _grid_positions(height // 2, width // 2).ravel()
        self.pooled = self.quads


class SomePixels:
    """The pixels of (H, W) that are set, by whole quads where the kernels go by quads. A list is made when it is used.

    A mask pixel in an odd row or column reads two half-size pixels, its own and the next.
    """

    def __init__(self, pixels: Chosen) -> None:
        self._chosen = np.ascontiguousarray(pixels)
        self._pitch = pixels.shape[1] + 2

    @cached_property
    def pixels(self) -> Positions:
        return _positions(self._chosen)

    @cached_property
    def quads(self) -> Positions:
        return quads_of(self._chosen_quads, self._pitch)

    @cached_property
    def hidden(self) -> Positions:
        return _positions(self._hidden_quads)

    @cached_property
    def pooled(self) -> Positions:
        return quads_of(self._pooled_quads, self._pitch)

    @cached_property
    def means(self) -> Positions:
        return _positions(self._pooled_quads)

    @cached_property
    def _chosen_quads(self) -> Chosen:
        return touched_quads(self._chosen)

    @cached_property
    def _hidden_quads(self) -> Chosen:
        return _grown(self._chosen_quads, 0, 1)

    @cached_property
    def _pooled_quads(self) -> Chosen:
        return _grown(self._hidden_quads, 1, 1)


def touched_quads(pixels: Chosen) -> Chosen:
    """(H / 2, W / 2): the quads with a pixel that is set in (H, W)."""
    quads: Chosen = pixels[::2, ::2] | pixels[::2, 1::2] | pixels[1::2, ::2] | pixels[1::2, 1::2]
    return quads


def _grid_positions(height: int, width: int) -> Positions:
    grid = np.arange((height + 2) * (width + 2), dtype=np.int32).reshape(height + 2, width + 2)
    return grid[1:-1, 1:-1]


def _positions(chosen: Chosen) -> Positions:
    found = np.empty(np.count_nonzero(chosen), np.int32)
    list_positions(chosen, 1, chosen.shape[1] + 2, found)
    return found


def quads_of(chosen: Chosen, pitch: int) -> Positions:
    """(n, 4) positions, in a grid with that many pixels a row, of the quads that are set in chosen (h, w)."""
    first = np.empty(np.count_nonzero(chosen), np.int32)
    list_positions(chosen, 2, pitch, first)
    return first[:, None] + np.array([0, 1, pitch, pitch + 1], np.int32)


@compiled
def list_positions(chosen, step, pitch, found):
    """found (n,) = grid positions, `pitch` a row, of those set in chosen (h, w), which lie `step` pixels apart."""
    height, width = chosen.shape
    n = 0
    for y in range(height):
        row = (step * y + 1) * pitch + 1
        for x in range(width):
            if chosen[y, x]:
                found[n] = row + step * x
                n += 1


def _grown(pixels: Chosen, before: int, after: int) -> Chosen:
    """The pixels and those so many before (above, left) and after them."""
    grown = pixels.copy()
    for view in (grown, grown.T):
        base = view.copy()
        for step in range(1, before + 1):
            view[:-step] |= base[step:]
        for step in range(1, after + 1):
            view[step:] |= base[:-step]
    return grown
