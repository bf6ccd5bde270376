"""An image file in, the same image larger out: `video.upscale_video` for stills and animations."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2

from vs_smsr.engine.picture import from_frame, to_frame
from vs_smsr.errors import MediaError
from vs_smsr.jobs.arrays import Array, upscale_array
from vs_smsr.jobs.report import Progress, Report
from vs_smsr.jobs.sizing import Size, final_size
from vs_smsr.media.animations import Animation, Pixels, check_animation, encode_animation, open_animation
from vs_smsr.media.image_files import check, encode
from vs_smsr.media.images import Image, read_image
from vs_smsr.media.targets import whole_or_nothing
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Sequence, Tiler


def upscale_image(
    source: Path,
    target: Path,
    tiler: Tiler,
    options: VideoOptions,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Upscale an image file; metadata comes along. Of the options only width, height and overwrite count.

    `progress` is called once, when the pixels are there and before anything is written.

    Raises:
        MediaError: the source cannot be read, or the target not be written. EngineError: the engine failed.
    """
    start = time.perf_counter()
    with whole_or_nothing(target, options.overwrite) as temporary:  # what is wrong with the target is said at once
        image = read_image(source)
        check(image, target)
        result = upscale_array(tiler, image.pixels)
        if progress:
            progress(Progress(1, 1, 1 / (time.perf_counter() - start), result.skipped))
        height, width = image.pixels.shape[:2]
        pixels = resized(result.pixels, final_size(Size(width, height), tiler.scale, options))
        data, notes = encode(Image(pixels, image.metadata), target)
        temporary.write_bytes(data)
    return Report(target, 1, time.perf_counter() - start, result.skipped, image.notes + notes)


def upscale_animation(
    source: Path,
    target: Path,
    tiler: Tiler,
    options: VideoOptions,
    progress: Callable[[Progress], None] | None = None,
    animation: Animation | None = None,
) -> Report:
    """Upscale an animated GIF, PNG, WebP or AVIF into one of these; times, loop and metadata come along.

    `progress` is called after each frame; `animation` is the source where it is open already. Raises: see
    `upscale_image`.
    """
    start = time.perf_counter()
    frames: list[Pixels] = []
    durations: list[float] = []
    skipped, reused, held = 0.0, 0.0, 0
    alike: list[float] = []
    sequence = Sequence(tiler)
    with whole_or_nothing(target, options.overwrite) as temporary:
        check_animation(target)
        animation = animation or open_animation(source)
        try:
            for frame, duration in animation.frames():
                if frame.shape[2] == 3:
                    made = sequence.upscale(to_frame(frame))
                    pixels = from_frame(made.frame, frame.dtype)
                    skipped, reused, held = skipped + made.skipped, reused + made.reused, held + made.held
                    alike += [] if made.alike is None else [made.alike]
                else:
                    result = upscale_array(tiler, frame)
                    pixels, skipped = result.pixels, skipped + result.skipped
                height, width = frame.shape[:2]
                frames.append(resized(pixels, final_size(Size(width, height), tiler.scale, options)))
                durations.append(duration)
                if progress:
                    done = len(frames)
                    rate = done / (time.perf_counter() - start)
                    progress(Progress(done, len(animation.numbers), rate, skipped / done, reused / done))
        except MediaError as error:
            raise MediaError(f"{source}: {error}") from error
        data, notes = encode_animation(frames, durations, animation, target)
        temporary.write_bytes(data)
    seconds, count = time.perf_counter() - start, len(frames)
    every = (*animation.notes, *notes)
    least = min(alike, default=None)
    return Report(target, count, seconds, skipped / count, every, reused / count, held, alike=least)


def resized(pixels: Array, size: Size) -> Array:
    """(h, w[, C]) -> (H, W[, C]) by bicubic interpolation, or by area where it shrinks."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    larger = size.width > pixels.shape[1] or size.height > pixels.shape[0]
    final: Array = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
    return final
