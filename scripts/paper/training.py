"""A small trainer for the paper's rows: crops of a folder of images, L1, Adam; stops and goes on where it was."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.network.dhp import DHP
from vs_smsr.network.masked import HARD, STRAIGHT, MaskedNetwork

MASKS = "spa_mask", "ch_mask", "predict"  # in names of parameters that decide masks
LOGITS = "ch_mask", "5.bias"  # of those, ends of the names of what is a logit itself
LOGIT_LR = 0.02  # Adam's rate for logits: they must come far from where they begin
PENALTY = 30.0  # of each share (0..1) that is computed beyond the wanted one, in units of the L1 loss
PATIENCE = 0.05  # how fast the pressure on what is computed follows
NEAR = 0.002  # of the wanted share, when masks are settled
SEEN, SIDE, SHIFT = 16, 64, 8.0  # images that masks are settled on, their sides at most; how far logits are shifted


@dataclass(frozen=True)
class Recipe:
    """How one row is trained.

    Attributes:
        steps: updates; the rate falls to nothing over them.
        lr: Adam's rate at the start; what decides masks learns `mask_lr` times as fast.
        batch, patch: crops of a step and their side in source pixels.
        shrink: for networks that prune themselves, the proximal step after each update.
        sparsity: the share of multiply-adds under masks that is to be skipped; None: no masks, everything is computed.
        settled: share of the steps, the last ones, in which masks are decided as inference decides them.
        learning: do spatial masks learn then, too?
    """

    steps: int
    lr: float = 5e-4
    batch: int = 4
    patch: int = 16
    sparsity: float | None = None
    shrink: float = 0
    mask_lr: float = 4.0
    settled: float = 0.75
    learning: bool = False

    @property
    def drawn(self) -> int:
        """Steps in which masks are drawn."""
        return 0 if self.sparsity is None else self.steps - round(self.settled * self.steps)


@dataclass
class Hold:
    """Holds what decided masks compute of crops, which are livelier than whole pictures.

    Attributes:
        share: that they are to compute, 0..1.
        pressure: what each computed share costs in the loss: the more, the longer too much was computed.
    """

    share: float = 1.0
    pressure: float = 0.5

    def adjust(self, computed: float) -> None:
        """After a step that computed this share."""
        self.pressure += PATIENCE * (computed - self.share)


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

    def small(self, count: int) -> list[Tensor]:
        """(1, 3, H, W) of some LR images at half their size, as those of test sets are; the sides are even."""
        step = max(len(self._pairs) // count, 1)
        halves = [imresize(crop_to_multiple(small, 4), 1 / 2) for small, _ in self._pairs[::step][:count]]
        return [_tensor((half[:SIDE, :SIDE],)) for half in halves]


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
    optimizer = torch.optim.Adam(_groups(network), lr=recipe.lr, betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in network.named_parameters()}
    step, spent, begun = 0, 0.0, time.monotonic()
    hold = Hold()
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, spent, hold = (state[name] for name in ("average", "step", "seconds", "hold"))
        hold = Hold(*hold)
    last = recipe.steps if stop is None else stop
    while step < last and time.monotonic() - begun < seconds:
        if recipe.sparsity is not None and step == recipe.drawn:
            settle(network, recipe, crops)
            hold = Hold(_share_of_crops(network, recipe, crops))
            average = {name: value.detach().clone() for name, value in network.named_parameters()}
        _step(network, recipe, crops, optimizer, step, hold)
        step += 1
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.named_parameters():
                average[name].lerp_(value.detach(), 1 - decay)
        if step % 25 == 0 or step == last:
            now = spent + time.monotonic() - begun
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save(
                state | {"step": step, "seconds": now, "hold": (hold.share, hold.pressure)},
                checkpoint.with_suffix(".new"),
            )
            checkpoint.with_suffix(".new").replace(checkpoint)
    network.load_state_dict(average, strict=False)
    if recipe.sparsity is not None and step == recipe.steps:
        settle(network, recipe, crops)
    return step >= recipe.steps


def _computed(network: nn.Module, shares: Tensor) -> Tensor:
    """The share of multiply-adds under masks that is done, from those of the masks."""
    if not isinstance(network, MaskedNetwork):
        return shares.mean()
    macs = shares.new_tensor(network.spec.masked_macs)
    return (shares * macs).sum() / macs.sum()


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Parameters by how fast they learn: most, those of mask branches, and logits."""
    groups: dict[str, list[nn.Parameter]] = {"others": [], "masks": [], "logits": []}
    for name, value in network.named_parameters():
        kind = "logits" if _is_logit(name) else "masks" if _decides_masks(name) else "others"
        groups[kind].append(value)
    return [{"params": found} for found in groups.values()]


