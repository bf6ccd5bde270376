"""The weights of a block's masked layers on a device, ordered by the channel masks: dense channels first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels import Device, geometry, packing
from cupy_kernels.geometry import CHANNELS, LAYERS
from vs_smsr.engine.cuda.embedding import Block as Numbers
from vs_smsr.engine.cuda.embedding import padded

Array = Any  # an array of the device
Put = Callable[[NDArray[Any]], Array]  # to the device, in its own type


@dataclass(frozen=True)
class Channels:
    """How the 64 outputs of a masked layer lie in memory: dense ones first.

    Attributes:
        order: (64,) channel of the network at each place.
        dense: how many places hold dense channels.
        stored: how many places are in the full map: dense, rounded up. The channels between are sparse and 0 at
            inactive pixels, and no weight of the inactive pixels' convolution touches them.
    """

    order: NDArray[np.intp]
    dense: int
    stored: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Channels:
        """From (64,) bool, True = dense."""
        dense = int(mask.sum())
        return cls(np.argsort(~mask, kind="stable"), dense, -(-dense // geometry.STEP) * geometry.STEP)


ALL = Channels(np.arange(CHANNELS), CHANNELS, CHANNELS)  # features: a full map of all channels


@dataclass(frozen=True)
class MaskedLayer:
    """One masked 3x3 convolution.

    Attributes:
        out: its output channels.
        slope: of the leaky relu after it.
        everything: weights at active pixels, from all to all channels.
        dense: weights at inactive pixels, from dense to dense; None where that is nothing or all zeros.
    """

    out: Channels
    slope: float
    everything: Array
    dense: Array | None


@dataclass(frozen=True)
class Fuse:
    """The 1x1 convolution over a block's layers, for one of the two lists of pixels."""

    table: Array
    weights: Array


@dataclass(frozen=True)
class Body:
    """What of a block lies in the order of its channels.

    Attributes:
        layers: the masked ones.
        active, inactive: the 1x1 over them for the two lists of pixels.
        columns: (4 * 64, 64) of that 1x1, for the means of attention; None without it.
    """

    layers: tuple[MaskedLayer, ...]
    active: Fuse
    inactive: Fuse
    columns: Array | None

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """(channels in, channels out) of the inactive pixels' convolutions."""
        stored = [CHANNELS, *(layer.out.stored for layer in self.layers)]
        for pair, layer in zip(pairwise(stored), self.layers, strict=True):
            if layer.dense is not None:
                yield pair


def make(numbers: Numbers, half: bool, put: Put) -> Body:
    """The body of a block, by the channel masks in `numbers`."""
    channels = [Channels.of(mask) for mask in numbers.dense]
    before = [ALL, *channels[:-1]]
    matrix = numbers.fuse[0]
    first = len(channels) - matrix.shape[1]  # layer that is fused
    parts = [matrix[:, layer][:, out.order] for layer, out in enumerate(channels[first:])]
    stored = [part[:, : out.stored] for part, out in zip(parts, channels[first:], strict=True)]
    dense = tuple(out.stored for out in channels)

    def layer(weight: NDArray[np.float32], into: Channels, out: Channels, slope: float) -> MaskedLayer:
        weight, inactive = weight[out.order][:, into.order], None
        if out.dense and into.dense:
            kept = weight[: out.stored, : into.stored].copy()
            kept[out.dense :] = 0
            kept[:, into.dense :] = 0
            inactive = put(packing.listed(kept, half))
        return MaskedLayer(out, slope, put(packing.listed(weight, half)), inactive)

    def fuse(columns: list[NDArray[np.float32]], active: bool) -> Fuse:
        table = packing.chunk_table(dense, active, half, first)
        return Fuse(put(table), put(packing.product(np.concatenate(columns, 1), half)))

    unused = np.zeros((first * CHANNELS, CHANNELS), np.float32)
    means = padded(np.concatenate([unused, *(part.T for part in parts)]), LAYERS * CHANNELS)
    return Body(
        layers=tuple(map(layer, numbers.layers, before, channels, numbers.slopes)),
        active=fuse(parts, True),
        inactive=fuse(stored, False),
        columns=put(means) if numbers.attention else None,
    )


class Room:
    """Puts arrays one after the other into one array of bytes, in place of what was there; see `buffers`."""

    def __init__(self, device: Device, room: Array) -> None:
        self._device, self._room, self._used = device, room, 0

    def __call__(self, host: NDArray[Any]) -> Array:
        start = self._used
        self._used = -(-(start + host.nbytes) // geometry.ALIGNMENT) * geometry.ALIGNMENT
        array = self._room[start : start + host.nbytes].view(host.dtype).reshape(host.shape)
        self._device.upload(array, np.ascontiguousarray(host))
        return array
