"""Threads that share the work of kernels: each claims chunks of it inside compiled code.

Python's part per kernel is one call per thread, made without the GIL. A job is kernels one after the other: while some
threads work on one, others may have entered the next and wait there, in compiled code (see `work_stealing`). Frames may
run at the same time: a job never waits for a thread that another frame keeps busy. Between jobs threads stay awake for
a while.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from vs_smsr.engine.cpu.spin import AWAKE, Cell
from vs_smsr.engine.cpu.work_stealing import GIVEN_UP, counters

type Call = tuple[Any, tuple[Any, ...]]  # a kernel and its arguments
CLOSED = 1 << 32  # more than there are threads
NAP = 5e-5  # seconds


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """The caller's thread and `threads - 1` helpers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads or available_cpus()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._waiting = Cell()  # jobs in the queue
        # With more threads than CPUs, who waits awake keeps one from who works.
        self.looks = AWAKE if self.threads <= available_cpus() else 1
        self._helpers = [
            threading.Thread(target=self._help, args=(i,), name=f"vs-smsr-{i}", daemon=True)
            for i in range(1, self.threads)
        ]
        for helper in self._helpers:
            helper.start()

    def run(self, calls: Sequence[Call]) -> None:
        """Make calls that do not need each other's results; return when all are done. See `Job`."""
        job = Job(self)
        try:
            job.then(calls)
        finally:
            job.finish()

    def invite(self, job: Job, helpers: int) -> None:
        """So many helpers may come to the job."""
        for _ in range(helpers):
            self._jobs.put(job)
        if helpers:
            self._waiting.tell(helpers)

    def shutdown(self) -> None:
        """End the helpers; jobs that run go on without them."""
        for _ in self._helpers:
            self._jobs.put(None)

    def _help(self, thread_id: int) -> None:
        while (job := self._jobs.get()) is not None:
            self._waiting.add(-1)
            job.join(thread_id)
            del job
            self._waiting.reaches(1, self.looks)


class Job:
    """Kernel calls in stages, shared by the caller, who adds them, and by helpers, who begin while others are added.

    A kernel is called with its counters, the thread's number and its arguments, by each thread that finds the job, and
    claims chunks until none is left. Calls of one stage must not need each other's results; a stage begins when all
    that were added before it are done. What calls work on must be left alone until `finish` returns.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._calls: list[tuple[Any, Any, tuple[Any, ...]]] = []
        self._stages: list[int] = []  # how many calls there are before each
        self._finished = Cell()  # calls that are done
        self._added = Cell()  # calls, plus CLOSED when no more will come
        self._inside = Cell()  # less one for each helper inside, plus CLOSED when none may enter any more
        self._absent = pool.threads - 1  # helpers that have not been called, or have left since
        self._error: BaseException | None = None

    def then(self, calls: Sequence[Call]) -> None:
        """Add a stage."""
        before, address = len(self._calls), self._finished.address
        self._stages.append(before)
        self._calls += [(kernel, counters(self._pool.threads, address, before), args) for kernel, args in calls]
        self._added.add(len(calls))
        absent, self._absent = self._absent, 0
        self._pool.invite(self, absent)

    def finish(self) -> None:
        """Work until all is done; raises what a kernel has raised. Nothing can be added after that."""
        try:
            self._work(0, 0)
        except BaseException:
            self._give_up()
            raise
        finally:
            self._close()
        if self._error is not None:
            raise self._error

    def drop(self) -> None:
        """Have nothing begun any more, and wait for what is under way."""
        self._give_up()
        self._close()

    def _close(self) -> None:
        self._added.add(CLOSED)
        self._inside.add(CLOSED)
        while not self._inside.reaches(CLOSED, self._pool.looks):
            time.sleep(NAP)  # a helper is not running: leave it the CPU
        self._calls = []  # helpers that come late, or wait, hold this job, but no arrays

    def join(self, thread_id: int) -> None:
        """A helper's part, from the first stage that is not over."""
        try:
            if self._inside.add(-1) <= 0:
                over = self._finished.add(0)
                number = self._stages[max(bisect_right(self._stages, over) - 1, 0)]
                while True:
                    number = self._work(thread_id, number)
                    if not self._added.reaches(number + 1, self._pool.looks):
                        self._absent += 1
                        return
                    if number == len(self._calls):  # closed
                        return
        except BaseException as error:
            self._error = error
            self._give_up()
        finally:
            self._inside.add(1)

    def _give_up(self) -> None:
        """After an error, what a thread has claimed may never be done: nobody waits for it, or goes on from there."""
        self._finished.add(GIVEN_UP)

    def _work(self, thread_id: int, number: int) -> int:
        """Make the calls from that number on; returns how many there are."""
        while number < len(self._calls):
            kernel, claimed, args = self._calls[number]
            kernel(claimed, thread_id, *args)
            number += 1
        return number
