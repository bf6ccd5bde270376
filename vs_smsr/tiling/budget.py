"""How much memory there is and how much is taken, in bytes; what a plan is measured with."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

log = logging.getLogger(__name__)

SHARE = 0.6  # of the memory that is free: the default budget
UNKNOWN = 2 << 30  # taken as free where the system does not tell


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
