"""What every engine promises; the only engine types that the rest of the package knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.memory import Memory
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.profile import Profile
from vs_smsr.engine.window import Window
from vs_smsr.families import SUM_UNIT, DynamicChannels, NetworkSpec
from vs_smsr.weights import Weights

Frame = NDArray[np.float32]  # (H, W, 3) RGB, gamma as coded, 0..255
Mask = NDArray[np.uint8]  # (H, W), 1 where a pixel is active
Scales = NDArray[np.float32]  # (width,) channel attention of one block, 0..1
Dense = NDArray[np.bool_]  # (layers, width) of one block, True where a layer's output channel is dense
Features = NDArray[Any]  # (h, w, n) of the engine's own type: the channels of each pixel, exactly as its maps hold them
Sums = NDArray[np.int64]  # channel sums in units of `families.SUM_UNIT`, (..., width) in the engine's own shape; for
# contrast attention (2, width), the second of squares
Wanted = NDArray[np.bool_]  # (h, w)
# f_0; the newest f_k; the newest block's fused layers, before attention; the collect's 1x1 of the blocks so far
Map = Literal["head", "features", "fused", "collected"]


@dataclass(frozen=True)
class Overrides:
    """What is given to a frame instead of being computed from it; None = compute it.

    Attributes:
        masks: a mask (H, W) for each of `spec.masks`: per block, then the upsampling's where it has one.
        attention: channel attention (width,) per block.
        channels: channel masks per block; those of a block whose weights fix them are not looked at.
    """

    masks: tuple[Mask, ...] | None = None
    attention: tuple[Scales, ...] | None = None
    channels: tuple[Dense | None, ...] | None = None

    def have_means(self, spec: NetworkSpec) -> bool:
        """Is all there that follows from means of the whole frame, so that windows of it do not need each other?"""
        return self.attention is not None and (self.channels is not None or not spec.dynamic)


@dataclass(frozen=True)
class Upscaled:
    """The result for one frame.

    Attributes:
        frame: (scale * H, scale * W, 3) float32 RGB, 0..255; a new array.
        masks: a mask (H, W) for each of `spec.masks`, as they were used: that of the upsampling by whole 2x2.
        attention: channel attention (width,) per block, as it was used.
        sparsity: per mask, the share of skipped (pixel, channel) positions as the paper counts them, 0..1.
        channels: per block, its channel masks where they follow from the frame, else None; empty: none does.
    """

    frame: Frame
    masks: tuple[Mask, ...]
    attention: tuple[Scales, ...]
    sparsity: tuple[float, ...]
    channels: tuple[Dense | None, ...] = field(default=(), kw_only=True)

    @property
    def means(self) -> Overrides:
        """What follows from means of the whole frame, for other frames that are to take it over."""
        return Overrides(attention=self.attention, channels=self.channels)

    @property
    def active(self) -> tuple[float, ...]:
        """Per mask, the share of active pixels, 0..1."""
        return tuple(float(mask.mean()) for mask in self.masks)

    @property
    def skipped(self) -> float:
        """Mean sparsity over the masks, 0..1."""
        return sum(self.sparsity) / len(self.sparsity)


@dataclass(frozen=True)
class UpscaledPicture:
    """The result for one picture: what is worth copying from a device.

    Attributes:
        picture: scale times as high and wide as the one that was given; new planes.
        sparsity: as in `Upscaled`, of the frame with even sides.
    """

    picture: Picture
    sparsity: tuple[float, ...]

    @property
    def skipped(self) -> float:
        """Mean sparsity over the masks, 0..1."""
        return sum(self.sparsity) / len(self.sparsity)


class Ops(Protocol):
    """What an engine does with a frame or a window of one, on buffers of that size.

    Features stay on the device, in the maps that `Map` names; masks, by their number in `spec.masks`, and attention, by
    the block's, stay there too. Blocks count from 0.
    """

    def head(self, frame: Frame) -> None:
        """ "head" = f_0 = the spec's head of frame - mean."""
        ...

    def mask(self, block: int, source: Map) -> None:
        """A block's spatial mask from the features in `source`; decided in float32, but for bf16's first convolution.

        For the block after the last one, the mask of the upsampling: active by whole 2x2.
        """
        ...

    def give_mask(self, block: int, mask: Mask) -> None:
        """Take the mask from the host instead; the upsampling's by whole 2x2."""
        ...

    def feature_sums(self, source: Map, core: Window) -> Sums:
        """Channel sums (width,) of "head" or "features" over a part of the window."""
        ...

    def give_channels(self, block: int, dense: Dense) -> None:
        """Take the block's channel masks, where its weights do not fix them, for the masked blocks that follow."""
        ...

    def masked_block(self, block: int, source: Map, core: Window) -> None:
        """ "fused" = the block's masked layers and the 1x1 that fuses them, by its mask.

        Args:
            core: the part of the window that is wanted, and that channel sums are over.
        """
        ...

    def sums(self) -> Sums:
        """Channel sums of the newest masked block over its core."""
        ...

    def attention(self, block: int, pixels: int, sums: Sums | None = None) -> None:
        """The block's channel attention from sums over that many pixels; None: the newest masked block's own."""
        ...

    def give_attention(self, block: int, scales: Scales) -> None:
        """Take the block's channel attention from the host instead."""
        ...

    def residual(self, block: int, source: Map, *, collect: bool) -> None:
        """ "features" = f_(k+1) = "fused" * attention + source; with `collect` also what `collect` does.

        "head" is undefined afterwards; `tail` still has f_0 if it is that of `head`.
        """
        ...

    def collect(self, block: int) -> None:
        """Add to the collect's 1x1 what the block's result, in "features", has in it; the first adds the bias.

        Not for the last block, whose share ends with a relu: that is `residual`'s.
        """
        ...

    def tail(self, frame: Frame) -> Frame:
        """The rest of the collect (conv(act(..)) + "head"), upsampling, tail, bicubic base; 0..255, on the host."""
        ...

    def restrict(self, computed: Wanted, needed: Wanted | None = None) -> None:
        """From now on ops compute at these pixels of the window alone, elsewhere results are undefined.

        An op's inputs must be right one pixel further than it computes (a mask's: as `reach` says).

        Args:
            needed: those of them at which an op's last layer is needed; None: all.
        """
        ...

    def write(self, target: Map, values: Features) -> None:
        """Fill a map from the host. A written "head" is for `tail` alone, and may overwrite "features".

        Whole rows of what was read of a whole frame may become the map itself: nobody changes them until ops end.
        """
        ...

    def read(self, source: Map, window: Window, into: Features | None = None) -> Features:
        """A copy of part of a map on the host; reading "fused" may overwrite "features" where there is a collect.

        Args:
            into: what was read of such a window before and is not needed any more: the copy may be made there.
        """
        ...

    def load(self, target: Map, fill: Callable[[Features], None]) -> None:
        """As `write`, with what `fill` puts into the whole of an array (h, w, words)."""
        ...

    def save(self, source: Map, window: Window, take: Callable[[Features], None]) -> None:
        """As `read`, without a copy where the map lies on the host: `take` is given (h, w, words), rows C-contiguous,
        which are the map's only until it returns."""
        ...

    def update(self, source: Map, window: Window, kept: Features, wanted: Wanted) -> Wanted:
        """Where pixels of part of a map are wanted (h, w) and not those that are kept (h, w, n), put them there.

        Returns:
            (h, w): where. Bits are compared, so 0 and -0 differ.
        """
        ...

    def read_mask(self, block: int) -> Mask:
        """A copy of the mask on the host; undefined after `collect` or a written "fused"."""
        ...

    def read_attention(self, block: int) -> Scales:
        """A copy of the block's channel attention on the host."""
        ...


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an engine can do beside computing whole frames.

    Attributes:
        windows: `Engine.open` works, so frames can go by tiles and stages.
        pictures: `Engine.upscale_picture` and `submit` work: the engine converts, by its own kernels. Where it has a
            memory of its own, a picture crosses the bus in its own type, not as floats.
        in_flight: frames that keep the device busy when they are submitted before the first one's result is taken.
    """

    windows: bool = True
    pictures: bool = False
    in_flight: int = 1


class Engine(Protocol):
    """One network on one device, ready to run; safe to call from several threads, one frame at a time each.

    Attributes:
        name: "cpu", "cuda" or "reference".
        device: "cpu" or "cuda:N"; for messages.
        precision: "fp32", "bf16" or "fp16": the type that convolutions multiply in.
        weights: the network's numbers; `weights.spec` says what it is.
        memory: what frames take, and how much there is.
        profile: seconds by kernel, where the engine was asked for it.
    """

    name: str
    device: str
    precision: str
    weights: Weights
    capabilities: Capabilities
    memory: Memory
    profile: Profile | None

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        """Upscale one frame.

        Args:
            frame: (H, W, 3) float32 RGB 0..255, C-contiguous, H and W even (the caller pads).
            overrides: masks or attention to use instead of the frame's own.
        Raises:
            EngineError: the device failed. MemoryBudgetError: an allocation failed.
        """
        ...

    def upscale_picture(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> UpscaledPicture:
        """As `upscale`, for planes of the caller's own type and of any size. Only with `capabilities.pictures`.

        Odd sides are padded by repeating the last row or column, and the result is cropped.

        Args:
            picture: what to upscale.
            like: layout of the result; None: the picture's.
            overrides: as for `upscale`, for the frame with even sides.
        """
        ...

    def submit(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> Future[UpscaledPicture]:
        """As `upscale_picture`, without waiting for the result where the device works by itself.

        Upload, computing and download of frames that are submitted one after the other overlap there, each frame with
        buffers of its own: keep as many in flight as memory allows. The picture may be changed after the call. Errors
        are raised here or come out of the future.
        """
        ...

    def open(self, height: int, width: int) -> AbstractContextManager[Ops]:
        """Ops for a frame or window of that (even) size. Only with `capabilities.windows`.

        Raises:
            MemoryBudgetError: an allocation failed.
        """
        ...


def statistic(sums: Sums, pixels: int) -> NDArray[np.float64]:
    """(width,) what channel attention looks at: the mean, and with sums of squares (2, width) plus the deviation.

    Args:
        sums: over that many pixels.
    """
    mean, *square = sums.reshape(-1, sums.shape[-1]) / (pixels / SUM_UNIT)
    return np.asarray(mean + sum(np.sqrt(np.maximum(one - mean**2, 0)) for one in square))


def predicted_channels(weights: Weights, block: int, sums: Sums, pixels: int) -> Dense:
    """The channel masks of a block where they follow from the frame; a tie counts as dense.

    In double precision from exact sums, so that all engines decide alike.

    Args:
        sums: (width,) of the block's input, over that many pixels: the whole frame.
    """
    kind = weights.spec.blocks[block].channel_mask
    assert isinstance(kind, DynamicChannels), "other channel masks are in the weights"
    values = statistic(sums, pixels)
    for number, layer in enumerate(kind.convolutions):
        weight = weights.tensors[f"{layer.name}.weight"].reshape(layer.outputs, layer.inputs).astype(np.float64)
        values = weight @ (np.maximum(values, 0) if number else values)
        values = values + weights.tensors.get(f"{layer.name}.bias", 0)
    logits = values.reshape(weights.spec.width, -1, 2)
    dense: Dense = np.ascontiguousarray((logits[..., 0] >= logits[..., 1]).T)
    return dense


def dense_channels(weights: Weights, block: int, given: Dense | None) -> list[Dense]:
    """(outputs,) per layer of a block, True where a channel is dense: those given, or those of the weights."""
    layers = weights.spec.blocks[block].layers
    if given is None:
        return [weights.dense_channels(block, number) for number in range(len(layers))]
    return [row[: layer.outputs] for row, layer in zip(given, layers, strict=True)]


def sparsity(
    weights: Weights, masks: tuple[Mask, ...], channels: Sequence[Dense | None] | None = None
) -> tuple[float, ...]:
    """Per mask, the share of skipped (pixel, channel) positions: sparse channels at inactive pixels, over layers.

    Args:
        channels: as in `Upscaled`.
    """
    return sparsity_of(weights, [np.count_nonzero(mask) / mask.size for mask in masks], channels)


def sparsity_of(
    weights: Weights, active: Sequence[float], channels: Sequence[Dense | None] | None = None
) -> tuple[float, ...]:
    """As `sparsity`, from the share of active pixels per mask."""
    blocks, shares = len(weights.spec.blocks), []
    for block, (share, given) in enumerate(zip(active[:blocks], channels or [None] * blocks, strict=True)):
        sparse = np.mean([1 - dense.mean() for dense in dense_channels(weights, block, given)])
        shares.append(float((1 - share) * sparse))
    return *shares, *(float(1 - share) for share in active[blocks:])


def whole_quads(mask: Mask) -> Mask:
    """(H, W) of even sides: active at all four pixels of a 2x2 that has an active one."""
    quads = mask.reshape(len(mask) // 2, 2, -1, 2).max((1, 3))
    widened: Mask = quads.repeat(2, 0).repeat(2, 1)
    return widened
