"""Weights of another size, the same function."""

from __future__ import annotations

import math

import torch
from torch import nn

from vs_smsr.network.smsr import SMSR
from vs_smsr.training.balance import balance


def uneven(seed: int) -> SMSR:
    """A network as if made for images of 0..1 and converted: a tiny head, a huge tail."""
    torch.manual_seed(seed)
    network = SMSR(3).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(torch.rand(()) + 0.5)
        for layer, factor in ((network.head[0], 1 / 255), (network.head[2], 0.3), (network.tail[0], 255)):
            layer.weight.mul_(factor)
        for module in network.body:
            module.body.ch_mask.copy_(torch.randn_like(module.body.ch_mask))
            module.spa_mask[0].weight.mul_(30)
            module.ca.conv_du[0].weight.mul_(30)
    return network


def test_a_balanced_network_computes_the_same() -> None:
    network = uneven(0)
    x = torch.rand(2, 3, 20, 24, dtype=torch.float64) * 255
    with torch.no_grad():
        dense, hard = network(x)[0], network.hard_forward(x)
        before = [parameter.clone() for parameter in network.parameters()]
        balance(network)
        balanced_dense, balanced_hard = network(x)[0], network.hard_forward(x)
    assert (balanced_dense - dense).abs().max() < 1e-9 * dense.abs().max()
    assert (balanced_hard.out - hard.out).abs().max() < 1e-9 * hard.out.abs().max()
    assert any(0 < mask.mean() < 1 for mask in hard.masks)
    for ours, theirs in zip(balanced_hard.masks + balanced_hard.attention, hard.masks + hard.attention, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert not all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_first_layers_get_the_size_that_pytorch_starts_with() -> None:
    network = uneven(1)
    balance(network)
    branches = [layers for module in network.body for layers in (module.ca.conv_du, module.spa_mask)]
    for layer in (network.head[0], network.head[2], *(layers[0] for layers in branches)):
        fresh = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)
        assert math.isclose(layer.weight.std().item(), fresh.weight.std().item(), rel_tol=0.1)
    once = [parameter.clone() for parameter in network.parameters()]
    balance(network)
    for a, b in zip(once, network.parameters(), strict=True):
        torch.testing.assert_close(a, b)
