"""Clips made on the spot, and what is compared of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.sidedata.sidedata import Type as SideData

from tests.media.cluster_site import FRAMES, LIMIT, Site
from vs_smsr.jobs.report import Report
from vs_smsr.jobs.video import upscale_video
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Tiler

MAT_FONT = bytes(range(256)) * 9  # stands for a font: attachments are bytes to every tool but the player
SUBTITLES = ((0, 400, "First <i>line</i>"), (600, 300, "Zweite Zeile: äöü"))  # start ms, length ms, text


@dataclass
class Clip:
    """A recipe for a small file."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    pts: Sequence[int] = tuple(range(12))
    time_base: Fraction = Fraction(1, 25)
    rate: int = 25
    last: int = 0  # ticks that the last frame is shown; 0 = as the encoder thinks
    options: dict[str, str] = field(default_factory=dict)
    colour: dict[str, int] = field(default_factory=dict)  # attributes of the codec context
    aspect: Fraction | None = None
    rotation: float | None = None
    audio: Sequence[tuple[str, dict[str, str], int]] = ()  # codec, metadata, disposition
    subtitles: bool = False
    font: bool = False
    chapters: Sequence[tuple[int, int, str]] = ()  # start ms, end ms, title
    metadata: dict[str, str] = field(default_factory=dict)
    video_metadata: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)

    def make(self, path: Path) -> Path:
        with av.open(str(path), "w", container_options=self.container_options) as out:
            out.metadata.update(self.metadata)
            out.set_chapters([_chapter(n, *chapter) for n, chapter in enumerate(self.chapters)])
            video = out.add_stream(self.codec, rate=self.rate, options=dict(self.options))
            video.width, video.height, video.pix_fmt = *self.size, self.pix_fmt
            video.codec_context.time_base = self.time_base
            if self.last:
                video.codec_context.flags |= Flags.frame_duration
            for name, value in self.colour.items():
                setattr(video.codec_context, name, value)
            if self.aspect:
                video.codec_context.sample_aspect_ratio = self.aspect
            if self.rotation is not None:
                video.set_display_rotation(self.rotation)
            video.metadata.update(self.video_metadata)
            sounds = [self._add_audio(out, *track) for track in self.audio]
            texts = out.add_mux_stream("subrip") if self.subtitles else None
            if texts:
                texts.metadata["language"] = "deu"
                texts.time_base = Fraction(1, 1000)
            if self.font:
                out.add_attachment("Some Font.ttf", "font/ttf", MAT_FONT)
            for number, pts in enumerate(self.pts):
                frame = picture(self.size, self.pix_fmt, number)
                frame.pts, frame.time_base = pts, self.time_base
                frame.duration = self.last if pts == self.pts[-1] else 0
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            for number, sound in enumerate(sounds):
                out.mux([packet for part in _tone(sound, number) for packet in sound.encode(part)])
                out.mux(sound.encode(None))
            for start, length, text in SUBTITLES if texts else ():
                packet = av.Packet(text.encode())
                packet.stream, packet.time_base = texts, Fraction(1, 1000)
                packet.pts = packet.dts = start
                packet.duration = length
                out.mux(packet)
        return path

    @staticmethod
    def _add_audio(out: Any, codec: str, metadata: dict[str, str], disposition: int) -> Any:
        stream = out.add_stream(codec, rate=48000)
        stream.metadata.update(metadata)
        stream.disposition = disposition
        return stream


