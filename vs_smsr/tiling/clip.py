"""Frames of a clip: temporal tiles, held attention, reuse. Frame n's result follows from the clip and n alone."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

import numpy as np

from vs_smsr.engine.contract import Frame, Scales, Upscaled, sparsity
from vs_smsr.tiling.reuse import WORTHWHILE, Changed, Reuse, changed_pixels
from vs_smsr.tiling.stages import Stages
from vs_smsr.tiling.temporal import Starts
from vs_smsr.tiling.tiler import TiledFrame, Tiler, cropped, padded

log = logging.getLogger(__name__)
Computed = Changed | None  # (H, W) pixels that were computed; None: all
SAMPLED = 16  # rows of a result, one in so many, are compared: what is kept for it adds to the peak of memory
HELD_FROM = 55.0  # dB between held and own attention, from which `auto` holds


class Sequence:
    """The frames of one clip in order.

    Frames that were given must not be changed afterwards; results are new arrays.

    Args:
        tiler: runs the network, with its options.
        number: of the first frame that will come: 0, or a multiple of `temporal_tile`, from which a run that was cut
            off gives the same results as if it had started at 0.
    """

    def __init__(self, tiler: Tiler, number: int = 0) -> None:
        options = tiler.options
        self._tiler = tiler
        self._starts = Starts(options.temporal_tile, number)
        # With its own attention and exact reuse, a frame's result does not depend on where temporal tiles start.
        self._endless = not options.has_temporal_tiles
        self._tile: TemporalTile | None = None
        self._shape: tuple[int, ...] = ()

    def upscale(self, frame: Frame, cut: bool | None = None) -> TiledFrame:
        """Upscale the next frame, (H, W, 3) float32 RGB 0..255; `cut`: is it known to begin a scene or not to?"""
        starts = not self._endless and self._starts.starts(frame, cut)  # sees every frame
        if self._tile is None or starts or frame.shape != self._shape:
            self._tile = None  # before the next one takes memory
            self._tile, self._shape = TemporalTile(self._tiler, frame), frame.shape
            return self._tile.take_result()
        if self._tile.held is None:
            return self._tile.decide(frame)
        return self._tile.upscale(frame)


class Frames:
    """Frames of a clip in any order and from several threads, each with its own attention.

    A frame that equals the last one that was computed gives a copy of its result, unless reuse is off.
    """

    def __init__(self, tiler: Tiler) -> None:
        self._way = _Own(tiler)

    def upscale(self, frame: Frame) -> TiledFrame:
        """Upscale one, (H, W, 3) float32 RGB 0..255; it must not be changed afterwards."""
        result, computed = self._way.upscale(padded(frame))
        return _tiled(result, frame, computed, held=False)


class TemporalTile:
    """A run of frames with one state; they may be asked for in any order and from several threads.

    What is reused of earlier frames never changes a bit, so the order does not matter. With a tolerance, pixels that
    are near those of the tile's first frame are replaced by them before anything else happens: the error of the input
    is at most the tolerance, however long the tile.

    Args:
        first: (H, W, 3) float32 RGB 0..255, the tile's first frame.
    Attributes:
        held: the first frame's attention serves all; None while `auto` has not decided.
    """

    def __init__(self, tiler: Tiler, first: Frame) -> None:
        options = tiler.options
        self._tiler = tiler
        self._tolerance = options.tolerance if options.reuse.startswith("near") else None
        self._first = padded(first)
        self.held: bool | None = {"frame": False, "held": True, "auto": None}[options.attention]
        self._way: _Way = _Own(tiler) if self.held is False else _Held(tiler)
        result, _ = self._way.upscale(self._first)
        self._result: TiledFrame | None = _tiled(result, first, None, held=False)

    def take_result(self) -> TiledFrame:
        """The first frame's result, once."""
        result, self._result = self._result, None
        assert result is not None, "it is taken once; ask for the frame again"
        return result

    def decide(self, second: Frame) -> TiledFrame:
        """Let `auto` choose by the tile's second frame; returns that frame's result."""
        assert self.held is None, "a temporal tile decides once"
        even = padded(second)
        frame = self._near(even, parts=True)
        held, computed = self._way.upscale(frame)
        sample = held.frame[::SAMPLED].copy()
        del held  # two large frames at once may be one too many
        own = self._tiler.upscale_even(self._near(even, parts=False))
        likeness = psnr(sample, own.frame[::SAMPLED])
        self.held = likeness > HELD_FROM
        log.info("attention: %s (%.1f dB alike)", "held" if self.held else "of each frame", likeness)
        if not self.held:
            self._way = _Own(self._tiler)
            return _tiled(own, second, None, held=False)
        del own
        held, _ = self._way.upscale(frame)  # a copy, if there is memory to keep the last frame
        return _tiled(held, second, computed, held=True)

    def upscale(self, frame: Frame) -> TiledFrame:
        """Upscale one of the tile's frames, (H, W, 3) float32 RGB 0..255."""
        assert self.held is not None, "auto decides by the second frame first"
        result, computed = self._way.upscale(self._near(padded(frame), parts=self.held))
        return _tiled(result, frame, computed, held=self.held)

    def _near(self, frame: Frame, parts: bool) -> Frame:
        """The frame with pixels near those of the first frame replaced by them; without `parts` all or none."""
        if self._tolerance is None:
            return frame
        near = (np.abs(frame - self._first) <= self._tolerance).all(axis=2, keepdims=True)
        if not parts:
            return self._first if near.all() else frame
        return np.where(near, self._first, frame)


