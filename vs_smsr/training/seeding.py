"""A first guess of the spatial masks: the pixels around which an image has the detail that enlarging cannot give.

Masks that start at random are decided within some hundred steps, before the network has learnt what each SMM is for:
one opens everywhere, others close for good, and what has closed learns nothing any more. From this guess on all SMMs
work on the pixels that matter, and learning moves the borders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.network.smsr import SMSR, SparseMaskModule

STEPS = 200
RATE = 2e-3
SAMPLES = 8  # batches whose logits decide the thresholds
Batch = tuple[Tensor, Tensor]  # (B, 3, h, w) LR and (B, 3, scale * h, scale * w) HR, 0..255


def seed_masks(
    network: SMSR,
    batches: Callable[[int], Batch],
    share: float,
    seed: int,
    precision: Callable[[], AbstractContextManager[object]],
) -> None:
    """Train the mask branches anew, and nothing else, to find the share of pixels with the most detail.

    Args:
        network: its features come from the form without masks.
        batches: gives the n-th batch.
        share: of the pixels, 0..1, that are active in each SMM in the end.
        seed: of the branches' first weights.
        precision: entered for each batch anew, since torch.autocast remembers weights as long as it lasts.
    """
    modules: list[SparseMaskModule] = [m for m in network.modules() if isinstance(m, SparseMaskModule)]
    branches = nn.ModuleList(module.spa_mask for module in modules)
    torch.manual_seed(seed)
    for layer in branches.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(branches.parameters(), lr=RATE)
    for step in range(STEPS):
        small, large = batches(step)
        wanted = busy_pixels(small, large, share).float()
        with precision():
            logits = list(_logits(network, modules, small))
        loss = torch.stack([F.binary_cross_entropy_with_logits(logit.float(), wanted) for logit in logits]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad(), precision():
        samples = [list(_logits(network, modules, batches(STEPS + n)[0])) for n in range(SAMPLES)]
    for module, of_module in zip(modules, zip(*samples, strict=True), strict=True):
        _set_threshold(module, of_module, share)


def busy_pixels(small: Tensor, large: Tensor, share: float) -> Tensor:
    """(B, 1, h, w) bool: the share of the LR pixels around which the HR image is least like the enlarged LR image."""
    scale = large.shape[2] // small.shape[2]
    enlarged = F.interpolate(small, scale_factor=scale, mode="bicubic", align_corners=False)
    missing = F.avg_pool2d((large - enlarged).abs().mean(1, keepdim=True), scale)
    around = F.avg_pool2d(missing, 3, stride=1, padding=1)
    return around > torch.quantile(around.flatten(), 1 - share)


def _logits(network: SMSR, modules: list[SparseMaskModule], small: Tensor) -> Iterator[Tensor]:
    """(B, 1, h, w) of each SMM; above 0 is active."""
    with torch.no_grad():
        features = network.head(network.sub_mean(small))
    for module in modules:
        logits = module.spa_mask(features)
        yield logits[:, 1:] - logits[:, :1]
        with torch.no_grad():
            features, _ = module.learn(features, None, frozen_channels=True)


@torch.no_grad()
def _set_threshold(module: SparseMaskModule, logits: Sequence[Tensor], share: float) -> None:
    """Move an SMM's logits so that the share of them is above 0."""
    bias = module.spa_mask[-1].bias
    assert isinstance(bias, Tensor), "a convolution with bias"
    every = torch.cat([part.flatten() for part in logits]).float()
    lowest = every.kthvalue(max(1, round((1 - share) * len(every)))).values
    bias[1] -= lowest
