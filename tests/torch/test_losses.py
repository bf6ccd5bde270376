"""Losses against NumPy in double precision, crop by crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vs_smsr.evaluation.metrics import luma
from vs_smsr.training import losses


@pytest.fixture
def crops() -> tuple[np.ndarray, np.ndarray]:
    """(5, 3, 9, 14) RGB, 0..255: results and targets, the first crop nearly right and the last one far off."""
    rng = np.random.default_rng(5)
    target = rng.uniform(0, 255, (5, 3, 9, 14))
    return target + rng.normal(0, 1, target.shape) * np.geomspace(0.1, 40, 5)[:, None, None, None], target


def loss_of(out: np.ndarray, target: np.ndarray, loss: losses.Loss) -> float:
    return losses.image_loss(torch.from_numpy(out), torch.from_numpy(target), loss).item()


def test_losses_are_means_over_the_crops(crops: tuple[np.ndarray, np.ndarray]) -> None:
    out, target = crops
    each = [(a - b) ** 2 for a, b in zip(out, target, strict=True)]
    assert loss_of(out, target, "l1") == pytest.approx(np.abs(out - target).mean())
    assert loss_of(out, target, "charbonnier") == pytest.approx(np.sqrt((out - target) ** 2 + 1e-6).mean())
    assert loss_of(out, target, "rmse") == pytest.approx(np.mean([np.sqrt(square.mean()) for square in each]), 1e-6)
    assert loss_of(out, target, "psnr") == pytest.approx(np.mean([10 * np.log10(s.mean() + 10) for s in each]))


def test_luma_is_the_psnr_of_luma_and_a_little_of_rgb(crops: tuple[np.ndarray, np.ndarray]) -> None:
    out, target = crops
    expected = []
    for a, b in zip(out.transpose(0, 2, 3, 1), target.transpose(0, 2, 3, 1), strict=True):
        full_range = (luma(a) - luma(b)) * 255 / 219
        expected.append(10 * np.log10(0.9 * (full_range**2).mean() + 0.1 * ((a - b) ** 2).mean() + 10))
    assert loss_of(out, target, "luma") == pytest.approx(np.mean(expected))


def test_an_error_that_is_grey_is_the_same_in_luma(crops: tuple[np.ndarray, np.ndarray]) -> None:
    out, target = crops
    grey = target + (out - target)[:, :1]
    assert loss_of(grey, target, "luma") == pytest.approx(loss_of(grey, target, "psnr"))
    blue = target + (out - target)[:, :1] * np.array([0, 0, 1])[:, None, None]
    assert loss_of(blue, target, "luma") < loss_of(blue, target, "psnr") - 0.5
