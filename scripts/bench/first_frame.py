"""A process that upscales one frame and tells its peak of resident memory; run by `bench.processes`."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

from vs_smsr import Upscaler


def main() -> None:
    frame, weights, scale, precision, threads = sys.argv[1:]
    upscaler = Upscaler(
        scale=int(scale),
        weights=weights,
        engine="cpu",
        precision=precision,
        threads=int(threads),
    )
    upscaler.upscale(np.load(frame))
    print(peak())


def peak() -> int:
    """Bytes. On Linux from VmHWM, since ru_maxrss begins with the peak of the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
