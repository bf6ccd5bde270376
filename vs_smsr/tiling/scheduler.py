"""Who may compute when frames of several sizes come from several threads, each size by its own plan."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from vs_smsr.engine.contract import Engine, Overrides
from vs_smsr.engine.kept import KeptFrame
from vs_smsr.engine.staged import StagedFrame, store_size, stored
from vs_smsr.engine.stores import Copiers, Store
from vs_smsr.engine.window import whole
from vs_smsr.options import TilingOptions
from vs_smsr.tiling.changes import FeatureReuse
from vs_smsr.tiling.geometry import cover, rectangles
from vs_smsr.tiling.planner import FramePlan, plan
from vs_smsr.tiling.reuse import changed_pixels
from vs_smsr.tiling.runner import FrameRunner
from vs_smsr.tiling.settle import noise

log = logging.getLogger(__name__)
_Key = tuple[int, int, int]  # height, width, overhead
WARM_UP = (16, 16)  # height and width of the first frame
PATIENCE = 10.0  # seconds until whoever waits is told why
RUNNERS = 64  # that are remembered, with the tile sizes that they have learned to need


@contextmanager
def _told(patience: float) -> Iterator[None]:
    """Where the block takes longer, kernels are being compiled, or the machine is busy; nothing else says so."""
    text = "kernels are being loaded; the first time on a machine they are compiled, which takes a while"
    timer = threading.Timer(patience, log.warning, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Scheduler:
    """One runner for each (height, width, overhead), and turns between them.

    A plan assumes that nothing but its own frames takes memory. So frames of one runner run at the same time, as many
    as its plan says, and those of all others wait; before another runner's first frame, everything is given back that
    the engine and the runners hold between frames. Whoever comes later waits behind, so nobody waits for ever.

    Args:
        engine: where the network runs; nobody else may use its memory meanwhile.
        options: memory budget and what is kept.
        in_flight: most frames that will be asked for at the same time.
        tiles: temporal tiles that are kept at the same time.
    """

    def __init__(self, engine: Engine, options: TilingOptions, *, in_flight: int, tiles: int) -> None:
        self._engine, self._options = engine, options
        self._in_flight, self._tiles = in_flight, tiles
        self._entry = threading.Lock()
        self._change = threading.Condition()
        self._runners: dict[_Key, FrameRunner] = {}
        self._current: FrameRunner | None = None  # what was kept of all others has been given back
        self._inside = 0  # frames that it is computing
        self._warm = False

    def plan(self, height: int, width: int, overhead: int = 0) -> FramePlan:
        """The plan for frames of that (even) size; made at the first call, while no frame is computed.

        Not to be called within a turn: it would wait for that turn's end.

        Raises:
            MemoryBudgetError: the budget is too small; the message names the smallest that is not.
        """
        key = height, width, overhead
        runner = self._runners.get(key)
        if runner is None:
            with self._entry:
                self._wait(None)
                runner = self._switch(key)
        return runner.plan

    @contextmanager
    def turn(self, height: int, width: int, overhead: int = 0) -> Iterator[FrameRunner]:
        """The runner for a frame of that (even) size, once it is its turn and there is room for one more frame.

        Not to be nested in one thread: it could wait for itself.

        Args:
            overhead: bytes that the rest of the program takes beside the frames of this turn.
        Raises:
            MemoryBudgetError: as `plan`.
        """
        key = height, width, overhead
        with self._entry:  # whoever comes later waits behind
            self._wait(self._runners.get(key))
            runner = self._switch(key)
            with self._change:
                self._inside += 1
        try:
            yield runner
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    def _wait(self, runner: FrameRunner | None) -> None:
        """Until that runner may begin a frame; until no frame is computed if it is not the current one."""

        def ready() -> bool:
            if self._inside and runner is not None and runner is self._current:
                return self._inside < runner.plan.in_flight
            return not self._inside

        with self._change:
            self._change.wait_for(ready)

    def _switch(self, key: _Key) -> FrameRunner:
        """The runner for that key, now the current one; if it is not yet, no frame may be computed."""
        runner = self._runners.get(key)
        if runner is not None and runner is self._current:
            return runner
        if not self._warm:
            with _told(PATIENCE):
                self._warm_up()
            self._warm = True
        self._make_room()
        if runner is None:
            runner = self._planned(key)
        self._engine.memory.limit(runner.plan.budget)
        self._current = runner
        return runner

    def _warm_up(self) -> None:
        """Load and compile what frames need, whole, in tiles or reused: it stays, so it counts as in use."""
        height, width = WARM_UP
        frame, every = np.zeros((height, width, 3), np.float32), np.ones((height, width), np.bool_)
        if self._options.has_temporal_tiles:
            noise(frame, frame)
            changed_pixels(frame, frame)
            rectangles(every, lambda window: window.area)
        means = self._engine.upscale(frame).means
        if self._engine.capabilities.windows:
            tiles, spec = cover(whole(height, width), height // 2, width), self._engine.weights.spec
            sides, copiers = store_size(spec, height, width), Copiers()
            stores = [Store(*sides, height // 2, copiers) for _ in stored(spec)]
            staged = StagedFrame(self._engine, stores, height, width)
            staged.upscale(frame, Overrides(), tiles)
            if self._options.has_temporal_tiles:
                kept = KeptFrame(self._engine, height, width)
                kept.upscale(frame, means)
                FeatureReuse(kept).update(frame + 1, every)  # another one, so that all is computed
        if self._engine.profile:
            self._engine.profile.clear()  # compiling is no part of a frame

    def _planned(self, key: _Key) -> FrameRunner:
        """A new runner, in place of the oldest where there are many."""
        height, width, overhead = key
        counts = {"overhead": overhead, "in_flight": self._in_flight, "tiles": self._tiles}
        runner = FrameRunner(self._engine, plan(self._engine, height, width, self._options, **counts))
        while len(self._runners) >= RUNNERS:
            del self._runners[next(iter(self._runners))]
        self._runners[key] = runner
        return runner

    def _make_room(self) -> None:
        """Give back what frames before have left."""
        for runner in self._runners.values():
            runner.release()
        self._engine.memory.release()
