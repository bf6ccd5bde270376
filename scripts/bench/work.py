"""Multiply-adds that are done for a frame, not as the paper counts them but as an engine that skips all it may does."""

from __future__ import annotations

from math import prod

import numpy as np

from vs_smsr.engine.contract import Mask
from vs_smsr.weights import CHANNELS, LAYERS, MASK_CHANNELS, MODULES, Weights, shapes

LAYER = CHANNELS * CHANNELS * 9  # a masked convolution at an active pixel
MASK_BRANCH = MASK_CHANNELS * (CHANNELS * 9 + MASK_CHANNELS * 9 / 4 + 2 * 9 / 4)  # at a pixel; two layers at a quarter


def dense_macs(scale: int) -> int:
    """Of the network without masks, for one pixel: the work of the dense contenders."""
    names = [name for name in shapes(scale) if name.endswith(".weight")]
    return sum(prod(shapes(scale)[name]) for name in names if ".spa_mask." not in name and ".ca." not in name)


def used_macs(weights: Weights, masks: tuple[Mask, ...]) -> float:
    """Of the network with these masks, for the whole frame."""
    pixels = masks[0].size
    body = CHANNELS * CHANNELS * (9 + 1) * LAYERS
    total = pixels * (dense_macs(weights.scale) - MODULES * body + MODULES * MASK_BRANCH)
    for module in range(MODULES):
        active = int(np.count_nonzero(masks[module]))
        total += active * body + (pixels - active) * _inactive(weights, module)
    return total


def _inactive(weights: Weights, module: int) -> int:
    """One SMM at an inactive pixel: dense outputs from dense inputs."""
    macs, inputs = 0, CHANNELS
    for layer in range(LAYERS):
        outputs = int(weights.dense_channels(module, layer).sum())
        macs += 9 * inputs * outputs + CHANNELS * outputs
        inputs = outputs
    return macs
