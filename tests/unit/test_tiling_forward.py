"""Forward reuse: errors that are bounded and never add up, bytes that follow from the clip, order, what it costs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.reach import reach
from vs_smsr.families import smsr
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, TemporalTile, Tiler, open_tile
from vs_smsr.tiling.planner import plan
from vs_smsr.tiling.settle import BOUND, MOST, PEAK, SIDE, noise, settled
from vs_smsr.tiling.tile_state import psnr
from vs_smsr.weights import load, shipped

Frame = np.ndarray[Any, Any]
NETWORK = reach(smsr.spec(2))


@pytest.fixture(scope="module")
def engine() -> CpuEngine:
    return CpuEngine(load(shipped(2)), threads=2)


def picture(height: int, width: int, seed: int = 0) -> Frame:
    y, x = np.mgrid[:height, :width] + 7.0 * seed
    base = 128 + 80 * np.sin(x / 5)[..., None] * np.cos(y / 7)[..., None] * np.array([1, 0.8, 0.6])
    return base.astype(np.float32)


def resting_camera(count: int, noise: float, height: int = 96, width: int = 128, seed: int = 0) -> list[Frame]:
    """A still with noise of that sigma, in whose lower right corner a square moves."""
    rng, frames = np.random.default_rng(seed), []
    for n in range(count):
        frame = picture(height, width) + rng.normal(0, noise, (height, width, 3))
        frame[-24:-8, -30 + n : -14 + n] = 20 + 5 * n
        frames.append(np.rint(frame).clip(0, 255).astype(np.float32))
    return frames


def results(engine: CpuEngine, frames: list[Frame], **options: Any) -> list[Any]:
    sequence = Sequence(Tiler(engine, TilingOptions(**options)))
    return [sequence.upscale(frame) for frame in frames]


def rms(error: Frame) -> float:
    return float(np.sqrt(np.square(error, dtype=np.float64).mean()))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 90), st.floats(0, 6), st.floats(0, 1.5), st.integers(0, 2**32 - 1))
def test_errors_are_bounded_and_never_add_up(height: int, width: int, noise: float, drift: float, seed: int) -> None:
    """Noise, a slow fade (each step far below the tolerance), something that jumps: the worst block of the worst frame
    is within the bound, against the frame that came."""
    rng = np.random.default_rng(seed)
    shown = base = picture(height, width, seed % 5)
    for n in range(1, 12):
        frame = (base + drift * n + rng.normal(0, noise, base.shape)).astype(np.float32)
        if n % 4 == 0:
            y, x = rng.integers(height), rng.integers(width)
            frame[y : y + 5, x : x + 5] += 60
        shown = settled(frame, shown, NETWORK, 9.0)
        error = shown - frame
        assert rms(error) <= BOUND * 1.000001
        for top in range(0, height, SIDE):
            for left in range(0, width, SIDE):
                block = error[top : top + SIDE, left : left + SIDE]
                assert rms(block) <= MOST * 1.000001
                assert np.abs(block).max() <= PEAK
                changed = block.any(axis=2)
                assert changed.mean() > 0.5 or not changed.any() or noise < 1, "a block is kept or replaced as a whole"


def test_a_frame_with_much_that_is_new_is_taken_whole() -> None:
    frames = resting_camera(2, 1.0)
    new = frames[1] + 40
    assert settled(new, frames[0], NETWORK, 9.0) is new


@pytest.mark.parametrize("attention", ["held", "auto"])
def test_forward_is_near_to_off_and_saves_work(engine: CpuEngine, attention: str) -> None:
    frames = resting_camera(8, 0.8)
    off = results(engine, frames, attention=attention, reuse="off")
    forward = results(engine, frames, attention=attention, reuse="forward")
    assert min(psnr(a.frame, b.frame) for a, b in zip(forward, off, strict=True)) > 46
    assert np.mean([result.reused for result in forward[2:]]) > 0.3
    exact = results(engine, frames, attention="held")
    assert np.mean([result.reused for result in exact]) < 0.05, "noise is everywhere"
    measured = [result.alike for result in forward]
    assert [one is None for one in measured] == [n != 1 for n in range(8)]
    sampled = psnr(forward[1].frame[::16], off[1].frame[::16])
    assert measured[1] == pytest.approx(sampled, abs=0.01)


def test_what_is_shown_is_what_the_network_gives_for_the_settled_frames(engine: CpuEngine) -> None:
    """By the definition, with the whole frame computed for each: reuse itself changes no bit."""
    frames = resting_camera(6, 0.8)
    got = results(engine, frames, attention="held", reuse="forward")
    shown, most = [frames[0]], 0.0
    for before, frame in pairwise(frames):
        most = max(most, noise(frame, before))
        shown.append(settled(frame, shown[-1], NETWORK, most))
    expected = results(engine, shown, attention="held", reuse="off")
    for a, b in zip(got, expected, strict=True):
        assert np.array_equal(a.frame, b.frame)
        assert all(map(np.array_equal, a.masks, b.masks))


def test_the_tolerance_follows_the_noise(engine: CpuEngine) -> None:
    """In a clean clip, faint motion far below what noise is allowed to be must go on."""
    frames = resting_camera(5, 0.0)
    for n, frame in enumerate(frames):
        frame[:16, 8 * n : 8 * n + 16] += 2
    assert noise(frames[1], frames[0]) == 0
    forward, exact = (results(engine, frames, attention="held", reuse=reuse) for reuse in ("forward", "exact"))
    assert all(np.array_equal(a.frame, b.frame) for a, b in zip(forward, exact, strict=True))
    grainy = resting_camera(2, 1.5)
    assert noise(grainy[1], grainy[0]) == pytest.approx(1.5 * 2**0.5, rel=0.1)


@pytest.mark.parametrize("keep", ["features", "regions", "nothing"])
def test_the_budget_changes_no_bit(engine: CpuEngine, keep: str) -> None:
    frames = resting_camera(5, 0.8, 99, 131)
    expected = results(engine, frames, attention="held", reuse="forward")
    rich = plan(engine, 100, 132, TilingOptions(attention="held", reuse="forward"))
    spared = {"features": 0, "regions": rich.bytes["features"] // 2}.get(keep)
    if spared is None:
        spared = rich.bytes["features"] + rich.bytes["last frame"] + 0
    tiler = Tiler(engine, TilingOptions(attention="held", reuse="forward", memory=rich.total - spared + (1 << 18)))
    assert tiler.plan(99, 131).keep == keep
    sequence = Sequence(tiler)
    assert all(np.array_equal(sequence.upscale(a).frame, b.frame) for a, b in zip(frames, expected, strict=True))


@pytest.mark.parametrize("reuse", ["auto", "forward"])
def test_a_clip_entered_at_any_temporal_tile_gives_the_same_frames(engine: CpuEngine, reuse: str) -> None:
    frames = resting_camera(5, 0.8, 64, 96) + [255 - frame for frame in resting_camera(7, 0.8, 64, 96, seed=1)]
    options: dict[str, Any] = {"attention": "auto", "reuse": reuse, "temporal_tile": 4}
    expected = results(engine, frames, **options)
    assert not expected[5].held, "a scene begins there"
    for start in (4, 8):
        later = Sequence(Tiler(engine, TilingOptions(**options)), number=start)
        for frame, want in zip(frames[start:], expected[start:], strict=True):
            got = later.upscale(frame)
            assert np.array_equal(got.frame, want.frame)
            assert (got.held, got.alike) == (want.held, want.alike)


def test_auto_is_forward_where_it_is_above_50_db_else_exact(engine: CpuEngine) -> None:
    for sigma, forward in ((0.4, True), (1.15, False)):
        frames = resting_camera(4, sigma)
        auto = results(engine, frames, attention="held", reuse="auto")
        want = results(engine, frames, attention="held", reuse="forward" if forward else "exact")
        assert all(np.array_equal(a.frame, b.frame) for a, b in zip(auto, want, strict=True)), sigma
        assert (auto[1].alike is not None) == forward
        assert auto[1].alike is None or auto[1].alike > 50


def test_where_nothing_can_be_reused_nothing_is_tried(engine: CpuEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame of a moving picture is computed once, by itself, and nothing is kept for later ones but itself."""
    frames = [picture(64, 80, seed) for seed in range(5)]
    calls: list[object] = []
    run = engine.upscale

    def counted(frame: Frame, overrides: Any = None) -> Any:
        calls.append(None if overrides is None else overrides.attention)
        return run(frame, overrides)

    tiler = Tiler(engine, TilingOptions(attention="auto", reuse="auto"))
    tiler.plan(64, 80)  # warms up
    monkeypatch.setattr(engine, "upscale", counted)
    sequence = Sequence(tiler)
    got = [sequence.upscale(frame) for frame in frames]
    assert calls == [None] * 4  # and the clip's first with its features, in case the picture rests
    assert all(np.array_equal(a.frame, run(frame).frame) for a, frame in zip(got, frames, strict=True))


