"""From frame size, engine and memory budget to a plan: bytes are those of the arrays that will be allocated.

`plan` is pure: it reads the engine's `memory` and `capabilities` and changes nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from vs_smsr.engine import memory
from vs_smsr.engine.contract import Engine
from vs_smsr.engine.reach import reach
from vs_smsr.engine.staged import store_size, stored
from vs_smsr.engine.window import Reach, Window, whole
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.families import NetworkSpec
from vs_smsr.options import TilingOptions
from vs_smsr.tiling.geometry import cover

Keep = Literal["features", "regions", "frames", "nothing"]
SIDES = (1536, 1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32)  # of tiles that are tried, the largest first
LEAST_TILE = SIDES[-1]
LEAST_INDEPENDENT = 192  # side of an independent tile; in a smaller one most of the work would be halo
FLOATS = 4 * 3  # bytes of an RGB pixel
SHARE = 0.6  # of the free memory that is used when no budget is given; the rest is for other programs


@dataclass(frozen=True, kw_only=True)
class FramePlan:
    """How frames of one size are computed.

    Attributes:
        height, width: of the frames, even.
        budget: bytes that the process (or on a device, the engine) may use.
        bytes: what they are for; their sum is the peak that is expected.
        in_flight: most frames that are computed at the same time.
        tile: side of a tile; frames go stage by stage, with what stages leave in stores. None: frames are
            computed whole.
        independent: side of a tile when the attention is given: such tiles do not need each other, having the whole
            network's halo; their windows are no larger than those of `tile`. None: tiles go by stages all the same.
        rows: of the stores that a tiled frame takes.
        in_memory: how many of each lie in memory, the others on disk.
        keep: what is kept of the last frame for the next: features of all stages; input and output, to copy unchanged
            regions or repeated frames from; or nothing.
        tiles: temporal tiles of which that is kept.
    """

    height: int
    width: int
    budget: int
    bytes: dict[str, int]
    in_flight: int
    tile: int | None
    independent: int | None
    rows: int
    in_memory: int
    keep: Keep
    tiles: int

    @property
    def total(self) -> int:
        return sum(self.bytes.values())


def plan(
    engine: Engine,
    height: int,
    width: int,
    options: TilingOptions,
    *,
    overhead: int = 0,
    in_flight: int = 1,
    tiles: int = 1,
) -> FramePlan:
    """Plan for frames of one (even) size: whole frames if they fit, else the largest tiles that do.

    Args:
        overhead: bytes of the host that the rest of the program will take once it runs.
        in_flight: most frames that are wanted at the same time.
        tiles: temporal tiles of which something is kept.
    Raises:
        MemoryBudgetError: the budget is too small for any plan; the message names the smallest that is not.
    """
    if options.needs_order or (options.attention != "frame" and options.reuse != "off"):
        in_flight = 1  # each frame builds on the one before it
    costs = _Costs(engine, engine.memory.in_use(), overhead)
    budget = options.memory or costs.in_use + int(SHARE * engine.memory.available())
    least = None
    for tile in _sides(engine, height, width, options):
        for count in range(in_flight if tile is None else 1, 0, -1):
            least = _least(costs, height, width, budget, tile, count, tiles, options)
            if least.total <= budget:
                return _with_more(costs, least, options)
    assert least is not None, "there is always a side to try"
    advice = "Raise --memory." if options.memory else "Free memory, or set --memory to use more than a share of it."
    raise MemoryBudgetError(
        f"memory: the budget must be at least {memory.size(least.total)} for frames of {width}x{height} with "
        f"the {engine.name} engine, got {memory.size(budget)}. {advice}"
    )


def smaller(plan: FramePlan, engine: Engine) -> FramePlan | None:
    """The plan to go on with when memory ran out: half the tile, a frame at a time; None if that is too small."""
    side = (plan.tile or max(plan.height, plan.width)) // 2 & -2
    if side < LEAST_TILE or not engine.capabilities.windows:
        return None
    keep: Keep = "regions" if plan.keep == "features" else plan.keep
    independent = _independent(engine.weights.spec, side)
    return dataclasses.replace(plan, in_flight=1, tile=side, independent=independent, in_memory=0, keep=keep)


@dataclass(frozen=True)
class _Costs:
    """Bytes of what the budget is for: the host's memory, or a device's, beside which the host's is not counted."""

    engine: Engine
    in_use: int
    overhead: int

    @property
    def on_host(self) -> bool:
        return self.engine.memory.on_host

    def counted(self, amount: int) -> int:
        """Of bytes on the host."""
        return amount if self.on_host else 0

    def store(self, pixels: int) -> int:
        """Features of one stage, on the host."""
        return self.engine.memory.feature_bytes * pixels

    def moved(self, window: Window) -> int:
        """A window's piece of the result on the way between the engine and the frame's own array."""
        return self.counted(FLOATS * self.engine.weights.scale**2 * window.area)

    def room(self, spare: int) -> int:
        """What stores may take: the rest of the budget; where that is a device's, a share of the host's free memory."""
        return spare if self.on_host else int(SHARE * memory.available())

    def frame(self, pixels: int) -> int:
        """Input and output of a frame."""
        return self.counted(FLOATS * pixels * (1 + self.engine.weights.scale**2))


