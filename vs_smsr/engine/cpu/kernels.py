"""The convolutions of SMSR as compiled kernels around the register block `contract`.

Vocabulary: the grid is a frame with a border of one zero pixel, flat, `width` pixels a row; a list holds flat grid
positions; a map has one line of channels per grid pixel, from position `shift` on; rows are the lines of active
pixels only, in order, number 0 is zero, found through `inverse` (grid position -> number, 0 = inactive).
Lines are float32, or words of two bf16 channels (uint32); strides and counts of words are in those words.

Each kernel claims chunks of its list until none is left (see `claims`), so any number of threads may run it at once;
`me` is the number of the thread. A tile holds the sums of a few pixels, float32, in the first-level cache of a thread.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.cpu.block import (
    MORE,
    add_fixed,
    add_offset,
    contract,
    copy,
    fetch,
    fetch_add,
    keep,
    pointer,
    relu,
    scale_add,
)
from vs_smsr.engine.cpu.claims import claim
from vs_smsr.engine.cpu.isa import BLOCK

CHUNK = 8 * BLOCK  # pixels claimed at a time
C = 64
SUM_SCALE = float(1 << 20)  # channel sums are integers of this unit: adding them in any order gives the same bits


@njit(inline="always")
def _neighbours(list_: Any, first: Any, count: int, width: Any, shift: Any, stride: Any, offsets: Any) -> None:
    """offsets[tap * count + p] = word where the line of pixel first + p's neighbour starts in a map.

    Beyond the last pixel the last one is repeated: its sums are computed and not stored.
    """
    last = list_.shape[0] - 1
    for p in range(count):
        offsets[4 * count + p] = (np.int64(list_[min(first + p, last)]) - shift) * stride
    for tap in range(9):
        if tap != 4:
            step = ((tap // 3 - 1) * width + tap % 3 - 1) * stride
            add_offset(pointer(offsets, tap * count), pointer(offsets, 4 * count), step, count)


@cache
def convolution(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """3x3 over the pixels of a list, map to map: target = relu?(bias + conv(source)) + added?."""

    @compiled
    def kernel(
        claimed, me, list_, width, source, words, source_stride, source_shift,
        weights, group_stride, tap_starts, groups, bias, rectify, added, with_added,
        target, target_stride, target_shift, outputs,
    ):  # fmt: skip
        span = groups * vectors * lanes
        tile = np.empty(BLOCK * span, np.float32)
        more = np.empty(span, np.float32)
        ones = np.ones(span, np.float32)
        offsets = np.empty(9 * BLOCK, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, me, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                _neighbours(list_, first, BLOCK, width, source_shift, source_stride, offsets)
                for p in range(BLOCK):
                    copy(pointer(tile, p * span), pointer(bias, 0), span)
                contract(
                    lanes, vectors, pixels, mode, MORE, pointer(tile, 0), span, BLOCK // pixels, groups,
                    pointer(source, 0), pointer(offsets, 0), BLOCK, 9, words,
                    pointer(weights, 0), pointer(tap_starts, 0), group_stride,
                )  # fmt: skip
                if rectify:
                    relu(pointer(tile, 0), BLOCK * span)
                for p in range(min(BLOCK, count - first)):
                    here = (np.int64(list_[first + p]) - target_shift) * target_stride
                    row = pointer(tile, p * span)
                    if with_added:
                        fetch(pointer(more, 0), pointer(added, here), outputs)
                        scale_add(row, row, pointer(ones, 0), pointer(more, 0), outputs)
                    keep(pointer(target, here), row, outputs)

    return kernel


@cache
def active_layer(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """A masked layer at active pixels: all 64 outputs from all inputs, relu; to rows and to the dense map.

    Dense inputs come from a map, sparse ones from the rows of active neighbours. A tap without an active neighbour in
    the block is skipped: it would add zeros. Numbers of rows are counted from `base`.
    """
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claimed, me, list_, width, dense, dense_words, dense_stride, dense_shift,
        dense_weights, dense_group, dense_starts, rows, inverse, base, sparse_first, sparse_words,
        sparse_weights, sparse_group, sparse_starts, row_words, out_rows, out_dense, out_stride, out_shift,
    ):  # fmt: skip
        tile = np.empty(pixels * C, np.float32)
        lines = np.empty(pixels * row_words, out_rows.dtype)
        offsets = np.empty(9 * pixels, np.int64)
        starts = np.empty(9, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, me, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, pixels):
                tile.fill(np.float32(0))
                if dense_words > 0:
                    _neighbours(list_, first, pixels, width, dense_shift, dense_stride, offsets)
                    contract(
                        lanes, vectors, pixels, mode, MORE, pointer(tile, 0), C, 1, groups,
                        pointer(dense, 0), pointer(offsets, 0), pixels, 9, dense_words,
                        pointer(dense_weights, 0), pointer(dense_starts, 0), dense_group,
                    )  # fmt: skip
                if sparse_words > 0:
                    taps = 0
                    for tap in range(9):
                        step = (tap // 3 - 1) * width + tap % 3 - 1
                        found = np.int64(0)
                        for p in range(pixels):
                            number = np.int64(inverse[np.int64(list_[min(first + p, count - 1)]) + step])
                            number -= base if number else 0
                            offsets[taps * pixels + p] = number * row_words + sparse_first
                            found |= number
                        if found:
                            starts[taps] = sparse_starts[tap]
                            taps += 1
                    contract(
                        lanes, vectors, pixels, mode, MORE, pointer(tile, 0), C, 1, groups,
                        pointer(rows, 0), pointer(offsets, 0), pixels, taps, sparse_words,
                        pointer(sparse_weights, 0), pointer(starts, 0), sparse_group,
                    )  # fmt: skip
                relu(pointer(tile, 0), pixels * C)
                keep(pointer(lines, 0), pointer(tile, 0), pixels * C)
                for p in range(min(pixels, count - first)):
                    here = np.int64(list_[first + p])
                    line = pointer(lines, p * row_words)
                    copy(pointer(out_rows, (np.int64(inverse[here]) - base) * row_words), line, row_words)
                    copy(pointer(out_dense, (here - out_shift) * out_stride), line, out_stride)

    return kernel


@cache
def active_total(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """An SMM's 1x1 collect at active pixels, from the rows of its four layers (layer after layer in `rows`)."""
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claimed, me, list_, inverse, base, rows, layer_words, row_words,
        weights, group_stride, layer_starts, bias, total, sums,
    ):  # fmt: skip
        tile = np.empty(BLOCK * C, np.float32)
        offsets = np.empty(4 * BLOCK, np.int64)
        partial = np.zeros(C, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, me, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                for p in range(BLOCK):
                    number = np.int64(inverse[np.int64(list_[min(first + p, count - 1)])]) - base
                    for layer in range(4):
                        offsets[layer * BLOCK + p] = layer * layer_words + number * row_words
                    copy(pointer(tile, p * C), pointer(bias, 0), C)
                contract(
                    lanes, vectors, pixels, mode, MORE, pointer(tile, 0), C, BLOCK // pixels, groups,
                    pointer(rows, 0), pointer(offsets, 0), BLOCK, 4, row_words,
                    pointer(weights, 0), pointer(layer_starts, 0), group_stride,
                )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    line = np.int64(list_[first + p]) * row_words
                    keep(pointer(total, line), pointer(tile, p * C), C)
                    fetch(pointer(tile, p * C), pointer(total, line), C)  # sums are of what the map holds
                    add_fixed(pointer(partial, 0), pointer(tile, p * C), SUM_SCALE, C)
        for c in range(C):
            fetch_add(sums, c, partial[c])

    return kernel


@cache
def inactive_total(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """An SMM's 1x1 collect at inactive pixels, from the dense maps of its four layers."""
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claimed, me, list_, bias, weights0, weights1, weights2, weights3, dense0, dense1, dense2, dense3,
        words, strides, group_strides, shift, row_words, total, sums,
    ):  # fmt: skip
        tile = np.empty(BLOCK * C, np.float32)
        offsets = np.empty(BLOCK, np.int64)
        partial = np.zeros(C, np.int64)
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, me, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                for p in range(BLOCK):
                    copy(pointer(tile, p * C), pointer(bias, 0), C)
                for layer in range(4):
                    if words[layer] == 0:
                        continue
                    source, weights = dense0, weights0
                    if layer == 1:
                        source, weights = dense1, weights1
                    elif layer == 2:
                        source, weights = dense2, weights2
                    elif layer == 3:
                        source, weights = dense3, weights3
                    for p in range(BLOCK):
                        here = np.int64(list_[min(first + p, count - 1)]) - shift
                        offsets[p] = here * strides[layer]
                    contract(
                        lanes, vectors, pixels, mode, MORE, pointer(tile, 0), C, BLOCK // pixels, groups,
                        pointer(source, 0), pointer(offsets, 0), BLOCK, 1, words[layer],
                        pointer(weights, 0), pointer(zero, 0), group_strides[layer],
                    )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    line = np.int64(list_[first + p]) * row_words
                    keep(pointer(total, line), pointer(tile, p * C), C)
                    fetch(pointer(tile, p * C), pointer(total, line), C)  # sums are of what the map holds
                    add_fixed(pointer(partial, 0), pointer(tile, p * C), SUM_SCALE, C)
        for c in range(C):
            fetch_add(sums, c, partial[c])

    return kernel


@cache
def residual_collect(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """f_k = total * scales + f_(k-1) and, if `shared`, its share of the network's collect, in the end with relu."""
    groups = C // (vectors * lanes)

    @compiled
    def kernel(
        claimed, me, list_, features, total, scales, result, row_words,
        weights, group_stride, bias, collected, begin, finish, shared,
    ):  # fmt: skip
        tile = np.empty(BLOCK * C, np.float32)
        more = np.empty(C, np.float32)
        lines = np.empty(BLOCK * row_words, result.dtype)
        own = np.empty(BLOCK, np.int64)
        for p in range(BLOCK):
            own[p] = p * row_words
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, me, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                for p in range(BLOCK):
                    line = np.int64(list_[min(first + p, count - 1)]) * row_words
                    row = pointer(tile, p * C)
                    fetch(row, pointer(total, line), C)
                    fetch(pointer(more, 0), pointer(features, line), C)
                    scale_add(row, row, pointer(scales, 0), pointer(more, 0), C)
                    keep(pointer(lines, p * row_words), row, C)
                    if not shared:
                        continue
                    if begin:
                        copy(row, pointer(bias, 0), C)
                    else:
                        fetch(row, pointer(collected, line), C)
                if shared:
                    contract(
                        lanes, vectors, pixels, mode, MORE, pointer(tile, 0), C, BLOCK // pixels, groups,
                        pointer(lines, 0), pointer(own, 0), BLOCK, 1, row_words,
                        pointer(weights, 0), pointer(zero, 0), group_stride,
                    )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    line = np.int64(list_[first + p]) * row_words
                    if not finish:
                        copy(pointer(result, line), pointer(lines, p * row_words), row_words)
                    if shared:
                        if finish:
                            relu(pointer(tile, p * C), C)
                        keep(pointer(collected, line), pointer(tile, p * C), C)

    return kernel


@compiled
def window_sums(claimed, me, total, width, row_words, top, left, bottom, right, sums):
    """Channel sums of a finished total over a window of the frame, as the collects add them."""
    row = np.empty(C, np.float32)
    partial = np.zeros(C, np.int64)
    while True:
        start, stop = claim(claimed, me, bottom - top, 1)
        if start == stop:
            break
        for x in range(left, right):
            y = top + start
            fetch(pointer(row, 0), pointer(total, ((y + 1) * width + x + 1) * row_words), C)
            add_fixed(pointer(partial, 0), pointer(row, 0), SUM_SCALE, C)
    for c in range(C):
        fetch_add(sums, c, partial[c])
