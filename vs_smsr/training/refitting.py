"""Mask branches fitted again to a network that has masks, so that they find what its SMMs do now.

While a network learns with hard masks, nothing tells the masks which other pixels would have served better: what they
leave out is not there to be judged. Here it is computed, as for a first guess (see `seeding`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vs_smsr.network.smsr import SMSR, SparseMaskModule
from vs_smsr.training.seeding import Batch, branch_loss, mask_logits, mask_modules, work_done

RATE = 1e-3
MEMORY = 0.98  # of the running thresholds, and of the averaged weights at most


def refit_masks(
    network: SMSR,
    batches: Callable[[int], Batch],
    shares: Sequence[float],
    steps: int,
    precision: Callable[[], AbstractContextManager[object]],
) -> None:
    """Train the mask branches, from what they are, to find the pixels for which the SMMs do the most.

    Each branch sees the features that reach it in inference: those of SMMs whose masks are hard.

    Args:
        network: trained with masks; nothing else of it is changed.
        batches: gives the n-th batch.
        shares: of the pixels, 0..1, that each SMM is to compute.
        steps: about 100 will do; the rate falls to 0 over the second half.
        precision: entered for each batch anew, since torch.autocast remembers weights as long as it lasts.
    """
    modules = mask_modules(network)
    branches = nn.ModuleList(module.spa_mask for module in modules)
    parameters = list(branches.parameters())
    averaged = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    thresholds: list[Tensor] = []
    for step in range(steps):
        small, large = batches(step)
        with precision():
            features = _features(network, modules, small)
            with torch.no_grad():
                work = work_done(network, small, large).log()
            logits = [mask_logits(module, part) for module, part in zip(modules, features, strict=True)]
        now = [torch.quantile(work.flatten(), 1 - share) for share in shares]
        thresholds = [torch.lerp(b, a, MEMORY) for a, b in zip(thresholds, now, strict=True)] if thresholds else now
        optimizer.zero_grad()
        branch_loss(logits, work, thresholds).backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 30, 2 * (steps - step) / steps)
        optimizer.step()
        ours: list[Tensor] = [parameter.detach() for parameter in parameters]
        torch._foreach_lerp_(averaged, ours, 1 - min(MEMORY, (1 + step) / (10 + step)))
    for parameter, mean in zip(parameters, averaged, strict=True):
        parameter.data.copy_(mean)


@torch.no_grad()
def _features(network: SMSR, modules: Sequence[SparseMaskModule], small: Tensor) -> list[Tensor]:
    """What reaches each SMM, (B, 64, h, w), when masks are hard."""
    found: list[Tensor] = []
    hooks = [m.spa_mask.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0])) for m in modules]
    network.hard_forward(small)
    for hook in hooks:
        hook.remove()
    return found
