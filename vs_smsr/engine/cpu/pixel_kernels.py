"""Everything per pixel that is not a convolution: lists, masks, the bicubic base. Vocabulary: `sparse_kernels`."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from vs_smsr.engine.compiled import compiled, inlined
from vs_smsr.engine.cpu.work_stealing import claim

ROWS = np.int64(4)  # rows claimed at a time


@compiled
def count(claimed, thread_id, mask, only, some, on, off):
    """How many pixels of each row are active (on) and inactive (off); with `some`, of those in `only` (H, W)."""
    height, width = mask.shape
    while True:
        start, stop = claim(claimed, thread_id, height, ROWS)
        if start == stop:
            break
        for y in range(start, stop):
            active = wanted = 0
            for x in range(width):
                wanted += not some or only[y, x]
                active += mask[y, x] != 0 and (not some or only[y, x])
            on[y], off[y] = active, wanted - active


@compiled
def select(claimed, thread_id, mask, only, some, active, inactive, first_active, first_inactive, pixel_to_row):
    """Lists of active and inactive grid positions, row by row, and the pixel_to_row map.

    mask is (H, W), active and inactive have room for H * W; first_active and first_inactive (H + 1) tell where each row
    starts in them. pixel_to_row is the flat grid with a zero border, the active pixels numbered from 1. With `some`,
    pixels not in `only` (H, W) are in neither list.
    """
    height, width = mask.shape
    while True:
        start, stop = claim(claimed, thread_id, height, ROWS)
        if start == stop:
            break
        for y in range(start, stop):
            on, off = first_active[y], first_inactive[y]
            here = (y + 1) * (width + 2) + 1
            for x in range(width):
                if some and not only[y, x]:
                    pixel_to_row[here + x] = 0
                elif mask[y, x]:
                    active[on] = here + x
                    on += 1
                    pixel_to_row[here + x] = on
                else:
                    inactive[off] = here + x
                    off += 1
                    pixel_to_row[here + x] = 0


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
                        here, right = hidden[y + 1, x + 1, i], hidden[y + 1, x + 2, i]
                        below, across = hidden[y + 2, x + 1, i], hidden[y + 2, x + 2, i]
                        a += here * weights[1, 1, i]
                        b += here * weights[1, 2, i] + right * weights[1, 0, i]
                        c += here * weights[2, 1, i] + below * weights[0, 1, i]
                        d += here * weights[2, 2, i] + right * weights[2, 0, i]
                        d += below * weights[0, 2, i] + across * weights[0, 0, i]
                    mask[2 * y, 2 * x] = a > 0
                    mask[2 * y, 2 * x + 1] = b > 0
                    mask[2 * y + 1, 2 * x] = c > 0
                    mask[2 * y + 1, 2 * x + 1] = d > 0

    return kernel


@compiled
def centre(claimed, thread_id, frame, mean, grid):
    """grid (H + 2, W + 2, 3), zero border, = frame - mean."""
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
