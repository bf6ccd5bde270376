"""Masks that learn: how many pixels they take, by what they are taught, when they take no part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from vs_smsr.network.smsr import SMSR
from vs_smsr.training import schedule
from vs_smsr.training.loop import Trainer
from vs_smsr.training.options import TrainOptions

from .test_training import options


def test_lambda_moves_the_sparsity(training_set: Path, tmp_path: Path) -> None:
    def computed(weight: float) -> float:
        changes = {"sparsity_weight": weight, "sparsity_ramp": 1, "lr": 3e-3, "steps": 10, "mask_lr": 40.0}
        trainer = Trainer(options(training_set, tmp_path / str(weight), **changes))
        shares: list[float] = []
        trainer.run(lambda _, values: shares.append(values["computed"]))
        return float(np.mean(shares[-4:]))

    none, strong = computed(0.0), computed(1000.0)
    assert strong < none - 0.1


def test_the_share_computed_is_drawn_to_the_target_from_both_sides(tmp_path: Path) -> None:
    computed = torch.tensor([1.0, 0.5, 0.4, 0.1, 0.0], requires_grad=True)
    paper = TrainOptions(data=tmp_path, out=tmp_path)
    assert schedule.sparsity_loss(computed, paper).item() == pytest.approx(0.4)
    for target, sign in ((0.7, 1), (0.5, -1)):
        loss = schedule.sparsity_loss(computed, dataclasses.replace(paper, sparsity_target=target))
        (slope,) = torch.autograd.grad(loss, computed, retain_graph=True)
        assert loss.item() == pytest.approx(0.1)
        assert slope.tolist() == pytest.approx([sign * 0.2] * 5)


def test_frozen_channels_do_not_move_and_spatial_masks_do(training_set: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(training_set, tmp_path, freeze_channels=0))
    before = {name: value.clone() for name, value in trainer.family[2].named_parameters()}
    trainer.run()
    moved = {name for name, value in trainer.family[2].named_parameters() if not torch.equal(value, before[name])}
    assert {name for name in before if name not in moved} == {f"body.{k}.body.ch_mask" for k in range(5)}


def test_hard_masks_are_those_of_inference_and_are_taught_by_their_logits_alone() -> None:
    torch.manual_seed(7)
    network = SMSR(2)
    for module in network.body:
        module.body.ch_mask.data.normal_()
    x = torch.rand(2, 3, 20, 20) * 255
    out, computed, logits = network(x, 0.0)
    result = network.hard_forward(x)
    torch.testing.assert_close(out, result.out, rtol=1e-4, atol=1e-3)
    assert all(torch.equal(a > 0, b.bool()) for a, b in zip(logits, result.masks, strict=True))
    shares = zip(network.dense_shares(), result.masks, strict=True)
    expected = [dense + (1 - dense) * mask.mean().item() for dense, mask in shares]
    assert computed.tolist() == pytest.approx(expected, abs=1e-5)

    def moved(loss: torch.Tensor) -> set[str]:
        network.zero_grad()
        loss.backward(retain_graph=True)
        return {name for name, value in network.named_parameters() if value.grad is not None and value.grad.any()}

    by_result, by_logits = moved(out.square().mean()), moved(torch.stack(logits).sum())
    assert not any("mask" in name for name in by_result)
    assert "head.0.weight" in by_result
    assert by_logits == {name for name, _ in network.named_parameters() if "spa_mask" in name}


def test_drawn_masks_reach_their_branches_and_the_features() -> None:
    torch.manual_seed(6)
    network = SMSR(2)
    _, computed, _ = network(torch.rand(2, 3, 16, 16) * 255, 0.5, True)
    computed.sum().backward()
    moved = {name for name, value in network.named_parameters() if value.grad is not None and value.grad.any()}
    assert any("spa_mask" in name for name in moved)
    assert "head.0.weight" in moved


def test_masks_take_no_part_in_the_dense_warm_up(training_set: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(training_set, tmp_path, dense_steps=100, steps=2))
    before = {name: value.clone() for name, value in trainer.family[2].named_parameters()}
    trainer.run()
    after = dict(trainer.family[2].named_parameters())
    assert all(torch.equal(after[name], before[name]) == ("mask" in name) for name in before)


def test_reset_masks_make_half_of_the_samples_active(training_set: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(training_set, tmp_path, reset_masks=True, freeze_channels=0))
    x = torch.rand(1, 3, 32, 32) * 255
    with torch.inference_mode():
        _, computed, _ = trainer.family[2](x, 1.0, True)
    always = np.mean([m.body.hard_dense().float().mean().item() for m in trainer.family[2].body])
    assert computed.mean().item() == pytest.approx(always + (1 - always) / 2, abs=0.02)
