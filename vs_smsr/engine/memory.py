"""How much memory there is and how much is taken, in bytes: of the host, and as engines tell it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

log = logging.getLogger(__name__)

UNKNOWN = 2 << 30  # taken as free where the system does not tell


class Memory(Protocol):
    """The memory that an engine's frames lie in: the host's, where frames and features lie too, or a device's.

    Attributes:
        on_host: it is the host's.
        feature_bytes: of a pixel's channels as `Ops.read` gives them.
    """

    on_host: bool
    feature_bytes: int

    def workspace(self, height: int, width: int) -> int:
        """The most that buffers for a frame or window of that size take; on the host, without its masks and result."""
        ...

    def in_use(self) -> int:
        """What is taken before the first frame: the process, or on a device the weights."""
        ...

    def available(self) -> int:
        """What could still be taken; idle buffers count as free."""
        ...

    def limit(self, total: int) -> None:
        """Take no more than that, where the device can be held to it: more is a `MemoryBudgetError`."""
        ...

    def release(self) -> None:
        """Give back the buffers that no frame is using; later frames take new ones."""
        ...


class HostMemory:
    """`Memory` of an engine whose buffers lie in this process.

    Args:
        feature_bytes: see `Memory`.
        workspace: see `Memory`.
        release: see `Memory`.
    """

    on_host = True

    def __init__(
        self, feature_bytes: int, workspace: Callable[[int, int], int], release: Callable[[], None] = lambda: None
    ) -> None:
        self.feature_bytes = feature_bytes
        self._workspace = workspace
        self._release = release

    def workspace(self, height: int, width: int) -> int:
        return self._workspace(height, width)

    def in_use(self) -> int:
        return resident()

    def available(self) -> int:
        return available()

    def limit(self, total: int) -> None:
        """Nothing: the plan keeps the budget."""

    def release(self) -> None:
        self._release()


def resident() -> int:
    """Memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _greatest_resident()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _greatest_resident() -> int:
    if sys.platform == "win32":
        return 256 << 20  # typical of this process before its first frame; Windows tells only through its own API
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available() -> int:
    """Memory that this process could still take without driving others out, containers' limits counted."""
    free = [amount for amount in (_system(), _container()) if amount is not None]
    if not free:
        log.warning("memory: this system does not tell how much is free; taken as %s", size(UNKNOWN))
        return UNKNOWN
    return max(min(free), 0)


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" not in names:
            return None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # free pages are not told: half of all
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _container() -> int | None:
    """What the control group leaves (version 2)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (folder / "memory.max").read_text(), (folder / "memory.current").read_text()
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    if limit.strip() == "max":
        return None
    return int(limit) - int(used) + int(statistics.get("inactive_file", 0))  # cached files make room when asked


def size(amount: int) -> str:
    """1610612736 -> "1.5G"; rounded up to a tenth, so that what is named suffices."""
    for unit, factor in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if amount >= factor:
            tenths = -(-amount * 10 // factor)
            return f"{tenths / 10:.1f}{unit}" if factor == 1 << 30 else f"{-(-amount // factor)}{unit}"
    return str(amount)
