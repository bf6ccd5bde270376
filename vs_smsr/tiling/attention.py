"""Frames of one size with their own or with held channel attention, reusing what earlier ones left.

Channel masks that follow from the frame are held and reused with the attention: both come of means of the whole frame.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np

from vs_smsr.engine.contract import Frame, Overrides, Upscaled, sparsity
from vs_smsr.tiling.changes import FeatureReuse
from vs_smsr.tiling.reuse import WORTHWHILE, Changed, RegionReuse, Reuse, changed_pixels
from vs_smsr.tiling.runner import FrameRunner, Kept
from vs_smsr.tiling.tiler import Tiler

log = logging.getLogger(__name__)
Computed = Changed | None  # (H, W) pixels that were computed; None: all
Rests = Callable[[], bool]


class Attention(Protocol):
    """Where frames take their channel attention from; safe to call from several threads."""

    def upscale(self, frame: Frame, rests: Rests) -> tuple[Upscaled, Computed]:
        """Upscale a frame with even sides; also returns which pixels were computed. The result is the caller's.

        Args:
            rests: is the next frame likely to be much like this one, as this one is like the one before? Asked only
                where it matters; no bit of the result depends on it.
        """
        ...


class OwnAttention:
    """Each frame with its own; a frame equal to the last one gives the last result."""

    def __init__(self, tiler: Tiler, overhead: int) -> None:
        self._tiler, self._overhead = tiler, overhead
        self._last: Kept[tuple[Frame, Upscaled]] = Kept()

    def upscale(self, frame: Frame, rests: Rests) -> tuple[Upscaled, Computed]:
        with self._tiler.turn(frame, self._overhead) as runner:
            last = self._last.value  # another thread may put another one there
            if last is not None and np.array_equal(frame, last[0]):
                return _copied(last[1]), np.zeros(frame.shape[:2], np.bool_)
            result = runner.run(frame)
            if runner.plan.keep == "nothing":
                return result, None
            runner.keep(self._last, (frame, result))
            return _copied(result), None


class HeldAttention:
    """The first frame with its own, all others with that; unchanged regions are reused.

    Attributes:
        means: attention and channel masks of the first frame; None before it.
    """

    def __init__(self, tiler: Tiler, overhead: int) -> None:
        self._tiler, self._overhead = tiler, overhead
        self._lock = threading.Lock()  # always taken within a turn, so nobody waits for a turn with it
        self.means: Overrides | None = None
        self._reuse: Kept[Reuse] = Kept()
        self._served = False  # what is kept now has been of use

    def upscale(self, frame: Frame, rests: Rests) -> tuple[Upscaled, Computed]:
        with self._tiler.turn(frame, self._overhead) as runner:
            if self.means is not None and runner.plan.keep == "nothing":
                return runner.run(frame, self.means), None
            with self._lock:
                result, computed = self._with_reuse(runner, frame, rests)
                self.means = result.means
                return result, computed

    def _with_reuse(self, runner: FrameRunner, frame: Frame, rests: Rests) -> tuple[Upscaled, Computed]:
        """The features of all stages take longer to make, so they are made only where the picture rests.

        Of a first frame nobody knows: its features go if the second one cannot use them.
        """
        reuse = self._reuse.value
        if reuse is not None:
            changed = changed_pixels(frame, reuse.frame)
            better = isinstance(reuse, RegionReuse) and runner.plan.keep == "features" and changed.any()
            if reuse.work(changed) < WORTHWHILE and not (better and rests()):
                try:
                    computed = reuse.update(frame, changed)
                except MemoryError as error:
                    log.warning("memory: ran out while reusing regions (%s); the frame is computed whole", error)
                    runner.keep(self._reuse, None)
                else:
                    self._served = True
                    runner.keep(self._reuse, reuse)
                    return self._current(runner, reuse), computed
            elif not self._served:
                runner.keep(self._reuse, None)
            del reuse
        if runner.plan.keep == "features" and rests():
            self._reuse.value, self._served = None, self.means is not None  # the new ones may have no room beside them
            kept = runner.kept(frame, self.means or Overrides())
            if kept is not None:
                self.means, features = kept.means, FeatureReuse(kept)
                runner.keep(self._reuse, features)
                return self._current(runner, features), None
        result = runner.run(frame, self.means)
        if not isinstance(self._reuse.value, FeatureReuse):
            runner.keep(self._reuse, self._regions(runner, frame, result))
        return result, None

    def _regions(self, runner: FrameRunner, frame: Frame, result: Upscaled) -> RegionReuse | None:
        """What later frames can take regions from; None where the plan does not allow for it."""
        if runner.plan.keep not in ("regions", "features") or runner.region_side is None:
            return None
        return RegionReuse(runner.engine, frame, result, runner.region_side)

    def _current(self, runner: FrameRunner, reuse: Reuse) -> Upscaled:
        assert self.means is not None, "the first frame sets them"
        assert self.means.attention is not None, "as above"
        masks = tuple(mask.copy() for mask in reuse.masks)
        channels = self.means.channels or ()
        shares = sparsity(runner.engine.weights, masks, channels)
        return Upscaled(reuse.output.copy(), masks, self.means.attention, shares, channels=channels)


def _copied(result: Upscaled) -> Upscaled:
    masks = tuple(mask.copy() for mask in result.masks)
    return dataclasses.replace(result, frame=result.frame.copy(), masks=masks)
