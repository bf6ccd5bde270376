"""What a user can choose, as frozen records. The doors (CLI, filter, API) build them; everything else reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from vs_smsr.errors import OptionError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineName = Literal["auto", "cpu", "cuda", "reference"]
SCALES = (2, 3, 4)


def require(condition: bool, where: str, name: str, rule: str, value: object, advice: str = "") -> None:
    """Raise OptionError "<where>: <name> must be <rule>, got <value>. <advice>" unless the condition holds."""
    if not condition:
        raise OptionError(f"{where}: {name} must be {rule}, got {value!r}." + (f" {advice}" if advice else ""))


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which network runs where.

    Raises:
        OptionError: a value is outside its range.
    """

    scale: int = 2  # 2, 3 or 4
    model: str = "smsr"  # name of shipped weights
    weights: Path | None = None  # a .safetensors file instead of shipped weights
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:N"
    engine: EngineName = "auto"
    precision: Precision = "auto"  # "auto" takes the fastest one the device has
    threads: int = 0  # CPU threads; 0 = all that this process may use

    def __post_init__(self) -> None:
        where = type(self).__name__
        require(self.scale in SCALES, where, "scale", "2, 3 or 4", self.scale)
        require(self.engine in get_args(EngineName), where, "engine", f"one of {get_args(EngineName)}", self.engine)
        require(
            self.precision in get_args(Precision), where, "precision", f"one of {get_args(Precision)}", self.precision
        )
        require(self.threads >= 0, where, "threads", "0 (all) or a positive number", self.threads)
        kind, _, index = self.device.partition(":")
        known = kind in ("auto", "cpu", "cuda") and (not index or (kind == "cuda" and index.isdecimal()))
        require(known, where, "device", '"auto", "cpu", "cuda" or "cuda:N"', self.device)


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video result is encoded and what is carried over from the source."""

    codec: str = "libx264"  # any encoder of FFmpeg
    crf: float | None = None  # None: 16 where the encoder has crf
    preset: str | None = None
    pix_fmt: str | None = None  # None: the codec's nearest to the source's (yuv420p or the 10-bit sibling)
    encoder_options: dict[str, str] = field(default_factory=dict)
    width: int | None = None  # final size; one alone keeps the aspect ratio
    height: int | None = None
    copy_audio: bool = True
    copy_subtitles: bool = True
    overwrite: bool = False
