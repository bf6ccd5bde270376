"""A long job on disk: what it is, which chunks are done, and why it stopped.

Everything is written aside, flushed and renamed, and carries a checksum: after a crash or a power cut a file is there
whole or counts as missing. Nothing is ever changed in place, so several workers need no lock between them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from vs_smsr.errors import JobError
from vs_smsr.jobs.report import Tally
from vs_smsr.media import durable
from vs_smsr.media.chunk_writer import Encoded, digest
from vs_smsr.media.preparation import Changed
from vs_smsr.options import EngineOptions, Range, TilingOptions, VideoOptions

SUFFIX = ".vs-smsr"  # of the folder, after the target's whole name
MANIFEST, ENDING, JOINED, STOPPED, LOCK = "manifest.json", "end.json", "joined.json", "stopped.txt", "lock"


@dataclass(frozen=True)
class Manifest:
    """What a job is; every worker reads it, nobody changes it.

    Attributes:
        source, target: paths, absolute.
        chunk: frames in a chunk; the last one may have fewer.
        expected: frames in all, as the source tells; None if it does not.
        size: (width, height) of the result.
        ticks: seconds per tick in the target's container, as a fraction.
        settings: by name, everything that the result's bytes depend on.
        engine, tiling, video: the fields of `EngineOptions`, `TilingOptions` and `VideoOptions` to work with; paths and
            the times of a range as text.
    """

    source: str
    target: str
    chunk: int
    expected: int | None
    size: tuple[int, int]
    ticks: str
    settings: dict[str, str]
    engine: dict[str, Any]
    tiling: dict[str, Any]
    video: dict[str, Any]

    def engine_options(self, device: str | None = None, threads: int | None = None) -> EngineOptions:
        """Of the job; on another device or number of threads if they are given."""
        weights = self.engine["weights"]
        changes = {name: value for name, value in {"device": device, "threads": threads}.items() if value is not None}
        return EngineOptions(**{**self.engine, "weights": None if weights is None else Path(weights), **changes})

    def tiling_options(self, memory: int | None) -> TilingOptions:
        """Of the job, with that limit."""
        return TilingOptions(**{**self.tiling, "memory": memory})

    def video_options(self) -> VideoOptions:
        fields = self.video["range"]
        times = {name: None if fields[name] is None else Fraction(fields[name]) for name in ("start", "end")}
        return VideoOptions(**{**self.video, "range": Range(**{**fields, **times})})


@dataclass(frozen=True)
class Chunk:
    """A chunk that is done: its file is there and has not changed since."""

    encoded: Encoded
    tally: Tally
    changed: Changed


@dataclass(frozen=True)
class Ending:
    """What is known once the source has been read to its end.

    Attributes:
        frames: in all.
        report: what the reader has to tell: notes, damage, crop, deinterlaced frames.
    """

    frames: int
    report: dict[str, Any]


class JobFolder:
    """The folder of one job. As a context manager it keeps other processes out.

    Raises:
        JobError: another process has it; or (while reading) it is not a job's folder, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / LOCK)
        self._checked: dict[int, tuple[object, Chunk | None]] = {}  # by number: when its files were written

    @staticmethod
    def of(target: Path) -> Path:
        """Where the job of a target lies unless it is said."""
        return target.with_name(f"{target.name}{SUFFIX}")

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise JobError(f"{self.path}: another process is working on this job. Wait for it, or stop it.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def busy(self) -> bool:
        """Is a process working on it?"""
        try:
            with FileLock(self.path / LOCK).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def create(self, manifest: Manifest) -> None:
        """Begin a job."""
        self._store(MANIFEST, dataclasses.asdict(manifest))

    @property
    def begun(self) -> bool:
        return (self.path / MANIFEST).exists()

    def manifest(self) -> Manifest:
        fields = self._load(MANIFEST)
        if fields is None:
            raise JobError(f"{self.path / MANIFEST}: missing or damaged. Begin the job anew with --restart.")
        return Manifest(**{**fields, "size": tuple(fields["size"])})

    def file(self, number: int) -> Path:
        """Where a chunk's packets lie; chunks count from 0."""
        return self.path / f"chunk-{number:05}.packets"

    def finish(self, number: int, chunk: Chunk) -> None:
        """A chunk's file is in place."""
        self._store(f"chunk-{number:05}.json", dataclasses.asdict(chunk))

    def chunk(self, number: int) -> Chunk | None:
        """A finished chunk, checked; None: it has to be made (again)."""
        stamps = [_stamp(self.file(number)), _stamp(self.path / f"chunk-{number:05}.json")]
        if number not in self._checked or self._checked[number][0] != stamps:
            self._checked[number] = stamps, self._check(number)
        return self._checked[number][1]

    def _check(self, number: int) -> Chunk | None:
        fields = self._load(f"chunk-{number:05}.json")
        path = self.file(number)
        if fields is None or not path.exists() or digest(path) != fields["encoded"]["sha256"]:
            return None
        frames = tuple((pts, duration) for pts, duration in fields["encoded"]["frames"])
        encoded = Encoded(frames, tuple(fields["encoded"]["decoded"]), fields["encoded"]["sha256"])
        return Chunk(encoded, Tally(**fields["tally"]), Changed(**fields["changed"]))

    def chunks(self) -> dict[int, Chunk]:
        """All that are finished, by number."""
        numbers = sorted(int(path.stem.removeprefix("chunk-")) for path in self.path.glob("chunk-*.json"))
        found = ((number, self.chunk(number)) for number in numbers)
        return {number: chunk for number, chunk in found if chunk is not None}

    def finish_source(self, ending: Ending) -> None:
        """The source has been read to its end."""
        self._store(ENDING, dataclasses.asdict(ending))

    def ending(self) -> Ending | None:
        fields = self._load(ENDING)
        return None if fields is None else Ending(**fields)

    def finish_join(self, result: Path, notes: Sequence[str]) -> None:
        """The whole result is in that file, which will now get the target's name."""
        self._store(JOINED, {"digest": durable.sample(result), "notes": list(notes)})

    def joined(self, target: Path) -> tuple[str, ...] | None:
        """What the join had to tell, if the target is what it made; else None."""
        fields = self._load(JOINED)
        if fields is None or not target.is_file() or durable.sample(target) != fields["digest"]:
            return None
        return tuple(fields["notes"])

    def say_why(self, reason: str) -> None:
        """Leave a line for `vs-smsr jobs`, as far as the disk still takes one."""
        with contextlib.suppress(OSError):
            (self.path / STOPPED).write_text(reason + "\n", encoding="utf-8")

    def why(self) -> str:
        """Why it is not running; "" if nobody said."""
        with contextlib.suppress(OSError):
            return (self.path / STOPPED).read_text(encoding="utf-8").strip()
        return ""

    def clear(self) -> None:
        """Remove what is in it, but the lock: the job begins anew."""
        for path in self.path.iterdir():
            if path.name != LOCK:
                path.unlink()

    def remove(self) -> None:
        """The job is over. What says so goes last, for a run that is killed here."""
        self._lock.release()
        last = (MANIFEST, JOINED)
        for path in self.path.iterdir():
            if path.name not in last:
                path.unlink()
        for name in last:
            (self.path / name).unlink(missing_ok=True)
        self.path.rmdir()

    def clear_rest(self) -> None:
        """Remove what a run has left that was killed while it removed the folder."""
        if not self.begun and (self.path / JOINED).exists():
            self.remove()

    def _store(self, name: str, fields: Mapping[str, Any]) -> None:
        text = json.dumps(fields, sort_keys=True)
        durable.write(self.path / name, json.dumps({"sum": _sum(text), "fields": fields}).encode())

    def _load(self, name: str) -> dict[str, Any] | None:
        """What was stored; None if it is not there or not as it was."""
        try:
            found = json.loads((self.path / name).read_bytes())
            fields: dict[str, Any] = found["fields"]
            return fields if found["sum"] == _sum(json.dumps(fields, sort_keys=True)) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def unfinished(folder: Path) -> Iterator[JobFolder]:
    """The jobs in a folder and below it."""
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        if (path / MANIFEST).exists():
            yield JobFolder(path)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
