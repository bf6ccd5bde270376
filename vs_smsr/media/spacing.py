"""Frames without a time of their own: put between their neighbours, no other frame is moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av

HELD_FRAMES = 8  # frames that wait for a neighbour's time


class Spacing:
    """Gives every frame a time after the one before, and leaves the others' alone.

    Attributes:
        between: frames that were put between their neighbours.
        by_rate: frames that were put after the one before by the frame rate, as no neighbour near had a time.
    """

    def __init__(self, step: int) -> None:
        """
        Args:
            step: ticks from one frame to the next, at least 1.
        """
        self.between = self.by_rate = 0
        self._step = step
        self._last: int | None = None

    def run[T](self, items: Iterable[T | av.VideoFrame]) -> Iterator[T | av.VideoFrame]:
        """Yield every item in its order; frames with mended pts."""
        held: list[T | av.VideoFrame] = []
        lacking: list[av.VideoFrame] = []
        timeless = False  # a stream that has no times at all is not held up
        for item in items:
            held.append(item)
            if isinstance(item, av.VideoFrame):
                if item.pts is None or (self._last is not None and item.pts <= self._last):
                    lacking.append(item)
                    if not timeless and len(lacking) < HELD_FRAMES:
                        continue
                    timeless = True
                    self._follow(lacking)
                else:
                    timeless = False
                    self._put_before(item, lacking)
                lacking = []
            if not lacking:
                yield from held
                held = []
        self._follow(lacking)
        yield from held

    def _follow(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            frame.pts = self._last = 0 if self._last is None else self._last + self._step
        self.by_rate += len(frames)

    def _put_before(self, frame: av.VideoFrame, lacking: list[av.VideoFrame]) -> None:
        """Between the last frame and this one; the frame itself moves only if there are not enough ticks."""
        assert frame.pts is not None, "a frame with a time of its own"
        parts, end = len(lacking) + 1, frame.pts
        begin = self._last if self._last is not None else end - parts * self._step
        if self._last is None and lacking and end >= 0:
            begin = max(begin, -1)  # the first frame of all is at 0 or later
        end = max(end, begin + parts)
        for number, late in enumerate(lacking, 1):
            late.pts = begin + (end - begin) * number // parts
        frame.pts = self._last = end
        self.between += len(lacking)
