"""What a training run can be told, as one frozen record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vs_smsr.families import smsr
from vs_smsr.options import SCALES, require

Schedule = Literal["trapezoid", "cosine", "step"]
Loss = Literal["l1", "charbonnier", "rmse", "psnr", "luma"]
FLAT = 10.0  # mean square of 38 dB, an image's as a whole; without it, flat crops outweigh all others


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """One run. Steps count from 0 at the start of the run; a resumed run goes on counting.

    Raises:
        OptionError: a value is outside its range.
    """

    data: Path  # a folder made by scripts/prepare_data.py
    out: Path  # checkpoint, log, plot and weights go here; a checkpoint found there is resumed
    scale: int = 2
    also: tuple[int, ...] = ()  # scales that learn along: they share all but the tail, and steps take turns
    # Weights to start from (.safetensors or .pt). A scale that none of them is for gets a resampled tail.
    start: tuple[Path, ...] = ()
    reset_masks: bool = False  # spatial masks start anew, with no pixel preferred
    device: str = "cpu"
    threads: int = 0  # CPU threads; 0 = PyTorch's choice
    precision: Literal["bf16", "fp32"] = "bf16"
    # Backend of torch.compile for the training form, such as inductor; with drawn masks (tau changes with every step)
    # it would compile again and again. Empty: as it is.
    compile: str = ""
    seed: int = 0

    steps: int = 20_000
    minutes: float | None = None  # stop (resumable) after this many minutes of wall clock
    batch: int = 16  # crops a step, over all processes
    patch: int = 48  # side of an LR crop, even
    first_patch: int = 48  # progressive patches: from this side, with more crops a step, to `patch` ...
    patch_growth: float = 0.0  # ... over this share of the steps

    lr: float = 6e-4
    schedule: Schedule = "trapezoid"
    warmup: int = 100  # steps of linear rise
    cooldown: float = 0.25  # trapezoid: share of the steps over which the rate falls to 0
    mask_lr: float = 6.0  # rate of the mask parameters over that of the others
    clip: float = 0.5  # largest gradient norm; 0 = no clipping
    ema: float = 0.999
    loss: Loss = "l1"

    dense_steps: int = 0  # steps without masks, first
    # Of a crop's pixels, the share that each of the five SMMs computes. Masks are then as in inference, guided to where
    # the SMMs do the most; channel masks stay what they are. Empty: masks are samples, and lambda and tau below decide
    # how many are active.
    mask_shares: tuple[float, ...] = ()
    mask_steps: int = 200  # steps after the dense ones in which guided masks learn alone
    sparsity_weight: float = 0.8  # lambda, on the loss over 0..255
    sparsity_target: float = 1.0  # the share to skip, in the mean over the SMMs; 1 = the paper's loss
    sparsity_ramp: int = 250  # steps after the masks start over which lambda rises from 0
    tau_start: float = 1.0
    tau_end: float = 0.4
    tau_steps: int | None = None  # steps after the masks start over which tau falls; None = all that are left
    freeze_channels: int | None = None  # from this step on, channel masks are hard and fixed, at 2/3 of a step's cost

    checkpoint_minutes: float = 4.0
    log_every: int = 25  # steps
    validate_every: int = 250  # steps
    validate: Path | None = None  # folder of HR images, whose LR is made by MATLAB-equal bicubic; or a prepared set

    def __post_init__(self) -> None:
        where = type(self).__name__
        for scale in self.scales:
            require(scale in SCALES, where, "scale", "2, 3 or 4", scale)
        require(len(set(self.scales)) == len(self.scales), where, "also", "other scales than scale", self.also)
        require(self.steps > 0, where, "steps", "positive", self.steps)
        require(self.batch > 0, where, "batch", "positive", self.batch)
        for name in ("patch", "first_patch"):
            value = getattr(self, name)
            require(value >= 16 and value % 2 == 0, where, name, "even and at least 16", value)
        for share in self.mask_shares:
            require(0 < share < 1, where, "mask_shares", "above 0 and below 1", share)
        blocks = len(smsr.spec(self.scale).blocks)
        require(len(self.mask_shares) in (0, blocks), where, "mask_shares", f"{blocks} shares", self.mask_shares)
        require(not (self.mask_shares and self.also), where, "mask_shares", "for one scale, without also", self.also)
        drawn = self.steps > self.dense_steps and not self.mask_shares
        require(not (self.compile and drawn), where, "compile", "for dense steps and guided masks", self.compile)
        for name in ("patch_growth", "cooldown", "sparsity_target"):
            require(0 <= getattr(self, name) <= 1, where, name, "between 0 and 1", getattr(self, name))
        require(self.lr > 0, where, "lr", "positive", self.lr)
        require(0 <= self.ema < 1, where, "ema", "at least 0 and below 1", self.ema)
        for name in ("tau_start", "tau_end"):
            require(getattr(self, name) > 0, where, name, "positive", getattr(self, name))

    @property
    def scales(self) -> tuple[int, ...]:
        """All scales of the run, the one that gives it its name first."""
        return (self.scale, *self.also)
