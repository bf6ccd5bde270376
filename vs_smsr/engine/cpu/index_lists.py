"""Lists of grid positions that the kernels go over: those of the whole frame, or of some of its pixels."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.cpu.arena import Arena
from vs_smsr.engine.cpu.vectors import eight_bytes, pointer

Positions = NDArray[np.int32]
Chosen = NDArray[np.bool_]
ALONE = np.zeros(0, np.int32)


class Only(NamedTuple):
    """Which pixels are computed, as kernels take it.

    Attributes:
        pixels: (H, W), contiguous; where all are computed it does not matter.
        some: not all are.
        needed: those of them at which an op's last layer is computed; as `pixels`.
    """

    pixels: Chosen
    some: bool
    needed: Chosen


NO_PIXELS = np.zeros((1, 1), np.bool_)
ALL = Only(NO_PIXELS, False, NO_PIXELS)


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
    """The pixels set in (H, W), contiguous, by whole quads where the kernels go by quads. Each list is made when used.

    A mask pixel in an odd row or column reads two half-size pixels, its own and the next.
    """

    def __init__(self, pixels: Chosen) -> None:
        self._chosen = pixels
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
        return _grown(self._chosen_quads, 0)

    @cached_property
    def _pooled_quads(self) -> Chosen:
        return _grown(self._hidden_quads, 1)


def touched_quads(pixels: Chosen) -> Chosen:
    """(H / 2, W / 2): the quads with a pixel that is set in (H, W), whose rows are contiguous."""
    pairs = pixels.view(np.uint16)
    quads: Chosen = (pairs[::2] | pairs[1::2]) != 0
    return quads


def _grid_positions(height: int, width: int) -> Positions:
    grid = np.arange((height + 2) * (width + 2), dtype=np.int32).reshape(height + 2, width + 2)
    return grid[1:-1, 1:-1]


def _positions(chosen: Chosen) -> Positions:
    found = np.empty((np.count_nonzero(chosen), 1), np.int32)
    list_positions(np.ascontiguousarray(chosen), 1, chosen.shape[1] + 2, ALONE, found)
    return found[:, 0]


def quads_of(chosen: Chosen, pitch: int) -> Positions:
    """(n, 4) positions, in a grid with that many pixels a row, of the quads that are set in chosen (h, w)."""
    found = np.empty((np.count_nonzero(chosen), 4), np.int32)
    further = np.array([1, pitch, pitch + 1], np.int32)
    list_positions(np.ascontiguousarray(chosen), 2, pitch, further, found)
    return found


@compiled
def list_positions(chosen, step, pitch, further, found):
    """found (n, 1 + m) = positions of those set in chosen (h, w), and of m pixels so much further on for each.

    What is chosen lies `step` pixels apart in a grid with `pitch` pixels a row.
    """
    n, width = 0, chosen.shape[1]
    for y in range(chosen.shape[0]):
        row = (step * y + 1) * pitch + 1
        for begin in range(0, width, 8):
            if begin + 8 <= width and eight_bytes(pointer(chosen, y * width + begin)) == 0:
                continue
            for x in range(begin, min(begin + 8, width)):
                if chosen[y, x]:
                    first = row + step * x
                    found[n, 0] = first
                    for m in range(further.size):
                        found[n, 1 + m] = first + further[m]
                    n += 1


def _grown(quads: Chosen, before: int) -> Chosen:
    """The quads, and those so many before (above, left) and one after them."""
    square = np.ones((before + 2,) * 2, np.uint8)
    grown: Chosen = cv2.dilate(quads.view(np.uint8), square, anchor=(1, 1)).view(np.bool_)
    return grown
