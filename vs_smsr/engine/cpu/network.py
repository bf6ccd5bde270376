"""The packed weights of one network for one instruction set and precision; shared by all frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Dense, dense_channels
from vs_smsr.engine.cpu.gemm import BF16, FP32
from vs_smsr.engine.cpu.isa import Isa
from vs_smsr.engine.cpu.packing import Floats, Packed, PackedBlock, pack, pack_block, padded
from vs_smsr.engine.cpu.pixel_kernels import bicubic_phases
from vs_smsr.engine.cpu.winograd import transformed
from vs_smsr.errors import EngineError
from vs_smsr.families import ChannelAttention, Convolution, DynamicChannels, LearnedMask, MaskedBlock, NetworkSpec
from vs_smsr.weights import Weights

LINE = 8  # channels that the kernels take at a time


@dataclass(frozen=True)
class PackedMask:
    """A mask branch; float32 but for its first convolution.

    Attributes:
        first, second: convolutions; the first one by output tiles.
        decide: (3, 3, channels) weights and the bias of logits[1] - logits[0].
        channels: of the branch.
    """

    first: Packed
    second: Packed
    decide: tuple[Floats, np.float32]
    channels: int


class PackedNetwork:
    """Everything that depends on the weights alone, and blocks by the channel masks of frames.

    With bf16, maps hold bf16, and what reads maps of all channels multiplies bf16. The first convolution, the rest of
    the mask branch and the attention multiply float32 with float32 weights.

    Attributes:
        channels: of a pixel in a map.
        layers: masked layers of the block that has the most.
        blocks: the masked blocks; those whose channel masks follow from the frame with dense channels only, as they
            take the most memory, until `block_for` makes others.
        word, line, per_word: the type of a map's words, words of a pixel, channels of a word.
    Raises:
        EngineError: the kernels cannot run such a network; the message says why.
    """

    def __init__(self, weights: Weights, isa: Isa, precision: str) -> None:
        self.spec = spec = weights.spec
        check(spec)
        tensors = weights.tensors
        bf16 = precision == "bf16"
        mode = BF16 if bf16 else FP32
        self.scale = spec.scale
        self.mean = weights.mean
        self.channels = spec.width
        self.layers = max(len(block.layers) for block in spec.blocks)
        self.word = np.dtype(np.uint32 if bf16 else np.float32)
        self.per_word = 2 if bf16 else 1
        self.line = self.channels // self.per_word

        def convolution(of: Convolution, mode: int = mode) -> Packed:
            return pack(isa, mode, tensors[f"{of.name}.weight"], tensors[f"{of.name}.bias"])

        def winograd(of: Convolution, mode: int = mode) -> Packed:
            return pack(isa, mode, transformed(tensors[f"{of.name}.weight"]), tensors[f"{of.name}.bias"])

        def shuffled(of: Convolution) -> Packed:
            places = (tensors[f"{of.name}.{part}"] for part in ("weight", "bias"))
            weight, bias = (place.reshape(self.channels, 4, *place.shape[1:]).swapaxes(0, 1) for place in places)
            return pack(isa, mode, transformed(weight.reshape(-1, *weight.shape[2:])), bias.ravel())

        def mask(of: LearnedMask) -> PackedMask:
            full = -(-of.second.outputs // LINE) * LINE  # a narrower branch goes with zeros
            (first, first_bias), (second, second_bias), (last, last_bias) = (
                (tensors[f"{one.name}.weight"], tensors[f"{one.name}.bias"]) for one in of.convolutions
            )
            return PackedMask(
                pack(isa, mode, transformed(padded(first, full)), padded(first_bias, full)),
                pack(isa, FP32, padded(second, full, full), padded(second_bias, full)),
                _decision(padded(last, full), last_bias),
                full,
            )

        self.head = convolution(spec.head[0], FP32), winograd(spec.head[1]) if len(spec.head) == 2 else None
        self.upsampling = [shuffled(of) for of in spec.upsampling]
        self.tail = winograd(spec.tail)
        self.collect = winograd(spec.collect[1]) if spec.collect else None
        self.shares = [pack(isa, mode, share, bias) for share, bias in _shares(weights)]
        self._packing = isa, mode, weights
        self._newest: dict[int, tuple[Dense, PackedBlock]] = {}  # by block: replaced as a whole, so threads may share
        self.blocks = [
            pack_block(isa, mode, weights, number, dense_channels(weights, number, _most_dense(block)))
            for number, block in enumerate(spec.blocks)
        ]
        self.masks = [mask(one) if isinstance(one, LearnedMask) else None for one in spec.masks]
        self.attention = [_attention(tensors, block.attention) if block.attention else None for block in spec.blocks]
        self.phases = bicubic_phases(spec.scale)

    def block_for(self, block: int, dense: Dense) -> PackedBlock:
        """A block with these channel masks; packed anew only where they are not those of the call before."""
        newest = self._newest.get(block)
        if newest is None or not np.array_equal(newest[0], dense):
            packed = pack_block(*self._packing, block, dense_channels(self._packing[2], block, dense))
            newest = self._newest[block] = dense, packed
        return newest[1]

    @property
    def mask_channels(self) -> int:
        """Of the widest mask branch."""
        return max((mask.channels for mask in self.masks if mask), default=0)

    def dense_stride(self, layer: int) -> int:
        """The most words that a pixel of that layer's dense map takes in any block."""
        return max(block.layers[layer].dense_stride for block in self.blocks if layer < len(block.layers))


