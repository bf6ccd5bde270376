"""Frames of a clip: temporal tiles, held attention, reuse. Frame n's result follows from the clip and n alone."""

from __future__ import annotations

from collections.abc import Callable

from vs_smsr.engine.contract import Frame
from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.tiling.attention import OwnAttention
from vs_smsr.tiling.padding import padded
from vs_smsr.tiling.runner import Kept
from vs_smsr.tiling.temporal import StartRule, Starts
from vs_smsr.tiling.tile_state import TileState, open_tile, tiled
from vs_smsr.tiling.tiler import PictureInFlight, TiledFrame, TiledPicture, Tiler


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
        return self._tile_of(number, frame, cut).upscale(number, frame)

    def _tile_of(self, number: int, frame: Frame, cut: bool | None) -> TileState:
        """The temporal tile of the next frame."""
        starts = self._starts.starts(frame, cut)  # sees every frame
        if self._tile is None or starts or frame.shape != self._shape:
            self._tile = None  # before the next one takes memory
            self._tile, self._shape = open_tile(self._tiler, self._rule.tile(number), self._overhead), frame.shape
        return self._tile

    def upscale_picture(self, picture: Picture, like: Layout, cut: bool | None = None) -> TiledPicture:
        """As `upscale`, for planes of a decoder; the result has the layout of an encoder.

        The result must not be changed: for a frame that is repeated, it is the same.
        """
        return self.submit_picture(picture, like, cut)()

    def submit_picture(self, picture: Picture, like: Layout, cut: bool | None = None) -> Callable[[], TiledPicture]:
        """As `upscale_picture`; what is returned waits for the result.

        Where a result depends on its own frame alone, the engine converts, and several frames are in flight, as many
        as the plan says; else the host converts, and the frame is computed before this returns.
        """
        number, self._next = self._next, self._next + 1
        if self._frames is None:
            frame = unpack(picture)
            tile = self._tile_of(number, frame, cut)
            if not tile.alone:
                result = _as_picture(tile.upscale(number, frame), picture, like)
                return lambda: result
        sent = self._tiler.submit(picture, like, self._overhead, self._last)

        def finish() -> TiledPicture:
            made = sent.result()
            return TiledPicture(made.picture, made.sparsity, 0.0 if sent.computed else 1.0, held=False)

        return finish


def _as_picture(result: TiledFrame, given: Picture, like: Layout) -> TiledPicture:
    scale = result.frame.shape[0] // given.height
    large = pack(result.frame, like, scale * given.height, scale * given.width)
    return TiledPicture(large, result.sparsity, result.reused, result.held, result.alike)


class Frames:
    """Frames of a clip in any order and from several threads, each with its own attention.

    A frame that equals the last one that was computed gives a copy of its result, unless reuse is off.
    """

    def __init__(self, tiler: Tiler, overhead: int = 0) -> None:
        self._own = OwnAttention(tiler, overhead)

    def upscale(self, frame: Frame) -> TiledFrame:
        """Upscale one, (H, W, 3) float32 RGB 0..255; it must not be changed afterwards."""
        result, computed = self._own.upscale(padded(frame), lambda: False)
        return tiled(result, frame, computed)
