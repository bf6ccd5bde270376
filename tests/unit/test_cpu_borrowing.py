"""Rows of kept features become the engine's maps: nothing is copied, and nothing is written to them."""

from __future__ import annotations

import numpy as np
import pytest

from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.arena import grid_around, inside_grid
from vs_smsr.engine.merging import update
from vs_smsr.engine.window import Window, whole

from .test_tiling import picture, weights


@pytest.mark.parametrize(("top", "bottom"), [(0, 6), (2, 4), (4, 6), (0, 2)])
def test_rows_inside_a_grid_have_a_map_around_them(top: int, bottom: int) -> None:
    values = inside_grid((6, 5, 8), np.dtype(np.float32))
    values[:] = np.arange(values.size).reshape(values.shape)
    found = grid_around(values[top:bottom])
    assert found is not None
    assert np.shares_memory(found, values)
    lines = found.reshape(bottom - top + 2, 7, 8)
    assert np.array_equal(lines[1:-1, 1:-1], values[top:bottom])
    assert not lines[:, 0].any()
    assert not lines[:, -1].any()
    assert np.array_equal(lines[0, 1:-1], values[top - 1] if top else np.zeros((5, 8)))
    assert np.array_equal(lines[-1, 1:-1], values[bottom] if bottom < 6 else np.zeros((5, 8)))


def test_other_arrays_have_none() -> None:
    values = inside_grid((6, 5, 8), np.dtype(np.float32))
    for other in (values[:, 1:], values[:, :4], values[::2], values[..., :4], values.copy(), np.zeros((6, 5, 8))):
        assert grid_around(other) is None
    assert grid_around(values.view(np.uint32)) is None


def test_what_is_borrowed_is_read_and_not_written() -> None:
    engine, frame, rows = CpuEngine(weights(), threads=2), picture(64, 70), Window(16, 0, 48, 70)
    with engine.open(64, 70) as ops:
        ops.head(frame)
        kept = ops.read("head", whole(64, 70))
    before, given = kept.copy(), kept[rows.slices]
    results = []
    for values in (given, np.ascontiguousarray(given)):  # borrowed, and copied
        with engine.open(rows.height, rows.width) as ops:
            ops.write("features", values)
            ops.mask(0, "features")
            ops.masked_block(0, "features", whole(rows.height, rows.width))
            ops.give_attention(0, np.full(64, 0.5, np.float32))
            ops.residual(0, "features", collect=True)
            results.append(ops.read("features", whole(rows.height, rows.width))[12:-12])
        assert np.array_equal(kept, before)
    assert np.array_equal(*results)  # where the rows beside the window do not reach
    assert not np.array_equal(results[0], given[12:-12])


def test_update_puts_what_is_wanted_and_differs() -> None:
    rng = np.random.default_rng(0)
    engine, wanted = CpuEngine(weights(), threads=2), rng.random((20, 24)) < 0.5
    with engine.open(20, 24) as ops:
        ops.head(picture(20, 24))
        new = ops.read("head", whole(20, 24)).copy()
        kept = new.copy()
        other = rng.random((20, 24)) < 0.5
        kept[other, 3] += 1
        kept[0, 0], other[0, 0], wanted[0, 0] = np.where(new[0, 0] == 0, -np.float32(0), new[0, 0]), True, True
        by_hand, expected = kept.copy(), np.where((wanted & other)[..., None], new, kept)
        differs = ops.update("head", whole(20, 24), kept, wanted)
    zeros = bool((new[0, 0] == 0).any())  # only then is -0 another number there
    expected_differs = wanted & other
    expected_differs[0, 0] = zeros
    assert np.array_equal(kept.view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(differs, expected_differs)
    assert np.array_equal(update(new, by_hand, wanted), differs)
    assert np.array_equal(by_hand, kept)
