"""Frames of any size and length through an engine: padding, tiles, temporal tiles, memory budget, reuse."""

from __future__ import annotations

from vs_smsr.tiling.tiler import Tiler

__all__ = ["Tiler"]
