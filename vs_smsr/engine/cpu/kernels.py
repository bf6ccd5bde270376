"""The convolutions of SMSR as compiled kernels around the register block `contract`.

Vocabulary: the grid is a frame with a border of one zero pixel, flat, `width` pixels a row; a list holds flat grid
positions; a map has one line of channels per grid pixel; rows are the lines of active pixels only (row 0 is zero),
found through `inverse` (grid position -> row). Each kernel claims chunks of its list from `claims[slot]` until none
is left, so any number of threads may run it at once. A tile holds the sums of BLOCK pixels on the stack of a thread.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from vs_smsr.engine.cpu.block import add_fixed, contract, copy, fetch_add, pointer, relu, scale_add
from vs_smsr.engine.cpu.compiled import compiled
from vs_smsr.engine.cpu.isa import BLOCK

CHUNK = 8 * BLOCK  # pixels claimed at a time
C = 64
SUM_SCALE = float(1 << 20)  # channel sums are integers of this unit: adding them in any order gives the same bits


@njit(inline="always")
def _neighbours(pixels: Any, first: Any, last: Any, count: int, width: Any, stride: Any, offsets: Any) -> None:
    """offsets[tap * count + p] = element where the channels of pixel first + p's neighbour start in a map.

    Beyond the last pixel the last one is repeated: its sums are computed and not stored.
    """
    for p in range(count):
        here = np.int64(pixels[min(first + p, last)])
        for tap in range(9):
            offsets[tap * count + p] = (here + (tap // 3 - 1) * width + tap % 3 - 1) * stride


@cache
def convolution(lanes: int, vectors: int, pixels: int, bf16: int) -> Any:
    """3x3 over the pixels of a list, map to map: target = relu?(bias + conv(source) + added?)."""

    @compiled
    def kernel(
        claims, slot, list_, width, source, channels, source_stride, weights, group_stride, tap_starts, groups, bias,
        rectify, added, with_added, target, stride, outputs,
    ):  # fmt: skip
        span = groups * vectors * lanes
        tile = np.empty(BLOCK * span, np.float32)
        ones = np.ones(span, np.float32)
        offsets = np.empty(9 * BLOCK, np.int64)
        count = list_.shape[0]
        while True:
            start = fetch_add(claims, slot, CHUNK)
            if start >= count:
                break
            for first in range(start, min(start + CHUNK, count), BLOCK):
                _neighbours(list_, first, count - 1, BLOCK, width, source_stride, offsets)
                for p in range(BLOCK):
                    copy(pointer(tile, p * span), pointer(bias, 0), span)
                contract(
                    lanes, vectors, pixels, bf16, pointer(tile, 0), span, BLOCK // pixels, groups,
                    pointer(source, 0), pointer(offsets, 0), BLOCK, 9, channels,
                    pointer(weights, 0), pointer(tap_starts, 0), group_stride,
                )  # fmt: skip
                if rectify:
                    relu(pointer(tile, 0), BLOCK * span)
                for p in range(min(BLOCK, count - first)):
                    here = np.int64(list_[first + p]) * stride
                    if with_added:
                        row = pointer(tile, p * span)
                        scale_add(row, row, pointer(ones, 0), pointer(added, here), outputs)
                    copy(pointer(target, here), pointer(tile, p * span), outputs)

    return kernel


@cache
def pooled_convolution(lanes: int, vectors: int, pixels: int, bf16: int) -> Any:
    """3x3, bias, relu and the mean of 2x2 pixels; the list goes by quads, target by `half`, their half-size grid."""

    @compiled
    def kernel(
        claims, slot, list_, width, source, channels, weights, group_stride, tap_starts, groups, bias, half, target
    ):
        span = groups * vectors * lanes
        tile = np.empty(BLOCK * span, np.float32)
        ones, zeros = np.ones(span, np.float32), np.zeros(span, np.float32)
        quarter = np.full(span, np.float32(0.25))
        offsets = np.empty(9 * BLOCK, np.int64)
        count = list_.shape[0]
        while True:
            start = fetch_add(claims, slot, CHUNK)
            if start >= count:
                break
            for first in range(start, min(start + CHUNK, count), BLOCK):
                _neighbours(list_, first, count - 1, BLOCK, width, channels, offsets)
                for p in range(BLOCK):
                    copy(pointer(tile, p * span), pointer(bias, 0), span)
                contract(
                    lanes, vectors, pixels, bf16, pointer(tile, 0), span, BLOCK // pixels, groups,
                    pointer(source, 0), pointer(offsets, 0), BLOCK, 9, channels,
                    pointer(weights, 0), pointer(tap_starts, 0), group_stride,
                )  # fmt: skip
                relu(pointer(tile, 0), BLOCK * span)
                for quad in range(min(BLOCK, count - first) // 4):
                    row = pointer(tile, 4 * quad * span)
                    for p in range(4 * quad + 1, 4 * quad + 4):
                        scale_add(row, row, pointer(ones, 0), pointer(tile, p * span), span)
                    scale_add(row, row, pointer(quarter, 0), pointer(zeros, 0), span)
                    copy(pointer(target, np.int64(half[first // 4 + quad]) * span), row, span)

    return kernel


@cache
def active_layer(lanes: int, vectors: int, pixels: int, bf16: int) -> Any:
    """A masked layer at its active pixels: all 64 outputs from all inputs, relu, and their share of the collect.

    Dense inputs come from a map, sparse ones from the rows of active neighbours. A tap without an active neighbour in
    the block is skipped: it would add zeros.
    """
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claims, slot, list_, width, dense, dense_channels, dense_stride, dense_weights, dense_group, dense_starts,
        rows, inverse, sparse_first, sparse_weights, sparse_group, sparse_starts,
        out_rows, out_dense, out_stride, collect_weights, collect_group, bias, total, begin, sums, finish,
    ):  # fmt: skip
        tile = np.empty(pixels * C, np.float32)
        totals = np.empty(pixels * C, np.float32)
        offsets = np.empty(9 * pixels, np.int64)
        starts = np.empty(9, np.int64)
        own = np.empty(pixels, np.int64)
        for p in range(pixels):
            own[p] = p * C
        partial = np.zeros(C, np.int64)
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start = fetch_add(claims, slot, CHUNK)
            if start >= count:
                break
            for first in range(start, min(start + CHUNK, count), pixels):
                tile.fill(np.float32(0))
                if dense_channels > 0:
                    _neighbours(list_, first, count - 1, pixels, width, dense_stride, offsets)
                    contract(
                        lanes, vectors, pixels, bf16, pointer(tile, 0), C, 1, groups,
                        pointer(dense, 0), pointer(offsets, 0), pixels, 9, dense_channels,
                        pointer(dense_weights, 0), pointer(dense_starts, 0), dense_group,
                    )  # fmt: skip
                if sparse_first < C:
                    taps = 0
                    for tap in range(9):
                        step = (tap // 3 - 1) * width + tap % 3 - 1
                        found = np.int64(0)
                        for p in range(pixels):
                            row = np.int64(inverse[np.int64(list_[min(first + p, count - 1)]) + step])
                            offsets[taps * pixels + p] = row * C + sparse_first
                            found |= row
                        if found:
                            starts[taps] = sparse_starts[tap]
                            taps += 1
                    contract(
                        lanes, vectors, pixels, bf16, pointer(tile, 0), C, 1, groups,
                        pointer(rows, 0), pointer(offsets, 0), pixels, taps, C - sparse_first,
                        pointer(sparse_weights, 0), pointer(starts, 0), sparse_group,
                    )  # fmt: skip
                relu(pointer(tile, 0), pixels * C)
                for p in range(pixels):
                    if begin:
                        copy(pointer(totals, p * C), pointer(bias, 0), C)
                    else:
                        here = np.int64(list_[min(first + p, count - 1)]) * C
                        copy(pointer(totals, p * C), pointer(total, here), C)
                contract(
                    lanes, vectors, pixels, bf16, pointer(totals, 0), C, 1, groups,
                    pointer(tile, 0), pointer(own, 0), pixels, 1, C,
                    pointer(collect_weights, 0), pointer(zero, 0), collect_group,
                )  # fmt: skip
                for p in range(min(pixels, count - first)):
                    here = np.int64(list_[first + p])
                    copy(pointer(total, here * C), pointer(totals, p * C), C)
                    if finish:
                        add_fixed(pointer(partial, 0), pointer(totals, p * C), SUM_SCALE, C)
                    else:
                        row = np.int64(inverse[here])
                        copy(pointer(out_rows, row * C), pointer(tile, p * C), C)
                        copy(pointer(out_dense, here * out_stride), pointer(tile, p * C), out_stride)
        for c in range(C):
            fetch_add(sums, c, partial[c])

    return kernel


@cache
def inactive_total(lanes: int, vectors: int, pixels: int, bf16: int) -> Any:
    """The whole collect of an SMM at its inactive pixels: bias plus the shares of the four layers' dense maps."""
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claims, slot, list_, bias, weights0, weights1, weights2, weights3, dense0, dense1, dense2, dense3,
        channels, strides, group_strides, total, sums,
    ):  # fmt: skip
        tile = np.empty(BLOCK * C, np.float32)
        offsets = np.empty(BLOCK, np.int64)
        partial = np.zeros(C, np.int64)
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start = fetch_add(claims, slot, CHUNK)
            if start >= count:
                break
            for first in range(start, min(start + CHUNK, count), BLOCK):
                for p in range(BLOCK):
                    copy(pointer(tile, p * C), pointer(bias, 0), C)
                for layer in range(4):
                    if channels[layer] == 0:
                        continue
                    source, weights = dense0, weights0
                    if layer == 1:
                        source, weights = dense1, weights1
                    elif layer == 2:
                        source, weights = dense2, weights2
                    elif layer == 3:
                        source, weights = dense3, weights3
                    for p in range(BLOCK):
                        offsets[p] = np.int64(list_[min(first + p, count - 1)]) * strides[layer]
                    contract(
                        lanes, vectors, pixels, bf16, pointer(tile, 0), C, BLOCK // pixels, groups,
                        pointer(source, 0), pointer(offsets, 0), BLOCK, 1, channels[layer],
                        pointer(weights, 0), pointer(zero, 0), group_strides[layer],
                    )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    here = np.int64(list_[first + p]) * C
                    copy(pointer(total, here), pointer(tile, p * C), C)
                    add_fixed(pointer(partial, 0), pointer(tile, p * C), SUM_SCALE, C)
        for c in range(C):
            fetch_add(sums, c, partial[c])

    return kernel


