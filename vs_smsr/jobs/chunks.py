"""Making the chunks of a job: each is upscaled and encoded by itself.

A chunk is a run of whole temporal tiles, so its frames follow from the source and its number alone. The source is
decoded from its beginning in every run, for then a frame is what it is in a run that nothing interrupts, whatever the
file's key frames, clock or damage are; beside the network that costs next to nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from vs_smsr.jobs.beginning import check_worker
from vs_smsr.jobs.folder import Chunk, Ending, JobFolder, Manifest
from vs_smsr.jobs.joining import lacking
from vs_smsr.jobs.pipeline import Begin, Decoded, End, Made, fit, run
from vs_smsr.jobs.report import Pair, Tally
from vs_smsr.jobs.sizing import Size
from vs_smsr.media.chunk_writer import ChunkWriter, tail_of
from vs_smsr.media.preparation import Changed
from vs_smsr.media.reader import Reader
from vs_smsr.tiling import Tiler

log = logging.getLogger(__name__)


def missing(folder: JobFolder) -> Iterator[int]:
    """Numbers of chunks that are not done, rising, without an end: how many there are shows when the source ends."""
    done = folder.chunks()
    return (number for number in itertools.count() if number not in done)


def encode(
    folder: JobFolder,
    manifest: Manifest,
    tiler: Tiler,
    numbers: Iterable[int],
    after_frame: Callable[[Tally, Pair], None] = lambda tally, pair: None,
) -> None:
    """Make chunks, one after the other, until the numbers or the source end.

    Args:
        numbers: rising; each is asked for when the one before is decoded.
        after_frame: called in the caller's thread with what became of all frames of this call so far, and the latest.
    """
    if folder.ending() and not lacking(folder):
        return
    check_worker(folder, manifest, tiler)
    options = manifest.video_options()
    ahead = tail_of(options.codec, options.encoder_options)
    with Reader(Path(manifest.source), options.damaged, options.deinterlace) as reader:
        limits = fit(tiler, reader.info, Size(*manifest.size), options, ahead)
        writer = ChunkWriter(reader.info, manifest.size, Fraction(manifest.ticks), options)
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
