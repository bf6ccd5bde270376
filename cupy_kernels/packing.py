"""Weights in the order in which the kernels read them. NumPy only.

The unit is the *step*: OUT rows of one slice (64 bytes) of inputs. Row n of a step is output channel
`columns(OUT)[n]`, so that a thread's sums are channels that lie next to each other (see tile.cuh).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels.geometry import SLICE_BYTES

Floats = NDArray[np.float32]
Packed = NDArray[Any]  # float16 or float32


def columns(outputs: int) -> NDArray[np.intp]:
    """(outputs,) the output channel that column n of the product computes: 8j + 2t + e -> t * outputs / 4 + 2j + e."""
    n = np.arange(outputs)
    return n % 8 // 2 * (outputs // 4) + n // 8 * 2 + n % 2


def product(matrix: Floats, half: bool) -> Packed:
    """(outputs, inputs) to (steps, outputs, slice): inputs in the order of the chunks, zeros after the last."""
    slice_channels = SLICE_BYTES // (2 if half else 4)
    outputs, inputs = matrix.shape
    steps = -(-inputs // slice_channels)
    padded = np.zeros((outputs, steps * slice_channels), np.float32)
    padded[:, :inputs] = matrix[columns(outputs)]
    stepped = padded.reshape(outputs, steps, slice_channels).transpose(1, 0, 2)
    return np.ascontiguousarray(stepped, np.float16 if half else np.float32)


def listed(weight: Floats, half: bool) -> Packed:
    """(outputs, inputs, 3, 3) for conv_listed: tap by tap, each with all its inputs."""
    return product(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), half)


def windowed(weight: Floats, half: bool, split: bool = False) -> Packed:
    """(outputs, 64, 3, 3) for the full-frame kernels: slice by slice, each with its 9 taps.

    With `split` (halves only) the steps of the high part's slices, each with 9 taps of high and 9 taps of low weights;
    then the steps of the low part's slices with 9 taps of high weights.
    """
    outputs, inputs = weight.shape[:2]
    slice_channels = SLICE_BYTES // (2 if half else 4)

    def steps(part: Floats) -> Packed:
        """(slices, 9, outputs, slice)."""
        taps = part.transpose(0, 2, 3, 1).reshape(outputs * 9, inputs)
        shaped = taps.reshape(outputs, 9, inputs // slice_channels, slice_channels)[columns(outputs)]
        return np.ascontiguousarray(shaped.transpose(2, 1, 0, 3), np.float16 if half else np.float32)

    high = steps(weight)
    if not split:
        return high.reshape(-1, outputs, slice_channels)
    low = steps(weight - weight.astype(np.float16).astype(np.float32))
    both = np.concatenate([high, low], axis=1).reshape(-1, outputs, slice_channels)
    return np.concatenate([both, high.reshape(-1, outputs, slice_channels)])


def chunk_table(dense: tuple[int, ...], active: bool, half: bool, first: int = 0) -> NDArray[np.int32]:
    """(chunks, 4) where `residual` finds the inputs of a pixel, layer by layer.

    The layers' buffer holds the maps of all layers, then the rows of all layers, each with room for every pixel.

    Args:
        dense: dense channels of each layer, multiples of 16.
        active: list dense and sparse channels; else the dense ones alone.
        half: halves, else floats.
        first: the first layer that is listed.
    """
    chunk = 8 if half else 4
    maps = [d // chunk for d in dense]
    rows = [64 // chunk - m for m in maps]
    table = []
    for layer in range(first, len(dense)):
        table += [(0, sum(maps[:layer]), maps[layer], i) for i in range(maps[layer])]
        if active:
            table += [(1, sum(maps) + sum(rows[:layer]), rows[layer], i) for i in range(rows[layer])]
    return np.array(table, np.int32).reshape(-1, 4)
