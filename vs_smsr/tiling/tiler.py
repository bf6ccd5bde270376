"""Any frame through an engine that takes even sizes only, within a memory budget: what callers hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

from vs_smsr.engine.contract import Engine, Frame, Overrides, Upscaled, UpscaledPicture
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.options import TilingOptions
from vs_smsr.tiling.padding import cropped, padded
from vs_smsr.tiling.planner import FramePlan
from vs_smsr.tiling.reuse import Changed
from vs_smsr.tiling.runner import FrameRunner, Kept
from vs_smsr.tiling.scheduler import Scheduler


@dataclass(frozen=True)
class TiledFrame(Upscaled):
    """A frame's result and how it came about.

    Attributes:
        computed: (H, W) where it was computed; elsewhere it was copied from an earlier frame's result.
        held: the attention was that of the temporal tile's first frame.
        alike: dB between this result and that without reuse, where it was measured: at a temporal tile's start.
    """

    computed: Changed
    held: bool
    alike: float | None = None

    @property
    def reused(self) -> float:
        """Share of the pixels that were copied, 0..1."""
        return 1 - float(self.computed.mean())


@dataclass(frozen=True)
class TiledPicture(UpscaledPicture):
    """A picture's result and how it came about.

    Attributes:
        reused: share of the pixels that were copied from an earlier result, 0..1.
        held, alike: as in `TiledFrame`.
    """

    reused: float
    held: bool
    alike: float | None = None


@dataclass(frozen=True)
class PictureInFlight:
    """A picture on its way through an engine.

    Attributes:
        given: the picture; like: layout of the result.
        computed: False: the result is that of the picture before, its very planes.
    """

    given: Picture
    like: Layout
    computed: bool
    _future: Future[UpscaledPicture]
    _again: Callable[[], UpscaledPicture]  # by the plan for less memory

    def result(self) -> UpscaledPicture:
        """Wait for it; raises what `Tiler.upscale` does."""
        try:
            return self._future.result()
        except MemoryError:
            return self._again()


class Tiler:
    """Feeds frames to one engine, from any number of threads; the CLI, the filter and the API call an engine only so.

    `overhead`, where a method takes it, is how many bytes of the budget the caller's own part of the program takes
    while that frame is computed. It belongs to the frame: calls with different overheads may come at the same time.

    Args:
        engine: where the network runs.
        options: memory budget, temporal tiles, reuse.
        in_flight: most frames that will be asked for at the same time; None: as many as keep the engine busy.
        tiles: temporal tiles that are kept at the same time.

    Attributes:
        rests: frames of the newest temporal tile were much like the ones before them, so the next tile's first frame is
            prepared for that. No bit of a result depends on it.
    """

    def __init__(
        self, engine: Engine, options: TilingOptions | None = None, *, in_flight: int | None = None, tiles: int = 1
    ) -> None:
        self.engine = engine
        self.options = options or TilingOptions()
        self.rests = True
        count = engine.capabilities.in_flight if in_flight is None else in_flight
        self._scheduler = Scheduler(engine, self.options, in_flight=count, tiles=tiles)

    @property
    def scale(self) -> int:
        return self.engine.weights.scale

    def plan(self, height: int, width: int, overhead: int = 0) -> FramePlan:
        """How frames of that size are computed, with that overhead.

        Raises:
            MemoryBudgetError: the budget is too small; the message names the smallest that is not.
        """
        return self._scheduler.plan(height + height % 2, width + width % 2, overhead)

    def upscale(self, frame: Frame, means: Overrides | None = None, overhead: int = 0) -> Upscaled:
        """Upscale (H, W, 3) float32 RGB 0..255 of any size to (scale * H, scale * W, 3).

        An odd side is padded to even by repeating the last row or column, since the mask branch works at half
        resolution; the result is cropped. Masks cover the padded frame.

        Args:
            means: attention and channel masks of another frame (`Upscaled.means`), to use instead of the frame's own.
        Raises:
            MemoryBudgetError: the budget is too small, or memory ran out even with the smallest tiles.
            EngineError: the engine failed.
        """
        height, width = frame.shape[:2]
        frame = padded(frame)
        with self.turn(frame, overhead) as runner:
            result = runner.run(frame, means)
        return cropped(result, height, width)

    def upscale_picture(self, picture: Picture, like: Layout | None = None, overhead: int = 0) -> UpscaledPicture:
        """As `upscale`, for planes of the caller's own type.

        Args:
            like: layout of the result; None: the picture's.
        """
        return self.submit(picture, like, overhead).result()

    def submit(
        self,
        picture: Picture,
        like: Layout | None = None,
        overhead: int = 0,
        last: Kept[PictureInFlight] | None = None,
    ) -> PictureInFlight:
        """As `upscale_picture`, without waiting for the result where the device works by itself.

        It waits while as many frames are in flight as the plan allows. The picture must not be changed before the
        result is taken.

        Args:
            last: the picture before, which gives its result if this one equals it; this one is put in its place where
                the plan has the memory to keep it. It must not be changed then.
        """
        like = like or picture.layout
        with ExitStack() as turn:
            runner = turn.enter_context(self._turn_of(picture, overhead))
            before = last.value if last is not None else None
            if before is not None and before.like == like and picture.same(before.given):
                return dataclasses.replace(before, computed=False)
            future = runner.submit_picture(picture, like)
            made = PictureInFlight(picture, like, True, future, partial(self._alone, picture, like, overhead))
            if last is not None and runner.plan.keep != "nothing":
                runner.keep(last, made)
            rest = turn.pop_all()
        future.add_done_callback(lambda _: rest.close())
        return made

    def _alone(self, picture: Picture, like: Layout, overhead: int) -> UpscaledPicture:
        with self._turn_of(picture, overhead) as runner:
            return runner.run_picture(picture, like)

    def turn(self, frame: Frame, overhead: int = 0) -> AbstractContextManager[FrameRunner]:
        """The runner for a frame with even sides, for the length of a block; see `Scheduler.turn`."""
        height, width = frame.shape[:2]
        return self._scheduler.turn(height, width, overhead)

    def _turn_of(self, picture: Picture, overhead: int) -> AbstractContextManager[FrameRunner]:
        """As `turn`, for a picture of any size."""
        height, width = picture.height, picture.width
        return self._scheduler.turn(height + height % 2, width + width % 2, overhead)
