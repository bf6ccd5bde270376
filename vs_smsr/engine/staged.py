"""A frame stage by stage and tile by tile, with what the stages leave in stores.

`interpreter.run` needs the whole frame's features at once, since channel attention needs means of the whole frame. Here
each stage (head, blocks, end) goes over the frame by tiles, with that stage's own small halo, and leaves its result in
a store; a block's channel sums are added up over the tiles before anybody needs them. Where channel masks follow from
the means of a block's input, the tiles of that are gone over for its sums first. So the bits are those of the whole
frame, and the engine's buffers are those of one tile. The stores may lie in memory or on disk.

Few maps of whole frames suffice: the features that a block works on, its fused layers and what the collect has of the
blocks so far, each written over what the block before has left; and f_0 where it is added in the end. Tiles go from top
to bottom, each row of them from left to right, and a result lies a halo further up and left than what it is made of, so
no tile takes away what a later one reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vs_smsr.engine.contract import (
    Dense,
    Engine,
    Features,
    Frame,
    Map,
    Mask,
    Ops,
    Overrides,
    Scales,
    Sums,
    Upscaled,
    sparsity,
)
from vs_smsr.engine.interpreter import attend, channel_masks, decide, given_masks
from vs_smsr.engine.reach import around, reach
from vs_smsr.engine.stores import Store
from vs_smsr.engine.window import Window, whole
from vs_smsr.families import NetworkSpec


def stored(spec: NetworkSpec) -> tuple[Map, ...]:
    """Maps that stages leave each other, each in a store of its own; those that are used most come first."""
    maps: tuple[Map, ...] = "features", "fused"
    if spec.collect and len(spec.blocks) > 2:
        maps += ("collected",)
    return (*maps, "head") if spec.collect else maps


def store_size(spec: NetworkSpec, height: int, width: int) -> tuple[int, int]:
    """Sides of the stores of a frame: those of its maps, and how far they move from the first block to the last."""
    moved = _step(spec) * (len(spec.blocks) - 1)
    return height + moved, width + moved


def _step(spec: NetworkSpec) -> int:
    """Pixels by which a block's results lie further up and left than its inputs: its halo there."""
    return max(-(block.needs((0, 2))[0] & -2) for block in reach(spec).blocks)


