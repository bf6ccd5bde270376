"""A block's masked layers by Winograd's algorithm, over quads of which some pixels are wanted.

Vocabulary as in `sparse_kernels`; a list holds the grid positions of the quads' first pixels. An output is the same
bits whatever the rest of its quad is: which quads are in a list, and which of their pixels are stored, changes no
result. So every active pixel goes this way, also one that is alone in its quad: a rule that looked at the quad would
let a mask's flip change its neighbours' bits.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from vs_smsr.engine.compiled import compiled, inlined
from vs_smsr.engine.cpu.gemm import BF16
from vs_smsr.engine.cpu.vectors import fetch, pointer, store_channels
from vs_smsr.engine.cpu.winograd import PATCH, POINTS, patch_to_points, points_to_quad
from vs_smsr.engine.cpu.winograd_kernels import QUADS, multiply_points, patch_places
from vs_smsr.engine.cpu.work_stealing import claim

CHUNK = np.int64(QUADS)  # quads claimed at a time


@inlined
def _row(pixel_to_row: Any, pixel: Any, base: Any) -> Any:
    """Number of a pixel's row in the band; 0 if it has none."""
    number = np.int64(pixel_to_row[pixel])
    return number - base if number else number


@inlined
def _fetch_inputs(
    rows: Any, pixel_to_row: Any, corner: Any, width: Any, base: Any, row_words: Any, dense_words: Any
) -> None:
    """Ask for those rows of a quad's patch that the quad to its left does not read; see `vectors.fetch`."""
    for y in range(PATCH):
        for x in range(1, PATCH - 1):
            number = _row(pixel_to_row, corner + (y - 1) * width + x, base)
            if number:
                fetch(pointer(rows, number * row_words + dense_words), row_words - dense_words)


@inlined
def _fetch_outputs(
    out_rows: Any, out_dense: Any, pixel_to_row: Any, corner: Any, width: Any, base: Any, row_words: Any,
    out_stride: Any, out_shift: Any,
) -> None:  # fmt: skip
    """Ask for the lines that a quad's outputs go to, which are read before they are written; see `vectors.fetch`."""
    for p in range(4):
        here = corner + p // 2 * width + p % 2
        number = _row(pixel_to_row, here, base)
        if number:
            fetch(pointer(out_rows, number * row_words), row_words)
        fetch(pointer(out_dense, (here - out_shift) * out_stride), out_stride)


