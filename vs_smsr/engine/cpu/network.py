"""The packed weights of one network for one instruction set and precision; shared by all frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cpu.gemm import BF16, FP32
from vs_smsr.engine.cpu.isa import Isa
from vs_smsr.engine.cpu.packing import Floats, Packed, pack, pack_block
from vs_smsr.engine.cpu.pixel_kernels import bicubic_phases
from vs_smsr.engine.cpu.winograd import transformed
from vs_smsr.errors import EngineError
from vs_smsr.families import ChannelAttention, Convolution, LearnedMask, NetworkSpec
from vs_smsr.weights import Weights

LINE = 8  # channels that the kernels take at a time


@dataclass(frozen=True)
class PackedMask:
    """A mask branch, all float32.

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
    """Everything that depends on the weights alone.

    With bf16, maps hold bf16 and the large convolutions multiply bf16; the first convolution, the mask branch and the
    attention multiply float32 with float32 weights.

    Attributes:
        channels: of a pixel in a map.
        layers: masked layers of the block that has the most.
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

        def mask(of: LearnedMask) -> PackedMask:
            decide = _decision(tensors[f"{of.decide.name}.weight"], tensors[f"{of.decide.name}.bias"])
            return PackedMask(winograd(of.first, FP32), convolution(of.second, FP32), decide, of.second.outputs)

        self.head = convolution(spec.head[0], FP32), winograd(spec.head[1])
        self.tail = winograd(spec.tail)
        self.collect = winograd(spec.collect[1])
        blocks = len(spec.blocks)
        name = spec.collect[0].name
        shares = tensors[f"{name}.weight"].reshape(self.channels, blocks, self.channels, 1, 1)
        self.shares = [pack(isa, mode, shares[:, block], tensors.get(f"{name}.bias")) for block in range(blocks)]
        self.blocks = [pack_block(isa, mode, weights, block) for block in range(blocks)]
        self.masks = [mask(block.mask) if block.mask else None for block in spec.blocks]
        self.attention = [_attention(tensors, block.attention) if block.attention else None for block in spec.blocks]
        self.phases = bicubic_phases(spec.scale)

    @property
    def mask_channels(self) -> int:
        """Of the widest mask branch."""
        return max((mask.channels for mask in self.masks if mask), default=0)

    def dense_stride(self, layer: int) -> int:
        """The most words that a pixel of that layer's dense map takes in any block."""
        return max(block.layers[layer].dense_stride for block in self.blocks if layer < len(block.layers))


def check(spec: NetworkSpec) -> None:
    """Raise EngineError if a part of the network has no kernel."""
    larger, pointwise = [*spec.head, spec.collect[1], spec.tail], [spec.collect[0]]
    for block in spec.blocks:
        larger += [*block.layers, *(block.mask.convolutions if block.mask else ())]
        pointwise += [block.fuse, *(block.attention.convolutions if block.attention else ())]
        for layer in block.layers:
            _require(not layer.bias, f"{layer.name} is masked and must have no bias")
    for convolutions, size in ((larger, 3), (pointwise, 1)):
        for convolution in convolutions:
            found = convolution.size
            _require(found == size, f"{convolution.name} must be {size}x{size}, got {found}x{found}")
    widths = {spec.width, *(block.mask.second.outputs for block in spec.blocks if block.mask)}
    for width in widths:
        _require(width % LINE == 0, f"channels must be a multiple of {LINE}, got {width}")


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
