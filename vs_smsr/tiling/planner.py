"""From frame size, engine and memory budget to tiles: bytes are those of the arrays that will be allocated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from vs_smsr.engine.contract import Engine
from vs_smsr.engine.tiled import STAGES
from vs_smsr.engine.window import Window, smm_needs, whole
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import budget
from vs_smsr.tiling.geometry import cover

Keep = Literal["stages", "regions", "frames", "nothing"]
SIDES = (1536, 1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32)  # of tiles that are tried, the largest first
HALO_MORE = 64  # what an independent tile's halo takes more than a stage's, both sides together
LEAST_INDEPENDENT = 192
FLOATS = 4 * 3  # bytes of an RGB pixel
MASKS = 5  # bytes of a pixel's masks


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How frames of one size are computed.

    Attributes:
        budget: bytes that the process (device memory for a GPU) may use.
        bytes: what they are for; their sum is the peak that is expected.
        in_flight: frames that are computed at the same time.
        tile: side of a tile that goes stage by stage, the features in stores; None: the frame is computed whole.
        in_memory: how many of the stages' stores lie in memory, not on disk.
        keep: what is kept of the last frame for the next: features of all stages, input and output, or nothing.
    """

    height: int
    width: int
    budget: int
    bytes: dict[str, int]
    in_flight: int
    tile: int | None
    in_memory: int
    keep: Keep

    @property
    def total(self) -> int:
        return sum(self.bytes.values())

    @property
    def held_tile(self) -> int | None:
        """Side of a tile when the attention is given: tiles are then independent, with the whole network's halo.

        Such a tile's window is no larger than that of `tile`. None: go by stages all the same, for with tiles so
        small most of the work would be halo.
        """
        side = (self.tile or 0) - HALO_MORE
        return side if side >= LEAST_INDEPENDENT else None

    @property
    def on_disk(self) -> int:
        """Stores on disk."""
        return 0 if self.tile is None else STAGES - self.in_memory


@dataclass(frozen=True)
class Costs:
    """Bytes that an engine takes."""

    engine: Engine
    in_use: int  # what the process (or device) holds before the first frame
    other: int  # decoder, encoder and their frames

    @classmethod
    def of(cls, engine: Engine, other: int) -> Costs:
        on_host = engine.device == "cpu"
        return cls(engine, resident(engine), other if on_host else 0)

    def workspace(self, window: Window) -> int:
        amount: int = self.engine.workspace_bytes(window.height, window.width)  # type: ignore[attr-defined]
        return amount

    def store(self, height: int, width: int) -> int:
        """One stage of a frame, on the host."""
        per_pixel: int = self.engine.feature_bytes  # type: ignore[attr-defined]
        return per_pixel * height * width

    def moved(self, window: Window) -> int:
        """A window's features or its piece of the result on the way between the engine and the frame's own arrays."""
        if self.engine.device != "cpu":
            return 0
        return max(self.store(window.height, window.width), FLOATS * self.engine.weights.scale**2 * window.area)

    def room(self, spare: int) -> int:
        """What stores may take: the budget's rest; beside a GPU, whose budget it is, a share of the host's memory."""
        return spare if self.engine.device == "cpu" else int(budget.SHARE * budget.available())

    def frame(self, height: int, width: int) -> int:
        """Input and output of a frame, on the host."""
        return FLOATS * height * width * (1 + self.engine.weights.scale**2) if self.engine.device == "cpu" else 0


def measurable(engine: Engine) -> bool:
    """Does the engine tell what it allocates?"""
    return hasattr(engine, "workspace_bytes")


def resident(engine: Engine) -> int:
    """What the process (or on a device, the engine) holds before the first frame."""
    if engine.device == "cpu":
        return budget.resident()
    held: int = engine.resident_bytes  # type: ignore[attr-defined]
    return held


