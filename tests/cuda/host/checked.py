"""Processes in which the checking build can run: AddressSanitizer must be there before Python is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

VARIABLE = "VS_SMSR_EMULATOR"  # "checked" in such a process


def active() -> bool:
    """True in a process that `run` started: `emulator.build` then makes the checking build."""
    return os.environ.get(VARIABLE) == "checked"


def run(arguments: Sequence[str], timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` under the sanitizers; stdout and stderr come back together, a report of theirs in it.

    Leaks are not looked for (Python's own would drown ours); the fibers' stacks forbid ASan's fake stack.
    """
    environment = {
        **os.environ,
        VARIABLE: "checked",
        "LD_PRELOAD": " ".join(map(_library, ("libasan.so", "libstdc++.so"))),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parents[3]))),
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@cache
def _library(name: str) -> str:
    done = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return os.path.realpath(done.stdout.strip())
