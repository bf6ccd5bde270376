"""`walk.Ops` in compiled CPU kernels: buffers of one frame size, and one kernel launch or two per op."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Mask, Scales
from vs_smsr.engine.cpu import kernels, pixels
from vs_smsr.engine.cpu.isa import Isa
from vs_smsr.engine.cpu.packing import Floats, Packed, PackedLayer, pack, pack_layers
from vs_smsr.engine.cpu.pool import Pool
from vs_smsr.weights import CHANNELS, LAYERS, MASK_CHANNELS, MEAN, MODULES, Weights

LAUNCHES = 256  # counters for the kernels of one frame
Integers = NDArray[np.int32]


class Network:
    """The packed weights of one network for one instruction set; shared by all frames."""

    def __init__(self, weights: Weights, isa: Isa) -> None:
        tensors = weights.tensors
        self.isa = isa
        self.scale = weights.scale
        self.layers = [pack_layers(isa, weights, module) for module in range(MODULES)]
        self.tensors = tensors

        def convolution(name: str) -> Packed:
            return pack(isa, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        self.head = convolution("head.0"), convolution("head.2")
        self.tail = convolution("tail.0")
        self.collect = convolution("collect.2")
        shares = tensors["collect.0.weight"].reshape(CHANNELS, MODULES, CHANNELS, 1, 1)
        self.collect_bias = [tensors[f"body.{module}.body.collect.bias"] for module in range(MODULES)]
        self.shares = [pack(isa, shares[:, module], tensors["collect.0.bias"]) for module in range(MODULES)]
        masks = [f"body.{module}.spa_mask" for module in range(MODULES)]
        self.masks = [(convolution(f"{name}.0"), convolution(f"{name}.3")) for name in masks]
        self.decisions = [_decision(tensors[f"{name}.5.weight"], tensors[f"{name}.5.bias"]) for name in masks]
        self.phases = pixels.bicubic_phases(weights.scale)


def _decision(weight: Floats, bias: Floats) -> tuple[Floats, np.float32]:
    """(3, 3, 16) weights and the bias of logits[1] - logits[0]."""
    return np.ascontiguousarray((weight[:, 1] - weight[:, 0]).transpose(1, 2, 0)), bias[1] - bias[0]


@dataclass
class Layer:
    """One masked layer's output: `dense` (grid, stride) at every pixel, `rows` (1 + active, 64) at active ones."""

    packed: PackedLayer
    dense: Floats
    stride: int
    rows: Floats


@dataclass
class Pixels:
    """Grid positions of active and inactive pixels in order of rows; `inverse` leads from a position to its row."""

    active: Integers
    inactive: Integers
    inverse: Integers
    layers: list[Layer] = field(default_factory=list)  # the SMM's outputs so far, for its collect at inactive pixels


