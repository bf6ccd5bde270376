"""The kernels after the masked layers, through their launchers, on the emulator: NumPy in float64 up to rounding.

Channel sums, attention, residual and collect, upsampling, tail; see `kernel_bench` for the bounds.
"""

from __future__ import annotations

import numpy as np
import pytest
import references
from cases import KINDS, MASKS, SCALES, SIZES, WATCHED_SIZE, Kind, with_kinds
from kernel_bench import CHANNELS, HALF_ERROR, SUM_ERROR, Array, Bench, Lists, build, same_with_all_seeds

from cupy_kernels import geometry, packing

pytestmark = pytest.mark.usefixtures("gpp")


@pytest.fixture(scope="module", autouse=True)
def built(gpp: None, request: pytest.FixtureRequest) -> None:
    build(request, ("select.cu", "attention.cu", "upsample.cu", "tail.cu"))


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


@pytest.mark.parametrize(("level", "share"), [(0, 0.0), (0, 0.1), (1, 0.1), (0, 1.0)])
@with_kinds("size", *SIZES)
def test_conv_shuffle(kind: Kind, size: tuple[int, int], level: int, share: float) -> None:
    """Where masks of all marks are: 0, 1, and 2 for what is not wanted."""

    def run(bench: Bench) -> list[Array]:
        source = bench.values(*size, CHANNELS, scale=20)
        weight, bias = bench.values(4, CHANNELS, CHANNELS, 3, 3, scale=0.05), bench.floats(4, CHANNELS)
        packed = bench.put(np.stack([packing.windowed(one, bench.half) for one in weight]))
        out = bench.empty(2 * size[0], 2 * size[1], CHANNELS)
        chosen = np.random.default_rng(3).random((size[0] >> level, size[1] >> level)) < share
        mask = chosen.astype(np.uint8)
        mask[::2][~chosen[::2]] = 2
        given = bench.features(source), packed, bench.put(bias), bench.put(mask)
        bench.kernels.conv_shuffle(*given, out, level=level, slope=0.25)
        order = weight.swapaxes(0, 1).reshape(-1, *weight.shape[2:]), bias.T.reshape(-1)  # as PyTorch has them
        wanted = references.pixel_shuffle(references.conv3(source, order[0]) + order[1], 2)
        terms = references.pixel_shuffle(references.conv3_terms(source, order[0]) + np.abs(order[1]), 2)
        active = (mask == 1).repeat(2 << level, 0).repeat(2 << level, 1)[..., None]
        bench.close(out, np.where(active, np.maximum(wanted, wanted / 4), 0), terms * active)
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
