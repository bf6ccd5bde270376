"""The kernels up to the masked layers, through their launchers, on the emulator: NumPy in float64 up to rounding.

Head, mask branch, lists of pixels, convolutions at listed pixels; see `kernel_bench` for the bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import references
from cases import EITHER, KINDS, LISTED, MASKS, PAIRS, SIZES, WATCHED_SIZE, Kind, with_kinds
from kernel_bench import CHANNELS, HALF_ERROR, SUM_ERROR, Array, Bench, Lists, build, same_with_all_seeds
from numpy.typing import NDArray

from cupy_kernels import geometry, packing

pytestmark = pytest.mark.usefixtures("gpp")


@pytest.fixture(scope="module", autouse=True)
def built(gpp: None, request: pytest.FixtureRequest) -> None:
    build(request, ("head.cu", "mask.cu", "select.cu", "conv.cu"))


@with_kinds("size", *SIZES)
def test_head(kind: Kind, size: tuple[int, int]) -> None:
    def run(bench: Bench) -> list[Array]:
        frame, mean = np.abs(bench.floats(*size, 3, scale=80)), np.array([114, 111, 103], np.float32)
        weight, bias = bench.floats(CHANNELS, 3, 3, 3, scale=0.2), bench.floats(CHANNELS)
        out = bench.empty(*size, CHANNELS)
        tap_major = weight.transpose(2, 3, 1, 0).reshape(27, CHANNELS)
        bench.kernels.head_first(*map(bench.put, (frame, mean, tap_major, bias)), out)
        centred = frame.astype(np.float64) - mean
        wanted = np.maximum(references.conv3(centred, weight) + bias, 0)
        bench.close(out, wanted, references.conv3_terms(centred, weight) + np.abs(bias))
        high, low = bench.empty(*size, CHANNELS), bench.empty(*size if bench.half else (0, 0), CHANNELS)
        bench.kernels.head_alone(*map(bench.put, (frame, mean, tap_major, bias)), high, low)
        wanted = references.conv3(centred, weight) + bias
        terms = references.conv3_terms(centred, weight) + np.abs(bias)
        both = high.astype(np.float64) + low if bench.half else high
        bench.close(both, wanted, terms + np.abs(wanted) * HALF_ERROR**2 / SUM_ERROR + 0.1, stored=False)
        leaky = bench.empty(*size, CHANNELS)
        bench.kernels.head_first(*map(bench.put, (frame, mean, tap_major, bias)), leaky, slope=0.25)
        bench.close(leaky, np.maximum(wanted, wanted / 4), terms)
        return [out, high, low, leaky]

    same_with_all_seeds(kind, run, size)


@with_kinds("size", *SIZES)
def test_conv_frame(kind: Kind, size: tuple[int, int]) -> None:
    def run(bench: Bench) -> list[Array]:
        source, added = bench.values(*size, CHANNELS, scale=20), bench.values(*size, CHANNELS, scale=20)
        weight, bias = bench.values(CHANNELS, CHANNELS, 3, 3, scale=0.05), bench.floats(CHANNELS)
        packed = bench.put(packing.windowed(weight, bench.half))
        wanted = references.conv3(source, weight) + bias
        terms = references.conv3_terms(source, weight) + np.abs(bias)

        high, low = bench.empty(*size, CHANNELS), bench.empty(*size if bench.half else (0, 0), CHANNELS)
        bench.kernels.conv_head(bench.features(source), packed, bench.put(bias), high, low)
        bench.close(high, wanted, terms)
        if bench.half:  # both together hold 22 digits
            both = high.astype(np.float64) + low
            bench.close(both, wanted, terms + np.abs(wanted) * HALF_ERROR**2 / SUM_ERROR + 0.1, stored=False)

        out = bench.features(added)  # may be the same array
        bench.kernels.conv_add(bench.features(source), packed, bench.put(bias), out, out)
        bench.close(out, wanted + added, terms + np.abs(added))
        return [high, low, out]

    same_with_all_seeds(kind, run, size)


@with_kinds("size, quads", *((size, False) for size in SIZES), *((size, True) for size in SIZES[:2]))
def test_mask(kind: Kind, size: tuple[int, int], quads: bool) -> None:
    def run(bench: Bench) -> list[Array]:
        height, width = size
        f = bench.floats(*size, CHANNELS, scale=30)
        high, low = bench.exact(f)
        if bench.half:
            f = (high.astype(np.float64) + low).astype(np.float32)
        weight, bias = bench.floats(16, CHANNELS, 3, 3, scale=0.05), bench.floats(16)
        pooled = bench.empty(height // 2, width // 2, 16, dtype=np.float32)
        packed = bench.put(packing.windowed(weight, bench.half, split=bench.half))
        bench.kernels.mask_pool(high, low, packed, bench.put(bias), pooled)
        wanted = references.mean2x2(np.maximum(references.conv3(f, weight) + bias, 0))
        terms = references.mean2x2(references.conv3_terms(f, weight) + np.abs(bias))
        bench.close(pooled, wanted, terms, stored=False)

        again, offset = bench.floats(16, 16, 3, 3, scale=0.1), bench.floats(16)
        up, up_bias = bench.floats(16, 2, 3, 3, scale=0.3), bench.floats(2)
        mask = bench.empty(*size, dtype=np.uint8)
        bench.kernels.mask_decide(
            pooled,
            bench.put(again.transpose(2, 3, 1, 0).reshape(9, 16, 16)),
            bench.put(offset),
            bench.put(up.transpose(2, 3, 0, 1).reshape(9, 16, 2)),
            bench.put(up_bias),
            mask,
            quads=quads,
        )
        hidden = np.maximum(references.conv3(pooled, again) + offset, 0)
        logits = references.transposed_conv3(hidden, up) + up_bias
        margin = logits[..., 1] - logits[..., 0]
        clear, active = np.abs(margin) > 1e-5 * np.abs(logits).max(), margin > 0
        if quads:
            clear, active = (_of_quads(part, some) for part, some in ((clear, np.all), (active, np.any)))
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(mask[clear], active[clear])
        assert set(np.unique(mask)) <= {0, 1}
        return [pooled, mask]

    same_with_all_seeds(kind, run, size)


def _of_quads(pixels: NDArray[np.bool_], some: Any) -> NDArray[np.bool_]:
    """(H, W): at all pixels of a 2x2, what `some` says of them."""
    height, width = pixels.shape
    found: NDArray[np.bool_] = some(pixels.reshape(height // 2, 2, width // 2, 2), axis=(1, 3))
    return found.repeat(2, 0).repeat(2, 1)


def test_mask_of_equal_logits_is_inactive() -> None:
    bench = Bench(KINDS[0], 1)
    mask = bench.empty(8, 12, dtype=np.uint8)
    zeros = [bench.put(np.zeros(shape, np.float32)) for shape in ((4, 6, 16), (9, 16, 16), (16,), (9, 16, 2), (2,))]
    bench.kernels.mask_decide(*zeros, mask, quads=True)
    assert not mask.any()


@pytest.mark.parametrize("mask", LISTED)
@with_kinds("size", *SIZES, (64, 128), (130, 66), kinds=EITHER)
def test_select(kind: Kind, size: tuple[int, int], mask: str) -> None:
    def run(bench: Bench) -> list[Array]:
        lists = Lists(bench, LISTED[mask](*size))
        on = lists.mask == 1
        y, x = np.nonzero(on)
        active = (y << 16 | x).astype(np.uint32)
        y, x = np.nonzero(lists.mask == 0)
        inactive = (y << 16 | x).astype(np.uint32)
        assert lists.counts.tolist() == [len(active), len(inactive)]
        np.testing.assert_array_equal(lists.active[: len(active)], active)
        np.testing.assert_array_equal(lists.inactive[: len(inactive)], inactive)
        wanted = np.where(on, np.cumsum(on).reshape(size), 0)
        np.testing.assert_array_equal(lists.inverse, wanted)
        return [lists.active[: len(active)], lists.inactive[: len(inactive)], lists.inverse]

    same_with_all_seeds(kind, run, size)


@with_kinds(
    "size, mask, dense_in, dense_out",
    *((size, "third", 32, 16) for size in SIZES),
    *((WATCHED_SIZE, mask, 64, 32) for mask in MASKS),
    *((WATCHED_SIZE, "third", *channels) for channels in [(16, 0), (0, 0), (0, 16)]),
    ((18, 36), "all", *PAIRS[-1]),  # more tiles than blocks
)
def test_conv_listed(kind: Kind, size: tuple[int, int], mask: str, dense_in: int, dense_out: int) -> None:
    def run(bench: Bench) -> list[Array]:
        area = size[0] * size[1]
        lists = Lists(bench, MASKS[mask](*size))
        on = lists.mask.astype(bool)
        count = int(on.sum())
        source = bench.values(*size, CHANNELS, scale=20)
        source[~on, dense_in:] = 0  # sparse channels are 0 at inactive pixels
        rows = bench.poison((area, CHANNELS - dense_in))
        rows[:count] = source[on][:, dense_in:]
        given = bench.features(source[..., :dense_in]), bench.put(rows), lists.inverse
        dense, rows_out = bench.empty(*size, dense_out), bench.empty(area, CHANNELS - dense_out)
        untouched = bench.poison((area, CHANNELS - dense_out))
        sums = bench.put(np.zeros(CHANNELS, np.int64))

        weight = bench.values(CHANNELS, CHANNELS, 3, 3, scale=0.05)
        packed = bench.put(packing.listed(weight, bench.half))
        pixels = lists.active, lists.counts[:1]
        bench.kernels.conv_listed(*given, packed, *pixels, dense, rows_out, sums, everything=True)
        wanted = np.maximum(references.conv3(source, weight), 0)
        terms = references.conv3_terms(source, weight)
        bench.close(rows_out[:count], wanted[on][:, dense_out:], terms[on][:, dense_out:])
        bench.close(dense[on], wanted[on][:, :dense_out], terms[on][:, :dense_out])
        np.testing.assert_array_equal(rows_out[count:].view(np.uint8), untouched[count:].view(np.uint8))
        found = sums / geometry.TILES["SUM_SCALE"]
        bench.close(found, wanted[on].sum(0), terms[on].sum(0) + 1e-3, stored=False)

        linear = references.conv3(source, weight)
        for slope in (0.25, 1.0) if size == WATCHED_SIZE else ():  # negative outputs stay, and count in the sums
            leaky = bench.empty(*size, dense_out), bench.empty(area, CHANNELS - dense_out)
            total = bench.put(np.zeros(CHANNELS, np.int64))
            bench.kernels.conv_listed(*given, packed, *pixels, *leaky, total, everything=True, slope=slope)
            result = np.maximum(linear, slope * linear)[on]
            bench.close(leaky[0][on], result[:, :dense_out], terms[on][:, :dense_out])
            bench.close(leaky[1][:count], result[:, dense_out:], terms[on][:, dense_out:])
            found = total / geometry.TILES["SUM_SCALE"]
            bench.close(found, result.sum(0), terms[on].sum(0) + 1e-3, stored=False)

        if size == WATCHED_SIZE and not kind.races:
            y, x = size[0] // 2, size[1] // 3
            parts = [bench.put(np.zeros(CHANNELS, np.int64)) for _ in range(3)]
            windows = (0, 0, y, size[1]), (y, 0, size[0], x), (y, x, *size)
            for part, window in zip(parts, windows, strict=True):
                again = [bench.put(array) for array in (dense, rows_out)]
                bench.kernels.conv_listed(*given, packed, *pixels, *again, part, everything=True, window=window)
            np.testing.assert_array_equal(sum(parts), sums)  # not a bit depends on how the pixels are shared out
        if not bench.half:  # stored as they were added up
            exact = np.zeros((area, CHANNELS))
            exact[: on.sum(), :dense_out], exact[:count, dense_out:] = dense[on], rows_out[:count]
            np.testing.assert_array_equal(sums, np.rint(exact * geometry.TILES["SUM_SCALE"]).astype(np.int64).sum(0))

        if dense_in and dense_out:
            some = bench.put(np.zeros(dense_out, np.int64))
            small = weight[:dense_out, :dense_in]
            packed = bench.put(packing.listed(small, bench.half))
            pixels = lists.inactive, lists.counts[1:]
            bench.kernels.conv_listed(*given, packed, *pixels, dense, rows_out, some, everything=False)
            wanted[~on, :dense_out] = np.maximum(references.conv3(source[..., :dense_in], small), 0)[~on]
            bench.close(dense, wanted[..., :dense_out], terms[..., :dense_out])
            found = some / geometry.TILES["SUM_SCALE"]
            bench.close(found, wanted[~on][:, :dense_out].sum(0), terms[~on].sum(0)[:dense_out] + 1e-3, stored=False)
        elif dense_out:
            dense[~on] = 0  # the engine's part where there are no dense inputs
        return [dense, rows_out[:count], sums]

    same_with_all_seeds(kind, run, size)
