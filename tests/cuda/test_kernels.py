"""Every kernel, through its launcher, against plain NumPy; on the emulator."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
from numpy.typing import NDArray

from cupy_kernels import geometry, packing

pytestmark = pytest.mark.usefixtures("gpp")
PRECISIONS = ("fp32", "fp16")
NEAR = {"fp32": 2e-5, "fp16": 4e-3}  # of values near 1: float sums; rounding to halves


def close(got: NDArray[Any], wanted: NDArray[Any], precision: str) -> None:
    limit = NEAR[precision] * max(1.0, float(np.abs(wanted).max(initial=0)))
    assert np.isfinite(got).all()
    assert np.abs(got.astype(np.float64) - wanted).max(initial=0) < limit


@pytest.mark.parametrize("size", cases.SIZES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_head(precision: str, size: tuple[int, int]) -> None:
    device, kernels = cases.kernels(precision)
    frame, mean = cases.image(*size), np.array([110, 120, 100], np.float32)
    weight, bias = cases.normal((64, 3, 3, 3), 1, 0.01), cases.normal((64,), 2)
    out = device.empty((*size, 64), kernels.element)
    packed = weight.transpose(2, 3, 1, 0).reshape(27, 64)
    kernels.head_first(*map(device.array, (frame, mean, packed, bias)), out)
    close(out, np.maximum(cases.conv3(frame - mean, weight) + bias, 0), precision)


@pytest.mark.parametrize("size", cases.SIZES)
@pytest.mark.parametrize(("precision", "arch"), [("fp32", 80), ("fp16", 80), ("fp16", 75)])
def test_conv_frame(precision: str, arch: int, size: tuple[int, int]) -> None:
    device, kernels = cases.kernels(precision, arch)
    half = precision == "fp16"
    source = cases.rounded(cases.normal((*size, 64), 1), precision).astype(kernels.element)
    weight = cases.rounded(cases.normal((64, 64, 3, 3), 2, 1 / 24), precision)
    bias, more = cases.normal((64,), 3), cases.normal((*size, 64), 4).astype(kernels.element)
    packed = device.array(packing.windowed(weight.astype(np.float32), half))
    high, low = device.empty((*size, 64), kernels.element), device.empty((*size, 64), kernels.element)
    kernels.conv_head(device.array(source), packed, device.array(bias), high, low)
    wanted = cases.conv3(source, weight) + bias
    exact = high.astype(np.float64) + (low.astype(np.float64) if half else 0)
    close(exact, wanted, "fp32")  # the residual stream is exact in halves too
    close(high, wanted, precision)
    added = device.array(more)
    kernels.conv_add(device.array(source), packed, device.array(bias), added, added)
    close(added, wanted + more, precision)


@pytest.mark.parametrize("size", [(2, 2), (8, 16), (34, 62)])
@pytest.mark.parametrize(("precision", "arch"), [("fp32", 80), ("fp16", 80), ("fp16", 75)])
def test_mask(precision: str, arch: int, size: tuple[int, int]) -> None:
    """The logits are as good as float sums of float features, in halves too: no pixel that is not a near tie flips."""
    device, kernels = cases.kernels(precision, arch)
    half = precision == "fp16"
    features = cases.normal((*size, 64), 1, 3)
    high = features.astype(kernels.element)
    low = (features - high.astype(np.float32)).astype(kernels.element)
    weights = [cases.normal((16, 64, 3, 3), 2, 1 / 24), cases.normal((16, 16, 3, 3), 3, 1 / 8)]
    up, biases = cases.normal((16, 2, 3, 3), 4, 1 / 4), [cases.normal((n,), n) for n in (16, 16, 2)]
    rows, columns = size[0] // 2, size[1] // 2
    pooled = device.empty((rows, columns, 16), np.float32)
    packed = packing.windowed(weights[0], half, split=half)
    kernels.mask_pool(device.array(high), device.array(low), device.array(packed), device.array(biases[0]), pooled)
    exact = np.maximum(cases.conv3(features, weights[0]) + biases[0], 0)
    wanted = exact.reshape(rows, 2, columns, 2, 16).mean((1, 3))
    close(pooled, wanted, "fp32")

    mask = device.empty(size, np.uint8)
    tap_major = weights[1].transpose(2, 3, 1, 0).reshape(9, 16, 16), up.transpose(2, 3, 0, 1).reshape(9, 16, 2)
    arrays = [tap_major[0], biases[1], tap_major[1], biases[2]]
    kernels.mask_decide(pooled, *map(device.array, arrays), mask)
    hidden = np.maximum(cases.conv3(wanted, weights[1]) + biases[1], 0)
    logits = np.zeros((size[0] + 2, size[1] + 2, 2))
    for y in range(rows):
        for x in range(columns):
            logits[2 * y : 2 * y + 3, 2 * x : 2 * x + 3] += np.einsum("i,iokl->klo", hidden[y, x], up)
    logits = logits[1:-1, 1:-1] + biases[2]
    margin = logits[..., 1] - logits[..., 0]
    assert set(np.unique(mask)) <= {0, 1}
    assert np.array_equal((mask > 0)[np.abs(margin) > 1e-4], (margin > 0)[np.abs(margin) > 1e-4])


def test_a_tie_is_inactive() -> None:
    device, kernels = cases.kernels("fp32")
    zeros = [np.zeros(shape, np.float32) for shape in ((9, 16, 16), (16,), (9, 16, 2), (2,))]
    mask = device.empty((6, 6), np.uint8)
    pooled = device.array(cases.normal((3, 3, 16), 1))
    kernels.mask_decide(pooled, *map(device.array, zeros), mask)
    assert not mask.any()
    zeros[3][1] = 1e-6
    kernels.mask_decide(pooled, *map(device.array, zeros), mask)
    assert mask.all()


@pytest.mark.parametrize("size", [(2, 2), (10, 34), (68, 62), (66, 130)])
@pytest.mark.parametrize("kind", cases.MASKS)
def test_select(kind: str, size: tuple[int, int]) -> None:
    device, kernels = cases.kernels("fp32")
    mask = device.array(cases.mask(kind, *size))
    area = size[0] * size[1]
    partial = device.empty((geometry.select_blocks(area),), np.int32)
    active, inactive = device.empty((area,), np.uint32), device.empty((area,), np.uint32)
    inverse, counts = device.empty(size, np.int32), device.empty((2,), np.int32)
    kernels.count_active(mask, partial)
    kernels.list_pixels(mask, partial, active, inactive, inverse, counts)
    wanted = cases.listed(mask)
    count = int(mask.sum())
    assert counts.tolist() == [count, area - count]
    assert np.array_equal(active[:count], wanted[0][:count])
    assert np.array_equal(inactive[: area - count], wanted[1][: area - count])
    assert np.array_equal(inverse, wanted[2])


@pytest.mark.parametrize("kind", cases.MASKS)
@pytest.mark.parametrize("channels", [(64, 0), (64, 32), (32, 16), (0, 64), (16, 0)])
@pytest.mark.parametrize(("precision", "arch"), [("fp32", 80), ("fp16", 80), ("fp16", 75)])
def test_conv_listed(precision: str, arch: int, channels: tuple[int, int], kind: str) -> None:
    """All pixels of a layer: the active ones from everything, the inactive ones from dense to dense."""
    device, kernels = cases.kernels(precision, arch)
    half, (before, after), (height, width) = precision == "fp16", channels, (10, 34)
    mask = cases.mask(kind, height, width)
    area, count = mask.size, int(mask.sum())
    active, inactive, inverse = map(device.array, cases.listed(mask))
    source = cases.rounded(cases.normal((height, width, 64), 1), precision)
    source[..., before:] *= mask[..., None]
    weight = cases.rounded(cases.normal((64, 64, 3, 3), 2, 1 / 24), precision).astype(np.float32)
    dense = device.array(np.ascontiguousarray(source[..., :before]).astype(kernels.element))
    rows = device.empty((area, 64 - before), kernels.element)
    rows[:count] = source[mask > 0][:, before:]
    dense_out = device.empty((height, width, after), kernels.element)
    rows_out = device.empty((area, 64 - after), kernels.element)
    untouched = rows_out.copy()
    sums = device.array(np.zeros(64, np.int64))
    lists = device.array(np.array([count], np.int32)), device.array(np.array([area - count], np.int32))
    given = dense, rows, inverse
    packed = device.array(packing.listed(weight, half))
    kernels.conv_listed(*given, packed, active, lists[0], dense_out, rows_out, sums, everything=True)
    wanted = np.maximum(cases.conv3(source, weight), 0)
    dense_wanted = wanted[..., :after]
    if before and after:
        part = weight[:after, :before]
        packed = device.array(packing.listed(part, half))
        kernels.conv_listed(*given, packed, inactive, lists[1], dense_out, rows_out, sums[:after], everything=False)
        everywhere = np.maximum(cases.conv3(source[..., :before], part), 0)
        dense_wanted = np.where(mask[..., None] > 0, dense_wanted, everywhere)
        close(dense_out, dense_wanted, precision)
    else:
        close(dense_out[mask > 0], dense_wanted[mask > 0], precision)
        dense_wanted = dense_wanted * mask[..., None]
    close(rows_out[:count], wanted[mask > 0][:, after:], precision)
    assert rows_out[count:].tobytes() == untouched[count:].tobytes()
    totals = np.concatenate([dense_wanted.sum((0, 1)), wanted[mask > 0][:, after:].sum(0)])
    close(sums / geometry.TILES["SUM_SCALE"] / area, totals / area, "fp32")


def test_results_do_not_depend_on_the_grid_or_on_the_order_of_threads() -> None:
    results = []
    for multiprocessors, seed in ((1, 1), (3, 8)):
        device, kernels = cases.kernels("fp16", multiprocessors=multiprocessors, seed=seed)
        mask = cases.mask("full", 34, 34)
        active, _, inverse = map(device.array, cases.listed(mask))
        source = device.array(cases.normal((34, 34, 64), 1).astype(np.float16))
        rows, dense_out = device.empty((1156, 0), np.float16), device.empty((34, 34, 32), np.float16)
        rows_out, sums = device.empty((1156, 32), np.float16), device.array(np.zeros(64, np.int64))
        weight = device.array(packing.listed(cases.normal((64, 64, 3, 3), 2, 1 / 24), True))
        count = device.array(np.array([1156], np.int32))
        kernels.conv_listed(source, rows, inverse, weight, active, count, dense_out, rows_out, sums, everything=True)
        results.append(dense_out.tobytes() + rows_out.tobytes() + sums.tobytes())
    assert results[0] == results[1]


def test_halves_saturate() -> None:
    """Beyond the largest half a value stays the largest half: an infinity would become NaN one layer on."""
    device, kernels = cases.kernels("fp16")
    source = device.array(np.full((2, 2, 64), 60000, np.float16))
    weight = device.array(packing.windowed(np.ones((64, 64, 3, 3), np.float32), True))
    added = device.array(np.zeros((2, 2, 64), np.float16))
    kernels.conv_add(source, weight, device.array(np.zeros(64, np.float32)), added, added)
    assert (added == 65504).all()


def test_attention() -> None:
    device, kernels = cases.kernels("fp32")
    means = np.abs(cases.normal((4, 64), 1))
    pixels, unit = 340, geometry.TILES["SUM_SCALE"]
    sums = np.rint(means.astype(np.float64) * pixels * unit).astype(np.int64)
    collect, bias = cases.normal((256, 64), 2, 1 / 16), cases.normal((64,), 3)
    squeeze, expand = cases.normal((64, 4), 4, 1 / 8), cases.normal((4, 64), 5)
    biases = cases.normal((4,), 6), cases.normal((64,), 7)
    scales = device.empty((64,), np.float32)
    arrays = [sums, collect, bias, squeeze, biases[0], expand, biases[1]]
    kernels.attention_scales(*map(device.array, arrays), scales, pixels)
    total = means.astype(np.float64).reshape(256) @ collect + bias
    logits = np.maximum(total @ squeeze + biases[0], 0) @ expand + biases[1]
    close(scales, 1 / (1 + np.exp(-logits)), "fp32")


@pytest.mark.parametrize("kind", cases.MASKS)
@pytest.mark.parametrize("stored", [(32, 16, 0, 16), (64, 64, 64, 64), (0, 0, 0, 0)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_residual(precision: str, stored: tuple[int, ...], kind: str) -> None:
    device, kernels = cases.kernels(precision)
    half, size = precision == "fp16", (10, 34)
    mask = cases.mask(kind, *size)
    area, count = mask.size, int(mask.sum())
    active, inactive, _ = map(device.array, cases.listed(mask))
    layers = [cases.rounded(np.abs(cases.normal((*size, 64), i)), precision) for i in range(4)]
    for layer, dense in zip(layers, stored, strict=True):
        layer[..., dense:] *= mask[..., None]
    maps = [layer[..., :dense].ravel() for layer, dense in zip(layers, stored, strict=True)]
    rows = [np.zeros((area, 64 - dense)) for dense in stored]
    for row, layer, dense in zip(rows, layers, stored, strict=True):
        row[:count] = layer[mask > 0][:, dense:]
        row[count:] = np.nan  # nobody may read beyond the active pixels
    buffer = device.array(np.concatenate([*maps, *(row.ravel() for row in rows)]).astype(kernels.element))
    collect = cases.rounded(cases.normal((64, 256), 5, 1 / 16), precision)
    share = cases.rounded(cases.normal((64, 64), 6, 1 / 8), precision).astype(np.float32)
    bias, share_bias, scales = cases.normal((64,), 7), cases.normal((64,), 8), np.abs(cases.normal((64,), 9))
    features, before = cases.normal((*size, 64), 10), cases.rounded(cases.normal((*size, 64), 11), precision)
    high = device.array(features.astype(kernels.element))
    low = device.array((features - high.astype(np.float32)).astype(kernels.element))
    after = device.empty((*size, 64), kernels.element), low  # the low part in place
    floats = device.array(bias), device.array(scales)
    shares = device.array(packing.product(share, half)), device.array(share_bias)
    for first, last in ((True, False), (False, True)):
        collected = device.array(before.astype(kernels.element))
        low[:] = (features - high.astype(np.float32)).astype(kernels.element)
        for is_active, pixels in ((True, active), (False, inactive)):
            kept = np.concatenate([collect[:, 64 * i : 64 * i + (64 if is_active else stored[i])] for i in range(4)], 1)
            table = device.array(packing.chunk_table(stored, is_active, half))
            weights = device.array(packing.product(kept.astype(np.float32), half))
            length = device.array(np.array([count if is_active else area - count], np.int32))
            out = *shares, collected, pixels, length
            kernels.residual(buffer, table, weights, *floats, (high, low), after, *out, first=first, last=last)
        total = np.concatenate(layers, -1) @ collect.T + bias
        wanted = total * scales + features
        exact = after[0].astype(np.float64) + (after[1].astype(np.float64) if half else 0)
        close(exact, wanted, "fp32")
        shared = cases.rounded(wanted, precision) @ share.T + (share_bias if first else before)
        close(collected, np.maximum(shared, 0) if last else shared, precision)


@pytest.mark.parametrize("size", [(2, 2), (10, 34)])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tail(precision: str, scale: int, size: tuple[int, int]) -> None:
    device, kernels = cases.kernels(precision)
    channels, outputs = 3 * scale * scale, geometry.tail_outputs(scale)
    source = cases.rounded(cases.normal((*size, 64), 1), precision)
    weight, bias = np.zeros((outputs, 64, 3, 3), np.float32), np.zeros(outputs, np.float32)
    weight[:channels] = cases.rounded(cases.normal((channels, 64, 3, 3), 2), precision)
    bias[:channels] = cases.normal((channels,), 3)
    frame = cases.image(*size)
    out = device.empty((scale * size[0], scale * size[1], 3), np.float32)
    packed = packing.windowed(weight, precision == "fp16")
    arrays = [source.astype(kernels.element), packed, bias, frame]
    kernels.tail(*map(device.array, arrays), out, scale)
    detail = (cases.conv3(source, weight) + bias)[..., :channels].reshape(*size, 3, scale, scale)
    detail = detail.transpose(0, 3, 1, 4, 2).reshape(out.shape)
    wanted = np.clip(detail + bicubic(bicubic(frame, scale, 0), scale, 1), 0, 255)
    assert np.abs(out - wanted).max() < 1e-3
    assert (out == 0).any() or (out == 255).any()  # the clamp had something to do


def bicubic(x: NDArray[Any], scale: int, axis: int) -> NDArray[np.float64]:
    """Cubic convolution with a = -0.75 along an axis, the border repeated, pixel centres aligned."""
    length = x.shape[axis]
    matrix = np.zeros((length * scale, length))
    for out in range(length * scale):
        centre = (out + 0.5) / scale - 0.5
        for near in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            d = abs(centre - near)
            inner, outer = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[out, min(max(near, 0), length - 1)] += inner if d <= 1 else outer
    return np.moveaxis(np.tensordot(matrix, x.astype(np.float64), (1, axis)), 0, axis)
