"""Weights in the order in which the kernels read them: split by channel masks, dense channels first, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cpu.gemm import BF16, FP32
from vs_smsr.engine.cpu.isa import Isa, RegisterTile
from vs_smsr.weights import Weights

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Words = NDArray[Any]  # float32, or uint32 holding two bf16 numbers


@dataclass(frozen=True)
class Packed:
    """One convolution for `block.indirect_gemm`.

    Attributes:
        data: flat [group][tap][word][width] words.
        words: words of a line that a tap reads.
        outputs: output channels that are wanted; the last group is filled up with zeros.
        tap_starts: element within a group where each tap starts.
        group_stride: elements of a group.
        bias: (groups * width,) zeros where there is none.
    """

    shape: RegisterTile
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
    """One masked layer; its output channels are ordered [dense | sparse], as are the inputs from the layer before.

    Attributes:
        dense_outputs: how many of its channels are dense.
        dense_stride: words of a pixel in its dense map, whole groups of 8 channels.
        sparse_first: word of a row where its sparse inputs start.
        dense: all outputs from dense inputs, at active pixels.
        sparse: all outputs from sparse inputs, at active pixels.
        inactive: dense outputs from dense inputs.
    """

    dense_outputs: int
    dense_stride: int
    sparse_first: int
    dense: Packed
    sparse: Packed
    inactive: Packed


@dataclass(frozen=True)
class PackedBlock:
    """The masked layers of a block and its 1x1 fuse.

    Attributes:
        layers: in their order.
        fuse: at active pixels, from the layers' rows, one "tap" a layer.
        fuse_dense: at inactive pixels, from each layer's dense channels.
        fuse_table: (3, layers) words, strides and group strides of what `fuse_dense` reads.
    """

    layers: tuple[PackedLayer, ...]
    fuse: Packed
    fuse_dense: tuple[Packed, ...]
    fuse_table: Integers


def pack_block(isa: Isa, mode: int, weights: Weights, block: int) -> PackedBlock:
    """Pack a block's masked layers and fuse."""
    spec, width = weights.spec.blocks[block], weights.spec.width
    per_word = 1 if mode == FP32 else 2
    layers, shares, dense_shares = [], [], []
    order, dense_inputs = np.arange(width), width
    fuse = weights.tensors[f"{spec.fuse.name}.weight"].reshape(width, len(spec.layers), width, 1, 1)
    bias = weights.tensors.get(f"{spec.fuse.name}.bias")
    for number, layer in enumerate(spec.layers):
        is_dense = weights.dense_channels(block, number)
        next_order = np.concatenate([np.flatnonzero(is_dense), np.flatnonzero(~is_dense)])
        dense_outputs = int(is_dense.sum())
        weight = weights.tensors[f"{layer.name}.weight"][next_order][:, order]
        layers.append(
            PackedLayer(
                dense_outputs,
                dense_stride=-(-dense_outputs // 8) * 8 // per_word,
                sparse_first=dense_inputs // per_word,
                dense=pack(isa, mode, weight[:, :dense_inputs]),
                sparse=pack(isa, mode, weight[:, dense_inputs:], first=dense_inputs),
                inactive=pack(isa, mode, weight[:dense_outputs, :dense_inputs]),
            )
        )
        share = fuse[:, number, next_order]
        shares.append(share)
        dense_shares.append(pack(isa, mode, share[:, :dense_outputs], bias))
        order, dense_inputs = next_order, dense_outputs
    table = [
        (share.words, layer.dense_stride, share.group_stride) for share, layer in zip(dense_shares, layers, strict=True)
    ]
    return PackedBlock(
        tuple(layers),
        pack(isa, mode, np.concatenate(shares, axis=2), bias),
        tuple(dense_shares),
        np.ascontiguousarray(np.array(table, np.int64).T),
    )
