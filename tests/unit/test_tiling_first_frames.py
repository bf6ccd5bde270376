"""A temporal tile's first frame is computed with its features kept where the tile before has rested."""

from __future__ import annotations

import numpy as np
import pytest

from vs_smsr.engine.contract import Frame, Overrides
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.kept import KeptFrame
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.tiling.runner import FrameRunner
from vs_smsr.weights import load, shipped

LENGTH = 4  # of a temporal tile
RESTS = True, False, False, True, True


def clip() -> list[Frame]:
    """Five temporal tiles: a still in which a square changes, or pictures that have nothing in common."""
    rng, frames = np.random.default_rng(0), []
    for rests in RESTS:
        still = rng.uniform(0, 255, (64, 96, 3)).astype(np.float32)
        for n in range(LENGTH):
            frame = still.copy() if rests else rng.uniform(0, 255, still.shape).astype(np.float32)
            frame[8 * n : 8 * n + 8, 40:48] = 10 * n
            frames.append(frame)
    return frames


@pytest.mark.parametrize("attention", ["held", "auto"])
def test_which_frames_are_kept(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, frames = CpuEngine(load(shipped(2)), threads=2), clip()
    kept: list[int] = []
    keep = FrameRunner.kept

    def counted(self: FrameRunner, frame: Frame, means: Overrides) -> KeptFrame | None:
        kept.append(next(n for n, one in enumerate(frames) if np.array_equal(one, frame)))
        return keep(self, frame, means)

    monkeypatch.setattr(FrameRunner, "kept", counted)
    run = Sequence(Tiler(engine, TilingOptions(attention=attention, reuse="exact", temporal_tile=LENGTH)))
    got = [run.upscale(frame, cut=False) for frame in frames]
    first = [LENGTH * tile for tile in range(len(RESTS))]
    assert kept == [first[0], first[1], first[3] + 1, first[4]]
    assert got[first[0] + 1].reused > 0.3, "the second frame is made from the first"
    assert got[first[1] + 1].reused == 0

    monkeypatch.undo()
    off = Sequence(Tiler(engine, TilingOptions(attention=attention, reuse="off", temporal_tile=LENGTH)))
    if attention == "held":
        for ours, frame in zip(got, frames, strict=True):
            assert np.array_equal(ours.frame, off.upscale(frame, cut=False).frame)


def test_the_memory_of_kept_features_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next tile that rests; not where regions are kept meanwhile, nor after memory was asked back."""
    places: list[set[int]] = []
    keep = FrameRunner.kept

    def seen(self: FrameRunner, frame: Frame, means: Overrides) -> KeptFrame | None:
        kept = keep(self, frame, means)
        assert kept is not None
        places.append({stage.ctypes.data for stage in kept.stages})
        return kept

    monkeypatch.setattr(FrameRunner, "kept", seen)
    tiler = Tiler(CpuEngine(load(shipped(2)), threads=2), TilingOptions(attention="held", reuse="exact"))
    rng, results = np.random.default_rng(0), []
    for n in range(4):
        run, still = Sequence(tiler), rng.uniform(0, 255, (64, 96, 3)).astype(np.float32)
        changed = still.copy()
        changed[:8, :8] = n
        results.append([run.upscale(frame).frame for frame in (still, changed)])
        off = Sequence(Tiler(tiler.engine, TilingOptions(attention="held", reuse="off")))
        for ours, frame in zip(results[-1], (still, changed), strict=True):
            assert np.array_equal(ours, off.upscale(frame).frame)
        del run
        (runner,) = tiler._scheduler._runners.values()
        assert {stage.ctypes.data for stage in runner._spare} == places[-1]
        if n == 1:
            runner.release()
            assert runner._spare == []
    assert places[0] == places[1]
    assert places[2] == places[3]
