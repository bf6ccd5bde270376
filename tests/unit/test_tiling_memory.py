"""Memory and disks that run out while frames are computed, what plans take of them, and sizes that take turns."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vs_smsr.engine.contract import Capabilities, Frame, Overrides, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.memory import HostMemory
from vs_smsr.engine.staged import store_size
from vs_smsr.engine.window import whole
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.families import smsr
from vs_smsr.options import TilingOptions, parse_bytes
from vs_smsr.tiling import Tiler
from vs_smsr.tiling.planner import SHARE, plan

from .test_tiling import Counting, moving, picture, results, run_in_threads, same, weights


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
    real = arena.aligned

    def failing(count: int, dtype: Any) -> Any:
        if count > 30_000 and next(made) == 3:  # not what the tiler warms up with
            raise MemoryError
        return real(count, dtype)

    monkeypatch.setattr(arena, "aligned", failing)
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
    height, width = store_size(smsr.spec(2), 1080, 1920)
    rows, found = 4 * 256 * width, {}
    for free in (0, 3 * store, 60 * store):
        monkeypatch.setattr("vs_smsr.engine.memory.available", lambda free=free: free)
        options = TilingOptions(memory=8 << 30, attention="held")
        tiled = plan(Gpu(), 1080, 1920, dataclasses.replace(options, memory=500 << 20))  # type: ignore[arg-type]
        found[free // store] = plan(Gpu(), 1080, 1920, options).keep, tiled.in_memory  # type: ignore[arg-type]
        assert tiled.tile
        assert tiled.bytes["features"] == 0
    assert found == {0: ("regions", 0), 3: ("regions", int(SHARE * 3 * store) // rows), 60: ("features", height)}


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


@pytest.mark.parametrize("patience", [0.01, 60])
def test_who_waits_for_kernels_is_told_why(stand_in, monkeypatch, caplog, patience):
    class Slow(stand_in):
        def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
            time.sleep(0.2)
            return super().upscale(frame, overrides)

    monkeypatch.setattr("vs_smsr.tiling.scheduler.PATIENCE", patience)
    Tiler(Slow()).plan(16, 16)
    told = "kernels are being loaded; the first time on a machine they are compiled, which takes a while"
    assert caplog.messages == ([told] if patience < 1 else [])
