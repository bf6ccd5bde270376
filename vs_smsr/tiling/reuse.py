"""Recompute only what changed since a frame that is at hand, the channel attention being the same: bit for bit.

A pixel whose inputs within the network's reach are unchanged keeps its output. `RegionReuse` computes windows with the
whole network's halo; `changes.FeatureReuse` keeps the features of every stage and follows changes from stage to stage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.contract import Engine, Frame, Mask, Upscaled
from vs_smsr.engine.reach import NetworkReach, reach
from vs_smsr.engine.window import Window, whole
from vs_smsr.tiling.geometry import cover, rectangles

Changed = NDArray[np.bool_]  # (H, W)
WORTHWHILE = 0.8  # of a frame's work: an update that costs more is not worth the trouble
WINDOW_COST = 2000  # pixels' worth of work that a window costs beside its pixels


def changed_pixels(a: Frame, b: Frame) -> Changed:
    """(H, W) where two frames (H, W, 3) differ."""
    changed = np.empty(a.shape[:2], np.bool_)
    _compare(a, b, changed)
    return changed


@compiled
def _compare(a, b, changed):  # type: ignore[no-untyped-def]
    """See `changed_pixels`."""
    for y in range(changed.shape[0]):
        for x in range(changed.shape[1]):
            changed[y, x] = (a[y, x, 0] != b[y, x, 0]) | (a[y, x, 1] != b[y, x, 1]) | (a[y, x, 2] != b[y, x, 2])


class Reuse(ABC):
    """The last frame that was computed, in a form from which the next can be made.

    Attributes:
        frame: its input (H, W, 3).
        masks, output: its result; arrays of this object, changed in place.
        bounds: the whole frame.
    """

    frame: Frame
    masks: tuple[Mask, ...]
    output: Frame
    bounds: Window

    @abstractmethod
    def work(self, changed: Changed) -> float:
        """Roughly what `update` would cost, as a share of a whole frame."""

    @abstractmethod
    def update(self, frame: Frame, changed: Changed) -> Changed:
        """Make `frame`, its masks and its output the current ones; returns which pixels were computed anew.

        Raises:
            MemoryError: an allocation failed; the object cannot be used any more.
        """


class RegionReuse(Reuse):
    """Regions through any engine, with the input and the result of the last frame.

    Args:
        frame, result: the last frame and what it gave.
        side: of a region, at most.
    """

    def __init__(self, engine: Engine, frame: Frame, result: Upscaled, side: int) -> None:
        self._side = side
        self._engine = engine
        self._scale = engine.weights.scale
        self._reach = reach(engine.weights.spec)
        self._means = result.means
        self.frame, self.output = frame, result.frame.copy()
        self.masks = tuple(mask.copy() for mask in result.masks)
        self.bounds = whole(*frame.shape[:2])
        self._cost = _cost(self.bounds, self._reach)

    def work(self, changed: Changed) -> float:
        return sum(map(self._cost, rectangles(changed, self._cost))) / self.bounds.area

    def update(self, frame: Frame, changed: Changed) -> Changed:
        cores = [window.expand(self._reach.affects, self.bounds) for window in rectangles(changed, self._cost)]
        for core in chain.from_iterable(cover(core, self._side, self._side) for core in cores):
            window = core.expand(self._reach.needs, self.bounds)
            result = self._engine.upscale(np.ascontiguousarray(frame[window.slices]), self._means)
            inner = core.within(window)
            self.output[core.scaled(self._scale).slices] = result.frame[inner.scaled(self._scale).slices]
            for mask, new in zip(self.masks, result.masks, strict=True):
                mask[core.slices] = new[inner.slices]
        self.frame = frame
        computed = np.zeros_like(changed)
        for core in cores:
            computed[core.slices] = True
        return computed


def _cost(bounds: Window, network: NetworkReach) -> Callable[[Window], int]:
    """Pixels that are computed for changes in a window."""
    return lambda window: window.expand(network.affects, bounds).expand(network.needs, bounds).area + WINDOW_COST
