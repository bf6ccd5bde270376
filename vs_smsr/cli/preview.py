"""`vs-smsr preview`: samples of files upscaled, on a page, with what the whole job would take."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from vs_smsr import engine
from vs_smsr.cli.inputs import Job, plan
from vs_smsr.cli.report import one_line, progress_bar, say
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.memory import size
from vs_smsr.errors import OptionError
from vs_smsr.jobs.choosing import choose
from vs_smsr.jobs.report import Progress
from vs_smsr.jobs.sizing import label
from vs_smsr.media.script_source import SUFFIX, is_script
from vs_smsr.options import AUTO, EngineOptions, TilingOptions, VideoOptions
from vs_smsr.preview.frame_samples import cut_animation, cut_script
from vs_smsr.preview.page import ACTIVE, REUSED, Page, Picture, Scene, overlay, write_page
from vs_smsr.preview.samples import Sample, Wanted, cut
from vs_smsr.preview.trial import Prediction, Shown, to_bytes, try_animation, try_image, try_video
from vs_smsr.tiling import Tiler

type Attempt = Callable[[Tiler, Callable[[Progress], None]], tuple[Prediction, list[Shown]]]
BEFORE = {"Bicubic": Pillow.Resampling.BICUBIC, "Lanczos": Pillow.Resampling.LANCZOS}


@dataclass(frozen=True)
class Variant:
    """One of the settings that are compared."""

    name: str
    engine: EngineOptions
    tiling: TilingOptions


@dataclass(frozen=True)
class _Moment:
    title: str
    detail: str
    frame: Frame


def variants(settings: Mapping[str, Sequence[tuple[str, object]]]) -> list[tuple[str, dict[str, object]]]:
    """Every combination, named by what differs; the first setting's values alone if nothing does.

    Args:
        settings: name of a setting -> its values, each with its name.
    """
    named = [name for name, values in settings.items() if len(values) > 1] or list(settings)[:1]
    found = []
    for chosen in itertools.product(*settings.values()):
        by_name = dict(zip(settings, chosen, strict=True))
        found.append((" ".join(by_name[name][0] for name in named), {name: one[1] for name, one in by_name.items()}))
    return found


def preview_all(
    inputs: Sequence[str],
    target: Path | None,
    compared: Sequence[Variant],
    video_options: VideoOptions,
    asked: Wanted,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Try the job on samples and write the page.

    Raises:
        OptionError: nothing to preview, or the target is no page. SmsrError: a file or an engine does not work.
    """
    jobs = plan(inputs, None, False, label(compared[0].engine.scale, video_options), video_options)
    target = target or jobs[0].source.with_name(f"{jobs[0].source.stem}_preview.html")
    if target.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"--output: must be a page, such as preview.html, got {target}.")
    if target.exists() and not overwrite:
        raise OptionError(f"{target}: exists already. Allow to replace it with --overwrite.")

    @functools.cache
    def tiler(options: EngineOptions, tiling: TilingOptions) -> Tiler:
        return Tiler(engine.create(options), tiling)

    scenes: list[Scene] = []
    rows: list[list[str]] = []
    for job in jobs:
        chosen = [choose(variant.engine, job.source, video_options) for variant in compared]
        tilers = [tiler(options, variant.tiling) for options, variant in zip(chosen, compared, strict=True)]
        made, predictions = _preview(job, tilers, compared, video_options, asked, progress)
        scenes += made
        said = [_name(variant, options) for variant, options in zip(compared, chosen, strict=True)]
        for name, prediction in zip(said, predictions, strict=True):
            rows.append([name if len(jobs) == 1 else f"{job.source.name}, {name}", *_figures(prediction)])
    names = [*BEFORE, *(said if len(jobs) == 1 else (variant.name for variant in compared))]
    first = tilers[0].engine
    height, width = scenes[0].layers[0].shape[:2]
    page = Page(
        title=jobs[0].source.name if len(jobs) == 1 else f"{len(jobs)} files",
        subtitle=f"Preview of x{tilers[0].scale}, to {width} × {height}. "
        f"{first.name} engine, {first.precision}, {video_options.codec}.",
        layers=names,
        left=0,
        right=len(BEFORE),
        scenes=scenes,
        table=[["The whole job on this machine", "Time", "Size", "Memory", "Skipped", "Reused"], *rows],
        notes=(
            "Time and size are extrapolated from the samples, which were upscaled and encoded as the job would do it; "
            "for images they are measured. Memory is the most that the plan allows.",
            "There is no original in this size, so no quality is measured: judge by eye. "
            "With an original at hand, vs-smsr compare measures.",
            "Pictures on this page are JPEG of quality 95 without chroma subsampling, as the network gives them.",
        ),
        legend=((ACTIVE, "the network works here, the stronger the more"), (REUSED, "copied from the frame before")),
    )
    write_page(page, target, overwrite)
    for row in rows:
        say(one_line(f"{row[0]}: {row[1]}, {row[2]}, {row[3]} of memory for the whole job"))
    say(one_line(f"{target}: {len(scenes)} pictures"))


