"""The optimizer: Adam, with a rate of its own for what decides the masks."""

from __future__ import annotations

import torch
from torch import nn

from vs_smsr.training.options import TrainOptions

BETAS = (0.9, 0.99)


def create(network: nn.Module, options: TrainOptions) -> torch.optim.Adam:
    """Adam over all parameters in two groups: the network's, and those that decide the masks."""
    masks: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (masks if "spa_mask" in name or "ch_mask" in name else others).append(parameter)
    return torch.optim.Adam([{"params": others}, {"params": masks}], lr=options.lr, betas=BETAS)


def set_rate(optimizer: torch.optim.Optimizer, lr: float, options: TrainOptions, masks_alone: bool) -> None:
    """Give each group its share of the run's rate."""
    for group, factor in zip(optimizer.param_groups, (0.0 if masks_alone else 1.0, options.mask_lr), strict=True):
        group["lr"] = lr * factor
