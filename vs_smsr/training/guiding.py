"""Guided masks: the branches learn to find the pixels around which the SMMs change the result most.

Masks that are drawn are decided within some hundred steps, before the network has learnt what each SMM is for: one
opens everywhere, others close for good. Masks that are hard learn nothing from the result's gradient: what they leave
out is not there to be judged. Here it is computed, for some of the crops of every step: how far apart are the network's
results with all of its SMMs' work and with none of it? Pixels with more of that than a threshold are what an SMM's
branch is taught to find, and the thresholds follow the shares of pixels that are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vs_smsr.network.smsr import SMSR
from vs_smsr.training.options import FLAT

LEAST = 1e-3  # work, over the error, that is as good as none
GAIN = 0.05  # how much a threshold rises in a step, in its logarithm, if all pixels are too many


class Guide:
    """What the branches are to find.

    Args:
        shares: of a crop's pixels, 0..1, that each SMM is to compute; none if masks are not guided.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = torch.tensor(shares)
        self.thresholds: Tensor | None = None  # (5,), in the measure of `work_done`

    def thresholds_for(self, work: Tensor) -> Tensor:
        """(B, 1, h, w) -> (5,) thresholds that give these pixels the shares."""
        return torch.quantile(work.float().flatten(), 1 - self.shares.to(work.device))

    def follow(self, active: Tensor) -> None:
        """Let the thresholds rise or fall, as more or fewer pixels are active than asked for.

        Args:
            active: (5,) shares of the pixels, 0..1, at this step.
        """
        assert self.thresholds is not None, "set from `thresholds_for`"
        self.thresholds = self.thresholds * torch.exp(GAIN * (active - self.shares.to(active.device)))

    def loss(self, logits: Sequence[Tensor], work: Tensor) -> Tensor:
        """Cross entropy between the masks and the pixels above the threshold, summed over the SMMs. Pixels weigh by
        how far from it they are: those near it may as well be left out.

        Args:
            logits: of each SMM, (B, 1, h, w).
            work: (B, 1, h, w), from `work_done`.
        """
        assert self.thresholds is not None, "set from `thresholds_for`"
        losses = []
        for logit, threshold in zip(logits, self.thresholds, strict=True):
            above = work - threshold
            weight = above.abs() / above.abs().mean().clamp_min(LEAST**2)
            losses.append(F.binary_cross_entropy_with_logits(logit, (above > 0).float(), weight))
        return torch.stack(losses).sum()


@torch.no_grad()
def work_done(network: SMSR, small: Tensor, large: Tensor) -> Tensor:
    """(B, 1, h, w), above 0: how far the SMMs' work moves the result around each LR pixel, over its crop's error.

    Over the error because PSNR is relative too: what is done for a crop that is nearly right counts more.

    Args:
        network: whose SMMs are judged.
        small: (B, 3, h, w) LR, 0..255.
        large: (B, 3, scale * h, scale * w) HR, 0..255.
    """
    height, width = small.shape[2:]
    nowhere = small.new_zeros(len(small), 1, height, width)
    blocks = len(network.body)
    with_work, without = (network.hard_forward(small, [m] * blocks).out.float() for m in (nowhere + 1, nowhere))
    moved = (with_work - without).abs().mean(1, keepdim=True)
    error = torch.sqrt(((with_work - large) ** 2).mean((1, 2, 3), keepdim=True) + FLAT)
    return F.avg_pool2d(F.avg_pool2d(moved, network.scale), 3, stride=1, padding=1) / error + LEAST
