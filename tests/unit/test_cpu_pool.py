"""Threads that share kernels: every item is done once when `run` returns, whoever did it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.cpu.block import fetch_add
from vs_smsr.engine.cpu.claims import claim
from vs_smsr.engine.cpu.pool import Pool
from vs_smsr.engine.cpu.signals import add, cell, reaches


@compiled
def visit(claimed: Any, me: Any, visits: Any, step: Any) -> None:
    while True:
        start, stop = claim(claimed, me, visits.shape[0], step)
        if start == stop:
            break
        for item in range(start, stop):
            fetch_add(visits, item, 1)


@pytest.fixture
def pool() -> Any:
    pool = Pool(4)  # more than there are CPUs: helpers come late, or never
    yield pool
    pool.shutdown()


def test_jobs_of_several_callers_are_done_when_run_returns(pool: Pool) -> None:
    wrong: list[tuple[int, int]] = []

    def caller(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for job in range(300):
            first, second = (np.zeros(int(rng.integers(0, 3000)), np.int64) for _ in range(2))
            pool.run([(visit, (first, 7)), (visit, (second, 1 + int(rng.integers(100))))])
            if not ((first == 1).all() and (second == 1).all()):
                wrong.append((seed, job))

    callers = [threading.Thread(target=caller, args=(seed,)) for seed in range(3)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(120)
    assert not any(thread.is_alive() for thread in callers)
    assert wrong == []


def test_an_error_in_a_helper_reaches_the_caller(pool: Pool) -> None:
    helping = threading.Event()

    def kernel(_claimed: Any, me: int) -> None:
        if me:
            helping.set()
            raise ValueError("in a helper")
        assert helping.wait(10)

    with pytest.raises(ValueError, match="in a helper"):
        pool.run([(kernel, ())])
    visits = np.zeros(100, np.int64)
    pool.run([(visit, (visits, 3))])
    assert (visits == 1).all()


def test_an_error_of_the_caller_waits_for_the_helpers(pool: Pool) -> None:
    helping, ended = threading.Event(), threading.Event()

    def kernel(_claimed: Any, me: int) -> None:
        if me:
            helping.set()
            threading.Event().wait(0.05)
            ended.set()
            return
        assert helping.wait(10)
        raise ValueError("in the caller")

    with pytest.raises(ValueError, match="in the caller"):
        pool.run([(kernel, ())])
    assert ended.is_set()


def test_waiting_for_a_cell() -> None:
    waited = cell()
    assert not reaches(waited, 1)
    assert add(waited, 2) == 0
    assert reaches(waited, 1)
