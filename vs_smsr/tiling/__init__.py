"""Frames of any size and length through an engine: padding, tiles, temporal tiles, memory budget, reuse."""

from __future__ import annotations

from vs_smsr.tiling.clip import Frames, Sequence, TemporalTile
from vs_smsr.tiling.planner import Plan
from vs_smsr.tiling.tiler import TiledFrame, Tiler

__all__ = ["Frames", "Plan", "Sequence", "TemporalTile", "TiledFrame", "Tiler"]
