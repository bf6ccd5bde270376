"""Frames of any size and number through an engine: padding, tiles, memory budget, temporal tiles, reuse.

From the bottom: `planner` decides from sizes and bytes how frames of one size are computed; `runner` computes them so;
`scheduler` has one runner at work at a time; `tiler` is what callers hold. Clips: `temporal` says where temporal tiles
start, `attention` computes frames with their own or with held attention, `settle` chooses the
blocks that forward reuse takes for unchanged, `tile_state` is one temporal tile, `clip` the whole clip.
"""

from __future__ import annotations

from vs_smsr.tiling.clip import Frames, Sequence
from vs_smsr.tiling.planner import FramePlan
from vs_smsr.tiling.runner import Kept
from vs_smsr.tiling.temporal import TemporalTile
from vs_smsr.tiling.tile_state import TileState, open_tile
from vs_smsr.tiling.tiler import PictureInFlight, TiledFrame, TiledPicture, Tiler

__all__ = [
    "FramePlan",
    "Frames",
    "Kept",
    "PictureInFlight",
    "Sequence",
    "TemporalTile",
    "TileState",
    "TiledFrame",
    "TiledPicture",
    "Tiler",
    "open_tile",
]
