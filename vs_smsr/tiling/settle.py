"""Forward reuse: blocks of a frame that hardly differ from what was last computed there are taken to be the same.

`settled` makes of a frame the one that is computed in its place. What it compares with is the last frame that it made,
not the last one that came, so errors never add up: however long the clip, each block is within `MOST` and each frame
within `BOUND` of the one that came. How much a block may differ follows from the noise the tile has shown so far:
in a clean one nothing may, so that faint motion is not frozen. The result follows from the frames alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.reach import NetworkReach, around
from vs_smsr.tiling.changes import affected
from vs_smsr.tiling.reuse import Changed

SIDE = 16  # of a block: that of a macroblock, so that skipped ones fit
OF_NOISE = 2.5  # times the noise: how much a block may differ, as root mean square
MOST = 3.0  # of that, 0..255
PEAK = 24.0  # of its greatest difference
BOUND = 1.15  # of a frame's root mean square difference: 46.9 dB
RESTING = 0.6  # share of a frame's work from which it is computed whole: it costs little more, and clears all errors


def resting(changed: Changed, reach: NetworkReach) -> float:
    """Share of the work, 0..1, that changed pixels (H, W) make in a network of that reach, roughly."""
    return float(affected(changed, around(reach.midway)).mean())


def noise(frame: Frame, before: Frame) -> float:
    """The median over the blocks of the root mean square difference of two frames that follow each other, 0..255."""
    means, _ = _blocks(frame, before)
    return float(np.sqrt(np.median(means)))


def settled(frame: Frame, shown: Frame, reach: NetworkReach, noise: float) -> Frame:
    """What is computed for a frame (H, W, 3), 0..255: blocks of `shown`, the last such frame, where they are near.

    Args:
        noise: of the clip so far, 0..255.
    Returns:
        A new array, or `frame` itself where so much changed that it is computed whole.
    """
    height, width = frame.shape[:2]
    far = ~_near(*_blocks(frame, shown), min(MOST, OF_NOISE * noise), height, width)
    changed: Changed = far.repeat(SIDE, 0).repeat(SIDE, 1)[:height, :width]
    if resting(changed, reach) > RESTING:
        return frame
    return np.where(changed[..., None], frame, shown)


def _blocks(a: Frame, b: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each block (rows, columns) of two frames: the mean squared difference, and the greatest difference."""
    height, width = a.shape[:2]
    squares = np.zeros((-(-height // SIDE), -(-width // SIDE)))
    peaks = np.zeros_like(squares)
    _differences(a, b, SIDE, squares, peaks)
    return squares / _values(squares.shape, height, width), peaks


def _values(shape: tuple[int, ...], height: int, width: int) -> NDArray[np.int64]:
    """How many values each block holds; those at the frame's end are smaller."""
    rows = np.minimum(SIDE, height - SIDE * np.arange(shape[0]))
    columns = np.minimum(SIDE, width - SIDE * np.arange(shape[1]))
    return 3 * np.outer(rows, columns)


def _near(
    means: NDArray[np.float64], peaks: NDArray[np.float64], most: float, height: int, width: int
) -> NDArray[np.bool_]:
    """The blocks that are kept, those that differ least first, while the whole frame's error is within the bound."""
    order = np.argsort(means, axis=None, kind="stable")
    squares = (means * _values(means.shape, height, width)).ravel()
    within = np.empty(means.size, np.bool_)
    within[order] = squares[order].cumsum() <= BOUND**2 * 3 * height * width
    near: NDArray[np.bool_] = within.reshape(means.shape) & (means <= most**2) & (peaks <= PEAK)
    return near


@compiled
def _differences(a, b, side, squares, peaks):  # type: ignore[no-untyped-def]
    """For each block of that side of two frames (H, W, 3): the sum of squared differences, and the greatest one."""
    height, width = a.shape[:2]
    for y in range(height):
        for j in range(squares.shape[1]):
            total, peak = 0.0, 0.0
            for x in range(j * side, min((j + 1) * side, width)):
                for c in range(3):
                    difference = abs(float(a[y, x, c]) - float(b[y, x, c]))
                    total += difference * difference
                    peak = max(peak, difference)
            squares[y // side, j] += total
            peaks[y // side, j] = max(peaks[y // side, j], peak)
