"""Recompute only what changed since a frame that is at hand, the channel attention being the same: bit for bit.

A pixel whose inputs within the network's reach are unchanged keeps its output. `Regions` asks the engine for windows
with the whole network's halo (44 pixels); `Stages` keeps the features of every stage and follows the changes from
stage to stage (8 pixels), comparing bits in between, so that a change that fades out stops there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Engine, Frame, Mask, State, Upscaled
from vs_smsr.engine.tiled import Features, TiledWalk
from vs_smsr.engine.window import (
    Span,
    Window,
    end_affects,
    end_needs,
    head_affects,
    head_needs,
    network_affects,
    network_needs,
    smm_affects,
    smm_needs,
)
from vs_smsr.tiling.geometry import cover, rectangles
from vs_smsr.weights import MODULES

Changed = NDArray[np.bool_]  # (H, W)
Reach = Callable[[Span], Span]
WORTHWHILE = 0.8  # of the frame's work; a saving below that is not worth the trouble
FIXED = 2000  # pixels' worth of work that a window costs beside its pixels


def changed_pixels(a: Frame, b: Frame) -> Changed:
    """(H, W) where two frames (H, W, 3) differ."""
    changed: Changed = (a != b).any(axis=2)
    return changed


def _differs(a: Features, b: Features) -> Changed:
    """(h, w) where bits differ; 0 and -0 are not the same."""
    words = f"u{a.itemsize}"
    differs: Changed = (np.ascontiguousarray(a).view(words) != np.ascontiguousarray(b).view(words)).any(axis=2)
    return differs


def _cost(bounds: Window, affects: Reach, needs: Reach) -> Callable[[Window], int]:
    return lambda window: window.spread(affects, bounds).spread(needs, bounds).area + FIXED


class Reuse(ABC):
    """The last frame that was computed, in a form from which the next can be made.

    Attributes:
        frame: its input (H, W, 3).
        masks, output: its result; arrays of this object, changed in place.
    """

    frame: Frame
    masks: tuple[Mask, ...]
    output: Frame
    bounds: Window

    @abstractmethod
    def work(self, changed: Changed) -> float:
        """Roughly what `update` would cost, as a share of a whole frame."""

    @abstractmethod
    def update(self, frame: Frame, changed: Changed) -> float:
        """Make `frame`, its masks and its output the current ones; returns the share of output pixels kept, 0..1.

        Raises:
            MemoryError: an allocation failed; the object cannot be used any more.
        """

    def _kept(self, computed: list[Window]) -> float:
        covered = np.zeros((self.bounds.height, self.bounds.width), np.bool_)
        for window in computed:
            covered[window.slices] = True
        return 1 - float(covered.mean())


class Regions(Reuse):
    """Regions through any engine.

    Args:
        frame, result: the last frame and what it gave.
        side: of a region, at most.
    """

    def __init__(self, engine: Engine, frame: Frame, result: Upscaled, side: int) -> None:
        self._side = side
        self._engine = engine
        self._scale = engine.weights.scale
        self._attention = result.attention
        self.frame, self.output = frame, result.frame.copy()
        self.masks = tuple(mask.copy() for mask in result.masks)
        self.bounds = Window(0, 0, *frame.shape[:2])
        self._cost = _cost(self.bounds, network_affects, network_needs)

    def work(self, changed: Changed) -> float:
        return sum(map(self._cost, rectangles(changed, self._cost))) / self.bounds.area

    def update(self, frame: Frame, changed: Changed) -> float:
        cores = [window.spread(network_affects, self.bounds) for window in rectangles(changed, self._cost)]
        for core in chain.from_iterable(cover(core, self._side, self._side) for core in cores):
            window = core.spread(network_needs, self.bounds)
            state = State(attention=self._attention)
            result = self._engine.upscale(np.ascontiguousarray(frame[window.slices]), state)
            inner = core.within(window)
            self.output[core.scaled(self._scale).slices] = result.frame[inner.scaled(self._scale).slices]
            for mask, new in zip(self.masks, result.masks, strict=True):
                mask[core.slices] = new[inner.slices]
        self.frame = frame
        return self._kept(cores)


class Stages(Reuse):
    """The features of every stage, in a `TiledWalk` that has computed a whole frame."""

    def __init__(self, walk: TiledWalk) -> None:
        self._walk = walk
        self.bounds = walk.bounds
        self._head = _cost(self.bounds, head_affects, head_needs)
        self._smm = _cost(self.bounds, smm_affects, smm_needs)
        self._end = _cost(self.bounds, end_affects, end_needs)

    @property
    def frame(self) -> Frame:  # type: ignore[override]
        return self._walk.frame

    @property
    def masks(self) -> tuple[Mask, ...]:  # type: ignore[override]
        return self._walk.masks

    @property
    def output(self) -> Frame:  # type: ignore[override]
        return self._walk.output

    def work(self, changed: Changed) -> float:
        """As if changes were to spread by the reach of two SMMs: about what they do in the mean over the stages."""

        def spread(window: Window) -> Window:
            return window.spread(smm_affects, self.bounds).spread(smm_affects, self.bounds)

        return sum(self._smm(spread(window)) for window in rectangles(changed, self._smm)) / self.bounds.area

    def update(self, frame: Frame, changed: Changed) -> float:
        walk = self._walk
        walk.frame = frame
        every = changed.copy()
        changed = self._stage(0, changed, self._head, head_affects, walk.head)
        every |= changed
        for module in range(MODULES):
            before = changed

            def compute(core: Window, module: int = module) -> Features:
                return walk.module(module, core)

            changed = self._stage(module + 1, before, self._smm, smm_affects, compute)
            every |= changed
        cores = [window.spread(end_affects, self.bounds) for window in rectangles(every, self._end)]
        for core in cores:
            walk.output[core.scaled(walk.scale).slices] = walk.end(core)
        return self._kept(cores)

    def _stage(
        self,
        stage: int,
        changed: Changed,
        cost: Callable[[Window], int],
        affects: Reach,
        compute: Callable[[Window], Features],
    ) -> Changed:
        """Recompute one stage around what changed in the stage before; returns where its bits differ."""
        store = self._walk.stores[stage]
        differs = np.zeros_like(changed)
        for window in rectangles(changed, cost):
            core = window.spread(affects, self.bounds)
            values = compute(core)
            new = _differs(values, store.read(core))
            if new.any():
                store.write(core, values)
                differs[core.slices] |= new
        return differs