def _decides_masks(name: str) -> bool:
    return any(part in name for part in MASKS)


def _is_logit(name: str) -> bool:
    return _decides_masks(name) and name.endswith(LOGITS)


@torch.no_grad()
def _share_of_crops(network: nn.Module, recipe: Recipe, crops: Crops) -> float:
    """Computed by decided masks, mean of some steps' crops."""
    rng = np.random.default_rng(0)
    shares = [network(crops.draw(rng, recipe.batch, recipe.patch)[0], HARD)[1] for _ in range(SEEN)]
    return float(np.mean([_computed(network, one).item() for one in shares]))


def _step(
    network: nn.Module, recipe: Recipe, crops: Crops, optimizer: torch.optim.Optimizer, step: int, hold: Hold
) -> None:
    progress = step / recipe.steps
    fall = min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * progress))
    for group, rate in zip(optimizer.param_groups, (recipe.lr, recipe.lr * recipe.mask_lr, LOGIT_LR), strict=True):
        group["lr"] = rate * fall
    torch.manual_seed(step)
    small, large = crops.draw(np.random.default_rng(step), recipe.batch, recipe.patch)
    tau, drawn = None, recipe.sparsity is not None and step < recipe.drawn
    if recipe.sparsity is not None:
        tau = max(1 - step / recipe.drawn, 0.3) if drawn else STRAIGHT if recipe.learning else HARD
    out, shares = network(small, tau)
    loss, computed = F.l1_loss(out, large), _computed(network, shares)
    if drawn and recipe.sparsity is not None:
        wanted = 1 - recipe.sparsity * min(1, 2 * step / recipe.drawn)
        loss = loss + PENALTY * (computed - wanted).clamp(min=0)
    elif recipe.learning:
        loss = loss + hold.pressure * computed
        hold.adjust(computed.item())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    if recipe.shrink:
        assert isinstance(network, DHP), "only such a network prunes itself"
        network.shrink(recipe.shrink * fall)
    if step % 25 == 0:
        print(f"{step} loss {loss.item():.3f} computed {computed.item():.3f} pressure {hold.pressure:.2f}", flush=True)


@torch.no_grad()
def settle(network: nn.Module, recipe: Recipe, crops: Crops) -> None:
    """Shift all logits by one number, so that masks decided by them compute the wanted share of some images.

    Masks that are drawn compute another share than those decided by the same logits.
    """
    assert recipe.sparsity is not None, "only masks are settled"
    images = crops.small(SEEN)
    logits = {name: value for name, value in network.named_parameters() if _is_logit(name)}
    begun = {name: value.clone() for name, value in logits.items()}
    low, high = -SHIFT, SHIFT
    for _ in range(12):
        shift = (low + high) / 2
        for name, value in logits.items():
            kind = 0 if name.endswith("ch_mask") else 1  # of (dense, sparse) the first, of (off, on) the second
            value[..., kind] = begun[name][..., kind] + shift
        computed = float(np.mean([_computed(network, network(image, HARD)[1]).item() for image in images]))
        if abs(computed - (1 - recipe.sparsity)) < NEAR:
            break
        low, high = (low, shift) if computed > 1 - recipe.sparsity else (shift, high)
    print(f"settled: computed {computed:.3f}, shifted by {shift:.3f}", flush=True)
