"""Functions compiled by Numba and called without it: the same values as in Python, for every kind of argument."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from vs_smsr.engine import entry, kernel_cache, machine_code
from vs_smsr.engine.compiled import brief, compiled


def weigh(array, factor, added, twice, single, target):
    """Every kind of argument, and all elements of an array."""
    total = 0.0
    for i in range(array.shape[0]):
        for j in range(array.shape[1]):
            for k in range(array.shape[2]):
                total += 1.0 * array[i, j, k] * (i + 10 * j + 100 * k)
    target[0] = total * factor + single
    target[1] = array.size
    target[2] = array.strides[1]
    if twice:
        target[0] *= 2
    return added - 7


COMPILED = compiled(weigh)
DTYPES = (np.bool_, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("part", [np.s_[:], np.s_[:, 1:], np.s_[::-2, :, ::3], np.s_[:0]], ids=str)
def test_it_gives_what_python_gives(dtype, part) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2 if dtype is np.bool_ else 50, (4, 5, 7)).astype(dtype)[part]
    ours, theirs = np.zeros(3), np.zeros(3)
    arguments = 0.5, -3, True, np.float32(0.25)
    assert COMPILED(array, *arguments, ours) == weigh(array, *arguments, theirs) == -10
    assert ours.tolist() == theirs.tolist()


@compiled
def add_up(parts, numbers):
    total = 0
    for part in parts:
        total += part[0]
    return total + numbers[0] * numbers[1]


@compiled
def length(array):
    return array.shape[0]


@brief
def minus(number):
    return -number


@compiled
def add(a, b):
    return a + b


@compiled
def allocate(count):
    array = np.ones(count)
    return array.size


def test_tuples_of_arrays_and_of_numbers() -> None:
    parts = tuple(np.array([n, 0]) for n in (1, 2, 3))
    assert add_up(parts, (4, 5)) == 6 + 20
    assert add_up(parts[:2], (4, 5)) == 3 + 20
    assert add_up(tuple(part[::2] for part in parts), (4, 5)) == 6 + 20


@pytest.mark.parametrize("number", [0, 1, -1, 2**62, -(2**63) + 1, True, np.int64(-5), np.bool_(True)])
def test_integers(number) -> None:
    assert minus(number) == -int(number)


def test_arrays_of_other_classes_and_with_dtypes_of_their_own(tmp_path) -> None:
    mapped = np.memmap(tmp_path / "map", np.float32, "w+", shape=(3,))
    unusual = np.zeros(4, np.dtype("q"))  # an int64 that is not NumPy's own
    dated = np.zeros(5, np.dtype(np.int32, metadata={"of": "a file"}))
    for _ in range(2):
        assert [length(array) for array in (mapped, unusual, dated)] == [3, 4, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        None,
        np.zeros(3, ">i4"),
        np.zeros(3, np.complex64),
        np.zeros(3, np.float16)[()].item,
        np.zeros(13, np.uint8)[1:].view(np.float32),  # not aligned
        np.zeros(3, "U2"),
        np.zeros(3, np.float16),
        np.zeros(3, np.longdouble),
    ],
    ids=["text", "None", "big-endian", "complex", "function", "unaligned", "strings", "float16", "longdouble"],
)
def test_what_kernels_do_not_take(wrong) -> None:
    with pytest.raises(TypeError, match="length: "):
        length(wrong)


def test_a_number_too_large() -> None:
    with pytest.raises(OverflowError):
        minus(2**63)
    assert add(1, 2) == 3
    with pytest.raises(TypeError, match="add: "):
        add(2**63, "text")


def test_no_memory_is_an_error() -> None:
    assert allocate(3) == 3
    with pytest.raises(MemoryError):
        allocate(2**50)


def test_calls_keep_nothing_and_lose_nothing() -> None:
    array, numbers = np.arange(3), (2**40, 2**41)
    add_up((array, array), numbers)
    before = [sys.getrefcount(thing) for thing in (array, numbers, NotImplemented, None)]
    for _ in range(1000):
        add_up((array, array), numbers)
        length(array)  # looks at two versions: one of them says NotImplemented
        length(np.zeros((2, 3))[:, 1])
    assert [sys.getrefcount(thing) for thing in (array, numbers, NotImplemented, None)] == before
    gone = weakref.ref(array)
    del array
    gc.collect()
    assert gone() is None


def test_another_layout_of_objects_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(entry, "DATA", entry.SHAPE)
    entry.check_layouts.cache_clear()
    with pytest.raises(RuntimeError, match="lay out objects in a way"):
        machine_code.loaded(b"", ())


def test_another_way_to_pass_arrays_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(machine_code, "passed", lambda text: ["ptr"])
    with pytest.raises(RuntimeError, match="this version of Numba passes"):
        compiled(lambda array: array.size)(np.zeros(3))


MODULE = """
import sys
import numpy as np
from vs_smsr.engine.compiled import compiled, inlined

@inlined
def doubled(value):
    return 2 * value

@compiled
def kernel(array):
    return doubled(array[0])

if __name__ == "__main__":
    print(kernel(np.array([21])), "numba" in sys.modules)
"""


def run(script: Path, cache: Path) -> str:
    environment = os.environ | {kernel_cache.PLACE: str(cache)}
    return subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_process_that_finds_its_kernels_does_not_import_numba(tmp_path) -> None:
    script, cache = tmp_path / "script.py", tmp_path / "cache"
    script.write_text(MODULE)
    assert run(script, cache) == "42 True"
    (kept,) = cache.iterdir()
    assert run(script, cache) == "42 False"

    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    assert run(script, cache) == "42 True", "damaged, so compiled again"
    assert run(script, cache) == "42 False"

    script.write_text(MODULE.replace("2 * value", "3 * value"))
    assert run(script, cache) == "63 True", "another source"
    (new,) = cache.iterdir()
    assert new != kept


def test_what_an_administrator_has_compiled_serves_everybody(tmp_path, monkeypatch) -> None:
    """Both places are read, the first that can be written gets what is new."""
    first, second = tmp_path / "package", tmp_path / "user"
    first.mkdir()
    monkeypatch.setattr(kernel_cache, "_places", lambda: [first, second])
    kernel_cache.folder.cache_clear()
    kernel_cache.write("module.kernel.types.processor-build.kernel", b"code")
    assert [path.name for path in first.iterdir()] == ["module.kernel.types.processor-build.kernel"]
    first.rename(tmp_path / "elsewhere")
    first.write_text("a file, below which nothing can be written")
    kernel_cache.folder.cache_clear()
    kernel_cache.write("module.kernel.types.processor-build.kernel", b"newer")
    assert kernel_cache.read("module.kernel.types.processor-build.kernel") == b"newer"
    first.unlink()
    (tmp_path / "elsewhere").rename(first)
    assert kernel_cache.read("module.kernel.types.processor-build.kernel") == b"code"
    kernel_cache.folder.cache_clear()


def test_functions_that_one_function_makes_are_kept_apart() -> None:
    def made(step):
        @compiled
        def kernel(number):
            return number + step

        one = kernel

        @compiled
        def kernel(number):
            return number - step

        @compiled
        def other(number):
            return number * step

        return one, kernel, other

    assert [kernel(10) for kernel in (*made(2), *made(3))] == [12, 8, 20, 13, 7, 30]


def test_a_closure_of_something_else_than_integers_is_refused() -> None:
    factor = 1.5

    @compiled
    def kernel(array):
        return int(array[0] * factor)

    with pytest.raises(TypeError, match="closure may hold integers only"):
        kernel(np.ones(1))
