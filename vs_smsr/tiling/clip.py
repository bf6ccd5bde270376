"""Frames of a clip: temporal tiles, held attention, reuse. Frame n's result follows from the clip and n alone."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.tiling.attention import Attention, Computed, HeldAttention, OwnAttention
from vs_smsr.tiling.padding import cropped, padded
from vs_smsr.tiling.runner import Kept
from vs_smsr.tiling.temporal import StartRule, Starts, TemporalTile
from vs_smsr.tiling.tiler import PictureInFlight, TiledFrame, TiledPicture, Tiler

log = logging.getLogger(__name__)
SAMPLED = 16  # rows of a result, one in so many, are compared: what is kept for it adds to the peak of memory
HELD_FROM = 55.0  # dB between held and own attention, from which `auto` holds


class Sequence:
    """The frames of one clip in order.

    Frames that were given must not be changed afterwards; results are new arrays.

    Args:
        tiler: runs the network, with its options.
        number: of the first frame that will come: 0, or a multiple of `temporal_tile`, from which a run that was cut
            off gives the same results as if it had started at 0.
        overhead: see `Tiler`.
    """

    def __init__(self, tiler: Tiler, number: int = 0, overhead: int = 0) -> None:
        options = tiler.options
        self._tiler, self._overhead = tiler, overhead
        self._next = number
        self._rule, self._starts = StartRule(options.temporal_tile), Starts(options.temporal_tile, number)
        # With its own attention and exact reuse, a frame's result does not depend on where temporal tiles start.
        alone = not options.has_temporal_tiles
        self._frames = Frames(tiler, overhead) if alone else None
        self._last: Kept[PictureInFlight] = Kept()
        self._tile: TileState | None = None
        self._shape: tuple[int, ...] = ()

    def upscale(self, frame: Frame, cut: bool | None = None) -> TiledFrame:
        """Upscale the next frame, (H, W, 3) float32 RGB 0..255; `cut`: is it known to begin a scene or not to?"""
        number, self._next = self._next, self._next + 1
        if self._frames is not None:
            return self._frames.upscale(frame)
        starts = self._starts.starts(frame, cut)  # sees every frame
        if self._tile is None or starts or frame.shape != self._shape:
            self._tile = None  # before the next one takes memory
            self._tile, self._shape = open_tile(self._tiler, self._rule.tile(number), self._overhead), frame.shape
        return self._tile.upscale(number, frame)

    def upscale_picture(self, picture: Picture, like: Layout, cut: bool | None = None) -> TiledPicture:
        """As `upscale`, for planes of a decoder; the result has the layout of an encoder.

        The result must not be changed: for a frame that is repeated, it is the same.
        """
        return self.submit_picture(picture, like, cut)()

    def submit_picture(self, picture: Picture, like: Layout, cut: bool | None = None) -> Callable[[], TiledPicture]:
        """As `upscale_picture`; what is returned waits for the result.

        Where results depend on their own frame alone, the engine converts and several frames are in flight, as many as
        the plan says; else the host converts, and a frame is computed before this returns.
        """
        if self._frames is None:
            result = self._converted(picture, like, cut)
            return lambda: result
        self._next += 1
        sent = self._tiler.submit(picture, like, self._overhead, self._last)

        def finish() -> TiledPicture:
            made = sent.result()
            return TiledPicture(made.picture, made.sparsity, 0.0 if sent.computed else 1.0, held=False)

        return finish

    def _converted(self, picture: Picture, like: Layout, cut: bool | None) -> TiledPicture:
        scale = self._tiler.scale
        result = self.upscale(unpack(picture), cut)
        large = pack(result.frame, like, scale * picture.height, scale * picture.width)
        return TiledPicture(large, result.sparsity, result.reused, result.held)


class Frames:
    """Frames of a clip in any order and from several threads, each with its own attention.

    A frame that equals the last one that was computed gives a copy of its result, unless reuse is off.
    """

    def __init__(self, tiler: Tiler, overhead: int = 0) -> None:
        self._own = OwnAttention(tiler, overhead)

    def upscale(self, frame: Frame) -> TiledFrame:
        """Upscale one, (H, W, 3) float32 RGB 0..255; it must not be changed afterwards."""
        result, computed = self._own.upscale(padded(frame))
        return _tiled(result, frame, computed, held=False)


def open_tile(tiler: Tiler, tile: TemporalTile, overhead: int = 0) -> TileState:
    """Begin a temporal tile; computes nothing yet.

    Args:
        overhead: see `Tiler`.
    """
    return TileState(tiler, tile, overhead)


class TileState:
    """What the frames of one temporal tile share: its first frame, the held attention, what is reused.

    `awaits` says which frame must come next:
    1. after `open_tile` the tile's first frame, whose attention may serve all and which `near:N` compares with;
    2. with attention "auto" the second frame, by which it is decided whether attention is held;
    3. then None: any frame of the tile, again and again, in any order and from several threads.
    What is reused never changes a bit, so the order does not matter then. With a tolerance, pixels that are near those
    of the first frame are replaced by them before anything else happens: the error of the input is at most the
    tolerance, however long the tile. Frames that were given must not be changed afterwards.

    Attributes:
        tile: which frames.
        held: the first frame's attention serves all; None while `auto` has not decided.
    """

    def __init__(self, tiler: Tiler, tile: TemporalTile, overhead: int) -> None:
        options = tiler.options
        self.tile = tile
        self._tiler, self._overhead = tiler, overhead
        self._tolerance = options.tolerance if options.reuse.startswith("near") else None
        self._first: Frame | None = None
        self.held: bool | None = {"frame": False, "held": True, "auto": None}[options.attention]
        own = self.held is False
        self._attention: Attention = OwnAttention(tiler, overhead) if own else HeldAttention(tiler, overhead)

    @property
    def awaits(self) -> int | None:
        """Number of the frame that must come next; None: any."""
        if self._first is None:
            return self.tile.start
        return self.tile.start + 1 if self.held is None else None

    def upscale(self, number: int, frame: Frame) -> TiledFrame:
        """Upscale one of the tile's frames, (H, W, 3) float32 RGB 0..255.

        Raises:
            ValueError: the frame is not of this tile, or another one must come first (see `awaits`).
        """
        if number not in self.tile or self.awaits not in (None, number):
            expected = f"frame {self.awaits}" if self.awaits is not None else f"a frame of {self.tile}"
            raise ValueError(f"tiling: the next frame must be {expected}, got frame {number}.")
        even = padded(frame)
        if self._first is None:
            result, computed = self._attention.upscale(even)
            self._first = even
        elif self.held is None:
            result, computed = self._decide(even)
        else:
            result, computed = self._attention.upscale(self._near(even, parts=self.held))
        return _tiled(result, frame, computed, held=bool(self.held) and number != self.tile.start)

    def _decide(self, second: Frame) -> tuple[Upscaled, Computed]:
        """Let `auto` choose by the tile's second frame: is held attention's result near that of its own?"""
        frame = self._near(second, parts=True)
        held, computed = self._attention.upscale(frame)
        sample = held.frame[::SAMPLED].copy()
        del held  # two large frames at once may be one too many
        with self._tiler.turn(second, self._overhead) as runner:
            own = runner.run(self._near(second, parts=False))
        likeness = psnr(sample, own.frame[::SAMPLED])
        log.info("attention: %s (%.1f dB alike)", "held" if likeness > HELD_FROM else "of each frame", likeness)
        if likeness <= HELD_FROM:
            self._attention = OwnAttention(self._tiler, self._overhead)
            self.held = False
            return own, None
        del own
        again, _ = self._attention.upscale(frame)  # a copy, if there is memory to keep the last frame
        self.held = True
        return again, computed

    def _near(self, frame: Frame, parts: bool) -> Frame:
        """The frame with pixels near those of the first frame replaced by them; without `parts` all or none."""
        if self._tolerance is None or self._first is None:
            return frame
        near = (np.abs(frame - self._first) <= self._tolerance).all(axis=2, keepdims=True)
        if not parts:
            return self._first if near.all() else frame
        return np.where(near, self._first, frame)


def _tiled(result: Upscaled, frame: Frame, computed: Computed, *, held: bool) -> TiledFrame:
    whole = cropped(result, *frame.shape[:2])
    every = np.broadcast_to(np.True_, result.masks[0].shape) if computed is None else computed
    return TiledFrame(whole.frame, whole.masks, whole.attention, whole.sparsity, every, held)


def psnr(a: Frame, b: Frame) -> float:
    """Peak signal-to-noise ratio of frames 0..255 in dB; infinite if they are equal."""
    error = np.square(a - b).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
