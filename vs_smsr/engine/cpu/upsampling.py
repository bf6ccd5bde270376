"""Convolutions at twice and four times the size of the frame, band by band, so that their maps stay small.

Level n is the frame at 2**n times its size. An upsampling convolution reads level n and writes level n + 1, the tail
reads the last level and adds to the result. For a band of the frame's rows each level is computed one row (of the
frame) further than the next one reads; these few rows are computed again for the next band, to the same bits.

Where a mask leaves pixels of the frame inactive, by whole quads, every level but the frame itself is zero.
"""

from __future__ import annotations

import numpy as np

from vs_smsr.engine.contract import Frame, Mask, Wanted
from vs_smsr.engine.cpu.arena import Arena, upsampling_rows
from vs_smsr.engine.cpu.index_lists import Positions, quads_of
from vs_smsr.engine.cpu.launchers import Launchers
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Words


class Upsampler:
    """Upsampling and tail of a network that has an upsampling, for frames of one size at a time."""

    def __init__(self, network: PackedNetwork, launch: Launchers, arena: Arena) -> None:
        self._network, self._launch, self._arena = network, launch, arena
        self._levels = len(network.upsampling)

    def run(self, features: Words, wanted: Wanted, mask: Mask | None, result: Frame) -> None:
        """Begin to add to the bicubic base in `result` what follows from features (grid, channels).

        Args:
            wanted: (H, W) of the frame.
            mask: (H, W), by whole quads; None: all pixels are active.
        """
        height, width = wanted.shape
        active = wanted if mask is None else wanted & (mask != 0)
        rows = upsampling_rows(self._network, height, width)
        for top in range(0, height, rows):
            self._band(features, wanted, active, result, top, min(top + rows, height))

    def _band(self, features: Words, wanted: Wanted, active: Wanted, result: Frame, top: int, bottom: int) -> None:
        launch, network, line = self._launch, self._network, self._network.line
        height, width = wanted.shape
        source, start = features, 0  # the frame's row at which the source begins
        for level in range(self._levels + 1):
            margin = self.margin(level)
            first, end = max(top - margin, 0), min(bottom + margin, height)
            pitch = (width << level) + 2
            chosen = (wanted if level == self._levels else active)[first:end]
            quads = self._quads(level, chosen, pitch, (first - start) << level)
            if level == self._levels:
                part = result[start * network.scale :]
                launch.then(
                    launch.tail(network.tail, quads, source, network.mean, network.spec.tail_scale, part, pitch)
                )
                return
            larger, next_rows = (width << level + 1) + 2, ((end - first) << level + 1) + 2
            target = self._arena.take_map(f"level {level + 1}", next_rows, larger, line, in_use=True)
            if active is not wanted:
                launch.then(launch.clear(target))
            elif end == height:  # no other band reads the row below its last
                launch.then(launch.clear(target[-larger * line :]))
            launch.then(launch.shuffled(
                network.upsampling[level], quads, pitch, source, target, larger,
                skip=(first - start) << level + 1, slope=network.spec.slope,
            ))  # fmt: skip
            source, start = target, first

    def margin(self, level: int) -> int:
        """Rows of the frame beside a band that are computed of a level: whole quads at level 0."""
        margin = self._levels - level
        return margin if level else margin + 1 & -2

    @staticmethod
    def _quads(level: int, chosen: Wanted, pitch: int, skip: int) -> Positions:
        """(n, 4) positions of the quads of a level that hold chosen pixels of the frame, after `skip` rows."""
        if level == 0:
            quads = chosen[::2, ::2] | chosen[::2, 1::2] | chosen[1::2, ::2] | chosen[1::2, 1::2]
        else:
            quads = chosen.repeat(1 << level - 1, 0).repeat(1 << level - 1, 1)
        return quads_of(quads, pitch) + np.int32(skip * pitch)
