"""Spatial masks that start from where an image has detail."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from vs_smsr.evaluation.bicubic import imresize
from vs_smsr.network.smsr import SMSR
from vs_smsr.training import seeding
from vs_smsr.training.loop import Trainer

from .test_training import options, tensors

SHARE = 0.25


def noisy_quarter(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Two flat images with noise in a quarter of them: LR, HR, and (2, 24, 24) where the noise is."""
    large, where = np.full((2, 48, 48, 3), 128, np.uint8), np.zeros((2, 24, 24), np.bool_)
    for image, busy in zip(large, where, strict=True):
        top, left = 2 * rng.integers(0, 13, 2)
        image[top : top + 24, left : left + 24] = rng.integers(0, 256, (24, 24, 3))
        busy[top // 2 : top // 2 + 12, left // 2 : left // 2 + 12] = True
    small = np.stack([imresize(image, 0.5) for image in large])
    lr, hr = (torch.from_numpy(part).permute(0, 3, 1, 2).float() for part in (small, large))
    return lr, hr, where


def test_work_done_is_where_the_result_moves_and_relative_to_the_error() -> None:
    """The mean over an LR pixel's place in the result, and over its neighbours."""
    torch.manual_seed(3)
    network = SMSR(2)
    small = torch.rand(2, 3, 16, 16) * 255
    every, none = torch.ones(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    with torch.no_grad():
        full = network.hard_forward(small, [every] * 5).out
        moved = (full - network.hard_forward(small, [none] * 5).out).abs().mean(1)
        off = torch.tensor([5.0, 50.0])
        work = seeding.work_done(network, small, full + off.view(2, 1, 1, 1))[:, 0]
    by_pixel = moved.view(2, 16, 2, 16, 2).mean((2, 4)).numpy()
    around = np.lib.stride_tricks.sliding_window_view(by_pixel, (3, 3), (1, 2)).mean((3, 4))
    expected = around / np.sqrt(off.numpy() ** 2 + 10)[:, None, None]
    np.testing.assert_allclose(work[:, 1:-1, 1:-1].numpy(), expected + seeding.LEAST, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_seeded_masks_find_detail_and_nothing_else_is_changed(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "STEPS", 100)
    monkeypatch.setattr(seeding, "LEVELS", (1.0, SHARE))  # the same share for each SMM
    torch.manual_seed(0)
    network = SMSR(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rng = np.random.default_rng(2)
    pairs = [noisy_quarter(rng)[:2] for _ in range(seeding.STEPS + seeding.SAMPLES)]
    seeding.seed_masks(
        network, lambda n: pairs[n], SHARE, 3, lambda: torch.autocast("cpu", dtype, dtype != torch.float32)
    )
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "spa_mask" in name}
    active, right, every = 0, 0, 0
    for _ in range(8):
        lr, _, where = noisy_quarter(rng)
        for mask in network.eval().hard_forward(lr).masks:
            found = mask[:, 0].bool().numpy()
            active, right, every = active + found.sum(), right + (found & where).sum(), every + found.size
    assert 0.5 * SHARE < active / every < 1.3 * SHARE
    assert right / active > 0.8  # of masks at random a quarter is in the noise


def test_an_smm_that_does_nothing_gets_the_fewest_pixels() -> None:
    """The error is measured against the network's own result, so that leaving out any other SMM costs something."""
    torch.manual_seed(4)
    network = SMSR(2)
    idle = list(network.body)[2]
    for parameter in idle.body.collect.parameters():
        parameter.data.zero_()
    for module in network.body:
        module.body.ch_mask.data[..., 0] = -1  # no dense channels
    small = torch.rand(2, 3, 16, 16) * 255
    logits = [[torch.randn(2, 1, 16, 16)] for _ in range(5)]
    with torch.no_grad():
        judge = small, network.hard_forward(small, [torch.ones(2, 1, 16, 16)] * 5).out
        thresholds = seeding._share_out(network, [judge], logits, 0.83)
    shares = [(part[0] > threshold).float().mean().item() for part, threshold in zip(logits, thresholds, strict=True)]
    assert shares == [1, 1, pytest.approx(seeding.LEVELS[-1], abs=0.01), 1, 1]


def test_the_average_takes_the_seeded_masks(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "STEPS", 1)
    trainer = Trainer(options(training_set, tmp_path, seed_masks=0.4, precision="bf16"))
    before = {name: value.clone() for name, value in tensors(trainer).items()}
    trainer._seed_masks()
    after = tensors(trainer)
    branches = [name for name in before if "spa_mask" in name and not name.startswith("ema.")]
    assert branches
    assert [name for name in branches if not torch.equal(after[name], after[f"ema.{name}"])] == []
    assert not any(torch.equal(before[name], after[name]) for name in branches)


def test_a_run_that_seeds_its_masks_resumes_bit_for_bit(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "STEPS", 2)
    monkeypatch.setattr(seeding, "SAMPLES", 1)
    changes = {"dense_steps": 2, "seed_masks": 0.4, "freeze_channels": 0, "steps": 4}
    through = Trainer(options(training_set, tmp_path / "through", **changes))
    assert through.run() == "done"
    for stop in (2, 3):
        part = Trainer(options(training_set, tmp_path / "parts", **changes))
        part.run(lambda step, _, stop=stop: os.kill(os.getpid(), signal.SIGTERM) if step == stop else None)
        assert part.step_index == stop
    last = Trainer(options(training_set, tmp_path / "parts", **changes))
    assert last.run() == "done"
    ours, theirs = tensors(last), tensors(through)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
