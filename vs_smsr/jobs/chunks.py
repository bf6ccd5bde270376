"""A long video in chunks: each is upscaled and encoded by itself, and all are joined at the end.

A chunk is a run of whole temporal tiles, so its frames follow from the source and its number alone. The source is
decoded from its beginning in every run, for then a frame is what it is in a run that nothing interrupts, whatever the
file's key frames, clock or damage are; beside the network that costs next to nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av

from vs_smsr.errors import OptionError, SmsrError, plain
from vs_smsr.jobs.beginning import begin
from vs_smsr.jobs.folder import Chunk, Ending, JobFolder, Manifest
from vs_smsr.jobs.joining import join, lacking, report_of, whole_tally
from vs_smsr.jobs.pipeline import Begin, Decoded, End, Made, fit, run
from vs_smsr.jobs.report import Progress, Report, Tally
from vs_smsr.jobs.sizing import Size
from vs_smsr.jobs.video import check_target
from vs_smsr.media import encoding
from vs_smsr.media.chunk_writer import BY_RATE, JOINED, ChunkWriter, tail_of
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.preparation import Changed
from vs_smsr.media.reader import Reader
from vs_smsr.media.writer import Writer
from vs_smsr.options import EngineOptions, JobOptions, VideoOptions
from vs_smsr.tiling import Tiler

log = logging.getLogger(__name__)
CONTAINERS = {".mkv", ".mp4", ".m4v", ".mov", ".webm"}


def in_chunks(source: Path, target: Path, options: VideoOptions, job: JobOptions) -> bool:
    """Is the video made in chunks? Else it is one chunk, or its source, container or encoder does not allow it.

    Raises:
        OptionError: it would be, but an option of the encoder speaks of the whole video.
        MediaError: the source cannot be read.
    """
    possible = target.suffix.lower() in CONTAINERS and options.codec in JOINED
    if not possible or not job.chunk_frames or is_pipe(source) or is_pipe(target):
        return False
    with Reader(source, options.damaged) as reader:
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
) -> Report:
    """As `upscale_video`, but what is made lies in a folder until all is there, and the next call goes on with it.

    Args:
        engine: what the tiler's engine was made from.

    Raises:
        JobError: the folder holds a job of other options, is damaged, or somebody else is working on it.
    """
    start = time.perf_counter()
    folder = JobFolder(job.folder or JobFolder.of(target))
    if not folder.begun:
        check_target(source, target, options)
    with folder:
        if job.restart:
            folder.clear()
        try:
            manifest = begin(folder, source, target, tiler, engine, options, job)
            notes = folder.joined(target)
            if notes is None:
                encode(folder, manifest, tiler, missing(folder), progress)
                notes = join(folder, manifest)
            report = report_of(folder, notes, target, time.perf_counter() - start)
        except BaseException as error:
            folder.say_why(plain(error) if isinstance(error, SmsrError) else f"stopped by {type(error).__name__}")
            raise
        folder.remove()
    return report


def missing(folder: JobFolder) -> Iterator[int]:
    """Numbers of chunks that are not done, rising, without an end: how many there are shows when the source ends."""
    done = folder.chunks()
    return (number for number in itertools.count() if number not in done)


def encode(
    folder: JobFolder,
    manifest: Manifest,
    tiler: Tiler,
    numbers: Iterable[int],
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Make chunks, one after the other, until the numbers or the source end.

    Args:
        numbers: rising; each is asked for when the one before is decoded.
    """
    if folder.ending() and not lacking(folder):
        return
    start, before = time.perf_counter(), whole_tally(folder)
    options = VideoOptions(**manifest.video)
    ahead = tail_of(options.codec, options.encoder_options)
    with Reader(Path(manifest.source), options.damaged, options.deinterlace) as reader:
        limits = fit(tiler, reader.info, Size(*manifest.size), options, ahead)
        trial = Writer(Path(manifest.target), reader, manifest.size, options)
        trial.discard()
        writer = ChunkWriter(trial.preparation, encoding.find_encoder(options), reader.info, options)
        counted: deque[tuple[Tally, Changed]] = deque()
        current = 0

        def count(tally: Tally) -> None:
            counted.append((tally, writer.preparation.changed))
            writer.preparation.changed = Changed()

        def write(item: Made) -> None:
            nonlocal current
            if isinstance(item, Begin):
                current = item.number // manifest.chunk
                writer.begin(folder.file(current))
            elif isinstance(item, End):
                folder.finish(current, Chunk(writer.end(item.following), *counted.popleft()))
            elif isinstance(item, av.VideoFrame):
                writer.write(item)

        def after_frame(tally: Tally) -> None:
            if progress:
                progress(Progress.of(tally, reader.info.frames, start, before))

        items = _items(folder, reader, numbers, manifest.chunk, ahead, count)
        try:
            run(items, writer, write, tiler, limits, after_frame)
        except BaseException:
            writer.abandon()
            raise


def _items(
    folder: JobFolder,
    reader: Reader,
    numbers: Iterable[int],
    size: int,
    ahead: int,
    count: Callable[[Tally], None],
) -> Iterator[Decoded]:
    """The frames of these chunks between their marks; those between them are decoded and dropped."""
    frames = iter(reader)
    waiting: deque[av.VideoFrame] = deque()
    at = 0

    def look(wanted: int) -> int:
        """How many of so many next frames there are."""
        while len(waiting) < wanted and (frame := next(frames, None)) is not None:
            waiting.append(frame)
        return min(wanted, len(waiting))

    for number in numbers:
        while at < number * size and look(1):
            waiting.popleft()
            at += 1
        if not look(1):
            break
        yield Begin(at)
        for _ in range(size):
            if not look(1):
                break
            yield waiting.popleft()
            at += 1
        yield End(list(itertools.islice(waiting, look(ahead))), count)
    if not look(1) and folder.ending() is None:
        filters = reader.filters
        folder.finish_source(
            Ending(
                at,
                {
                    "notes": reader.notes,
                    "damage": dataclasses.asdict(reader.damage),
                    "cropped": filters.crop and dataclasses.asdict(filters.crop),
                    "deinterlaced": filters.interlaced if filters.deinterlace else 0,
                },
            )
        )
