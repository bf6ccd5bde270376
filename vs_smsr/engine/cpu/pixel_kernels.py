"""Everything per pixel that is not a convolution: lists, masks, the bicubic base. Vocabulary: `sparse_kernels`."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from vs_smsr.engine.compiled import compiled, inlined
from vs_smsr.engine.cpu.vectors import eight_bytes, pointer, shift
from vs_smsr.engine.cpu.work_stealing import claim
from vs_smsr.engine.merging import merge

ROWS = np.int64(4)  # rows claimed at a time
QUAD_ROWS = np.int64(2)  # rows of quads


@compiled
def count(claimed, thread_id, mask, only, some, needed, pixels, quads):
    """What there is of each row: pixels (3, H) that are active, needed and active, needed and inactive.

    And quads (3, H/2) of each row of quads: with an active pixel, with an inactive one, with inactive ones only. With
    `some`, pixels not in `only` (H, W) are neither active nor inactive, and those in `needed` are needed; else all are.
    """
    width = mask.shape[1]
    while True:
        start, stop = claim(claimed, thread_id, quads.shape[1], QUAD_ROWS)
        if start == stop:
            break
        for y in range(2 * start, 2 * stop):
            pixels[0, y] = pixels[1, y] = pixels[2, y] = 0
        for row in range(start, stop):
            with_active, with_inactive, without_active, x = 0, 0, 0, 0
            while x < width:
                if some and none_of_eight(only, 2 * row, x):
                    x += 8
                    continue
                on = off = 0
                for y in range(2 * row, 2 * row + 2):
                    for i in range(x, x + 2):
                        if not some or only[y, i]:
                            active = mask[y, i] != 0
                            on, off = on + active, off + (not active)
                            pixels[0, y] += active
                            if not some or needed[y, i]:
                                pixels[1, y] += active
                                pixels[2, y] += not active
                with_active += on != 0
                with_inactive += off != 0
                without_active += on == 0 and off != 0
                x += 2
            quads[0, row], quads[1, row], quads[2, row] = with_active, with_inactive, without_active


@compiled
def select(
    claimed, thread_id, mask, only, some, needed, firsts, quad_firsts, active, inactive, quads_with_active,
    quads_with_inactive, quads_without_active, pixel_to_row,
):  # fmt: skip
    """Lists of what `count` counts, row by row: of needed pixels, and of quads, by the positions of their first pixels.

    And the pixel_to_row map, the flat grid with a zero border: all active pixels, numbered from 1. firsts (3, H + 1)
    and quad_firsts (3, H/2 + 1) tell which number, and where in the lists, each row starts.
    """
    width, pitch = mask.shape[1], mask.shape[1] + 2
    while True:
        start, stop = claim(claimed, thread_id, mask.shape[0] // 2, QUAD_ROWS)
        if start == stop:
            break
        for i in range((2 * start + 1) * pitch, (2 * stop + 1) * pitch):
            pixel_to_row[i] = 0
        for y in range(2 * start, 2 * stop):
            number, on, off, x = firsts[0, y], firsts[1, y], firsts[2, y], 0
            here = (y + 1) * pitch + 1
            while x < width:
                if some and none_of_eight(only, y & -2, x):
                    x += 8
                    continue
                for i in range(x, x + 2):
                    if some and not only[y, i]:
                        continue
                    if mask[y, i]:
                        number += 1
                        pixel_to_row[here + i] = number
                    if not some or needed[y, i]:
                        if mask[y, i]:
                            active[on] = here + i
                            on += 1
                        else:
                            inactive[off] = here + i
                            off += 1
                x += 2
        for row in range(start, stop):
            a, b, c, x = quad_firsts[0, row], quad_firsts[1, row], quad_firsts[2, row], 0
            while x < width:
                if some and none_of_eight(only, 2 * row, x):
                    x += 8
                    continue
                on = off = False
                for y in range(2 * row, 2 * row + 2):
                    for i in range(x, x + 2):
                        if not some or only[y, i]:
                            on = on or mask[y, i] != 0
                            off = off or mask[y, i] == 0
                here = (2 * row + 1) * pitch + x + 1
                if on:
                    quads_with_active[a] = here
                    a += 1
                if off:
                    quads_with_inactive[b] = here
                    b += 1
                    if not on:
                        quads_without_active[c] = here
                        c += 1
                x += 2


@inlined
def none_of_eight(only, y, x):
    """Are none of the eight columns from x on set in two rows? No, where there are fewer."""
    if x + 8 > only.shape[1]:
        return False
    width = only.shape[1]
    return eight_bytes(pointer(only, y * width + x)) | eight_bytes(pointer(only, (y + 1) * width + x)) == 0


@inlined
def touched(pixels, y, x):
    """Is one set of the 2x2 that begins there?"""
    return pixels[y, x] or pixels[y, x + 1] or pixels[y + 1, x] or pixels[y + 1, x + 1]


@cache
def decide(channels: int) -> Any:
    """The transposed 3x3 (stride 2) to two logits and their comparison: mask = logits[1] > logits[0].

    hidden is the half-size grid (H/2 + 2, W/2 + 2, channels); weights (3, 3, channels) and bias are those of the
    difference of the logits.
    Output row 2y takes kernel row 1 at y; row 2y + 1 takes kernel row 2 at y and row 0 at y + 1; columns likewise.
    With `some`, only the 2x2 that have a pixel in `only` (H, W).
    """

    @compiled
    def kernel(claimed, thread_id, hidden, weights, bias, only, some, mask):
        height, width = mask.shape[0] // 2, mask.shape[1] // 2
        while True:
            start, stop = claim(claimed, thread_id, height, ROWS)
            if start == stop:
                break
            for y in range(start, stop):
                for x in range(width):
                    if some and not touched(only, 2 * y, 2 * x):
                        continue
                    a = b = c = d = bias
                    for i in range(channels):
                        here, beside = hidden[y + 1, x + 1, i], hidden[y + 1, x + 2, i]
                        below, across = hidden[y + 2, x + 1, i], hidden[y + 2, x + 2, i]
                        a += here * weights[1, 1, i]
                        b += here * weights[1, 2, i] + beside * weights[1, 0, i]
                        c += here * weights[2, 1, i] + below * weights[0, 1, i]
                        d += here * weights[2, 2, i] + beside * weights[2, 0, i]
                        d += below * weights[0, 2, i] + across * weights[0, 0, i]
                    mask[2 * y, 2 * x] = a > 0
                    mask[2 * y, 2 * x + 1] = b > 0
                    mask[2 * y + 1, 2 * x] = c > 0
                    mask[2 * y + 1, 2 * x + 1] = d > 0

    return kernel


@compiled
def merge_rows(claimed, thread_id, values, kept, wanted, differs):
    """See `merging.merge`."""
    while True:
        start, stop = claim(claimed, thread_id, wanted.shape[0], ROWS)
        if start == stop:
            break
        merge(start, stop, values, kept, wanted, differs)


@compiled
def move(claimed, thread_id, flat, start, target, count):
    """flat[target : target + count] = what was in flat[start : start + count], by one thread."""
    while True:
        first, stop = claim(claimed, thread_id, 1, np.int64(1))
        if first == stop:
            break
        shift(pointer(flat, target), pointer(flat, start), count)


@compiled
def clear(claimed, thread_id, flat):
    """flat = 0."""
    while True:
        start, stop = claim(claimed, thread_id, flat.size, np.int64(16384))
        if start == stop:
            break
        for i in range(start, stop):
            flat[i] = 0


@compiled
def clear_border(claimed, thread_id, flat, pitch, line):
    """The border of a map with `pitch` lines a row = 0."""
    rows = flat.size // (pitch * line)
    while True:
        start, stop = claim(claimed, thread_id, rows, np.int64(64))
        if start == stop:
            break
        for y in range(start, stop):
            row, end = y * pitch * line, (y + 1) * pitch * line
            edge = row + line if 0 < y < rows - 1 else end
            for i in range(row, edge):
                flat[i] = 0
            for i in range(max(edge, end - line), end):
                flat[i] = 0


@compiled
def centre(claimed, thread_id, frame, mean, grid):
    """grid (H + 2, W + 2, 3) = frame - mean, inside its border."""
    height, width = frame.shape[:2]
    while True:
        start, stop = claim(claimed, thread_id, height, ROWS)
        if start == stop:
            break
        for y in range(start, stop):
            for x in range(width):
                for c in range(3):
                    grid[y + 1, x + 1, c] = frame[y, x, c] - mean[c]


@compiled
def bicubic(claimed, thread_id, grid, taps, weights, only, some, result):
    """result (sH, sW, 3) = the frame in grid enlarged; edges repeat.

    taps (s) and weights (s, 4): output s * x + b takes pixels x + taps[b] ... x + taps[b] + 3. With `some`, of each row
    only what lies between the first and the last pixel in `only` (H, W).
    """
    height, width = grid.shape[0] - 2, grid.shape[1] - 2
    scale = taps.shape[0]
    line = np.empty((width + 6, 3), np.float32)  # one blended row with its edges repeated
    while True:
        start, stop = claim(claimed, thread_id, height, ROWS)
        if start == stop:
            break
        for y in range(start, stop):
            left, right = 0, width
            if some:
                while left < right and not only[y, left]:
                    left += 1
                while left < right and not only[y, right - 1]:
                    right -= 1
            if left == right:
                continue
            near, far = max(left - 3, 0), min(right + 3, width)
            for dy in range(scale):
                for x in range(near, far):
                    for c in range(3):
                        line[x + 3, c] = np.float32(0)
                for t in range(4):
                    row = min(max(y + taps[dy] + t, 0), height - 1) + 1
                    weight = weights[dy, t]
                    for x in range(near, far):
                        for c in range(3):
                            line[x + 3, c] += grid[row, x + 1, c] * weight
                for x in range(3):
                    for c in range(3):
                        line[x, c] = line[3, c]
                        line[width + 3 + x, c] = line[width + 2, c]
                for dx in range(scale):
                    first = taps[dx] + 3
                    w0, w1, w2, w3 = weights[dx]
                    for x in range(left, right):
                        for c in range(3):
                            value = line[x + first, c] * w0 + line[x + first + 1, c] * w1
                            value += line[x + first + 2, c] * w2 + line[x + first + 3, c] * w3
                            result[y * scale + dy, x * scale + dx, c] = value


def bicubic_phases(scale: int) -> tuple[np.ndarray, np.ndarray]:
    """(s) first taps and (s, 4) weights of cubic convolution (a = -0.75, pixel centres aligned, no antialias).

    Source: R. Keys, Cubic convolution interpolation, 1981; a = -0.75 as in PyTorch's bicubic.
    """
    position = (np.arange(scale) + 0.5) / scale - 0.5
    first = np.floor(position).astype(np.int64) - 1
    distance = np.abs(position[:, None] - (first[:, None] + np.arange(4)))
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return first, np.where(distance <= 1, near, far).astype(np.float32)
