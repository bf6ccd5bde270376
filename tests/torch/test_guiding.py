"""Guided masks: they find the pixels for which the SMMs do the most, and take the shares that are asked for."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from vs_smsr.engine.cpu.isa import choose
from vs_smsr.evaluation.bicubic import imresize
from vs_smsr.network.smsr import SMSR
from vs_smsr.training import guiding, state
from vs_smsr.training.guiding import Guide
from vs_smsr.training.loop import Trainer

from .test_training import options, script, small_run, tensors

SHARES = (0.12, 0.25, 0.18, 0.25, 0.12)


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
    work = guiding.work_done(network, small, full + off.view(2, 1, 1, 1))[:, 0]
    by_pixel = moved.view(2, 16, 2, 16, 2).mean((2, 4)).numpy()
    around = np.lib.stride_tricks.sliding_window_view(by_pixel, (3, 3), (1, 2)).mean((3, 4))
    expected = around / np.sqrt(off.numpy() ** 2 + 10)[:, None, None]
    np.testing.assert_allclose(work[:, 1:-1, 1:-1].numpy(), expected + guiding.LEAST, rtol=1e-4)


def test_masks_at_the_threshold_cost_the_least() -> None:
    """For every SMM its own; of two wrong pixels the one further from the threshold costs more."""
    work = torch.linspace(0.01, 1, 100).view(1, 1, 10, 10)
    guide = Guide(SHARES)
    guide.thresholds = guide.thresholds_for(work)
    right = [(work > threshold).float() * 8 - 4 for threshold in guide.thresholds]
    assert [(part > 0).float().mean().item() for part in right] == pytest.approx(SHARES, abs=0.011)
    least = guide.loss(right, work)
    for k in range(5):
        costs = []
        for pixel in (0, 60):
            wrong = [part.clone() for part in right]
            wrong[k].view(-1)[pixel] = 4
            costs.append(guide.loss(wrong, work) - least)
        assert costs[0] > costs[1] > 0


def test_thresholds_rise_while_too_many_pixels_are_active() -> None:
    guide = Guide(SHARES)
    guide.thresholds = torch.ones(5)
    for _ in range(10):
        guide.follow(torch.tensor([0.12, 0.35, 0.08, 0.25, 0.92]))
    low, high = np.exp(-10 * 0.1 * guiding.GAIN), np.exp(10 * np.array([0.1, 0.8]) * guiding.GAIN)
    assert guide.thresholds.tolist() == pytest.approx([1, high[0], low, 1, high[1]])


def held(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.family.named_parameters() if "spa_mask" not in n}


@pytest.mark.parametrize(
    "precision",
    ["fp32", pytest.param("bf16", marks=pytest.mark.skipif(not choose().bf16, reason="needs a processor with bf16"))],
)
def test_masks_alone_find_detail_and_nothing_else_is_changed(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    changes = {"mask_shares": SHARES, "mask_steps": 80, "steps": 80, "lr": 1e-3, "reset_masks": True}
    trainer = Trainer(options(training_set, tmp_path, precision=precision, **changes))
    rng = np.random.default_rng(2)
    monkeypatch.setattr(trainer, "batch", lambda: noisy_quarter(rng)[:2])
    before = held(trainer)
    trainer.run()
    assert [name for name, value in held(trainer).items() if not torch.equal(value, before[name])] == []
    average = dict(trainer.average.family.named_parameters())
    masks = {name: p for name, p in trainer.family.named_parameters() if "spa_mask" in name}
    assert [name for name, p in masks.items() if not torch.equal(p, average[name])] == []
    active, right = np.zeros(5), np.zeros(5)
    for _ in range(8):
        lr, _, where = noisy_quarter(rng)
        with torch.no_grad():
            masks = [mask[:, 0].bool().numpy() for mask in trainer.average.family[2].hard_forward(lr).masks]
        active += [mask.mean() / 8 for mask in masks]
        right += [(mask & where).mean() / 8 for mask in masks]
    assert (abs(active - SHARES) < 0.06).all(), active
    assert (right / active > 0.8).all(), right / active  # of masks at random a quarter is in the noise


def test_masks_go_on_learning_beside_the_network(training_set: Path, tmp_path: Path) -> None:
    changes = {"dense_steps": 1, "mask_shares": SHARES, "mask_steps": 1, "steps": 4}
    trainer = Trainer(options(training_set, tmp_path, **changes))
    moved = []
    before = {name: p.detach().clone() for name, p in trainer.family.named_parameters()}

    def note(*_: object) -> None:
        now = {name: p.detach().clone() for name, p in trainer.family.named_parameters()}
        changed = {name for name in now if not torch.equal(now[name], before[name])}
        kinds = {"spa_mask" if "spa_mask" in n else "ch_mask" if "ch_mask" in n else "network" for n in changed}
        moved.append(kinds)
        before.update(now)

    trainer.run(note)
    assert moved == [{"network"}, {"spa_mask"}, {"network", "spa_mask"}, {"network", "spa_mask"}]


def test_a_guided_run_resumes_bit_for_bit(training_set: Path, tmp_path: Path) -> None:
    changes = {"dense_steps": 1, "mask_shares": SHARES, "mask_steps": 2, "steps": 5}
    through = Trainer(options(training_set, tmp_path / "through", **changes))
    assert through.run() == "done"
    for stop in (1, 2, 4):
        part = Trainer(options(training_set, tmp_path / "parts", **changes))
        part.run(lambda step, _, stop=stop: os.kill(os.getpid(), signal.SIGTERM) if step == stop else None)
        assert part.step_index == stop
    last = Trainer(options(training_set, tmp_path / "parts", **changes))
    assert last.run() == "done"
    ours, theirs = tensors(last), tensors(through)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert last.guide.thresholds is not None
    assert torch.equal(last.guide.thresholds, through.guide.thresholds)


def test_two_processes_have_the_same_thresholds(training_set: Path, tmp_path: Path) -> None:
    """Means over both. Crops are shared out 2 to 2, and each looks at one of its own; nothing is learned yet."""
    guided = ["--mask-shares", *map(str, SHARES)]
    run = small_run(training_set, tmp_path / "two", 1)
    for option, value in (("--batch", "4"), ("--dense-steps", "0")):
        run[run.index(option) + 1] = value
    subprocess.run(script(*run, *guided, processes=2), check=True, timeout=200, capture_output=True)
    saved = state.load_checkpoint(tmp_path / "two", [2])
    assert saved is not None
    one = Trainer(options(training_set, tmp_path / "one", batch=4, mask_shares=SHARES))
    lr, hr = one.batch()
    firsts = [one.guide.thresholds_for(guiding.work_done(one.family[2], lr[n : n + 1], hr[n : n + 1])) for n in (0, 2)]
    with torch.no_grad():
        halves = [one.family[2](lr[n : n + 2], 0.0)[2] for n in (0, 2)]
    active = [torch.stack([(part > 0).float().mean() for part in half]) for half in halves]
    assert ((active[0] - active[1]).abs() > 1e-3).any()
    one.guide.thresholds = (firsts[0] + firsts[1]) / 2
    one.guide.follow((active[0] + active[1]) / 2)
    torch.testing.assert_close(saved["thresholds"], one.guide.thresholds, rtol=2e-6, atol=0)
