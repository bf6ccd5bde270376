"""A frame stage by stage and tile by tile, with the features between stages in stores.

`interpreter.run` needs the whole frame's features at once, since channel attention needs means of the whole frame. Here
each stage (head, blocks, end) goes over the frame by tiles, with that stage's own small halo, and leaves its result in
a store; a block's channel sums are added up over the tiles before anybody needs them. So the bits are those of the
whole frame, and the engine's buffers are those of one tile. The stores may lie in memory or on disk, and what is in
them after a frame lets the next one recompute only what changed (`tiling.changes`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vs_smsr.engine.contract import (
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
    Wanted,
    sparsity,
)
from vs_smsr.engine.interpreter import attend, decide, finish, given_masks, run
from vs_smsr.engine.reach import around, reach
from vs_smsr.engine.stores import Store
from vs_smsr.engine.window import Window, whole


class StagedFrame:
    """The stages of one network over windows of frames of one size.

    The store of the last stage holds the last block's fused layers, not f_K: no later stage needs f_K around a pixel.

    Attributes:
        frame: (H, W, 3) the input that the stores belong to.
        attention: what was used for it, per block.
        masks: its masks, per block.
        output: (scale * H, scale * W, 3) its result.
    """

    frame: Frame
    output: Frame

    def __init__(self, engine: Engine, stores: Sequence[Store], height: int, width: int) -> None:
        self.engine = engine
        self.spec = engine.weights.spec
        self.reach = reach(self.spec)
        self.bounds = whole(height, width)
        self.stores = stores
        self.masks: tuple[Mask, ...] = tuple(np.zeros((height, width), np.uint8) for _ in self.spec.blocks)
        self.attention: list[Scales] = []
        self._given: tuple[Mask | None, ...] = (None,) * len(self.spec.blocks)

    def upscale(self, frame: Frame, overrides: Overrides, cores: Sequence[Window]) -> Upscaled:
        """As `Engine.upscale`, tile by tile; the cores cover every pixel once. The result shares our arrays."""
        scale = self.spec.scale
        self.frame = frame
        self.output = np.empty((scale * frame.shape[0], scale * frame.shape[1], 3), np.float32)
        self._given = given_masks(self.spec, frame, overrides)
        for mask, given in zip(self.masks, self._given, strict=True):
            if given is not None:
                mask[:] = given
        self.attention = []
        for core in cores:
            self.stores[0].write(core, self.head(core))
        for block in range(len(self.spec.blocks)):
            if overrides.attention is None:
                self._attend(block, cores)
                continue
            self.attention.append(overrides.attention[block])
            for core in cores:
                self.stores[block + 1].write(core, self._block(block, core))
        for core in cores:
            self.output[core.scaled(scale).slices] = self.end(core)
        return Upscaled(self.output, self.masks, tuple(self.attention), sparsity(self.engine.weights, self.masks))

    def keep(self, frame: Frame, overrides: Overrides) -> Upscaled:
        """As `upscale`, for a frame that the engine can hold whole; quicker."""
        with self.engine.open(self.bounds.height, self.bounds.width) as ops:

            def on_stage(stage: int, source: Map) -> None:
                self.stores[stage].write(self.bounds, ops.read(source, self.bounds))

            result = run(ops, self.engine.weights, frame, overrides, on_stage)
        self.frame, self.output, self.masks = frame, result.frame, result.masks
        self.attention = list(result.attention)
        return result

    def head(self, core: Window, only: Wanted | None = None) -> Features:
        """Stage 0 in a window of the frame.

        Args:
            only: (H, W) of the frame, here as in `masked` and `end`: the result is undefined but for pixels around
                which the stage's reach is set.
        """
        window = core.expand(around(self.reach.head), self.bounds)
        with self.engine.open(window.height, window.width) as ops:
            if only is not None:
                ops.restrict(only[window.slices])
            ops.head(self._input(window))
            return ops.read("head", core.within(window))

    def mask(self, block: int, core: Window, only: Wanted) -> Mask:
        """A block's learned mask in a window, right where `only` (H, W) is set."""
        branch = self.reach.blocks[block].mask
        assert branch is not None, "a block without a mask has none to look at again"
        window = core.expand(branch.needs, self.bounds)
        with self.engine.open(window.height, window.width) as ops:
            ops.restrict(only[window.slices])
            ops.write("features", self.stores[block].read(window))
            ops.mask(block, "features")
            return ops.read_mask(block)[core.within(window).slices]

    def masked(self, block: int, core: Window, only: Wanted) -> Features:
        """Stage block + 1 in a window by the mask in `masks`; see `head`."""
        window = core.expand(around(self.reach.blocks[block].layers), self.bounds)
        with self.engine.open(window.height, window.width) as ops:
            ops.restrict(only[window.slices])
            ops.write("features", self.stores[block].read(window))
            ops.give_mask(block, self.masks[block][window.slices])
            return self._result(ops, block, core.within(window))

    def end(self, core: Window, only: Wanted | None = None) -> Frame:
        """The result for a window, (scale * h, scale * w, 3), from what all stages left; see `head`."""
        window = core.expand(around(self.reach.end), self.bounds)
        with self.engine.open(window.height, window.width) as ops:
            ops.give_attention(len(self.attention) - 1, self.attention[-1])

            def load(target: Map, stage: int) -> None:
                ops.write(target, self.stores[stage].read(window))

            result = finish(ops, self.spec, load, self._input(window), None if only is None else only[window.slices])
        return result[core.within(window).scaled(self.spec.scale).slices]

    def _block(self, block: int, core: Window) -> Features:
        """Stage block + 1 in a window, the block's attention being known; its mask goes to `masks`."""
        window = core.expand(self.reach.blocks[block].needs, self.bounds)
        with self.engine.open(window.height, window.width) as ops:
            self._decide(ops, block, core, window)
            return self._result(ops, block, core.within(window))

    def _result(self, ops: Ops, block: int, inner: Window) -> Features:
        """Part of stage block + 1, the features and the mask of a window being there."""
        ops.masked_block(block, "features", inner)
        if block == len(self.spec.blocks) - 1:
            return ops.read("fused", inner)
        ops.give_attention(block, self.attention[block])
        ops.residual(block, "features", collect=False)
        return ops.read("features", inner)

    def _attend(self, block: int, cores: Sequence[Window]) -> None:
        """A stage whose attention is not known: fused layers and sums of all tiles, attention, then the residual."""
        sums: Sums = np.zeros(1, np.int64)
        for core in cores:
            sums, scales = self._fused(block, core, sums)
        self.attention.append(scales)
        for core in cores if block < len(self.spec.blocks) - 1 else ():
            self._residual(block, core)

    # A window's maps are let go when its method returns: the next one may have no room beside them.

    def _fused(self, block: int, core: Window, sums: Sums) -> tuple[Sums, Scales]:
        """Store a block's fused layers; its sums added to those of the tiles before, and the attention these give."""
        window = core.expand(self.reach.blocks[block].needs, self.bounds)
        with self.engine.open(window.height, window.width) as ops:
            self._decide(ops, block, core, window)
            inner = core.within(window)
            ops.masked_block(block, "features", inner)
            sums = sums + ops.sums()
            self.stores[block + 1].write(core, ops.read("fused", inner))
            attend(ops, self.spec, block, self.bounds.area, sums)
            return sums, ops.read_attention(block)

    def _residual(self, block: int, core: Window) -> None:
        """Put f_(block + 1) in the place of the fused layers."""
        store = self.stores[block + 1]
        with self.engine.open(core.height, core.width) as ops:
            ops.write("features", self.stores[block].read(core))
            ops.write("fused", store.read(core))
            ops.give_attention(block, self.attention[block])
            ops.residual(block, "features", collect=False)
            store.write(core, ops.read("features", whole(core.height, core.width)))

    def _decide(self, ops: Ops, block: int, core: Window, window: Window) -> None:
        """A block's features in a window and its mask, which also goes to `masks`."""
        ops.write("features", self.stores[block].read(window))
        given = self._given[block]
        part = None if given is None else given[window.slices]
        decide(ops, self.spec, block, "features", window, part)
        if given is None:
            self.masks[block][core.slices] = ops.read_mask(block)[core.within(window).slices]

    def _input(self, window: Window) -> Frame:
        return np.ascontiguousarray(self.frame[window.slices])
