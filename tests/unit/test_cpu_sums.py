"""Channel sums: exact integers, whatever the order."""

from __future__ import annotations

import numpy as np
from numba import njit

from vs_smsr.engine.cpu.vectors import add_fixed, pointer


@njit
def run(sums, rows, unit):
    add_fixed(pointer(sums, 0), pointer(rows, 0), unit, rows.shape[0], rows.shape[1])


def test_sums_are_of_the_nearest_integers() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((5, 64)) * 10.0 ** rng.integers(-8, 9, (5, 64))).astype(np.float32)
    rows[0, :4] = [1.5 / 2**20, 2.5 / 2**20, -0.5 / 2**20, -(2.0**30)]  # ties, and a large one
    sums = rng.integers(-(2**60), 2**60, 64)
    expected = sums + np.rint(rows.astype(np.float64) * 2**20).astype(np.int64).sum(0)
    run(sums, rows, np.float32(2**20))
    assert np.array_equal(sums, expected)
