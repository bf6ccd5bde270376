"""The same function with other weights: features and weights of a size that Adam can work with.

Adam moves every weight by about the learning rate, whatever the weight's size. Weights made for images of 0..1 and
converted to 0..255 have a head a hundred times too small, which jumps at each step, and a tail a hundred times too
large, which stands still. What ReLU lets through scales with its input, so factors can be moved from layer to layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vs_smsr.network.smsr import SMSR, SparseMaskModule


@torch.no_grad()
def balance(network: SMSR) -> None:
    """Give the first layers of the head, the attention and the mask branches the size that PyTorch starts them with.

    The layers after them undo it: what the network computes stays the same, up to rounding. Changes it in place.
    """
    first, second = network.head[0], network.head[2]
    factor = _grow(first, 1.0)
    features = factor * _grow(second, factor)
    for module in network.body:
        assert isinstance(module, SparseMaskModule), "the body holds nothing else"
        _bias(module.body.collect).mul_(features)
        for branch in (module.ca.conv_du, module.spa_mask):
            _weight(branch[0]).div_(features)
            _branch(branch)
    for layer in (network.collect[0], network.collect[2]):
        _bias(layer).mul_(features)
    _weight(network.tail[0]).div_(features)


def _branch(layers: nn.Sequential) -> None:
    """Move a factor from the last convolution of a branch to its first one."""
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    factor = _grow(convolutions[0], 1.0)
    for layer in convolutions[1:-1]:
        _bias(layer).mul_(factor)
    _weight(convolutions[-1]).div_(factor)


def _grow(layer: nn.Module, inputs: float) -> float:
    """Bring a convolution's weights to their usual size; its bias follows, as its inputs are `inputs` times larger."""
    weight = _weight(layer)
    usual = 1 / math.sqrt(3 * weight[0].numel())  # what nn.Conv2d draws from has this deviation
    factor = usual / max(float(weight.square().mean().sqrt()), 1e-12)
    weight.mul_(factor)
    _bias(layer).mul_(inputs * factor)
    return factor


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor), "a convolution"
    return weight


def _bias(layer: nn.Module) -> Tensor:
    bias = layer.bias
    assert isinstance(bias, Tensor), "a convolution with bias"
    return bias
