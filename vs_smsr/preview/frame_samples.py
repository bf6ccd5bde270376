"""Samples of animations and of VapourSynth scripts: by the number of a frame, as there is no file to seek in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame
from vs_smsr.errors import MediaError
from vs_smsr.media.animations import Animation, open_animation
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.reader import Reader
from vs_smsr.preview.samples import Cut, Sample, Wanted

UNTIMED = 100  # milliseconds that players show a frame of an animation that has no time
SPLICED = """
import contextlib
import runpy

import vapoursynth as vs

with contextlib.chdir({folder!r}):
    runpy.run_path({path!r}, run_name="__vapoursynth__")
clip = vs.get_output(0)
clip = getattr(clip, "clip", clip)
vs.core.std.Splice([{pieces}]).set_output()
"""


@dataclass(frozen=True)
class AnimationCut:
    """The samples of an animation.

    Attributes:
        animation: of their frames alone; frames: how many the whole has.
    """

    animation: Animation
    frames: int
    samples: list[Sample]


def cut_animation(source: Path, asked: Wanted) -> AnimationCut:
    """The samples of an animated GIF, PNG, WebP or AVIF, each of at least a frame.

    Raises:
        OptionError: it does not last that long. MediaError: it cannot be read.
    """
    whole = open_animation(source)
    try:
        durations = [(milliseconds or UNTIMED) / 1000 for _, milliseconds in whole.frames()]
        begins = list(accumulate(durations, initial=0.0))
        chosen: list[list[int]] = []
        for start, end in asked.windows(begins[-1]):
            after = chosen[-1][-1] if chosen else -1
            inside = [n for n in range(after + 1, len(durations)) if begins[n] < end and begins[n + 1] > start]
            chosen += [inside] if inside else []
        animation = replace(whole, numbers=[whole.numbers[n] for numbers in chosen for n in numbers])
        frames = animation.frames()
        samples = []
        for numbers in chosen:
            pieces = [next(frames)[0] for _ in numbers]
            middle = len(pieces) // 2
            pair = rgb(pieces[max(middle - 1, 0)]), rgb(pieces[middle])
            samples.append(Sample(begins[numbers[middle]], len(pieces), *pair))
    except MediaError as error:
        raise MediaError(f"{source}: {error}") from error
    return AnimationCut(animation, len(durations), samples)


def rgb(pixels: NDArray[Any]) -> Frame:
    """Any image's pixels as (H, W, 3) float32 RGB 0..255, without alpha."""
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(colours, np.float32) * np.float32(255 / white)


def cut_script(source: Path, clip: Path, asked: Wanted) -> Cut:
    """The samples of a VapourSynth script's output; `clip` becomes a script that has them for its own.

    So the time that the script itself takes counts when the job is tried.

    Raises:
        OptionError: it does not last that long. MediaError: the script fails.
    """
    with Reader(source) as reader:
        info = reader.info
    frames = info.frames or 1
    seconds = float(frames / info.rate)
    numbers = [sorted(round(time * info.rate) for time in window) for window in asked.windows(seconds)]
    windows = [(start, max(end, start + 1)) for start, end in numbers if start < frames]
    pieces = ", ".join(f"clip[{start}:{end}]" for start, end in windows)
    clip.write_text(SPLICED.format(folder=str(source.absolute().parent), path=str(source.absolute()), pieces=pieces))
    samples = []
    with Reader(clip) as reader:
        made = iter(reader)
        for start, end in windows:
            count, middle = end - start, (end - start) // 2
            shown = {n: to_rgb(frame) for n, frame in enumerate(islice(made, count)) if middle - 1 <= n <= middle}
            samples.append(
                Sample(float((start + middle) / info.rate), count, shown.get(middle - 1, shown[middle]), shown[middle])
            )
    return Cut(info, seconds, frames, samples, 0.0)
