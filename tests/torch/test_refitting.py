"""Mask branches fitted again: better at finding what the SMMs do, and nothing else is touched."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from vs_smsr.network.smsr import SMSR
from vs_smsr.training import refitting
from vs_smsr.training.seeding import work_done

from .test_seeding import noisy_quarter

SHARES = (0.2, 0.25, 0.3, 0.25, 0.2)


def test_refitted_masks_find_the_work_and_nothing_else_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refitting, "RATE", 4e-3)  # from branches at random, not from some that have learnt
    torch.manual_seed(0)
    network = SMSR(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rng = np.random.default_rng(2)
    pairs = [noisy_quarter(rng)[:2] for _ in range(50)]
    refitting.refit_masks(network, lambda n: pairs[n], SHARES, 40, nullcontext)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "spa_mask" in name}
    found, active = np.zeros(5), np.zeros(5)
    with torch.no_grad():
        for small, large in pairs[40:]:
            work = work_done(network, small, large)
            for index, (mask, share) in enumerate(zip(network.hard_forward(small).masks, SHARES, strict=True)):
                wanted = work > torch.quantile(work.flatten(), 1 - share)
                active[index] += mask.mean().item() / 10
                found[index] += (mask.bool() & wanted).sum().item() / wanted.sum().item() / 10
    assert (abs(active - SHARES) < 0.15).all(), active
    assert (found > 1.7 * active).all(), (found, active)  # at random, masks would find as much as they are active
