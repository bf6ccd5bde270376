"""The convolutions that every pixel gets, by Winograd's algorithm over quads: 2x2 output tiles with even origins.

Vocabulary as in `sparse_kernels`; `quads` (n, 4) are lists of grid positions, the four pixels of each quad. A block of
quads is carried through at a time: its points in the transform domain and their sums stay in a core's cache.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from vs_smsr.engine.compiled import compiled, expanded, inlined
from vs_smsr.engine.cpu.gemm import BF16, NEW, indirect_gemm
from vs_smsr.engine.cpu.vectors import copy, fetch, pointer, scale_add, store_channels
from vs_smsr.engine.cpu.winograd import PATCH, POINTS, patch_to_points, points_to_quad
from vs_smsr.engine.cpu.work_stealing import claim

QUADS = 12  # of a block: whole register blocks of 4, 6 or 12
CHUNK = np.int64(4) * QUADS  # quads claimed at a time


@inlined
def patch_places(places: Any, corner: Any, width: Any, line: Any) -> None:
    """places (16,) = words where the lines of a quad's patch start; its first pixel is at `corner` of the map."""
    for y in range(PATCH):
        for x in range(PATCH):
            places[y * PATCH + x] = (corner + (y - 1) * width + x - 1) * line


@inlined
def fetch_patch(source: Any, corner: Any, width: Any, line: Any) -> None:
    """Ask for those lines of a quad's patch that the quad to its left does not read; see `vectors.fetch`."""
    for y in range(PATCH):
        fetch(pointer(source, (corner + (y - 1) * width + 1) * line), 2 * line)


@expanded
def multiply_points(
    lanes: Any, vectors: Any, pixels: Any, mode: Any, points: Any, words: Any, weights: Any, group_stride: Any,
    starts: Any, groups: Any, sums: Any, corners: Any, after: Any, shift: Any, width: Any, source: Any, line: Any,
) -> None:  # fmt: skip
    """sums (POINTS, QUADS, outputs) of points (POINTS, QUADS, words).

    Meanwhile it asks for the patches of the block after, whose quads begin at corners[after:]: lines of the source, a
    map from grid position `shift` on.
    """
    lines, span, ahead = np.arange(QUADS) * words, groups * vectors * lanes, min(QUADS, corners.shape[0] - after)
    for k in range(POINTS):
        if k < ahead:
            fetch_patch(source, np.int64(corners[after + k]) - shift, width, line)
        indirect_gemm(
            lanes, vectors, pixels, mode, NEW, pointer(sums, k * QUADS * span), span, QUADS // pixels, groups,
            pointer(points, k * QUADS * words), pointer(lines, 0), 0, 1, words,
            pointer(weights, starts[k]), pointer(lines, 0), group_stride,
        )  # fmt: skip


@expanded
def _multiply(
    lanes: Any, vectors: Any, pixels: Any, mode: Any, quads: Any, first: Any, width: Any, source: Any, line: Any,
    weights: Any, group_stride: Any, starts: Any, groups: Any, points: Any, words: Any, sums: Any, channels: Any,
) -> None:  # fmt: skip
    """sums (POINTS, QUADS, outputs) of a block's quads; points (POINTS, QUADS, words) are left overwritten."""
    places = np.empty(POINTS, np.int64)
    for q in range(min(QUADS, quads.shape[0] - first)):
        patch_places(places, np.int64(quads[first + q, 0]), width, line)
        patch_to_points(
            lanes, pointer(points, q * words), QUADS * words, pointer(source, 0), pointer(places, 0), channels
        )
    multiply_points(
        lanes, vectors, pixels, mode, points, words, weights, group_stride, starts, groups, sums,
        quads[:, 0], first + QUADS, 0, width, source, line,
    )  # fmt: skip


@inlined
def filled(count, value):
    """(count,) float32; `np.full` takes longer to compile."""
    array = np.empty(count, np.float32)
    for i in range(count):
        array[i] = value
    return array


@cache
def quad_convolution(lanes: int, vectors: int, pixels: int, mode: int, channels: int) -> Any:
    """target = bias + conv(source) + added?, map to map."""
    groups = channels // (vectors * lanes)
    words = channels // 2 if mode == BF16 else channels

    @compiled
    def kernel(
        claimed, thread_id, quads, width, source, weights, group_stride, starts, bias, added, with_added, target
    ):
        points, sums = np.zeros(POINTS * QUADS * words, source.dtype), np.empty(POINTS * QUADS * channels, np.float32)
        tile, ones = np.empty(4 * channels, np.float32), filled(channels, 1)
        count = quads.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, QUADS):
                _multiply(
                    lanes, vectors, pixels, mode, quads, first, width, source, words,
                    weights, group_stride, starts, groups, points, words, sums, channels,
                )  # fmt: skip
                for q in range(min(QUADS, count - first)):
                    points_to_quad(
                        lanes, pointer(tile, 0), pointer(sums, q * channels), QUADS * channels, pointer(bias, 0),
                        np.float32(1), channels,
                    )  # fmt: skip
                    for p in range(4):
                        here, row = np.int64(quads[first + q, p]) * words, pointer(tile, p * channels)
                        if with_added:
                            scale_add(row, row, pointer(ones, 0), pointer(added, here), channels)
                        store_channels(pointer(target, here), row, channels)

    return kernel


