"""What runs in a worker of a dask cluster; `jobs.cluster` is the other end.

A worker keeps a folder for each job below its local directory: the source, unless the file is there under its own
path, and the chunk that was made last. Its engine and its decoder stay for the next chunk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vs_smsr import engine
from vs_smsr.errors import JobError
from vs_smsr.jobs import beginning
from vs_smsr.jobs.chunks import Maker
from vs_smsr.jobs.folder import Chunk, Ending, JobFolder, Manifest
from vs_smsr.jobs.report import Pair, Tally
from vs_smsr.media import durable
from vs_smsr.options import EngineOptions, TilingOptions
from vs_smsr.tiling import Tiler

if TYPE_CHECKING:
    from distributed import Worker

log = logging.getLogger(__name__)
SPOKEN = 0.5  # seconds between two reports of a chunk


@dataclass(frozen=True)
class SharedFile:
    """A file of the client that workers need; `digest` is `durable.sample`."""

    path: str
    size: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> SharedFile:
        return cls(str(path.absolute()), path.stat().st_size, durable.sample(path))

    @property
    def name(self) -> str:
        """Where it was sent."""
        return hashlib.sha256(self.digest.encode()).hexdigest()[:16] + Path(self.path).suffix


@dataclass(frozen=True)
class MadeChunk:
    """What `make` tells; the chunk's file is fetched with `read`.

    Attributes:
        chunk: None: the source ended before it.
        size: bytes of its file.
        ending: if the source has been read to its end.
    """

    chunk: Chunk | None
    size: int
    ending: Ending | None


@dataclass
class _Session:
    """What a worker has of a job."""

    tiler: Tiler
    maker: Maker | None = None


def versions() -> dict[str, str]:
    """See `beginning.versions`; asked before anything else."""
    return beginning.versions()


def find(key: str, file: SharedFile, dask_worker: Worker) -> str | None:
    """Where this worker has a file, under its own path or as it was sent; None: nowhere."""
    for path in (Path(file.path), _place(dask_worker, key) / file.name):
        with suppress(OSError):
            if path.stat().st_size == file.size and durable.sample(path) == file.digest:
                return str(path)
    return None


def store(key: str, file: SharedFile, offset: int, block: bytes, dask_worker: Worker) -> None:
    """Take a part of a file that is sent; the last one puts it in place."""
    place = _place(dask_worker, key)
    place.mkdir(parents=True, exist_ok=True)
    aside = place / f"{file.name}.part"
    with aside.open("r+b" if offset else "wb") as out:
        out.seek(offset)
        out.write(block)
    if offset + len(block) == file.size:
        aside.replace(place / file.name)


def enrol(key: str, options: EngineOptions, tiling: TilingOptions) -> dict[str, str]:
    """Get an engine ready for a job; returns what it makes chunks with (`beginning.made_with`)."""
    sessions = _sessions(_this_worker())
    _close(sessions.pop(key, None))
    session = sessions[key] = _Session(Tiler(engine.create(options), tiling))
    return beginning.made_with(session.tiler)


def make(key: str, manifest: Manifest, number: int) -> MadeChunk | None:
    """Make a chunk; it waits in this worker until the next one is made.

    Args:
        manifest: of the job, with the paths of this worker.
    Returns:
        None: the worker has not enrolled.
    Raises:
        JobError: nobody wants it any more. SmsrError: as `chunks.encode`.
    """
    worker = _this_worker()
    session = _sessions(worker).get(key)
    if session is None:
        return None
    folder = JobFolder(_place(worker, key) / "chunks")
    if session.maker is None:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.path.mkdir(parents=True)
        folder.create(manifest)
        session.maker = Maker(folder, manifest, session.tiler)
    for old in folder.path.glob("chunk-*"):
        old.unlink()
    task = worker.get_current_task()
    spoken = 0.0

    def tell(tally: Tally, _: Pair) -> None:
        nonlocal spoken
        if time.monotonic() - spoken < SPOKEN:
            return
        spoken = time.monotonic()
        state = worker.state.tasks.get(task)
        if state is None or state.state != "executing":
            raise JobError(f"{worker.address}: chunk {number} is not wanted any more.")
        worker.log_event(topic(key), {"who": worker.address, "number": number, "tally": dataclasses.asdict(tally)})

    session.maker.make([number], tell)
    chunk = folder.chunk(number)
    return MadeChunk(chunk, folder.file(number).stat().st_size if chunk else 0, folder.ending())


def topic(key: str) -> str:
    """Of the events that tell what became of a chunk's frames so far."""
    return f"vs-smsr-{key}"


def read(key: str, number: int, offset: int, size: int, dask_worker: Worker) -> bytes:
    """A part of the file of the chunk that was made last."""
    with JobFolder(_place(dask_worker, key) / "chunks").file(number).open("rb") as file:
        file.seek(offset)
        return file.read(size)


def dismiss(key: str, dask_worker: Worker) -> None:
    """The job is over: close its source, free its engine, and remove its files, without waiting for that."""
    session = _sessions(dask_worker).pop(key, None)

    def clear() -> None:
        _close(session)
        shutil.rmtree(_place(dask_worker, key), ignore_errors=True)

    threading.Thread(target=clear, name="smsr clear", daemon=True).start()


def _close(session: _Session | None) -> None:
    if session and session.maker:
        session.maker.close()


def _place(worker: Worker, key: str) -> Path:
    return Path(worker.local_directory) / f"vs-smsr-{key}"


def _sessions(worker: Worker) -> dict[str, _Session]:
    """By key, what a worker has of each job; it goes with the worker."""
    found: dict[str, _Session] = vars(worker).setdefault("vs_smsr_jobs", {})
    return found


def _this_worker() -> Worker:
    from distributed import get_worker

    return get_worker()