def _sides(engine: Engine, height: int, width: int, options: TilingOptions) -> list[int | None]:
    """Sides of tiles to try, the best first; None: the whole frame."""
    longest = max(height, width)
    if not engine.capabilities.windows:
        return [None]
    if options.tile:
        return [options.tile & -2 if options.tile < longest else None]
    return [None, *(side for side in SIDES if side < longest)]


def _least(
    costs: _Costs,
    height: int,
    width: int,
    budget: int,
    tile: int | None,
    in_flight: int,
    tiles: int,
    options: TilingOptions,
) -> FramePlan:
    """The least that frames in such tiles take."""
    spec = costs.engine.weights.spec
    window = frame = whole(height, width)
    if tile is not None:
        needs = reach(spec).stage_needs
        window = max((core.expand(needs, frame) for core in cover(frame, tile, tile)), key=lambda one: one.area)
    workspace = costs.engine.memory.workspace(window.height, window.width)
    compared = 2 if options.has_temporal_tiles else 0  # inputs beside the current one: the anchor, the frame before
    taken = {
        "program": costs.in_use,
        "decoder and encoder": costs.counted(costs.overhead),
        "engine": in_flight * workspace + (0 if tile is None else costs.moved(window)),
        "frames": in_flight * costs.frame(frame.area) + costs.counted(FLOATS * compared * tiles * frame.area),
    }
    return FramePlan(
        height=height,
        width=width,
        budget=budget,
        bytes=taken,
        in_flight=in_flight,
        tile=tile,
        independent=None if tile is None else _independent(spec, tile),
        rows=store_size(spec, height, width)[0],
        in_memory=0,
        keep="nothing",
        tiles=tiles,
    )


def _with_more(costs: _Costs, least: FramePlan, options: TilingOptions) -> FramePlan:
    """Spend what the budget leaves: on what helps the next frame, then on rows of stores in memory."""
    taken = dict(least.bytes)
    spec, windows = costs.engine.weights.spec, costs.engine.capabilities.windows
    spare, pixels = least.budget - least.total, least.height * least.width
    last = least.tiles * (costs.frame(pixels) + len(spec.blocks) * pixels)
    keep: Keep = "nothing"
    if options.reuse != "off" and last <= spare:
        keep = "frames" if options.attention == "frame" else "regions"
        taken["last frame"] = last
        spare -= last
        stages = (least.tiles * spec.stages + 1) * costs.store(pixels)  # and the result, where a change reaches far
        if keep == "regions" and least.tile is None and windows and stages <= costs.room(spare):
            keep = "features"
            taken["features"] = costs.counted(stages)
    in_memory = 0
    if least.tile is not None:
        row = len(stored(spec)) * costs.store(store_size(spec, least.height, least.width)[1])
        in_memory = min(least.rows, costs.room(spare) // row)
        taken["features"] = costs.counted(in_memory * row)
    return dataclasses.replace(least, bytes=taken, in_memory=in_memory, keep=keep)


def _independent(spec: NetworkSpec, tile: int) -> int | None:
    """Side of an independent tile whose window is as large as that of a tile that goes by stages."""
    network = reach(spec)
    side = tile - (_halo(network.needs) - _halo(network.stage_needs))
    return side if side >= LEAST_INDEPENDENT else None


def _halo(needs: Reach) -> int:
    """Pixels by which an even window grows, both sides together."""
    first, end = needs((0, 2))
    return (end + 1 & -2) - (first & -2) - 2