@cache
def pooled_convolution(lanes: int, vectors: int, pixels: int, mode: int, channels: int) -> Any:
    """Bias, relu and the mean of each quad, float32; target by `half`, the half-size grid."""
    words = channels // 2 if mode == BF16 else channels

    @compiled
    def kernel(claimed, thread_id, quads, width, source, weights, group_stride, starts, groups, bias, half, target):
        span = groups * vectors * lanes
        points, sums = np.zeros(POINTS * QUADS * words, source.dtype), np.empty(POINTS * QUADS * span, np.float32)
        tile, quarter = np.empty(4 * span, np.float32), filled(span, 0.25)
        ones, zeros = filled(span, 1), np.zeros(span, np.float32)
        count = quads.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, QUADS):
                _multiply(
                    lanes, vectors, pixels, mode, quads, first, width, source, words,
                    weights, group_stride, starts, groups, points, words, sums, channels,
                )  # fmt: skip
                for q in range(min(QUADS, count - first)):
                    row = pointer(tile, 0)
                    points_to_quad(
                        lanes, row, pointer(sums, q * span), QUADS * span, pointer(bias, 0), np.float32(0), span
                    )
                    for p in range(1, 4):
                        scale_add(row, row, pointer(ones, 0), pointer(tile, p * span), span)
                    scale_add(row, row, pointer(quarter, 0), pointer(zeros, 0), span)
                    copy(pointer(target, np.int64(half[first + q]) * span), row, span)

    return kernel


@cache
def shuffled_convolution(lanes: int, vectors: int, pixels: int, mode: int, channels: int) -> Any:
    """3x3 to four times the channels, activation, and a shuffle to a map of twice the height and width."""
    words = channels // 2 if mode == BF16 else channels

    @compiled
    def kernel(
        claimed, thread_id, quads, width, source, weights, group_stride, starts, groups, bias, slope,
        target, target_width, skip,
    ):  # fmt: skip
        span = groups * vectors * lanes
        points, sums = np.zeros(POINTS * QUADS * words, source.dtype), np.empty(POINTS * QUADS * span, np.float32)
        tile = np.empty(4 * span, np.float32)
        count = quads.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, QUADS):
                _multiply(
                    lanes, vectors, pixels, mode, quads, first, width, source, words,
                    weights, group_stride, starts, groups, points, words, sums, channels,
                )  # fmt: skip
                for q in range(min(QUADS, count - first)):
                    points_to_quad(
                        lanes, pointer(tile, 0), pointer(sums, q * span), QUADS * span, pointer(bias, 0), slope, span
                    )
                    for p in range(4):
                        here = np.int64(quads[first + q, p])
                        y, x = here // width - 1, here % width - 1
                        for part in range(4):
                            row = 2 * y + part // 2 - skip + 1
                            place = (row * target_width + 2 * x + part % 2 + 1) * words
                            store_channels(pointer(target, place), pointer(tile, p * span + part * channels), channels)

    return kernel


@cache
def tail_convolution(lanes: int, vectors: int, pixels: int, mode: int, channels: int) -> Any:
    """3x3 to 3 * s * s outputs, pixel shuffle, added with the mean to what is in `frame` (sH, sW, 3), within limits."""
    words = channels // 2 if mode == BF16 else channels

    @compiled
    def kernel(
        claimed, thread_id, quads, width, source, weights, group_stride, starts, groups, bias, mean, least, most,
        scale, frame,
    ):  # fmt: skip
        span = groups * vectors * lanes
        points, sums = np.zeros(POINTS * QUADS * words, source.dtype), np.empty(POINTS * QUADS * span, np.float32)
        tile = np.empty(4 * span, np.float32)
        count = quads.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, QUADS):
                _multiply(
                    lanes, vectors, pixels, mode, quads, first, width, source, words,
                    weights, group_stride, starts, groups, points, words, sums, channels,
                )  # fmt: skip
                for q in range(min(QUADS, count - first)):
                    points_to_quad(
                        lanes, pointer(tile, 0), pointer(sums, q * span), QUADS * span, pointer(bias, 0), np.float32(1),
                        span,
                    )  # fmt: skip
                    for p in range(4):
                        here = np.int64(quads[first + q, p])
                        y, x = here // width - 1, here % width - 1
                        for dy in range(scale):
                            for dx in range(scale):
                                for c in range(3):
                                    detail = tile[p * span + (c * scale + dy) * scale + dx]
                                    value = frame[y * scale + dy, x * scale + dx, c] + detail + mean[c]
                                    value = min(max(value, least), most)
                                    frame[y * scale + dy, x * scale + dx, c] = value

    return kernel