@cache
def residual_collect(lanes: int, vectors: int, pixels: int, bf16: int) -> Any:
    """f_k = total * scales + f_(k-1) and f_k's share of the network's collect; the last SMM ends with its relu."""
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claims, slot, list_, features, total, scales, result, weights, group_stride, bias, collected, begin, finish
    ):
        tile = np.empty(BLOCK * C, np.float32)
        sums = np.empty(BLOCK * C, np.float32)
        own = np.empty(BLOCK, np.int64)
        for p in range(BLOCK):
            own[p] = p * C
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start = fetch_add(claims, slot, CHUNK)
            if start >= count:
                break
            for first in range(start, min(start + CHUNK, count), BLOCK):
                for p in range(BLOCK):
                    here = np.int64(list_[min(first + p, count - 1)]) * C
                    scale_add(pointer(tile, p * C), pointer(total, here), pointer(scales, 0), pointer(features, here), C)
                    if begin:
                        copy(pointer(sums, p * C), pointer(bias, 0), C)
                    else:
                        copy(pointer(sums, p * C), pointer(collected, here), C)
                contract(
                    lanes, vectors, pixels, bf16, pointer(sums, 0), C, BLOCK // pixels, groups,
                    pointer(tile, 0), pointer(own, 0), BLOCK, 1, C,
                    pointer(weights, 0), pointer(zero, 0), group_stride,
                )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    here = np.int64(list_[first + p]) * C
                    if finish:
                        relu(pointer(sums, p * C), C)
                    copy(pointer(collected, here), pointer(sums, p * C), C)
                    if not finish:
                        copy(pointer(result, here), pointer(tile, p * C), C)

    return kernel


