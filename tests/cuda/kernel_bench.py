"""What the tests of kernels share: a device with its kernels, random numbers, bounds, lists of pixels.

The bounds: a float sum may be off by SUM_ERROR of its terms' absolute values, a stored half by HALF_ERROR of itself.
Cases of the sizes in TWICE run with two seeds (other orders of threads and blocks, other poison) to the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cases import KINDS, PAIRS, SCALES, SEEDS, TWICE, WATCHED_SIZE, Kind, Mask
from host.device import HostDevice
from numpy.typing import NDArray

from cupy_kernels import Kernels, geometry

CHANNELS = 64
SUM_ERROR = 2.0**-19  # about 32 roundings of floats; the longest sum has 576 terms, in 4 or more parts
HALF_ERROR = 2.0**-11
SMALLEST_HALF = 2.0**-24

Array = NDArray[Any]


class Bench:
    """A device, its kernels, and random numbers that both precisions hold exactly."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.device = HostDevice(kind.arch, seed=seed, races=kind.races, multiprocessors=1)
        self.kernels = Kernels(self.device, kind.half)
        self.half = kind.half
        self.element = np.dtype(self.kernels.element)
        self._random = np.random.default_rng(7)

    def values(self, *shape: int, scale: float = 1.0) -> Array:
        """Normally distributed, float32, exact in halves."""
        return (self._random.standard_normal(shape) * scale).astype(np.float16).astype(np.float32)

    def floats(self, *shape: int, scale: float = 1.0) -> Array:
        """Normally distributed, all the digits of float32."""
        return (self._random.standard_normal(shape) * scale).astype(np.float32)

    def put(self, host: Array, dtype: Any = None) -> Array:
        return self.device.array(np.ascontiguousarray(host, dtype or host.dtype))

    def features(self, host: Array) -> Array:
        return self.put(host, self.element)

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        return self.device.empty(shape, dtype or self.element)

    def exact(self, host: Array) -> tuple[Array, Array]:
        """f as (high, low); low is empty with floats."""
        if not self.half:
            return self.put(host, np.float32), self.empty(0, 0, 0)
        high = host.astype(np.float16)
        return self.put(high), self.put((host - high.astype(np.float32)).astype(np.float16))

    def poison(self, shape: tuple[int, ...]) -> Array:
        """What an array holds that nobody wrote."""
        return self.empty(*shape).copy()

    def close(self, found: Array, wanted: Array, terms: Array, stored: bool = True) -> None:
        """All of found is wanted, up to the rounding of sums and, if stored as an element, of halves."""
        assert found.shape == wanted.shape
        bound = SUM_ERROR * terms + (HALF_ERROR * np.abs(wanted) + SMALLEST_HALF if self.half and stored else 0)
        error = np.abs(found.astype(np.float64) - wanted)
        assert np.isfinite(found).all()
        assert (error <= bound).all(), f"off by {np.max(error / bound):.2f} times the bound"


class Lists:
    """What list_pixels makes of a mask, on the device."""

    def __init__(self, bench: Bench, mask: Mask) -> None:
        height, width = mask.shape
        area = height * width
        self.mask = bench.put(mask)
        partial = bench.empty(geometry.select_blocks(area), dtype=np.int32)
        self.active, self.inactive = (bench.empty(area, dtype=np.uint32) for _ in range(2))
        self.inverse = bench.empty(height, width, dtype=np.int32)
        self.counts = bench.empty(2, dtype=np.int32)
        bench.kernels.count_pixels(self.mask, partial)
        bench.kernels.list_pixels(self.mask, partial, self.active, self.inactive, self.inverse, self.counts)


def build(request: pytest.FixtureRequest, files: Sequence[str]) -> None:
    """All programs of these files, compiled side by side; only where many tests run, for few need few of them."""
    if len(request.session.items) < 100:
        return
    jobs = {
        (kind, file, *sorted(macros.items()))
        for kind in KINDS
        for scale, up in (*((scale, 1) for scale in SCALES), (1, 2), (1, 4))
        for file, macros in geometry.variants(kind.half, scale, set(PAIRS), up)
        if file in files
    }

    def one(job: tuple[Any, ...]) -> None:
        kind, file, *macros = job
        HostDevice(kind.arch, races=kind.races).compile(file, dict(macros))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, jobs))


def same_with_all_seeds(kind: Kind, run: Callable[[Bench], list[Array]], size: tuple[int, int] = WATCHED_SIZE) -> None:
    """run checks its results and returns them; they must not depend on the seed."""
    first = run(Bench(kind, SEEDS[0]))
    again = not kind.races and size in TWICE  # the order does not matter to the race finder
    for seed in SEEDS[1:] if again else ():
        for before, after in zip(first, run(Bench(kind, seed)), strict=True):
            np.testing.assert_array_equal(before, after)
