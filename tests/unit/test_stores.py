"""Stores of maps, in memory and on disk, against an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vs_smsr.engine.stores import COPIERS, Copiers, Store
from vs_smsr.engine.window import Window, whole
from vs_smsr.errors import EngineError


@pytest.mark.parametrize("share", [0, 0.3, 1], ids=["disk", "both", "memory"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 70), (31, 17), (64, 16)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_windows_come_back_as_they_were_written(share: float, height: int, width: int, dtype) -> None:
    rng = np.random.default_rng(height)
    store, expected = Store(height, width, round(share * height), Copiers()), np.zeros((height, width, 64), dtype)
    store.write(whole(height, width), expected)
    for _ in range(20):
        (top, bottom), (left, right) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in (height, width))
        window = Window(int(top), int(left), int(bottom), int(right))
        grid = rng.integers(0, 1 << 16, (window.height + 3, window.width + 5, 64)).astype(dtype)
        part = grid[1:-2, 2:-3]  # as a map inside its border
        store.write(window, part)
        expected[window.slices] = part
        found = np.zeros_like(grid)
        store.read(window, found[1:-2, 2:-3])
        assert np.array_equal(found[1:-2, 2:-3], part)
        found[1:-2, 2:-3] = 0
        assert not found.any(), "and nothing beside them"
    found = np.empty_like(expected)
    store.read(whole(height, width), found)
    assert np.array_equal(found, expected)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
def test_a_full_disk_is_told_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/somewhere")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/somewhere")
    files = [Path("/dev/full").open("r+b", buffering=0) for _ in range(COPIERS)]  # noqa: SIM115  # the store closes them
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: files.pop())
    store = Store(4, 4, 0, Copiers())
    with pytest.raises(EngineError, match=r"/somewhere: No space left on device\. Make room there, set TMPDIR"):
        store.write(whole(4, 4), np.zeros((4, 4, 64), np.float32))
