"""Weights in the order in which the kernels read them: split by channel masks, dense channels first, in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cpu.isa import Isa
from vs_smsr.weights import CHANNELS, LAYERS, Weights

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Packed:
    """One convolution for `block.contract`.

    Attributes:
        data: flat [group][tap][input][width] float32.
        width: output channels of a group; `groups` of them, the last filled up with zeros.
        tap_starts: element within a group where each tap starts.
        group_stride: elements of a group.
        bias: (groups * width,) zeros where there is none.
    """

    data: Floats
    width: int
    groups: int
    inputs: int
    outputs: int
    tap_starts: Integers
    group_stride: int
    bias: Floats


def pack(isa: Isa, weight: Floats, bias: Floats | None = None, width: int | None = None) -> Packed:
    """Pack (outputs, inputs, kh, kw) weights; outputs padded with zeros to whole groups."""
    outputs, inputs, *kernel = weight.shape
    taps = int(np.prod(kernel))
    width = width or isa.width(max(outputs, 1))
    groups = max(-(-outputs // width), 1)
    padded = np.zeros((groups * width, inputs, taps), np.float32)
    padded[:outputs] = weight.reshape(outputs, inputs, taps)
    data = padded.reshape(groups, width, inputs, taps).transpose(0, 3, 2, 1)
    full_bias = np.zeros(groups * width, np.float32)
    if bias is not None:
        full_bias[:outputs] = bias
    starts = np.arange(taps, dtype=np.int64) * inputs * width
    flat = np.ascontiguousarray(data).ravel()
    if not flat.size:
        flat = np.zeros(1, np.float32)  # a pointer to something
    return Packed(flat, width, groups, inputs, outputs, starts, taps * inputs * width, full_bias)


@dataclass(frozen=True)
class PackedLayer:
    """One masked layer; its output channels are ordered [dense | sparse], as are the inputs from the layer before."""

    dense_outputs: int
    dense: Packed  # all 64 outputs from dense inputs, at active pixels
    sparse: Packed  # all 64 outputs from sparse inputs, at active pixels
    inactive: Packed  # dense outputs from dense inputs
    collect: Packed  # the layer's share of the SMM's 1x1, from all 64
    collect_dense: Packed  # the same from its dense channels alone


def pack_layers(isa: Isa, weights: Weights, module: int) -> list[PackedLayer]:
    """The four masked layers of one SMM."""
    packed = []
    order = np.arange(CHANNELS)
    dense_inputs = CHANNELS
    name = f"body.{module}.body"
    shares = weights.tensors[f"{name}.collect.weight"].reshape(CHANNELS, LAYERS, CHANNELS, 1, 1)
    for layer in range(LAYERS):
        is_dense = weights.dense_channels(module, layer)
        next_order = np.concatenate([np.flatnonzero(is_dense), np.flatnonzero(~is_dense)])
        dense_outputs = int(is_dense.sum())
        weight = weights.tensors[f"{name}.body.{layer}.weight"][next_order][:, order]
        share = shares[:, layer, next_order]
        packed.append(
            PackedLayer(
                dense_outputs,
                dense=pack(isa, weight[:, :dense_inputs]),
                sparse=pack(isa, weight[:, dense_inputs:]),
                inactive=pack(isa, weight[:dense_outputs, :dense_inputs]),
                collect=pack(isa, share),
                collect_dense=pack(isa, share[:, :dense_outputs]),
            )
        )
        order, dense_inputs = next_order, dense_outputs
    return packed
