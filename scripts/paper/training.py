"""A small trainer for the paper's rows: crops of a folder of images, L1, Adam; stops and goes on where it was."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from paper.masks import Hold, Quads, choose_channels, computed, decides_masks, logits, settle
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.network.dhp import DHP
from vs_smsr.network.masked import HARD, STRAIGHT, MaskedNetwork

LOGIT_LR = 0.02  # Adam's rate for logits: they must come far from where they begin
PENALTY = 30.0  # of each share (0..1) that is computed beyond the wanted one, in units of the L1 loss
SEEN, SIDE = 16, 64  # images that masks are settled on, their sides at most
LOOK = 100  # steps from one look at what those images take to the next


@dataclass(frozen=True)
class Recipe:
    """How one row is trained.

    Attributes:
        steps: updates; the rate falls to nothing over them.
        lr: Adam's rate at the start; what decides masks learns `mask_lr` times as fast.
        batch, patch: crops of a step and their side in source pixels.
        shrink: for networks that prune themselves, the proximal step after each update.
        sparsity: the share of multiply-adds under masks that is to be skipped; None: no masks, everything is computed.
        upsampling: share of 2x2 source pixels that are not upsampled, as that mask is taught; None: as it comes.
        dense: by layer of a block, the share of channels that are dense from the beginning; None: masks are learned.
        settled: share of the steps, the last ones, in which masks are decided as inference decides them.
        learning: do spatial masks learn then, too?
    """

    steps: int
    lr: float = 5e-4
    batch: int = 4
    patch: int = 16
    sparsity: float | None = None
    upsampling: float | None = None
    dense: tuple[float, ...] | None = None
    shrink: float = 0
    mask_lr: float = 4.0
    settled: float = 0.75
    learning: bool = False

    @property
    def drawn(self) -> int:
        """Steps in which masks are drawn."""
        return 0 if self.sparsity is None else self.steps - round(self.settled * self.steps)


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

    def halves(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs as `draw` gives them, of some images at half their size, as those of test sets are."""
        step, scale = max(len(self._pairs) // count, 1), self._scale
        for _, large in self._pairs[::step][:count]:
            half = imresize(crop_to_multiple(large, 4 * scale), 1 / 2)
            half = crop_to_multiple(half[: SIDE * scale, : SIDE * scale], 2 * scale)
            yield _tensor((imresize(half, 1 / scale),)), _tensor((half,))

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
    control = None if recipe.sparsity is None else Control(network, recipe, crops)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, spent = (state[name] for name in ("average", "step", "seconds"))
        if control:
            control.restore(state["control"])
    last = recipe.steps if stop is None else stop
    while step < last and time.monotonic() - begun < seconds:
        if control and control.before(step):
            average = {name: value.detach().clone() for name, value in network.named_parameters()}
        _step(network, recipe, crops, optimizer, step, control)
        step += 1
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.named_parameters():
                average[name].lerp_(value.detach(), 1 - decay)
        if step % 25 == 0 or step == last:
            now = spent + time.monotonic() - begun
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            state |= {"step": step, "seconds": now, "control": control.state() if control else ()}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    network.load_state_dict(average, strict=False)
    if control and step == recipe.steps and not recipe.learning:
        control.settle()
    return step >= recipe.steps


class Control:
    """The masks of a network in training: drawn, then decided, and what they compute comes to the wanted share.

    Attributes:
        hold: of what decided masks compute.
        quads: what the upsampling's mask is taught; None where it is as any other.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, crops: Crops) -> None:
        assert isinstance(network, MaskedNetwork), "only masks have a share that they compute"
        assert recipe.sparsity is not None, "a wanted one"
        self._network, self._recipe, self._crops = network, recipe, crops
        self.hold = Hold(1 - recipe.sparsity)
        taught = recipe.upsampling is not None
        self.quads = Quads(1 - recipe.upsampling, crops.halves(4 * SEEN)) if taught else None
        if recipe.dense:
            choose_channels(network, recipe.dense)

    def before(self, step: int) -> bool:
        """Make ready for a step; True if masks were settled: what was averaged is of other masks."""
        decided = step - self._recipe.drawn  # steps since masks are
        if decided == 0:
            self.settle()
        if self._recipe.learning and decided >= 0 and decided % LOOK == 0:
            self._look()
        return decided == 0

    def settle(self) -> None:
        """Of pictures, decided masks compute the wanted share from now on."""
        upsampling = self.quads.wanted if self.quads else None
        images = self._crops.small(SEEN)
        settle(self._network, images, self.hold.wanted, upsampling=upsampling, channels=not self._recipe.dense)

    def cost(self, step: int, shares: Tensor, small: Tensor, large: Tensor) -> Tensor:
        """What masks add to a step's loss, from the shares of its call of the network."""
        recipe, done = self._recipe, computed(self._network, shares)
        if step < recipe.drawn:
            return PENALTY * (done - (1 - (1 - self.hold.wanted) * min(1, 2 * step / recipe.drawn))).clamp(min=0)
        if not recipe.learning:
            return done.new_zeros(())
        cost = self.hold.pressure * done
        self.hold.adjust(done.item())
        return cost + self.quads.loss(self._network, small, large) if self.quads else cost

    @torch.no_grad()
    def _look(self) -> None:
        """What is to be held of crops changes as masks learn."""
        network, rng = self._network, np.random.default_rng(0)
        drawn = [self._crops.draw(rng, self._recipe.batch, self._recipe.patch)[0] for _ in range(SEEN)]
        crops, pictures = (
            torch.stack([network(image, HARD)[1] for image in images]).mean(0)
            for images in (drawn, self._crops.small(SEEN))
        )
        self.hold.aim(computed(network, crops).item(), computed(network, pictures).item())
        if self.quads:
            self.quads.aim(pictures[-1].item())
        print(f"pictures {computed(network, pictures).item():.3f}, crops held at {self.hold.share:.3f}", flush=True)

    def state(self) -> tuple[float, ...]:
        """What a checkpoint keeps."""
        return self.hold.share, self.hold.pressure, self.quads.limit if self.quads else 0.0

    def restore(self, state: tuple[float, ...]) -> None:
        """The way back."""
        self.hold.share, self.hold.pressure, limit = state
        if self.quads:
            self.quads.limit = limit


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Parameters by how fast they learn: most, those of mask branches, and logits."""
    groups: dict[str, list[nn.Parameter]] = {"others": [], "masks": [], "logits": []}
    decisive = logits(network)
    for name, value in network.named_parameters():
        kind = "logits" if name in decisive else "masks" if decides_masks(name) else "others"
        groups[kind].append(value)
    return [{"params": found} for found in groups.values()]


def _step(
    network: nn.Module,
    recipe: Recipe,
    crops: Crops,
    optimizer: torch.optim.Optimizer,
    step: int,
    control: Control | None,
) -> None:
    progress = step / recipe.steps
    fall = min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * progress))
    for group, rate in zip(optimizer.param_groups, (recipe.lr, recipe.lr * recipe.mask_lr, LOGIT_LR), strict=True):
        group["lr"] = rate * fall
    torch.manual_seed(step)
    small, large = crops.draw(np.random.default_rng(step), recipe.batch, recipe.patch)
    tau = None
    if control:
        drawn, decided = step < recipe.drawn, STRAIGHT if recipe.learning else HARD
        tau = max(1 - step / recipe.drawn, 0.3) if drawn else decided
    out, shares = network(small, tau)
    loss = F.l1_loss(out, large)
    if step % 25 == 0:
        held = f", computed {computed(network, shares).item():.3f}, {control.hold}" if control else ""
        print(f"{step} L1 {loss.item():.3f}{held}", flush=True)
    if control:
        loss = loss + control.cost(step, shares, small, large)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    if recipe.shrink:
        assert isinstance(network, DHP), "only such a network prunes itself"
        network.shrink(recipe.shrink * fall)
