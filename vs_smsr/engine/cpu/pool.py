"""Threads that share the work of one kernel: each claims chunks of it inside compiled code.

Python's part per kernel is one call per thread, made without the GIL. Frames may run at the same time: a job never
waits for a thread that another frame keeps busy. A frame is some hundred jobs of about a millisecond, so between two
of them threads stay awake for a while.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from vs_smsr.engine.cpu.spin import AWAKE, Cell
from vs_smsr.engine.cpu.work_stealing import counters

type Call = tuple[Any, tuple[Any, ...]]  # a kernel and its arguments
CLOSED = 1 << 32  # more than there are threads
NAP = 5e-5  # seconds


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """`run(calls)` makes the calls on the caller's thread and on up to `threads - 1` idle helpers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads or available_cpus()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = Cell()  # jobs in the queue
        # With more threads than CPUs, who waits awake keeps one from who works.
        self._looks = AWAKE if self.threads <= available_cpus() else 1
        self._helpers = [
            threading.Thread(target=self._help, args=(i,), name=f"vs-smsr-{i}", daemon=True)
            for i in range(1, self.threads)
        ]
        for helper in self._helpers:
            helper.start()

    def run(self, calls: Sequence[Call]) -> None:
        """Return when every chunk is done.

        A kernel is called with the counters of `work_stealing`, the thread's number and its arguments. A thread that
        finds nothing left of one call goes on with the next: they must not need each other's results.
        """
        job = _Job(calls, self.threads, self._looks)
        try:
            for _ in self._helpers:
                self._jobs.put(job)
            if self._helpers:
                self._waiting.add(len(self._helpers))
            job.work(0)
        finally:
            job.close()

    def shutdown(self) -> None:
        """End the helpers; jobs that run go on without them."""
        for _ in self._helpers:
            self._jobs.put(None)

    def _help(self, thread_id: int) -> None:
        while (job := self._jobs.get()) is not None:
            self._waiting.add(-1)
            job.join(thread_id)
            self._waiting.reaches(1, self._looks)


class _Job:
    """Kernel calls shared by several threads; once closed, nobody enters it any more."""

    def __init__(self, calls: Sequence[Call], threads: int, looks: int) -> None:
        self._looks = looks
        self._calls = [(kernel, counters(threads), args) for kernel, args in calls]
        self._state = Cell()  # less one for each helper inside, plus CLOSED
        self._error: BaseException | None = None

    def work(self, thread_id: int) -> None:
        for kernel, claimed, args in self._calls:
            kernel(claimed, thread_id, *args)

    def join(self, thread_id: int) -> None:
        try:
            if self._state.add(-1) <= 0:
                self.work(thread_id)
        except BaseException as error:
            self._error = error
        finally:
            self._state.add(1)

    def close(self) -> None:
        self._state.add(CLOSED)
        while not self._state.reaches(CLOSED, self._looks):
            time.sleep(NAP)  # a helper is not running: leave it the CPU
        self._calls = []  # helpers that come late, or wait, hold this job, but no arrays
        if self._error is not None:
            raise self._error
