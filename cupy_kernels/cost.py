"""What a frame costs by counting: operations and compulsory bytes of every kernel, and the time that no GPU can beat.

Bytes are those that must cross device memory, each input read once and each output written once; gathers that hit a
cache are not counted. Operations are those that are computed, padding included; a multiply-add is two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cupy_kernels.geometry import CHANNELS, tail_outputs


@dataclass(frozen=True)
class Gpu:
    """Datasheet rates. tensor: halves in, float sums, no structured sparsity. bus: host to device, one way."""

    name: str
    arch: int
    bytes_per_second: float
    float_operations: float
    tensor_operations: float
    bus: float


GPUS = (
    Gpu("RTX 3060", 86, 360e9, 12.7e12, 25.5e12, 25e9),
    Gpu("RTX 4090", 89, 1008e9, 82.6e12, 165.2e12, 25e9),
    Gpu("H100 SXM", 90, 3350e9, 66.9e12, 989e12, 50e9),
)


@dataclass(frozen=True)
class Cost:
    """All launches of one kernel in a frame."""

    kernel: str
    launches: int
    operations: float
    bytes: float
    tensor: bool

    def seconds(self, gpu: Gpu) -> float:
        """The larger of the two floors."""
        return max(self.compute_seconds(gpu), self.bytes / gpu.bytes_per_second)

    def compute_seconds(self, gpu: Gpu) -> float:
        return self.operations / (gpu.tensor_operations if self.tensor else gpu.float_operations)

    def limit(self, gpu: Gpu) -> str:
        """ "memory" or "arithmetic"."""
        return "arithmetic" if self.compute_seconds(gpu) > self.bytes / gpu.bytes_per_second else "memory"


@dataclass(frozen=True)
class Shape:
    """A frame and a network.

    Attributes:
        height, width: of the input. active: share of active pixels, 0..1.
        stored: dense channels of every layer of every block as they are stored, multiples of 16.
        scale: 2, 3 or 4. half: fp16, else fp32.
    """

    height: int
    width: int
    active: float
    stored: Sequence[Sequence[int]]
    scale: int
    half: bool


def frame(shape: Shape) -> list[Cost]:
    """The kernels of one frame."""
    area = float(shape.height * shape.width)
    on, off = area * shape.active, area * (1 - shape.active)
    size = 2 if shape.half else 4
    feature = CHANNELS * size  # bytes of 64 channels of a pixel
    exact = 2 * feature if shape.half else feature  # f itself
    blocks = len(shape.stored)
    outputs, subpixels = tail_outputs(shape.scale), shape.scale**2
    full = 2 * 9 * CHANNELS * CHANNELS  # operations of a 64 -> 64 convolution at a pixel

    listed = [0.0, 0.0, 0]  # operations, bytes, launches
    inactive = [0.0, 0.0, 0]
    ends = [0.0, 0.0]
    for stored in shape.stored:
        before = CHANNELS
        for layer, out in enumerate(stored):
            rows = 0 if layer == 0 else CHANNELS - before
            listed[0] += full * on
            listed[1] += before * size * area + rows * size * on + 4 * area + 4 * on + feature * on
            listed[2] += 1
            if before and out:
                inactive[0] += 2 * 9 * before * out * off
                inactive[1] += before * size * area + 4 * off + out * size * off
                inactive[2] += 1
            before = out
        dense = sum(stored)
        ends[0] += 2 * CHANNELS * ((len(stored) + 1) * CHANNELS * on + (dense + CHANNELS) * off)
        ends[1] += (len(stored) * feature + 4) * on + (dense * size + 4) * off + (2 * exact + 2 * feature) * area
    return [
        Cost("head_first", 1, 2 * 27 * CHANNELS * area, (12 + feature) * area, False),
        Cost("conv_frame", 2, 2 * full * area, (feature + exact + 3 * feature) * area, shape.half),
        Cost(
            "mask_pool",
            blocks,
            blocks * (3 if shape.half else 1) * full / 4 * area,
            blocks * (exact + 16) * area,
            shape.half,
        ),
        Cost("mask_decide", blocks, blocks * 2 * (9 * 16 * 18) / 4 * area, blocks * (16 + 1) * area, False),
        Cost("count_pixels", blocks, 0, blocks * area, False),
        Cost("list_pixels", blocks, 0, blocks * (1 + 4 + 4) * area, False),
        Cost("conv_listed (active)", int(listed[2]), listed[0], listed[1], shape.half),
        Cost("conv_listed (inactive)", int(inactive[2]), inactive[0], inactive[1], shape.half),
        Cost("attention_scales", blocks, blocks * 2 * 4 * CHANNELS * CHANNELS, blocks * 70e3, False),
        Cost("residual", 2 * blocks, ends[0], ends[1], shape.half),
        Cost("tail", 1, 2 * 9 * CHANNELS * outputs * area, (feature + 12 + 12 * subpixels) * area, shape.half),
    ]


def copies_seconds(shape: Shape, gpu: Gpu) -> float:
    """Upload and download of a picture of 8 bits, 4:2:0; they overlap the computing of other frames."""
    area = shape.height * shape.width
    return 1.5 * area * (1 + shape.scale**2) / gpu.bus
