"""Follow a change through the stages of the network and recompute the pixels that it reaches, no more.

With the features of all stages at hand, each stage is recomputed where its inputs changed, and its bits are compared
with the old ones: a change that comes to nothing, such as a mask branch that decides as before, goes no further. So a
change spreads by the radius of a block's layers, not by the reach of its mask branch, and nothing is computed for a
halo.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.contract import Frame, Mask
from vs_smsr.engine.interpreter import gradient_mask
from vs_smsr.engine.kept import KeptFrame
from vs_smsr.engine.reach import around
from vs_smsr.engine.window import Reach, Window
from vs_smsr.families import GradientMask
from vs_smsr.tiling.geometry import rectangles, rows
from vs_smsr.tiling.reuse import Changed, Reuse

MOVE_COST = 0.1  # of a window's pixel that is moved, not computed; computing one costs 1
WINDOW_COST = 1000  # pixels' worth of work that a window costs beside its pixels


class FeatureReuse(Reuse):
    """The features of every stage of the last frame."""

    def __init__(self, kept: KeptFrame) -> None:
        self._kept = kept
        self._spec, self._reach = kept.spec, kept.reach
        self.bounds = kept.bounds

    @property
    def frame(self) -> Frame:  # type: ignore[override]
        return self._kept.frame

    @property
    def masks(self) -> tuple[Mask, ...]:  # type: ignore[override]
        return self._kept.masks

    @property
    def output(self) -> Frame:  # type: ignore[override]
        return self._kept.output

    def work(self, changed: Changed) -> float:
        return MOVE_COST + float(affected(changed, around(self._reach.midway)).mean())

    def update(self, frame: Frame, changed: Changed) -> Changed:
        self._kept.frame = frame
        every = changed.copy()
        changed = self._head(changed)
        every |= changed
        for block in range(len(self._spec.blocks)):
            changed = self._block(block, changed, self._mask(block, changed))
            every |= changed
        return self._end(every)

    def _head(self, changed: Changed) -> Changed:
        """Stage 0 where the input changed; returns where it differs."""
        needs = around(self._reach.head)
        wanted = affected(changed, needs)
        only = affected(wanted, around(self._reach.head - self._spec.head[0].radius))
        differs = np.zeros_like(changed)
        for core in self._cores(wanted, needs):
            differs[core.slices] = self._kept.head(core, wanted, only)
        return differs

    def _mask(self, block: int, changed: Changed) -> Changed:
        """A block's mask where its features changed; returns where it differs."""
        differs = np.zeros_like(changed)
        branch, kind = self._reach.blocks[block].mask, self._spec.blocks[block].mask
        if isinstance(kind, GradientMask):
            new = gradient_mask(self.frame, kind)
            differs[:] = new != self.masks[block]
            self.masks[block][:] = new
        if branch is None:
            return differs
        wanted = affected(changed, branch.affects)
        for core in self._cores(wanted, branch.needs):
            new, old = self._kept.mask(block, core, wanted), self.masks[block]
            _replace(old[core.slices], new, wanted[core.slices], differs[core.slices])
        return differs

    def _block(self, block: int, changed: Changed, flipped: Changed) -> Changed:
        """Stage block + 1 where the stage before it or its mask changed; returns where it differs."""
        reach = self._reach.blocks[block]
        layers, later_layers = around(reach.layers), around(reach.masked)
        wanted = affected(changed, layers)
        if flipped.any():
            wanted |= affected(flipped, later_layers)
        only = affected(wanted, later_layers)
        differs = np.zeros_like(changed)
        for core in self._cores(wanted, layers):
            differs[core.slices] = self._kept.masked(block, core, wanted, only)
        return differs

    def _end(self, changed: Changed) -> Changed:
        """The result where the input or a stage changed; returns where it was computed."""
        needs, scale = self._reach.end.needs, self._spec.scale
        wanted = affected(changed, self._reach.end.affects)
        only = affected(wanted, needs)
        for core in self._cores(wanted, needs):
            result, mask = self._kept.end(core, wanted, only)
            here = wanted[core.slices]
            _paste(self.output[core.scaled(scale).slices], result, here, scale)
            if mask is not None:
                np.copyto(self.masks[-1][core.slices], mask, where=here)
        return wanted

    def _cores(self, wanted: Changed, needs: Reach) -> Iterator[Window]:
        """Few windows with even sides that hold all wanted pixels: whole rows, where moving those costs nothing."""
        if self._kept.in_place:
            yield from rows(wanted)
            return

        def cost(window: Window) -> int:
            return WINDOW_COST + int(MOVE_COST * window.expand(needs, self.bounds).area)

        for window in rectangles(wanted, cost):
            yield window.expand(around(0), self.bounds)


@compiled
def _replace(old, new, wanted, differs):  # type: ignore[no-untyped-def]
    """old = new at the wanted pixels of (h, w); differs where it was another."""
    for y in range(old.shape[0]):
        for x in range(old.shape[1]):
            if wanted[y, x] and old[y, x] != new[y, x]:
                old[y, x] = new[y, x]
                differs[y, x] = True


@compiled
def _paste(large, new, wanted, scale):  # type: ignore[no-untyped-def]
    """large = new, both (scale * h, scale * w, 3), at the wanted pixels of (h, w); run by run."""
    width = wanted.shape[1]
    for row in range(wanted.shape[0]):
        x = 0
        while x < width:
            start = x
            while x < width and wanted[row, x]:
                x += 1
            for y in range(scale * row, scale * (row + 1) if start < x else 0):
                for i in range(scale * start, scale * x):
                    for c in range(3):
                        large[y, i, c] = new[y, i, c]
            x += 1


def affected(changed: Changed, affects: Reach) -> Changed:
    """The pixels that changed ones affect (or a few more, where that depends on odd and even)."""
    spans = [(affects((x, x + 1)), x) for x in (0, 1)]
    before, after = max(x - span[0] for span, x in spans), max(span[1] - 1 - x for span, x in spans)
    square = np.ones((before + after + 1,) * 2, np.uint8)
    reached: Changed = cv2.dilate(changed.view(np.uint8), square, anchor=(after, after)).view(np.bool_)
    return reached
