"""A network in the layout that the kernels are compiled for: 64 channels, up to 4 layers a block, 16 and 4 inside.

A narrower network is embedded: channels beyond its own are sparse, with zero weights, so they are 0 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cupy_kernels.geometry import ATTENTION_CHANNELS, CHANNELS, LAYERS, MASK_CHANNELS
from vs_smsr.errors import EngineError
from vs_smsr.families import ChannelAttention, Convolution, DynamicChannels, LearnedMask, NetworkSpec
from vs_smsr.weights import Weights

Floats = NDArray[np.float32]
Pair = tuple[Floats, Floats]  # weight and bias


@dataclass(frozen=True)
class Block:
    """One masked block.

    Attributes:
        mask: its branch's three convolutions, or None.
        dense: (layers, 64) True where a channel is dense.
        layers: (64, 64, 3, 3) each.
        fuse: (64, layers, 64) and (64,).
        attention: its two layers, (4, 64) and (64, 4) with biases, or None.
        share: (64, 64) of the collect.
    """

    mask: tuple[Pair, Pair, Pair] | None
    dense: NDArray[np.bool_]
    layers: tuple[Floats, ...]
    fuse: Pair
    attention: tuple[Pair, Pair] | None
    share: Floats


class Embedded:
    """The numbers of a network in the kernels' layout.

    Raises:
        EngineError: the network does not fit; the message says what does not.
    """

    def __init__(self, weights: Weights) -> None:
        check(weights.spec)
        self._weights = weights
        spec, tensors, c = weights.spec, weights.tensors, CHANNELS
        assert spec.collect is not None, "as checked"
        self.head = self._pair(spec.head[0], c, 3), self._pair(spec.head[1], c, c)
        self.collect = self._pair(spec.collect[1], c, c)
        self.tail = self._pair(spec.tail, spec.tail.outputs, c)
        shares = tensors[f"{spec.collect[0].name}.weight"].reshape(spec.width, len(spec.blocks), spec.width)
        self.share_bias = self._bias(spec.collect[0], c)
        self.blocks = tuple(self._block(block, shares[:, block]) for block in range(len(spec.blocks)))

    def _block(self, block: int, share: Floats) -> Block:
        weights, c = self._weights, CHANNELS
        spec, width, tensors = weights.spec.blocks[block], weights.spec.width, weights.tensors
        layers = range(len(spec.layers))
        assert spec.fuse is not None, "as checked"
        fuse = tensors[f"{spec.fuse.name}.weight"].reshape(width, len(layers), width)
        return Block(
            mask=self._mask(spec.mask) if isinstance(spec.mask, LearnedMask) else None,
            dense=np.stack([padded(weights.dense_channels(block, layer), c) for layer in layers]),
            layers=tuple(padded(tensors[f"{layer.name}.weight"], c, c) for layer in spec.layers),
            fuse=(padded(fuse, c, len(layers), c), self._bias(spec.fuse, c)),
            attention=self._attention(spec.attention) if spec.attention else None,
            share=padded(share, c, c),
        )

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
    _fits(spec)
    _require(spec.width <= CHANNELS, f"features must have at most {CHANNELS} channels, got {spec.width}")
    first, second = spec.collect or (None, None)
    wide, narrow = [*spec.head, second, spec.tail], [first]
    for block in spec.blocks:
        wide += block.layers
        narrow.append(block.fuse)
        count = len(block.layers)
        _require(1 <= count <= LAYERS, f"a masked block must have 1 to {LAYERS} layers, got {count}")
        if isinstance(block.mask, LearnedMask):
            wide += block.mask.convolutions
            most = max(block.mask.first.outputs, block.mask.second.outputs)
            _require(most <= MASK_CHANNELS, f"a mask branch must have at most {MASK_CHANNELS} channels, got {most}")
        if block.attention:
            narrow += block.attention.convolutions
            limit, most = ATTENTION_CHANNELS, block.attention.down.outputs
            _require(most <= limit, f"attention must have at most {limit} channels inside, got {most}")
    for convolutions, side in ((wide, 3), (narrow, 1)):
        for one in filter(None, convolutions):
            _require(one.size == side, f"{one.name} must be {side}x{side}, got {one.size}x{one.size}")


def _fits(spec: NetworkSpec) -> None:
    """Raise EngineError if the stages are not those of SMSR."""
    _require(len(spec.head) == 2, "the head must have two convolutions, got one")
    _require(spec.collect is not None, "there must be a collect over the blocks")
    _require(not spec.upsampling, "the tail must be one convolution, without upsampling before it")
    _require(spec.slope == 0, f"activations must be relu, got a slope of {spec.slope}")
    for block in spec.blocks:
        _require(block.fuse is not None, "a block must have a 1x1 over its layers")
        plain = block.slope == 0 and not block.linear
        _require(plain, "every masked layer must be followed by relu")
        _require(not block.distilled, "layers must pass on all their channels")
        _require(not (block.attention and block.attention.contrast), "attention must be of means, without contrast")
        if isinstance(block.channel_mask, DynamicChannels):
            raise EngineError("cuda: channel masks must not depend on the frame. No engine runs this network yet.")


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise EngineError(f"cuda: {rule}. The reference engine runs this network.")
