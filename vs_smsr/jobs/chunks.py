"""Making the chunks of a job: each is upscaled and encoded by itself.

A chunk is a run of whole temporal tiles, so its frames follow from the source and its number alone. See `jobs.frames`
for where decoding begins.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Self

import av

from vs_smsr.jobs.beginning import check_worker
from vs_smsr.jobs.folder import Chunk, JobFolder, Manifest
from vs_smsr.jobs.frames import Frames, all_frames, frames_at
from vs_smsr.jobs.joining import lacking
from vs_smsr.jobs.pipeline import Begin, Decoded, End, Made, fit, run
from vs_smsr.jobs.report import Pair, Tally
from vs_smsr.jobs.sizing import Size
from vs_smsr.media.chunk_writer import ChunkWriter, tail_of
from vs_smsr.media.preparation import Changed
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
        self._frames: Frames | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source; another `make` opens it again."""
        if self._frames:
            self._frames.close()
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
        self._make(numbers, after_frame, enter=False)

    def make_one(
        self, number: int, after_frame: Callable[[Tally, Pair], None] = lambda tally, pair: None
    ) -> Chunk | None:
        """Make a chunk; None: the source ends before it. Decoding begins near it where that is known to be the same.

        Args:
            after_frame: as for `make`.
        """
        self._make([number], after_frame, enter=self._is_inner(number))
        return self._folder.chunk(number)

    def _is_inner(self, number: int) -> bool:
        """Is it not the last chunk, as far as is known? Who makes that tells what a decoder finds in all frames."""
        ending = self._folder.ending()
        frames = ending.frames if ending else self._manifest.expected or 0
        return ending is not None or (number + 1) * self._manifest.chunk < frames

    def _make(self, numbers: Iterable[int], after_frame: Callable[[Tally, Pair], None], enter: bool) -> None:
        try:
            self._run(numbers, after_frame, enter)
        except BaseException:
            self.close()
            raise

    def _run(self, numbers: Iterable[int], after_frame: Callable[[Tally, Pair], None], enter: bool) -> None:
        manifest = self._manifest
        options = manifest.video_options()
        ahead = tail_of(options.codec, options.encoder_options)
        numbers = iter(numbers)
        first = next(numbers, None)
        if first is None:
            return
        start = first * manifest.chunk
        if self._frames and (self._frames.at > start or (self._frames.entered and not enter)):
            self.close()
        if not self._frames:
            self._frames = frames_at(manifest, start) if enter else all_frames(manifest)
        frames = self._frames
        limits = fit(self._tiler, frames.info, Size(*manifest.size), options, ahead)
        writer = ChunkWriter(frames.info, manifest.size, Fraction(manifest.ticks), options)
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
        self, frames: Frames, numbers: Iterable[int], ahead: int, count: Callable[[Tally], None]
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
        if not frames.look(1) and not frames.entered and self._folder.ending() is None:
            self._folder.finish_source(frames.ending())
