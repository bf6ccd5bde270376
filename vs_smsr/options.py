"""What a user can choose, as frozen records. The doors (CLI, filter, API) build them; everything else reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from vs_smsr.errors import OptionError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineName = Literal["auto", "cpu", "cuda", "reference"]
Damaged = Literal["auto", "keep", "stop"]
SCALES = (2, 3, 4)
AUTO = "auto"


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
    model: str = AUTO  # name of shipped weights; "auto" takes what suits the source, see `weights.suited`
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

    @property
    def network(self) -> str:
        """What a user knows the weights by: the model's name, or that of their file."""
        return self.weights.name if self.weights else self.model


@dataclass(frozen=True, kw_only=True)
class Range:
    """A part of a video, by times or by numbers of frames; all of it by default.

    Raises:
        OptionError: nothing can lie in it, or it has times and numbers.
    """

    start: Fraction | float = 0  # seconds in the whole result, whose recordings start at 0
    end: Fraction | float | None = None  # the first time that is outside
    first: int = 0  # number of a frame, counted from 0
    last: int | None = None  # of the last frame, included

    def __post_init__(self) -> None:
        where, timed = type(self).__name__, bool(self.start or self.end is not None)
        require(self.start >= 0, where, "start", "0 or more seconds", self.start)
        require(self.end is None or self.end > self.start, where, "end", f"later than {self.start} s", self.end)
        require(self.first >= 0, where, "first", "the number of a frame, from 0", self.first)
        rule = f"the number of a frame, from {self.first}"
        require(self.last is None or self.last >= self.first, where, "last", rule, self.last)
        numbered = bool(self.first or self.last is not None)
        require(not (timed and numbered), where, "range", "given by times or by numbers of frames", self)

    def __bool__(self) -> bool:
        """False for the whole video."""
        return self != Range()


def parse_range(start: str | None, end: str | None, duration: str | None, frames: str | None) -> Range:
    """The range that the options of a command name: "1:02:03.5", "20"; frames "100-199" or "100-".

    Raises:
        OptionError: they are no times or numbers, or do not go together.
    """
    where = "vs-smsr"
    if frames is not None:
        timed = start or end or duration
        require(not timed, where, "--frames", "given without --start, --end and --duration", frames)
        match = re.fullmatch(r"(\d+)-(\d*)", frames.strip())
        require(bool(match), where, "--frames", "A-B, numbers from 0 of which both are included", frames)
        assert match is not None, "checked above"
        first, last = int(match[1]), int(match[2]) if match[2] else None
        require(last is None or last >= first, where, "--frames", "A-B with B not below A", frames)
        return Range(first=first, last=last)
    require(end is None or duration is None, where, "--end", "left out where --duration is given", end)
    begin = Fraction(0) if start is None else _seconds("--start", start)
    if duration is not None:
        length = _seconds("--duration", duration)
        require(length > 0, where, "--duration", "longer than 0 s", duration)
        return Range(start=begin, end=begin + length)
    stop = None if end is None else _seconds("--end", end)
    require(stop is None or stop > begin, where, "--end", f"later than --start ({float(begin):g} s)", end)
    return Range(start=begin, end=stop)


def _seconds(name: str, text: str) -> Fraction:
    """ "1:02:03.5", "62:03.5" or "3723.5" -> Fraction(7447, 2)"""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)", text.strip())
    require(bool(match), "vs-smsr", name, "a time such as 1:02:03.5, 2:03 or 123.5", text)
    assert match is not None, "checked above"
    hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
    fits = (match[2] is None or seconds < 60) and (match[1] is None or minutes < 60)
    require(fits, "vs-smsr", name, "a time whose minutes and seconds are below 60 after a colon", text)
    return hours * 3600 + minutes * 60 + seconds


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
    range: Range = Range()  # the part that is upscaled, with times from 0

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
    cluster: str = ""  # a dask cluster instead: "tcp://host:port" or "tls://host:port" of its scheduler, or "local:N"
    cluster_wait: float = 60  # seconds that may pass while no worker of it is at work
    insecure: bool = False  # take a cluster of other machines without TLS

    def __post_init__(self) -> None:
        rule = "0 (one encoder for the whole video) or 2 or more"
        where = type(self).__name__
        require(self.chunk_frames == 0 or self.chunk_frames >= 2, where, "chunk_frames", rule, self.chunk_frames)
        if self.cluster:
            self._check_cluster(where)

    def _check_cluster(self, where: str) -> None:
        require(self.cluster_wait > 0, where, "cluster_wait", "a positive number of seconds", self.cluster_wait)
        alone = not (self.devices or self.prepare)
        require(alone, where, "cluster", "given without several devices or workers, and without prepare", self.cluster)
        match = re.fullmatch(r"local:[1-9]\d{0,3}|(tcp|tls)://(\[[\da-fA-F:.]+\]|[^:/\[\]\s]+):\d{1,5}", self.cluster)
        require(bool(match), where, "cluster", "tcp://host:port, tls://host:port or local:N", self.cluster)
        assert match is not None, "checked above"
        advice = "Whoever reaches it can run code there; allow it with --insecure in a network that you trust."
        safe = match[1] != "tcp" or _is_loopback(match[2].strip("[]")) or self.insecure
        require(safe, where, "cluster", "tls:// for another machine", self.cluster, advice)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
