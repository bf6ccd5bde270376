"""Convolutions over lists of pixels, compiled around the micro-kernel `gemm.indirect_gemm`.

Vocabulary: the grid is a frame with a border of one zero pixel, flat, `width` pixels a row; a list holds flat grid
positions; a map has one line of channels per grid pixel, from position `shift` on; rows are the lines of active
pixels only, in order, number 0 is zero, found through `pixel_to_row` (grid position -> number, 0 = inactive).
Lines are float32, or words of two bf16 channels (uint32); strides and counts of words are in those words.

Each kernel claims chunks of its list until none is left (see `work_stealing`), so any number of threads may run it at
once; `thread_id` counts them. A tile holds the sums of a few pixels, float32, in a thread's first-level cache.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from vs_smsr.engine.compiled import compiled, inlined
from vs_smsr.engine.cpu.gemm import BF16, FP32, MORE, indirect_gemm
from vs_smsr.engine.cpu.isa import BLOCK
from vs_smsr.engine.cpu.vectors import (
    add_fixed,
    add_to_indices,
    atomic_add,
    copy,
    fetch,
    leaky_relu,
    load_channels,
    pointer,
    relu,
    scale_add,
    square,
    store_channels,
)
from vs_smsr.engine.cpu.work_stealing import claim
from vs_smsr.families import SUM_UNIT

CHUNK = np.int64(8) * BLOCK  # pixels claimed at a time
SUM_SCALE = 1 / SUM_UNIT


@inlined
def _neighbours(list_: Any, first: Any, width: Any, stride: Any, indirection: Any) -> None:
    """indirection[tap * BLOCK + p] = word where the line of pixel first + p's neighbour starts in a map.

    Beyond the last pixel the last one is repeated: its sums are computed and not stored.
    """
    last = list_.shape[0] - 1
    for p in range(BLOCK):
        indirection[4 * BLOCK + p] = np.int64(list_[min(first + p, last)]) * stride
    for tap in range(9):
        if tap != 4:
            step = ((tap // 3 - 1) * width + tap % 3 - 1) * stride
            add_to_indices(pointer(indirection, tap * BLOCK), pointer(indirection, 4 * BLOCK), step, BLOCK)


@inlined
def activate(row: Any, slope: Any, count: Any) -> None:
    """A leaky relu of that slope: 0 is a relu, 1 none."""
    if slope == 0:
        relu(row, count)
    elif slope != 1:
        leaky_relu(row, slope, count)


@cache
def convolution(lanes: int, vectors: int, pixels: int) -> Any:
    """3x3 over the pixels of a list, from a map of float32: target = act(bias + conv(source))."""

    @compiled
    def kernel(
        claimed, thread_id, list_, width, source, words, source_stride, weights, group_stride, tap_starts, groups,
        bias, slope, target, target_stride, outputs,
    ):  # fmt: skip
        span = groups * vectors * lanes
        tile = np.empty(BLOCK * span, np.float32)
        indirection = np.empty(9 * BLOCK, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                _neighbours(list_, first, width, source_stride, indirection)
                for p in range(BLOCK):
                    copy(pointer(tile, p * span), pointer(bias, 0), span)
                indirect_gemm(
                    lanes, vectors, pixels, FP32, MORE, pointer(tile, 0), span, BLOCK // pixels, groups,
                    pointer(source, 0), pointer(indirection, 0), BLOCK, 9, words,
                    pointer(weights, 0), pointer(tap_starts, 0), group_stride,
                )  # fmt: skip
                activate(pointer(tile, 0), slope, BLOCK * span)
                for p in range(min(BLOCK, count - first)):
                    here = np.int64(list_[first + p]) * target_stride
                    store_channels(pointer(target, here), pointer(tile, p * span), outputs)

    return kernel


@cache
def active_fuse(lanes: int, vectors: int, pixels: int, mode: int, channels: int, layers: int) -> Any:
    """A block's 1x1 fuse at active pixels, from the rows of its layers (layer after layer in `rows`)."""
    groups = channels // (vectors * lanes)

    @compiled
    def kernel(
        claimed, thread_id, list_, pixel_to_row, base, rows, layer_words, row_words,
        weights, group_stride, layer_starts, bias, fused, sums,
    ):  # fmt: skip
        tile = np.empty(BLOCK * channels, np.float32)
        indirection = np.empty(layers * BLOCK, np.int64)
        partial = np.zeros(channels, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                for p in range(BLOCK):
                    number = np.int64(pixel_to_row[np.int64(list_[min(first + p, count - 1)])]) - base
                    for layer in range(layers):
                        indirection[layer * BLOCK + p] = layer * layer_words + number * row_words
                    copy(pointer(tile, p * channels), pointer(bias, 0), channels)
                for p in range(first + BLOCK, min(first + 2 * BLOCK, count)):
                    number = np.int64(pixel_to_row[np.int64(list_[p])]) - base
                    fetch(pointer(fused, np.int64(list_[p]) * row_words), row_words)
                    for layer in range(layers):
                        fetch(pointer(rows, layer * layer_words + number * row_words), row_words)
                indirect_gemm(
                    lanes, vectors, pixels, mode, MORE, pointer(tile, 0), channels, BLOCK // pixels, groups,
                    pointer(rows, 0), pointer(indirection, 0), BLOCK, layers, row_words,
                    pointer(weights, 0), pointer(layer_starts, 0), group_stride,
                )  # fmt: skip
                some = min(BLOCK, count - first)
                for p in range(some):
                    line = np.int64(list_[first + p]) * row_words
                    store_channels(pointer(fused, line), pointer(tile, p * channels), channels)
                    if mode == BF16:  # sums are of what the map holds
                        load_channels(pointer(tile, p * channels), pointer(fused, line), channels)
                add_fixed(pointer(partial, 0), pointer(tile, 0), SUM_SCALE, some, channels)
        for c in range(channels):
            atomic_add(sums, c, partial[c])

    return kernel


@cache
def inactive_fuse(lanes: int, vectors: int, pixels: int, mode: int, channels: int, layers: int) -> Any:
    """A block's 1x1 fuse at inactive pixels, from the dense maps of its layers: tuples, one array a layer."""
    groups = channels // (vectors * lanes)

    @compiled
    def kernel(
        claimed, thread_id, list_, bias, weights, dense, words, strides, group_strides, shift, row_words, fused, sums,
    ):  # fmt: skip
        tile = np.empty(BLOCK * channels, np.float32)
        indirection = np.empty(BLOCK, np.int64)
        partial = np.zeros(channels, np.int64)
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                for p in range(BLOCK):
                    copy(pointer(tile, p * channels), pointer(bias, 0), channels)
                for p in range(first + BLOCK, min(first + 2 * BLOCK, count)):
                    fetch(pointer(fused, np.int64(list_[p]) * row_words), row_words)
                for layer in range(layers):
                    if words[layer] == 0:
                        continue
                    for p in range(BLOCK):
                        here = np.int64(list_[min(first + p, count - 1)]) - shift
                        indirection[p] = here * strides[layer]
                    indirect_gemm(
                        lanes, vectors, pixels, mode, MORE, pointer(tile, 0), channels, BLOCK // pixels, groups,
                        pointer(dense[layer], 0), pointer(indirection, 0), BLOCK, 1, words[layer],
                        pointer(weights[layer], 0), pointer(zero, 0), group_strides[layer],
                    )  # fmt: skip
                some = min(BLOCK, count - first)
                for p in range(some):
                    line = np.int64(list_[first + p]) * row_words
                    store_channels(pointer(fused, line), pointer(tile, p * channels), channels)
                    if mode == BF16:  # sums are of what the map holds
                        load_channels(pointer(tile, p * channels), pointer(fused, line), channels)
                add_fixed(pointer(partial, 0), pointer(tile, 0), SUM_SCALE, some, channels)
        for c in range(channels):
            atomic_add(sums, c, partial[c])

    return kernel


@cache
def residual_collect(lanes: int, vectors: int, pixels: int, mode: int, channels: int) -> Any:
    """f_k = fused * scales + f_(k-1), if `stored`, and if `shared` its share of the collect; in the end with act."""
    groups = channels // (vectors * lanes)

    @compiled
    def kernel(
        claimed, thread_id, list_, features, fused, scales, result, row_words,
        weights, group_stride, bias, collected, stored, shared, begin, finish, slope,
    ):  # fmt: skip
        tile = np.empty(BLOCK * channels, np.float32)
        lines = np.empty(BLOCK * row_words, result.dtype)
        own = np.empty(BLOCK, np.int64)
        for p in range(BLOCK):
            own[p] = p * row_words
        zero = np.zeros(1, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, BLOCK):
                for p in range(BLOCK):
                    line = np.int64(list_[min(first + p, count - 1)]) * row_words
                    row = pointer(tile, p * channels)
                    scale_add(row, pointer(fused, line), pointer(scales, 0), pointer(features, line), channels)
                    store_channels(pointer(lines, p * row_words), row, channels)
                    if not shared:
                        continue
                    if begin:
                        copy(row, pointer(bias, 0), channels)
                    else:
                        load_channels(row, pointer(collected, line), channels)
                for p in range(first + BLOCK, min(first + 2 * BLOCK, count)):
                    line = np.int64(list_[p]) * row_words
                    fetch(pointer(features, line), row_words)
                    fetch(pointer(fused, line), row_words)
                    if shared and not begin:
                        fetch(pointer(collected, line), row_words)
                if shared:
                    indirect_gemm(
                        lanes, vectors, pixels, mode, MORE, pointer(tile, 0), channels, BLOCK // pixels, groups,
                        pointer(lines, 0), pointer(own, 0), BLOCK, 1, row_words,
                        pointer(weights, 0), pointer(zero, 0), group_stride,
                    )  # fmt: skip
                for p in range(min(BLOCK, count - first)):
                    line = np.int64(list_[first + p]) * row_words
                    if stored:
                        copy(pointer(result, line), pointer(lines, p * row_words), row_words)
                    if shared:
                        if finish:
                            activate(pointer(tile, p * channels), slope, channels)
                        store_channels(pointer(collected, line), pointer(tile, p * channels), channels)

    return kernel


@cache
def window_sums(channels: int, squares: bool) -> Any:
    """Channel sums of a block's fused layers, or of their squares, over a window of the frame, as the fuse adds."""

    @compiled
    def kernel(claimed, thread_id, fused, width, row_words, top, left, bottom, right, sums):
        row = np.empty(channels, np.float32)
        partial = np.zeros(channels, np.int64)
        while True:
            start, stop = claim(claimed, thread_id, bottom - top, np.int64(1))
            if start == stop:
                break
            for x in range(left, right):
                y = top + start
                load_channels(pointer(row, 0), pointer(fused, ((y + 1) * width + x + 1) * row_words), channels)
                if squares:
                    square(pointer(row, 0), channels)
                add_fixed(pointer(partial, 0), pointer(row, 0), SUM_SCALE, 1, channels)
        for c in range(channels):
            atomic_add(sums, c, partial[c])

    return kernel