def check(spec: NetworkSpec) -> None:
    """Raise EngineError if a part of the network has no kernel."""
    first, second = spec.collect or (None, None)
    larger, pointwise = [*spec.head, second, *spec.upsampling, spec.tail], [first]
    larger += [convolution for mask in spec.masks if mask for convolution in mask.convolutions]
    for block in spec.blocks:
        pointwise += [block.fuse, *(block.attention.convolutions if block.attention else ())]
        pointwise += block.channel_mask.convolutions if isinstance(block.channel_mask, DynamicChannels) else ()
    for convolutions, size in ((larger, 3), (pointwise, 1)):
        for convolution in filter(None, convolutions):
            found = convolution.size
            _require(found == size, f"{convolution.name} must be {size}x{size}, got {found}x{found}")
    _require(spec.width % LINE == 0, f"channels must be a multiple of {LINE}, got {spec.width}")


def _most_dense(block: MaskedBlock) -> Dense | None:
    """The channel masks that take the most memory, where the weights do not fix them."""
    if not isinstance(block.channel_mask, DynamicChannels):
        return None
    return np.ones((len(block.layers), max(layer.outputs for layer in block.layers)), np.bool_)


def _shares(weights: Weights) -> Iterator[tuple[Floats, Floats | None]]:
    """Per block, the collect's weights (width, width, 1, 1) for its result, and the bias; zeros without a collect."""
    spec, width = weights.spec, weights.spec.width
    for block in range(len(spec.blocks)):
        if spec.collect:
            weight = weights.tensors[f"{spec.collect[0].name}.weight"]
            yield weight[:, block * width : (block + 1) * width], weights.tensors.get(f"{spec.collect[0].name}.bias")
        else:
            yield np.zeros((width, width, 1, 1), np.float32), None


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise EngineError(f"cpu: {rule}. The reference engine runs this network.")


def _attention(tensors: Mapping[str, Floats], of: ChannelAttention) -> tuple[NDArray[np.float64], ...]:
    """Weights (outputs, inputs) and bias (outputs,) of the two layers, in double precision."""
    parts = (tensors[f"{layer.name}.{part}"] for layer in of.convolutions for part in ("weight", "bias"))
    return tuple(part.reshape(part.shape[:2]).astype(np.float64) for part in parts)


def _decision(weight: Floats, bias: Floats) -> tuple[Floats, np.float32]:
    """(3, 3, channels) weights and the bias of logits[1] - logits[0]."""
    return np.ascontiguousarray((weight[:, 1] - weight[:, 0]).transpose(1, 2, 0)), bias[1] - bias[0]
