"""A training set small enough for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vs_smsr.training.data import Builder


def texture(side: int, seed: int) -> NDArray[np.uint8]:
    """(side, side, 3) uint8: blots of many sizes with sharp edges; two seeds look nothing alike."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for size in (4, 8, 16, 64):
        total += cv2.resize(rng.normal(size=(size, size, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    sharp = np.where(total[..., :1] > 0, 60, -60) + 40 * total
    return np.clip(128 + sharp + rng.normal(scale=4, size=sharp.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of four images, one of them not square."""
    folder = tmp_path_factory.mktemp("training_set")
    with Builder(folder) as builder:
        for seed in range(4):
            builder.add(f"{seed}.png", texture(120, seed)[: 120 - 12 * (seed == 3)], "made by the test", "none")
    return folder
