"""Threads that share the work of one kernel: each claims chunks of it inside compiled code.

Python's part per kernel is one call per thread, made without the GIL. Frames may run at the same time: a job never
waits for a thread that another frame keeps busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from vs_smsr.engine.cpu.claims import counters

type Call = tuple[Any, tuple[Any, ...]]  # a kernel and its arguments


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """`run(calls)` makes the calls on the caller's thread and on up to `threads - 1` idle helpers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads or available_cpus()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._helpers = [
            threading.Thread(target=self._help, args=(i,), name=f"vs-smsr-{i}", daemon=True)
            for i in range(1, self.threads)
        ]
        for helper in self._helpers:
            helper.start()

    def run(self, calls: Sequence[Call]) -> None:
        """Return when every chunk is done.

        A kernel is called with the counters of `claims`, the number of the thread, and its arguments. A thread that
        finds nothing left of one call goes on with the next: they must not need each other's results.
        """
        job = _Job(calls, self.threads)
        for _ in self._helpers:
            self._jobs.put(job)
        try:
            job.work(0)
        finally:
            job.close()

    def shutdown(self) -> None:
        """End the helpers; jobs that run go on without them."""
        for _ in self._helpers:
            self._jobs.put(None)

    def _help(self, me: int) -> None:
        while (job := self._jobs.get()) is not None:
            job.join(me)


class _Job:
    """Kernel calls shared by several threads; once closed, nobody enters it any more."""

    def __init__(self, calls: Sequence[Call], threads: int) -> None:
        self._calls = [(kernel, counters(threads), args) for kernel, args in calls]
        self._inside = 0
        self._closed = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def work(self, me: int) -> None:
        for kernel, claimed, args in self._calls:
            kernel(claimed, me, *args)

    def join(self, me: int) -> None:
        with self._change:
            if self._closed:
                return
            self._inside += 1
        try:
            self.work(me)
        except BaseException as error:
            self._error = error
        with self._change:
            self._inside -= 1
            self._change.notify()

    def close(self) -> None:
        with self._change:
            self._closed = True
            while self._inside:
                self._change.wait()
        if self._error is not None:
            raise self._error
