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
from typing import Self

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
    """Make chunks, one after the other, until the numbers or the source end; see `Maker.make`."""
    if folder.ending() and not lacking(folder):
        return
    with Maker(folder, manifest, tiler) as maker:
        maker.make(numbers, after_frame)


class Maker:
    """Makes chunks of one job in its folder, and keeps the decoder where the last of them ended.

    Raises:
        JobError: this engine, its weights or a library is another one than where the job was begun.
        MediaError: the source cannot be read.
    """

    def __init__(self, folder: JobFolder, manifest: Manifest, tiler: Tiler) -> None:
        check_worker(folder, manifest, tiler)
        self._folder, self._manifest, self._tiler = folder, manifest, tiler
        self._frames: _Frames | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source; another `make` opens it again."""
        if self._frames:
            self._frames.reader.close()
            self._frames = None

    def make(
        self, numbers: Iterable[int], after_frame: Callable[[Tally, Pair], None] = lambda tally, pair: None
    ) -> None:
        """Make chunks, one after the other, until the numbers or the source end.

        Args:
            numbers: rising; each is asked for when the one before is decoded. Where the first lies before what is
                decoded already, decoding begins anew.
            after_frame: called in the caller's thread with what became of all frames of this call so far, and the
                latest.
        """
        try:
            self._make(numbers, after_frame)
        except BaseException:
            self.close()
            raise

    def _make(self, numbers: Iterable[int], after_frame: Callable[[Tally, Pair], None]) -> None:
        manifest = self._manifest
        options = manifest.video_options()
        ahead = tail_of(options.codec, options.encoder_options)
        numbers = iter(numbers)
        first = next(numbers, None)
        if first is None:
            return
        if self._frames and self._frames.at > first * manifest.chunk:
            self.close()
        if not self._frames:
            reader = Reader(Path(manifest.source), options.damaged, options.deinterlace, options.range)
            self._frames = _Frames(reader)
        frames = self._frames
        info = frames.reader.info
        limits = fit(self._tiler, info, Size(*manifest.size), options, ahead)
        writer = ChunkWriter(info, manifest.size, Fraction(manifest.ticks), options)
        counted: deque[tuple[Tally, Changed]] = deque()
        current = 0

        def count(tally: Tally) -> None:
            counted.append((tally, writer.preparation.changed))
            writer.preparation.changed = Changed()

        def write(item: Made) -> None:
            nonlocal current
            if isinstance(item, Begin):
                current = item.number // manifest.chunk
                writer.begin(self._folder.file(current))
            elif isinstance(item, End):
                self._folder.finish(current, Chunk(writer.end(item.following), *counted.popleft()))
            elif isinstance(item, av.VideoFrame):
                writer.write(item)

        items = self._items(frames, itertools.chain([first], numbers), ahead, count)
        try:
            run(items, writer, write, self._tiler, limits, after_frame)
        except BaseException:
            writer.abandon()
            raise

    def _items(
        self, frames: _Frames, numbers: Iterable[int], ahead: int, count: Callable[[Tally], None]
    ) -> Iterator[Decoded]:
        """The frames of these chunks between their marks; those between them are decoded and dropped."""
        size = self._manifest.chunk
        for number in numbers:
            while frames.at < number * size and frames.look(1):
                frames.take()
            if not frames.look(1):
                break
            yield Begin(frames.at)
            for _ in range(size):
                if not frames.look(1):
                    break
                yield frames.take()
            yield End(frames.following(ahead), count)
        if not frames.look(1) and self._folder.ending() is None:
            self._folder.finish_source(frames.ending())


class _Frames:
    """The frames of a source, of which some may be seen before they are taken.

    Attributes:
        at: number of the next frame.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.at = 0
        self._frames = iter(reader)
        self._waiting: deque[av.VideoFrame] = deque()

    def look(self, wanted: int) -> int:
        """How many of so many next frames there are."""
        while len(self._waiting) < wanted and (frame := next(self._frames, None)) is not None:
            self._waiting.append(frame)
        return min(wanted, len(self._waiting))

    def take(self) -> av.VideoFrame:
        """The next frame, which `look` has found."""
        self.at += 1
        return self._waiting.popleft()

    def following(self, wanted: int) -> list[av.VideoFrame]:
        """The next frames, so many if there are; they stay."""
        return list(itertools.islice(self._waiting, self.look(wanted)))

    def ending(self) -> Ending:
        """What is known when no frame is left."""
        reader, filters = self.reader, self.reader.filters
        return Ending(
            self.at,
            {
                "notes": reader.notes,
                "damage": dataclasses.asdict(reader.damage),
                "cropped": filters.crop and dataclasses.asdict(filters.crop),
                "deinterlaced": filters.interlaced if filters.deinterlace else 0,
            },
        )
