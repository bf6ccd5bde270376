"""Temporal tiles: runs of frames that cross no scene cut, the unit of state and of restart.

A temporal tile starts at every multiple of the greatest length and at every scene cut. The cut detector starts anew
at each multiple, so that where frame n's temporal tile starts follows from the frames from the last multiple to n,
whatever was asked for before. `StartRule` says so for frames in any order, `Starts` for frames that come one by one.

Source of the score: FFmpeg's scdet filter. With d(n) = the mean absolute difference of frames n and n - 1 in percent
of the range, the score is min(d(n), |d(n) - d(n - 1)|): a lasting motion is no cut.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """Does a scene begin at frame n? `before` is d(n - 1), `now` is d(n), both in percent."""
    return min(now, abs(now - before)) >= THRESHOLD


@dataclass(frozen=True)
class TemporalTile:
    """Frames start <= n < stop of a clip.

    Attributes:
        stop: at the latest: a scene cut may end the tile before.
    """

    start: int
    stop: int

    def __contains__(self, number: int) -> bool:
        return self.start <= number < self.stop


@dataclass(frozen=True)
class StartRule:
    """Where temporal tiles start.

    Attributes:
        length: most frames in one.
    """

    length: int

    def tile(self, start: int) -> TemporalTile:
        """The temporal tile that starts at that frame."""
        return TemporalTile(start, start - start % self.length + self.length)

    def difference(self, number: int, before: Luma | None, now: Luma) -> float:
        """d(n) in percent, from the luma of frames n - 1 and n; 0 where the detector starts anew."""
        return 0.0 if before is None or number % self.length == 0 else difference(before, now)

    def starts(self, number: int, before: float, now: float, cut: bool | None = None) -> bool:
        """Does one start at frame n? From d(n - 1) and d(n); a `cut` that somebody else found, or did not, counts."""
        if number % self.length == 0:
            return True
        return is_cut(before, now) if cut is None else cut


class Starts:
    """`StartRule` for frames that come one by one.

    Args:
        length: most frames in a temporal tile.
        number: of the first frame that will be shown; a multiple of the length.
    """

    def __init__(self, length: int, number: int = 0) -> None:
        assert number % length == 0, "a clip can be entered at multiples of the length only"
        self._rule = StartRule(length)
        self._next = number
        self._luma: Luma | None = None
        self._difference = 0.0

    def starts(self, frame: Frame, cut: bool | None = None) -> bool:
        """Does a temporal tile start at this frame? A `cut` that somebody else found, or did not, counts."""
        small, before, last = luma(frame), self._luma, self._difference
        resized = before is not None and before.shape != small.shape
        now = self._rule.difference(self._next, None if resized else before, small)
        starts = resized or self._rule.starts(self._next, last, now, cut)
        self._next, self._luma, self._difference = self._next + 1, small, now
        return starts
