"""The masked layers of an SMM, band by band: rows of pixels are few enough that the layers' buffers stay small.

A band's layers reach one row further than what follows needs, so bands overlap by up to three rows; their sums are
the same bits in every band, and only a band's own rows enter the SMM's collect.
"""

from __future__ import annotations

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


class Body:
    """Runs SMMs over frames of one size; `sums` holds the channel sums of the last total."""

    def __init__(self, network: PackedNetwork, launch: Launcher, buffers: Buffers) -> None:
        self._network, self._launch, self._buffers = network, launch, buffers
        self.sums = np.zeros(CHANNELS, np.int64)
        self.only: NDArray[np.bool_] | None = None  # (H, W)

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size; the buffers have it already."""
        self._height, self._pitch = height, width + 2
        self._band = band_rows(height, width)
        self._inverse = self._buffers.take_map("inverse", height + 2, width + 2, 1)
        self._active, self._inactive = self._buffers.take("active"), self._buffers.take("inactive")
        self._first_active, self._first_inactive = np.zeros((2, height + 1), np.int64)

    def select(self, mask: Mask) -> Pixels:
        """Lists of the mask's active and inactive pixels, of those in `only` if it is set."""
        active, inactive, first_active, first_inactive = (
            self._active, self._inactive, self._first_active, self._first_inactive,
        )  # fmt: skip
        only = NO_PIXELS if self.only is None else self.only
        pixel_kernels.select(
            mask, only, self.only is not None, active, inactive, first_active, first_inactive, self._inverse
        )
        return Pixels(active[: first_active[-1]], inactive[: first_inactive[-1]], first_active, first_inactive)

    def run(self, module: int, features: Words, pixels: Pixels, total: Words) -> None:
        """All layers and the collect of one SMM: features (grid, 64) to total (grid, 64) and `sums`."""
        self.sums[:] = 0
        for top in range(0, self._height, self._band):
            self._run_band(module, features, pixels, total, top, min(top + self._band, self._height))

    def _run_band(self, module: int, features: Words, pixels: Pixels, total: Words, top: int, bottom: int) -> None:
        network, line = self._network, self._network.line
        packed = network.modules[module]
        start, stop = max(top - REACH, 0), min(bottom + REACH, self._height)
        shift = start * self._pitch  # the band's maps begin one border row above its first row
        base = int(pixels.first_active[start])  # row numbers count from 1
        layer_words = (int(pixels.first_active[stop]) - base + 1) * line
        all_rows = rows = self._buffers.take("rows", layer_words * LAYERS)
        dense, stride, source_shift = features, line, 0
        maps = []
        for layer, packed_layer in enumerate(packed.layers):
            reach = REACH - layer
            here, there = max(top - reach, 0), min(bottom + reach, self._height)
            active = pixels.active[pixels.first_active[here] : pixels.first_active[there]]
            inactive = pixels.inactive[pixels.first_inactive[here] : pixels.first_inactive[there]]
            out_rows = all_rows[layer * layer_words : (layer + 1) * layer_words]
            out_rows[:line] = 0
            out_stride = network.dense_stride(module, layer)
            out_dense = self._buffers.take_map(f"dense {layer}", stop - start + 2, self._pitch, out_stride)
            if active.size:
                self._launch(
                    kernels.active_layer(*packed_layer.dense.literals), active, self._pitch,
                    dense, packed_layer.dense.words, stride, source_shift,
                    packed_layer.dense.data, packed_layer.dense.group_stride, packed_layer.dense.tap_starts,
                    rows, self._inverse, base, packed_layer.sparse_first, packed_layer.sparse.words,
                    packed_layer.sparse.data, packed_layer.sparse.group_stride, packed_layer.sparse.tap_starts,
                    line, out_rows, out_dense, out_stride, shift,
                )  # fmt: skip
            if packed_layer.dense_outputs and inactive.size:
                self._launch.convolve(
                    packed_layer.inactive, inactive, self._pitch, dense, stride, out_dense, out_stride, rectify=True,
                    outputs=out_stride * network.per_word, source_shift=source_shift, target_shift=shift,
                )  # fmt: skip
            maps.append(out_dense)
            dense, stride, source_shift, rows = out_dense, out_stride, shift, out_rows
        active = pixels.active[pixels.first_active[top] : pixels.first_active[bottom]]
        inactive = pixels.inactive[pixels.first_inactive[top] : pixels.first_inactive[bottom]]
        if active.size:
            collect = packed.collect
            self._launch(
                kernels.active_total(*collect.literals), active, self._inverse, base, all_rows, layer_words, line,
                collect.data, collect.group_stride, collect.tap_starts, collect.bias, total, self.sums,
            )  # fmt: skip
        if inactive.size:
            shares = packed.collect_dense
            words = np.array([share.words for share in shares])
            strides = np.array([network.dense_stride(module, layer) for layer in range(LAYERS)])
            group_strides = np.array([share.group_stride for share in shares])
            self._launch(
                kernels.inactive_total(*shares[0].literals), inactive, shares[0].bias,
                *(share.data for share in shares), *maps, words, strides, group_strides, shift, line, total, self.sums,
            )  # fmt: skip
