"""Watching a video being made in the terminal: the latest result above the progress bar, in half blocks."""

from __future__ import annotations

import time

import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from vs_smsr.jobs.report import Progress

EVERY = 0.5  # seconds between two pictures
SHARE = 0.6  # of the terminal's rows, at most
HALF = "▀"  # its upper half in one colour, its lower half in another: two pixels


class TerminalPicture:
    """What rich draws: the latest result, as large as the console allows. In so few pixels it shows whether all is
    well, not what differs from the source, so the source is left out.

    Args:
        console: whose width, height and colours count.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = float("-inf")
        self._lines: list[list[Segment]] = []

    def see(self, name: str, progress: Progress) -> None:
        """Take the latest frame of a job, twice a second."""
        now = time.monotonic()
        if progress.pair is None or now - self._last < EVERY:
            return
        self._last = now
        frame = progress.pair[1]
        columns, rows = self._console.width, max(int(SHARE * self._console.height), 1)
        scale = min(columns / frame.width, 2 * rows / frame.height)
        width, height = max(round(scale * frame.width), 1), max(round(scale * frame.height / 2), 1)
        small = frame.reformat(width, 2 * height, "rgb24", interpolation="AREA").to_ndarray()
        pairs = small.reshape(height, 2, width, 3).transpose(0, 2, 1, 3)  # (rows, columns, upper and lower, RGB)
        self._lines = [[_cell(pair) for pair in row] for row in pairs]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines:
            yield from line
            yield Segment.line()


def _cell(pair: np.ndarray) -> Segment:
    upper, lower = (Color.from_rgb(*map(int, rgb)) for rgb in pair)
    return Segment(HALF, Style(color=upper, bgcolor=lower))
