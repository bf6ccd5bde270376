"""How fast the cuda engine is: frames, and each kernel beside what counting says that no GPU beats."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from cupy_kernels import Device, cost
from gpu.checks import picture
from vs_smsr.engine import cuda
from vs_smsr.engine.cuda.network import stored_channels
from vs_smsr.weights import Weights


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time after three warm-up runs."""
    times = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def speed(engine: cuda.CudaEngine, weights: Weights, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """One frame alone, host to host, and three in flight; beside the floor that counting gives."""
    frame = picture(*size)
    active = float(np.mean(engine.upscale(frame).active))
    alone = median_seconds(lambda: engine.upscale(frame), repeats)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(engine.upscale, [frame] * 9))  # every thread's buffers, and their graphs
        started = time.perf_counter()
        list(pool.map(engine.upscale, [frame] * (3 * repeats)))
        together = (time.perf_counter() - started) / (3 * repeats)
    stored = stored_channels(weights)
    counted = cost.frame(cost.Shape(*size, active, stored, 2, engine.precision == "fp16"))
    return {
        "input": f"{size[1]}x{size[0]}",
        "precision": engine.precision,
        "active": round(active, 4),
        "milliseconds_alone": alone * 1e3,
        "milliseconds_three_in_flight": together * 1e3,
        "fps_three_in_flight": 1 / together,
        "gflop": sum(item.operations for item in counted) / 1e9,
        "compulsory_mb": sum(item.bytes for item in counted) / 1e6,
        "device_mb_per_frame_in_flight": engine.memory.workspace(*size) / 2**20,
    }


class TimedDevice:
    """A device that waits before and after each launch and notes how long it took; nothing is recorded and replayed.

    Attributes:
        seconds: by kernel, of its launches, each about 10 us too long: the waiting.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    @contextmanager
    def replayed(self, owner: object) -> Iterator[None]:
        yield

    def launch(self, file: str, kernel: str, *rest: Any) -> None:
        self._device.synchronize()
        start = time.perf_counter()
        self._device.launch(file, kernel, *rest)
        self._device.synchronize()
        self.seconds[kernel].append(time.perf_counter() - start)


def kernels(
    weights: Weights, device: Callable[[], Device], size: tuple[int, int], half: bool, name: str, repeats: int = 10
) -> list[dict[str, Any]]:
    """Each kernel's time in a frame (median of frames), its bytes and operations a second, and its share of the floor.

    Args:
        device: makes one.
        name: of the GPU; where `cupy_kernels.cost` knows its datasheet, the floor is told.
    """
    made: list[TimedDevice] = []

    def timed() -> TimedDevice:
        made.append(TimedDevice(device()))
        return made[-1]

    engine = cuda.CudaEngine(weights, timed, half=half)  # type: ignore[arg-type]  # it is one, by delegation
    frame = picture(*size)
    for _ in range(2):
        active = float(np.mean(engine.upscale(frame).active))
    frames: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        for one in made:
            one.seconds.clear()
        engine.upscale(frame)
        for kernel in {kernel for one in made for kernel in one.seconds}:
            frames[kernel].append(sum(sum(one.seconds[kernel]) for one in made))
    known = next((gpu for gpu in cost.GPUS if gpu.name.split()[-1] in name or gpu.name in name), None)
    found = []
    counted: dict[str, list[cost.Cost]] = defaultdict(list)
    for item in cost.frame(cost.Shape(*size, active, stored_channels(weights), weights.scale, half)):
        counted[item.kernel.partition(" ")[0]].append(item)
    for kernel, times in frames.items():
        seconds, costs = statistics.median(times), counted.get(kernel, [])
        floor = sum(item.seconds(known) for item in costs) if known and costs else None
        found.append(
            {
                "kernel": kernel,
                "precision": "fp16" if half else "fp32",
                "milliseconds": seconds * 1e3,
                "gigabytes_per_second": sum(item.bytes for item in costs) / seconds / 1e9,
                "teraflops": sum(item.operations for item in costs) / seconds / 1e12,
                "share_of_floor": None if floor is None else floor / seconds,
            }
        )
    return sorted(found, key=lambda row: -row["milliseconds"])
