"""How long a frame will take on this machine: measured on pieces of real frames and on maps that are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vs_smsr.engine.contract import Engine, Features, Frame, Overrides
from vs_smsr.engine.reach import around, reach
from vs_smsr.engine.staged import StagedFrame, store_size, stored
from vs_smsr.engine.stores import Copiers, Store
from vs_smsr.engine.window import Window, whole
from vs_smsr.tiling.geometry import cover
from vs_smsr.tiling.padding import padded
from vs_smsr.tiling.planner import FramePlan

SIDE = 320  # of a piece: large enough that what is done once a call costs little
PIECES = 4  # how much is skipped differs from place to place
ROWS = 192  # of a tile, to see how fast its maps are copied
SMALL = 32  # side of a frame that shows how often maps are copied


def seconds(engine: Engine, plan: FramePlan, frames: Sequence[Frame]) -> float:
    """For one frame of the plan's size when nothing is reused, decoding and encoding not counted.

    Args:
        frames: (H, W, 3) float32 RGB 0..255, some of those that will come.
    """
    frames = [padded(frame) for frame in frames]
    count = max(1, PIECES // len(frames))
    took = pixels = 0.0
    known: tuple[int, int] | None = None
    for frame in frames:
        for window in _pieces(whole(*frame.shape[:2]), count):
            piece = np.ascontiguousarray(frame[window.slices])
            size = window.height, window.width
            if size != known:
                engine.upscale(piece)  # buffers are made once
                known = size
            start = time.perf_counter()
            engine.upscale(piece)
            took, pixels = took + time.perf_counter() - start, pixels + window.area
    engine.memory.release()
    return took / pixels * _computed(engine, plan) + (_copying(engine, plan) if plan.tile else 0)


def _pieces(frame: Window, count: int) -> list[Window]:
    """Windows with even sides in the middle of equal parts of a frame; the whole one where it is small."""
    if frame.area <= count * SIDE**2:
        return [frame]
    parts = cover(frame, frame.height, -(-frame.width // count) + 1 & -2)
    return [_middle(part) for part in parts]


def _middle(part: Window) -> Window:
    height, width = min(SIDE, part.height), min(SIDE, part.width)
    top, left = part.top + (part.height - height) // 2 & -2, part.left + (part.width - width) // 2 & -2
    return Window(top, left, top + height, left + width)


def _computed(engine: Engine, plan: FramePlan) -> float:
    """Pixels that are computed for a frame: tiles with their halos, mean of those of all stages."""
    frame = whole(plan.height, plan.width)
    if plan.tile is None:
        return frame.area
    network = reach(engine.weights.spec)
    stages = [around(network.head), *(block.needs for block in network.blocks), network.end.needs]
    tiles = cover(frame, plan.tile, plan.tile)
    return sum(tile.expand(needs, frame).area for tile in tiles for needs in stages) / len(stages)


def _copying(engine: Engine, plan: FramePlan) -> float:
    """Seconds for the maps of a frame on their way to their stores and back; some rows of a tile show how fast."""
    assert plan.tile, "whole frames need no stores"
    copiers, passes, area = Copiers(), _passes(engine), plan.height * plan.width
    window = whole(min(ROWS, plan.height), min(plan.tile, plan.width))
    values = np.ones((window.height, window.width, engine.memory.feature_bytes), np.uint8)
    reads, writes = (sum(counts) for counts in zip(*passes, strict=True))
    seconds = 0.0
    for rows, share in (window.height, plan.in_memory / plan.rows), (0, 1 - plan.in_memory / plan.rows):
        if share:
            store = Store(window.height, plan.width, rows, copiers)
            store.write(window, values)  # its memory, or its files, are made once
            written, read = _took(partial(store.write, window, values)), _took(partial(store.read, window, values))
            seconds += share * (_computed(engine, plan) * reads * read + area * writes * written) / window.area
    return seconds


def _took(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _passes(engine: Engine) -> list[tuple[float, float]]:
    """By store, how often a frame is read from it and written to it."""
    spec, copiers = engine.weights.spec, Copiers()
    height, width = store_size(spec, SMALL, SMALL)
    stores = [Counting(height, width, height, copiers) for _ in stored(spec)]
    black = np.zeros((SMALL, SMALL, 3), np.float32)
    StagedFrame(engine, stores, SMALL, SMALL).upscale(black, Overrides(), [whole(SMALL, SMALL)])
    return [(store.read_pixels / SMALL**2, store.written_pixels / SMALL**2) for store in stores]


class Counting(Store):
    """A store that counts the pixels that go in and out."""

    read_pixels = written_pixels = 0

    def read(self, window: Window, into: Features) -> None:
        self.read_pixels += window.area
        super().read(window, into)

    def write(self, window: Window, values: Features) -> None:
        self.written_pixels += window.area
        super().write(window, values)
