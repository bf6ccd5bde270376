"""Lines of channels, moved by vectors: what lies beside them stays as it is."""

import numpy as np
import pytest

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.cpu.isa import supported
from vs_smsr.engine.cpu.packing import to_bf16
from vs_smsr.engine.cpu.vectors import copy, load_channels, pointer, shift, store_channels

COUNTS = 0, 4, 8, 12, 16, 20, 36, 64, 100


@compiled
def there_and_back(back, line, row, count):
    store_channels(pointer(line, 1), pointer(row, 0), count)
    load_channels(pointer(back, 0), pointer(line, 1), count)


@pytest.mark.parametrize("dtype", [np.float32, np.uint32])
@pytest.mark.parametrize("count", COUNTS)
def test_words_are_copied_and_no_more(count: int, dtype: type) -> None:
    @compiled
    def run(target, source, count):
        copy(pointer(target, 3), pointer(source, 1), count)

    source = np.random.default_rng(0).integers(1, 1 << 30, count + 2).astype(dtype)
    target = np.zeros(count + 8, dtype)
    run(target, source, count)
    assert np.array_equal(target[3 : 3 + count], source[1 : 1 + count])
    assert not target[:3].any()
    assert not target[3 + count :].any()


@pytest.mark.parametrize("step", [-5, 5])
def test_words_are_shifted_over_themselves(step: int) -> None:
    @compiled
    def run(words, target, source, count):
        shift(pointer(words, target), pointer(words, source), count)

    words = np.arange(100, dtype=np.float32)
    expected = words.copy()
    expected[20 + step : 60 + step] = words[20:60]
    run(words, 20 + step, 20, 40)
    assert np.array_equal(words, expected)


@pytest.mark.parametrize("count", [8, 24, 64])
def test_lines_of_float32_go_and_come_back(count: int) -> None:
    row = np.random.default_rng(1).standard_normal(count).astype(np.float32)
    back, line = np.zeros(count + 1, np.float32), np.zeros(count + 2, np.float32)
    there_and_back(back, line, row, count)
    assert np.array_equal(line, [0, *row, 0])
    assert np.array_equal(back, [*row, 0])


@pytest.mark.skipif("avx512bf16" not in supported(), reason="needs a processor with AVX-512 BF16")
@pytest.mark.parametrize("count", [8, 24, 64])
def test_lines_of_bf16_hold_the_nearest_numbers(count: int) -> None:
    row = np.random.default_rng(2).standard_normal(count).astype(np.float32)
    back, line = np.zeros(count + 1, np.float32), np.zeros(count // 2 + 2, np.uint32)
    there_and_back(back, line, row, count)
    nearest = to_bf16(row)
    assert np.array_equal(line[1:-1].view(np.uint16), nearest)
    assert line[0] == line[-1] == 0
    assert np.array_equal(back, [*(nearest.astype(np.uint32) << 16).view(np.float32), 0])
