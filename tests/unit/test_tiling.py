"""Tiles, held attention and reuse against the engine run on whole frames: the same bits."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vs_smsr.engine.contract import Capabilities, Overrides, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.isa import choose
from vs_smsr.engine.memory import HostMemory
from vs_smsr.engine.staged import StagedFrame
from vs_smsr.engine.stores import InMemory, OnDisk, WriteBehind
from vs_smsr.engine.window import whole
from vs_smsr.errors import EngineError, MemoryBudgetError
from vs_smsr.families import smsr
from vs_smsr.options import TilingOptions, parse_bytes
from vs_smsr.tiling import Sequence, TemporalTile, Tiler, open_tile
from vs_smsr.tiling.geometry import cover
from vs_smsr.tiling.planner import plan
from vs_smsr.tiling.scheduler import WARM_UP
from vs_smsr.tiling.tile_state import psnr
from vs_smsr.weights import Weights

Frame = np.ndarray[Any, Any]
PRECISIONS = ["fp32", "bf16"] if choose().bf16 else ["fp32"]


def weights(scale: int = 2, seed: int = 5) -> Weights:
    """Random weights whose features stay near 1 and whose masks are active at about half of the pixels."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in smsr.spec(scale).shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 80 if name == "head.0.weight" else 1.4
        tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    return Weights(smsr.spec(scale), tensors)


@pytest.fixture(scope="module", params=PRECISIONS)
def engine(request: pytest.FixtureRequest) -> CpuEngine:
    return CpuEngine(weights(), threads=2, precision=request.param)


def picture(height: int, width: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 128 + 80 * np.sin(x / 5)[..., None] * np.cos(y / 7)[..., None] + rng.normal(0, 20, (height, width, 3))
    return np.clip(base, 0, 255).astype(np.float32)


def same(a: Upscaled, b: Upscaled) -> bool:
    return (
        np.array_equal(a.frame, b.frame)
        and all(map(np.array_equal, a.masks, b.masks))
        and all(map(np.array_equal, a.attention, b.attention))
        and a.sparsity == b.sparsity
    )


# Tiles


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 75),
    width=st.integers(1, 75),
    tile=st.integers(16, 90),
    held=st.booleans(),
    seed=st.integers(0, 9),
)
def test_tiled_equals_untiled(engine: CpuEngine, height: int, width: int, tile: int, held: bool, seed: int) -> None:
    frame = picture(height, width, seed)
    attention = engine.upscale(picture(20, 20)).attention if held else None
    expected = Tiler(engine).upscale(frame, attention)
    assert expected.frame.shape == (2 * height, 2 * width, 3)
    assert same(Tiler(engine, TilingOptions(tile=tile)).upscale(frame, attention), expected)


def test_independent_tiles_equal_untiled() -> None:
    engine = CpuEngine(weights(), threads=2)
    frame = picture(150, 420)
    attention = engine.upscale(picture(20, 20)).attention
    tiler = Tiler(engine, TilingOptions(tile=260))  # 196 pixels of it without the larger halo
    assert same(tiler.upscale(frame, attention), Tiler(engine).upscale(frame, attention))


@pytest.mark.parametrize("on_disk", [False, True])
def test_staged_frames_with_masks_given(engine: CpuEngine, on_disk: bool) -> None:
    frame, overrides = picture(46, 62), Overrides(masks=tuple(np.random.default_rng(1).random((5, 46, 62)) < 0.3))
    behind, stages = WriteBehind(), range(smsr.spec(2).stages)
    stores = [OnDisk(46, 62, behind) if on_disk else InMemory(46, 62) for _ in stages]
    staged = StagedFrame(engine, stores, 46, 62)
    assert same(staged.upscale(frame, overrides, cover(whole(46, 62), 24, 18)), engine.upscale(frame, overrides))


@pytest.mark.parametrize("scale", [3, 4])
def test_tiles_at_other_scales(scale: int) -> None:
    engine = CpuEngine(weights(scale), threads=1)
    frame = picture(41, 50)
    assert same(Tiler(engine, TilingOptions(tile=20)).upscale(frame), Tiler(engine).upscale(frame))


# Clips


