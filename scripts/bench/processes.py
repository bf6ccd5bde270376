"""What a fresh process costs: time to the first frame, cold and warm, peak of memory, time of `vs-smsr --help`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vs_smsr.engine.contract import Frame
from vs_smsr.weights import Weights, store

FIRST_FRAME = Path(__file__).with_name("first_frame.py")


def measure(
    weights: Weights, small: Frame, large: Frame, precision: str, threads: int, rounds: int, cold: bool = True
) -> dict[str, Any]:
    """Start processes on a small frame (time) and a large one (memory).

    Args:
        cold: begin with an empty cache of compiled kernels; else with the user's.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = place / "weights.safetensors"
        store(weights, path, np.float32)
        for name, frame in {"small": small, "large": large}.items():
            np.save(place / f"{name}.npy", np.rint(frame).astype(np.uint8))
        environment = {**os.environ, "VS_SMSR_CACHE_DIR": str(place / "cache")} if cold else dict(os.environ)

        def start(name: str) -> tuple[float, int]:
            arguments = [str(place / f"{name}.npy"), str(path), str(weights.scale), precision, str(threads)]
            return _timed([sys.executable, str(FIRST_FRAME), *arguments], environment)

        first = start("small")[0]
        warm = statistics.median(start("small")[0] for _ in range(rounds))
        peak = start("large")[1]
    return {
        "first_frame_cold_seconds": first if cold else None,
        "first_frame_warm_seconds": warm,
        "peak_bytes": peak,
        "peak_frame": f"{large.shape[1]}x{large.shape[0]}",
    }


def help_seconds(rounds: int) -> float:
    """Median time of `vs-smsr --help`."""
    command = [sys.executable, "-m", "vs_smsr", "--help"]
    return statistics.median(_timed(command, os.environ, whole=False)[0] for _ in range(rounds + 1))


def filled(frame: Frame, height: int, width: int) -> Frame:
    """The frame, mirrored over and over to fill a larger size: as busy as the frame itself."""
    rows, columns = (-(-wanted // have) - 1 for wanted, have in zip((height, width), frame.shape, strict=False))
    repeated = np.pad(frame, ((0, rows * frame.shape[0]), (0, columns * frame.shape[1]), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(repeated[:height, :width])


def _timed(command: list[str], environment: Mapping[str, str], whole: bool = True) -> tuple[float, int]:
    """Seconds from start to end, and the number that the process prints."""
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])} failed: {done.stderr.strip().splitlines()[-1:]}")
    return elapsed, int(done.stdout) if whole else 0
