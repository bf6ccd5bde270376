"""A frame whose features of all stages stay in memory, so that the next frame recomputes only what changed.

The frame is computed whole; then windows of single stages are computed again (see `tiling.changes`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vs_smsr.engine.contract import Dense, Engine, Features, Frame, Map, Mask, Ops, Overrides, Scales, Upscaled, Wanted
from vs_smsr.engine.interpreter import run
from vs_smsr.engine.reach import around, reach
from vs_smsr.engine.window import Window, whole


class KeptFrame:
    """The stages f_0 .. f_(K-1) and the last block's fused layers: no later stage needs f_K around a pixel.

    Args:
        spare: stages of another one of that size, which is not used any more: memory that was used before is there
            sooner than what the system has to give.
    Attributes:
        frame: (H, W, 3) the input that the features belong to.
        in_place: whole rows of the stages need not be moved to be computed with.
        stages: the features, (H, W, words).
        attention: what was used for it, per block.
        channels: its channel masks, as in `Upscaled`.
        masks: its masks, as in `Upscaled`.
        output: (scale * H, scale * W, 3) its result.
    """

    frame: Frame
    output: Frame

    def __init__(self, engine: Engine, height: int, width: int, spare: Sequence[Features] = ()) -> None:
        self._engine, self._spare = engine, list(spare)
        self.spec = engine.weights.spec
        self.reach = reach(self.spec)
        self.bounds = whole(height, width)
        self.in_place = engine.memory.on_host
        self.stages: list[Features] = []
        self.masks: tuple[Mask, ...] = ()
        self.attention: Sequence[Scales] = ()
        self.channels: Sequence[Dense | None] = ()

    def upscale(self, frame: Frame, overrides: Overrides) -> Upscaled:
        """As `Engine.upscale`; called once. The result shares our arrays."""
        with self._engine.open(self.bounds.height, self.bounds.width) as ops:

            def on_stage(_: int, source: Map) -> None:
                self.stages.append(ops.read(source, self.bounds, self._spare.pop() if self._spare else None))

            result = run(ops, self._engine.weights, frame, overrides, on_stage)
        self._spare = []
        self.frame, self.output, self.masks = frame, result.frame, result.masks
        self.attention, self.channels = result.attention, result.channels
        return result

    @property
    def means(self) -> Overrides:
        """As `Upscaled.means`."""
        return Overrides(attention=tuple(self.attention), channels=tuple(self.channels))

    def head(self, core: Window, wanted: Wanted, only: Wanted) -> Wanted:
        """Compute stage 0 anew in a window of the frame, and keep it where it is wanted.

        Args:
            wanted: (H, W) of the frame.
            only: (H, W), here as in `masked` and `end`: what is computed; a result is right where the stage's reach
                around it is set.
        Returns:
            (h, w) of the window: where it is another one than before.
        """
        window = core.expand(around(self.reach.head), self.bounds)
        with self._engine.open(window.height, window.width) as ops:
            ops.restrict(only[window.slices], wanted[window.slices])
            ops.head(self._input(window))
            return self._update(0, ops, "head", core, window, wanted)

    def mask(self, block: int, core: Window, only: Wanted) -> Mask:
        """A block's learned mask in a window, right where `only` (H, W) is set."""
        branch = self.reach.blocks[block].mask
        assert branch is not None, "a block without a mask has none to look at again"
        window = core.expand(branch.needs, self.bounds)
        with self._engine.open(window.height, window.width) as ops:
            ops.restrict(only[window.slices])
            ops.write("features", self.stages[block][window.slices])
            ops.mask(block, "features")
            return ops.read_mask(block)[core.within(window).slices]

    def masked(self, block: int, core: Window, wanted: Wanted, only: Wanted) -> Wanted:
        """As `head`, stage block + 1 by the mask in `masks`."""
        window = core.expand(around(self.reach.blocks[block].layers), self.bounds)
        with self._engine.open(window.height, window.width) as ops:
            ops.restrict(only[window.slices], wanted[window.slices])
            ops.write("features", self.stages[block][window.slices])
            ops.give_mask(block, self.masks[block][window.slices])
            if (dense := self.channels[block]) is not None:
                ops.give_channels(block, dense)
            ops.masked_block(block, "features", core.within(window))
            if block == len(self.spec.blocks) - 1:
                return self._update(block + 1, ops, "fused", core, window, wanted)
            ops.give_attention(block, self.attention[block])
            ops.residual(block, "features", collect=False)
            return self._update(block + 1, ops, "features", core, window, wanted)

    def _update(self, stage: int, ops: Ops, source: Map, core: Window, window: Window, wanted: Wanted) -> Wanted:
        kept = self.stages[stage][core.slices]
        return ops.update(source, core.within(window), kept, wanted[core.slices])

    def end(self, core: Window, wanted: Wanted, only: Wanted) -> tuple[Frame, Mask | None]:
        """The result for a window, (scale * h, scale * w, 3), from what all stages left, and the mask of its
        upsampling where it has one; see `head`."""
        window, mask = core.expand(self.reach.end.needs, self.bounds), None
        inner = core.within(window)
        last, collecting = len(self.spec.blocks) - 1, self.spec.collect is not None
        with self._engine.open(window.height, window.width) as ops:
            ops.restrict(only[window.slices])
            for block in range(1, last + 1) or (0,) if collecting else (last,):
                ops.write("features", self.stages[block][window.slices])
                if block and collecting:
                    ops.collect(block - 1)
            ops.write("fused", self.stages[last + 1][window.slices])
            ops.give_attention(last, self.attention[last])
            ops.residual(last, "features", collect=collecting)
            if collecting:
                ops.write("head", self.stages[0][window.slices])
            if self.spec.upsampling_mask:
                ops.mask(last + 1, "features")
                mask = ops.read_mask(last + 1)[inner.slices]
            ops.restrict(only[window.slices], wanted[window.slices])
            result = ops.tail(self._input(window))
        return result[inner.scaled(self.spec.scale).slices], mask

    def _input(self, window: Window) -> Frame:
        return np.ascontiguousarray(self.frame[window.slices])
