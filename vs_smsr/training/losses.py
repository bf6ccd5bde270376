"""How far images are from what they should be, as one number to learn from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vs_smsr.evaluation.metrics import LUMA
from vs_smsr.training.options import FLAT, Loss

COLOUR = 0.1  # share of the RGB square error in "luma": enough to keep colours


def image_loss(out: Tensor, target: Tensor, loss: Loss) -> Tensor:
    """Mean over the crops of (B, 3, H, W) RGB, 0..255.

    "l1" and "charbonnier" are of each value; "rmse" is the root of a crop's mean square; "psnr" is its PSNR in dB,
    negative and up to a constant, with `FLAT` added to the mean square; "luma" is the same of luma, nearly.
    """
    if loss == "l1":
        return F.l1_loss(out, target)
    if loss == "charbonnier":
        return torch.sqrt((out - target) ** 2 + 1e-3**2).mean()
    squares = ((out - target) ** 2).mean((1, 2, 3))
    if loss == "rmse":
        return torch.sqrt(squares + 1e-3**2).mean()
    if loss == "luma":
        weights = torch.from_numpy(LUMA / LUMA.sum()).to(out).view(1, 3, 1, 1)
        luma = ((out - target) * weights).sum(1)
        squares = (1 - COLOUR) * (luma**2).mean((1, 2)) + COLOUR * squares
    return 10 * torch.log10(squares + FLAT).mean()
