"""The training loop: flat, resumable bit for bit, stoppable by any signal."""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vs_smsr.options import require
from vs_smsr.training import optimizer, schedule
from vs_smsr.training.data import TrainingSet
from vs_smsr.training.family import Family
from vs_smsr.training.guiding import Guide, work_done
from vs_smsr.training.losses import image_loss
from vs_smsr.training.options import TrainOptions
from vs_smsr.training.plot import LOG, plot_curves, read_log
from vs_smsr.training.signals import stopping_signals
from vs_smsr.training.state import (
    Average,
    Clock,
    load_checkpoint,
    reset_masks,
    save_checkpoint,
    save_weights,
    start_from,
)
from vs_smsr.training.validate import Score, Validator

log = logging.getLogger(__name__)
COLUMNS = ("step", "hours", "busy", "lr", "tau", "lambda", "loss", "computed", "gradient", "psnr", "sparsity", "active")
GUIDED = 4  # one crop of so many also tells what its masks should be, for two more forward passes


class Trainer:
    """One run: networks, optimizer, averaged weights, data. Every process of a distributed run holds one."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if options.threads:
            torch.set_num_threads(options.threads)
        require(options.batch >= self.world, "Trainer", "batch", f"at least the {self.world} processes", options.batch)
        self.device = torch.device(options.device)
        options.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        self.family = Family(options.scales)
        if options.start:
            start_from(self.family, options.scales, options.start)
        if options.reset_masks:
            reset_masks(self.family)
        module: Any = self.family  # not every release of torch declares memory_format
        module.to(device=self.device, memory_format=torch.channels_last)
        self.average = Average(self.family, options.ema)
        self.optimizer = optimizer.create(self.family, options)
        self.guide = Guide(options.mask_shares)
        self.clock = Clock(torch.get_num_threads())
        self.step_index = 0
        self.validated = dict.fromkeys(options.scales, "")  # the last score in words
        self._restore()
        self.data = {scale: TrainingSet(options.data, scale) for scale in options.scales}
        self.validators = {scale: Validator(options.validate, scale) for scale in options.scales if options.validate}
        self.form: nn.Module = self.family
        if options.compile:
            self.form = cast(nn.Module, torch.compile(self.family, backend=options.compile))
        if self.world > 1:  # other scales' tails, and masks in the dense warm-up, take no part: "unused"
            self.form = DistributedDataParallel(self.form, find_unused_parameters=True)

    def _restore(self) -> None:
        state = load_checkpoint(self.options.out, self.options.scales)
        if state is None:
            return
        self.family.load_state_dict(state["family"])
        self.average.family.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("thresholds") is not None:
            self.guide.thresholds = state["thresholds"].to(self.device)
        self.step_index = state["step"]
        self.clock.seconds, self.clock.busy = state["seconds"], state["busy"]
        now = _plain(self.options)
        before = _plain(TrainOptions(data=self.options.data, out=self.options.out)) | state["options"]
        changed = [name for name, value in now.items() if before[name] != value]
        if changed:
            log.warning("resumed at step %d with other options than before: %s", self.step_index, ", ".join(changed))

    def save(self) -> None:
        """Full checkpoint and compact weights; only the first process writes."""
        if self.rank:
            return
        save_checkpoint(
            self.options.out,
            {
                "scales": list(self.options.scales),
                "step": self.step_index,
                "seconds": self.clock.seconds,
                "busy": self.clock.busy,
                "family": self.family.state_dict(),
                "average": self.average.family.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "thresholds": self.guide.thresholds,
                "options": _plain(self.options),
            },
        )
        out = self.options.out
        metadata = {"steps": str(self.step_index), "hours": f"{self.clock.seconds / 3600:.2f}"}
        for scale, score in self.validated.items():
            save_weights(out, scale, self.family, self.average, metadata | ({"validated": score} if score else {}))
        logs = {f"x{scale}": out / LOG.format(scale) for scale in self.options.scales}
        runs = {label: read_log(path) for label, path in logs.items() if path.is_file()}
        if any(runs.values()):
            plot_curves(runs, out / "curve.png")

    def batch(self) -> tuple[Tensor, Tensor]:
        """This process's share of the step's crops: (B, 3, h, w) LR and HR, float32 0..255, channels last.

        The crops depend on the seed and the step only, so neither a stop nor the number of processes changes them.
        """
        scale = schedule.scale_of(self.step_index, self.options)
        patch, count = schedule.patch_and_batch(self.step_index, self.options)
        crops = self.data[scale].crops(np.random.default_rng((self.options.seed, self.step_index)), count, patch)
        mine = slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)
        lr, hr = (torch.from_numpy(part[mine]).to(self.device).permute(0, 3, 1, 2).float() for part in crops)
        return lr, hr

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16")

    def step(self) -> dict[str, float]:
        """One update. Returns the loss, the share computed, the gradient's norm and the schedules' values."""
        options, index = self.options, self.step_index
        lr_image, hr_image = self.batch()
        torch.manual_seed((options.seed * 1_000_003 + index) * 4096 + self.rank)  # the masks' samples
        tau = schedule.temperature(index, options)
        weight = schedule.sparsity_weight(index, options)
        with self._autocast():
            scale = schedule.scale_of(index, options)
            out, computed, logits = self.form(lr_image, scale, tau, schedule.channels_frozen(index, options))
        error = image_loss(out.float(), hr_image, options.loss)
        loss = error + weight * schedule.sparsity_loss(computed, options)
        if tau == 0:
            loss = loss + self._guide_masks(scale, logits, lr_image, hr_image)
        self.optimizer.zero_grad()
        self._share_of_batch(loss, len(hr_image)).backward()  # type: ignore[no-untyped-call]
        limit = options.clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.family.parameters(), limit)
        rate = schedule.learning_rate(index, options)
        alone = schedule.masks_alone(index, options)
        optimizer.set_rate(self.optimizer, rate, options, alone)
        self.optimizer.step()
        self.average.update(self.family, index)
        if alone:
            self.average.copy_masks(self.family)
        self.step_index += 1
        values = {"lr": rate, "lambda": weight, "loss": error.item(), "computed": computed.mean().item()}
        return {**values, "gradient": norm.item(), "tau": math.nan if tau is None else tau}

    def _guide_masks(self, scale: int, logits: list[Tensor], lr_image: Tensor, hr_image: Tensor) -> Tensor:
        """The branches' loss, on some of the crops; all processes have the same thresholds."""
        some = slice(-(-len(lr_image) // GUIDED))
        with torch.no_grad(), self._autocast():
            work = work_done(self.family[scale], lr_image[some], hr_image[some])
        if self.guide.thresholds is None:
            self.guide.thresholds = self._mean(self.guide.thresholds_for(work))
        active = torch.stack([(part > 0).float().mean() for part in logits])
        self.guide.follow(self._mean(active))
        return self.guide.loss([part[some] for part in logits], work)

    def _mean(self, values: Tensor) -> Tensor:
        """Over the processes, which count alike."""
        if self.world > 1:
            dist.all_reduce(values)
        return values / self.world

    def _share_of_batch(self, loss: Tensor, crops: int) -> Tensor:
        """Weigh this process's loss by its crops: processes are averaged as if all had as many."""
        _, all_crops = schedule.patch_and_batch(self.step_index, self.options)
        return loss * (crops * self.world / all_crops)

    @property
    def masked(self) -> bool:
        """Do the masks count at the step just done?"""
        return schedule.temperature(max(0, self.step_index - 1), self.options) is not None

    def run(self, report: Callable[[int, dict[str, float]], None] | None = None) -> str:
        """Train until the last step, the time limit or a signal; save; return which of these it was.

        Args:
            report: called after each step with its number and its values (for a progress bar).
        """
        deadline = time.monotonic() + (self.options.minutes or math.inf) * 60
        saved = time.monotonic()
        sums = {scale: _Means() for scale in self.options.scales}
        with stopping_signals() as stopped:
            self.clock.tick()
            while self.step_index < self.options.steps:
                values = self.step()
                self.clock.tick()
                sums[schedule.scale_of(self.step_index - 1, self.options)].add(values)
                if report:
                    report(self.step_index, values)
                if self.step_index % self.options.log_every == 0:
                    self._log(sums)
                reason = stopped() or ("time" if time.monotonic() > deadline else None)
                if self._agree(reason is not None):
                    self.save()
                    return reason or "another process stopped"
                if time.monotonic() - saved > self.options.checkpoint_minutes * 60:
                    self.save()
                    saved = time.monotonic()
            self.save()
        return "done"

    def _agree(self, stop: bool) -> bool:
        """Stop together: True if any process wants to."""
        if self.world == 1:
            return stop
        votes = torch.tensor(float(stop), device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes)

    def _log(self, sums: Mapping[int, _Means]) -> None:
        """A row of means since the last one for each scale; with a score where one is due."""
        if self.rank:
            return
        due = self.step_index % self.options.validate_every == 0 or self.step_index == self.options.steps
        for scale, means in sums.items():
            judge = self.validators.get(scale) if due else None
            score = judge.score(self.average.family[scale], self.masked) if judge else None
            self._log_scale(scale, means.take(), score)

    def _log_scale(self, scale: int, means: Mapping[str, float], score: Score | None) -> None:
        row: dict[str, Any] = {name: f"{value:.5g}" for name, value in means.items()}
        row |= {"step": self.step_index, "hours": f"{self.clock.seconds / 3600:.4f}"}
        row["busy"] = f"{self.clock.busy / 3600:.4f}"
        if score:
            row |= {"psnr": f"{score.psnr:.3f}", "sparsity": f"{score.skipped:.3f}"}
            self.validated[scale] = f"{score.psnr:.3f} dB at sparsity {score.skipped:.3f} after {self.step_index} steps"
            row["active"] = " ".join(f"{share:.2f}" for share in score.active)
        _append(self.options.out / LOG.format(scale), row)
        words = [f"{name} {row[name]}" for name in COLUMNS if row.get(name) not in (None, "nan")]
        log.info("x%d  %s", scale, "  ".join(words))


class _Means:
    """Running means of the values of steps."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def take(self) -> dict[str, float]:
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


def _append(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


def _plain(options: TrainOptions) -> dict[str, Any]:
    """The options as plain values, as a checkpoint stores them; those that cannot change the result are left out."""
    plain = dataclasses.asdict(options)
    for name in ("data", "out", "start", "minutes", "validate", "threads", "checkpoint_minutes"):
        plain.pop(name)
    return plain
