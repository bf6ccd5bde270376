"""Who makes which chunk: shared by the threads that look after workers."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from vs_smsr.errors import SmsrError
from vs_smsr.jobs.folder import JobFolder, Manifest
from vs_smsr.jobs.remote import MadeChunk
from vs_smsr.jobs.report import Tally


class Board:
    """The chunks of a job that are done, and those that somebody has."""

    def __init__(self, folder: JobFolder, manifest: Manifest) -> None:
        self._folder, self._size = folder, manifest.chunk
        self._change = threading.Condition()
        self._done = set(folder.chunks())
        ending = folder.ending()
        self._count = None if ending is None else -(-ending.frames // self._size)
        self._expected = None if manifest.expected is None else -(-manifest.expected // self._size)
        self._taken: dict[int, str] = {}  # by number: who has it
        self._under_way: dict[int, Tally] = {}  # by number
        self._made = Tally()
        self._losses: Counter[int | str] = Counter()  # by number, or by who was lost without one
        self._error: SmsrError | None = None
        self._stopped = False

    @property
    def over(self) -> bool:
        """Are all chunks done?

        Raises:
            SmsrError: what somebody failed with.
        """
        with self._change:
            if self._error:
                raise self._error
            return self._complete()

    def wait(self, seconds: float) -> None:
        """Until something changes, at most so long."""
        with self._change:
            self._change.wait(seconds)

    def take(self, who: str) -> int | None:
        """Wait for a chunk that nobody has; None: there will be none."""
        with self._change:
            while not (self._stopped or self._error or self._complete()):
                number = self._next()
                if number is not None:
                    self._taken[number] = who
                    return number
                self._change.wait()
            return None

    def finish(self, number: int, made: MadeChunk) -> None:
        """A chunk's file is in the folder; or the source ends before it."""
        if made.ending and self._folder.ending() is None:
            self._folder.finish_source(made.ending)
        if made.chunk:
            self._folder.finish(number, made.chunk)
        with self._change:
            if made.ending:
                self._count = -(-made.ending.frames // self._size)
            if made.chunk:
                self._done.add(number)
                self._made += made.chunk.tally
            self._free(number)

    def give_back(self, number: int | None) -> None:
        """It is not done, through no fault of its own."""
        with self._change:
            self._free(number)

    def lose(self, number: int | None, who: str) -> int:
        """Somebody is gone, with a chunk or without; how often it was lost."""
        with self._change:
            self._free(number)
            lost = who if number is None else number
            self._losses[lost] += 1
            return self._losses[lost]

    def fail(self, error: SmsrError) -> None:
        """The job ends with this."""
        with self._change:
            self._error = self._error or error
            self._change.notify_all()

    def stop(self) -> None:
        """Nobody gets a chunk any more."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def hear(self, said: Mapping[str, Any]) -> None:
        """What became of a chunk's frames so far: `who`, `number` and `tally`, the fields of one."""
        with self._change:
            if self._taken.get(said["number"]) == said["who"]:
                self._under_way[said["number"]] = Tally(**said["tally"])

    def tally(self) -> Tally:
        """What became of all frames so far."""
        with self._change:
            return sum(self._under_way.values(), self._made)

    def _complete(self) -> bool:
        return self._count is not None and self._done.issuperset(range(self._count))

    def _next(self) -> int | None:
        """The first chunk that is missing and that nobody has.

        Beyond what the source is expected to hold one is tried at a time, until its end is known.
        """
        number = next(number for number in itertools.count() if number not in self._done and number not in self._taken)
        if self._count is not None:
            return number if number < self._count else None
        if self._expected is not None and number >= self._expected and self._taken:
            return None
        return number

    def _free(self, number: int | None) -> None:
        if number is not None:
            self._taken.pop(number, None)
            self._under_way.pop(number, None)
        self._change.notify_all()
