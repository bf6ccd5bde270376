"""A network's stages as calls of an engine's ops, written once; the strategies differ in the regions that they go over.

The whole frame at once is here; by tiles, with what stages leave in stores, is `staged`; single stages where pixels
changed is `kept`, driven by `tiling.changes`. All of them are calls of `contract.Ops`, on maps that hold a frame or a
window.

The order of the ops is chosen so that few maps live at once: the 1x1 of a block over its layers and that of the collect
over the blocks are sums that grow as their inputs appear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

import numpy as np

from vs_smsr.engine.contract import (
    Dense,
    Engine,
    Frame,
    Map,
    Mask,
    Ops,
    Overrides,
    Sums,
    Upscaled,
    UpscaledPicture,
    predicted_channels,
    sparsity,
    whole_quads,
)
from vs_smsr.engine.conversion import Run, alone, pack, unpack
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.window import Window, whole
from vs_smsr.families import DynamicChannels, GradientMask, LearnedMask, NetworkSpec
from vs_smsr.weights import Weights

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of BT.601
OnStage = Callable[[int, Map], None]  # number of a stage, and the map that holds what it leaves for later stages


def upscale(engine: Engine, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
    """What `Engine.upscale` does, for engines with ops."""
    with engine.open(*frame.shape[:2]) as ops:
        return run(ops, engine.weights, frame, overrides or Overrides())


def upscale_picture(
    engine: Engine, picture: Picture, like: Layout | None, overrides: Overrides | None, kernels: Run = alone
) -> UpscaledPicture:
    """What `Engine.upscale_picture` does, for engines on the host; `kernels` runs the conversions."""
    scale = engine.weights.scale
    result = engine.upscale(unpack(picture, kernels), overrides)
    large = pack(result.frame, like or picture.layout, scale * picture.height, scale * picture.width, kernels)
    return UpscaledPicture(large, result.sparsity)


def at_once[T](result: T) -> Future[T]:
    """What `Engine.submit` returns where nothing overlaps."""
    future: Future[T] = Future()
    future.set_result(result)
    return future


def run(ops: Ops, weights: Weights, frame: Frame, overrides: Overrides, on_stage: OnStage | None = None) -> Upscaled:
    """The whole network over one frame (H, W, 3), H and W even; `on_stage` as in `trunk`."""
    channels = trunk(ops, weights, frame, overrides, on_stage)
    result = ops.tail(frame)
    masks = tuple(ops.read_mask(number) for number in range(len(weights.spec.masks)))
    attention = tuple(ops.read_attention(block) for block in range(len(weights.spec.blocks)))
    return Upscaled(result, masks, attention, sparsity(weights, masks, channels), channels=channels)


def trunk(
    ops: Ops, weights: Weights, frame: Frame, overrides: Overrides, on_stage: OnStage | None = None
) -> tuple[Dense | None, ...]:
    """All of `run` but the tail, and what is read of the blocks.

    `on_stage` is called for each stage while its map is there: f_0 .. f_(K-1), then the last block's fused layers.

    Returns:
        Per block, its channel masks where they follow from the frame, else None.
    """
    spec = weights.spec
    bounds, last = whole(*frame.shape[:2]), len(spec.blocks) - 1
    channels: list[Dense | None] = []
    masks = given_masks(spec, frame, overrides)
    ops.head(frame)
    source: Map = "head"
    if on_stage:
        on_stage(0, source)
    for block in range(last + 1):
        decide(ops, spec, block, source, bounds, masks[block])
        channels.append(channel_masks(weights, block, bounds, overrides, [partial(ops.feature_sums, source, bounds)]))
        if (dense := channels[-1]) is not None:
            ops.give_channels(block, dense)
        ops.masked_block(block, source, bounds)
        if overrides.attention is not None:
            ops.give_attention(block, overrides.attention[block])
        else:
            attend(ops, spec, block, bounds.area)
        ops.residual(block, source, collect=spec.collect is not None)
        source = "features"
        if on_stage:
            on_stage(block + 1, source if block < last else "fused")
    if spec.upsampling_mask:
        decide(ops, spec, last + 1, source, bounds, masks[last + 1])
    return tuple(channels)


def given_masks(spec: NetworkSpec, frame: Frame, overrides: Overrides) -> tuple[Mask | None, ...]:
    """Per mask of the spec, the (H, W) that does not depend on features; None: it does, or there is none."""
    if overrides.masks is not None:
        blocks = len(spec.blocks)
        return *overrides.masks[:blocks], *map(whole_quads, overrides.masks[blocks:])
    fixed = {mask: gradient_mask(frame, mask) for mask in set(spec.masks) if isinstance(mask, GradientMask)}
    return tuple(fixed[mask] if isinstance(mask, GradientMask) else None for mask in spec.masks)


def gradient_mask(frame: Frame, mask: GradientMask) -> Mask:
    """(H, W): 1 where luma differs from that of one of the four pixels beside it by more than the threshold."""
    luma = frame[..., 0] * LUMA[0] + frame[..., 1] * LUMA[1] + frame[..., 2] * LUMA[2]
    active = np.zeros(luma.shape, np.uint8)
    for axis in (0, 1):
        steep = np.abs(np.diff(luma, axis=axis)) > mask.threshold
        along = np.swapaxes(active, 0, axis)
        along[:-1] |= np.swapaxes(steep, 0, axis)
        along[1:] |= np.swapaxes(steep, 0, axis)
    return active


def decide(ops: Ops, spec: NetworkSpec, number: int, source: Map, window: Window, given: Mask | None) -> None:
    """A mask of the spec in a window: the one that is given (H, W), or a learned one; all ones where there is none."""
    if given is not None:
        ops.give_mask(number, given)
    elif isinstance(spec.masks[number], LearnedMask):
        ops.mask(number, source)
    else:
        ops.give_mask(number, np.ones((window.height, window.width), np.uint8))


def channel_masks(
    weights: Weights, block: int, bounds: Window, overrides: Overrides, sums: Iterable[Callable[[], Sums]]
) -> Dense | None:
    """The block's channel masks where they follow from the frame: those given, or by means of its input; else None.

    Args:
        sums: channel sums of parts of the input that together are the whole frame; asked for only where needed.
    """
    if not isinstance(weights.spec.blocks[block].channel_mask, DynamicChannels):
        return None
    if overrides.channels:
        return overrides.channels[block]
    total = np.sum([part() for part in sums], axis=0)
    return predicted_channels(weights, block, total, bounds.area)


def attend(ops: Ops, spec: NetworkSpec, block: int, pixels: int, sums: Sums | None = None) -> None:
    """The block's attention from sums over that many pixels (None: of the newest masked block); ones without one."""
    if spec.blocks[block].attention:
        ops.attention(block, pixels, sums)
    else:
        ops.give_attention(block, np.ones(spec.width, np.float32))
