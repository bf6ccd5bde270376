"""Is the machine ours? Other processes' use of the CPU, and a way to hold them for the time of a measurement."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import psutil

log = logging.getLogger("benchmark")
QUIET = 0.10  # CPUs that others may use before a measurement is called disturbed

GUARD = """
import os, signal, sys
sys.stdin.read()  # returns when the benchmark lets go or dies, however it dies
for pid in map(int, sys.argv[1:]):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
"""


class Watch:
    """How many CPUs others have used since it was made."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        own = os.times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        busy -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice too
        return time.monotonic(), busy, own.user + own.system + own.children_user + own.children_system

    def others(self) -> float:
        """CPUs, about; 0 on an idle machine."""
        elapsed, busy, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return max((busy - own) / elapsed, 0.0) if elapsed > 0 else 0.0


def busy_processes(seconds: float = 1.0) -> list[tuple[int, str, float]]:
    """Other processes that use more than a tenth of a CPU: number, name, CPUs; the busiest first."""
    others = [process for process in psutil.process_iter(["name"]) if process.pid != os.getpid()]
    for process in others:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(seconds)
    found = []
    for process in others:
        with contextlib.suppress(psutil.Error):
            if (cpus := process.cpu_percent() / 100) > QUIET:
                found.append((process.pid, str(process.info["name"]), cpus))
    return sorted(found, key=lambda entry: -entry[2])


@contextlib.contextmanager
def paused(pids: Sequence[int]) -> Iterator[None]:
    """Stop these processes and their children; they go on when the block ends, even if this process is killed."""
    family = []
    for pid in pids:
        process = psutil.Process(pid)
        family += [pid, *(child.pid for child in process.children(recursive=True))]
    if not family:
        yield
        return
    command = [sys.executable, "-c", GUARD, *map(str, family)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # ctrl-C must not reach it
    try:
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        log.info("paused %d processes", len(family))
        yield
    finally:
        assert guard.stdin is not None, "it was opened with a pipe"
        guard.stdin.close()
        guard.wait()
