"""`vs-smsr upscale`: file after file; one that fails does not stop the others."""

from __future__ import annotations

import dataclasses
import functools
import json
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vs_smsr import engine
from vs_smsr.cli.inputs import Job, plan
from vs_smsr.cli.interrupts import Resumable
from vs_smsr.cli.plan import describe
from vs_smsr.cli.report import error_line, is_stdout, one_line, print_profile, progress_bar, say, summary, warn
from vs_smsr.errors import MediaError, OptionError, SmsrError
from vs_smsr.jobs.choosing import choose, shipped_scales
from vs_smsr.jobs.sizing import label
from vs_smsr.media.images import is_image
from vs_smsr.media.paths import STANDARD
from vs_smsr.options import EngineOptions, JobOptions, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

if TYPE_CHECKING:
    from collections.abc import Callable

    from vs_smsr.jobs.report import Progress, Report
    from vs_smsr.preview.watching import Watch


def upscale_all(
    inputs: Sequence[str],
    out: str | None,
    engine_options: EngineOptions,
    video_options: VideoOptions,
    tiling_options: TilingOptions,
    *,
    scale_given: bool = False,
    recursive: bool = False,
    progress: bool = True,
    watch: Watch | None = None,
    debug: bool = False,
    dry_run: bool = False,
    report: Path | None = None,
    job_options: JobOptions | None = None,
) -> int:
    """Upscale everything that the inputs name (see `inputs.plan`); returns how many files failed.

    With `dry_run` nothing is written; the plan for each file is printed instead. `report` is a JSON file, a list of
    what became of each file, written anew after each.

    If only a final size is asked for (no scale, no weights file), each file gets the shipped scale that it needs.

    Raises:
        OptionError: the inputs and the output do not fit together.
        WeightsError, EngineError: nothing can be upscaled here. MediaError: the report cannot be written.
    """
    sized = bool(video_options.width or video_options.height)
    free = sized and not scale_given and engine_options.weights is None
    scales = (shipped_scales(engine_options.model) if free else []) or [engine_options.scale]
    if dry_run and out is None and list(inputs) == [str(STANDARD)]:
        out = str(STANDARD)
    jobs = plan(inputs, out, recursive, label(scales[0], video_options), video_options)

    job_options = job_options or JobOptions()
    local: dict[str, Any] = {}
    if job_options.cluster:  # engine, device and precision are for its workers; what is made here has the CPU
        exact = engine_options.precision == "fp32"
        local = {"device": "cpu", "engine": "cpu", "precision": "fp32" if exact else "auto"}
    engine_options = dataclasses.replace(engine_options, scale=scales[0])

    @functools.cache
    def tiler(options: EngineOptions) -> Tiler:
        return Tiler(engine.create(dataclasses.replace(options, **local)), tiling_options)

    first = engine_options
    with suppress(SmsrError):  # it is told when it is that file's turn
        first = choose(engine_options, jobs[0].source, video_options, scales)
    tiler(first)  # what is wrong with the engine is wrong for all files
    failed = 0
    frames: Counter[EngineOptions] = Counter()
    entries: list[dict[str, Any]] = []
    report = None if dry_run else report
    _write(report, entries)  # where that fails, it does before anything is done
    for number, job in enumerate(jobs, 1):
        name = one_line(job.source.name if len(jobs) == 1 else f"[{number}/{len(jobs)}] {job.source.name}")
        try:
            _check_range(job, video_options)
            _check_there(job)
            chosen = choose(engine_options, job.source, video_options, scales)
            if dry_run:
                say(describe(job.source, job.target, tiler(chosen), video_options, chosen.network))
            else:
                with progress_bar(name, progress, watch) as show:
                    made = _upscale(job, tiler(chosen), chosen, video_options, job_options, show)
                if made is None:
                    continue
                _tell(job, made, chosen.network)
                frames[chosen] += made.frames
                told = dataclasses.asdict(made) | {"output": str(made.output), "model": chosen.network}
                entries.append({"source": str(job.source), **told})
        except Exception as error:
            failed += 1
            entries.append({"source": str(job.source), "error": error_line(error).removeprefix("error: ")})
            if debug:
                warn(traceback.format_exc())
            warn(error_line(error, job.source))
        _write(report, entries)
    if engine_options.profile and not dry_run:
        for options, count in frames.items():
            print_profile(tiler(options).engine, count)
    if failed and len(jobs) > 1:
        warn(f"{failed} of {len(jobs)} files failed")
    return failed


def _write(report: Path | None, entries: list[dict[str, Any]]) -> None:
    if report is None:
        return
    try:
        report.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise MediaError(f"{report}: cannot write: {error.strerror or error}.") from error


def _upscale(
    job: Job,
    tiler: Tiler,
    engine_options: EngineOptions,
    options: VideoOptions,
    long: JobOptions,
    show: Callable[[Progress], None],
) -> Report | None:
    """Make one file; None: a job was only prepared."""
    from vs_smsr.jobs.folder import JobFolder
    from vs_smsr.jobs.image import upscale_animation, upscale_image
    from vs_smsr.jobs.long import in_chunks, upscale_in_chunks
    from vs_smsr.jobs.video import upscale_video

    run = upscale_image if job.kind == "image" else upscale_video
    if job.kind == "animation" and is_image(job.target):
        run = upscale_animation
    if run is upscale_video and in_chunks(job.source, job.target, options, long):
        folder = long.folder or JobFolder.of(job.target)
        try:
            report = upscale_in_chunks(job.source, job.target, tiler, engine_options, options, long, show)
        except KeyboardInterrupt:
            if not folder.exists():
                raise
            rest = f"what is done waits in {folder}, and the same command goes on with it"
            raise Resumable(one_line(f"interrupted; {rest}")) from None
        if report is None:
            say(one_line(f"{folder}: prepared; make its parts with vs-smsr chunk, then vs-smsr join"))
        return report
    if long.prepare:
        raise OptionError(
            f"--prepare-job: must be left out for {job.source}, which is not made in chunks. A short video is with a "
            "smaller --chunk-frames."
        )
    report = run(job.source, job.target, tiler, options, show)
    if long.cluster:
        here = "made on this machine: the cluster makes videos of several chunks"
        report = dataclasses.replace(report, notes=(here, *report.notes))
    return report


def _tell(job: Job, report: Report, network: str) -> None:
    for note in report.notes:
        warn(one_line(f"note: {job.source.name}: {note}"))
    (warn if is_stdout(job.target) else say)(summary(report, network))


def _check_there(job: Job) -> None:
    if job.source != STANDARD and not job.source.exists():
        raise MediaError(f"{job.source}: no such file.")


def _check_range(job: Job, options: VideoOptions) -> None:
    if options.range and (job.kind == "image" or (job.kind == "animation" and is_image(job.target))):
        raise OptionError(
            f"{job.source}: is an {job.kind}, of which no range can be taken. Leave out --start ... --frames."
        )