class StagedFrame:
    """The stages of one network over windows of frames of one size.

    Args:
        stores: for the maps of `stored`, of `store_size`.
    """

    def __init__(self, engine: Engine, stores: Sequence[Store], height: int, width: int) -> None:
        self._engine = engine
        self._spec = engine.weights.spec
        self._stores = dict(zip(stored(self._spec), stores, strict=True))
        self._first: Map = "head" if "head" in self._stores else "features"  # the store of f_0
        self._step = _step(self._spec)
        self._reach = reach(self._spec)
        self._bounds = whole(height, width)
        self._masks: tuple[Mask, ...] = tuple(np.zeros((height, width), np.uint8) for _ in self._spec.masks)
        self._attention: list[Scales] = []
        self._channels: list[Dense | None] = []
        self._given: tuple[Mask | None, ...] = (None,) * len(self._spec.masks)
        self._frame: Frame | None = None

    def upscale(self, frame: Frame, overrides: Overrides, cores: Sequence[Window]) -> Upscaled:
        """As `Engine.upscale`, tile by tile. The result shares our arrays.

        Args:
            cores: they cover every pixel once, row by row, as those of `tiling.geometry.cover`.
        """
        scale = self._spec.scale
        self._frame = frame
        self._given = given_masks(self._spec, frame, overrides)
        for mask, given in zip(self._masks, self._given, strict=True):
            if given is not None:
                mask[:] = given
        self._attention, self._channels = [], []
        for core in cores:
            self.head(core)
        for block in range(len(self._spec.blocks)):
            parts = (partial(self.feature_sums, block, core) for core in cores)
            self._channels.append(channel_masks(self._engine.weights, block, self._bounds, overrides, parts))
            sums: Sums = np.zeros(1, np.int64)
            for core in cores:
                sums, scales = self.block(block, core, sums)
            self._attention.append(scales if overrides.attention is None else overrides.attention[block])
        output = np.empty((scale * frame.shape[0], scale * frame.shape[1], 3), np.float32)
        for core in cores:
            output[core.scaled(scale).slices] = self.end(core)
        channels = tuple(self._channels)
        shares = sparsity(self._engine.weights, self._masks, channels)
        return Upscaled(output, self._masks, tuple(self._attention), shares, channels=channels)

    # A window's maps are let go when its method returns: the next one may have no room beside them.

    def head(self, core: Window) -> None:
        """f_0 in a window of the frame."""
        window = core.expand(around(self._reach.head), self._bounds)
        with self._engine.open(window.height, window.width) as ops:
            ops.head(self._input(window))
            ops.save("head", core.within(window), self._writer(self._first, 0, core))

    def feature_sums(self, block: int, core: Window) -> Sums:
        """Channel sums (width,) of a block's input in a window."""
        window = core.expand(around(0), self._bounds)
        with self._engine.open(window.height, window.width) as ops:
            self._features(ops, block, window, collect=False)
            return ops.feature_sums("features", core.within(window))

    def block(self, block: int, core: Window, sums: Sums) -> tuple[Sums, Scales]:
        """A block's fused layers in a window; its sums added to those of the tiles before, and the attention that
        these give. The mask goes to the frame's."""
        window = core.expand(self._reach.blocks[block].needs, self._bounds)
        inner, collect = core.within(window), "collected" in self._stores and block > 0 and block % 2 == 0
        with self._engine.open(window.height, window.width) as ops:
            self._features(ops, block, window, collect=collect)
            if block:
                ops.save("features", inner, self._writer("features", block, core))
            if collect:
                ops.save("collected", inner, self._writer("collected", block, core))
            self._decide(ops, block, core, window)
            if (dense := self._channels[block]) is not None:
                ops.give_channels(block, dense)
            ops.masked_block(block, "features", inner)
            sums = sums + ops.sums()
            ops.save("fused", inner, self._writer("fused", block, core))
            attend(ops, self._spec, block, self._bounds.area, sums)
            return sums, ops.read_attention(block)

    def end(self, core: Window) -> Frame:
        """The result for a window, (scale * h, scale * w, 3), from what all stages left."""
        window, blocks = core.expand(self._reach.end.needs, self._bounds), len(self._spec.blocks)
        with self._engine.open(window.height, window.width) as ops:
            self._features(ops, blocks, window, collect=self._spec.collect is not None)
            if "head" in self._stores:
                ops.load("head", self._reader("head", 0, window))
            if self._spec.upsampling_mask:
                self._decide(ops, blocks, core, window)
            result = ops.tail(self._input(window))
        return result[core.within(window).scaled(self._spec.scale).slices]

    def _decide(self, ops: Ops, number: int, core: Window, window: Window) -> None:
        """A mask in a window; what is wanted of it goes to the frame's."""
        given = self._given[number]
        decide(ops, self._spec, number, "features", window, None if given is None else given[window.slices])
        if given is None:
            self._masks[number][core.slices] = ops.read_mask(number)[core.within(window).slices]

    def _features(self, ops: Ops, block: int, window: Window, *, collect: bool) -> None:
        """f_k, which that block works on, in the map "features", and what is collected of f_1 .. f_k.

        A window with f_k has f_(k-1), too, so every second one suffices to collect both.
        """
        before = max(block - 1, 0)
        ops.load("features", self._reader("features" if before else self._first, before, window))
        if not block:
            return
        collected = before & -2  # the block by which that was done
        if collect and collected:
            ops.load("collected", self._reader("collected", collected, window))
        if collect and before > collected:
            ops.collect(before - 1)
        ops.load("fused", self._reader("fused", before, window))
        ops.give_attention(before, self._attention[before])
        ops.residual(before, "features", collect=collect)

    def _reader(self, source: Map, block: int, window: Window) -> Callable[[Features], None]:
        """Fills a window with what that block left of a map."""
        return partial(self._stores[source].read, self._place(block, window))

    def _writer(self, source: Map, block: int, core: Window) -> Callable[[Features], None]:
        return partial(self._stores[source].write, self._place(block, core))

    def _place(self, block: int, window: Window) -> Window:
        """Where stores have what a block left in a window."""
        down = self._step * (len(self._spec.blocks) - 1 - block)
        return Window(window.top + down, window.left + down, window.bottom + down, window.right + down)

    def _input(self, window: Window) -> Frame:
        assert self._frame is not None, "a frame is upscaled"
        return np.ascontiguousarray(self._frame[window.slices])
