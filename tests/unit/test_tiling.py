"""Tiles, held attention and reuse against the engine run on whole frames: the same bits."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vs_smsr.engine.contract import Overrides, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.isa import choose
from vs_smsr.engine.staged import StagedFrame, store_size, stored
from vs_smsr.engine.stores import Copiers, Store
from vs_smsr.engine.window import whole
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.families import NetworkSpec, smsr
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, TemporalTile, Tiler, open_tile
from vs_smsr.tiling.geometry import cover
from vs_smsr.tiling.planner import plan
from vs_smsr.tiling.scheduler import WARM_UP
from vs_smsr.tiling.tile_state import psnr
from vs_smsr.weights import Weights

Frame = np.ndarray[Any, Any]
PRECISIONS = ["fp32", "bf16"] if choose().bf16 else ["fp32"]


def weights(scale: int = 2, seed: int = 5, spec: NetworkSpec | None = None) -> Weights:
    """Random weights whose features stay near 1 and whose masks are active at about half of the pixels."""
    rng, spec = np.random.default_rng(seed), spec or smsr.spec(scale)
    tensors = {}
    for name, shape in spec.shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 80 if name == "head.0.weight" else 1.4
        tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    return Weights(spec, tensors)


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
    means = engine.upscale(picture(20, 20)).means if held else None
    expected = Tiler(engine).upscale(frame, means)
    assert expected.frame.shape == (2 * height, 2 * width, 3)
    assert same(Tiler(engine, TilingOptions(tile=tile)).upscale(frame, means), expected)


def test_independent_tiles_equal_untiled() -> None:
    engine = CpuEngine(weights(), threads=2)
    frame = picture(150, 420)
    means = engine.upscale(picture(20, 20)).means
    tiler = Tiler(engine, TilingOptions(tile=260))  # 196 pixels of it without the larger halo
    assert same(tiler.upscale(frame, means), Tiler(engine).upscale(frame, means))


@pytest.mark.parametrize("in_memory", [0, 30, 78])
def test_staged_frames_with_masks_given(engine: CpuEngine, in_memory: int) -> None:
    frame, overrides = picture(46, 62), Overrides(masks=tuple(np.random.default_rng(1).random((5, 46, 62)) < 0.3))
    sides, copiers = store_size(smsr.spec(2), 46, 62), Copiers()
    assert sides == (78, 94)
    stores = [Store(*sides, in_memory, copiers) for _ in stored(smsr.spec(2))]
    staged = StagedFrame(engine, stores, 46, 62)
    assert same(staged.upscale(frame, overrides, cover(whole(46, 62), 24, 18)), engine.upscale(frame, overrides))


@pytest.mark.parametrize("blocks", [1, 2, 3, 6])
def test_tiles_of_networks_with_fewer_or_more_blocks(blocks: int) -> None:
    """What is collected of the blocks is stored by every second one."""
    spec = smsr.spec(2)
    assert spec.collect
    first, last = spec.collect
    body = tuple(renumbered(spec.blocks[0], k) for k in range(blocks))
    spec = replace(spec, blocks=body, collect=(replace(first, inputs=blocks * first.outputs), last))
    engine, frame = CpuEngine(weights(spec=spec), threads=1), picture(42, 50)
    assert same(Tiler(engine, TilingOptions(tile=20)).upscale(frame), Tiler(engine).upscale(frame))


def renumbered(part: Any, number: int) -> Any:
    """A part of "body.0" as one of another block: the same, but for names."""
    if isinstance(part, str):
        return part.replace("body.0", f"body.{number}")
    if isinstance(part, tuple):
        return tuple(renumbered(one, number) for one in part)
    if not is_dataclass(part):
        return part
    return replace(part, **{field.name: renumbered(getattr(part, field.name), number) for field in fields(part)})


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
    gc.collect()  # what tests before have left goes now, not between this plan and the tiler's
    engine.memory.release()  # as the scheduler does before it plans: idle buffers do not count
    rich = plan(engine, height, width, TilingOptions(attention="held"))
    assert rich.keep == "features"
    spared = {"features": 0, "regions": rich.bytes["features"] * 7 // 8}[keep]
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


def test_helper_threads_end_with_their_engine() -> None:
    engine = CpuEngine(weights(), threads=3)
    helpers = list(engine._pool._helpers)
    assert [helper.is_alive() for helper in helpers] == [True, True]
    del engine
    gc.collect()
    for helper in helpers:
        helper.join(10)
    assert [helper.is_alive() for helper in helpers] == [False, False]
