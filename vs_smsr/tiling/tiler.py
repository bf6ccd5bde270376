"""Any frame through an engine that takes even sizes only, within a memory budget."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from vs_smsr.engine.contract import Engine, Frame, Scales, State, Upscaled, sparsity
from vs_smsr.engine.picture import Picture, from_frame, to_frame
from vs_smsr.engine.tiled import STAGES, InMemory, OnDisk, Store, TiledWalk
from vs_smsr.engine.window import Window, network_needs, whole
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.options import TilingOptions
from vs_smsr.tiling.geometry import cover
from vs_smsr.tiling.planner import HALO_MORE, LEAST_INDEPENDENT, SIDES, Keep, Plan, measurable, plan
from vs_smsr.tiling.reuse import Changed, Regions, Reuse
from vs_smsr.tiling.turns import Turns
from vs_smsr.weights import MODULES

log = logging.getLogger(__name__)
LEAST_TILE = SIDES[-1]


@dataclass(frozen=True)
class TiledFrame(Upscaled):
    """A frame's result and how it came about.

    Attributes:
        computed: (H, W) where it was computed; elsewhere it was copied from an earlier frame's result.
        held: the attention was that of the temporal tile's first frame.
    """

    computed: Changed
    held: bool

    @property
    def reused(self) -> float:
        """Share of the pixels that were copied, 0..1."""
        return 1 - float(self.computed.mean())


class Tiler:
    """Feeds frames to one engine; the only way in which the doors (CLI, filter, API) call an engine.

    Args:
        engine: where the network runs.
        options: memory budget, temporal tiles, reuse.
        in_flight: most frames that will be asked for at the same time.
        tiles: temporal tiles that are kept at the same time.
    """

    def __init__(
        self, engine: Engine, options: TilingOptions | None = None, *, in_flight: int = 1, tiles: int = 1
    ) -> None:
        self.engine = engine
        self.options = options or TilingOptions()
        self._in_flight, self._tiles = in_flight, tiles
        self._reserved = 0, 0
        self._turns = Turns(self._make_room)
        self._warm = False
        self._ways: dict[tuple[int, int], _Way] = {}

    @property
    def scale(self) -> int:
        return self.engine.weights.scale

    def reserve(self, other: int, per_pixel: int = 0) -> None:
        """Leave so many bytes of the budget, and of each pixel of a result, to the caller's own part of the program."""
        if (other, per_pixel) != self._reserved:
            with self._turns.of(None):
                self._reserved = other, per_pixel
                self._ways = {}

    def plan(self, height: int, width: int) -> Plan | None:
        """How frames of that size are computed; None if the engine does not tell what it allocates.

        Raises:
            MemoryBudgetError: the budget is too small; the message names the smallest that is not.
        """
        return self._way(height + height % 2, width + width % 2).plan

    def upscale(self, frame: Frame, attention: tuple[Scales, ...] | None = None) -> Upscaled:
        """Upscale (H, W, 3) float32 RGB 0..255 of any size to (scale * H, scale * W, 3).

        An odd side is padded to even by repeating the last row or column, since the mask branch works at half
        resolution; the result is cropped. Masks cover the padded frame.

        Args:
            attention: 5 x (64,) of another frame, to use instead of the frame's own.
        Raises:
            MemoryBudgetError: the budget is too small, or memory ran out even with the smallest tiles.
            EngineError: the engine failed.
        """
        return cropped(self.upscale_even(padded(frame), attention), *frame.shape[:2])

    def upscale_picture(self, picture: Picture) -> Upscaled:
        """As `upscale`, for (H, W, 3) of the caller's own type, 0..white (see `engine.picture`); the result has it too.

        A GPU that holds the whole frame converts it itself: small types are copied to it and back, not floats.
        """
        height, width = picture.shape[:2]
        even = _even(picture)
        with self._turn(even) as way:
            if way.tile is None and hasattr(self.engine, "upscale_picture"):
                try:
                    return cropped(self.engine.upscale_picture(even), height, width)
                except MemoryError as error:
                    way.halve(None, error)
        result = self.upscale(to_frame(picture))
        return replace(result, frame=from_frame(result.frame, picture.dtype))

    def upscale_even(self, frame: Frame, attention: tuple[Scales, ...] | None = None) -> Upscaled:
        """As `upscale`, for a C-contiguous frame with even sides."""
        with self._turn(frame) as way:
            while True:
                tile = way.tile
                try:
                    return way.run(frame, State(attention=attention), tile)
                except MemoryError as error:
                    way.halve(tile, error)

    def update(self, reuse: Reuse, frame: Frame, changed: Changed) -> Changed:
        """`Reuse.update`, no more frames at the same time than planned."""
        with self._turn(frame):
            return reuse.update(frame, changed)

    def regions(self, frame: Frame, result: Upscaled) -> Regions | None:
        """What lets regions of a later frame be reused that were computed for this one; None if it does not fit."""
        way = self._way(*frame.shape[:2])
        if way.plan is not None and way.plan.keep not in ("regions", "stages"):
            return None
        side = way.independent or 0
        return Regions(self.engine, frame, result, side or max(frame.shape[:2])) if side or way.tile is None else None

    def walk(self, frame: Frame, attention: tuple[Scales, ...] | None) -> TiledWalk | None:
        """The whole frame by stages, the features of all kept; None if they do not fit in memory."""
        way = self._way(*frame.shape[:2])
        if way.plan is None or way.plan.keep != "stages" or way.tile is not None:
            return None
        try:
            with self._turn(frame):
                walk = TiledWalk(self.engine, _stores(STAGES, *frame.shape[:2]), *frame.shape[:2])  # type: ignore[arg-type]
                walk.keep(frame, State(attention=attention))
                return walk
        except MemoryError as error:
            log.info("memory: no room for the features of a frame (%s); regions are reused without them", error)
            return None

    def keeps(self, frame: Frame) -> Keep:
        """What is kept of the last frame for the next one."""
        if self.options.reuse == "off":
            return "nothing"
        chosen = self._way(*frame.shape[:2]).plan
        return chosen.keep if chosen else "regions"

    @contextmanager
    def _turn(self, frame: Picture) -> Iterator[_Way]:
        """The way of frames of that size, when it is their turn and there is room for one more."""
        height, width = frame.shape[:2]
        way = self._way(height, width)
        with self._turns.of((height, width)), way.room:
            yield way

    def _way(self, height: int, width: int) -> _Way:
        way = self._ways.get((height, width))
        if way is not None:
            return way
        with self._turns.of(None):
            if (height, width) not in self._ways:  # no other thread has been here meanwhile
                chosen = self._plan(height, width)
                self._ways[height, width] = _Way(self.engine, height, width, chosen, self.options.tile)
            return self._ways[height, width]

    def _make_room(self) -> None:
        """Give back what frames of another size have left."""
        for way in self._ways.values():
            way.drop_stores()
        if hasattr(self.engine, "release"):
            self.engine.release()

    def _plan(self, height: int, width: int) -> Plan | None:
        if measurable(self.engine):
            if not self._warm:  # what the first frame loads and compiles is there for good, so it is counted
                self.engine.upscale(np.zeros((16, 16, 3), np.float32))
                self._warm = True
                if profile := getattr(self.engine, "profile", None):
                    profile.clear()  # compiling is no part of a frame
            self._make_room()
            fixed, per_pixel = self._reserved
            other = fixed + per_pixel * height * width * self.scale**2
            counts = {"in_flight": self._in_flight, "tiles": self._tiles, "other": other}
            chosen = plan(self.engine, height, width, self.options, **counts)
            if hasattr(self.engine, "limit_memory"):
                self.engine.limit_memory(chosen.budget)
            return chosen
        if self.options.memory:
            raise MemoryBudgetError(
                f"memory: the {self.engine.name} engine does not tell what it takes. Set no budget."
            )
        return None


