"""One temporal tile: what is held and reused in it, chosen by its first two frames."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.engine.reach import NetworkReach, reach
from vs_smsr.options import TilingOptions
from vs_smsr.tiling.attention import Attention, Computed, HeldAttention, OwnAttention, Rests
from vs_smsr.tiling.padding import cropped, padded
from vs_smsr.tiling.reuse import changed_pixels
from vs_smsr.tiling.settle import RESTING, noise, resting, settled
from vs_smsr.tiling.temporal import TemporalTile
from vs_smsr.tiling.tiler import TiledFrame, Tiler

log = logging.getLogger(__name__)
SAMPLED = 16  # rows of a result, one in so many, are compared: what is kept for it adds to the peak of memory
EXACT_FROM, FORWARD_FROM, FORCED_FROM = (
    55.0,
    50.0,
    46.0,
)  # dB against each frame for itself: `auto` takes a way from here

EQUAL = 99.0  # dB that are told where two results are equal
MARGIN = 1.0  # dB by which a result may be nearer than its input


@dataclass(frozen=True)
class Way:
    """What is computed in a frame's place.

    Attributes:
        kind: "exact": the frame. "near": where it is within the tolerance of the anchor, that; the anchor is the
            tile's first frame. "forward": blocks likewise (see `settle`); the anchor is what was computed last.
        least: dB between the result and that of each frame for itself, above which `auto` takes this way.
        tolerance: 0..255.
    """

    kind: Literal["exact", "near", "forward"]
    least: float
    tolerance: float = 0.0

    def shown(self, frame: Frame, anchor: Frame, network: NetworkReach, noise: float) -> Frame:
        """What is computed for a frame (H, W, 3), with the tile's noise so far."""
        if self.kind == "forward":
            return settled(frame, anchor, network, noise)
        if self.kind == "near":
            near = (np.abs(frame - anchor) <= self.tolerance).all(axis=2, keepdims=True)
            return np.where(near, anchor, frame)
        return frame


def ways(options: TilingOptions) -> tuple[Way, ...]:
    """In the order in which they are tried."""
    exact = Way("exact", EXACT_FROM)
    if options.reuse.startswith("near"):
        return (Way("near", EXACT_FROM, options.tolerance),)
    if options.reuse == "forward":
        return (Way("forward", FORCED_FROM),)
    return (Way("forward", FORWARD_FROM), exact) if options.needs_order else (exact,)


def open_tile(tiler: Tiler, tile: TemporalTile, overhead: int = 0) -> TileState:
    """Begin a temporal tile; computes nothing yet.

    Args:
        overhead: see `Tiler`.
    """
    return TileState(tiler, tile, overhead)


