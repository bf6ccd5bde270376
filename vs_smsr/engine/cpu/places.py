"""Lists of grid positions that the kernels go over: those of the whole frame, or of some of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cpu.buffers import Buffers

Positions = NDArray[np.int32]
Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class Places:
    """What is computed; half-size positions are those of the grid on which the mask branch works.

    Attributes:
        pixels: (n,).
        quads: (n, 4) the pixels of each quad.
        pooled: (n, 4) the quads whose means the mask branch needs, a quad further than it decides.
        means: (n,) half-size positions of those.
        hidden: (n,) half-size positions of the mask branch's second convolution.
    """

    pixels: Positions
    quads: Positions
    pooled: Positions
    means: Positions
    hidden: Positions


def everywhere(buffers: Buffers, height: int, width: int) -> Places:
    """All pixels of a frame; the lists lie in buffers."""
    every = _grid_positions(height, width)
    pixels, quads, means = buffers.take("all"), buffers.take("quads").reshape(-1, 4), buffers.take("half")
    pixels[:] = every.ravel()
    quads[:] = every.reshape(height // 2, 2, width // 2, 2).swapaxes(1, 2).reshape(-1, 4)
    means[:] = _grid_positions(height // 2, width // 2).ravel()
    return Places(pixels, quads, quads, means, means)


def only(pixels: Chosen) -> Places:
    """Those of (H, W) that are set, by whole quads where the kernels go by quads."""
    pitch = pixels.shape[1] + 2
    quads = pixels[::2, ::2] | pixels[::2, 1::2] | pixels[1::2, ::2] | pixels[1::2, 1::2]
    hidden = _grown(quads, 0, 1)  # an odd pixel reads the next
    pooled = _grown(hidden, 1, 1)
    return Places(_set(pixels), _quads(quads, pitch), _quads(pooled, pitch), _set(pooled), _set(hidden))


def _grid_positions(height: int, width: int) -> Positions:
    grid = np.arange((height + 2) * (width + 2), dtype=np.int32).reshape(height + 2, width + 2)
    return grid[1:-1, 1:-1]


def _set(pixels: Chosen) -> Positions:
    return np.flatnonzero(np.pad(pixels, 1)).astype(np.int32)


def _quads(quads: Chosen, pitch: int) -> Positions:
    rows, columns = np.nonzero(quads)
    first = (2 * rows + 1) * pitch + 2 * columns + 1
    return (first[:, None] + [0, 1, pitch, pitch + 1]).astype(np.int32)


def _grown(pixels: Chosen, before: int, after: int) -> Chosen:
    """The pixels and those so many before (above, left) and after them."""
    grown = pixels.copy()
    for view in (grown, grown.T):
        base = view.copy()
        for step in range(1, before + 1):
            view[:-step] |= base[step:]
        for step in range(1, after + 1):
            view[step:] |= base[:-step]
    return grown
