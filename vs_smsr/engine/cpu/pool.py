"""Threads that share the work of one kernel: each claims chunks from an atomic counter inside compiled code.

Python's part per kernel is one call per thread, made without the GIL. Frames may run at the same time: a job never
waits for a thread that another frame keeps busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """`run(kernel, *args)` calls the kernel on the caller's thread and on up to `threads - 1` idle helpers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads or available_cpus()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._helpers = [
            threading.Thread(target=self._help, name=f"vs-smsr-{i}", daemon=True) for i in range(1, self.threads)
        ]
        for helper in self._helpers:
            helper.start()

    def run(self, kernel: Callable[..., object], *args: Any) -> None:
        """Return when every chunk is done; the kernel must claim chunks from a counter among its arguments."""
        job = _Job(kernel, args)
        for _ in self._helpers:
            self._jobs.put(job)
        job.work()
        job.close()

    def shutdown(self) -> None:
        """End the helpers; jobs that run go on without them."""
        for _ in self._helpers:
            self._jobs.put(None)

    def _help(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.join()


class _Job:
    """One kernel call shared by several threads; once closed, nobody enters it any more."""

    def __init__(self, kernel: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._kernel = kernel
        self._args = args
        self._inside = 0
        self._closed = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def work(self) -> None:
        self._kernel(*self._args)

    def join(self) -> None:
        with self._change:
            if self._closed:
                return
            self._inside += 1
        try:
            self.work()
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
