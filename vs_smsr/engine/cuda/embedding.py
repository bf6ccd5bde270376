"""A network in the layout that the kernels are compiled for: 64 channels, up to 4 layers a block, 16 and 4 inside.

A narrower network is embedded: channels beyond its own are sparse, with zero weights, so they are 0 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cupy_kernels.geometry import ATTENTION_CHANNELS, CHANNELS, LAYERS, MASK_CHANNELS
from vs_smsr.engine.contract import Dense, dense_channels
from vs_smsr.errors import EngineError
from vs_smsr.families import ChannelAttention, Convolution, DynamicChannels, LearnedMask, NetworkSpec
from vs_smsr.weights import Weights

Floats = NDArray[np.float32]
Pair = tuple[Floats, Floats]  # weight and bias
UPSAMPLINGS = 3  # at most: a window of the tail must begin at a pixel of the frame


@dataclass(frozen=True)
class Block:
    """One masked block.

    Attributes:
        dense: (layers, 64) True where a channel is dense.
        layers: (64, 64, 3, 3) each.
        slopes: of the leaky relu after each layer.
        fuse: (64, kept, 64) over the last layers, as many as are kept, and (64,); where the network has none, it copies
            the last layer.
        attention: its two layers, (4, 64) and (64, 4) with biases, or None.
        share: (64, 64) of the collect; zeros without one.
    """

    dense: NDArray[np.bool_]
    layers: tuple[Floats, ...]
    slopes: tuple[float, ...]
    fuse: Pair
    attention: tuple[Pair, Pair] | None
    share: Floats


class Embedded:
    """The numbers of a network in the kernels' layout.

    Attributes:
        head: one or two convolutions.
        blocks: the masked blocks.
        masks: the three convolutions of each of `spec.masks`, or None.
        collect: its 3x3, or None; share_bias: of its 1x1, zeros without one.
        upsampling: (4, 64, 64, 3, 3) and (4, 64) each, for the four pixels that become of one, row by row.
        tail: the last convolution.
    Raises:
        EngineError: the network does not fit; the message says what does not.
    """

    def __init__(self, weights: Weights) -> None:
        check(weights.spec)
        self._weights = weights
        spec, c = weights.spec, CHANNELS
        first, *rest = spec.head
        self.head = self._pair(first, c, 3), *(self._pair(one, c, c) for one in rest)
        self.blocks = tuple(map(self.block, range(len(spec.blocks))))
        self.masks = tuple(self._mask(mask) if isinstance(mask, LearnedMask) else None for mask in spec.masks)
        self.collect = self._pair(spec.collect[1], c, c) if spec.collect else None
        self.share_bias = self._bias(spec.collect[0], c) if spec.collect else np.zeros(c, np.float32)
        self.upsampling = tuple(map(self._shuffled, spec.upsampling))
        self.tail = self._pair(spec.tail, spec.tail.outputs, c)

    def block(self, block: int, given: Dense | None = None) -> Block:
        """A block with these channel masks; None: those of the weights, all sparse where they do not fix them."""
        weights, c = self._weights, CHANNELS
        spec, tensors = weights.spec.blocks[block], weights.tensors
        layers = range(len(spec.layers))
        return Block(
            dense=np.stack([padded(dense, c) for dense in dense_channels(weights, block, given)]),
            layers=tuple(padded(tensors[f"{layer.name}.weight"], c, c) for layer in spec.layers),
            slopes=tuple(map(spec.slope_of, layers)),
            fuse=self._fuse(spec.fuse),
            attention=self._attention(spec.attention) if spec.attention else None,
            share=self._share(block),
        )

    def _fuse(self, fuse: Convolution | None) -> Pair:
        c, width = CHANNELS, self._weights.spec.width
        if fuse is None:
            return np.eye(c, dtype=np.float32)[:, None], np.zeros(c, np.float32)
        weight = self._weights.tensors[f"{fuse.name}.weight"].reshape(width, -1, width)
        return padded(weight, c, weight.shape[1], c), self._bias(fuse, c)

    def _share(self, block: int) -> Floats:
        spec, c = self._weights.spec, CHANNELS
        if spec.collect is None:
            return np.zeros((c, c), np.float32)
        weight = self._weights.tensors[f"{spec.collect[0].name}.weight"]
        return padded(weight.reshape(spec.width, -1, spec.width)[:, block], c, c)

    def _shuffled(self, convolution: Convolution) -> Pair:
        c, width = CHANNELS, self._weights.spec.width
        weight, bias = self._pair(convolution, 4 * width, c)
        four = weight.reshape(width, 4, c, 3, 3).swapaxes(0, 1), bias.reshape(width, 4).T
        return padded(four[0], 4, c), padded(four[1], 4, c)

    def _mask(self, mask: LearnedMask) -> tuple[Pair, Pair, Pair]:
        m = MASK_CHANNELS
        decide = padded(self._weights.tensors[f"{mask.decide.name}.weight"], m, 2), self._bias(mask.decide, 2)
        return self._pair(mask.first, m, CHANNELS), self._pair(mask.second, m, m), decide

    def _attention(self, attention: ChannelAttention) -> tuple[Pair, Pair]:
        a = ATTENTION_CHANNELS
        down, down_bias = self._pair(attention.down, a, CHANNELS)
        up, up_bias = self._pair(attention.up, CHANNELS, a)
        return (down[:, :, 0, 0], down_bias), (up[:, :, 0, 0], up_bias)

    def _pair(self, convolution: Convolution, outputs: int, inputs: int) -> Pair:
        weight = self._weights.tensors[f"{convolution.name}.weight"]
        return padded(weight, outputs, inputs), self._bias(convolution, outputs)

    def _bias(self, convolution: Convolution, outputs: int) -> Floats:
        """Zeros where the convolution has none."""
        if not convolution.bias:
            return np.zeros(outputs, np.float32)
        return padded(self._weights.tensors[f"{convolution.name}.bias"], outputs)


def padded[A: np.generic](array: NDArray[A], *sides: int) -> NDArray[A]:
    """The array with zeros after it, up to these sizes of its first dimensions."""
    larger = np.zeros((*sides, *array.shape[len(sides) :]), array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger


def check(spec: NetworkSpec) -> None:
    """Raise EngineError if a part of the network has no kernel."""
    _require(spec.width <= CHANNELS, f"features must have at most {CHANNELS} channels, got {spec.width}")
    first, second = spec.collect or (None, None)
    wide, narrow = [*spec.head, second, *spec.upsampling, spec.tail], [first]
    _require(len(spec.upsampling) <= UPSAMPLINGS, f"there must be at most {UPSAMPLINGS} steps of upsampling")
    for block in spec.blocks:
        _require(not block.distilled, "layers must pass on all their channels, without distilling some")
        _require(not (block.attention and block.attention.contrast), "attention must be of means, without contrast")
        narrow += block.channel_mask.convolutions if isinstance(block.channel_mask, DynamicChannels) else ()
        wide += block.layers
        narrow.append(block.fuse)
        count = len(block.layers)
        _require(1 <= count <= LAYERS, f"a masked block must have 1 to {LAYERS} layers, got {count}")
        if block.attention:
            narrow += block.attention.convolutions
            limit, most = ATTENTION_CHANNELS, block.attention.down.outputs
            _require(most <= limit, f"attention must have at most {limit} channels inside, got {most}")
    for mask in spec.masks:
        if isinstance(mask, LearnedMask):
            wide += mask.convolutions
            most = max(mask.first.outputs, mask.second.outputs)
            _require(most <= MASK_CHANNELS, f"a mask branch must have at most {MASK_CHANNELS} channels, got {most}")
    for convolutions, side in ((wide, 3), (narrow, 1)):
        for one in filter(None, convolutions):
            _require(one.size == side, f"{one.name} must be {side}x{side}, got {one.size}x{one.size}")


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise EngineError(f"cuda: {rule}. The reference engine runs this network.")