class Workspace:
    """The buffers of one frame size, allocated once and reused, and the ops on them."""

    def __init__(self, network: Network, pool: Pool, height: int, width: int) -> None:
        self.network, self.pool = network, pool
        self.height, self.width = height, width
        self.pitch = width + 2
        grid = (height + 2) * self.pitch
        half = (height // 2 + 2) * (width // 2 + 2)
        self.claims = np.zeros(LAUNCHES, np.int64)
        self.launches = 0
        self.centred = np.zeros((height + 2, self.pitch, 3), np.float32)
        self.head_map, self.features, self.total, self.collected = (
            np.zeros(grid * CHANNELS, np.float32) for _ in range(4)
        )
        self.pooled, self.hidden = (np.zeros(half * MASK_CHANNELS, np.float32) for _ in range(2))
        self.rows = [np.zeros(CHANNELS, np.float32) for _ in range(2)]
        widest = (max(module[layer].dense_outputs for module in network.layers) for layer in range(LAYERS))
        self.dense = [np.zeros(grid * -(-outputs // 4) * 4, np.float32) for outputs in widest]
        self.inverse = np.zeros(grid, np.int32)
        self.lists = np.empty((2, height * width), np.int32)
        self.all = _positions(height, width)
        self.quads = _quads(height, width)
        self.half = _positions(height // 2, width // 2)
        self.sums = np.zeros(CHANNELS, np.int64)

    def begin(self) -> None:
        """Make ready for a frame."""
        self.claims[:] = 0
        self.launches = 0

    def _run(self, kernel: Any, *args: Any) -> None:
        slot = self.launches
        self.launches += 1
        self.pool.run(kernel, self.claims, slot, *args)

    def _shape(self, width: int) -> tuple[int, int, int, int]:
        """Literals of the register block for that many output channels: lanes, vectors, pixels, bf16."""
        isa = self.network.isa
        return isa.lanes, width // isa.lanes, isa.shapes[width], 0

    def _convolve(
        self, packed: Packed, list_: Integers, pitch: int, source: Floats, source_stride: int, target: Floats,
        stride: int, *, relu: bool = False, added: Floats | None = None, outputs: int | None = None,
    ) -> None:  # fmt: skip
        kernel = kernels.convolution(*self._shape(packed.width))
        self._run(
            kernel, list_, pitch, source, packed.inputs, source_stride, packed.data, packed.group_stride,
            packed.tap_starts, packed.groups, packed.bias, relu, target if added is None else added,
            added is not None, target, stride, outputs or packed.outputs,
        )  # fmt: skip

    def head(self, frame: Frame) -> Floats:
        first, second = self.network.head
        self._run(pixels.centre, frame, MEAN, self.centred)
        self._convolve(first, self.all, self.pitch, self.centred.ravel(), 3, self.total, CHANNELS, relu=True)
        self._convolve(second, self.all, self.pitch, self.total, CHANNELS, self.head_map, CHANNELS)
        return self.head_map

    def mask(self, module: int, features: Floats) -> Mask:
        first, second = self.network.masks[module]
        kernel = kernels.pooled_convolution(*self._shape(first.width))
        self._run(
            kernel, self.quads, self.pitch, features, CHANNELS, first.data, first.group_stride, first.tap_starts,
            first.groups, first.bias, self.half, self.pooled,
        )  # fmt: skip
        pitch = self.width // 2 + 2
        self._convolve(second, self.half, pitch, self.pooled, MASK_CHANNELS, self.hidden, MASK_CHANNELS, relu=True)
        mask = np.empty((self.height, self.width), np.uint8)
        hidden = self.hidden.reshape(self.height // 2 + 2, pitch, MASK_CHANNELS)
        self._run(pixels.decide, hidden, *self.network.decisions[module], mask)
        return mask

    def given_mask(self, mask: Mask) -> Mask:
        return np.ascontiguousarray(mask, np.uint8)

    def select(self, mask: Mask) -> Pixels:
        count = int(pixels.select(mask, *self.lists, self.inverse))
        needed = (count + 1) * CHANNELS
        for i, rows in enumerate(self.rows):
            if rows.size < needed:
                self.rows[i] = np.zeros(needed, np.float32)
        return Pixels(self.lists[0, :count], self.lists[1, : mask.size - count], self.inverse)

    def conv3x3(
        self, module: int, layer: int, source: Floats | Layer, pixels: Pixels, total: Floats | None
    ) -> tuple[Layer, Floats]:
        packed = self.network.layers[module][layer]
        first, last = layer == 0, layer == LAYERS - 1
        stride = -(-packed.dense_outputs // 4) * 4
        output = Layer(packed, self._dense_map(layer, stride), stride, self.rows[layer % 2])
        if isinstance(source, Layer):
            dense, dense_stride, rows = source.dense, source.stride, source.rows
        else:
            dense, dense_stride, rows = source, CHANNELS, self.rows[1]
        if last:
            self.sums[:] = 0
        if pixels.active.size:
            kernel = kernels.active_layer(*self._shape(packed.dense.width))
            self._run(
                kernel, pixels.active, self.pitch, dense, packed.dense.inputs, dense_stride,
                packed.dense.data, packed.dense.group_stride, packed.dense.tap_starts,
                rows, pixels.inverse, packed.dense.inputs, packed.sparse.data, packed.sparse.group_stride,
                packed.sparse.tap_starts, output.rows, output.dense, stride, packed.collect.data,
                packed.collect.group_stride, self.network.collect_bias[module], self.total, first, self.sums, last,
            )  # fmt: skip
        if packed.dense_outputs and pixels.inactive.size:
            self._convolve(
                packed.inactive, pixels.inactive, self.pitch, dense, dense_stride, output.dense, stride,
                relu=True, outputs=stride,
            )  # fmt: skip
        pixels.layers.append(output)
        if last and pixels.inactive.size:
            self._collect_inactive(module, pixels)
        return output, self.total

    def _dense_map(self, layer: int, stride: int) -> Floats:
        """The layer's map for that many channels, its border zero; SMMs share one buffer per layer."""
        grid = (self.height + 2) * self.pitch
        flat = self.dense[layer][: grid * stride]
        lines = flat.reshape(self.height + 2, self.pitch, stride)
        for border in (lines[0], lines[-1], lines[:, 0], lines[:, -1]):
            border[:] = 0
        return flat

    def _collect_inactive(self, module: int, pixels: Pixels) -> None:
        shares = [layer.packed.collect_dense for layer in pixels.layers]
        channels = np.array([layer.packed.dense_outputs for layer in pixels.layers])
        strides = np.array([layer.stride for layer in pixels.layers])
        group_strides = np.array([share.group_stride for share in shares])
        kernel = kernels.inactive_total(*self._shape(shares[0].width))
        self._run(
            kernel, pixels.inactive, self.network.collect_bias[module], *(share.data for share in shares),
            *(layer.dense for layer in pixels.layers), channels, strides, group_strides, self.total, self.sums,
        )  # fmt: skip

    def attention(self, module: int, total: Floats) -> Scales:
        tensors = self.network.tensors
        mean = self.sums / (kernels.SUM_SCALE * self.height * self.width)
        down, up = (f"body.{module}.ca.conv_du.{i}" for i in (0, 2))
        hidden = tensors[f"{down}.weight"][:, :, 0, 0].astype(np.float64) @ mean + tensors[f"{down}.bias"]
        logits = tensors[f"{up}.weight"][:, :, 0, 0].astype(np.float64) @ np.maximum(hidden, 0)
        scales: Scales = (1 / (1 + np.exp(-logits - tensors[f"{up}.bias"]))).astype(np.float32)
        return scales

    def given_attention(self, scales: Scales) -> Scales:
        return np.ascontiguousarray(scales, np.float32)

    def residual(
        self, module: int, features: Floats, total: Floats, scales: Scales, collected: Floats | None
    ) -> tuple[Floats, Floats]:
        share = self.network.shares[module]
        kernel = kernels.residual_collect(*self._shape(share.width))
        self._run(
            kernel, self.all, features, total, scales, self.features, share.data, share.group_stride, share.bias,
            self.collected, collected is None, module == MODULES - 1,
        )  # fmt: skip
        return self.features, self.collected

    def collect(self, collected: Floats, head: Floats) -> Floats:
        target = self.total
        self._convolve(self.network.collect, self.all, self.pitch, collected, CHANNELS, target, CHANNELS, added=head)
        return target

    def tail(self, features: Floats, frame: Frame) -> NDArray[np.float32]:
        packed, scale = self.network.tail, self.network.scale
        result = np.empty((self.height * scale, self.width * scale, 3), np.float32)
        self._run(pixels.bicubic, self.centred, *self.network.phases, result)
        kernel = kernels.tail_convolution(*self._shape(packed.width))
        self._run(
            kernel, self.all, self.pitch, features, packed.data, packed.group_stride, packed.tap_starts,
            packed.groups, packed.bias, MEAN, scale, result,
        )  # fmt: skip
        return result

    def host_mask(self, mask: Mask) -> Mask:
        return mask

    def host_attention(self, scales: Scales) -> Scales:
        return scales


def _positions(height: int, width: int) -> Integers:
    """Grid positions of all pixels, row by row."""
    grid = np.arange((height + 2) * (width + 2), dtype=np.int32).reshape(height + 2, width + 2)
    return np.ascontiguousarray(grid[1:-1, 1:-1]).ravel()


def _quads(height: int, width: int) -> Integers:
    """Grid positions of all pixels, 2x2 quad by quad."""
    quads = _positions(height, width).reshape(height // 2, 2, width // 2, 2)
    return np.ascontiguousarray(quads.transpose(0, 2, 1, 3)).ravel()