@cache
def active_quads(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """A masked layer at active pixels: all outputs from all inputs, activation; to rows and to the dense map.

    Of a line's inputs the first `dense_words` come from the dense map and the rest, up to `words`, from the rows of
    active neighbours; those of other neighbours are zero. Numbers of rows are counted from `base`. With `every`, all
    inputs being dense, the first `dense_outputs` of the quads' other pixels go to the dense map too.
    """
    per_word = 2 if mode == BF16 else 1

    @compiled
    def kernel(
        claimed, thread_id, list_, width, dense, dense_words, dense_stride, dense_shift, rows, pixel_to_row, base,
        words, weights, group_stride, starts, groups, slope, every, dense_outputs,
        row_words, out_rows, out_dense, out_stride, out_shift,
    ):  # fmt: skip
        span = groups * vectors * lanes
        points, sums = np.zeros(POINTS * QUADS * words, dense.dtype), np.empty(POINTS * QUADS * span, np.float32)
        tile, zeros, places = np.empty(4 * span, np.float32), np.zeros(span, np.float32), np.empty(POINTS, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, QUADS):
                some = min(QUADS, stop - first)
                for q in range(some):
                    corner, point = np.int64(list_[first + q]), q * words
                    if dense_words > 0:
                        patch_places(places, corner - dense_shift, width, dense_stride)
                        patch_to_points(
                            lanes, pointer(points, point), QUADS * words, pointer(dense, 0), pointer(places, 0),
                            dense_words * per_word,
                        )  # fmt: skip
                    if dense_words < words:
                        for p in range(PATCH * PATCH):
                            pixel = corner + (p // PATCH - 1) * width + p % PATCH - 1
                            places[p] = _row(pixel_to_row, pixel, base) * row_words + dense_words
                        patch_to_points(
                            lanes, pointer(points, point + dense_words), QUADS * words, pointer(rows, 0),
                            pointer(places, 0), (words - dense_words) * per_word,
                        )  # fmt: skip
                for q in range(first + QUADS, min(first + 2 * QUADS, count)):
                    corner = np.int64(list_[q])
                    if dense_words < words:
                        _fetch_inputs(rows, pixel_to_row, corner, width, base, row_words, dense_words)
                    _fetch_outputs(
                        out_rows, out_dense, pixel_to_row, corner, width, base, row_words, out_stride, out_shift
                    )
                multiply_points(
                    lanes, vectors, pixels, mode, points, words, weights, group_stride, starts, groups, sums,
                    list_, first + QUADS, dense_shift, width, dense, dense_stride,
                )  # fmt: skip
                for q in range(some):
                    points_to_quad(
                        lanes, pointer(tile, 0), pointer(sums, q * span), QUADS * span, pointer(zeros, 0), slope, span
                    )
                    for p in range(4):
                        here = np.int64(list_[first + q]) + p // 2 * width + p % 2
                        number, line = _row(pixel_to_row, here, base), p * span
                        if number:
                            target = pointer(out_rows, number * row_words)
                            store_channels(target, pointer(tile, line), row_words * per_word)
                        elif every:
                            tile[line + dense_outputs : line + out_stride * per_word] = np.float32(0)
                        if number or every:
                            target = pointer(out_dense, (here - out_shift) * out_stride)
                            store_channels(target, pointer(tile, line), out_stride * per_word)

    return kernel


@cache
def inactive_quads(lanes: int, vectors: int, pixels: int, mode: int) -> Any:
    """A masked layer at pixels without a row: dense outputs from dense inputs, activation; map to map."""
    per_word = 2 if mode == BF16 else 1

    @compiled
    def kernel(
        claimed, thread_id, list_, width, dense, dense_stride, dense_shift, pixel_to_row,
        words, weights, group_stride, starts, groups, slope, out_dense, out_stride, out_shift,
    ):  # fmt: skip
        span = groups * vectors * lanes
        points, sums = np.zeros(POINTS * QUADS * words, dense.dtype), np.empty(POINTS * QUADS * span, np.float32)
        tile, zeros, places = np.empty(4 * span, np.float32), np.zeros(span, np.float32), np.empty(POINTS, np.int64)
        count = list_.shape[0]
        while True:
            start, stop = claim(claimed, thread_id, count, CHUNK)
            if start == stop:
                break
            for first in range(start, stop, QUADS):
                some = min(QUADS, stop - first)
                for q in range(some):
                    patch_places(places, np.int64(list_[first + q]) - dense_shift, width, dense_stride)
                    patch_to_points(
                        lanes, pointer(points, q * words), QUADS * words, pointer(dense, 0), pointer(places, 0),
                        words * per_word,
                    )  # fmt: skip
                multiply_points(
                    lanes, vectors, pixels, mode, points, words, weights, group_stride, starts, groups, sums,
                    list_, first + QUADS, dense_shift, width, dense, dense_stride,
                )  # fmt: skip
                for q in range(some):
                    points_to_quad(
                        lanes, pointer(tile, 0), pointer(sums, q * span), QUADS * span, pointer(zeros, 0), slope, span
                    )
                    for p in range(4):
                        here = np.int64(list_[first + q]) + p // 2 * width + p % 2
                        if pixel_to_row[here] == 0:
                            target = pointer(out_dense, (here - out_shift) * out_stride)
                            store_channels(target, pointer(tile, p * span), out_stride * per_word)

    return kernel
