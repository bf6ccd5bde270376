"""The chunks of a job become one file, with all else that the source has."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import reduce
from operator import add
from pathlib import Path

from vs_smsr.errors import JobError
from vs_smsr.jobs.folder import JobFolder, Manifest
from vs_smsr.jobs.report import Report, Tally
from vs_smsr.media.chunk_writer import decoding_times, packets
from vs_smsr.media.damage import Damage
from vs_smsr.media.filters import Crop
from vs_smsr.media.reader import Packet, Reader, fraction
from vs_smsr.media.writer import Writer


def finish(folder: JobFolder, start: float) -> Report:
    """Join the chunks unless that is done, and remove the folder, which is held.

    Args:
        start: when the work began (`time.perf_counter`).
    Raises:
        JobError, MediaError: see `join`.
    """
    manifest = folder.manifest()
    target = Path(manifest.target)
    notes = folder.joined(target)
    if notes is None:
        notes = join(folder, manifest)
    report = report_of(folder, notes, target, time.perf_counter() - start)
    folder.remove()
    return report


def join(folder: JobFolder, manifest: Manifest) -> tuple[str, ...]:
    """Put the chunks together under the target's name, with all else that the source has; returns the notes.

    Raises:
        JobError: a chunk is missing or not what it was.
        MediaError: the target cannot be written.
    """
    if absent := lacking(folder):
        raise JobError(f"{folder.path}: cannot be joined yet: {absent}.")
    chunks = [chunk for _, chunk in sorted(folder.chunks().items())]
    frames = [pts for chunk in chunks for pts, _ in chunk.encoded.frames]
    if any(later <= earlier for earlier, later in itertools.pairwise(frames)):
        raise JobError(f"{folder.path}: the times of its chunks overlap. Begin the job anew with --restart.")
    times = decoding_times([pts for chunk in chunks for pts in chunk.encoded.decoded], frames)
    durations = {pts: duration for chunk in chunks for pts, duration in chunk.encoded.frames}
    options = manifest.video_options()
    target = Path(manifest.target)
    with Reader(Path(manifest.source), options.damaged, options.deinterlace, options.range) as reader:
        notes: list[str] = []

        def settle(result: Path) -> None:
            notes[:] = writer.notes
            folder.finish_join(result, notes)

        writer = Writer(target, reader, manifest.size, options, settle)
        with writer:
            clock = writer.preparation
            clock.changed = reduce(add, (chunk.changed for chunk in chunks))
            clock.first = frames[0] * clock.time_base
            others = _Others(reader.packets())
            dts = iter(times)
            for number, chunk in enumerate(chunks):
                for packet in packets(folder.file(number), chunk.encoded.decoded):
                    assert packet.pts is not None, "packets() gives every packet a time"
                    packet.dts, packet.duration = next(dts), durations[packet.pts]
                    for other in others.until(packet.dts * clock.time_base):
                        writer.copy(other)
                    writer.mux(packet)
            for other in others.rest():
                writer.copy(other)
    return tuple(notes)


class _Others:
    """The packets of the other streams, as they come in the file, up to a time."""

    def __init__(self, found: Iterator[Packet]) -> None:
        self._found = found
        self._next = next(found, None)

    def until(self, seconds: Fraction) -> Iterator[Packet]:
        while self._next is not None:
            stamp = self._next.pts if self._next.dts is None else self._next.dts
            if stamp is not None and stamp * fraction(self._next.time_base) > seconds:
                return
            yield self._next
            self._next = next(self._found, None)

    def rest(self) -> Iterator[Packet]:
        if self._next is not None:
            yield self._next
        yield from self._found


def lacking(folder: JobFolder) -> str:
    """What of the chunks is not there; "" if all are."""
    ending, chunks = folder.ending(), folder.chunks()
    if ending is None:
        return f"{len(chunks)} chunks are done, and the end of the source has not been reached"
    size = folder.manifest().chunk
    lengths = [min(size, ending.frames - start) for start in range(0, ending.frames, size)]
    absent = [
        number
        for number, length in enumerate(lengths)
        if number not in chunks or len(chunks[number].encoded.frames) != length
    ]
    if not absent:
        return ""
    named = ", ".join(map(str, absent[:10])) + (" ..." if len(absent) > 10 else "")
    return f"of {len(lengths)} chunks {len(absent)} are missing ({named})"


def whole_tally(folder: JobFolder) -> Tally:
    return sum((chunk.tally for chunk in folder.chunks().values()), Tally())


def report_of(folder: JobFolder, notes: tuple[str, ...], target: Path, seconds: float) -> Report:
    tally, ending = whole_tally(folder), folder.ending()
    assert ending is not None, "it was joined"
    told = ending.report
    damage = Damage(**{**told["damage"], "seconds": tuple(told["damage"]["seconds"])})
    return Report(
        target,
        tally.frames,
        seconds,
        tally.skipped / tally.frames,
        (*told["notes"], *notes),
        tally.reused / tally.frames,
        tally.held,
        told["cropped"] and Crop(**told["cropped"]),
        told["deinterlaced"],
        damage or None,
        tally.alike,
    )
