"""Every kernel, through its launcher, on the emulator: equal to NumPy in float64 up to the rounding that it must do.

The bounds: a float sum may be off by SUM_ERROR of its terms' absolute values, a stored half by HALF_ERROR of itself.
Cases of the sizes in TWICE run with two seeds (other orders of threads and blocks, other poison) to the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import references
from cases import EITHER, KINDS, LISTED, MASKS, PAIRS, SCALES, SEEDS, SIZES, TWICE, WATCHED_SIZE, Kind, Mask, with_kinds
from host.device import HostDevice
from numpy.typing import NDArray

from cupy_kernels import Kernels, geometry, packing

pytestmark = pytest.mark.usefixtures("gpp")

CHANNELS = 64
SUM_ERROR = 2.0**-19  # about 32 roundings of floats; the longest sum has 576 terms, in 4 or more parts
HALF_ERROR = 2.0**-11
SMALLEST_HALF = 2.0**-24

Array = NDArray[Any]


class Bench:
    """A device, its kernels, and random numbers that both precisions hold exactly."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.device = HostDevice(kind.arch, seed=seed, races=kind.races, multiprocessors=1)
        self.kernels = Kernels(self.device, kind.half)
        self.half = kind.half
        self.element = np.dtype(self.kernels.element)
        self._random = np.random.default_rng(7)

    def values(self, *shape: int, scale: float = 1.0) -> Array:
        """Normally distributed, float32, exact in halves."""
        return (self._random.standard_normal(shape) * scale).astype(np.float16).astype(np.float32)

    def floats(self, *shape: int, scale: float = 1.0) -> Array:
        """Normally distributed, all the digits of float32."""
        return (self._random.standard_normal(shape) * scale).astype(np.float32)

    def put(self, host: Array, dtype: Any = None) -> Array:
        return self.device.array(np.ascontiguousarray(host, dtype or host.dtype))

    def features(self, host: Array) -> Array:
        return self.put(host, self.element)

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        return self.device.empty(shape, dtype or self.element)

    def exact(self, host: Array) -> tuple[Array, Array]:
        """f as (high, low); low is empty with floats."""
        if not self.half:
            return self.put(host, np.float32), self.empty(0, 0, 0)
        high = host.astype(np.float16)
        return self.put(high), self.put((host - high.astype(np.float32)).astype(np.float16))

    def poison(self, shape: tuple[int, ...]) -> Array:
        """What an array holds that nobody wrote."""
        return self.empty(*shape).copy()

    def close(self, found: Array, wanted: Array, terms: Array, stored: bool = True) -> None:
        """All of found is wanted, up to the rounding of sums and, if stored as an element, of halves."""
        assert found.shape == wanted.shape
        bound = SUM_ERROR * terms + (HALF_ERROR * np.abs(wanted) + SMALLEST_HALF if self.half and stored else 0)
        error = np.abs(found.astype(np.float64) - wanted)
        assert np.isfinite(found).all()
        assert (error <= bound).all(), f"off by {np.max(error / bound):.2f} times the bound"


@pytest.fixture(scope="module", autouse=True)
def built(gpp: None, request: pytest.FixtureRequest) -> None:
    """All programs, compiled side by side; only where the whole module runs, for few tests need few of them."""
    if len(request.session.items) < 100:
        return
    jobs = {
        (kind, file, *sorted(macros.items()))
        for kind in KINDS
        for scale, up in (*((scale, 1) for scale in SCALES), (1, 2), (1, 4))
        for file, macros in geometry.variants(kind.half, scale, set(PAIRS), up)
        if file != "picture.cu"  # test_picture.py
    }

    def build(job: tuple[Any, ...]) -> None:
        kind, file, *macros = job
        HostDevice(kind.arch, races=kind.races).compile(file, dict(macros))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(build, jobs))