def test_forward_tiles_want_their_frames_in_order(engine: CpuEngine) -> None:
    frames = resting_camera(3, 0.8, 48, 64)
    tile = open_tile(Tiler(engine, TilingOptions(attention="held", reuse="forward")), TemporalTile(0, 8))
    for n in range(3):
        assert tile.awaits == n
        with pytest.raises(ValueError, match=f"must be frame {n}, got frame {n + 2}"):
            tile.upscale(n + 2, frames[0])
        tile.upscale(n, frames[n])


def test_with_each_frame_s_own_attention_a_frame_is_repeated_whole_or_not_at_all(engine: CpuEngine) -> None:
    still = resting_camera(1, 0.0, 48, 64)[0]
    near, far = still + 0.5, still.copy()
    far[:20] = 0
    got = results(engine, [still, near, far], attention="frame", reuse="forward")
    assert [result.reused for result in got] == [0, 1, 0]
    assert np.array_equal(got[1].frame, got[0].frame)
    assert np.array_equal(got[2].frame, engine.upscale(far).frame)


def test_a_real_resting_camera(engine: CpuEngine, shared: Path) -> None:
    from itertools import islice

    from vs_smsr.media.colour import to_rgb
    from vs_smsr.media.reader import Reader

    with Reader(shared / "data/clips/static_camera.mp4") as reader:
        frames = [to_rgb(frame)[100:228, 300:492].copy() for frame in islice(reader, 8)]
    off = results(engine, frames, attention="auto", reuse="off")
    forward = results(engine, frames, attention="auto", reuse="forward")
    assert min(psnr(a.frame, b.frame) for a, b in zip(forward, off, strict=True)) > 46


def test_the_summary_tells_how_alike(engine: CpuEngine, tmp_path: Path) -> None:
    import av

    from vs_smsr.cli.report import summary
    from vs_smsr.jobs.video import upscale_video
    from vs_smsr.options import VideoOptions

    source = tmp_path / "rest.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv444p"
        for frame in resting_camera(5, 0.4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())
    reports = []
    for reuse in ("forward", "off"):
        tiler = Tiler(engine, TilingOptions(attention="auto", reuse=reuse))
        reports.append(upscale_video(source, tmp_path / f"{reuse}.mkv", tiler, VideoOptions(codec="ffv1")))
    forward, off = reports
    assert forward.alike is not None
    assert forward.alike > 46
    assert f"(forward, {forward.alike:.1f} dB alike at least)" in summary(forward, "smsr")
    assert forward.reused > 0.2
    assert off.alike is None
    assert "alike" not in summary(off, "smsr")
