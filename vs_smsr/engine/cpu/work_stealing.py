"""How the threads that run one kernel share its work: each its own stretch first, then what others have left.

A stretch stays with one thread, so that the rows above and below are in that core's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import brief, inlined
from vs_smsr.engine.cpu.gemm import atomic_add

ROWS = 16  # of a copy, claimed at a time
APART = 8  # int64 from counter to counter: a cache line of its own for each


def counters(threads: int) -> NDArray[np.int64]:
    """For one launch: how much of each thread's stretch is taken."""
    return np.zeros(threads * APART, np.int64)


@inlined
def claim(claimed: Any, thread_id: Any, count: Any, step: int) -> Any:
    """The next chunk [start, stop) of `count` things, `step` at most; start == stop if none is left."""
    parts = claimed.shape[0] // APART
    steps = (count + step - 1) // step
    for other in range(parts):
        part = (thread_id + other) % parts
        end = min(steps * (part + 1) // parts * step, count)
        first = steps * part // parts * step
        if first + claimed[part * APART] >= end:
            continue  # looking leaves the line in every core's cache; adding would take it from all of them
        start = first + atomic_add(claimed, part * APART, step)
        if start < end:
            return start, min(start + step, end)
    return count, count


@brief
def _claim_rows(claimed, thread_id, count):
    """The first of the next rows; `count` if none are left."""
    return claim(claimed, thread_id, count, np.int64(ROWS))[0]


def copy_rows(claimed: Any, thread_id: int, target: NDArray[Any], source: NDArray[Any]) -> None:
    """A kernel in NumPy, which copies without the GIL: target = source, of the same shape and not overlapping."""
    assert target.shape == source.shape, (target.shape, source.shape)
    while (start := _claim_rows(claimed, thread_id, len(target))) < len(target):
        target[start : start + ROWS] = source[start : start + ROWS]


def in_bands(claimed: Any, thread_id: int, kernel: Any, rows: int, arguments: tuple[Any, ...]) -> None:
    """A kernel that takes the rows start .. stop and knows nothing of threads; see `engine.conversion`."""
    while (start := _claim_rows(claimed, thread_id, rows)) < rows:
        kernel(start, min(start + ROWS, rows), *arguments)
