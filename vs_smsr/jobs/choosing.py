"""Which of the shipped weights a file is upscaled with, where the options leave it open."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from vs_smsr.errors import OptionError, WeightsError
from vs_smsr.jobs.sizing import Size, sufficient_scale
from vs_smsr.media.animations import open_animation
from vs_smsr.media.images import Kind, kind_of, read_image
from vs_smsr.media.main_video import is_lossy
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.reader import Reader
from vs_smsr.media.script_source import is_script
from vs_smsr.options import AUTO, SCALES, EngineOptions, VideoOptions
from vs_smsr.weights import shipped, suited


def choose(
    options: EngineOptions,
    source: Path,
    video: VideoOptions = VideoOptions(),  # noqa: B008  # frozen
    scales: Sequence[int] = (),
) -> EngineOptions:
    """The options with a model's name instead of "auto", and the scale that the final size needs.

    What a pipe or a script brings is taken for lossless: how it was coded before, nobody can tell.

    Args:
        source: a video, an image, an animation or a pipe.
        video: the final size, and how to read the source.
        scales: rising, to choose from; one or none: `options.scale` stays.

    Raises:
        MediaError: the source has to be looked at, and cannot be read.
        OptionError: it is a pipe, which cannot be looked at, and there are scales to choose from.
    """
    by_size, by_coding = len(scales) > 1, options.model == AUTO and options.weights is None
    lossy, kind = False, kind_of(source)
    if by_size and is_pipe(source):
        raise OptionError("--scale: must be given with --width or --height where a pipe is read.")
    if by_size and kind != "video":
        options = dataclasses.replace(options, scale=sufficient_scale(scales, _size(source, kind), video))
    elif kind == "video" and (by_size or (by_coding and not is_script(source))) and not is_pipe(source):
        with Reader(source, video.damaged) as reader:
            size, lossy = Size(reader.info.width, reader.info.height), is_lossy(reader.video)
        if by_size:
            options = dataclasses.replace(options, scale=sufficient_scale(scales, size, video))
    return dataclasses.replace(options, model=suited(options.scale, lossy)) if by_coding else options


def shipped_scales(model: str) -> list[int]:
    """The scales for which there are shipped weights, rising."""
    there = []
    for scale in SCALES:
        try:
            shipped(scale, model)
        except WeightsError:
            continue
        there.append(scale)
    return there


def _size(source: Path, kind: Kind) -> Size:
    """Of an image or an animation."""
    if kind == "image":
        height, width = read_image(source).pixels.shape[:2]
        return Size(width, height)
    return Size(*open_animation(source).picture.size)