def default_budget(engine: Engine) -> int:
    """What is in use and a share of what is free."""
    if engine.device == "cpu":
        return resident(engine) + int(budget.SHARE * budget.available())
    free: int = engine.free_bytes()  # type: ignore[attr-defined]
    return resident(engine) + int(budget.SHARE * free)


def plan(
    engine: Engine,
    height: int,
    width: int,
    options: TilingOptions,
    *,
    in_flight: int = 1,
    tiles: int = 1,
    other: int = 0,
) -> Plan:
    """Plan for frames of that (even) size.

    Args:
        in_flight: most frames that are wanted at the same time.
        tiles: temporal tiles of which something is kept.
        other: bytes that the rest of the program will take once it runs.
    Raises:
        MemoryBudgetError: the budget is too small for any plan; the message names the smallest that is not.
    """
    costs = Costs.of(engine, other)
    limit = options.memory or default_budget(engine)
    sides: list[int | None] = (
        [options.tile] if options.tile else [None, *(side for side in SIDES if side < max(height, width))]
    )
    if not hasattr(engine, "windowed"):
        sides = [None]
    smallest = None
    for tile in sides:
        for count in range(in_flight if tile is None else 1, 0, -1):
            smallest = _layout(costs, height, width, limit, options, tile, count)
            if smallest.total <= limit:
                return _with_more(costs, smallest, options, tiles)
    assert smallest is not None, "there is always a tile to try"
    raise MemoryBudgetError(
        f"memory: the budget must be at least {budget.size(smallest.total)} for frames of {width}x{height} with "
        f"the {engine.name} engine, got {budget.size(limit)}. {_advice(options)}"
    )


def _advice(options: TilingOptions) -> str:
    return "Raise --memory." if options.memory else "Free memory, or set --memory to use more than a share of it."


def _layout(
    costs: Costs, height: int, width: int, limit: int, options: TilingOptions, tile: int | None, in_flight: int
) -> Plan:
    """The least that frames in such tiles take."""
    frame = whole(height, width)
    if tile is not None and tile >= max(height, width):
        tile = None
    window = frame
    if tile is not None:
        tile &= -2
        window = max((core.spread(smm_needs, frame) for core in cover(frame, tile, tile)), key=lambda one: one.area)
    taken = {
        "program": costs.in_use,
        "decoder and encoder": costs.other,
        "engine": in_flight * costs.workspace(window) + (0 if tile is None else costs.moved(window)),
        "frames": in_flight * costs.frame(height, width),
    }
    return Plan(
        height=height,
        width=width,
        budget=limit,
        bytes=taken,
        in_flight=in_flight,
        tile=tile,
        in_memory=0,
        keep="nothing",
    )


def _with_more(costs: Costs, least: Plan, options: TilingOptions, tiles: int) -> Plan:
    """Spend what the budget leaves: on stores in memory instead of on disk, then on what helps the next frame."""
    taken = dict(least.bytes)
    spare = least.budget - least.total
    room, counted = costs.room(spare), costs.engine.device == "cpu"
    windowed = hasattr(costs.engine, "windowed")
    store = costs.store(least.height, least.width) if windowed else 0
    in_memory = 0
    if least.tile is not None:
        in_memory = min(STAGES, room // store) if store else STAGES
        taken["features"] = in_memory * store * counted
        spare -= taken["features"]
    last = tiles * (costs.frame(least.height, least.width) + MASKS * least.height * least.width)
    keep: Keep = "nothing"
    if options.reuse != "off" and last <= spare:
        keep = "frames" if options.attention == "frame" else "regions"
        taken["last frame"] = last
        whole_frame = least.tile is None and least.in_flight == 1
        if keep == "regions" and whole_frame and windowed and last * counted + (tiles * STAGES + 1) * store <= room:
            keep = "stages"  # and a copy of one stage, where a change reaches far
            taken["features"] = (tiles * STAGES + 1) * store * counted
    return dataclasses.replace(least, bytes=taken, in_memory=in_memory, keep=keep)
