"""A job tried on samples: what it makes of them, and what the whole would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.jobs.arrays import Array, conversion_bytes, upscale_array
from vs_smsr.jobs.image import resized, upscale_animation
from vs_smsr.jobs.pipeline import fit
from vs_smsr.jobs.report import Progress, Report
from vs_smsr.jobs.sizing import Size, final_size
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.image_files import encode
from vs_smsr.media.images import Image, read_image
from vs_smsr.media.paths import url
from vs_smsr.options import VideoOptions
from vs_smsr.preview.frame_samples import AnimationCut, rgb
from vs_smsr.preview.samples import Cut, Sample
from vs_smsr.tiling import Sequence, TiledFrame, Tiler

KEY_EVERY = 240  # frames of a chunk, each of which begins with one; one encoder for all does after 250


@dataclass(frozen=True)
class Prediction:
    """For the whole file, on this machine.

    Attributes:
        seconds: from start to end.
        bytes: of the result.
        memory: bytes at the most, by the plan.
        skipped, reused: mean shares of the samples, 0..1; see `jobs.report.Report`.
    """

    seconds: float
    bytes: float
    memory: int
    skipped: float
    reused: float


@dataclass(frozen=True)
class Shown:
    """One picture before and after.

    Attributes:
        after: (H, W, 3) uint8.
        active: (h, w) mean of the masks, 0..1; reused: (h, w), where the result was copied.
    """

    after: NDArray[np.uint8]
    active: NDArray[np.float32]
    reused: NDArray[np.bool_]


def try_video(
    cut: Cut, clip: Path, tiler: Tiler, options: VideoOptions, progress: Callable[[Progress], None]
) -> tuple[Prediction, list[Shown]]:
    """Run the very job on the samples' clip, and extrapolate.

    Time is what the job takes after its first frame, times the frames that there are; kernels are loaded and compiled
    before. Size counts key frames apart from the others: each sample begins with one, which is not so in the whole.
    """
    info = cut.info
    size = final_size(Size(info.width, info.height), tiler.scale, options, multiple=2)
    limits = fit(tiler, info, size, options)  # gets the engine ready
    clock = _Clock(progress)
    made = clip.with_name("made.mkv")
    report = upscale_video(clip, made, tiler, options, clock.note)
    bytes_ = _video_bytes(made, cut) + cut.other_bytes
    made.unlink()
    seconds = clock.seconds(report, cut.frames)
    prediction = Prediction(seconds, bytes_, limits.plan.total, report.skipped, report.reused)
    return prediction, _pictures(cut.samples, tiler, size, limits.overhead)


def try_animation(
    source: Path,
    cut: AnimationCut,
    made: Path,
    tiler: Tiler,
    options: VideoOptions,
    progress: Callable[[Progress], None],
) -> tuple[Prediction, list[Shown]]:
    """As `try_video`; time and size are by the frame. `made` is a file to write and remove again."""
    height, width = cut.samples[0].shown.shape[:2]
    size = final_size(Size(width, height), tiler.scale, options)
    plan = tiler.plan(height, width)  # gets the engine ready
    clock = _Clock(progress)
    report = upscale_animation(source, made, tiler, options, clock.note, cut.animation)
    bytes_ = made.stat().st_size / report.frames * cut.frames
    made.unlink()
    seconds = clock.seconds(report, cut.frames)
    prediction = Prediction(seconds, bytes_, plan.total, report.skipped, report.reused)
    return prediction, _pictures(cut.samples, tiler, size, 0)


class _Clock:
    """Seconds to the end of a job's first frame, and from there on."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress = progress
        self._start, self._first = time.perf_counter(), 0.0

    def note(self, state: Progress) -> None:
        self._first = self._first or time.perf_counter() - self._start
        self._progress(state)

    def seconds(self, report: Report, frames: int) -> float:
        """For so many frames, by what the report's took."""
        return self._first + (report.seconds - self._first) / max(report.frames - 1, 1) * (frames - 1)


def _pictures(samples: Iterable[Sample], tiler: Tiler, size: Size, overhead: int) -> list[Shown]:
    shown = []
    for sample in samples:
        sequence = Sequence(tiler, overhead=overhead)
        sequence.upscale(sample.before)
        shown.append(_shown(sequence.upscale(sample.shown), size))
    return shown


def _video_bytes(made: Path, cut: Cut) -> float:
    """Of the video stream of the whole result, by the packets of the samples' result."""
    with av.open(url(made)) as container:
        packets = [(packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    keys = [size for size, is_key in packets if is_key]
    rest = [size for size, is_key in packets if not is_key]
    if not rest:  # every frame is one
        return float(np.mean(keys)) * cut.frames
    joints = len(cut.samples)
    scenes = max(len(keys) - joints, 0) / len(packets) * cut.frames
    count = max(scenes, cut.frames / KEY_EVERY) + 1 if cut.frames > len(packets) else len(keys)
    return float(np.mean(keys) * count + np.mean(rest) * (cut.frames - count))


def try_image(source: Path, target: Path, tiler: Tiler, options: VideoOptions) -> tuple[Prediction, Frame, Shown]:
    """The image itself, upscaled and encoded: nothing is extrapolated.

    Returns:
        What it took, the image as (H, W, 3) float32 RGB 0..255, and what became of it.
    """
    pixels = read_image(source).pixels
    height, width = pixels.shape[:2]
    plan = tiler.plan(height, width, conversion_bytes(pixels, tiler.scale))  # gets the engine ready
    start = time.perf_counter()
    image = read_image(source)
    result = upscale_array(tiler, image.pixels)
    size = final_size(Size(width, height), tiler.scale, options)
    data, _ = encode(Image(resized(result.pixels, size), image.metadata), target)
    seconds = time.perf_counter() - start
    frame = rgb(image.pixels)
    prediction = Prediction(seconds, len(data), plan.total, result.skipped, 0.0)
    return prediction, frame, _shown(tiler.upscale(frame), size)


def _shown(result: Upscaled, size: Size) -> Shown:
    active = np.mean(result.masks, axis=0, dtype=np.float32)
    reused = ~result.computed if isinstance(result, TiledFrame) else np.zeros(active.shape, np.bool_)
    return Shown(to_bytes(resized(result.frame, size)), active, reused)


def to_bytes(frame: Array) -> NDArray[np.uint8]:
    """0..255 of any type -> uint8, rounded."""
    return np.rint(frame).clip(0, 255).astype(np.uint8)
