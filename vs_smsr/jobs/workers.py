"""Several processes work on one job: each takes the next chunk that nobody has; one that dies is replaced."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import queue
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path

from vs_smsr import engine
from vs_smsr.engine.memory import available, resident
from vs_smsr.errors import JobError, SmsrError
from vs_smsr.jobs.chunks import encode
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.jobs.joining import lacking
from vs_smsr.jobs.report import Pair, Tally
from vs_smsr.tiling import Tiler
from vs_smsr.tiling.planner import SHARE

TRIES = 3  # of a chunk whose worker dies
POLL = 0.2  # seconds between two looks at the workers
SPOKEN = 0.2  # seconds between two reports of a worker


@dataclass(frozen=True)
class _Wants:
    """A worker is ready for a chunk."""


@dataclass(frozen=True)
class _Did:
    """What became of its frames since it started."""

    tally: Tally


@dataclass(frozen=True)
class _Failed:
    """It ends with an error that no other worker would be spared."""

    error: SmsrError


type _Message = _Wants | _Did | _Failed


@dataclass(eq=False)
class _Worker:
    device: str
    process: SpawnProcess
    inbox: Queue[int | None]
    log: Path
    last: int = -1  # number of the newest chunk that it was given
    given: set[int] = dataclasses.field(default_factory=set)  # that may not be done yet
    tally: Tally = dataclasses.field(default_factory=Tally)


def share(
    folder: JobFolder,
    devices: Sequence[str],
    threads: int,
    memory: int | None,
    heard: Callable[[Tally, int], None] = lambda tally, workers: None,
) -> None:
    """Make all chunks that are missing, by a process on each device.

    Args:
        devices: "cpu", "cuda:0" ...; one that is named twice gets two processes.
        threads: CPU threads of all together; 0 = all.
        memory: limit of all together in bytes; None: a share of what is free.
        heard: called now and then in the caller's thread with what became of all frames of this call so far, and how
            many workers are at work.

    Raises:
        JobError: a chunk's worker died three times; the message names the log of the last one.
        SmsrError: what a worker raised on purpose.
    """
    if folder.ending() and not lacking(folder):
        return
    crew = _Crew(folder, devices, threads, memory)
    try:
        while workers := crew.at_work():
            crew.hear()
            heard(crew.tally(), workers)
    finally:
        crew.stop()


class _Crew:
    """The processes, and who has which chunk."""

    def __init__(self, folder: JobFolder, devices: Sequence[str], threads: int, memory: int | None) -> None:
        self._folder = folder
        self._context = multiprocessing.get_context("spawn")
        self._messages: Queue[tuple[int, _Message]] = self._context.Queue()
        self._threads = max((threads or os.cpu_count() or 1) // len(devices), 1)
        budget = memory or int(SHARE * available())
        self._memory = max(budget - resident(), 0) // len(devices)
        self._deaths: Counter[int] = Counter()  # by chunk
        self._left = Tally()  # what workers did that are gone
        self._numbers = itertools.count()
        self._workers: dict[int, _Worker] = {}
        for device in devices:
            self._hire(device)

    def at_work(self) -> int:
        return len(self._workers)

    def tally(self) -> Tally:
        return sum((worker.tally for worker in self._workers.values()), self._left)

    def hear(self) -> None:
        """Wait a moment for a message and act on it; look after the workers that ended."""
        try:
            number, message = self._messages.get(timeout=POLL)
        except queue.Empty:
            self._bury()
            return
        worker = self._workers.get(number)
        if isinstance(message, _Failed):
            raise message.error
        if worker is None:
            return
        if isinstance(message, _Did):
            worker.tally = message.tally
            return
        worker.given = {chunk for chunk in worker.given if self._folder.chunk(chunk) is None}
        chunk = self._next(worker)
        if chunk is not None:
            worker.last = chunk
            worker.given.add(chunk)
        worker.inbox.put(chunk)

    def stop(self) -> None:
        """End all workers now."""
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join(10)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _next(self, worker: _Worker) -> int | None:
        """The first chunk that is missing, with nobody, and ahead of where the worker's decoder is."""
        taken = {chunk for other in self._workers.values() for chunk in other.given}
        for chunk in itertools.count(worker.last + 1):
            if self._beyond(chunk):
                return None
            if chunk not in taken and self._folder.chunk(chunk) is None:
                return chunk
        raise AssertionError("chunks are counted without an end")

    def _beyond(self, chunk: int) -> bool:
        ending = self._folder.ending()
        return ending is not None and chunk * self._folder.manifest().chunk >= ending.frames

    def _bury(self) -> None:
        """Take note of workers that ended; replace those that died, and whose decoder is past what is missing."""
        for number, worker in list(self._workers.items()):
            if worker.process.exitcode is None:
                continue
            worker.process.join()
            del self._workers[number]
            self._left += worker.tally
            lost = {chunk for chunk in worker.given if self._folder.chunk(chunk) is None and not self._beyond(chunk)}
            if worker.process.exitcode:
                self._deaths.update([min(lost)] if lost else [-1])
                if max(self._deaths.values()) >= TRIES:
                    raise JobError(_died(worker, self._deaths.most_common(1)[0][0]))
                self._hire(worker.device)
        if not self._workers and lacking(self._folder):
            self._hire(worker.device)

    def _hire(self, device: str) -> None:
        number = next(self._numbers)
        inbox: Queue[int | None] = self._context.Queue()
        log = self._folder.path / f"worker-{number}.log"
        arguments = (self._folder.path, device, self._threads, self._memory, log, inbox, self._messages, number)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        self._workers[number] = _Worker(device, process, inbox, log)


def _died(worker: _Worker, chunk: int) -> str:
    code = worker.process.exitcode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    what = f"on chunk {chunk}" if chunk >= 0 else "before its first chunk"
    last = ""
    with suppress(OSError):
        last = (worker.log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    said = f" ({last})" if last else ""
    return f"{worker.device}: {TRIES} workers died {what}, the last by {how}{said}. See {worker.log}."


def _work(
    path: Path,
    device: str,
    threads: int,
    memory: int,
    log: Path,
    inbox: Queue[int | None],
    messages: Queue[tuple[int, _Message]],
    number: int,
) -> None:
    """What a worker's process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent ends us
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def numbers() -> Iterator[int]:
        while True:
            messages.put((number, _Wants()))
            chunk = inbox.get()
            if chunk is None:
                return
            yield chunk

    spoken = 0.0

    def tell(tally: Tally, _: Pair) -> None:
        nonlocal spoken
        if time.monotonic() - spoken > SPOKEN:
            spoken = time.monotonic()
            messages.put((number, _Did(tally)))

    try:
        folder = JobFolder(path)
        manifest = folder.manifest()
        tiler = Tiler(engine.create(manifest.engine_options(device, threads)), manifest.tiling_options(memory))
        encode(folder, manifest, tiler, numbers(), tell)
    except SmsrError as error:
        traceback.print_exc()
        messages.put((number, _Failed(error)))
        raise SystemExit(1) from None
