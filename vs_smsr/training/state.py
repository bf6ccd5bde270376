"""What outlives a stop: the full checkpoint (atomic), compact weights, the clock, and the averaged weights."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vs_smsr.errors import OptionError, WeightsError
from vs_smsr.network.checkpoint import load_weights, read_checkpoint, to_weights
from vs_smsr.training.balance import balance
from vs_smsr.training.family import Family
from vs_smsr.weights import load, store

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights_x{}.safetensors"
AVERAGED = "ema_x{}.safetensors"


class Clock:
    """Seconds spent in training, on the wall and on the processors.

    A run stopped with SIGSTOP and continued does not count its pause; the processors' time, over the threads, also
    leaves out the waiting for other programs.
    """

    def __init__(self, threads: int = 1) -> None:
        self.seconds = 0.0
        self.busy = 0.0
        self._threads = threads
        self._last = (time.monotonic(), time.process_time())
        self._usual = 0.0  # running mean of a step

    def tick(self) -> None:
        """Call once a step."""
        wall, processors = time.monotonic(), time.process_time()
        self.add(wall - self._last[0], processors - self._last[1])
        self._last = (wall, processors)

    def add(self, passed: float, processors: float) -> None:
        """Count a step. One over ten times as long as usual, and over 20 s, was paused: the usual is counted."""
        if self._usual and passed > max(20.0, 10 * self._usual):
            passed = self._usual
        self._usual = passed if not self._usual else 0.9 * self._usual + 0.1 * passed
        self.seconds += passed
        self.busy += processors / self._threads


class Average:
    """Exponential moving average of the parameters; shorter at the start, so that old weights fade."""

    def __init__(self, family: Family, decay: float) -> None:
        self.family = copy.deepcopy(family).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, family: Family, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        ours: list[Tensor] = [p.detach() for p in self.family.parameters()]
        theirs: list[Tensor] = [p.detach() for p in family.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - decay)

    @torch.no_grad()
    def copy_masks(self, family: Family) -> None:
        """Take the mask branches as they are now."""
        ours = dict(self.family.named_parameters())
        for name, parameter in family.named_parameters():
            if "spa_mask" in name:
                ours[name].copy_(parameter)


def start_from(family: Family, scales: Sequence[int], paths: Sequence[Path]) -> None:
    """Fill the networks from weights (.safetensors or .pt), and balance them.

    Each tail is from the weights of its scale, else resampled from the first ones; the trunk is from those that the
    first scale's tail is from.

    Raises:
        WeightsError: a file is not SMSR.
    """
    found = [load(path) if path.suffix == ".safetensors" else read_checkpoint(path) for path in paths]
    for scale in reversed(scales):  # they share the trunk: the last one loaded counts
        load_weights(family[scale], next((weights for weights in found if weights.scale == scale), found[0]))
        balance(family[scale])


@torch.no_grad()
def reset_masks(network: nn.Module) -> None:
    """New mask branches whose logits are 0: samples are active half the time, hard masks not at all."""
    for name, layer in network.named_modules():
        if ".spa_mask." in name and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
            if name.endswith(".5"):
                for parameter in layer.parameters():
                    parameter.zero_()


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write everything a run needs to go on bit for bit; a stop in the middle leaves the previous checkpoint."""
    temporary = folder / (CHECKPOINT + ".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / CHECKPOINT)


def load_checkpoint(folder: Path, scales: Sequence[int]) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote; None if there is none.

    Raises:
        WeightsError: damaged.
        OptionError: of other scales.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        advice = "Start anew in another folder with --start weights.safetensors."
        raise WeightsError(f"checkpoint: {path} cannot be read ({error}). {advice}") from error
    if state["scales"] != list(scales):
        was, now = (" ".join(f"x{scale}" for scale in part) for part in (state["scales"], scales))
        raise OptionError(f"checkpoint: {path} is for {was}, but the run is for {now}. Use another --out.")
    return state


def save_weights(folder: Path, scale: int, family: Family, average: Average, metadata: dict[str, str]) -> None:
    """One scale's compact state in half precision: weights and their average, readable by `vs_smsr.weights.load`."""
    for pattern, source in ((WEIGHTS, family), (AVERAGED, average.family)):
        name = pattern.format(scale)
        weights = to_weights(source[scale], scale, metadata, name)
        temporary = folder / (name + ".part")
        store(weights, temporary)
        temporary.replace(folder / name)
