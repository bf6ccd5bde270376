"""Simulate a film on 1 to 1,000 workers: how long it takes, how much work is lost, how many bytes go out.

    python scripts/cluster_plan.py --frames 172800 --fps 1 --failures 0.02 --upload 50 --figure plan.png

The source goes once to each worker, one worker after the other over one line; a worker that has it pulls chunk after
chunk. A failure costs the chunk that the worker is at; the worker begins again at once, and the chunk goes back to the
end of the queue. No network code runs here.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path

WORKERS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)


@dataclass(frozen=True)
class Film:
    """What is to be done, and with what.

    Attributes:
        frames: of the film; chunk: frames in a chunk.
        fps: frames per second of one worker.
        failures: per hour of one worker's work.
        upload: megabytes per second that leave the machine with the source.
        source: megabytes of the film's file.
        result: megabytes of all chunks that come back.
    """

    frames: int = 172_800
    chunk: int = 240
    fps: float = 1.0
    failures: float = 0.02
    upload: float = 50.0
    source: float = 8_000.0
    result: float = 20_000.0


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        makespan: seconds until the last chunk is there.
        lost: share of the work that was done in vain.
        sent: megabytes that went out, and lie on the workers' disks.
        kept: megabytes of chunks on the disk of the machine that joins them.
    """

    makespan: float
    lost: float
    sent: float
    kept: float


def simulate(film: Film, workers: int, seed: int = 0) -> Outcome:
    """One run; the same for the same seed."""
    chance = random.Random(seed)
    whole, rest = divmod(film.frames, film.chunk)
    queue = deque([film.chunk] * whole + [rest] * bool(rest))
    each = film.source / film.upload
    free = [(each * number, number) for number in range(1, workers + 1)]  # when each worker has the source
    running: list[tuple[float, int, int, float]] = []  # end, worker, frames that are then done (0: failed), seconds
    work, lost, last, sent = film.frames / film.fps, 0.0, 0.0, 0
    heapq.heapify(free)
    while queue or running:
        if queue and free and (not running or free[0][0] <= running[0][0]):
            now, worker = heapq.heappop(free)
            sent = max(sent, worker)
            frames = queue.popleft()
            length = frames / film.fps
            fails = chance.expovariate(film.failures / 3600) if film.failures else float("inf")
            heapq.heappush(running, (now + min(length, fails), worker, frames, fails if fails < length else 0.0))
            continue
        now, worker, frames, wasted = heapq.heappop(running)
        if wasted:
            lost += wasted
            queue.append(frames)
        last = max(last, now)
        heapq.heappush(free, (now, worker))
    return Outcome(last, lost / (work + lost), film.source * sent, film.result)


def best(film: Film, outcomes: dict[int, Outcome]) -> int:
    """The fewest workers that are within 5 % of the shortest time."""
    least = min(outcome.makespan for outcome in outcomes.values())
    return min(workers for workers, outcome in outcomes.items() if outcome.makespan <= 1.05 * least)


def draw(film: Film, figure: Path) -> None:
    """Makespan over workers for several lines, and lost work over the length of a chunk for several failure rates."""
    from dataclasses import replace

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for upload in (10, 50, 250, 1e9):
        hours = [simulate(replace(film, upload=upload), workers).makespan / 3600 for workers in WORKERS]
        left.loglog(WORKERS, hours, marker="o", ms=3, label=f"{upload:g} MB/s" if upload < 1e9 else "shared folder")
    left.set(xlabel="workers", ylabel="hours until the film is done", title="The line that sends the source decides")
    left.legend(title="upload", frameon=False)
    chunks = (48, 120, 240, 480, 1200, 2400, 4800, 9600)
    for failures in (0.02, 0.1, 0.5):
        shares = []
        for chunk in chunks:
            runs = [simulate(replace(film, chunk=chunk, failures=failures, upload=1e9), 20, seed) for seed in range(20)]
            shares.append(100 * sum(run.lost for run in runs) / len(runs))
        right.semilogx(chunks, shares, marker="o", ms=3, label=f"every {1 / failures:g} hours")
    right.axvline(film.chunk, color="grey", lw=0.8, ls=":")
    right.set(xlabel="frames in a chunk", ylabel="work done in vain, %", title="20 workers that fail")
    right.legend(title="a worker fails", frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    shown.savefig(figure, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = Film()
    for name, told in (
        ("frames", "of the film"),
        ("chunk", "frames in a chunk"),
        ("fps", "frames per second of a worker"),
        ("failures", "of a worker in an hour"),
        ("upload", "MB/s"),
        ("source", "MB of the source"),
        ("result", "MB of the result"),
    ):
        kind = type(getattr(defaults, name))
        parser.add_argument(f"--{name}", type=kind, default=getattr(defaults, name), help=told)
    parser.add_argument("--figure", type=Path)
    given = vars(parser.parse_args())
    figure = given.pop("figure")
    film = Film(**given)
    outcomes = {workers: simulate(film, workers) for workers in WORKERS}
    print(f"{'workers':>8}{'hours':>9}{'lost':>8}{'sent, GB':>11}{'chunks on disk, GB':>20}")
    for workers, made in outcomes.items():
        sent, kept = made.sent / 1000, made.kept / 1000
        print(f"{workers:8}{made.makespan / 3600:9.2f}{made.lost:8.2%}{sent:11.0f}{kept:20.0f}")
    print(f"{best(film, outcomes)} workers are within 5 % of the shortest time.")
    if figure:
        draw(film, figure)


if __name__ == "__main__":
    main()