def _name(variant: Variant, chosen: EngineOptions) -> str:
    """The variant's, with the model that was chosen for the file."""
    return chosen.model if variant.name == AUTO else variant.name


def _preview(
    job: Job,
    tilers: Sequence[Tiler],
    compared: Sequence[Variant],
    options: VideoOptions,
    asked: Wanted,
    progress: bool,
) -> tuple[list[Scene], list[Prediction]]:
    results: list[list[Shown]] = []
    predictions: list[Prediction] = []
    moments: list[_Moment] = []
    if job.kind == "image":
        for tiler in tilers:
            prediction, frame, shown = try_image(job.source, job.target, tiler, options)
            predictions.append(prediction)
            results.append([shown])
        moments = [_Moment(job.source.name, f"{job.source.name}, {frame.shape[1]} × {frame.shape[0]}", frame)]
    else:
        with tempfile.TemporaryDirectory(prefix="vs-smsr-") as folder:
            samples, attempt = _sampled(job, Path(folder), asked, options)
            for tiler, variant in zip(tilers, compared, strict=True):
                with progress_bar(one_line(f"{job.source.name}, {variant.name}"), progress) as show:
                    prediction, pictures = attempt(tiler, show)
                predictions.append(prediction)
                results.append(pictures)
        height, width = samples[0].shown.shape[:2]
        for sample in samples:
            at, count = clock(sample.time), "1 frame" if sample.frames == 1 else f"{sample.frames} frames"
            moments.append(_Moment(at, f"At {at}, from {width} × {height}; {count} sampled", sample.shown))
    return [_scene(moment, [one[n] for one in results]) for n, moment in enumerate(moments)], predictions


def _sampled(job: Job, folder: Path, asked: Wanted, options: VideoOptions) -> tuple[list[Sample], Attempt]:
    """The samples of a video, a script or an animation, and how they are tried."""
    if job.kind == "animation":
        frames = cut_animation(job.source, asked)
        made = folder / f"made{job.target.suffix}"
        return frames.samples, lambda tiler, show: try_animation(job.source, frames, made, tiler, options, show)
    if is_script(job.source):
        clip = folder / f"samples{SUFFIX}"
        pieces = cut_script(job.source, clip, asked)
    else:
        clip = folder / "samples.mkv"
        pieces = cut(job.source, clip, asked, options)
    return pieces.samples, lambda tiler, show: try_video(pieces, clip, tiler, options, show)


def _scene(moment: _Moment, results: Sequence[Shown]) -> Scene:
    height, width = results[0].after.shape[:2]
    small = Pillow.fromarray(to_bytes(moment.frame))
    before: list[Picture] = [np.asarray(small.resize((width, height), kind)) for kind in BEFORE.values()]
    down, across = moment.frame.shape[:2]
    overlays = [overlay(one.active[:down, :across], one.reused[:down, :across]) for one in results]
    return Scene(
        moment.title,
        moment.detail,
        [*before, *(one.after for one in results)],
        [*([None] * len(before)), *overlays],
    )


def _figures(prediction: Prediction) -> list[str]:
    return [
        duration(prediction.seconds),
        size(int(prediction.bytes)),
        size(prediction.memory),
        f"{prediction.skipped:.0%}",
        f"{prediction.reused:.0%}",
    ]


def duration(seconds: float) -> str:
    """ "1 h 05 min", "2 min 30 s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def clock(seconds: float) -> str:
    """1:02:03.4, or 2:03.4 below an hour."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
