"""A first guess of the spatial masks: the pixels around which the SMMs change the result most.

Masks that start at random are decided within some hundred steps, before the network has learnt what each SMM is for:
one opens everywhere, others close for good, and what has closed learns nothing any more. Here each SMM gets the pixels
that matter first, and as many of them as it makes good use of, but some; learning moves the borders.

What matters is asked of the network itself, which has learnt without masks: how far apart are its results with all of
its SMMs' work and with none of it? A branch can learn to tell that from the LR image; it cannot tell where the original
has detail that no network would find.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.network.smsr import SMSR, SparseMaskModule
from vs_smsr.training.losses import image_loss
from vs_smsr.training.options import FLAT
from vs_smsr.weights import MODULES

log = logging.getLogger(__name__)
STEPS = 200
RATE = 2e-3
SOFTNESS = 0.5  # of the border between wanted pixels and others, in the logarithm of what is done for them
LEAST = 1e-3  # work, over the error, that is as good as none
SAMPLES = 8  # batches whose logits decide the thresholds
JUDGES = 2  # of those, batches on whose error the SMMs compete for pixels
LEVELS = (1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1)  # shares that an SMM may have: without any it would learn nothing
Batch = tuple[Tensor, Tensor]  # (B, 3, h, w) LR and (B, 3, scale * h, scale * w) HR, 0..255


def seed_masks(
    network: SMSR,
    batches: Callable[[int], Batch],
    share: float,
    seed: int,
    precision: Callable[[], AbstractContextManager[object]],
) -> None:
    """Train the mask branches anew, and nothing else, to find the share of pixels for which the SMMs do the most.

    Args:
        network: trained without masks.
        batches: gives the n-th batch.
        share: of the pixels, 0..1, that are active in the mean over the SMMs, at most.
        seed: of the branches' first weights.
        precision: entered for each batch anew, since torch.autocast remembers weights as long as it lasts.
    """
    modules = mask_modules(network)
    branches = nn.ModuleList(module.spa_mask for module in modules)
    torch.manual_seed(seed)
    for layer in branches.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(branches.parameters(), lr=RATE)
    for step in range(STEPS):
        small, large = batches(step)
        with precision():
            with torch.no_grad():
                work = work_done(network, small, large).log()
            logits = list(_logits(network, modules, small))
        loss = branch_loss(logits, work, [torch.quantile(work.flatten(), 1 - share)] * MODULES)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    samples = [batches(STEPS + n) for n in range(SAMPLES)]
    with torch.no_grad(), precision():
        by_batch = [[logit.float() for logit in _logits(network, modules, small)] for small, _ in samples]
        by_module = [[part[m] for part in by_batch] for m in range(len(modules))]
        thresholds = _share_out(network, samples[:JUDGES], by_module, share)
    for module, threshold in zip(modules, thresholds, strict=True):
        bias = module.spa_mask[-1].bias
        assert isinstance(bias, Tensor), "a convolution with bias"
        bias.data[1] -= threshold


def _share_out(
    network: SMSR, judges: Sequence[Batch], logits: Sequence[Sequence[Tensor]], share: float
) -> list[Tensor]:
    """Thresholds of the SMMs' logits. Pixels are taken, step by step, from the SMM that misses them the least.

    Args:
        judges: what the error is measured on.
        logits: of each SMM those of all samples, the judges first.
    """
    every = [torch.cat([part.flatten() for part in of_module]).sort().values for of_module in logits]

    def threshold(module: int, level: int) -> Tensor:
        below = round((1 - LEVELS[level]) * len(every[module]))
        return every[module][below - 1] if below else every[module][0] - 1

    def error(levels: Sequence[int]) -> float:
        total = 0.0
        for n, (small, large) in enumerate(judges):
            masks = [(logits[m][n] > threshold(m, level)).float() for m, level in enumerate(levels)]
            total += image_loss(network.hard_forward(small, masks).out.float(), large, "psnr").item()
        return total

    levels = [0] * len(logits)
    now = error(levels)
    while sum(LEVELS[level] for level in levels) > share * len(levels):
        trials = []
        for module, level in enumerate(levels):
            if level + 1 < len(LEVELS):
                fewer = [*levels[:module], level + 1, *levels[module + 1 :]]
                after = error(fewer)
                trials.append(((after - now) / (LEVELS[level] - LEVELS[level + 1]), after, fewer))
        _, now, levels = min(trials)
    log.info("active shares of the SMMs: %s", " ".join(f"{LEVELS[level]:.2f}" for level in levels))
    return [threshold(module, level) for module, level in enumerate(levels)]


def work_done(network: SMSR, small: Tensor, large: Tensor) -> Tensor:
    """(B, 1, h, w), above 0: how far the SMMs' work moves the result around each LR pixel, over its crop's error.

    Over the error because PSNR is relative too: what is done for a crop that is nearly right counts more.
    """
    height, width = small.shape[2:]
    nowhere = small.new_zeros(len(small), 1, height, width)
    with_work, without = (network.hard_forward(small, [m] * MODULES).out.float() for m in (nowhere + 1, nowhere))
    moved = (with_work - without).abs().mean(1, keepdim=True)
    error = torch.sqrt(((with_work - large) ** 2).mean((1, 2, 3), keepdim=True) + FLAT)
    return F.avg_pool2d(F.avg_pool2d(moved, network.scale), 3, stride=1, padding=1) / error + LEAST


def branch_loss(logits: Sequence[Tensor], work: Tensor, thresholds: Sequence[Tensor]) -> Tensor:
    """Cross entropy between the masks and the pixels whose work is above a threshold, softly; summed over the SMMs.

    Args:
        logits: of each SMM, (B, 1, h, w).
        work: (B, 1, h, w), the logarithm of `work_done`.
        thresholds: of each SMM, in the same measure.
    """
    losses = []
    for logit, threshold in zip(logits, thresholds, strict=True):
        wanted = torch.sigmoid((work - threshold) / SOFTNESS)
        losses.append(F.binary_cross_entropy_with_logits(logit.float(), wanted))
    return torch.stack(losses).sum()


def mask_modules(network: SMSR) -> list[SparseMaskModule]:
    """The SMMs in their order."""
    return [module for module in network.modules() if isinstance(module, SparseMaskModule)]


def mask_logits(module: SparseMaskModule, features: Tensor) -> Tensor:
    """(B, 64, h, w) -> (B, 1, h, w); above 0 is active."""
    logits: Tensor = module.spa_mask(features)
    return logits[:, 1:] - logits[:, :1]


def _logits(network: SMSR, modules: list[SparseMaskModule], small: Tensor) -> Iterator[Tensor]:
    """(B, 1, h, w) of each SMM; above 0 is active."""
    with torch.no_grad():
        features = network.head(network.sub_mean(small))
    for module in modules:
        yield mask_logits(module, features)
        with torch.no_grad():
            features, _ = module.learn(features, None, frozen_channels=True)