class _Way(Protocol):
    def upscale(self, frame: Frame) -> tuple[Upscaled, Computed]:
        """Upscale a padded frame; also returns which pixels were computed, None for all."""


class _Own:
    """Each frame with its own attention; a frame equal to the last one gives the last result."""

    def __init__(self, tiler: Tiler) -> None:
        self._tiler = tiler
        self._last: tuple[Frame, Upscaled] | None = None

    def upscale(self, frame: Frame) -> tuple[Upscaled, Computed]:
        last = self._last  # another thread may put another one there
        if last is not None and np.array_equal(frame, last[0]):
            return _copied(last[1]), np.zeros(frame.shape[:2], np.bool_)
        result = self._tiler.upscale_even(frame)
        if self._tiler.keeps(frame) == "nothing":
            return result, None
        self._last = frame, result
        return _copied(result), None


class _Held:
    """The first frame with its own attention, all others with that; unchanged regions are reused."""

    def __init__(self, tiler: Tiler) -> None:
        self._tiler = tiler
        self._lock = threading.Lock()
        self._attention: tuple[Scales, ...] | None = None
        self._reuse: Reuse | None = None
        self._before: Frame | None = None

    def upscale(self, frame: Frame) -> tuple[Upscaled, Computed]:
        if self._attention is not None and self._tiler.keeps(frame) == "nothing":
            return self._tiler.upscale_even(frame, self._attention), None
        with self._lock:
            result, computed = self._with_reuse(frame)
            self._attention = result.attention
            self._before = frame
            return result, computed

    def _with_reuse(self, frame: Frame) -> tuple[Upscaled, Computed]:
        reuse, tiler = self._reuse, self._tiler
        if reuse is not None and reuse.bounds.area:
            changed = changed_pixels(frame, reuse.frame)
            if reuse.work(changed) < WORTHWHILE:
                try:
                    computed = tiler.update(reuse, frame, changed)
                    return self._current(reuse), computed
                except MemoryError as error:
                    log.warning("memory: ran out while reusing regions (%s); the frame is computed whole", error)
                    self._reuse = reuse = None
        # The features of all stages take longer to make: worth it only if the picture has come to rest.
        rests = self._before is None or (
            isinstance(reuse, Stages) and reuse.work(changed_pixels(frame, self._before)) < WORTHWHILE
        )
        walk = tiler.walk(frame, self._attention) if rests else None
        if walk is not None:
            self._attention = tuple(walk.attention)
            self._reuse = Stages(walk)
            return self._current(self._reuse), None
        result = tiler.upscale_even(frame, self._attention)
        if not isinstance(reuse, Stages):
            self._reuse = tiler.regions(frame, result)
        return result, None

    def _current(self, reuse: Reuse) -> Upscaled:
        assert self._attention is not None, "the first frame sets it"
        masks = tuple(mask.copy() for mask in reuse.masks)
        return Upscaled(reuse.output.copy(), masks, self._attention, sparsity(self._tiler.engine.weights, masks))


def _copied(result: Upscaled) -> Upscaled:
    masks = tuple(mask.copy() for mask in result.masks)
    return Upscaled(result.frame.copy(), masks, result.attention, result.sparsity)


def _tiled(result: Upscaled, frame: Frame, computed: Computed, *, held: bool) -> TiledFrame:
    whole = cropped(result, *frame.shape[:2])
    every = np.broadcast_to(np.True_, result.masks[0].shape) if computed is None else computed
    return TiledFrame(whole.frame, whole.masks, whole.attention, whole.sparsity, every, held)


def psnr(a: Frame, b: Frame) -> float:
    """Peak signal-to-noise ratio of frames 0..255 in dB; infinite if they are equal."""
    error = np.square(a - b).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
