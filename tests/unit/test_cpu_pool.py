"""Threads that share kernels: every item is done once when `run` returns, whoever did it."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.cpu.index_lists import ALL, Only, SomePixels
from vs_smsr.engine.cpu.pixel_kernels import count, select
from vs_smsr.engine.cpu.pool import Job, Pool
from vs_smsr.engine.cpu.spin import Cell
from vs_smsr.engine.cpu.vectors import atomic_add
from vs_smsr.engine.cpu.work_stealing import claim, copy_rows


@compiled
def visit(claimed: Any, thread_id: Any, visits: Any, step: Any) -> None:
    while True:
        start, stop = claim(claimed, thread_id, visits.shape[0], step)
        if start == stop:
            break
        for item in range(start, stop):
            atomic_add(visits, item, 1)


@compiled
def spread(claimed: Any, thread_id: Any, before: Any, after: Any, reach: Any, step: Any) -> None:
    """after[i] = the sum of before around i: wrong where a neighbour is not done yet."""
    while True:
        start, stop = claim(claimed, thread_id, after.shape[0], step)
        if start == stop:
            break
        for item in range(start, stop):
            total = 0
            for other in range(max(item - reach, 0), min(item + reach + 1, before.shape[0])):
                total += before[other]
            after[item] = total % 1000003


def spread_alone(before: Any, reach: int) -> Any:
    sums = np.concatenate([[0], np.cumsum(before)])
    items = np.arange(len(before))
    return (sums[np.minimum(items + reach + 1, len(before))] - sums[np.maximum(items - reach, 0)]) % 1000003


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


@pytest.mark.parametrize("pause", [0.0, 0.0005])
def test_a_stage_begins_when_all_before_are_done(pool: Pool, pause: float) -> None:
    """Two chains of sums, each stage of both from the one before; the caller is quick, or helpers leave between."""
    for seed in range(6):
        rng, job = np.random.default_rng(seed), Job(pool)
        chains = [[rng.integers(0, 1000, int(rng.integers(1, 4000)))] for _ in range(2)]
        wanted = [chain[0] for chain in chains]
        for stage in range(60):
            reach, step = int(rng.integers(0, 300)), int(rng.integers(1, 200))
            wanted = [spread_alone(values, reach) for values in wanted]
            for chain in chains:
                chain.append(np.zeros_like(chain[-1]))
            job.then([(spread, (chain[-2], chain[-1], reach, step)) for chain in chains])
            if stage % 7 == 0:  # nothing to do, and a kernel in Python
                job.then([(visit, (np.zeros(0, np.int64), 3))])
                for chain in chains:
                    chain.append(np.zeros_like(chain[-1]))
                job.then([(copy_rows, (chain[-1], chain[-2])) for chain in chains])
            time.sleep(pause)
        job.finish()
        for chain, values in zip(chains, wanted, strict=True):
            assert (chain[-1] == values).all()


def test_an_error_in_a_stage_is_raised_at_the_end_and_nobody_waits_for_it(pool: Pool) -> None:
    def fails(claimed: Any, thread_id: int, rows: int) -> None:
        copy_rows(claimed, thread_id, np.zeros((rows, 1)), np.zeros((rows, 1)))
        raise ValueError("in a stage")

    for rows in (0, 100):
        job, visits = Job(pool), np.zeros(1000, np.int64)
        job.then([(visit, (visits, 7))])
        job.then([(fails, (rows,))])
        job.then([(visit, (np.zeros(1000, np.int64), 7))])
        with pytest.raises(ValueError, match="in a stage"):
            job.finish()
        assert (visits == 1).all()


def test_a_chunk_that_is_never_done_holds_up_nobody() -> None:
    pool, claimed_one = Pool(2), threading.Event()

    def fails(claimed: Any, thread_id: int) -> None:
        if thread_id == 0:
            assert claimed_one.wait(10)
        elif one(claimed, thread_id):
            claimed_one.set()
            raise ValueError("with a chunk")

    job, visits = Job(pool), np.zeros(10, np.int64)
    job.then([(fails, ())])
    job.then([(visit, (visits, 1))])  # would wait for that chunk
    with pytest.raises(ValueError, match="with a chunk"):
        job.finish()
    assert (visits == 0).all(), "what it needs was not there"
    pool.shutdown()


def test_a_job_that_is_dropped_is_left_by_all(pool: Pool) -> None:
    for _ in range(50):
        job, visits = Job(pool), np.zeros(100_000, np.int64)
        gone = weakref.ref(visits)
        for _ in range(20):
            job.then([(visit, (visits, 7))])
        job.drop()
        first = visits.copy()
        assert (visits == first).all()
        del visits
        assert gone() is None


@compiled
def one(claimed: Any, thread_id: Any) -> Any:
    return claim(claimed, thread_id, 1, np.int64(1))[1]


def test_what_is_done_holds_no_arrays(pool: Pool) -> None:
    """Helpers come late, and wait with their last job: a map of it would count as in use when the next plan is made."""
    for _ in range(200):
        visits = np.zeros(1000, np.int64)
        gone = weakref.ref(visits)
        pool.run([(visit, (visits, 7))])
        del visits
        assert gone() is None


def test_an_error_in_a_helper_reaches_the_caller(pool: Pool) -> None:
    helping = threading.Event()

    def kernel(_claimed: Any, thread_id: int) -> None:
        if thread_id:
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

    def kernel(_claimed: Any, thread_id: int) -> None:
        if thread_id:
            helping.set()
            threading.Event().wait(0.05)
            ended.set()
            return
        assert helping.wait(10)
        raise ValueError("in the caller")

    with pytest.raises(ValueError, match="in the caller"):
        pool.run([(kernel, ())])
    assert ended.is_set()


def test_a_job_that_is_closed_is_not_entered_any_more() -> None:
    pool, busy, go_on = Pool(2), threading.Event(), threading.Event()
    calls: list[int] = []

    def hold(_claimed: Any, thread_id: int) -> None:
        if thread_id:
            busy.set()
            assert go_on.wait(10)
        else:
            assert busy.wait(10)

    other = threading.Thread(target=pool.run, args=([(hold, ())],))
    other.start()
    assert busy.wait(10)  # the only helper is in the other caller's job
    pool.run([(lambda _claimed, thread_id: calls.append(thread_id), ())])
    go_on.set()
    other.join(10)
    pool.shutdown()
    for helper in pool._helpers:
        helper.join(10)
    assert calls == [0]


def test_threads_end_at_shutdown() -> None:
    pool = Pool(3)
    pool.shutdown()
    for helper in pool._helpers:
        helper.join(10)
    assert not any(helper.is_alive() for helper in pool._helpers)


@pytest.mark.parametrize("rows", [0, 1, 15, 17, 100])
def test_rows_are_copied_by_all_threads(pool: Pool, rows: int) -> None:
    source = np.random.default_rng(rows).integers(0, 1 << 30, (rows, 7, 4), np.int32)
    target = np.zeros((rows + 2, 9, 4), np.int32)
    pool.run([(copy_rows, (target[1:-1, 1:-1], source))])
    assert (target[1:-1, 1:-1] == source).all()
    assert target.sum(dtype=np.int64) == source.sum(dtype=np.int64)  # the border is as it was


@pytest.mark.parametrize("density", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("size", [(2, 2), (2, 8), (10, 2), (14, 22)])
def test_lists_of_chosen_pixels(size: tuple[int, int], density: float) -> None:
    chosen = np.random.default_rng(1).random(size) < density
    found, pitch = SomePixels(chosen), size[1] + 2
    assert found.pixels.tolist() == np.flatnonzero(np.pad(chosen, 1)).tolist()
    quads = chosen.reshape(size[0] // 2, 2, size[1] // 2, 2).any((1, 3))
    first = [(2 * y + 1) * pitch + 2 * x + 1 for y, x in np.argwhere(quads)]
    assert found.quads.tolist() == [[p, p + 1, p + pitch, p + pitch + 1] for p in first]
    half = np.pad(quads, 1)
    hidden = half[1:-1, 1:-1] | half[1:-1, :-2] | half[:-2, 1:-1] | half[:-2, :-2]
    assert found.hidden.tolist() == np.flatnonzero(np.pad(hidden, 1)).tolist()
    half = np.pad(hidden, 1)
    pooled = np.zeros_like(hidden)
    for dy, dx in np.ndindex(3, 3):
        pooled |= half[dy : dy + hidden.shape[0], dx : dx + hidden.shape[1]]
    assert found.means.tolist() == np.flatnonzero(np.pad(pooled, 1)).tolist()
    assert found.pooled[:, 0].tolist() == [(2 * y + 1) * pitch + 2 * x + 1 for y, x in np.argwhere(pooled)]


def test_waiting_for_a_cell() -> None:
    waited = Cell()
    assert not waited.reaches(1)
    assert waited.add(2) == 0
    assert waited.reaches(1)
    later = Cell()
    adding = threading.Timer(0.01, later.add, (1,))
    adding.start()
    assert any(later.reaches(1) for _ in range(10_000))
    adding.join()


@pytest.mark.parametrize("size", [(2, 2), (6, 10), (8, 16), (14, 22), (40, 64)])
@pytest.mark.parametrize("share", [None, 0.0, 0.03, 0.5, 1.0])
def test_lists_of_active_and_inactive_pixels_and_quads(pool: Pool, size: tuple[int, int], share: float | None) -> None:
    """Against NumPy: of all pixels, or of those that are computed, and of these those that are needed."""
    rng = np.random.default_rng(7)
    mask = (rng.random(size) < 0.4).astype(np.uint8)
    computed = np.ones(size, np.bool_) if share is None else rng.random(size) < share
    needed = computed if share is None else computed & (rng.random(size) < 0.7)
    only = ALL if share is None else Only(computed, True, needed)
    grid = np.arange((size[0] + 2) * (size[1] + 2)).reshape(size[0] + 2, -1)[1:-1, 1:-1]

    def in_quads(pixels: Any) -> Any:
        return pixels.reshape(size[0] // 2, 2, size[1] // 2, 2).any((1, 3))

    on, off = computed & (mask != 0), computed & (mask == 0)
    chosen = on & needed, off & needed, in_quads(on), in_quads(off), in_quads(off) & ~in_quads(on)
    counts, quad_counts = np.full((3, size[0]), -1), np.full((3, size[0] // 2), -1)
    pool.run([(count, (mask, *only, counts, quad_counts))])
    assert counts.tolist() == [pixels.sum(1).tolist() for pixels in (on, *chosen[:2])]
    assert quad_counts.tolist() == [quads.sum(1).tolist() for quads in chosen[2:]]

    firsts, quad_firsts = (np.pad(rows.cumsum(1), ((0, 0), (1, 0))) for rows in (counts, quad_counts))
    lists = [np.full(pixels.sum(), -1, np.int32) for pixels in chosen]
    numbers = np.full(grid.size + 2 * sum(size) + 4, 0, np.int32)
    numbers.reshape(size[0] + 2, -1)[1:-1, 1:-1] = -1
    pool.run([(select, (mask, *only, firsts, quad_firsts, *lists, numbers))])
    places = grid, grid, *[grid[::2, ::2]] * 3
    for found, pixels, place in zip(lists, chosen, places, strict=True):
        assert found.tolist() == place[pixels].tolist()
    expected = np.zeros(size, np.int64)
    expected[on] = np.arange(1, on.sum() + 1)
    assert (numbers.reshape(size[0] + 2, -1) == np.pad(expected, 1)).all()