def same_with_all_seeds(kind: Kind, run: Callable[[Bench], list[Array]], size: tuple[int, int] = WATCHED_SIZE) -> None:
    """run checks its results and returns them; they must not depend on the seed."""
    first = run(Bench(kind, SEEDS[0]))
    again = not kind.races and size in TWICE  # the order does not matter to the race finder
    for seed in SEEDS[1:] if again else ():
        for before, after in zip(first, run(Bench(kind, seed)), strict=True):
            np.testing.assert_array_equal(before, after)


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


@with_kinds("size", *SIZES)
def test_mask(kind: Kind, size: tuple[int, int]) -> None:
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
        )
        hidden = np.maximum(references.conv3(pooled, again) + offset, 0)
        logits = references.transposed_conv3(hidden, up) + up_bias
        margin = logits[..., 1] - logits[..., 0]
        clear = np.abs(margin) > 1e-5 * np.abs(logits).max()
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(mask[clear], margin[clear] > 0)
        assert set(np.unique(mask)) <= {0, 1}
        return [pooled, mask]

    same_with_all_seeds(kind, run, size)


def test_mask_of_equal_logits_is_inactive() -> None:
    bench = Bench(KINDS[0], 1)
    mask = bench.empty(8, 12, dtype=np.uint8)
    zeros = [bench.put(np.zeros(shape, np.float32)) for shape in ((4, 6, 16), (9, 16, 16), (16,), (9, 16, 2), (2,))]
    bench.kernels.mask_decide(*zeros, mask)
    assert not mask.any()


class Lists:
    """What list_pixels makes of a mask, on the device."""

    def __init__(self, bench: Bench, mask: Mask) -> None:
        height, width = mask.shape
        area = height * width
        self.mask = bench.put(mask)
        partial = bench.empty(geometry.select_blocks(area), dtype=np.int32)
        self.active, self.inactive = (bench.empty(area, dtype=np.uint32) for _ in range(2))
        self.inverse = bench.empty(height, width, dtype=np.int32)
        self.counts = bench.empty(2, dtype=np.int32)
        bench.kernels.count_pixels(self.mask, partial)
        bench.kernels.list_pixels(self.mask, partial, self.active, self.inactive, self.inverse, self.counts)


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


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_attention(kind: Kind) -> None:
    def run(bench: Bench) -> list[Array]:
        pixels = 1234
        mean = np.abs(bench.floats(256))
        sums = np.rint(mean.astype(np.float64) * pixels * geometry.TILES["SUM_SCALE"]).astype(np.int64)
        collect, bias = bench.floats(256, CHANNELS, scale=0.1), bench.floats(CHANNELS)
        squeeze, squeeze_bias = bench.floats(CHANNELS, 4, scale=0.3), bench.floats(4)
        expand, expand_bias = bench.floats(4, CHANNELS, scale=0.3), bench.floats(CHANNELS)
        scales = bench.empty(CHANNELS, dtype=np.float32)
        weights = map(bench.put, (collect, bias, squeeze, squeeze_bias, expand, expand_bias))
        bench.kernels.attention_scales(bench.put(sums.reshape(4, CHANNELS)), *weights, scales, pixels)
        inner = np.maximum((mean.astype(np.float64) @ collect + bias) @ squeeze + squeeze_bias, 0)
        wanted = 1 / (1 + np.exp(-(inner @ expand + expand_bias)))
        np.testing.assert_allclose(scales, wanted, rtol=0, atol=1e-5)
        return [scales]

    same_with_all_seeds(kind, run)


