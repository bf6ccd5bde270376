"""`vs-smsr jobs`, `chunk` and `join`: long videos whose chunks wait in a folder."""

from __future__ import annotations

import time
from pathlib import Path

from vs_smsr import engine
from vs_smsr.cli.report import one_line, say, summary, warn
from vs_smsr.errors import JobError
from vs_smsr.jobs.chunks import encode
from vs_smsr.jobs.folder import JobFolder, unfinished
from vs_smsr.jobs.joining import finish, lacking
from vs_smsr.tiling import Tiler


def list_jobs(folder: Path) -> None:
    """A line for each unfinished job in a folder and below it."""
    found = list(unfinished(folder))
    for job in found:
        say(one_line(f"{job.path}: {_state(job)}"))
    if not found:
        say(f"{folder}: no unfinished jobs")


def make_chunk(path: Path, number: int, device: str, threads: int, memory: int | None) -> None:
    """Make a chunk, unless it is there.

    Raises:
        JobError: there is no such job or chunk.
    """
    folder = JobFolder(path)
    manifest = folder.manifest()
    if folder.chunk(number) is None:
        tiler = Tiler(engine.create(manifest.engine_options(device, threads)), manifest.tiling_options(memory))
        encode(folder, manifest, tiler, [number])
    done = folder.chunk(number)
    if done is None:
        ending = folder.ending()
        count = f" of {-(-ending.frames // manifest.chunk)}" if ending else ""
        raise JobError(f"{path}: there is no chunk {number}{count}; they count from 0.")
    say(one_line(f"{folder.file(number)}: {done.tally.frames} frames"))


def join_job(path: Path) -> None:
    """Join a job's chunks and remove its folder.

    Raises:
        JobError: chunks are missing; names them.
    """
    start = time.perf_counter()
    with JobFolder(path) as folder:
        report = finish(folder, start)
    for note in report.notes:
        warn(one_line(f"note: {note}"))
    say(summary(report))


def _state(job: JobFolder) -> str:
    try:
        manifest = job.manifest()
    except JobError:
        return "damaged; --restart begins it anew"
    count = f" of {-(-manifest.expected // manifest.chunk)}" if manifest.expected else ""
    done = len(job.chunks())
    state = f"{manifest.source} -> {manifest.target}, {done}{count} chunks of {manifest.chunk} frames done"
    if job.busy:
        return f"{state}, running"
    if not lacking(job):
        return f"{state}, all of them; to be joined"
    return f"{state}, {job.why() or 'killed, or not begun'}"
