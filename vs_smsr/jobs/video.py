"""A video file in, the same video larger out, by one encoder from the first frame to the last."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import av

from vs_smsr.errors import OptionError, OutputExistsError
from vs_smsr.jobs.pipeline import Made, fit, run
from vs_smsr.jobs.report import Pair, Progress, Report, Tally
from vs_smsr.jobs.sizing import Size, final_size
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.reader import Reader
from vs_smsr.media.writer import Writer
from vs_smsr.media.y4m import PipeWriter, pipe_options
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Tiler


def upscale_video(
    source: Path,
    target: Path,
    tiler: Tiler,
    options: VideoOptions,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Upscale a video file; sound, subtitles, attachments, chapters and tags come along.

    Args:
        source: any file that FFmpeg decodes.
        target: its ending chooses the container. It is there whole or not at all.
        tiler: made around the engine to use, with its memory budget.
        options: how to encode and what to leave out.
        progress: called after each frame, in the caller's thread.

    Raises:
        OptionError: an option does not fit the source, encoder or container.
        OutputExistsError: the target exists and options.overwrite is False.
        MediaError: the source is not a whole video file, or the target cannot be written.
        EngineError: the engine failed. MemoryBudgetError: the budget is too small; names the smallest that is not.
    """
    start = time.perf_counter()
    source, target = Path(source), Path(target)
    to_pipe = is_pipe(target)
    options = pipe_options(options) if to_pipe else options
    if not to_pipe:
        check_target(source, target, options)
    with Reader(source, options.damaged, options.deinterlace, options.range) as reader:
        size = final_size(Size(reader.info.width, reader.info.height), tiler.scale, options, multiple=2)
        limits = fit(tiler, reader.info, size, options)
        options = dataclasses.replace(options, encoder_options={**limits.level.options, **options.encoder_options})
        with (PipeWriter if to_pipe else Writer)(target, reader, size, options) as writer:

            def write(item: Made) -> None:
                if isinstance(item, av.VideoFrame):
                    writer.write(item)
                elif isinstance(item, av.Packet):
                    writer.copy(item)

            def after_frame(tally: Tally, pair: Pair) -> None:
                if progress:
                    progress(Progress.of(tally, pair, reader.info.frames, start))

            tally = run(reader.items(), writer, write, tiler, limits, after_frame)
    notes = [*reader.notes, *writer.notes]
    if limits.level.note:
        notes.append(f"to fit the memory budget, {limits.level.note}")
    filters = reader.filters
    return Report(
        target,
        tally.frames,
        time.perf_counter() - start,
        tally.skipped / tally.frames,
        tuple(notes),
        tally.reused / tally.frames,
        tally.held,
        filters.crop,
        filters.interlaced if filters.deinterlace else 0,
        reader.damage or None,
        tally.alike,
    )


def check_target(source: Path, target: Path, options: VideoOptions) -> None:
    """Refuse a target before anything is done.

    Raises:
        OptionError: it is the source. OutputExistsError: it exists and must not be replaced.
    """
    if target.exists():
        if source.exists() and target.samefile(source):
            raise OptionError(f"--output: must be another file than the input, got {target} for both.")
        if not options.overwrite:
            raise OutputExistsError(f"{target}: exists already. Allow to replace it with --overwrite.")
