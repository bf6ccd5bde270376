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
from vs_smsr.engine.cpu.index_lists import ALONE, Positions, list_positions, touched_quads
from vs_smsr.engine.cpu.launchers import Launchers
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Packed, PackedLayer, Words

NO_PIXELS = np.zeros((1, 1), np.bool_)


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
    """What a mask makes the layers go over; the quads are there if the network goes by quads.

    Attributes:
        active, inactive: pixels.
        active_quads: with an active pixel.
        inactive_quads: with an inactive pixel.
        passive_quads: without an active pixel.
    """

    active: Rows
    inactive: Rows
    active_quads: Rows | None = None
    inactive_quads: Rows | None = None
    passive_quads: Rows | None = None

    def layer(self, layer: PackedLayer, top: int, bottom: int) -> tuple[Positions, Positions]:
        """Active and inactive positions of the rows [top, bottom), even if by quads, as that layer takes them."""
        if self.active_quads is None or self.inactive_quads is None or self.passive_quads is None:
            return self.active.between(top, bottom), self.inactive.between(top, bottom)
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
        only: (H, W) the pixels that are computed; None: all.
    """

    def __init__(self, network: PackedNetwork, launch: Launchers, arena: Arena) -> None:
        self._network, self._launch, self._arena = network, launch, arena
        self.blocks = list(network.blocks)
        self.sums = np.zeros(network.channels, np.int64)
        self._by_quads = any(isinstance(layer.active, Packed) for block in network.blocks for layer in block.layers)
        self.only: NDArray[np.bool_] | None = None

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size; the arena has it already."""
        self._height, self._pitch = height, width + 2
        self._rows = band_rows(self._network, height, width)
        self._pixel_to_row = self._arena.take_map("pixel_to_row", height + 2, width + 2, 1)
        self._active, self._inactive = self._arena.take("active"), self._arena.take("inactive")
        for layer in range(self._network.layers):
            self._arena.take(f"dense {layer}")  # at its largest: what is kept from band to band must not move

    @property
    def wanted(self) -> tuple[NDArray[np.bool_], bool]:
        """`only` as kernels take it: and whether it is set."""
        return (NO_PIXELS, False) if self.only is None else (self.only, True)

    def select(self, mask: Mask) -> Pixels:
        """Lists of the mask's active and inactive pixels, of those in `only` if it is set."""
        wanted = mask, *self.wanted
        firsts = np.zeros((2, self._height + 1), np.int64)
        self._launch.run(self._launch.count(*wanted, *firsts[:, 1:]))
        np.cumsum(firsts, axis=1, out=firsts)
        self._launch.run(self._launch.select(*wanted, (self._active, self._inactive), firsts, self._pixel_to_row))
        on, off = firsts[:, -1]
        lists = Rows(self._active[:on], firsts[0]), Rows(self._inactive[:off], firsts[1])
        return Pixels(*lists, *(self._select_quads(mask) if self._by_quads else ()))

    def _select_quads(self, mask: Mask) -> Iterator[Rows]:
        """The quads of `Pixels` in its order, those that have to be computed; see `select`."""
        active, inactive = mask != 0, mask == 0
        if self.only is not None:
            active &= self.only
            inactive &= self.only
        active_quads, inactive_quads = touched_quads(active), touched_quads(inactive)
        chosen = active_quads, inactive_quads, inactive_quads & ~active_quads
        for name, quads in zip(QUAD_LISTS, chosen, strict=True):
            firsts = np.concatenate([[0], np.cumsum(np.count_nonzero(quads, axis=1))])
            positions = self._arena.take(name, int(firsts[-1]))
            list_positions(quads, 2, self._pitch, ALONE, positions[:, None])
            yield Rows(positions, firsts)

    def run(self, block: int, features: Words, pixels: Pixels, fused: Words) -> None:
        """All layers and the fuse of one block: features (grid, channels) to fused (grid, channels) and `sums`."""
        self.sums[:] = 0
        line, layers = self._network.line, len(self.blocks[block].layers)
        all_bands = list(bands(self._height, self._rows, layers))
        counts = pixels.active.firsts
        most = int(max(counts[band.stop] - counts[band.start] for band in all_bands))
        with self._arena.scratch("rows", layers * (most + 1) * line) as scratch:
            rows = scratch.reshape(layers, -1)
            rows[:, :line] = 0
            for previous, band in zip([None, *all_bands], all_bands, strict=False):
                if previous:
                    self._keep(block, pixels, rows, previous, band)
                self._run_band(block, features, pixels, rows, fused, band)

    def _keep(self, block: int, pixels: Pixels, rows: Words, previous: Band, band: Band) -> None:
        """Move what the band needs of the previous one to where the band looks for it."""
        for number, layer in enumerate(self.blocks[block].layers):
            end = previous.end(number)
            old, first, last = (int(pixels.active.firsts[row]) for row in (previous.start, band.start, end))
            lines = rows[number].reshape(-1, self._network.line)
            lines[1 : 1 + last - first] = lines[1 + first - old : 1 + last - old]
            row_words = self._pitch * layer.dense_stride
            dense = self._arena.take(f"dense {number}", (previous.stop - previous.start + 2) * row_words)
            maps = dense.reshape(previous.stop - previous.start + 2, row_words)
            maps[1 : 1 + end - band.start] = maps[1 + band.start - previous.start : 1 + end - previous.start]

    def _run_band(self, block: int, features: Words, pixels: Pixels, rows: Words, fused: Words, band: Band) -> None:
        launch, network, packed = self._launch, self._network, self.blocks[block]
        shift = band.start * self._pitch  # the band's maps begin one border row above its first row
        base = int(pixels.active.firsts[band.start])  # row numbers count from 1
        in_rows, dense, stride, source_shift = rows[0], features, network.line, 0
        maps = []
        for number, layer in enumerate(packed.layers):
            active, inactive = pixels.layer(layer, band.begin(number), band.end(number))
            out_rows, out_stride = rows[number], layer.dense_stride
            out_dense = self._arena.take_map(f"dense {number}", band.stop - band.start + 2, self._pitch, out_stride)
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
            launch.run(*calls)
            maps.append(out_dense)
            dense, stride, source_shift, in_rows = out_dense, out_stride, shift, out_rows
        active, inactive = (part.between(band.top, band.bottom) for part in (pixels.active, pixels.inactive))
        kept = slice(packed.first_kept, None)
        calls = []
        if active.size:
            calls.append(launch.active_fuse(packed, active, self._pixel_to_row, base, rows[kept], fused, self.sums))
        if inactive.size:
            calls.append(launch.inactive_fuse(packed, inactive, maps[kept], shift, fused, self.sums))
        launch.run(*calls)
