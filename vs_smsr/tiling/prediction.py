"""How long a frame will take on this machine: measured on pieces of real frames, by the very plan that will be used."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from vs_smsr.engine.contract import Engine, Frame
from vs_smsr.engine.reach import around, reach
from vs_smsr.engine.window import Window, whole
from vs_smsr.tiling.geometry import cover
from vs_smsr.tiling.padding import padded
from vs_smsr.tiling.planner import FramePlan
from vs_smsr.tiling.runner import FrameRunner

SIDE = 320  # of a piece: large enough that what is done once a call costs little
PIECES = 4  # how much is skipped differs from place to place


def seconds(engine: Engine, plan: FramePlan, frames: Sequence[Frame]) -> float:
    """For one frame of the plan's size when nothing is reused, decoding and encoding not counted.

    Args:
        frames: (H, W, 3) float32 RGB 0..255, some of those that will come.
    """
    frames = [padded(frame) for frame in frames]
    count = max(1, PIECES // len(frames))
    took = pixels = 0.0
    runners: dict[tuple[int, int], FrameRunner] = {}
    for frame in frames:
        for window in _pieces(whole(*frame.shape[:2]), count):
            piece = np.ascontiguousarray(frame[window.slices])
            size = window.height, window.width
            runner = runners.get(size)
            if runner is None:
                runner = runners[size] = FrameRunner(engine, _for_piece(plan, *size))
                runner.run(piece)  # buffers, and files on disk, are made once
            start = time.perf_counter()
            runner.run(piece)
            took, pixels = took + time.perf_counter() - start, pixels + window.area
    for runner in runners.values():
        runner.release()
    engine.memory.release()
    return took / pixels * _computed(engine, plan)


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


def _for_piece(plan: FramePlan, height: int, width: int) -> FramePlan:
    """The same for a piece, as if it were one tile."""
    tile = None if plan.tile is None else max(height, width)
    return dataclasses.replace(plan, height=height, width=width, tile=tile, independent=None)


def _computed(engine: Engine, plan: FramePlan) -> float:
    """Pixels that are computed for a frame: tiles with their halos, mean of those of all stages."""
    frame = whole(plan.height, plan.width)
    if plan.tile is None:
        return frame.area
    network = reach(engine.weights.spec)
    stages = [around(network.head), *(block.needs for block in network.blocks), network.end.needs]
    tiles = cover(frame, plan.tile, plan.tile)
    return sum(tile.expand(needs, frame).area for tile in tiles for needs in stages) / len(stages)
