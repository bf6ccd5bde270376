"""Frames of one size through an engine by their plan; tiles get smaller where memory runs out."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np

from vs_smsr.engine.contract import Engine, Features, Frame, Mask, Overrides, Upscaled, UpscaledPicture, sparsity
from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.interpreter import at_once
from vs_smsr.engine.kept import KeptFrame
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.reach import reach
from vs_smsr.engine.staged import StagedFrame, store_size, stored
from vs_smsr.engine.stores import Copiers, Store
from vs_smsr.engine.window import Window, whole
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.tiling.geometry import cover
from vs_smsr.tiling.planner import FramePlan, smaller
from vs_smsr.tiling.reuse import RegionReuse

log = logging.getLogger(__name__)


class Kept[T]:
    """What a caller keeps from one frame to the next, as long as its runner has the memory for it.

    Attributes:
        value: None: nothing (any more). Read and written while the runner has its turn.
    """

    def __init__(self) -> None:
        self.value: T | None = None

    def drop(self) -> None:
        self.value = None


class _Droppable(Protocol):
    def drop(self) -> None: ...


class FrameRunner:
    """Computes frames of one size; several at a time, as many as the plan says (the scheduler sees to that).

    Attributes:
        engine: where the network runs.
        plan: the current one; replaced by one with smaller tiles when memory runs out.
    """

    def __init__(self, engine: Engine, plan: FramePlan) -> None:
        self.engine = engine
        self.plan = plan
        self._bounds = whole(plan.height, plan.width)
        self._lock = threading.Lock()
        self._stores: list[Store] = []
        self._kept: list[weakref.ref[_Droppable]] = []  # the last used at the end
        self._spare: list[Features] = []  # stages of a kept frame that is gone, for the next one

    def run(self, frame: Frame, means: Overrides | None = None) -> Upscaled:
        """Upscale (H, W, 3) float32 RGB 0..255 of the plan's size, C-contiguous.

        Args:
            means: attention and channel masks of another frame (`Upscaled.means`), to use instead of the frame's own.
        Raises:
            MemoryBudgetError: memory ran out even with the smallest tiles.
        """
        while True:
            plan = self.plan
            try:
                return self._run(frame, means or Overrides(), plan)
            except MemoryError as error:
                self._shrink(plan, error)

    def run_picture(self, picture: Picture, like: Layout) -> UpscaledPicture:
        """As `run`, for planes of the caller's own type; the result is cropped to the picture's own sides.

        An engine that computes the whole frame converts, too: a device gets and gives the small types, not floats.

        Args:
            picture: of the plan's size, or a row or column less.
            like: layout of the result.
        """
        plan = self.plan
        if plan.tile is None and self.engine.capabilities.pictures:
            try:
                return self.engine.upscale_picture(picture, like)
            except MemoryError as error:
                self._shrink(plan, error)
        result, scale = self.run(unpack(picture)), self.engine.weights.scale
        large = pack(result.frame, like, scale * picture.height, scale * picture.width)
        return UpscaledPicture(large, result.sparsity)

    def submit_picture(self, picture: Picture, like: Layout) -> Future[UpscaledPicture]:
        """As `run_picture`, without waiting where the device works by itself; a MemoryError comes out of the future.

        The turn lasts until the future is done.
        """
        if self.plan.tile is None and self.engine.capabilities.pictures:
            try:
                return self.engine.submit(picture, like)
            except MemoryError:
                pass  # not so many at once: `run_picture` tries again and knows what else to do
        return at_once(self.run_picture(picture, like))

    def kept(self, frame: Frame, means: Overrides) -> KeptFrame | None:
        """The frame computed with the features of all stages kept; None if they do not fit in memory."""
        if self.plan.keep != "features":
            return None
        try:
            with self._lock:  # two tiles may not get the same
                spare, self._spare = self._spare, []
            kept = KeptFrame(self.engine, self._bounds.height, self._bounds.width, spare)
            del spare
            kept.upscale(frame, means)
            weakref.finalize(kept, self._take_back, kept.stages).atexit = False
            return kept
        except MemoryError as error:
            log.info("memory: no room for the features of a frame (%s); regions are reused without them", error)
            return None

    @property
    def region_side(self) -> int | None:
        """Most pixels of a side of a region that is computed by itself; None: tiles are too small for that."""
        return max(self._bounds.height, self._bounds.width) if self.plan.tile is None else self.plan.independent

    def keep[T](self, kept: Kept[T], value: T | None) -> None:
        """Keep a value for a later frame; where that makes too many, the one that was not used for longest goes."""
        if isinstance(value, RegionReuse):
            self._spare = []  # there is room for the one or the other
        with self._lock:
            kept.value = value
            others = [one for one in self._kept if one() not in (None, kept)]
            self._kept = others if value is None else [*others, weakref.ref(kept)]
            while len(self._kept) > self.plan.tiles:
                if (oldest := self._kept.pop(0)()) is not None:
                    oldest.drop()

    def _take_back(self, stages: list[Features]) -> None:
        """Without the lock: who drops a kept frame may hold it."""
        self._spare = stages

    def release(self) -> None:
        """Give back what lies here between frames: stores, and what callers keep."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        self._stores = []
        for one in self._kept:
            if (kept := one()) is not None:
                kept.drop()
        self._kept, self._spare = [], []

    def _run(self, frame: Frame, overrides: Overrides, plan: FramePlan) -> Upscaled:
        if plan.tile is None:
            return self.engine.upscale(frame, overrides)
        if plan.independent and overrides.have_means(self.engine.weights.spec):
            return self._independent(frame, overrides, cover(self._bounds, plan.independent, plan.independent))
        with self._lock:  # the stores are one frame's
            height, width = plan.height, plan.width
            if not self._stores:
                spec, copiers = self.engine.weights.spec, Copiers()
                sides = store_size(spec, height, width)
                self._stores = [Store(*sides, plan.in_memory, copiers) for _ in stored(spec)]
            staged = StagedFrame(self.engine, self._stores, height, width)
            return staged.upscale(frame, overrides, cover(self._bounds, plan.tile, plan.tile))

    def _independent(self, frame: Frame, means: Overrides, cores: Sequence[Window]) -> Upscaled:
        """Tiles with the whole network's halo; right only because the means are given."""
        assert means.attention is not None, "as asked before"
        channels = means.channels or ()
        weights = self.engine.weights
        scale = weights.scale
        result = np.empty((scale * frame.shape[0], scale * frame.shape[1], 3), np.float32)
        masks: tuple[Mask, ...] = tuple(np.empty(frame.shape[:2], np.uint8) for _ in weights.spec.masks)
        for core in cores:
            window = core.expand(reach(weights.spec).needs, self._bounds)
            part = self.engine.upscale(np.ascontiguousarray(frame[window.slices]), means)
            inner = core.within(window)
            result[core.scaled(scale).slices] = part.frame[inner.scaled(scale).slices]
            for mask, new in zip(masks, part.masks, strict=True):
                mask[core.slices] = new[inner.slices]
        return Upscaled(result, masks, means.attention, sparsity(weights, masks, channels), channels=channels)

    def _shrink(self, plan: FramePlan, error: MemoryError) -> None:
        """After memory ran out with that plan: smaller tiles, for this frame and all that follow.

        Raises:
            MemoryBudgetError: they would be too small.
        """
        with self._lock:
            if plan is not self.plan:
                return  # another frame has done so already
            less = smaller(plan, self.engine)
            if less is None:
                size = f"{plan.width}x{plan.height}"
                raise MemoryBudgetError(
                    f"memory: there is not enough for a frame of {size} even in tiles of {plan.tile or size}. "
                    "Free memory, or use smaller frames."
                ) from error
            log.warning(
                "memory: ran out; going on with tiles of %d instead of %s", less.tile, plan.tile or "whole frames"
            )
            self.plan = less
            self._release()
