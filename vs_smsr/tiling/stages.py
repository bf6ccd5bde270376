"""Follow a change through the stages of the network and recompute the pixels that it reaches, no more.

With the features of all stages at hand, each stage is recomputed where its inputs changed, and its bits are compared
with the old ones: a change that comes to nothing, such as a mask branch that decides as before, goes no further. So a
change spreads by four pixels an SMM, where the network's reach says eight, and nothing is computed for a halo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.contract import Frame, Mask
from vs_smsr.engine.tiled import STAGES, Features, TiledWalk
from vs_smsr.engine.window import Span, Window, around, end_affects, head_affects, head_needs, mask_affects, mask_needs
from vs_smsr.tiling.geometry import rectangles
from vs_smsr.tiling.reuse import Changed, Reuse
from vs_smsr.weights import LAYERS, MODULES

Reach = Callable[[Span], Span]
COPIED = 0.1  # what a window's pixel costs that is not computed, only moved; computing one costs 1
FIXED = 1000  # what a window costs beside its pixels
MIDWAY = 14  # pixels: how far a change has come half the way through the network, and what is computed around it


class Stages(Reuse):
    """The features of every stage of the last frame, in a `TiledWalk` whose stores lie in memory."""

    def __init__(self, walk: TiledWalk) -> None:
        self._walk = walk
        self._engine = walk.engine
        self.bounds = walk.bounds

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
        return COPIED + float(_spread(changed, around(MIDWAY)).mean())

    def update(self, frame: Frame, changed: Changed) -> Changed:
        walk = self._walk
        walk.frame = frame
        every = changed.copy()
        changed = self._head(changed)
        every |= changed
        for module in range(MODULES):
            changed = self._module(module, changed, self._mask(module, changed))
            every |= changed
        wanted = _spread(every, end_affects)
        only = _spread(wanted, around(2))
        for core in self._cores(wanted, around(2)):
            result = walk.end(core, only)
            where = wanted[core.slices].repeat(walk.scale, 0).repeat(walk.scale, 1)
            np.copyto(walk.output[core.scaled(walk.scale).slices], result, where=where[..., None])
        return wanted

    def _head(self, changed: Changed) -> Changed:
        """Stage 0 where the input changed; returns where it differs."""
        wanted = _spread(changed, head_affects)
        only = _spread(wanted, around(1))
        differs = np.zeros_like(changed)
        for core in self._cores(wanted, head_needs):
            window = core.spread(head_needs, self.bounds)
            with self._engine.windowed(window.height, window.width) as ops:
                ops.only(only[window.slices])
                features = ops.head(np.ascontiguousarray(self.frame[window.slices]))
                values = ops.read(features, core.within(window))
            self._put(0, core, values, wanted, differs)
        return differs

    def _mask(self, module: int, changed: Changed) -> Changed:
        """The mask where its features changed; returns where it differs."""
        wanted = _spread(changed, mask_affects)
        differs = np.zeros_like(changed)
        for core in self._cores(wanted, mask_needs):
            window = core.spread(mask_needs, self.bounds)
            with self._engine.windowed(window.height, window.width) as ops:
                ops.only(wanted[window.slices])
                features = ops.write("features", self._walk.stores[module].read(window))
                new = ops.host_mask(ops.mask(module, features))[core.within(window).slices]
            old = self.masks[module][core.slices]
            new = np.where(wanted[core.slices], new, old)
            differs[core.slices] |= new != old
            old[:] = new
        return differs

    def _module(self, module: int, changed: Changed, flipped: Changed) -> Changed:
        """Stage module + 1 where the stage before it or the mask changed; returns where it differs."""
        walk = self._walk
        wanted = _spread(changed, around(LAYERS)) | _spread(flipped, around(LAYERS - 1))
        only = _spread(wanted, around(LAYERS - 1))
        differs = np.zeros_like(changed)
        for core in self._cores(wanted, around(LAYERS)):
            window = core.spread(around(LAYERS), self.bounds)
            with self._engine.windowed(window.height, window.width) as ops:
                ops.only(only[window.slices])
                features = ops.write("features", walk.stores[module].read(window))
                pixels = ops.select(ops.given_mask(self.masks[module][window.slices]))
                values = walk.masked(ops, module, features, pixels, core.within(window))
            self._put(module + 1, core, values, wanted, differs)
        return differs

    def _put(self, stage: int, core: Window, values: Features, wanted: Changed, differs: Changed) -> None:
        """Store what was computed of a stage where it is wanted; set in `differs` where it is new."""
        assert stage < STAGES, stage
        current = self._walk.stores[stage].read(core)  # a view: the stores lie in memory
        _merge(values.view(np.uint64), current.view(np.uint64), wanted[core.slices], differs[core.slices])

    def _cores(self, wanted: Changed, needs: Reach) -> Iterator[Window]:
        """Few windows with even sides that hold all wanted pixels."""

        def cost(window: Window) -> int:
            return FIXED + int(COPIED * window.spread(needs, self.bounds).area)

        for window in rectangles(wanted, cost):
            yield window.spread(around(0), self.bounds)


@compiled
def _merge(values, current, wanted, differs):  # type: ignore[no-untyped-def]
    """Where a wanted pixel of values (h, w, n) is not what is in current: put it there, and set it in differs (h, w).

    Whole numbers of 8 bytes are compared: 0 and -0 are not the same.
    """
    height, width, words = values.shape
    for y in range(height):
        for x in range(width):
            if wanted[y, x]:
                for i in range(words):
                    if values[y, x, i] != current[y, x, i]:
                        current[y, x] = values[y, x]
                        differs[y, x] = True
                        break


def _spread(changed: Changed, affects: Reach) -> Changed:
    """The pixels that changed ones affect (or a few more, where that depends on odd and even)."""
    spans = [(affects((x, x + 1)), x) for x in (0, 1)]
    before, after = max(x - span[0] for span, x in spans), max(span[1] - 1 - x for span, x in spans)
    square = np.ones((before + after + 1,) * 2, np.uint8)
    spread: Changed = cv2.dilate(changed.view(np.uint8), square, anchor=(after, after)).view(np.bool_)
    return spread
