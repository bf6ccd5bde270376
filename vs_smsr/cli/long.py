"""`vs-smsr jobs`, `chunk` and `join`: long videos whose chunks wait in a folder."""

from __future__ import annotations

from pathlib import Path

from vs_smsr.cli.report import one_line, say, summary, warn
from vs_smsr.errors import JobError
from vs_smsr.jobs.folder import JobFolder, unfinished
from vs_smsr.jobs.job import Job
from vs_smsr.jobs.joining import lacking


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
    with Job(path, device=device, threads=threads, memory=memory) as job:
        frames = job.make(number)
    if not frames:
        ending = folder.ending()
        count = f" of {-(-ending.frames // folder.manifest().chunk)}" if ending else ""
        raise JobError(f"{path}: there is no chunk {number}{count}; they count from 0.")
    say(one_line(f"{folder.file(number)}: {frames} frames"))


def join_job(path: Path) -> None:
    """Join a job's chunks and remove its folder.

    Raises:
        JobError: chunks are missing; names them.
    """
    job = Job(path)
    report = job.join()
    for note in report.notes:
        warn(one_line(f"note: {note}"))
    say(summary(report, job.network))


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
