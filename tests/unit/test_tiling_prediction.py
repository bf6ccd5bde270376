"""What the predicted time is measured from. Whether it is right, `scripts/tiling_report.py photograph` prints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.window import whole
from vs_smsr.options import TilingOptions
from vs_smsr.tiling.planner import plan
from vs_smsr.tiling.prediction import PIECES, SIDE, _computed, _pieces, seconds
from vs_smsr.weights import load, shipped


@pytest.fixture(scope="module")
def engine() -> CpuEngine:
    return CpuEngine(load(shipped(2)), threads=2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1600), st.integers(1, 1600), st.integers(1, PIECES))
def test_pieces_are_apart_even_and_never_more_than_is_affordable(rows: int, columns: int, count: int) -> None:
    frame = whole(2 * rows, 2 * columns)
    pieces = _pieces(frame, count)
    assert 1 <= len(pieces) <= count
    assert sum(piece.area for piece in pieces) <= count * SIDE**2
    for n, piece in enumerate(pieces):
        assert piece.area > 0
        assert piece.intersect(frame) == piece
        assert all(side % 2 == 0 for side in (piece.top, piece.left, piece.bottom, piece.right))
        for other in pieces[:n]:
            common = piece.intersect(other)
            assert min(common.height, common.width) <= 0


@pytest.mark.parametrize("tile", [0, 48])
def test_a_prediction_counts_what_is_computed(engine: CpuEngine, tile: int) -> None:
    frame = np.random.default_rng(0).uniform(0, 255, (131, 97, 3)).astype(np.float32)
    how = plan(engine, 132, 98, TilingOptions(tile=tile))
    how = dataclasses.replace(how, in_memory=50) if tile else how  # rows, the others on disk
    area = 132 * 98
    assert _computed(engine, how) == area if not tile else 1.2 * area < _computed(engine, how) < 2.2 * area
    assert 0 < seconds(engine, how, [frame, frame]) < 60