def picture(size: tuple[int, int], pix_fmt: str, number: int = 0) -> av.VideoFrame:
    """A frame with a moving pattern, made through RGB."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = [np.sin(x / (5 + c) + number / 3) * np.cos(y / (7 - c) - number / 5) for c in range(3)]
    rgb = np.stack([128 + 90 * wave for wave in waves], axis=-1).astype(np.uint8)
    return av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)


def _tone(stream: Any, number: int) -> Any:
    wave = np.sin(np.arange(24000) * (0.05 + 0.02 * number)).astype(np.float32) / 3
    for start in range(0, wave.size, 1024):
        part = av.AudioFrame.from_ndarray(np.stack([wave[start : start + 1024]] * 2), "fltp", "stereo")
        part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
        resampler = av.AudioResampler(stream.format.name, "stereo", 48000)
        yield from resampler.resample(part)


def _chapter(number: int, start: int, end: int, title: str) -> dict[str, Any]:
    return {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


@dataclass
class Facts:
    """What is compared of two files; times are in seconds, exact."""

    frames: list[Fraction]
    durations: list[Fraction]
    packets: dict[int, list[tuple[Fraction, bytes]]]  # of the streams that are not video, by index
    kinds: list[str]
    attachments: list[bytes]
    chapters: list[tuple[Fraction, Fraction, str]]
    metadata: dict[str, str]
    stream_metadata: list[dict[str, str]]
    dispositions: list[int]
    colour: tuple[int, ...]
    aspect: Fraction
    side_data: dict[SideData, bytes]
    size: tuple[int, int]
    pix_fmt: str
    codec: str


def facts(path: Path) -> Facts:
    """Read a file with PyAV alone."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        frames, packets = [], {s.index: [] for s in file.streams if s.type in ("audio", "subtitle")}
        for packet in file.demux():
            if packet.stream is video:
                frames += packet.decode()
            elif packet.size and packet.stream_index in packets:
                packets[packet.stream_index].append((_exact(packet.pts, packet.time_base), bytes(packet)))
        first = frames[0]
        return Facts(
            frames=[_exact(f.pts, f.time_base) for f in frames],
            durations=[_exact(f.duration, f.time_base) for f in frames],
            packets=packets,
            kinds=[s.type for s in file.streams],
            attachments=[s.data for s in file.streams if s.type == "attachment"],
            chapters=[
                (_exact(c["start"], c["time_base"]), _exact(c["end"], c["time_base"]), c["metadata"].get("title", ""))
                for c in file.chapters()
            ],
            metadata={key.lower(): value for key, value in file.metadata.items()},
            stream_metadata=[{k.lower(): v for k, v in s.metadata.items()} for s in file.streams],
            dispositions=[int(s.disposition) for s in file.streams],
            colour=(
                first.colorspace,
                first.color_range,
                first.color_primaries,
                first.color_trc,
                first.chroma_location,
            ),
            aspect=_exact(1, video.sample_aspect_ratio),
            side_data={kind: bytes(memoryview(first.side_data[kind])) for kind in first.side_data},
            size=(first.width, first.height),
            pix_fmt=first.format.name,
            codec=video.codec_context.name,
        )


def _exact(ticks: int, base: Any) -> Fraction:
    return ticks * Fraction(base.numerator, base.denominator or 1)


@pytest.fixture
def clip() -> type[Clip]:
    """The class: `clip(...).make(path)`."""
    return Clip


@pytest.fixture
def facts_of() -> Callable[[Path], Facts]:
    """The function that reads a file with PyAV alone."""
    return facts


@pytest.fixture
def upscaled(stand_in) -> Callable[..., Report]:
    """upscaled(source, target, scale=2, **options) -> Report, by the stand-in engine."""

    def run(source: Path, target: Path, scale: int = 2, **options: object) -> Report:
        return upscale_video(source, target, Tiler(stand_in(scale)), VideoOptions(**options))

    return run


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., str]:
    """ffmpeg(*arguments) -> what the program prints; an independent maker and judge of files."""
    return _program("ffmpeg", "-v", "error", "-y")


@pytest.fixture(scope="session")
def ffprobe() -> Callable[..., dict[str, Any]]:
    """ffprobe(path, *arguments) -> what the program finds, as JSON."""
    program = _program("ffprobe", "-v", "error", "-of", "json")
    return lambda path, *arguments: json.loads(program(*arguments, path))


def _program(name: str, *first: str) -> Callable[..., str]:
    if shutil.which(name) is None:
        pytest.skip(f"needs {name} (Debian: apt-get install ffmpeg)")

    def run(*arguments: object) -> str:
        command = [name, *first, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Where a module's clusters run."""
    site = Site(tmp_path_factory.mktemp("cluster"))
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def whole(site: Site) -> bytes:
    """What an uninterrupted run without a cluster makes of the site's source.mkv."""
    Clip(pts=tuple(range(FRAMES)), audio=[("aac", {}, 1)]).make(site.path / "source.mkv")
    assert site.upscale("-o", "whole.mkv").wait(LIMIT) == 0
    return (site.path / "whole.mkv").read_bytes()