class TileState:
    """What the frames of one temporal tile share: its first frame, the held attention, what is reused.

    `awaits` says which frame must come next:
    1. after `open_tile` the tile's first frame, whose attention may serve all;
    2. where there is something to choose (attention "auto", or forward reuse) the second frame, by which it is chosen;
    3. then None: any frame of the tile, again and again, in any order and from several threads. With forward reuse
       the frames come in order instead.
    What is copied never changes a bit, so the order does not matter then. What may change bits is the frame that is
    computed in another's place (`Way`): its error is bounded however long the tile. Frames that were given must not be
    changed afterwards.

    Attributes:
        tile: which frames.
        held: the first frame's attention serves all; None while that has not been chosen.
    """

    def __init__(self, tiler: Tiler, tile: TemporalTile, overhead: int) -> None:
        options = tiler.options
        self.tile = tile
        self.held: bool | None = {"frame": False, "held": True, "auto": None}[options.attention]
        self._tiler, self._overhead = tiler, overhead
        self._reach = reach(tiler.engine.weights.spec)
        self._ways = ways(options)
        self._way = self._ways[-1]
        self._chosen = self.held is False or (self.held is True and self._ways[0].kind != "forward")
        self._anchor: Frame | None = None
        self._before: Frame | None = None  # as it came
        self._noise = 0.0  # the most so far, where the way needs it
        self._next = tile.start
        self._own = OwnAttention(tiler, overhead)
        self._holding = HeldAttention(tiler, overhead)

    @property
    def awaits(self) -> int | None:
        """Number of the frame that must come next; None: any."""
        in_order = self._anchor is None or not self._chosen or self._way.kind == "forward"
        return self._next if in_order else None

    @property
    def alone(self) -> bool:
        """From now on, each frame is computed by itself as it came: nothing but a whole one can be reused."""
        return self._chosen and self.held is False and self._way.kind == "exact"

    def upscale(self, number: int, frame: Frame) -> TiledFrame:
        """Upscale one of the tile's frames, (H, W, 3) float32 RGB 0..255.

        Raises:
            ValueError: the frame is not of this tile, or another one must come first (see `awaits`).
        """
        if number not in self.tile or self.awaits not in (None, number):
            expected = f"frame {self.awaits}" if self.awaits is not None else f"a frame of {self.tile}"
            raise ValueError(f"tiling: the next frame must be {expected}, got frame {number}.")
        even, alike = padded(frame), None
        if self._anchor is None:
            likely, self._tiler.rests = self._tiler.rests, False
            result, computed = self._attention.upscale(even, lambda: likely)
            self._anchor = even
        elif self._chosen:
            result, computed = self._next_one(even)
        else:
            result, computed, alike = self._choose(even)
        self._before, self._next = even, number + 1
        self._tiler.rests = self._tiler.rests or computed is not None
        return tiled(result, frame, computed, held=bool(self.held) and number != self.tile.start, alike=alike)

    @property
    def _attention(self) -> Attention:
        return self._own if self.held is False else self._holding

    def _next_one(self, frame: Frame) -> tuple[Upscaled, Computed]:
        before, anchor = self._before, self._anchor
        assert before is not None
        assert anchor is not None
        if self._way.kind == "forward":
            self._noise = max(self._noise, noise(frame, before))
        shown = self._shown(self._way, frame, anchor)
        if not self.held and shown is not frame and changed_pixels(shown, anchor).any():
            shown = frame  # its attention would be another one: all of it is reused, or nothing
        if self._way.kind == "forward":
            self._anchor = shown
        return self._attention.upscale(shown, self._rests(self._way, frame, before))

    def _rests(self, way: Way, frame: Frame, before: Frame) -> Rests:
        """Can much of a frame be taken from the one that came before it?"""

        def rests() -> bool:
            changed = changed_pixels(self._shown(way, frame, before), before)
            self._tiler.rests = resting(changed, self._reach) <= RESTING
            return self._tiler.rests

        return rests

    def _shown(self, way: Way, frame: Frame, anchor: Frame) -> Frame:
        return way.shown(frame, anchor, self._reach, self._noise)

    def _choose(self, second: Frame) -> tuple[Upscaled, Computed, float | None]:
        """Take the first way in which there is something to gain and little lost; nothing is tried in the others."""
        first = self._anchor
        assert first is not None
        alone: Frame | None = None  # rows of the second frame's result for itself
        self._chosen = True
        self._noise = noise(second, first) if self._ways[0].kind == "forward" else 0.0
        for way in self._ways:
            if not self._rests(way, second, first)():
                continue
            shown, forced = self._shown(way, second, first), len(self._ways) == 1
            if not forced and psnr(shown, second) <= way.least - MARGIN:
                continue  # the result would be as far off
            result, computed = self._holding.upscale(shown, lambda: True)
            if self.held and way.kind != "forward":
                self._way = way
                return result, computed, None
            sample = result.frame[::SAMPLED].copy()
            del result  # two large frames at once may be one too many
            alone = self._alone(second) if alone is None else alone
            alike = psnr(sample, alone)
            log.info("reuse: %s with held attention is %.1f dB alike", way.kind, alike)
            if alike > way.least or (forced and self.held):
                self.held, self._way = True, way
                self._anchor = shown if way.kind == "forward" else first
                again, _ = self._holding.upscale(shown, lambda: True)  # a copy, if there is memory to keep the last
                return again, computed, min(alike, EQUAL) if way.kind == "forward" else None
        self.held, self._way = bool(self.held), self._ways[-1]
        log.info("attention: %s", "held" if self.held else "of each frame")
        return *self._next_one(second), None

    def _alone(self, frame: Frame) -> Frame:
        """Rows of the frame's result without reuse: with its own attention, if that has not been held by request."""
        with self._tiler.turn(frame, self._overhead) as runner:
            own = runner.run(frame, self._holding.means if self.held else None)
        return own.frame[::SAMPLED].copy()


def tiled(
    result: Upscaled, frame: Frame, computed: Computed, *, held: bool = False, alike: float | None = None
) -> TiledFrame:
    """The result of a frame with even sides, for the frame as it came."""
    whole = cropped(result, *frame.shape[:2])
    every = np.broadcast_to(np.True_, result.masks[0].shape) if computed is None else computed
    found = whole.frame, whole.masks, whole.attention, whole.sparsity
    return TiledFrame(*found, every, held, alike, channels=whole.channels)


def psnr(a: Frame, b: Frame) -> float:
    """Peak signal-to-noise ratio of frames 0..255 in dB; infinite if they are equal."""
    error = np.square(a - b).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
