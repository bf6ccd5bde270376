"""Multiply-adds that are done for a frame, not as the paper counts them but as an engine that skips all it may does."""

from __future__ import annotations

import numpy as np

from vs_smsr.engine.contract import Mask
from vs_smsr.families import LearnedMask, NetworkSpec
from vs_smsr.weights import Weights


def dense_macs(spec: NetworkSpec) -> int:
    """Of the network without masks, for one pixel: the work of the dense contenders."""
    return spec.macs - sum(mask.macs for mask in spec.masks if isinstance(mask, LearnedMask))


def branch_macs(spec: NetworkSpec, block: int) -> float:
    """Of a block's mask branch, for one pixel; two of its convolutions work at a quarter of the pixels."""
    mask = spec.masks[block]
    return mask.first.macs + mask.second.macs / 4 + mask.decide.macs / 4 if isinstance(mask, LearnedMask) else 0


def used_macs(weights: Weights, masks: tuple[Mask, ...]) -> float:
    """Of the network with these masks, for the whole frame."""
    spec, pixels = weights.spec, masks[0].size
    total: float = pixels * dense_macs(spec)
    for block, mask in enumerate(masks):
        inactive = pixels - int(np.count_nonzero(mask))
        total += pixels * branch_macs(spec, block) - inactive * (spec.masked_macs[block] - _inactive(weights, block))
    return total


def masked_macs(spec: NetworkSpec) -> int:
    """Of all masked convolutions, for a pixel that is active in every block."""
    return sum(layer.macs for block in spec.blocks for layer in block.layers)


def _inactive(weights: Weights, block: int) -> int:
    """One block at an inactive pixel: dense outputs from dense inputs."""
    macs, inputs = 0, weights.spec.width
    for number, layer in enumerate(weights.spec.blocks[block].layers):
        outputs = int(weights.dense_channels(block, number).sum())
        macs += layer.size**2 * inputs * outputs + weights.spec.width * outputs
        inputs = outputs
    return macs