class _Way:
    """How frames of one size go through the engine; tiles get smaller where memory runs out."""

    def __init__(self, engine: Engine, height: int, width: int, chosen: Plan | None, tile: int) -> None:
        self._engine = engine
        self.plan = chosen
        self._bounds = whole(height, width)
        self.tile = chosen.tile if chosen else None
        self._in_memory = chosen.in_memory if chosen else STAGES
        self._stores: list[Store] = []
        self._lock = threading.Lock()
        in_flight = chosen.in_flight if chosen else 1 << 16
        self.room = threading.BoundedSemaphore(in_flight)

    @property
    def independent(self) -> int | None:
        """Side of tiles that do not need each other, the attention being given; None if they would be too small."""
        side = (self.tile or 0) - HALO_MORE
        return side if side >= LEAST_INDEPENDENT else None

    def run(self, frame: Frame, state: State, tile: int | None) -> Upscaled:
        if tile is None:
            return self._engine.upscale(frame, state)
        if state.attention is not None and self.independent:
            return self._independent(frame, state, self.independent)
        with self._lock:  # the stores are one frame's
            self._stores = self._stores or _stores(self._in_memory, self._bounds.height, self._bounds.width)
            walk = TiledWalk(self._engine, self._stores, self._bounds.height, self._bounds.width)  # type: ignore[arg-type]
            return walk.upscale(frame, state, cover(self._bounds, tile, tile))

    def _independent(self, frame: Frame, state: State, tile: int) -> Upscaled:
        """Tiles with the whole network's halo; right only because the attention is given."""
        scale = self._engine.weights.scale
        result = np.empty((scale * frame.shape[0], scale * frame.shape[1], 3), np.float32)
        masks = tuple(np.empty(frame.shape[:2], np.uint8) for _ in range(MODULES))
        for core in cover(self._bounds, tile, tile):
            window = core.spread(network_needs, self._bounds)
            part = self._engine.upscale(np.ascontiguousarray(frame[window.slices]), state)
            inner = core.within(window)
            result[core.scaled(scale).slices] = part.frame[inner.scaled(scale).slices]
            for mask, new in zip(masks, part.masks, strict=True):
                mask[core.slices] = new[inner.slices]
        assert state.attention is not None, "independent tiles need given attention"
        return Upscaled(result, masks, state.attention, sparsity(self._engine.weights, masks))

    def drop_stores(self) -> None:
        """Give back the features of a frame; the next one makes new ones."""
        self._stores = []

    def halve(self, tile: int | None, error: MemoryError) -> None:
        """After memory ran out with that tile: a smaller one, for this frame and all that follow.

        Raises:
            MemoryBudgetError: there is no smaller one.
        """
        with self._lock:
            if tile != self.tile:
                return  # another frame has made it smaller already
            smaller = _half(tile, self._bounds)
            if smaller < LEAST_TILE or not hasattr(self._engine, "windowed"):
                size = f"{self._bounds.width}x{self._bounds.height}"
                raise MemoryBudgetError(
                    f"memory: there is not enough for a frame of {size} even in tiles of {tile or size}. "
                    "Free memory, or use smaller frames."
                ) from error
            log.warning("memory: ran out; going on with tiles of %d instead of %s", smaller, tile or "whole frames")
            self.drop_stores()
            self._in_memory = 0
            self.tile = smaller


def _half(tile: int | None, frame: Window) -> int:
    return (tile or max(frame.height, frame.width)) // 2 & -2


def _stores(in_memory: int, height: int, width: int) -> list[Store]:
    return [(InMemory if i < in_memory else OnDisk)(height, width) for i in range(STAGES)]


def padded(frame: Frame) -> Frame:
    """C-contiguous float32 with even sides; a row or column that is missing repeats the last one."""
    return np.ascontiguousarray(_even(frame), np.float32)


def _even(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return picture


def cropped(result: Upscaled, height: int, width: int) -> Upscaled:
    """The result without what an odd side was padded with."""
    scale = result.frame.shape[0] // result.masks[0].shape[0]
    frame = np.ascontiguousarray(result.frame[: scale * height, : scale * width])
    return Upscaled(frame, result.masks, result.attention, result.sparsity)