@cache
def tail_convolution(lanes: int, vectors: int, pixels: int, bf16: int) -> Any:
    """3x3 to 3 * s * s outputs, pixel shuffle, added to the bicubic base in `frame` (sH, sW, 3), mean, clamp."""

    @compiled
    def kernel(claims, slot, list_, width, source, weights, group_stride, tap_starts, groups, bias, mean, scale, frame):
        span = groups * vectors * lanes
        tile = np.empty(BLOCK * span, np.float32)
        offsets = np.empty(9 * BLOCK, np.int64)
        count = list_.shape[0]
        while True:
            start = fetch_add(claims, slot, CHUNK)
            if start >= count:
                break
            for first in range(start, min(start + CHUNK, count), BLOCK):
                _neighbours(list_, first, count - 1, BLOCK, width, C, offsets)
                for p in range(BLOCK):
                    copy(pointer(tile, p * span), pointer(bias, 0), span)
                contract(
                    lanes, vectors, pixels, bf16, pointer(tile, 0), span, BLOCK // pixels, groups,
                    pointer(source, 0), pointer(offsets, 0), BLOCK, 9, C,
                    pointer(weights, 0), pointer(tap_starts, 0), group_stride,
                )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    here = np.int64(list_[first + p])
                    y, x = here // width - 1, here % width - 1
                    for dy in range(scale):
                        for dx in range(scale):
                            for c in range(3):
                                detail = tile[p * span + (c * scale + dy) * scale + dx]
                                value = frame[y * scale + dy, x * scale + dx, c] + detail + mean[c]
                                frame[y * scale + dy, x * scale + dx, c] = min(
                                    max(value, np.float32(0)), np.float32(255)
                                )

    return kernel
