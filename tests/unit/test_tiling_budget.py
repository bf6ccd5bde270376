"""The memory budget when everything comes at once, and what is kept between frames."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vs_smsr.engine.contract import Capabilities, Frame, Overrides, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.memory import HostMemory
from vs_smsr.jobs.arrays import conversion_bytes, upscale_array
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, TemporalTile, Tiler, open_tile
from vs_smsr.tiling.planner import plan
from vs_smsr.tiling.temporal import StartRule
from vs_smsr.weights import load, shipped

PROGRAM = 100 << 20


class MeteredMemory(HostMemory):
    """Counts what frames really hold; buffers that a frame left idle count until they are released.

    Attributes:
        peak: the most that was ever held, with the program.
        most: frames that were computed at the same time.
    """

    def __init__(self) -> None:
        super().__init__(feature_bytes=256, workspace=lambda height, width: 1000 * height * width)
        self.frames: list[int] = []  # bytes of each that is computed now
        self.overheads: list[int] = []
        self.buffers: list[int] = []  # of each workspace, busy or idle
        self.peak = self.most = 0

    def in_use(self) -> int:
        return PROGRAM + sum(self.buffers)

    def release(self) -> None:
        assert not self.frames, "buffers are given back while no frame is computed"
        self.buffers.clear()

    def begin(self, height: int, width: int, frame: int, overhead: int) -> None:
        self.frames.append(frame)
        self.overheads.append(overhead)
        needed = self.workspace(height, width)
        if len(self.buffers) < len(self.frames):
            self.buffers.append(needed)
        self.buffers[len(self.frames) - 1] = max(self.buffers[len(self.frames) - 1], needed)
        self.most = max(self.most, len(self.frames))
        self.peak = max(self.peak, PROGRAM + sum(self.buffers) + sum(self.frames) + max(self.overheads))

    def end(self, frame: int, overhead: int) -> None:
        self.frames.remove(frame)
        self.overheads.remove(overhead)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_sizes_and_types_at_once_keep_the_budget(stand_in: type[Any], in_flight: int) -> None:
    """A budget that serves each of them alone serves all of them from many threads."""
    caller = threading.local()
    lock = threading.Lock()

    class Metered(stand_in):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.memory = MeteredMemory()

        def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
            taken = (1 + self.weights.scale**2) * frame.nbytes
            overhead = getattr(caller, "overhead", 0)
            with lock:
                self.memory.begin(*frame.shape[:2], taken, overhead)
            time.sleep(0.002)
            with lock:
                self.memory.end(taken, overhead)
            result: Upscaled = super().upscale(frame, overrides)
            return result

    rng = np.random.default_rng(0)
    small, large = rng.integers(0, 256, (64, 96, 3), np.uint8), rng.random((66, 96, 3), np.float32)
    frame = small.astype(np.float32)
    much = 10 << 20  # so that there is room for one such frame, but for two of all others
    kinds: list[tuple[Frame, int, Callable[[Tiler], Frame]]] = [
        (small, conversion_bytes(small, 2), lambda tiler: upscale_array(tiler, small).pixels),
        (large, conversion_bytes(large, 2), lambda tiler: upscale_array(tiler, large).pixels),
        (frame, much, lambda tiler: tiler.upscale(frame, overhead=much).frame),
    ]
    options = TilingOptions(reuse="off")
    budget = plan(Metered(), 64, 96, options, overhead=much).total
    assert plan(Metered(), 66, 96, options, overhead=kinds[1][1], in_flight=2).total < budget
    engine = Metered()
    tiler = Tiler(engine, TilingOptions(memory=budget, reuse="off"), in_flight=in_flight)
    expected = [run(Tiler(stand_in())) for _, _, run in kinds]
    turns, wrong = itertools.count(), []

    def work() -> None:
        while (turn := next(turns)) < 240:
            n = turn // 4 % 3
            _, caller.overhead, run = kinds[n]
            if not np.array_equal(run(tiler), expected[n]):
                wrong.append(turn)

    run_in_threads(work, 6)
    assert not wrong
    assert len(engine.frames) == 240
    assert engine.memory.peak == budget
    assert engine.memory.most == in_flight


def run_in_threads(work: Any, count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_plan_changes_nothing(stand_in: type[Any]) -> None:
    class Untouched(HostMemory):
        def in_use(self) -> int:
            return PROGRAM

        def available(self) -> int:
            return 1 << 30

        def limit(self, total: int) -> None:
            raise AssertionError("a plan sets no limit")

        def release(self) -> None:
            raise AssertionError("a plan gives nothing back")

    engine = stand_in()
    engine.memory = Untouched(256, lambda height, width: 1000 * height * width)
    engine.capabilities = Capabilities()
    plans = [plan(engine, 480, 640, TilingOptions(), overhead=overhead) for overhead in (0, 300 << 20, 0)]
    assert plans[0] == plans[2]
    assert plans[0].tile is None
    assert plans[1].bytes["decoder and encoder"] == 300 << 20
    assert engine.frames == []


@pytest.fixture(scope="module")
def network() -> CpuEngine:
    return CpuEngine(load(shipped(2)), threads=1)


def picture(height: int, width: int) -> Frame:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 5 % 256, y * 3 % 256, (x + y) * 2 % 256], axis=2).astype(np.float32)


def test_what_is_kept_goes_when_another_size_has_its_turn(network: CpuEngine) -> None:
    tiler = Tiler(network, TilingOptions(attention="held", memory=8 << 30))
    one, other = Sequence(tiler), Sequence(tiler)
    small, large = picture(48, 64), picture(64, 80)
    first = one.upscale(small)
    again = one.upscale(small)
    assert again.reused == 1
    other.upscale(large)
    after = one.upscale(small)
    assert after.reused == 0, "its features were given back"
    assert one.upscale(small).reused == 1, "and are kept again"
    assert np.array_equal(first.frame, again.frame)
    assert np.array_equal(first.frame, after.frame)


def test_no_more_temporal_tiles_are_kept_than_planned(network: CpuEngine) -> None:
    options = TilingOptions(attention="held", memory=8 << 30)
    for kept in (1, 2):
        tiler = Tiler(network, options, tiles=kept)
        sequences = [Sequence(tiler), Sequence(tiler)]
        reused = [sequence.upscale(picture(48, 64)).reused for _ in range(2) for sequence in sequences]
        assert reused == ([0, 0, 0, 0] if kept == 1 else [0, 0, 1, 1])


# Temporal tiles


def test_a_temporal_tile_says_which_frame_must_come(network: CpuEngine) -> None:
    frames = {n: picture(32, 40) + np.float32(n) for n in range(8, 12)}
    awaited = {"frame": [8, None], "held": [8, None], "auto": [8, 9, None]}
    for attention, numbers in awaited.items():
        tiler = Tiler(network, TilingOptions(attention=attention, reuse="near:0.5"))  # type: ignore[arg-type]
        tile = open_tile(tiler, TemporalTile(8, 12))
        assert tile.awaits == 8
        with pytest.raises(ValueError, match="next frame must be frame 8, got frame 9"):
            tile.upscale(9, frames[9])
        for number, following in itertools.pairwise(numbers):
            assert number is not None
            assert not tile.upscale(number, frames[number]).held or number > 8
            assert tile.awaits == following
        for number in (11, 8, 10):
            result = tile.upscale(number, frames[number])
            assert result.held == (bool(tile.held) and number != 8)
        with pytest.raises(ValueError, match=r"a frame of TemporalTile.*, got frame 12"):
            tile.upscale(12, frames[11])


def test_a_tile_ends_at_a_multiple_at_the_latest() -> None:
    rule = StartRule(5)
    assert [rule.tile(start) for start in (0, 4, 5, 7)] == [
        TemporalTile(0, 5),
        TemporalTile(4, 5),
        TemporalTile(5, 10),
        TemporalTile(7, 10),
    ]
    assert 7 in rule.tile(5)
    assert 10 not in rule.tile(5)
