"""What the masks of rows compute: which channels are dense, how shares come to what is wanted and stay there.

Decided masks of blocks learn by straight-through gradients, and a price on what they compute holds the wanted share.
That of the upsampling is taught where there is most to add to the bicubic base: left to itself it stays open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.families import LearnedMask
from vs_smsr.network.masked import HARD, MaskedNetwork

MASKS = "spa_mask", "ch_mask", "predict"  # in names of parameters that decide masks
PATIENCE = 0.05  # how fast the pressure on what is computed follows
TAUGHT = 0.3  # the upsampling's cross entropy in units of the L1 loss
NEAR = 0.002  # of the wanted share, when masks are settled
SHIFT = 8.0  # how far logits are shifted at most
CERTAIN = 4.0  # the logit of a channel that is dense, less that of one that is sparse, over two


@dataclass
class Hold:
    """Holds what decided masks compute of crops, which are livelier than whole pictures.

    Attributes:
        wanted: the share of multiply-adds under masks that is to be computed of pictures, 0..1.
        share: and of crops.
        pressure: what a computed share of 1 costs in the loss: the more, the longer too much was computed.
    """

    wanted: float
    share: float = 1.0
    pressure: float = 0.5

    def aim(self, crops: float, pictures: float) -> None:
        """Hold of crops what gives the wanted share of pictures, with what decided masks compute of both now."""
        self.share = crops - (pictures - self.wanted)

    def adjust(self, computed: float) -> None:
        """After a step that computed this share."""
        self.pressure += PATIENCE * (computed - self.share)


class Quads:
    """Which 2x2 source pixels are to be upsampled: those that differ most from the bicubic base, in the mean.

    Attributes:
        limit: how much that is, 0..255.
        wanted: the share that is to be upsampled, 0..1.
    """

    def __init__(self, wanted: float, pictures: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Begin with the limit that gives the share of these pictures, LR and HR as for a step."""
        self.wanted = wanted
        work = torch.cat([_work(small, large).flatten() for small, large in pictures])
        self.limit = torch.quantile(work, 1 - wanted).item()

    def loss(self, network: MaskedNetwork, small: Tensor, large: Tensor) -> Tensor:
        """Cross entropy of what the network's newest call decided for; quads near the limit count less."""
        above = _work(small, large) - self.limit
        weight = (above.abs() / self.limit).clamp(max=1)
        return TAUGHT * F.binary_cross_entropy_with_logits(network.quads, (above > 0).float(), weight)

    def aim(self, upsampled: float) -> None:
        """Raise the limit where too large a share of pictures is upsampled, or lower it."""
        self.limit *= math.exp(upsampled - self.wanted)


def _work(small: Tensor, large: Tensor) -> Tensor:
    """(B, 1, h / 2, w / 2) how far HR is from the bicubic base of LR (B, 3, h, w) in the mean over 2x2 LR pixels."""
    scale = large.shape[-1] // small.shape[-1]
    base = F.interpolate(small, scale_factor=scale, mode="bicubic", align_corners=False)
    return F.avg_pool2d((large - base).abs().mean(1, keepdim=True), 2 * scale)


def decides_masks(name: str) -> bool:
    """Is it a parameter of masks?"""
    return any(part in name for part in MASKS)


def logits(network: nn.Module) -> dict[str, Tensor]:
    """By parameter that is a logit itself, the view of what makes pixels active, or channels dense."""
    if not isinstance(network, MaskedNetwork):
        return {}
    spec, numbers = network.spec, dict(network.named_parameters())
    decide = [f"{mask.decide.name}.bias" for mask in spec.masks if isinstance(mask, LearnedMask)]
    channels = [block.channel_mask for block in spec.blocks if isinstance(block.channel_mask, str)]
    views = {name: numbers[name].data[1:] for name in decide}  # of (off, on)
    return views | {name: numbers[name].data[..., 0] for name in channels}  # of (dense, sparse)


@torch.no_grad()
def choose_channels(network: MaskedNetwork, shares: Sequence[float]) -> None:
    """The strongest channels of every layer are dense, from the beginning.

    A channel is as strong as the weights that make it, times those that read it in the block's next layer.

    Args:
        shares: of the channels of each layer of a block, 0..1.
    """
    numbers = dict(network.named_parameters())
    for block in network.spec.blocks:
        weights = [numbers[f"{layer.name}.weight"] for layer in block.layers]
        kinds = numbers[str(block.channel_mask)]  # (1, width, layers, 2)
        for layer, (weight, share) in enumerate(zip(weights, shares, strict=True)):
            strength = weight.flatten(1).norm(dim=1)
            if layer + 1 < len(weights):
                strength = strength * weights[layer + 1].transpose(0, 1).flatten(1).norm(dim=1)
            strongest = strength.topk(round(share * len(strength))).indices
            kinds[0, :, layer] = kinds.new_tensor([-CERTAIN, CERTAIN])
            kinds[0, strongest, layer] = kinds.new_tensor([CERTAIN, -CERTAIN])


def computed(network: nn.Module, shares: Tensor) -> Tensor:
    """The share of multiply-adds under masks that is done, from those of the masks."""
    if not isinstance(network, MaskedNetwork):
        return shares.mean()
    macs = shares.new_tensor(network.spec.masked_macs)
    return (shares * macs).sum() / macs.sum()


@torch.no_grad()
def settle(
    network: MaskedNetwork,
    images: Sequence[Tensor],
    wanted: float,
    *,
    upsampling: float | None = None,
    channels: bool = True,
) -> None:
    """Shift all logits by one number, so that masks decided by them compute the wanted share of images.

    Masks that are drawn compute another share than those decided by the same logits.

    Args:
        wanted: share of multiply-adds under masks, 0..1.
        upsampling: the share of 2x2 source pixels that are to be upsampled, by a number of its own; None: as it comes.
        channels: shift logits of channel masks, too.
    """
    mask, found = network.spec.upsampling_mask, logits(network)
    if upsampling is not None:
        assert mask, "only its own mask leaves upsampling out"
        own = [found.pop(f"{mask.decide.name}.bias")]
        _shift(own, lambda: float(np.mean([network(i, HARD)[1][-1].item() for i in images])), upsampling)
    shifted = [value for name, value in found.items() if channels or not name.endswith("ch_mask")]
    _shift(shifted, lambda: float(np.mean([computed(network, network(i, HARD)[1]).item() for i in images])), wanted)


def _shift(values: Sequence[Tensor], share: Callable[[], float], wanted: float) -> None:
    begun = [value.clone() for value in values]
    low, high = -SHIFT, SHIFT
    for _ in range(12):
        shift = (low + high) / 2
        for value, before in zip(values, begun, strict=True):
            value.copy_(before + shift)
        found = share()
        if abs(found - wanted) < NEAR:
            break
        low, high = (low, shift) if found > wanted else (shift, high)
    print(f"settled: computed {found:.3f}, shifted by {shift:.3f}", flush=True)
