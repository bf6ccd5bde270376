"""Planes of luma and chroma to RGB and back; chroma is resampled on the way. See `picture.Sampling` for the weights.

A kernel makes the rows start .. stop of what it writes first in its name: of the frame, of luma, of chroma.

The order of the additions is that of cupy_kernels/picture.cu: down first, then across, then the matrix.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from vs_smsr.engine.compiled import compiled


@compiled
def unpack_planes(start, stop, luma, blue, red, matrix, across, down, firsts, shifts, frame):
    """frame (H, W, 3) float32, 0..255, from luma (H, W) and chroma, which is empty for grey.

    matrix (12), across (4 << shifts[1]), down (4 << shifts[0]) are those of `Layout.decoding_table`.
    """
    width = luma.shape[1]
    rows, columns = blue.shape
    line = np.zeros((columns, 2), np.float32)
    for y in range(start, stop):
        line[:] = np.float32(0)
        if rows:
            first = ((2 * y - firsts[0]) >> (shifts[0] + 1)) - 1
            phase = 4 * (y & ((1 << shifts[0]) - 1))
            for t in range(4):
                row, weight = min(max(first + t, 0), rows - 1), down[phase + t]
                for x in range(columns):
                    line[x, 0] += np.float32(blue[row, x]) * weight
                    line[x, 1] += np.float32(red[row, x]) * weight
        for x in range(width):
            light = np.float32(luma[y, x])
            b = r = np.float32(0)
            if rows:
                first = ((2 * x - firsts[1]) >> (shifts[1] + 1)) - 1
                phase = 4 * (x & ((1 << shifts[1]) - 1))
                for t in range(4):
                    column, weight = min(max(first + t, 0), columns - 1), across[phase + t]
                    b += line[column, 0] * weight
                    r += line[column, 1] * weight
            for c in range(3):
                value = light * matrix[4 * c] + b * matrix[4 * c + 1] + r * matrix[4 * c + 2] + matrix[4 * c + 3]
                frame[y, x, c] = min(max(value, np.float32(0)), np.float32(255))


@compiled
def pack_luma(start, stop, frame, matrix, peak, luma):
    """luma (h, w), rounded, from the first h rows and w columns of frame."""
    width = luma.shape[1]
    for y in range(start, stop):
        for x in range(width):
            value = frame[y, x, 0] * matrix[0] + frame[y, x, 1] * matrix[1]
            value += frame[y, x, 2] * matrix[2] + matrix[3]
            luma[y, x] = min(max(np.rint(value), np.float32(0)), peak)


@compiled
def pack_chroma(start, stop, frame, matrix, across, down, firsts, shifts, peak, height, width, blue, red):
    """blue and red, rounded, from the first height rows and width columns of frame.

    matrix (12), across (4 << shifts[1]), down (4 << shifts[0]) are those of `Layout.encoding_table`.
    """
    columns = blue.shape[1]
    line = np.empty((width, 3), np.float32)
    for y in range(start, stop):
        line[:] = np.float32(0)
        top = ((y - 2) << shifts[0]) + (firsts[0] >> 1) + 1
        for t in range(4 << shifts[0]):
            row, weight = min(max(top + t, 0), height - 1), down[t]
            if weight != 0:
                for x in range(width):
                    for c in range(3):
                        line[x, c] += frame[row, x, c] * weight
        for x in range(columns):
            red_level = green_level = blue_level = np.float32(0)
            left = ((x - 2) << shifts[1]) + (firsts[1] >> 1) + 1
            for t in range(4 << shifts[1]):
                column, weight = min(max(left + t, 0), width - 1), across[t]
                if weight != 0:
                    red_level += line[column, 0] * weight
                    green_level += line[column, 1] * weight
                    blue_level += line[column, 2] * weight
            for plane, at in ((blue, 4), (red, 8)):
                value = red_level * matrix[at] + green_level * matrix[at + 1]
                value += blue_level * matrix[at + 2] + matrix[at + 3]
                plane[y, x] = min(max(np.rint(value), np.float32(0)), peak)
