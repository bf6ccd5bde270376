"""A small trainer for the paper's rows: crops of a folder of images, L1, Adam; stops and goes on where it was."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.network.dhp import DHP

MASKS = "spa_mask", "ch_mask", "predict"  # in names of parameters that decide masks
PENALTY = 30.0  # of each share (0..1) that is computed beyond the wanted one, in units of the L1 loss


@dataclass(frozen=True)
class Recipe:
    """How one row is trained.

    Attributes:
        steps: updates; the rate falls to nothing over them.
        lr: Adam's rate at the start; what decides masks learns `mask_lr` times as fast.
        batch, patch: crops of a step and their side in source pixels.
        shrink: for networks that prune themselves, the proximal step after each update.
        sparsity: the mean over blocks that masks are held to; None: no masks, everything is computed.
    """

    steps: int
    lr: float = 5e-4
    batch: int = 4
    patch: int = 16
    sparsity: float | None = None
    shrink: float = 0
    mask_lr: float = 4.0


class Crops:
    """Pairs of LR and HR crops from the first images of a folder, held in memory.

    Args:
        folder: of JPEG or PNG images.
        scale: of the network.
        count: how many images, spread evenly over the names.
    """

    def __init__(self, folder: Path, scale: int, count: int) -> None:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
        self._scale = scale
        self._pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        for path in paths[:: max(len(paths) // count, 1)][:count]:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            assert image is not None, path
            large = crop_to_multiple(np.ascontiguousarray(image[..., ::-1]), 12)
            self._pairs.append((imresize(large, 1 / scale), large))

    def draw(self, rng: np.random.Generator, batch: int, patch: int) -> tuple[Tensor, Tensor]:
        """(B, 3, p, p) and (B, 3, sp, sp) float32 0..255, flipped and turned; the livelier of two crops each."""
        small, large = zip(*(self._one(rng, patch) for _ in range(batch)), strict=True)
        return _tensor(small), _tensor(large)

    def _one(self, rng: np.random.Generator, patch: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        def crop() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
            lr, hr = self._pairs[rng.integers(len(self._pairs))]
            y, x = (int(rng.integers(side - patch + 1)) for side in lr.shape[:2])
            s = self._scale
            return lr[y : y + patch, x : x + patch], hr[s * y : s * (y + patch), s * x : s * (x + patch)]

        lr, hr = max((crop(), crop()), key=lambda pair: float(pair[1].std()))
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        return tuple(np.rot90(part[:, ::-1] if flip else part, turns) for part in (lr, hr))  # type: ignore[return-value]


def _tensor(crops: tuple[NDArray[np.uint8], ...]) -> Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


def train(
    network: nn.Module,
    recipe: Recipe,
    crops: Crops,
    checkpoint: Path,
    seconds: float = math.inf,
    stop: int | None = None,
) -> bool:
    """Train from where the checkpoint is; True when the row is done, False when the time is up.

    Args:
        network: `forward(x, tau)` gives images and shares; it is left with its averaged parameters.
        seconds: to stop after.
        stop: step to stop at.
    """
    masks = [p for n, p in network.named_parameters() if any(part in n for part in MASKS)]
    others = [p for n, p in network.named_parameters() if not any(part in n for part in MASKS)]
    optimizer = torch.optim.Adam([{"params": others}, {"params": masks}], lr=recipe.lr, betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in network.named_parameters()}
    step, spent, begun = 0, 0.0, time.monotonic()
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, spent = state["average"], state["step"], state["seconds"]
    last = recipe.steps if stop is None else stop
    while step < last and time.monotonic() - begun < seconds:
        _step(network, recipe, crops, optimizer, step)
        step += 1
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.named_parameters():
                average[name].lerp_(value.detach(), 1 - decay)
        if step % 25 == 0 or step == last:
            now = spent + time.monotonic() - begun
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save(state | {"step": step, "seconds": now}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    network.load_state_dict(average, strict=False)
    return step >= recipe.steps


def _step(network: nn.Module, recipe: Recipe, crops: Crops, optimizer: torch.optim.Optimizer, step: int) -> None:
    progress = step / recipe.steps
    rate = recipe.lr * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * progress))
    for group, factor in zip(optimizer.param_groups, (1.0, recipe.mask_lr), strict=True):
        group["lr"] = rate * factor
    torch.manual_seed(step)
    small, large = crops.draw(np.random.default_rng(step), recipe.batch, recipe.patch)
    tau = None if recipe.sparsity is None else max(1 - progress, 0.4)
    out, shares = network(small, tau)
    loss = F.l1_loss(out, large)
    if recipe.sparsity is not None:
        wanted = 1 - recipe.sparsity * min(1, 2 * progress)
        loss = loss + PENALTY * (shares.mean() - wanted).clamp(min=0)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    if recipe.shrink:
        assert isinstance(network, DHP), "only such a network prunes itself"
        network.shrink(recipe.shrink * rate / recipe.lr)
    if step % 25 == 0:
        print(f"{step} loss {loss.item():.3f} computed {shares.mean().item():.3f}", flush=True)
