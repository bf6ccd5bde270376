"""The packed weights of one network for one instruction set and precision; shared by all frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cpu.block import BF16, FP32
from vs_smsr.engine.cpu.isa import Isa
from vs_smsr.engine.cpu.packing import Floats, Packed, pack, pack_module
from vs_smsr.engine.cpu.pixels import bicubic_phases
from vs_smsr.engine.cpu.winograd import transformed
from vs_smsr.weights import CHANNELS, LAYERS, MODULES, Weights


class PackedNetwork:
    """Everything that depends on the weights alone.

    With bf16, maps hold bf16 and the large convolutions multiply bf16; the first convolution, the mask branch and the
    attention multiply float32 with float32 weights.
    """

    def __init__(self, weights: Weights, isa: Isa, precision: str) -> None:
        tensors = weights.tensors
        bf16 = precision == "bf16"
        mode = BF16 if bf16 else FP32
        self.scale = weights.scale
        self.tensors = tensors
        self.word = np.dtype(np.uint32 if bf16 else np.float32)
        self.line = CHANNELS // 2 if bf16 else CHANNELS  # words of 64 channels
        self.per_word = CHANNELS // self.line

        def convolution(name: str, mode: int = mode) -> Packed:
            return pack(isa, mode, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        def by_quads(name: str, mode: int = mode) -> Packed:
            return pack(isa, mode, transformed(tensors[f"{name}.weight"]), tensors[f"{name}.bias"])

        self.head = convolution("head.0", FP32), by_quads("head.2")
        self.tail = by_quads("tail.0")
        self.collect = by_quads("collect.2")
        shares = tensors["collect.0.weight"].reshape(CHANNELS, MODULES, CHANNELS, 1, 1)
        self.shares = [pack(isa, mode, shares[:, module], tensors["collect.0.bias"]) for module in range(MODULES)]
        self.modules = [pack_module(isa, mode, weights, module) for module in range(MODULES)]
        names = [f"body.{module}.spa_mask" for module in range(MODULES)]
        self.masks = [(by_quads(f"{name}.0", FP32), convolution(f"{name}.3", FP32)) for name in names]
        self.decisions = [_decision(tensors[f"{name}.5.weight"], tensors[f"{name}.5.bias"]) for name in names]
        self.dense_shares = [self._dense_shares(module) for module in range(MODULES)]
        self.attention = [_attention(tensors, f"body.{module}.ca.conv_du") for module in range(MODULES)]
        self.phases = bicubic_phases(weights.scale)

    def _dense_shares(self, module: int) -> NDArray[np.int64]:
        """(3, LAYERS): words, strides and group strides of what the collect reads at inactive pixels."""
        shares = self.modules[module].collect_dense
        rows = [
            (share.words, self.dense_stride(module, layer), share.group_stride) for layer, share in enumerate(shares)
        ]
        return np.ascontiguousarray(np.array(rows, np.int64).T)

    def dense_stride(self, module: int, layer: int) -> int:
        """Words of a line of that layer's dense map: whole groups of 8 channels."""
        outputs = self.modules[module].layers[layer].dense_outputs
        return -(-outputs // 8) * 8 // self.per_word

    def widest_dense_stride(self, layer: int) -> int:
        """The most words that a line of that layer's dense map takes in any SMM."""
        assert 0 <= layer < LAYERS
        return max(self.dense_stride(module, layer) for module in range(MODULES))


def _attention(tensors: Mapping[str, Floats], name: str) -> tuple[NDArray[np.float64], ...]:
    """(4, 64), (4,), (64, 4) and (64,): weights and bias of the two layers, in double precision."""
    parts = (tensors[f"{name}.{index}.{part}"] for index in (0, 2) for part in ("weight", "bias"))
    return tuple(part.reshape(part.shape[:2]).astype(np.float64) for part in parts)


def _decision(weight: Floats, bias: Floats) -> tuple[Floats, np.float32]:
    """(3, 3, 16) weights and the bias of logits[1] - logits[0]."""
    return np.ascontiguousarray((weight[:, 1] - weight[:, 0]).transpose(1, 2, 0)), bias[1] - bias[0]
