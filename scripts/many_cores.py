"""What a frame would take on more cores than this machine has: a model from costs that are measured here.

    scripts/many_cores.py [--size 720 1280] [--precision fp32] [--cores 4 8 16 32 64]

A frame is a row of launches: kernels that the threads share, each when those before it are done. On n cores it takes

    between + launches * launch(n) + work / n

`between` is the time in which no kernel is under way, and `work` the rest, both on one thread; launch(n) is what a
launch of an empty kernel, one of many, takes with n threads. It is measured with up to 8 threads, whose dispatch Python
makes one after the other whatever the number of cores, and goes on as a line. Memory's bandwidth, caches and chunks
that do not divide evenly are not in the model, so it is a bound and no promise. With frames in flight, each by a group
of threads, between and launches overlap: the best grouping is printed too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.pixel_kernels import clear
from vs_smsr.engine.cpu.pool import Call, Job, Pool, available_cpus
from vs_smsr.weights import load, shipped

MEASURED = (1, 2, 4, 8)  # threads of an empty launch
ROUNDS, EMPTY = 7, 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--cores", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    arguments = parser.parse_args()
    frame = picture(*arguments.size)
    single = CpuEngine(load(shipped(2)), threads=1, precision=arguments.precision)
    whole, inside, launches = frame_costs(single, frame)
    empty = {threads: empty_launch(threads) for threads in MEASURED}
    between, work = whole - inside, inside - launches * empty[1]
    slope, start = np.polyfit(MEASURED, list(empty.values()), 1)
    cpus = available_cpus()
    shared, crowded = engine(cpus, arguments), engine(8, arguments)
    here, over = (median_seconds(lambda one=one: one.upscale(frame)) for one in (shared, crowded))
    print(f"{arguments.size[1]}x{arguments.size[0]}, {arguments.precision}, measured on {cpus} cores:")
    print(f"  one thread {whole * 1e3:.1f} ms, of it {between * 1e3:.2f} ms outside of {launches} launches")
    print("  an empty launch: " + ", ".join(f"{n} threads {t * 1e6:.0f} us" for n, t in empty.items()))
    expected = model(cpus, between, work, launches, start + slope * cpus)
    print(f"  {cpus} threads {here * 1e3:.1f} ms (the model: {expected * 1e3:.1f} ms)")
    print(f"  8 threads {over * 1e3:.1f} ms, {over / here - 1:+.1%}")
    print("the model:")
    for cores in arguments.cores:
        one = model(cores, between, work, launches, start + slope * cores)
        groups = {
            frames: model(cores // frames, between, work, launches, start + slope * (cores // frames)) / frames
            for frames in (1, 2, 4, 8, 16)
            if frames <= cores
        }
        best = min(groups, key=lambda frames: groups[frames])
        print(
            f"  {cores:3} cores: {one * 1e3:6.1f} ms a frame, {whole / one:4.1f} times one thread; "
            f"{best} frames in flight: {groups[best] * 1e3:6.1f} ms, {whole / groups[best]:4.1f} times"
        )
    return 0


def model(cores: int, between: float, work: float, launches: int, launch: float) -> float:
    """Seconds of a frame; see above."""
    return between + launches * launch + work / cores


def engine(threads: int, arguments: argparse.Namespace) -> CpuEngine:
    return CpuEngine(load(shipped(2)), threads=threads, precision=arguments.precision)


def frame_costs(single: CpuEngine, frame: np.ndarray) -> tuple[float, float, int]:
    """Seconds of a frame, seconds inside of launches, and how many there are; medians of frames."""
    then, finish, spent, stages = Job.then, Job.finish, list[float](), list[int]()

    def counted(job: Job, calls: Sequence[Call]) -> None:
        stages.append(len(calls))
        then(job, calls)

    def timed(job: Job) -> None:
        start = time.perf_counter()
        finish(job)
        spent.append(time.perf_counter() - start)

    single.upscale(frame)
    Job.then, Job.finish = counted, timed  # type: ignore[method-assign]  # a script may look inside
    rows = []
    for _ in range(ROUNDS):
        spent.clear()
        stages.clear()
        start = time.perf_counter()
        single.upscale(frame)
        rows.append((time.perf_counter() - start, sum(spent), len(stages)))
    Job.then, Job.finish = then, finish  # type: ignore[method-assign]
    whole, inside, launches = (statistics.median(column) for column in zip(*rows, strict=True))
    return whole, inside, int(launches)


def empty_launch(threads: int) -> float:
    """Median seconds of a stage that has nothing to do, between others."""
    pool, calls = Pool(threads), [(clear, (np.zeros(0, np.float32),))]
    pool.run(calls)
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        job = Job(pool)
        for _ in range(EMPTY):
            job.then(calls)
        job.finish()
        found.append((time.perf_counter() - start) / EMPTY)
    pool.shutdown()
    return statistics.median(found)


def median_seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3) 0..255: smooth ground with texture in a third of it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    base = 128 + 60 * np.sin(x / 97) * np.cos(y / 71) + 40 * ((x // 160 + y // 120) % 2)
    texture = rng.normal(0, 25, (height, width, 3)) * (y > height * 2 / 3)[..., None]
    return np.clip(base[..., None] + texture, 0, 255).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
