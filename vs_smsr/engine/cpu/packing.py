"""Weights in the order in which the kernels read them: split by channel masks, dense channels first, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cpu.block import BF16, FP32
from vs_smsr.engine.cpu.isa import Isa, Shape
from vs_smsr.weights import CHANNELS, LAYERS, Weights

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Words = NDArray[Any]  # float32, or uint32 holding two bf16 numbers


@dataclass(frozen=True)
class Packed:
    """One convolution for `block.contract`.

    Attributes:
        data: flat [group][tap][word][width] words.
        words: words of a line that a tap reads.
        outputs: output channels that are wanted; the last group is filled up with zeros.
        tap_starts: element within a group where each tap starts.
        group_stride: elements of a group.
        bias: (groups * width,) zeros where there is none.
    """

    shape: Shape
    mode: int
    data: Words
    words: int
    outputs: int
    groups: int
    tap_starts: Integers
    group_stride: int
    bias: Floats

    @property
    def literals(self) -> tuple[int, int, int, int]:
        """What a kernel for it is compiled for."""
        return self.shape.lanes, self.shape.vectors, self.shape.pixels, self.mode


def pack(isa: Isa, mode: int, weight: Floats, bias: Floats | None = None, first: int = 0) -> Packed:
    """Pack (outputs, inputs, kh, kw) weights; input i is channel first + i of a line.

    Lines of bf16 are read by pairs: the channel that shares a pair with the first or last input gets zero weights.
    """
    outputs, inputs, *kernel = weight.shape
    taps = int(np.prod(kernel))
    shape = isa.shape(max(outputs, 1))
    groups = max(-(-outputs // shape.width), 1)
    pair = 1 if mode == FP32 else 2
    before = first % pair
    words = -(-(before + inputs) // pair) if inputs else 0
    padded = np.zeros((groups * shape.width, words * pair, taps), np.float32)
    padded[:outputs, before : before + inputs] = weight.reshape(outputs, inputs, taps)
    data = padded.reshape(groups, shape.width, words, pair, taps).transpose(
        0, 4, 2, 3, 1
    )  # group, tap, word, pair, out
    if mode == BF16:
        bits = to_bf16(data).astype(np.uint32)
        data = bits[..., 0, :] | bits[..., 1, :] << 16
    full_bias = np.zeros(groups * shape.width, np.float32)
    if bias is not None:
        full_bias[:outputs] = bias
    per_tap = words * shape.width
    flat = np.ascontiguousarray(data).ravel()
    if not flat.size:
        flat = np.zeros(1, flat.dtype)  # a pointer to something
    starts = np.arange(taps, dtype=np.int64) * per_tap
    return Packed(shape, mode, flat, words, outputs, groups, starts, taps * per_tap, full_bias)


def to_bf16(values: Floats) -> NDArray[np.uint16]:
    """The nearest bf16 numbers (ties to even) as their bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


@dataclass(frozen=True)
class PackedLayer:
    """One masked layer; its output channels are ordered [dense | sparse], as are the inputs from the layer before."""

    dense_outputs: int
    sparse_first: int  # word of a row where the layer's sparse inputs start
    dense: Packed  # all 64 outputs from dense inputs, at active pixels
    sparse: Packed  # all 64 outputs from sparse inputs, at active pixels
    inactive: Packed  # dense outputs from dense inputs


@dataclass(frozen=True)
class PackedModule:
    """The four masked layers of an SMM and its 1x1 collect."""

    layers: tuple[PackedLayer, ...]
    collect: Packed  # at active pixels: from the layers' rows, one "tap" a layer
    collect_dense: tuple[Packed, ...]  # at inactive pixels: from each layer's dense channels


def pack_module(isa: Isa, mode: int, weights: Weights, module: int) -> PackedModule:
    """Pack one SMM's masked layers."""
    layers, shares, dense_shares = [], [], []
    order, dense_inputs = np.arange(CHANNELS), CHANNELS
    name = f"body.{module}.body"
    collect = weights.tensors[f"{name}.collect.weight"].reshape(CHANNELS, LAYERS, CHANNELS, 1, 1)
    bias = weights.tensors[f"{name}.collect.bias"]
    for layer in range(LAYERS):
        is_dense = weights.dense_channels(module, layer)
        next_order = np.concatenate([np.flatnonzero(is_dense), np.flatnonzero(~is_dense)])
        dense_outputs = int(is_dense.sum())
        weight = weights.tensors[f"{name}.body.{layer}.weight"][next_order][:, order]
        layers.append(
            PackedLayer(
                dense_outputs,
                sparse_first=dense_inputs if mode == FP32 else dense_inputs // 2,
                dense=pack(isa, mode, weight[:, :dense_inputs]),
                sparse=pack(isa, mode, weight[:, dense_inputs:], first=dense_inputs),
                inactive=pack(isa, mode, weight[:dense_outputs, :dense_inputs]),
            )
        )
        share = collect[:, layer, next_order]
        shares.append(share)
        dense_shares.append(pack(isa, mode, share[:, :dense_outputs], bias))
        order, dense_inputs = next_order, dense_outputs
    return PackedModule(tuple(layers), pack(isa, mode, np.concatenate(shares, axis=2), bias), tuple(dense_shares))
