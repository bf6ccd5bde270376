"""A frame stage by stage and tile by tile, with what the stages leave in stores.

`interpreter.run` needs the whole frame's features at once, since channel attention needs means of the whole frame. Here
each stage (head, blocks, end) goes over the frame by tiles, with that stage's own small halo, and leaves its result in
a store; a block's channel sums are added up over the tiles before anybody needs them. Where channel masks follow from
the means of a block's input, the tiles of that are gone over for its sums first. So the bits are those of the whole
frame, and the engine's buffers are those of one tile. The stores may lie in memory or on disk.

A block leaves its fused layers. The features it adds them to are made again in each window, by the same sums in the
same order: what lies on the disk is read back at the speed of memory, but what is written has to reach the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from vs_smsr.engine.contract import (
    Dense,
    Engine,
    Features,
    Frame,
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


class StagedFrame:
    """The stages of one network over windows of frames of one size.

    Args:
        stores: one for the head and one for each block.
    """

    def __init__(self, engine: Engine, stores: Sequence[Store], height: int, width: int) -> None:
        self._engine, self._stores = engine, stores
        self._spec = engine.weights.spec
        self._reach = reach(self._spec)
        self._bounds = whole(height, width)
        self._masks: tuple[Mask, ...] = tuple(np.zeros((height, width), np.uint8) for _ in self._spec.masks)
        self._attention: list[Scales] = []
        self._channels: list[Dense | None] = []
        self._given: tuple[Mask | None, ...] = (None,) * len(self._spec.masks)
        self._frame: Frame | None = None

    def upscale(self, frame: Frame, overrides: Overrides, cores: Sequence[Window]) -> Upscaled:
        """As `Engine.upscale`, tile by tile; the cores cover every pixel once. The result shares our arrays."""
        scale = self._spec.scale
        self._frame = frame
        self._given = given_masks(self._spec, frame, overrides)
        for mask, given in zip(self._masks, self._given, strict=True):
            if given is not None:
                mask[:] = given
        self._attention, self._channels = [], []
        for core in cores:
            self._stores[0].write(core, self.head(core))
        for block in range(len(self._spec.blocks)):
            parts = (partial(self.feature_sums, block, core) for core in cores)
            self._channels.append(channel_masks(self._engine.weights, block, self._bounds, overrides, parts))
            sums: Sums = np.zeros(1, np.int64)
            for core in cores:
                fused, sums, scales = self.block(block, core, sums)
                self._stores[block + 1].write(core, fused)
            self._attention.append(scales if overrides.attention is None else overrides.attention[block])
        output = np.empty((scale * frame.shape[0], scale * frame.shape[1], 3), np.float32)
        for core in cores:
            output[core.scaled(scale).slices] = self.end(core)
        channels = tuple(self._channels)
        shares = sparsity(self._engine.weights, self._masks, channels)
        return Upscaled(output, self._masks, tuple(self._attention), shares, channels=channels)

    # A window's maps are let go when its method returns: the next one may have no room beside them.

    def head(self, core: Window) -> Features:
        """f_0 in a window of the frame."""
        window = core.expand(around(self._reach.head), self._bounds)
        with self._engine.open(window.height, window.width) as ops:
            ops.head(self._input(window))
            return ops.read("head", core.within(window))

    def feature_sums(self, block: int, core: Window) -> Sums:
        """Channel sums (width,) of a block's input in a window."""
        window = core.expand(around(0), self._bounds)
        with self._engine.open(window.height, window.width) as ops:
            self._features(ops, block, window, collect=False)
            return ops.feature_sums("features", core.within(window))

    def block(self, block: int, core: Window, sums: Sums) -> tuple[Features, Sums, Scales]:
        """A block's fused layers in a window; its sums added to those of the tiles before, and the attention that
        these give. The mask goes to the frame's."""
        window = core.expand(self._reach.blocks[block].needs, self._bounds)
        inner = core.within(window)
        with self._engine.open(window.height, window.width) as ops:
            self._features(ops, block, window, collect=False)
            self._decide(ops, block, core, window)
            if (dense := self._channels[block]) is not None:
                ops.give_channels(block, dense)
            ops.masked_block(block, "features", inner)
            sums = sums + ops.sums()
            fused = ops.read("fused", inner)
            attend(ops, self._spec, block, self._bounds.area, sums)
            return fused, sums, ops.read_attention(block)

    def end(self, core: Window) -> Frame:
        """The result for a window, (scale * h, scale * w, 3), from what all stages left."""
        window, last = core.expand(self._reach.end.needs, self._bounds), len(self._spec.blocks)
        collecting = self._spec.collect is not None
        with self._engine.open(window.height, window.width) as ops:
            self._features(ops, last, window, collect=collecting)
            if collecting:
                ops.write("head", self._stores[0].read(window))
            if self._spec.upsampling_mask:
                self._decide(ops, last, core, window)
            result = ops.tail(self._input(window))
        return result[core.within(window).scaled(self._spec.scale).slices]

    def _decide(self, ops: Ops, number: int, core: Window, window: Window) -> None:
        """A mask in a window; what is wanted of it goes to the frame's."""
        given = self._given[number]
        decide(ops, self._spec, number, "features", window, None if given is None else given[window.slices])
        if given is None:
            self._masks[number][core.slices] = ops.read_mask(number)[core.within(window).slices]

    def _features(self, ops: Ops, stage: int, window: Window, *, collect: bool) -> None:
        """f of a stage in the map "features": f_0 and what the blocks before it add."""
        ops.write("features", self._stores[0].read(window))
        for block in range(stage):
            ops.write("fused", self._stores[block + 1].read(window))
            ops.give_attention(block, self._attention[block])
            ops.residual(block, "features", collect=collect)

    def _input(self, window: Window) -> Frame:
        assert self._frame is not None, "a frame is upscaled"
        return np.ascontiguousarray(self._frame[window.slices])
