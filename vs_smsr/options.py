"""What a user can choose, as frozen records. The doors (CLI, filter, API) build them; everything else reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from vs_smsr.errors import OptionError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineName = Literal["auto", "cpu", "cuda", "reference"]
Damaged = Literal["auto", "keep", "stop"]
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
    profile: bool = False  # measure the time of each op (cpu engine)

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
    """How a video is read, how the result is encoded and what is carried over from the source.

    Raises:
        OptionError: damaged is none of its names.
    """

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
    damaged: Damaged = "auto"  # "keep" what decodes; "stop" at any damage; "auto" refuses missing frames only
    deinterlace: bool = False  # frames that are marked as interlaced, one frame for each

    def __post_init__(self) -> None:
        where = type(self).__name__
        require(self.damaged in get_args(Damaged), where, "damaged", f"one of {get_args(Damaged)}", self.damaged)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How a long video is made so that it can go on after anything.

    Raises:
        OptionError: a value is outside its range.
    """

    chunk_frames: int = 240  # frames that are encoded together, and at most lost; 0 = one encoder for the whole video
    folder: Path | None = None  # where chunks wait; None: beside the target
    restart: bool = False  # throw away what an earlier run has made
    prepare: bool = False  # only write the job down
    devices: tuple[str, ...] = ()  # a worker on each: processes that share threads and memory; none: this process

    def __post_init__(self) -> None:
        rule = "0 (one encoder for the whole video) or 2 or more"
        where = type(self).__name__
        require(self.chunk_frames == 0 or self.chunk_frames >= 2, where, "chunk_frames", rule, self.chunk_frames)


Attention = Literal["frame", "held", "auto"]
IN_ORDER: Attention = "auto"  # the default where frames come in order: files, `Upscaler.frames`
IN_ORDER_REUSE = "auto"  # the same, of reuse
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class TilingOptions:
    """How frames of any size and number go through an engine: memory, temporal tiles, what is reused.

    Raises:
        OptionError: a value is outside its range.
    """

    memory: int | None = None  # bytes that the process may use; None: a share of what is free
    tile: int = 0  # side of a spatial tile in source pixels; 0 = as large as the budget allows
    attention: Attention = "frame"  # whose means: each "frame"'s own, "held" over a temporal tile; "auto" measures
    reuse: str = "exact"  # "auto", "forward", "exact", "near:N" (ignores changes up to N of 255) or "off"
    temporal_tile: int = 48  # most frames in a temporal tile

    def __post_init__(self) -> None:
        where = type(self).__name__
        require(self.memory is None or self.memory > 0, where, "memory", "a positive number of bytes", self.memory)
        require(self.tile == 0 or self.tile >= 16, where, "tile", "0 (automatic) or 16 or more", self.tile)
        rule = f"one of {get_args(Attention)}"
        require(self.attention in get_args(Attention), where, "attention", rule, self.attention)
        kind, colon, limit = self.reuse.partition(":")
        known = (kind in ("auto", "forward", "exact", "off") and not colon) or (kind == "near" and _is_level(limit))
        require(known, where, "reuse", '"auto", "forward", "exact", "off" or "near:N" with N from 0 to 255', self.reuse)
        require(self.temporal_tile >= 2, where, "temporal_tile", "2 or more", self.temporal_tile)

    @property
    def tolerance(self) -> float:
        """Largest change of a value that is ignored, 0..255."""
        return float(self.reuse.partition(":")[2] or 0)

    @property
    def has_temporal_tiles(self) -> bool:
        """Does a frame's result depend on the first frame of its temporal tile? Else on the frame alone."""
        if self.reuse == "off":
            return self.attention == "held"  # "auto" holds it for the sake of reuse alone
        return self.attention != "frame" or self.reuse == "forward" or self.reuse.startswith("near")

    @property
    def needs_order(self) -> bool:
        """Does a frame's result depend on more frames than itself and the first two of its temporal tile?"""
        return self.reuse == "forward" or (self.reuse == "auto" and self.attention != "frame")


def _is_level(text: str) -> bool:
    try:
        return 0 <= float(text) <= 255
    except ValueError:
        return False


def parse_bytes(text: str) -> int:
    """ "1.5G" -> 1610612736: a number and K, M, G or T (powers of 1024), or plain bytes.

    Raises:
        OptionError: it is not a size.
    """
    number, unit = text.strip().upper().removesuffix("B").removesuffix("I"), ""
    if number and number[-1] in UNITS:
        number, unit = number[:-1], number[-1]
    try:
        value = float(number) * UNITS[unit]
    except ValueError:
        value = 0.0
    require(0 < value < 1 << 62, "memory", "a size", 'a number with K, M, G or T such as "1.5G"', text)
    return int(value)
