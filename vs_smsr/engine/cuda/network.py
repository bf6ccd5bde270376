"""The weights of one network on a device, in the order in which the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels import Device, Kernels, geometry, packing
from cupy_kernels.geometry import CHANNELS
from vs_smsr.engine.contract import Dense
from vs_smsr.engine.cuda import body
from vs_smsr.engine.cuda.body import Array, Body, Channels, Fuse, Put
from vs_smsr.engine.cuda.embedding import Block as Numbers
from vs_smsr.engine.cuda.embedding import Embedded, Pair, padded
from vs_smsr.weights import Weights


@dataclass(frozen=True)
class Branch:
    """What decides a mask, in the order of the launchers' arguments."""

    pool: tuple[Array, Array]
    decide: tuple[Array, Array, Array, Array]


@dataclass(frozen=True)
class Block:
    """One masked block but its body; the tuples are in the order of the launchers' arguments."""

    bias: Array
    attention: tuple[Array, Array, Array, Array] | None
    share: Array


class Network:
    """All weights on the device.

    Attributes:
        spec: the network.
        up: how many times the upsampling before the tail enlarges the sides; 1: there is none.
        masks: what decides each of `spec.masks`, or None.
        blocks, bodies: the masked blocks; a body whose channel masks follow from the frame is that of no dense channel.
        pairs: (channels in, channels out) of the inactive pixels' convolutions.
        bytes: device memory that all of it takes.
    Raises:
        EngineError: the kernels cannot run such a network.
    """

    def __init__(self, device: Device, kernels: Kernels, weights: Weights) -> None:
        numbers = Embedded(weights)
        self._device = device
        self._half = kernels.half
        self.spec = weights.spec
        self.up = 1 << len(weights.spec.upsampling)
        self._numbers = numbers
        self.bytes = 0

        first, *rest = numbers.head
        self.mean = self._upload(weights.mean)
        self.head_first = self._upload(first[0].transpose(2, 3, 1, 0).reshape(27, CHANNELS)), self._upload(first[1])
        self.head = self._windowed(rest[0]) if rest else None
        self.masks = tuple(self._branch(mask) if mask else None for mask in numbers.masks)
        self.blocks = tuple(map(self._block, numbers.blocks))
        self.bodies = tuple(body.make(block, self._half, self._packed) for block in numbers.blocks)
        self.pairs = {pair for one in self.bodies for pair in one.pairs}
        if self.spec.dynamic:
            steps = range(geometry.STEP, CHANNELS + 1, geometry.STEP)
            self.pairs |= {(before, after) for before in steps for after in steps}
        self.share_bias = self._upload(numbers.share_bias)
        self.collect = self._windowed(numbers.collect) if numbers.collect else None
        self.upsampling = tuple(map(self._shuffled, numbers.upsampling))
        outputs = geometry.tail_outputs(self.spec.tail_scale)
        self.tail = self._windowed((padded(numbers.tail[0], outputs), padded(numbers.tail[1], outputs)))
        self.given, self.ones, self.zeros = self._given_fused()
        device.synchronize()

    def variants(self) -> list[tuple[str, Any]]:
        """Every (file, macros) that a frame needs."""
        return list(geometry.variants(self._half, self.spec.tail_scale, self.pairs, self.up))

    def body_for(self, block: int, dense: Dense, put: Put) -> Body:
        """The body of a block with these channel masks."""
        return body.make(self._numbers.block(block, dense), self._half, put)

    def _upload(self, host: NDArray[Any], dtype: type[np.generic] = np.float32) -> Array:
        host = np.ascontiguousarray(host, dtype)
        array = self._device.empty(host.shape, host.dtype)
        self._device.upload(array, host)
        self.bytes += geometry.allocated(host.nbytes)
        return array

    def _packed(self, packed: NDArray[Any]) -> Array:
        return self._upload(packed, packed.dtype.type)

    def _windowed(self, pair: Pair) -> tuple[Array, Array]:
        return self._packed(packing.windowed(pair[0], self._half)), self._upload(pair[1])

    def _shuffled(self, pair: Pair) -> tuple[Array, Array]:
        packed = np.stack([packing.windowed(weight, self._half) for weight in pair[0]])
        return self._packed(packed), self._upload(pair[1])

    def _branch(self, mask: tuple[Pair, Pair, Pair]) -> Branch:
        (first, first_bias), (second, second_bias), (last, last_bias) = mask
        return Branch(
            pool=(self._packed(packing.windowed(first, self._half, split=self._half)), self._upload(first_bias)),
            decide=(
                self._upload(second.transpose(2, 3, 1, 0).reshape(9, 16, 16)),
                self._upload(second_bias),
                self._upload(last.transpose(2, 3, 0, 1).reshape(9, 16, 2)),
                self._upload(last_bias),
            ),
        )

    def _block(self, block: Numbers) -> Block:
        attention = None
        if block.attention:
            (down, down_bias), (up, up_bias) = block.attention
            attention = (
                self._upload(down.T),
                self._upload(down_bias),
                self._upload(up.T),
                self._upload(up_bias),
            )
        return Block(
            bias=self._upload(block.fuse[1]),
            attention=attention,
            share=self._packed(packing.product(block.share, self._half)),
        )

    def _given_fused(self) -> tuple[Fuse, Array, Array]:
        """A `Fuse` that reads fused features as they were stored, exactly; factors and bias for it."""
        maps = 2 if self._half else 1
        table = packing.chunk_table((CHANNELS,) * maps, False, self._half)
        same = np.concatenate([np.eye(CHANNELS, dtype=np.float32)] * maps, 1)
        fuse = Fuse(self._packed(table), self._packed(packing.product(same, self._half)))
        return fuse, self._upload(np.ones(CHANNELS)), self._upload(np.zeros(CHANNELS))


def stored_channels(weights: Weights) -> list[list[int]]:
    """Dense channels of every layer of every block as they are stored, multiples of 16; what costs are counted with."""
    return [
        [Channels.of(weights.dense_channels(number, layer)).stored for layer in range(len(block.layers))]
        for number, block in enumerate(weights.spec.blocks)
    ]
