"""Weights in the order in which the kernels read them: split by channel masks, dense channels first, in groups."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Dense
from vs_smsr.engine.cpu.gemm import BF16, FP32
from vs_smsr.engine.cpu.isa import Isa, RegisterTile
from vs_smsr.engine.cpu.winograd import transformed
from vs_smsr.weights import Weights

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Words = NDArray[Any]  # float32, or uint32 holding two bf16 numbers
CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class Packed:
    """One convolution for `gemm.indirect_gemm`.

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


def pack(isa: Isa, mode: int, weight: Floats, bias: Floats | None = None, *, loose: bool = False) -> Packed:
    """Pack (outputs, inputs, kh, kw) weights; input i is channel i of a line.

    Lines of bf16 are read by pairs: the channel that shares a pair with the last input gets zero weights.

    Args:
        loose: see `Isa.shape`.
    """
    outputs, inputs, *kernel = weight.shape
    taps = int(np.prod(kernel))
    shape = isa.shape(max(outputs, 1), loose=loose, pairs=mode == BF16)
    groups = max(-(-outputs // shape.width), 1)
    pair = 1 if mode == FP32 else 2
    words = -(-inputs // pair)
    padded = np.zeros((groups * shape.width, words * pair, taps), np.float32)
    padded[:outputs, :inputs] = weight.reshape(outputs, inputs, taps)
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
    flat = _slabs.take(max(data.size, 1), data.dtype)  # a pointer to something
    flat[: data.size] = data.ravel()
    starts = np.arange(taps, dtype=np.int64) * per_tap
    return Packed(shape, mode, flat, words, outputs, groups, starts, taps * per_tap, full_bias)


class _Slabs:
    """Weights lie close together in large arrays, which NumPy asks large pages for: they are read all over, often."""

    BYTES = 8 << 20

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slab, self._used = np.zeros(0, np.uint8), 0

    def take(self, count: int, dtype: np.dtype[Any]) -> Words:
        """Zeros, as `aligned`."""
        size = -(-count * dtype.itemsize // CACHE_LINE) * CACHE_LINE
        with self._lock:
            if self._used + size > len(self._slab):
                self._slab, self._used = aligned(max(size, self.BYTES), np.dtype(np.uint8)), 0
            begin, self._used = self._used, self._used + size
            return self._slab[begin : begin + count * dtype.itemsize].view(dtype)


_slabs = _Slabs()


def aligned(count: int, dtype: np.dtype[Any]) -> Words:
    """Zeros, flat, from the start of a cache line on: vectors that lie across two lines are loaded twice."""
    spare = CACHE_LINE // dtype.itemsize
    array = np.zeros(count + spare, dtype)
    begin = -array.ctypes.data % CACHE_LINE // dtype.itemsize
    return array[begin : begin + count]


def padded(array: Floats, *sides: int) -> Floats:
    """The array with zeros after it, up to these sizes of its first dimensions."""
    larger = np.zeros((*sides, *array.shape[len(sides) :]), np.float32)
    larger[tuple(map(slice, array.shape))] = array
    return larger


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
        slope: of the leaky relu after it; 0 a relu, 1 none.
        all_dense: all inputs are dense ones.
        active: all outputs, at active pixels, from whole lines; by quads.
        inactive: dense outputs from as many words as the dense map has; by quads.
    """

    dense_outputs: int
    dense_stride: int
    slope: float
    all_dense: bool
    active: Packed
    inactive: Packed


@dataclass(frozen=True)
class PackedBlock:
    """The masked layers of a block and its 1x1 fuse; where the block has none, one that copies the last layer.

    Attributes:
        layers: in their order.
        first_kept: the first of them that the fuse reads; it reads all that follow.
        fuse: at active pixels, from these layers' rows, one "tap" a layer.
        fuse_dense: at inactive pixels, from each of these layers' dense channels.
        fuse_table: (3, kept layers) words, strides and group strides of what `fuse_dense` reads.
    """

    layers: tuple[PackedLayer, ...]
    first_kept: int
    fuse: Packed
    fuse_dense: tuple[Packed, ...]
    fuse_table: Integers


def pack_block(isa: Isa, mode: int, weights: Weights, block: int, dense: Sequence[Dense]) -> PackedBlock:
    """Pack a block's masked layers and fuse.

    All layers are stored with `width` channels. Of what a layer does not have, or does not pass on, weights are zero or
    are not there at all: channels that are passed on lie first among the dense and among the sparse ones.

    Args:
        dense: per layer (outputs,), True where a channel is dense.
    """
    spec, width = weights.spec.blocks[block], weights.spec.width
    per_word = 1 if mode == FP32 else 2
    layers, shares, dense_shares = [], [], []
    order, dense_inputs, passed = np.arange(width), width, width
    for number, layer in enumerate(spec.layers):
        is_dense = np.zeros(width, np.bool_)
        is_dense[: layer.outputs] = dense[number]
        goes_on = np.arange(width) >= spec.distilled
        next_order = np.lexsort((~goes_on, ~is_dense))
        dense_outputs = int(is_dense.sum())
        weight = np.zeros((width, width, 3, 3), np.float32)
        weight[: layer.outputs, width - layer.inputs :] = weights.tensors[f"{layer.name}.weight"]
        weight = weight[next_order][:, order]
        lines = -(-dense_inputs // 8) * 8  # the channels between dense_inputs and that are zero at inactive pixels
        inactive = padded(weight[:dense_outputs, :passed], dense_outputs, lines)
        layers.append(
            PackedLayer(
                dense_outputs,
                dense_stride=-(-dense_outputs // 8) * 8 // per_word,
                slope=spec.slope_of(number),
                all_dense=dense_inputs == width,
                active=pack(isa, mode, transformed(weight)),
                inactive=pack(isa, mode, transformed(inactive), loose=True),
            )
        )
        order, dense_inputs = next_order, dense_outputs
        passed = int((is_dense & goes_on).sum())
        if spec.kept(number):
            share = _kept(weights, block, number)[:, next_order]
            shares.append(share[:, :, None, None, None])
            dense_shares.append(pack(isa, mode, share[:, :dense_outputs, None, None], _fuse_bias(weights, block)))
    first_kept = len(layers) - len(shares)
    table = [
        (share.words, layer.dense_stride, share.group_stride)
        for share, layer in zip(dense_shares, layers[first_kept:], strict=True)
    ]
    return PackedBlock(
        tuple(layers),
        first_kept,
        pack(isa, mode, np.concatenate(shares, axis=2), _fuse_bias(weights, block)),
        tuple(dense_shares),
        np.ascontiguousarray(np.array(table, np.int64).T),
    )


def _kept(weights: Weights, block: int, layer: int) -> Floats:
    """(width, width) the fuse's weights for the outputs of one layer; those it does not keep get zeros."""
    spec, width = weights.spec.blocks[block], weights.spec.width
    if not spec.fuse:
        return np.eye(width, dtype=np.float32)
    share = np.zeros((width, width), np.float32)
    first, count = sum(map(spec.kept, range(layer))), spec.kept(layer)
    share[:, :count] = weights.tensors[f"{spec.fuse.name}.weight"][:, first : first + count, 0, 0]
    return share


def _fuse_bias(weights: Weights, block: int) -> Floats | None:
    fuse = weights.spec.blocks[block].fuse
    return weights.tensors.get(f"{fuse.name}.bias") if fuse else None
