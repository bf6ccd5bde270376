"""Where to compute: tiles that cover a frame, and few rectangles around what changed. Integers only."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.window import Window

CELL = 16  # side of the squares in which changes are gathered
APART = 16  # rows; what changed in windows of whole rows that are closer becomes one window
MANY = 24  # regions; with more the squares grow


def cover(area: Window, height: int, width: int) -> list[Window]:
    """Windows of at most that (even) size, row by row, each pixel of the (even) area in one; of nearly equal size."""
    rows, columns = _cuts(area.height, height), _cuts(area.width, width)
    return [
        Window(area.top + top, area.left + left, area.top + bottom, area.left + right)
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]


def _cuts(length: int, most: int) -> list[int]:
    """Even borders from 0 to the (even) length, at most `most` apart."""
    pairs, count = length // 2, -(-length // most)
    return [2 * (pairs * i // count) for i in range(count + 1)]


def rows(changed: NDArray[np.bool_]) -> list[Window]:
    """Windows of whole rows, with even sides, that hold every changed pixel of (H, W); few of a frame's rows apart."""
    found = np.flatnonzero(changed.any(axis=1))
    breaks = np.flatnonzero(found[1:] - found[:-1] > APART)
    tops, bottoms = (found[[0, *(breaks + 1)]], found[[*breaks, -1]]) if len(found) else (found, found)
    return [
        Window(top & -2, 0, bottom + 2 & -2, changed.shape[1])
        for top, bottom in zip(tops.tolist(), bottoms.tolist(), strict=True)
    ]


def rectangles(changed: NDArray[np.bool_], cost: Callable[[Window], int]) -> list[Window]:
    """Few windows that hold every changed pixel of (H, W); two become one where that costs no more."""
    if not changed.any():
        return []
    cell = CELL
    found = _components(changed, cell)
    while len(found) > MANY:
        cell *= 2
        found = _components(changed, cell)
    return _merged([_tight(changed, window) for window in found], cost)


def _components(changed: NDArray[np.bool_], cell: int) -> list[Window]:
    """Bounding windows of the connected groups of squares that hold a changed pixel."""
    height, width = changed.shape
    cells = np.zeros((-(-height // cell), -(-width // cell)), np.uint8)
    _gather(changed, cell, cells)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
    frame = Window(0, 0, height, width)
    return [
        Window(y * cell, x * cell, (y + h) * cell, (x + w) * cell).intersect(frame)
        for x, y, w, h in stats[1:, : cv2.CC_STAT_AREA].tolist()
    ]


@compiled
def _gather(changed, cell, cells):  # type: ignore[no-untyped-def]
    """Set cells (rows, columns) where the square of that side holds something that is set in changed (H, W)."""
    height, width = changed.shape
    for y in range(height):
        for j in range(cells.shape[1]):
            for x in range(j * cell, min((j + 1) * cell, width)):
                if changed[y, x]:
                    cells[y // cell, j] = 1
                    break


def _tight(changed: NDArray[np.bool_], window: Window) -> Window:
    part = changed[window.slices]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    top, left = window.top, window.left
    return Window(top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)


def _merged(windows: list[Window], cost: Callable[[Window], int]) -> list[Window]:
    done: list[Window] = []
    cost = functools.cache(cost)
    while windows:
        window = windows.pop()
        for other in [*done, *windows]:
            if cost(window.hull(other)) <= cost(window) + cost(other):
                (done if other in done else windows).remove(other)
                windows.append(window.hull(other))
                break
        else:
            done.append(window)
    return sorted(done)