def moving(count: int, height: int = 96, width: int = 120) -> list[Frame]:
    """A still picture with a square that moves."""
    frames = []
    for n in range(count):
        frame = picture(height, width)
        frame[30:46, 20 + 6 * n : 36 + 6 * n] = 250 - 10 * n
        frames.append(frame)
    return frames


def results(engine: CpuEngine, frames: list[Frame], **options: Any) -> list[Any]:
    sequence = Sequence(Tiler(engine, TilingOptions(**options)))
    return [sequence.upscale(frame) for frame in frames]


def budget_for(engine: CpuEngine, keep: str, height: int, width: int) -> int:
    """A budget with which a plan keeps that of the last frame."""
    engine.memory.release()  # as the scheduler does before it plans: idle buffers do not count
    rich = plan(engine, height, width, TilingOptions(attention="held"))
    assert rich.keep == "features"
    spared = {"features": 0, "regions": rich.bytes["features"] // 2}[keep]
    return rich.total - spared + (1 << 20)


@pytest.mark.parametrize("keep", ["features", "regions"])
def test_reuse_changes_no_bit(engine: CpuEngine, keep: str) -> None:
    frames = moving(5)
    frames[3:3] = [frames[2], frames[0]]  # one again, and back to the first
    frames.append(picture(96, 120, seed=3))  # nothing in common
    expected = results(engine, frames, attention="held", reuse="off")
    tiler = Tiler(engine, TilingOptions(attention="held", memory=budget_for(engine, keep, 96, 120)))
    assert tiler.plan(96, 120).keep == keep
    sequence = Sequence(tiler)
    got = [sequence.upscale(frame) for frame in frames]
    for n, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert same(a, b), n
        assert a.held == b.held == (n > 0)
    reused = [result.reused for result in got]
    assert reused[3] == 1
    assert reused[0] == reused[-1] == 0
    if keep == "features":  # made with the second frame; their halo is small enough for so small a frame
        assert reused[2] > 0.4
    kept = [result.frame.copy() for result in got]
    sequence.upscale(frames[1])
    assert all(map(np.array_equal, kept, [result.frame for result in got]))  # results are the caller's


def test_reuse_through_changes_of_every_size(engine: CpuEngine) -> None:
    """Pixels, lines, scattered noise, corners, odd sizes: what `FeatureReuse` skips must never matter."""
    rng = np.random.default_rng(8)
    frames = [picture(87, 101)]
    for n in range(10):
        frame = frames[-1].copy()
        if n % 3 == 0:
            frame[rng.integers(87), rng.integers(101)] = rng.uniform(0, 255, 3)
        elif n % 3 == 1:
            frame[rng.integers(87), : rng.integers(101)] = rng.uniform(0, 255)
            frame[-1, -1] = frame[0, 0] = rng.uniform(0, 255)
        else:
            frame[rng.random((87, 101)) < 0.001] += 5
        frames.append(frame)
    expected = results(engine, frames, attention="held", reuse="off")
    assert all(map(same, results(engine, frames, attention="held"), expected))


def test_frames_shown_twice_are_computed_once(engine: CpuEngine) -> None:
    frames = [frame for frame in moving(3, 40, 60) for _ in range(2)]
    counted = Counting(engine)
    got = results(counted, frames)  # type: ignore[arg-type]
    assert counted.calls == 3
    assert [result.reused for result in got] == [0, 1] * 3
    assert all(same(a, engine.upscale(frame)) for a, frame in zip(got, frames, strict=True))


def test_held_uses_the_first_frame_s_attention_and_auto_measures() -> None:
    engine = CpuEngine(weights(), threads=1)
    frames = moving(4)
    frames[3] = 255 - frames[3]
    held = results(engine, frames, attention="held")
    first = engine.upscale(frames[0])
    assert same(held[0], first)
    assert same(held[1], engine.upscale(frames[1], Overrides(attention=first.attention)))
    likeness = psnr(held[1].frame, engine.upscale(frames[1]).frame)
    auto = results(engine, frames, attention="auto", temporal_tile=3)
    expected = likeness > 55
    assert [result.held for result in auto] == [False, expected, expected, False]
    assert same(auto[1], held[1] if expected else engine.upscale(frames[1]))


@pytest.mark.parametrize("alike", [54.9, 55.1])
def test_auto_holds_from_55_db(monkeypatch: pytest.MonkeyPatch, alike: float) -> None:
    engine = CpuEngine(weights(), threads=1)
    monkeypatch.setattr("vs_smsr.tiling.tile_state.psnr", lambda a, b: alike)
    frames = moving(3)
    got = results(engine, frames, attention="auto")
    assert [result.held for result in got] == [False, alike > 55, alike > 55]
    own = [engine.upscale(frame) for frame in frames]
    assert all(map(same, got, own)) == (alike < 55)


def test_near_ignores_small_changes_and_no_others() -> None:
    engine = CpuEngine(weights(), threads=1)
    rng = np.random.default_rng(4)
    frames = [np.clip(picture(48, 64) + rng.uniform(-1, 1, (48, 64, 3)), 0, 255).astype(np.float32) for _ in range(4)]
    frames[2][10:20, 10:20] += 30
    near = results(engine, frames, attention="held", reuse="near:2")
    assert near[1].reused == 1
    assert same(near[3], near[1])
    replaced = np.where((np.abs(frames[2] - frames[0]) <= 2).all(axis=2, keepdims=True), frames[0], frames[2])
    expected = results(engine, [frames[0], replaced], attention="held", reuse="off")[1]
    assert same(near[2], expected)
    assert not same(results(engine, frames, attention="held", reuse="near:0.5")[1], near[1])
    own = results(engine, frames, attention="frame", reuse="near:2")
    assert [result.reused for result in own] == [0, 1, 0, 0]
    assert same(own[3], own[0])
    assert same(own[2], engine.upscale(frames[2]))


@pytest.mark.parametrize("attention", ["frame", "held", "auto"])
@pytest.mark.parametrize("reuse", ["exact", "near:3"])
def test_any_order_and_any_threads_give_the_same_bits(attention: str, reuse: str) -> None:
    frames = moving(6, 64, 80)
    expected = results(CpuEngine(weights(), threads=1), frames, attention=attention, reuse=reuse)
    engine = CpuEngine(weights(), threads=2)
    tile = open_tile(Tiler(engine, TilingOptions(attention=attention, reuse=reuse), in_flight=4), TemporalTile(0, 6))
    while (number := tile.awaits) is not None:
        assert same(tile.upscale(number, frames[number]), expected[number])
    order = [int(n) for n in np.random.default_rng(6).permutation([n for n in range(1, 6) for _ in range(3)])]
    found: list[Any] = [None] * len(order)
    turns = itertools.count()

    def work() -> None:
        while (turn := next(turns)) < len(order):
            found[turn] = tile.upscale(order[turn], frames[order[turn]])

    run_in_threads(work, 4)
    assert all(same(result, expected[n]) for result, n in zip(found, order, strict=True))


def run_in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_clip_entered_at_a_temporal_tile_gives_the_same_frames() -> None:
    engine = CpuEngine(weights(), threads=1)
    frames = [picture(30, 40, n // 3) for n in range(8)]
    options = TilingOptions(attention="held", temporal_tile=4)
    all_frames = Sequence(Tiler(engine, options))
    expected = [all_frames.upscale(frame) for frame in frames]
    later = Sequence(Tiler(engine, options), number=4)
    assert all(same(later.upscale(frame), want) for frame, want in zip(frames[4:], expected[4:], strict=True))


# Memory


class Counting:
    """An engine that counts how often it allocates, and fails where it is told to."""

    def __init__(self, engine: CpuEngine, fail_at: Callable[[int], bool] = lambda call: False) -> None:
        self._engine, self._fail_at = engine, fail_at
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _allocate(self) -> None:
        self.calls += 1
        if self._fail_at(self.calls):
            raise MemoryBudgetError("injected")

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        if frame.shape[:2] != WARM_UP:
            self._allocate()
        return self._engine.upscale(frame, overrides)

    @contextmanager
    def open(self, height: int, width: int) -> Iterator[Any]:
        if height * width > prod(WARM_UP):
            self._allocate()
        with self._engine.open(height, width) as ops:
            yield ops


@pytest.mark.parametrize("attention", ["frame", "held", "auto"])
@pytest.mark.parametrize("fail_at", [1, 2, 3, 4, 7, 12, 20, 26])
def test_when_memory_runs_out_every_frame_still_comes_once(attention: str, fail_at: int) -> None:
    engine = CpuEngine(weights(), threads=2)
    frames = moving(4, 64, 70)
    expected = results(engine, frames, attention=attention)
    failing = Counting(engine, lambda call: call == fail_at)
    got = results(failing, frames, attention=attention)  # type: ignore[arg-type]
    assert all(map(same, got, expected))
    assert failing.calls >= fail_at or attention != "held"


def test_when_memory_runs_out_again_and_again_tiles_get_smaller(caplog: pytest.LogCaptureFixture) -> None:
    engine = CpuEngine(weights(), threads=2)
    frame = picture(96, 140)
    failing = Counting(engine, lambda call: call in (1, 4))
    tiler = Tiler(failing)  # type: ignore[arg-type]
    assert same(tiler.upscale(frame), engine.upscale(frame))
    assert same(tiler.upscale(frame), engine.upscale(frame))
    assert [record.getMessage().split("tiles of ")[1].split()[0] for record in caplog.records] == ["70", "34"]
    hopeless = Tiler(Counting(engine, lambda call: True))  # type: ignore[arg-type]
    with pytest.raises(MemoryBudgetError, match="not enough for a frame of 140x96 even in tiles of 34"):
        hopeless.upscale(frame)


def test_an_allocation_of_the_engine_itself_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import vs_smsr.engine.cpu.arena as arena

    engine = CpuEngine(weights(), threads=1)
    frame = picture(64, 96)
    expected = CpuEngine(weights(), threads=1).upscale(frame)
    made = itertools.count(1)
    real = np.zeros

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def zeros(self, count: int, dtype: Any) -> Any:
            if count > 30_000 and next(made) == 3:  # not what the tiler warms up with
                raise MemoryError
            return real(count, dtype)

    monkeypatch.setattr(arena, "np", Failing())
    tiler = Tiler(engine)
    assert same(tiler.upscale(frame), expected)
    assert next(made) > 4


@pytest.mark.parametrize("attention", ["frame", "held"])
def test_plans_grow_with_the_budget_and_are_kept(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vs_smsr.engine.memory.resident", lambda: 200 << 20)
    engine = CpuEngine(weights(), threads=1)
    options = TilingOptions(attention=attention)
    with pytest.raises(MemoryBudgetError, match=r"at least [\d.]+[MG] for frames of 1920x1080"):
        plan(engine, 1080, 1920, dataclasses.replace(options, memory=1 << 20))
    try:
        plan(engine, 1080, 1920, dataclasses.replace(options, memory=1 << 20))
    except MemoryBudgetError as error:
        smallest = str(error).split("at least ")[1].split()[0]
    least = plan(engine, 1080, 1920, dataclasses.replace(options, memory=parse_bytes(smallest)))
    assert least.tile == 32
    ladder = [least]
    for budget in (1 << 30, 2 << 30, 4 << 30, 16 << 30):
        ladder.append(plan(engine, 1080, 1920, dataclasses.replace(options, memory=budget)))
    sides = [one.tile or 9999 for one in ladder]
    assert sides == sorted(sides)
    assert ladder[-1].tile is None
    assert ladder[-1].keep == ("features" if attention == "held" else "frames")
    for one in ladder:
        assert one.total <= one.budget
        assert one.total == sum(one.bytes.values())


class DeviceMemory(HostMemory):
    """As a GPU tells it: what the host has is not its."""

    on_host = False

    def __init__(self, in_use: int, workspace: Callable[[int, int], int]) -> None:
        super().__init__(256, workspace)
        self._in_use = in_use

    def in_use(self) -> int:
        return self._in_use


def test_features_beside_a_gpu_take_a_share_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is the GPU's; the stores lie on the host and are bounded by what is free there."""

    class Gpu:
        name, weights, capabilities = "cuda", weights(), Capabilities()
        memory = DeviceMemory(in_use=100 << 20, workspace=lambda height, width: 1000 * height * width)

    store = 256 * 1080 * 1920
    found = {}
    for free in (0, 3 * store, 60 * store):
        monkeypatch.setattr("vs_smsr.engine.memory.available", lambda free=free: free)
        options = TilingOptions(memory=8 << 30, attention="held")
        tiled = plan(Gpu(), 1080, 1920, dataclasses.replace(options, memory=500 << 20))  # type: ignore[arg-type]
        found[free // store] = plan(Gpu(), 1080, 1920, options).keep, tiled.in_memory  # type: ignore[arg-type]
        assert tiled.tile
        assert tiled.bytes["features"] == 0
    assert found == {0: ("regions", 0), 3: ("regions", 1), 60: ("features", 6)}


def test_the_buffers_of_the_last_size_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process holds, as the planner measures it, has nothing of the frames of another size before."""
    engine = CpuEngine(weights(), threads=1)
    tiler = Tiler(engine, TilingOptions(memory=16 << 30))
    held: list[int] = []

    def resident() -> int:
        held.append(sum(a.nbytes for space in engine._idle for a in space._arena._arrays.values()))
        return 200 << 20

    monkeypatch.setattr("vs_smsr.engine.memory.resident", resident)
    for width in (64, 66, 64):
        tiler.upscale(np.full((32, width, 3), 128, np.float32))
    assert held == [0, 0], "each size is planned once"


def test_frames_of_two_sizes_take_turns() -> None:
    """From many threads at once: never both sizes at the same time, no more frames than planned, the right bits."""
    engine = CpuEngine(weights(), threads=1)
    frames = [picture(32, 48), picture(48, 32)]
    expected = [engine.upscale(frame) for frame in frames]
    inside: list[tuple[int, ...]] = []
    seen: set[tuple[tuple[int, ...], ...]] = set()

    class Watched(Counting):
        def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
            inside.append(frame.shape)
            seen.add(tuple(inside))
            time.sleep(0.005)
            result = super().upscale(frame, overrides)
            inside.remove(frame.shape)
            return result

    tiler = Tiler(Watched(engine), TilingOptions(memory=16 << 30), in_flight=2)  # type: ignore[arg-type]
    found: list[Any] = [None] * 40
    turns = itertools.count()

    def work() -> None:
        while (turn := next(turns)) < len(found):
            found[turn] = tiler.upscale(frames[turn // 3 % 2])

    run_in_threads(work, 5)
    assert all(same(result, expected[turn // 3 % 2]) for turn, result in enumerate(found))
    assert all(len(set(sizes)) == 1 and len(sizes) <= 2 for sizes in seen)
    assert {sizes[0] for sizes in seen if len(sizes) == 2} == {(32, 48, 3), (48, 32, 3)}, "two at a time are possible"


def test_a_smaller_tile_is_remembered_while_other_sizes_come(caplog: pytest.LogCaptureFixture) -> None:
    engine = CpuEngine(weights(), threads=1)
    tiler = Tiler(Counting(engine, lambda call: call == 1))  # type: ignore[arg-type]
    for frame in (picture(96, 140), picture(40, 40), picture(96, 140)):
        assert same(tiler.upscale(frame), engine.upscale(frame))
    assert len(caplog.records) == 1
    assert tiler.plan(96, 140).tile == 70


def test_helper_threads_end_with_their_engine() -> None:
    engine = CpuEngine(weights(), threads=3)
    helpers = list(engine._pool._helpers)
    assert [helper.is_alive() for helper in helpers] == [True, True]
    del engine
    gc.collect()
    for helper in helpers:
        helper.join(10)
    assert [helper.is_alive() for helper in helpers] == [False, False]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
def test_a_full_disk_is_told_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/somewhere")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/somewhere")
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115  # the store closes it
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    store = OnDisk(4, 4, WriteBehind())
    store.write(whole(4, 4), np.zeros((4, 4, 64), np.float32))  # behind the next window
    with pytest.raises(EngineError, match=r"/somewhere: No space left on device\. Make room there, set TMPDIR"):
        store.read(whole(4, 4))


def test_engine_buffers_are_what_was_planned() -> None:
    engine = CpuEngine(weights(), threads=1)
    frame = np.full((64, 96, 3), 128, np.float32)
    engine.upscale(frame, Overrides(masks=(np.ones((64, 96), np.uint8),) * 5))
    held = sum(array.nbytes for array in engine._idle[0]._arena._arrays.values())
    assert held <= engine.memory.workspace(64, 96) <= 1.05 * held
    with engine.open(64, 96) as ops:
        ops.head(frame)
        features = ops.read("head", whole(64, 96))
    assert features.nbytes == engine.memory.feature_bytes * 64 * 96