@with_kinds("size", *SIZES)
def test_sum_features(kind: Kind, size: tuple[int, int]) -> None:
    """Exactly the values' own roundings, also of values beyond what a float holds in units; and windows add up."""

    def run(bench: Bench) -> list[Array]:
        f = bench.floats(*size, CHANNELS, scale=30)
        f[0, 0, :3] = 60000.123, -60000.123, 2.0**-21
        exact = bench.exact(f)
        if bench.half:
            f = exact[0].astype(np.float32) + exact[1].astype(np.float32)
        y, x = max(size[0] // 2, 1), max(size[1] // 3, 1)
        windows = (0, 0, *size), (0, 0, y, size[1]), (y, 0, size[0], x), (y, x, *size)
        found = []
        for top, left, bottom, right in windows:
            sums = bench.put(np.zeros(CHANNELS, np.int64))
            bench.kernels.sum_features(*exact, sums, (top, left, bottom, right))
            part = f[top:bottom, left:right].astype(np.float64) * geometry.TILES["SUM_SCALE"]
            np.testing.assert_array_equal(sums, np.rint(part).astype(np.int64).sum((0, 1)))
            found.append(sums)
        np.testing.assert_array_equal(found[0], sum(found[1:]))
        return found

    same_with_all_seeds(kind, run, size)


@with_kinds(
    "size, mask, dense, share_of",
    *((size, "third", (32, 16, 0, 0), "middle") for size in SIZES),
    *((WATCHED_SIZE, mask, (16, 16, 16, 64), "middle") for mask in MASKS),
    *((WATCHED_SIZE, "third", (0, 0, 0, 0), share_of) for share_of in ("middle", "first", "last", "none")),
    *(((18, 36), "all", (16, 0, 0, 0), share_of) for share_of in ("first", "none")),  # more tiles than blocks
)
def test_residual(
    kind: Kind,
    size: tuple[int, int],
    mask: str,
    dense: tuple[int, ...],
    share_of: str,
) -> None:
    """share_of: for the first, a middle or the last SMM, or no share of the network's collect at all."""
    first, last = share_of == "first", share_of == "last"

    def run(bench: Bench) -> list[Array]:
        area = size[0] * size[1]
        lists = Lists(bench, MASKS[mask](*size))
        on = lists.mask.astype(bool)
        outputs = bench.values(4, *size, CHANNELS, scale=20)
        for layer in range(4):
            outputs[layer, ~on, dense[layer] :] = 0
        maps = [outputs[i, :, :, :d].reshape(-1) for i, d in enumerate(dense)]
        rows = []
        for i, d in enumerate(dense):
            compact = bench.poison((area, CHANNELS - d))
            compact[: on.sum()] = outputs[i][on][:, d:]
            rows.append(compact.reshape(-1))
        layers = bench.features(np.concatenate([*maps, *rows]))
        matrix, bias = bench.values(CHANNELS, 4, CHANNELS, scale=0.1), bench.floats(CHANNELS)
        scales = np.abs(bench.floats(CHANNELS))
        f = bench.floats(*size, CHANNELS, scale=30)
        before = bench.exact(f)
        if bench.half:
            f = (before[0].astype(np.float64) + before[1]).astype(np.float32)
        after = bench.empty(*size, CHANNELS), bench.empty(*size if bench.half else (0, 0), CHANNELS)
        share, share_bias = bench.values(CHANNELS, CHANNELS, scale=0.1), bench.floats(CHANNELS)
        collected = bench.values(*size, CHANNELS, scale=20)
        into = bench.features(collected) if not first else bench.empty(*size, CHANNELS)

        everything = matrix.reshape(CHANNELS, -1)
        dense_only = np.concatenate([matrix[:, i, :d] for i, d in enumerate(dense)], 1)
        for active, part, pixels in (
            (True, everything, (lists.active, lists.counts[:1])),
            (False, dense_only, (lists.inactive, lists.counts[1:])),
        ):
            bench.kernels.residual(
                layers,
                bench.put(packing.chunk_table(dense, active, bench.half)),
                bench.put(packing.product(part, bench.half)),
                bench.put(bias),
                bench.put(scales),
                before,
                after,
                bench.put(packing.product(share, bench.half)),
                bench.put(share_bias),
                into,
                *pixels,
                first=first,
                last=last,
                shared=share_of != "none",
                slope=0.25,
            )
        inputs = outputs.transpose(1, 2, 0, 3).reshape(*size, -1).astype(np.float64)
        total = inputs @ everything.T.astype(np.float64) + bias
        wanted = total * scales + f
        terms = (np.abs(inputs) @ np.abs(everything.T) + np.abs(bias)) * scales + np.abs(f)
        bench.close(after[0], wanted, terms)
        new = after[0].astype(np.float64)
        if bench.half:
            bench.close(new + after[1], wanted, terms + np.abs(wanted) * HALF_ERROR**2 / SUM_ERROR + 0.1, stored=False)
        if share_of == "none":
            np.testing.assert_array_equal(into, collected)
            return [*after]
        more = new @ share.T.astype(np.float64) + (share_bias if first else collected)
        result = np.maximum(more, more / 4) if last else more
        bench.close(into, result, np.abs(new) @ np.abs(share.T) + np.abs(share_bias if first else collected))
        return [*after, into]

    same_with_all_seeds(kind, run, size)


@with_kinds("size", *SIZES)
def test_conv_shuffle(kind: Kind, size: tuple[int, int]) -> None:
    def run(bench: Bench) -> list[Array]:
        source = bench.values(*size, CHANNELS, scale=20)
        weight, bias = bench.values(4, CHANNELS, CHANNELS, 3, 3, scale=0.05), bench.floats(4, CHANNELS)
        packed = bench.put(np.stack([packing.windowed(one, bench.half) for one in weight]))
        out = bench.empty(2 * size[0], 2 * size[1], CHANNELS)
        bench.kernels.conv_shuffle(bench.features(source), packed, bench.put(bias), out, slope=0.25)
        order = weight.swapaxes(0, 1).reshape(-1, *weight.shape[2:]), bias.T.reshape(-1)  # as PyTorch has them
        wanted = references.pixel_shuffle(references.conv3(source, order[0]) + order[1], 2)
        terms = references.pixel_shuffle(references.conv3_terms(source, order[0]) + np.abs(order[1]), 2)
        bench.close(out, np.maximum(wanted, wanted / 4), terms)
        return [out]

    same_with_all_seeds(kind, run, size)


@with_kinds(
    "size, scale, up",
    *((size, 3, 1) for size in SIZES),
    *((WATCHED_SIZE, scale, 1) for scale in SCALES if scale != 3),
    *((WATCHED_SIZE, 1, 2), ((8, 20), 1, 4), ((24, 40), 1, 4)),
)
def test_tail(kind: Kind, size: tuple[int, int], scale: int, up: int) -> None:
    def run(bench: Bench) -> list[Array]:
        real, outputs = 3 * scale**2, geometry.tail_outputs(scale)
        source = bench.values(*size, CHANNELS, scale=20)
        weight, bias = np.zeros((outputs, CHANNELS, 3, 3), np.float32), np.zeros(outputs, np.float32)
        weight[:real], bias[:real] = bench.values(real, CHANNELS, 3, 3, scale=0.05), bench.floats(real)
        frame = np.clip(bench.floats(size[0] // up, size[1] // up, 3, scale=60) + 128, 0, 255)
        out = bench.empty(scale * size[0], scale * size[1], 3, dtype=np.float32)
        packed = bench.put(packing.windowed(weight, bench.half))
        bench.kernels.tail(bench.features(source), packed, bench.put(bias), bench.put(frame), out, scale, up)
        detail = references.conv3(source, weight[:real]) + bias[:real]
        terms = references.conv3_terms(source, weight[:real]) + np.abs(bias[:real])
        wanted = references.pixel_shuffle(detail, scale) + references.bicubic(frame, scale * up)
        bench.close(out, np.clip(wanted, 0, 255), references.pixel_shuffle(terms, scale) + 1000, stored=False)
        return [out]

    same_with_all_seeds(kind, run, size)
