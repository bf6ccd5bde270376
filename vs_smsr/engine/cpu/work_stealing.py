"""How the threads that run kernels share their work: each its own stretch first, then what others have left.

A stretch stays with one thread, so that the rows above and below are in that core's cache.

A kernel may be called before what it needs is done: it waits in compiled code, so that from one kernel to the next no
thread waits for Python. The first of its counters' lines says for what, and how much of the kernel itself is done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled, inlined
from vs_smsr.engine.cpu.spin import add_at, wait_for
from vs_smsr.engine.cpu.vectors import atomic_add

ROWS = 16  # of a copy, claimed at a time
APART = 8  # int64 from line to line: a cache line for each
FINISHED, NEEDED, DONE = 0, 1, 2  # in the first line
TOLD = 1  # in a thread's line
GIVEN_UP = 1 << 32  # finished calls, after an error: what others need may never be done, so they do nothing


def counters(threads: int, finished: int = 0, needed: int = 0) -> NDArray[np.int64]:
    """For one call: a line of its own, then one for each thread.

    The call's line: where finished calls are counted, how many of them this one needs, chunks of it that are done. A
    thread's: how much of its stretch is taken, and how many chunks (of whatever stretch) it has not told of yet.

    Args:
        finished: the address of the counter; 0: there is none, and nothing to wait for.
    """
    lines = np.zeros((threads + 1) * APART, np.int64)
    lines[FINISHED], lines[NEEDED] = finished, needed
    return lines


@inlined
def claim(claimed: Any, thread_id: Any, count: Any, step: int) -> Any:
    """The next chunk [start, stop) of `count` things, `step` at most; start == stop if none is left.

    Who asks has done with the chunk before.
    """
    finished, own = claimed[FINISHED], (thread_id + 1) * APART
    chunks = claimed[own + TOLD]
    if finished != 0 and chunks == 0 and wait_for(finished, claimed[NEEDED]) >= GIVEN_UP:
        return count, count
    parts = claimed.shape[0] // APART - 1
    steps = (count + step - 1) // step
    for other in range(parts):
        part = (thread_id + other) % parts
        line = (part + 1) * APART
        end = min(steps * (part + 1) // parts * step, count)
        first = steps * part // parts * step
        if first + claimed[line] >= end:
            continue  # looking leaves the line in every core's cache; adding would take it from all of them
        start = first + atomic_add(claimed, line, step)
        if start < end:
            claimed[own + TOLD] = chunks + 1
            return start, min(start + step, end)
    claimed[own + TOLD] = 0
    if steps == 0:  # whoever is the first to see that is done
        steps = chunks = 1
    if finished != 0 and chunks != 0 and atomic_add(claimed, DONE, chunks) + chunks == steps:
        add_at(finished, 1)
    return count, count


@compiled
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
