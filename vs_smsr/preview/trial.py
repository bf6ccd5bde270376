"""A job tried on samples: what it makes of them, and what the whole would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.jobs.arrays import Array, conversion_bytes, upscale_array
from vs_smsr.jobs.image import resized
from vs_smsr.jobs.pipeline import fit
from vs_smsr.jobs.report import Progress
from vs_smsr.jobs.sizing import Size, final_size
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.image_files import encode
from vs_smsr.media.images import Image, read_image
from vs_smsr.media.paths import url
from vs_smsr.options import VideoOptions
from vs_smsr.preview.samples import Cut
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

    Time is what the job takes after its first frame, times the frames that there are. Size counts key frames apart from
    the others: each sample begins with one, which is not so in the whole.
    """
    info = cut.info
    size = final_size(Size(info.width, info.height), tiler.scale, options, multiple=2)
    limits = fit(tiler, info, size, options)
    start, first = time.perf_counter(), 0.0

    def note(state: Progress) -> None:
        nonlocal first
        first = first or time.perf_counter() - start
        progress(state)

    made = clip.with_name("made.mkv")
    report = upscale_video(clip, made, tiler, options, note)
    each = (report.seconds - first) / max(report.frames - 1, 1)
    bytes_ = _video_bytes(made, cut) + cut.other_bytes
    made.unlink()
    prediction = Prediction(first + each * (cut.frames - 1), bytes_, limits.plan.total, report.skipped, report.reused)
    shown = []
    for sample in cut.samples:
        sequence = Sequence(tiler, overhead=limits.overhead)
        sequence.upscale(sample.before)
        shown.append(_shown(sequence.upscale(sample.shown), size))
    return prediction, shown


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
    start = time.perf_counter()
    image = read_image(source)
    result = upscale_array(tiler, image.pixels)
    height, width = image.pixels.shape[:2]
    size = final_size(Size(width, height), tiler.scale, options)
    data, _ = encode(Image(resized(result.pixels, size), image.metadata), target)
    seconds = time.perf_counter() - start
    plan = tiler.plan(height, width, conversion_bytes(image.pixels, tiler.scale))
    frame = rgb(image.pixels)
    prediction = Prediction(seconds, len(data), plan.total, result.skipped, 0.0)
    return prediction, frame, _shown(tiler.upscale(frame), size)


def rgb(pixels: Array) -> Frame:
    """Any image's pixels as (H, W, 3) float32 RGB 0..255, without alpha."""
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(colours, np.float32) * np.float32(255 / white)


def _shown(result: Upscaled, size: Size) -> Shown:
    active = np.mean(result.masks, axis=0, dtype=np.float32)
    reused = ~result.computed if isinstance(result, TiledFrame) else np.zeros(active.shape, np.bool_)
    return Shown(to_bytes(resized(result.frame, size)), active, reused)


def to_bytes(frame: Array) -> NDArray[np.uint8]:
    """0..255 of any type -> uint8, rounded."""
    return np.rint(frame).clip(0, 255).astype(np.uint8)
