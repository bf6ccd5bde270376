"""What changes over a run, as functions of the step alone: so a resumed run cannot differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vs_smsr.training.options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor


def learning_rate(step: int, options: TrainOptions) -> float:
    """The rate of all parameters but the masks'."""
    rise = min(1.0, (step + 1) / max(1, options.warmup))
    done = step / options.steps
    if options.schedule == "cosine":
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, done))
    elif options.schedule == "step":
        fall = 0.5 ** math.floor(done * 5)  # the paper's: halved at each fifth of the run
    else:
        left = (1 - done) / options.cooldown if options.cooldown else 1.0
        fall = max(0.0, min(1.0, left))
    return options.lr * rise * fall


def temperature(step: int, options: TrainOptions) -> float | None:
    """tau of the Gumbel-softmax masks; None while the masks are off, 0 if they are guided."""
    if step < options.dense_steps:
        return None
    if options.mask_shares:
        return 0.0
    length = options.steps - options.dense_steps if options.tau_steps is None else options.tau_steps
    share = (step - options.dense_steps) / max(1, length)
    return options.tau_start + (options.tau_end - options.tau_start) * min(1.0, share)


def masks_alone(step: int, options: TrainOptions) -> bool:
    """Do guided masks learn while all else stands still?"""
    return bool(options.mask_shares) and 0 <= step - options.dense_steps < options.mask_steps


def sparsity_weight(step: int, options: TrainOptions) -> float:
    """lambda: 0 while the masks are off or guided, then a linear rise."""
    since = step - options.dense_steps
    if since < 0 or options.mask_shares:
        return 0.0
    return options.sparsity_weight * min(1.0, since / max(1, options.sparsity_ramp))


def sparsity_loss(computed: Tensor, options: TrainOptions) -> Tensor:
    """(5,) shares computed, 0..1 -> how far their mean is from the target, on either side.

    With target 1 that is the paper's loss, which asks for ever more to be skipped.
    """
    return (computed.mean() - (1 - options.sparsity_target)).abs()


def patch_and_batch(step: int, options: TrainOptions) -> tuple[int, int]:
    """LR crop side (even) and crops of a step: small crops first, more of them, about the same pixels a step."""
    growing = options.patch_growth * options.steps
    share = min(1.0, step / growing) if growing else 1.0
    side = options.first_patch + (options.patch - options.first_patch) * share
    patch = int(side // 4) * 4 if share < 1 else options.patch
    return patch, max(1, round(options.batch * options.patch**2 / patch**2))


def scale_of(step: int, options: TrainOptions) -> int:
    """The scale whose turn it is."""
    return options.scales[step % len(options.scales)]


def channels_frozen(step: int, options: TrainOptions) -> bool:
    """Are the channel masks hard and fixed at this step?"""
    return options.freeze_channels is not None and step >= options.freeze_channels
