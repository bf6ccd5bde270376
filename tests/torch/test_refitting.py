"""Mask branches fitted again: better at finding what the SMMs do, and nothing else is touched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vs_smsr.network import to_weights
from vs_smsr.network.smsr import SMSR
from vs_smsr.training import refitting
from vs_smsr.training.seeding import work_done
from vs_smsr.weights import load, store

from .test_seeding import noisy_quarter

SHARES = (0.2, 0.25, 0.3, 0.25, 0.2)


def test_refitted_masks_find_the_work_and_nothing_else_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refitting, "RATE", 4e-3)  # from branches at random, not from some that have learnt
    torch.manual_seed(0)
    network = SMSR(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rng = np.random.default_rng(2)
    pairs = [noisy_quarter(rng)[:2] for _ in range(50)]
    refitting.refit_masks(network, lambda n: pairs[n], SHARES, 40, lambda: torch.autocast("cpu", torch.bfloat16))
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


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).parents[2] / "scripts" / "refit_masks.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_script_writes_weights_without_scores_that_no_longer_hold(training_set: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    store(to_weights(SMSR(2), 2, {"validated": "37 dB", "licence": "MIT"}), source)
    options = ["--data", training_set, "--shares", *SHARES, "--steps", 2, "--batch", 2, "--patch", 16]
    run = script(source, target, *options)
    assert (run.returncode, run.stderr) == (0, "")
    before, after = load(source), load(target)
    changed = {name for name, value in after.tensors.items() if not np.array_equal(value, before.tensors[name])}
    assert changed
    assert all("spa_mask" in name for name in changed)
    assert "validated" not in after.metadata
    assert after.metadata["licence"] == "MIT"
    assert after.metadata["refitted"].startswith("masks, 2 steps")
    kept = target.read_bytes()
    again = script(source, target, *options)
    assert again.returncode == 1
    assert again.stderr == f"refit_masks: {target} exists. Give --overwrite to replace it.\n"
    assert target.read_bytes() == kept


def test_wrong_input_of_the_script_is_one_line(training_set: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.safetensors"
    store(to_weights(SMSR(2), 2), source)
    good = ["--data", training_set, "--shares", *SHARES]
    wrong = {
        "--patch must be even, got 31": [source, tmp_path / "b.safetensors", *good, "--patch", 31],
        "--steps must be at least 1, got 0": [source, tmp_path / "b.safetensors", *good, "--steps", 0],
        "must end in .safetensors": [source, tmp_path / "b.pt", *good],
        "is not a folder": [source, tmp_path / "none" / "b.safetensors", *good],
        "does not exist": [tmp_path / "none.safetensors", tmp_path / "b.safetensors", *good],
    }
    for said, arguments in wrong.items():
        run = script(*arguments)
        assert run.returncode == 1
        assert re.fullmatch(rf"refit_masks: .*{re.escape(said)}.*\n", run.stderr), run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
