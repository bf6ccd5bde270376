"""The masked layers of an SMM, band by band, so that the layers' buffers stay small however high the frame is.

Each layer is a row ahead of the next, which reads a row further: when the collect has come to a row, the first layer
has come three rows further. The few rows that the next band needs of that are kept, so no row is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Mask
from vs_smsr.engine.cpu import kernels
from vs_smsr.engine.cpu import pixels as pixel_kernels
from vs_smsr.engine.cpu.buffers import REACH, Buffers, band_rows
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Words
from vs_smsr.weights import CHANNELS, LAYERS

if TYPE_CHECKING:
    from vs_smsr.engine.cpu.ops import Launcher

NO_PIXELS = np.zeros((1, 1), np.bool_)


@dataclass(frozen=True)
class Layer:
    """A masked layer that is still to be computed from the SMM's input."""

    features: Words


@dataclass(frozen=True)
class Pixels:
    """Grid positions of active and inactive pixels in order of rows, and where each row starts in the lists."""

    active: NDArray[np.int32]
    inactive: NDArray[np.int32]
    first_active: NDArray[np.int64]  # (H + 1,)
    first_inactive: NDArray[np.int64]  # (H + 1,)

    def between(self, top: int, bottom: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Active and inactive pixels of the rows [top, bottom)."""
        return (
            self.active[self.first_active[top] : self.first_active[bottom]],
            self.inactive[self.first_inactive[top] : self.first_inactive[bottom]],
        )


@dataclass(frozen=True)
class Band:
    """Rows of the frame whose collect is made at a time.

    Attributes:
        top, bottom: the rows [top, bottom).
        start, stop: the rows of the layers' buffers: all that is computed or read for the band.
    """

    top: int
    bottom: int
    height: int

    @property
    def start(self) -> int:
        return max(self.top - 1, 0)

    @property
    def stop(self) -> int:
        return self.end(0)

    def begin(self, layer: int) -> int:
        """The first row that is new in the layer."""
        return min(self.top + REACH - layer, self.height) if self.top else 0

    def end(self, layer: int) -> int:
        """The row after the layer's last."""
        return min(self.bottom + REACH - layer, self.height)


def bands(height: int, rows: int) -> Iterator[Band]:
    """The bands of a frame, from the top."""
    for top in range(0, height, rows):
        yield Band(top, min(top + rows, height), height)


class Body:
    """Runs SMMs over frames of one size; `sums` holds the channel sums of the last total."""

    def __init__(self, network: PackedNetwork, launch: Launcher, buffers: Buffers) -> None:
        self._network, self._launch, self._buffers = network, launch, buffers
        self.sums = np.zeros(CHANNELS, np.int64)
        self.only: NDArray[np.bool_] | None = None  # (H, W)

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size; the buffers have it already."""
        self._height, self._pitch = height, width + 2
        self._band = band_rows(self._network, height, width)
        self._inverse = self._buffers.take_map("inverse", height + 2, width + 2, 1)
        self._active, self._inactive = self._buffers.take("active"), self._buffers.take("inactive")
        for layer in range(LAYERS):
            self._buffers.take(f"dense {layer}")  # at its largest: what is kept from band to band must not move

    def select(self, mask: Mask) -> Pixels:
        """Lists of the mask's active and inactive pixels, of those in `only` if it is set."""
        only = NO_PIXELS if self.only is None else self.only
        wanted = mask, only, self.only is not None
        firsts = np.zeros((2, self._height + 1), np.int64)
        self._launch(pixel_kernels.count, *wanted, *firsts[:, 1:])
        np.cumsum(firsts, axis=1, out=firsts)
        self._launch(pixel_kernels.select, *wanted, self._active, self._inactive, *firsts, self._inverse)
        on, off = firsts[:, -1]
        return Pixels(self._active[:on], self._inactive[:off], *firsts)

    def run(self, module: int, features: Words, pixels: Pixels, total: Words) -> None:
        """All layers and the collect of one SMM: features (grid, 64) to total (grid, 64) and `sums`."""
        self.sums[:] = 0
        line, counts = self._network.line, pixels.first_active
        most = max(counts[band.stop] - counts[band.start] for band in bands(self._height, self._band))
        rows = self._buffers.take("scratch", LAYERS * (int(most) + 1) * line).reshape(LAYERS, -1)
        rows[:, :line] = 0
        previous: Band | None = None
        for band in bands(self._height, self._band):
            if previous:
                self._keep(module, pixels, rows, previous, band)
            self._run_band(module, features, pixels, rows, total, band)
            previous = band

    def _keep(self, module: int, pixels: Pixels, rows: Words, previous: Band, band: Band) -> None:
        """Move what the band needs of the previous one to where the band looks for it."""
        for layer in range(LAYERS):
            end = previous.end(layer)
            old, first, last = (int(pixels.first_active[row]) for row in (previous.start, band.start, end))
            lines = rows[layer].reshape(-1, self._network.line)
            lines[1 : 1 + last - first] = lines[1 + first - old : 1 + last - old]
            row_words = self._pitch * self._network.dense_stride(module, layer)
            dense = self._buffers.take(f"dense {layer}", (previous.stop - previous.start + 2) * row_words)
            maps = dense.reshape(previous.stop - previous.start + 2, row_words)
            maps[1 : 1 + end - band.start] = maps[1 + band.start - previous.start : 1 + end - previous.start]

    def _run_band(self, module: int, features: Words, pixels: Pixels, rows: Words, total: Words, band: Band) -> None:
        network, line = self._network, self._network.line
        packed = network.modules[module]
        shift = band.start * self._pitch  # the band's maps begin one border row above its first row
        base = int(pixels.first_active[band.start])  # row numbers count from 1
        in_rows, dense, stride, source_shift = rows[0], features, line, 0
        maps = []
        for layer, packed_layer in enumerate(packed.layers):
            active, inactive = pixels.between(band.begin(layer), band.end(layer))
            out_rows, out_stride = rows[layer], network.dense_stride(module, layer)
            out_dense = self._buffers.take_map(f"dense {layer}", band.stop - band.start + 2, self._pitch, out_stride)
            calls = []
            if active.size:
                calls.append(self._launch.call(
                    kernels.active_layer(*packed_layer.dense.literals), active, self._pitch,
                    dense, packed_layer.dense.words, stride, source_shift,
                    packed_layer.dense.data, packed_layer.dense.group_stride, packed_layer.dense.tap_starts,
                    in_rows, self._inverse, base, packed_layer.sparse_first, packed_layer.sparse.words,
                    packed_layer.sparse.data, packed_layer.sparse.group_stride, packed_layer.sparse.tap_starts,
                    line, out_rows, out_dense, out_stride, shift,
                ))  # fmt: skip
            if packed_layer.dense_outputs and inactive.size:
                calls.append(self._launch.convolution(
                    packed_layer.inactive, inactive, self._pitch, dense, stride, out_dense, out_stride, rectify=True,
                    outputs=out_stride * network.per_word, source_shift=source_shift, target_shift=shift,
                ))  # fmt: skip
            self._launch.together(*calls)
            maps.append(out_dense)
            dense, stride, source_shift, in_rows = out_dense, out_stride, shift, out_rows
        active, inactive = pixels.between(band.top, band.bottom)
        calls = []
        if active.size:
            collect = packed.collect
            calls.append(self._launch.call(
                kernels.active_total(*collect.literals), active, self._inverse, base, rows.ravel(), rows.shape[1], line,
                collect.data, collect.group_stride, collect.tap_starts, collect.bias, total, self.sums,
            ))  # fmt: skip
        if inactive.size:
            shares = packed.collect_dense
            calls.append(self._launch.call(
                kernels.inactive_total(*shares[0].literals), inactive, shares[0].bias,
                *(share.data for share in shares), *maps, *network.dense_shares[module], shift, line, total, self.sums,
            ))  # fmt: skip
        self._launch.together(*calls)
