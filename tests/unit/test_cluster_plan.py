"""scripts/cluster_plan.py: what can be told without a simulation comes out of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from scripts.cluster_plan import Film, best, simulate

SAFE = Film(frames=24_100, chunk=240, fps=2.0, failures=0.0, upload=1e12, source=1000.0)  # 101 chunks, the last of 100


@pytest.mark.parametrize("workers", [1, 2, 7, 50, 101, 1000])
def test_without_failures_and_upload_chunks_fill_the_workers(workers: int) -> None:
    made = simulate(SAFE, workers)
    rounds = math.ceil(101 / workers)
    last_is_alone = 101 % workers == 1 or workers == 1
    assert made.makespan == pytest.approx(rounds * 120 - (70 if last_is_alone else 0), abs=1e-3)
    assert made.lost == 0
    assert made.sent == 1000 * min(workers, 101)


def test_a_source_that_is_sent_delays_each_worker_by_its_place() -> None:
    slow = replace(SAFE, frames=480, upload=1.0)  # 1000 s each; the first does both chunks before the second has it
    assert simulate(slow, 2).makespan == 1000 + 240
    assert simulate(slow, 2).sent == 1000


def test_lost_work_is_near_its_expectation() -> None:
    """A worker fails within a chunk with p = 1 - exp(-rate * length); geometric retries, each cut short."""
    film = replace(SAFE, frames=240_000, failures=6.0)
    length, rate = 120.0, 6 / 3600
    expected = (math.exp(rate * length) - 1) / rate / length - 1  # wasted over useful work
    runs = [simulate(film, 10, seed).lost for seed in range(5)]
    assert sum(runs) / 5 == pytest.approx(expected / (1 + expected), rel=0.15)


def test_the_best_number_is_near_the_square_root() -> None:
    film = Film(failures=0.0)
    outcomes = {workers: simulate(film, workers) for workers in range(1, 80)}
    root = math.sqrt(film.frames / film.fps / (film.source / film.upload))
    assert 0.8 * root <= best(film, outcomes) <= 2 * root
