"""The workers of a cluster make the chunks of a job; what they made comes back into the job's folder.

A thread looks after each worker, from its versions to the last chunk. The folder stays the only truth: a chunk counts
once it lies there, and who has which one is known here alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

from vs_smsr.engine.memory import available, resident
from vs_smsr.errors import (
    EngineError,
    JobError,
    MediaError,
    MemoryBudgetError,
    OptionError,
    SmsrError,
    WeightsError,
    plain,
)
from vs_smsr.jobs import remote
from vs_smsr.jobs.beginning import versions
from vs_smsr.jobs.board import Board
from vs_smsr.jobs.cluster import CLOSE, RESOURCE, Cluster, LostError
from vs_smsr.jobs.folder import JobFolder, Manifest
from vs_smsr.jobs.report import Tally
from vs_smsr.jobs.workers import TRIES
from vs_smsr.media import durable
from vs_smsr.media.chunk_writer import digest
from vs_smsr.media.script_source import is_script
from vs_smsr.options import EngineOptions, JobOptions, TilingOptions
from vs_smsr.tiling.planner import SHARE

log = logging.getLogger(__name__)
BLOCK = 16 << 20  # bytes of a file that go in one message
WAIT = 0.2  # seconds between two reports


class UnfitError(Exception):
    """A worker cannot make chunks of this job; says why."""


class Crew:
    """The workers of a cluster that are fit for a job.

    Args:
        source, target: of the job.
        engine, tiling: what the workers' engines are made from.

    Raises:
        OptionError: the source is a script.
    """

    def __init__(
        self,
        cluster: Cluster,
        source: Path,
        target: Path,
        engine: EngineOptions,
        tiling: TilingOptions,
        job: JobOptions,
    ) -> None:
        if is_script(source):
            raise OptionError(f"--cluster: must be left out for {source}, as what it reads may not be there.")
        self._cluster, self._wait = cluster, job.cluster_wait
        self._engine, self._tiling = _for_each(engine, tiling, job)
        self._source = remote.SharedFile.of(source)
        name = f"{platform.node()} {target.absolute()} {self._source.digest}"
        self._key = hashlib.sha256(name.encode()).hexdigest()[:16]  # of the job among others on the same workers
        self._line = threading.Lock()  # one worker after the other gets files, so that the first ones begin early
        self._unfit: dict[str, str] = {}  # why, by address
        self._made_with: dict[str, dict[str, str]] = {}  # by address

    def made_with(self) -> dict[str, str]:
        """What the first worker that is fit makes chunks with: see `beginning.made_with`.

        Raises:
            JobError: none came in time.
        """
        until = time.monotonic() + self._wait
        while time.monotonic() < until:
            for address in self._candidates():
                with suppress(LostError, OSError):
                    try:
                        return self._enrolled(address)
                    except UnfitError as error:
                        self._refuse(address, error)
            time.sleep(WAIT)
        raise self._nobody()

    def share(self, folder: JobFolder, manifest: Manifest, heard: Callable[[Tally, int], None]) -> None:
        """Make all chunks that are missing.

        Args:
            heard: called now and then in the caller's thread with what became of all frames of this call so far, and
                how many workers are at work.

        Raises:
            JobError: a chunk was lost three times, the scheduler is gone, or no worker that is fit was there for too
                long. SmsrError: what a worker raised on purpose.
        """
        board = Board(folder, manifest)
        self._cluster.listen(remote.topic(self._key), board.hear)
        hands: dict[str, threading.Thread] = {}
        idle = time.monotonic()
        try:
            while not board.over:
                for address in self._candidates():
                    if address not in hands or not hands[address].is_alive():
                        arguments = address, board, folder, manifest
                        hands[address] = threading.Thread(target=self._serve, args=arguments, daemon=True)
                        hands[address].start()
                at_work = sum(hand.is_alive() for hand in hands.values())
                if at_work:
                    idle = time.monotonic()
                elif time.monotonic() - idle > self._wait:
                    raise self._nobody()
                heard(board.tally(), at_work)
                board.wait(WAIT)
        finally:
            board.stop()
            self._cluster.leave()
            for hand in hands.values():
                hand.join(CLOSE)
        for address in self._made_with:
            with suppress(Exception):  # gone, and its files with it
                self._cluster.call(address, remote.dismiss, self._key)

    def _candidates(self) -> set[str]:
        return self._cluster.workers() - set(self._unfit)

    def _serve(self, address: str, board: Board, folder: JobFolder, manifest: Manifest) -> None:
        """Give a worker chunks until all are made, or it is gone."""
        number = None
        try:
            _compare(self._enrolled(address), manifest.settings, "in this job")
            there = dataclasses.replace(manifest, source=self._brought(address, self._source))
            while (number := board.take(address)) is not None:
                made = self._cluster.compute(address, remote.make, self._key, there, number)
                if made is None:
                    raise LostError("it was started anew")
                if made.chunk is not None:
                    self._fetch(address, folder.file(number), made.size, number, made.chunk.encoded.sha256)
                board.finish(number, made)
        except (UnfitError, EngineError, WeightsError, MemoryBudgetError) as error:
            self._refuse(address, error)
            board.give_back(number)
        except SmsrError as error:
            board.fail(error)
        except (Exception, CancelledError) as error:
            self._made_with.pop(address, None)
            why = f"{address}: {plain(error) or type(error).__name__}"
            log.info("%s", why)
            if board.lose(number, address) >= TRIES:
                what = "failed before its first chunk" if number is None else f"lost chunk {number}"
                board.fail(JobError(f"--cluster: workers {what} {TRIES} times, the last one {why}."))

    def _enrolled(self, address: str) -> dict[str, str]:
        """Get a worker ready; returns what it makes chunks with."""
        if address not in self._made_with:
            try:
                theirs = self._cluster.call(address, remote.versions)
            except (ImportError, AttributeError) as error:
                raise UnfitError(f"vs-smsr is not there, or another version ({plain(error)})") from error
            _compare(theirs, versions(), "here")
            options = self._engine
            if options.weights:
                weights = self._brought(address, remote.SharedFile.of(options.weights))
                options = dataclasses.replace(options, weights=Path(weights))
            try:
                found = self._cluster.compute(address, remote.enrol, self._key, options, self._tiling)
            except (EngineError, WeightsError) as error:
                raise UnfitError(plain(error)) from error
            self._made_with[address] = found
        return self._made_with[address]

    def _brought(self, address: str, file: remote.SharedFile) -> str:
        """Where a worker has a file, which is sent if it is not there."""
        found = self._cluster.call(address, remote.find, self._key, file)
        if found is None:
            with self._line, Path(file.path).open("rb") as data:
                while not self._cluster.left and (block := data.read(BLOCK)):
                    self._cluster.call(address, remote.store, self._key, file, data.tell() - len(block), block)
            found = self._cluster.call(address, remote.find, self._key, file)
        if found is None:
            raise LostError(f"{file.path} did not arrive as it is here")
        return found

    def _fetch(self, address: str, path: Path, size: int, number: int, sha256: str) -> None:
        """Get a chunk's file into the folder."""
        aside = path.with_name(f"{path.name}.part")
        try:
            file = aside.open("wb")
        except OSError as error:
            raise _unwritten(path, error) from error
        with file:
            for offset in range(0, size, BLOCK):
                block = self._cluster.call(address, remote.read, self._key, number, offset, BLOCK)
                try:
                    file.write(block)
                except OSError as error:
                    raise _unwritten(path, error) from error
        if digest(aside) != sha256:
            raise LostError(f"chunk {number} did not arrive as it is there")
        durable.settle(aside, path)

    def _refuse(self, address: str, error: Exception) -> None:
        self._unfit[address] = plain(error)
        log.warning("%s is not used: %s", address, plain(error))

    def _nobody(self) -> JobError:
        advice = "; ".join(f"{address}: {why}" for address, why in self._unfit.items())
        start = f"Start one: dask worker {self._cluster.address} --resources {RESOURCE}=1 --nthreads 1"
        return JobError(
            f"--cluster: for {self._wait:g} s no worker at {self._cluster.name} had the resource {RESOURCE} and was "
            f"fit for this job. {advice or start}."
        )


def _unwritten(path: Path, error: OSError) -> MediaError:
    return MediaError(f"{path}: a chunk cannot be written: {error.strerror or error}.")


def _compare(theirs: Mapping[str, str], ours: Mapping[str, str], where: str) -> None:
    for name, found in theirs.items():
        if found != ours.get(name):
            raise UnfitError(f"{name} is {found} there, but {ours.get(name)} {where}")


def _for_each(engine: EngineOptions, tiling: TilingOptions, job: JobOptions) -> tuple[EngineOptions, TilingOptions]:
    """For one worker: those of a local cluster share threads and memory, others have what the options say."""
    kind, _, count = job.cluster.partition(":")
    if kind != "local":
        return engine, tiling
    threads = max((engine.threads or os.cpu_count() or 1) // int(count), 1)
    budget = tiling.memory or int(SHARE * available())
    memory = max(budget - resident(), 1) // int(count)
    return dataclasses.replace(engine, threads=threads), dataclasses.replace(tiling, memory=memory)
