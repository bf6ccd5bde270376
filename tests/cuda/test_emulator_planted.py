"""Bugs planted in small kernels: each is caught, and without its bug the same kernel passes every check."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from host import checked, emulator, planted
from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("gpp")

FILES = sorted(path.name for path in Path(planted.__file__).parent.glob("*.cu"))
SEEDS = (1, 2, 3, 4)

# How each bug shows: in results that differ from the right ones; as an error of the emulator; in a build that watches
# for races; in the build with sanitizers.
RESULTS = (
    "copy_over_read.cu",
    "missing_barrier.cu",
    "missing_second_barrier.cu",
    "missing_wait.cu",
    "uninitialised.cu",
    "wrong_fragment.cu",
)
ERRORS = {
    "divergent_barrier.cu": "all threads must reach the same one",
    "dynamic_shared_out_of_bounds.cu": "cp.async: out of bounds: 16 bytes at the shared address",
    "early_exit.cu": "but this thread has ended|threads ended before this barrier",
    "missing_lane.cu": "no thread can go on, .* waits for __shfl_xor_sync at primitives.cuh",
}
RACES = {
    "blocks_share_an_output.cu": "global memory",
    "copy_over_read.cu": "shared memory",
    "missing_barrier.cu": "shared memory",
    "missing_second_barrier.cu": "shared memory",
    "missing_warp_barrier.cu": "shared memory",
}
SANITIZERS = {
    "global_out_of_bounds.cu": r"AddressSanitizer: heap-buffer-overflow.*global_out_of_bounds\.cu:6",
    "misaligned.cu": r"runtime error: .* misaligned address .* requires 16 byte alignment",
    "shared_out_of_bounds.cu": r"shared_out_of_bounds\.cu:\d+:\d+: runtime error: index 129 out of bounds",
}


def right(file: str) -> NDArray[np.float32]:
    """What the kernel computes without its bug, by NumPy."""
    x = planted.inputs(file)
    blocks = x[:256].reshape(2, 128)
    reversed_blocks = blocks[:, ::-1].reshape(256)
    warp_sums = np.repeat(x[:256].reshape(8, 32).astype(np.float64).sum(1), 32)
    rounds = sum(
        np.roll(x, -r)[[b * 128 + 127 - t for b in range(2) for t in range(128)]].astype(np.float64) for r in range(8)
    )
    neighbours = x + np.append(x[1:], np.float32(0))
    if file == "wrong_fragment.cu":
        a, b = (part.astype(np.float16).astype(np.float64) for part in (x[:256], x[256:]))
        return (a.reshape(16, 16) @ b.reshape(16, 8)).reshape(-1).astype(np.float32)
    results = {
        "blocks_share_an_output.cu": np.array([(x > 0).sum()], np.int64).view(np.float32),
        "copy_over_read.cu": x,
        "divergent_barrier.cu": reversed_blocks,
        "dynamic_shared_out_of_bounds.cu": x,
        "early_exit.cu": reversed_blocks,
        "global_out_of_bounds.cu": neighbours,
        "misaligned.cu": x[:128],
        "missing_barrier.cu": reversed_blocks,
        "missing_lane.cu": warp_sums,
        "missing_second_barrier.cu": rounds,
        "missing_wait.cu": x,
        "missing_warp_barrier.cu": x.reshape(8, 32)[:, ::-1].reshape(256),
        "shared_out_of_bounds.cu": np.where(np.arange(256) % 128 == 127, x, neighbours),
        "uninitialised.cu": x.reshape(64, 4).astype(np.float64).sum(1),
    }
    return np.asarray(results[file], np.float32)


def matches(file: str, found: NDArray[np.float32]) -> bool:
    if file == "blocks_share_an_output.cu":
        return found.tobytes() == right(file).tobytes()
    return bool(np.allclose(found, right(file), rtol=0, atol=1e-5))


def run_checked(file: str, *, bug: bool, seed: int) -> str:
    """What `planted.run` prints in a process with the sanitizers."""
    return checked.run(["-m", "host.planted", file, str(int(bug)), str(seed)], timeout=120).stdout


def test_every_file_is_here() -> None:
    assert set(FILES) == {*RESULTS, *ERRORS, *RACES, *SANITIZERS}


@pytest.mark.parametrize("races", [False, True], ids=["plain", "races"])
@pytest.mark.parametrize("file", FILES)
def test_without_its_bug_every_seed_gives_the_right_result(file: str, races: bool) -> None:
    for seed in SEEDS:
        assert matches(file, planted.run(file, bug=False, seed=seed, races=races))


@pytest.mark.parametrize("file", RESULTS)
def test_the_bug_gives_wrong_results(file: str) -> None:
    """With one of four seeds, that is: the orders and the poison differ."""
    if file == "uninitialised.cu":  # the checking build alone fills new variables
        text = run_checked(file, bug=True, seed=1)
        result = re.search(r"result (\w+)", text)
        assert result, text
        assert not matches(file, np.frombuffer(bytes.fromhex(result[1]), np.float32))
        return
    assert not all(matches(file, planted.run(file, bug=True, seed=seed)) for seed in SEEDS)


@pytest.mark.parametrize("file", ERRORS)
def test_the_bug_stops_the_launch(file: str) -> None:
    for seed in SEEDS:
        with pytest.raises(emulator.LaunchError, match=ERRORS[file]):
            planted.run(file, bug=True, seed=seed)
    assert matches(file, planted.run(file, bug=False, seed=1)), "the next launch is not harmed"


@pytest.mark.parametrize("file", RACES)
def test_the_bug_is_a_race(file: str) -> None:
    """With whatever seed: both accesses are named by file and line."""
    pattern = rf"race: byte \d+ of {RACES[file]} is .* at .*\w:\d+, but was .* at .*\w:\d+.* nothing orders the two"
    for seed in SEEDS:
        with pytest.raises(emulator.LaunchError, match=pattern):
            planted.run(file, bug=True, seed=seed, races=True)
    assert matches(file, planted.run(file, bug=False, seed=1, races=True)), "the next launch is not harmed"


@pytest.mark.parametrize("file", SANITIZERS)
def test_the_bug_stops_the_checking_build(file: str) -> None:
    assert matches_text(file, run_checked(file, bug=False, seed=1))
    text = run_checked(file, bug=True, seed=1)
    assert re.search(SANITIZERS[file], text, re.DOTALL), text
    assert "result" not in text


def matches_text(file: str, text: str) -> bool:
    result = re.search(r"result (\w+)", text)
    return bool(result) and matches(file, np.frombuffer(bytes.fromhex(result[1]), np.float32))
