"""The masked layers of a block, band by band, so that the layers' buffers stay small however high the frame is.

Each layer is a row of quads ahead of the next, which reads a row further: when the fuse has come to a row, the first
layer of four has come six rows further. The few rows that the next band needs of that are kept, so no row is computed
twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Mask
from vs_smsr.engine.cpu.arena import QUAD_LISTS, Arena, band_rows
from vs_smsr.engine.cpu.index_lists import ALL, Only, Positions
from vs_smsr.engine.cpu.launchers import Launchers
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import PackedLayer, Words


@dataclass(frozen=True)
class Rows:
    """Grid positions row by row, of pixels or of quads' first pixels; row y starts at firsts[y]."""

    positions: Positions
    firsts: NDArray[np.int64]  # (rows + 1,)

    def between(self, top: int, bottom: int) -> Positions:
        """Those of the rows [top, bottom)."""
        return self.positions[self.firsts[top] : self.firsts[bottom]]


@dataclass(frozen=True)
class Pixels:
    """What a mask makes the layers go over: pixels, or quads where they go by quads.

    Attributes:
        rows: (H + 1,) how many active pixels there are above each row of the frame.
        active, inactive: pixels that the fuse goes over.
        active_quads: with an active pixel.
        inactive_quads: with an inactive pixel.
        passive_quads: without an active pixel.
    """

    rows: NDArray[np.int64]
    active: Rows
    inactive: Rows
    active_quads: Rows
    inactive_quads: Rows
    passive_quads: Rows

    def layer(self, layer: PackedLayer, top: int, bottom: int) -> tuple[Positions, Positions]:
        """Quads with an active and with an inactive pixel of the rows [top, bottom), even, as that layer takes them."""
        others = self.passive_quads if layer.all_dense else self.inactive_quads
        return self.active_quads.between(top // 2, bottom // 2), others.between(top // 2, bottom // 2)


@dataclass(frozen=True)
class Band:
    """Rows of the frame whose fused result is made at a time.

    Attributes:
        top, bottom: the rows [top, bottom).
        height: of the frame.
        ahead: rows that the first layer is ahead of the last.
        start, stop: the rows of the layers' buffers: all that is computed or read for the band.
    """

    top: int
    bottom: int
    height: int
    ahead: int

    @property
    def start(self) -> int:
        return max(self.top - 1, 0)

    @property
    def stop(self) -> int:
        return self.end(0)

    def begin(self, layer: int) -> int:
        """The first row that is new in the layer."""
        return min(self.top + self.ahead - 2 * layer, self.height) if self.top else 0

    def end(self, layer: int) -> int:
        """The row after the layer's last."""
        return min(self.bottom + self.ahead - 2 * layer, self.height)


def bands(height: int, rows: int, layers: int) -> Iterator[Band]:
    """The bands of a frame, from the top, for so many layers; height and rows are even."""
    for top in range(0, height, rows):
        yield Band(top, min(top + rows, height), height, 2 * (layers - 1))


class Body:
    """Runs blocks over frames of one size.

    Attributes:
        blocks: as they are packed for the current frame.
        sums: channel sums of the newest fused features.
        only: the pixels that are computed.
    """

    def __init__(self, network: PackedNetwork, launch: Launchers, arena: Arena) -> None:
        self._network, self._launch, self._arena = network, launch, arena
        self.blocks = list(network.blocks)
        self.sums = np.zeros(network.channels, np.int64)
        self.only: Only = ALL

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size; the arena has it already."""
        self._height, self._pitch = height, width + 2
        self._rows = band_rows(self._network, height, width)
        self._pixel_to_row = self._arena.take_map("pixel_to_row", height + 2, width + 2, 1)
        self._active, self._inactive = self._arena.take("active"), self._arena.take("inactive")
        for layer in range(self._network.layers):
            self._arena.take(f"dense {layer}")  # at its largest: what is kept from band to band must not move

    def select(self, mask: Mask) -> Pixels:
        """Lists of the mask's active and inactive pixels, of those in `only` if it is set; made by the next stage."""
        launch = self._launch
        counts, quad_counts = np.empty((3, self._height), np.int64), np.empty((3, self._height // 2), np.int64)
        launch.run(launch.count(mask, self.only, counts, quad_counts))
        firsts, (_, on, off) = _firsts(counts)
        quad_firsts, totals = _firsts(quad_counts)
        lists = self._active[:on], self._inactive[:off], *map(self._arena.take, QUAD_LISTS, totals)
        launch.then(launch.select(mask, self.only, firsts, quad_firsts, lists, self._pixel_to_row))
        return Pixels(firsts[0], *map(Rows, lists, (*firsts[1:], *quad_firsts)))

    def run(self, block: int, features: Words, pixels: Pixels, fused: Words) -> None:
        """Begin all layers and the fuse of one block: features (grid, channels) to fused (grid, channels) and `sums`.

        Pending may be the making of the lists only.
        """
        self.sums[:] = 0
        line, layers = self._network.line, len(self.blocks[block].layers)
        all_bands = list(bands(self._height, self._rows, layers))
        most = int(max(pixels.rows[band.stop] - pixels.rows[band.start] for band in all_bands))
        with self._arena.scratch("rows", layers * (most + 1) * line) as scratch:
            rows = scratch.reshape(layers, -1)
            rows[:, :line] = 0
            for previous, band in zip([None, *all_bands], all_bands, strict=False):
                if previous:
                    self._keep(block, pixels, rows, previous, band)
                self._run_band(block, features, pixels, rows, fused, band)

    def _keep(self, block: int, pixels: Pixels, rows: Words, previous: Band, band: Band) -> None:
        """Move what the band needs of the previous one to where the band looks for it."""
        launch, line, calls = self._launch, self._network.line, []
        for number, layer in enumerate(self.blocks[block].layers):
            end = previous.end(number)
            old, first, last = (int(pixels.rows[row]) for row in (previous.start, band.start, end))
            calls.append(launch.move(rows[number], (1 + first - old) * line, line, (last - first) * line))
            row_words = self._pitch * layer.dense_stride
            dense = self._arena.take(f"dense {number}", (previous.stop - previous.start + 2) * row_words)
            moved = (1 + band.start - previous.start) * row_words
            calls.append(launch.move(dense, moved, row_words, (end - band.start) * row_words))
        launch.then(*calls)

    def _run_band(self, block: int, features: Words, pixels: Pixels, rows: Words, fused: Words, band: Band) -> None:
        launch, network, packed = self._launch, self._network, self.blocks[block]
        shift = band.start * self._pitch  # the band's maps begin one border row above its first row
        base = int(pixels.rows[band.start])  # row numbers count from 1
        in_rows, dense, stride, source_shift = rows[0], features, network.line, 0
        maps = [
            self._arena.take_map(
                f"dense {number}", band.stop - band.start + 2, self._pitch, layer.dense_stride, in_use=True
            )
            for number, layer in enumerate(packed.layers)
        ]
        if band.stop == band.height:  # no other band reads the row below its last
            launch.then(*(launch.clear(lines[len(lines) - self._pitch * layer.dense_stride :])
                          for lines, layer in zip(maps, packed.layers, strict=True)))  # fmt: skip
        for number, layer in enumerate(packed.layers):
            active, inactive = pixels.layer(layer, band.begin(number), band.end(number))
            out_rows, out_dense, out_stride = rows[number], maps[number], layer.dense_stride
            calls = []
            if active.size:
                calls.append(launch.active_layer(
                    layer, active, dense, stride, source_shift, in_rows, self._pixel_to_row, base, out_rows, out_dense,
                    shift,
                ))  # fmt: skip
            if layer.dense_outputs and inactive.size:
                calls.append(launch.inactive_layer(
                    layer, inactive, dense, stride, source_shift, self._pixel_to_row, out_dense, shift
                ))  # fmt: skip
            launch.then(*calls)
            dense, stride, source_shift, in_rows = out_dense, out_stride, shift, out_rows
        active, inactive = (part.between(band.top, band.bottom) for part in (pixels.active, pixels.inactive))
        kept = slice(packed.first_kept, None)
        calls = []
        if active.size:
            calls.append(launch.active_fuse(packed, active, self._pixel_to_row, base, rows[kept], fused, self.sums))
        if inactive.size:
            calls.append(launch.inactive_fuse(packed, inactive, maps[kept], shift, fused, self.sums))
        launch.then(*calls)


def _firsts(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Where rows begin in lists, of which each row (of n) has so many: (lists, n + 1), and the lengths of the lists."""
    firsts = np.zeros((len(counts), counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=firsts[:, 1:])
    return firsts, firsts[:, -1].tolist()
