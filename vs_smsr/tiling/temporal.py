"""Temporal tiles: runs of frames that cross no scene cut, the unit of state and of restart.

A temporal tile starts at every multiple of the greatest length and at every scene cut. The cut detector starts anew
at each multiple, so that where frame n's temporal tile starts follows from the frames from the last multiple to n,
whatever was asked for before.

Source of the score: FFmpeg's scdet filter. With d(n) = the mean absolute difference of frames n and n - 1 in percent
of the range, the score is min(d(n), |d(n) - d(n - 1)|): a lasting motion is no cut.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame

Luma = NDArray[np.float32]
SIDE = 64  # of the image that is compared, at most
LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)  # BT.601; a cut shows with any weights
THRESHOLD = 10.0  # percent; the default of FFmpeg's scdet


def luma(frame: Frame) -> Luma:
    """(H, W, 3) RGB 0..255 -> luma of at most SIDE x SIDE, by area."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (min(width, SIDE), min(height, SIDE)), interpolation=cv2.INTER_AREA)
    grey: Luma = cv2.transform(small, LUMA)
    return grey


def difference(a: Luma, b: Luma) -> float:
    """Mean absolute difference in percent of the range, 0..100."""
    return float(np.abs(a - b).mean(dtype=np.float64)) * 100 / 256


def is_cut(before: float, now: float) -> bool:
    """Does a scene begin at frame n? `before` is d(n - 1), or 0 if n - 1 is a multiple of the length; `now` is d(n)."""
    return min(now, abs(now - before)) >= THRESHOLD


class Starts:
    """Tells, frame after frame, where temporal tiles start.

    Args:
        length: most frames in a temporal tile.
        number: of the first frame that will be shown; a multiple of the length.
    """

    def __init__(self, length: int, number: int = 0) -> None:
        assert number % length == 0, "a clip can be entered at multiples of the length only"
        self._length = length
        self._next = number
        self._luma: Luma | None = None
        self._difference = 0.0

    def starts(self, frame: Frame, cut: bool | None = None) -> bool:
        """Does a temporal tile start at this frame? A `cut` that somebody else found is taken as it is."""
        on_raster = self._next % self._length == 0
        self._next += 1
        small, before = luma(frame), self._luma
        self._luma = small
        if on_raster or before is None or before.shape != small.shape:
            self._difference = 0.0
            return True
        now, last = difference(small, before), self._difference
        self._difference = now
        return is_cut(last, now) if cut is None else cut
