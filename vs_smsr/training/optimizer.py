"""The optimizer: Adam, with a rate of its own for what decides the masks."""

from __future__ import annotations

import torch
from torch import nn

from vs_smsr.training.options import TrainOptions

BETAS = (0.9, 0.99)


def create(network: nn.Module, options: TrainOptions) -> torch.optim.Adam:
    """Adam over all parameters in two groups; each group's "factor" is its rate over the run's."""
    masks: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (masks if "spa_mask" in name or "ch_mask" in name else others).append(parameter)
    groups = [{"params": others, "factor": 1.0}, {"params": masks, "factor": options.mask_lr}]
    return torch.optim.Adam(groups, lr=options.lr, betas=BETAS)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group its share of the run's rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
