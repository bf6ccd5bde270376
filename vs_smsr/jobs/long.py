"""A long video: made in chunks that wait in a folder until all are there; the same call goes on after anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from vs_smsr.errors import JobError, OptionError, SmsrError, plain
from vs_smsr.jobs.beginning import begin
from vs_smsr.jobs.chunks import encode, missing
from vs_smsr.jobs.cluster import connected
from vs_smsr.jobs.crew import Crew
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.jobs.joining import finish, whole_tally
from vs_smsr.jobs.report import Pair, Progress, Report, Tally
from vs_smsr.jobs.video import check_target
from vs_smsr.jobs.workers import share
from vs_smsr.media.chunk_writer import BY_RATE, JOINED
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, JobOptions, VideoOptions
from vs_smsr.tiling import Tiler

CONTAINERS = {".mkv", ".mp4", ".m4v", ".mov", ".webm"}


def in_chunks(source: Path, target: Path, options: VideoOptions, job: JobOptions) -> bool:
    """Is the video made in chunks? Else it is one chunk, or source, container or encoder do not allow it.

    Raises:
        OptionError: it would be, but an option of the encoder speaks of the whole video.
        MediaError: the source cannot be read.
    """
    possible = target.suffix.lower() in CONTAINERS and options.codec in JOINED
    if not possible or not job.chunk_frames or is_pipe(source) or is_pipe(target):
        return False
    with Reader(source, options.damaged, part=options.range) as reader:
        if reader.info.frames is not None and reader.info.frames <= job.chunk_frames:
            return False
        if reader.info.alpha and options.codec == "libvpx-vp9":  # transparency lies beside the packets
            return False
    for name in BY_RATE:
        if name in options.encoder_options:
            raise OptionError(
                f"--extra-encoder-option: {name} must be left out where a video is encoded in chunks, each by itself. "
                "Use --crf, or --chunk-frames 0 for one encoder, whose work cannot be resumed."
            )
    return True


def upscale_in_chunks(
    source: Path,
    target: Path,
    tiler: Tiler,
    engine: EngineOptions,
    options: VideoOptions,
    job: JobOptions,
    progress: Callable[[Progress], None] | None = None,
) -> Report | None:
    """As `upscale_video`, but what is made lies in a folder until all is there, and the next call goes on with it.

    Args:
        engine: what the tiler's engine was made from; with a cluster, what its workers' engines are made from.

    Returns:
        None with `job.prepare`.
    Raises:
        JobError: the folder holds a job of other options, is damaged, or somebody else is working on it.
    """
    start = time.perf_counter()
    folder = JobFolder(job.folder or JobFolder.of(target))
    folder.clear_rest()
    if not folder.begun:
        check_target(source, target, options)
    with folder, ExitStack() as stack:
        if job.restart:
            folder.clear()
        try:
            crew = None
            if job.cluster:
                crew = Crew(stack.enter_context(connected(job)), source, target, engine, tiler.options, job)
            elsewhere = _engine_of(crew, folder) if crew else None
            manifest = begin(folder, source, target, tiler, engine, options, job, elsewhere)
            if job.prepare:
                return None
            if folder.joined(target) is None:
                before = whole_tally(folder)

                def tell(tally: Tally, pair: Pair | None, workers: int = 0) -> None:
                    if progress:
                        progress(Progress.of(tally, pair, manifest.expected, start, before, workers))

                def heard(tally: Tally, workers: int) -> None:
                    tell(tally, None, workers)

                if crew:
                    crew.share(folder, manifest, heard)
                elif job.devices:
                    share(folder, job.devices, engine.threads, tiler.options.memory, heard)
                else:
                    encode(folder, manifest, tiler, missing(folder), tell)
            return finish(folder, start)
        except BaseException as error:
            if not folder.chunks() and not (isinstance(error, JobError) and folder.begun):
                folder.remove()  # there is nothing to go on with
                raise
            folder.say_why(plain(error) if isinstance(error, SmsrError) else f"stopped by {type(error).__name__}")
            raise


def _engine_of(crew: Crew, folder: JobFolder) -> dict[str, str]:
    """What the chunks are made by, on the workers of a cluster: as the job was begun, else by the first that is fit."""
    found = folder.manifest().settings if folder.begun else crew.made_with()
    return {name: found[name] for name in ("--engine", "--precision")}
