"""One checked launcher per kernel; nobody else launches. A kernel gets bare addresses: what is wrong is found here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cupy_kernels import geometry
from cupy_kernels.check import Check
from cupy_kernels.conversions import Conversions
from cupy_kernels.device import Device, Macros
from cupy_kernels.geometry import CHANNELS, TILES

RESIDENT = 4  # blocks of a persistent grid per multiprocessor: at least as many as can be resident


class Kernels(Conversions):
    """The kernels of one precision on one device.

    Every method raises TypeError for an array of another dtype and ValueError for one of another shape, device or
    memory order; the kernel header in the .cu file says what the arguments mean.

    Attributes:
        half: True: features are halves; False: floats.
        element: their NumPy dtype.
    """

    def __init__(self, device: Device, half: bool) -> None:
        super().__init__(device)
        self.half = half
        self.element: DTypeLike = np.float16 if half else np.float32

    def head_first(self, frame: Any, mean: Any, weights: Any, bias: Any, out: Any, *, slope: float = 0.0) -> None:
        """head_first before another convolution: an activation follows."""
        check = Check(self.device, "head_first")
        height, width = self._head(check, frame, mean, weights, bias)
        check("out", out, self.element, height, width, CHANNELS)
        self._head_first(frame, mean, weights, bias, out, out, alone=False, slope=slope)

    def head_alone(self, frame: Any, mean: Any, weights: Any, bias: Any, high: Any, low: Any) -> None:
        """head_first as the whole head: the result is exact."""
        check = Check(self.device, "head_alone")
        self._exact(check, high, low, *self._head(check, frame, mean, weights, bias))
        self._head_first(frame, mean, weights, bias, high, low, alone=True, slope=1.0)

    def conv_head(self, source: Any, weights: Any, bias: Any, high: Any, low: Any) -> None:
        """conv_frame with HEAD = 1: the result is exact."""
        check = Check(self.device, "conv_head")
        self._exact(check, high, low, *self._frame(check, source, weights, bias))
        check.differ("high", high, "source", source)
        self._conv_frame(1, source, weights, bias, high, high, low)

    def conv_add(self, source: Any, weights: Any, bias: Any, added: Any, out: Any) -> None:
        """conv_frame with HEAD = 0: the result is a sum."""
        check = Check(self.device, "conv_add")
        height, width = self._frame(check, source, weights, bias)
        check("added", added, self.element, height, width, CHANNELS)
        check("out", out, self.element, height, width, CHANNELS)
        check.differ("out", out, "source", source)
        self._conv_frame(0, source, weights, bias, added, out, out)

    def mask_pool(self, high: Any, low: Any, weights: Any, bias: Any, pooled: Any) -> None:
        check = Check(self.device, "mask_pool")
        height, width = check("high", high, self.element, None, None, CHANNELS)[:2]
        check.even(height, width)
        self._exact(check, high, low, height, width)
        check("weights", weights, self.element, 54 if self.half else 36, 16, geometry.SLICE_BYTES // self._bytes)
        check("bias", bias, np.float32, 16)
        check("pooled", pooled, np.float32, height // 2, width // 2, 16)
        arguments = (high, low, weights, bias, pooled, np.int32(height), np.int32(width))
        blocks = geometry.window_blocks(height, width)
        shared = geometry.window_bytes(16)
        self._launch("mask.cu", "mask_pool", blocks, TILES["TILE_PIXELS"], shared, arguments)

    def mask_decide(
        self, pooled: Any, weights: Any, bias: Any, up_weights: Any, up_bias: Any, mask: Any, *, quads: bool
    ) -> None:
        check = Check(self.device, "mask_decide")
        rows, columns = check("pooled", pooled, np.float32, None, None, 16)[:2]
        check("weights", weights, np.float32, 9, 16, 16)
        check("bias", bias, np.float32, 16)
        check("up_weights", up_weights, np.float32, 9, 16, 2)
        check("up_bias", up_bias, np.float32, 2)
        check("mask", mask, np.uint8, 2 * rows, 2 * columns)
        side = TILES["MASK_SIDE"]
        blocks = -(-rows // (side - 1)) * -(-columns // (side - 1))
        sizes = np.int32(rows), np.int32(columns), np.int32(quads)
        arguments = (pooled, weights, bias, up_weights, up_bias, mask, *sizes)
        self._launch("mask.cu", "mask_decide", blocks, side * side, geometry.mask_bytes(), arguments)

    def count_pixels(self, mask: Any, partial: Any) -> None:
        check = Check(self.device, "count_pixels")
        height, width = check("mask", mask, np.uint8, None, None)
        blocks = geometry.select_blocks(height * width)
        check("partial", partial, np.int32, blocks)
        threads = TILES["SELECT_THREADS"]
        arguments = (mask, partial, np.int64(height * width))
        self._launch("select.cu", "count_pixels", blocks, threads, threads // 32 * 4, arguments)

    def list_pixels(self, mask: Any, partial: Any, active: Any, inactive: Any, inverse: Any, counts: Any) -> None:
        check = Check(self.device, "list_pixels")
        height, width = check("mask", mask, np.uint8, None, None)
        check.sides(height, width)
        blocks = geometry.select_blocks(height * width)
        check("partial", partial, np.int32, blocks)
        check("active", active, np.uint32, height * width)
        check("inactive", inactive, np.uint32, height * width)
        check("inverse", inverse, np.int32, height, width)
        check("counts", counts, np.int32, 2)
        threads = TILES["SELECT_THREADS"]
        arguments = (mask, partial, active, inactive, inverse, counts, np.int64(height * width), np.int32(width))
        self._launch("select.cu", "list_pixels", blocks, threads, threads // 32 * 12, arguments)

    def conv_listed(
        self,
        dense: Any,
        rows: Any,
        inverse: Any,
        weights: Any,
        pixels: Any,
        count: Any,
        dense_out: Any,
        rows_out: Any,
        sums: Any,
        *,
        everything: bool,
        slope: float = 0.0,
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        """With `everything` from all channels of the source to all 64; else from dense channels to dense channels.

        slope: of the leaky relu after it; 0: a relu, 1: none.
        window: (top, left, bottom, right) of the pixels that sums are over; None: all.
        """
        check = Check(self.device, "conv_listed")
        height, width, dense_in = check("dense", dense, self.element, None, None, None)
        check.sides(height, width)
        area = height * width
        check("rows", rows, self.element, area, CHANNELS - dense_in)
        check("inverse", inverse, np.int32, height, width)
        check("dense_out", dense_out, self.element, height, width, None)
        dense_channels = dense_out.shape[2]
        check("rows_out", rows_out, self.element, area, CHANNELS - dense_channels)
        for name, channels in (("dense", dense_in), ("dense_out", dense_channels)):
            if channels % geometry.STEP:
                raise ValueError(f"conv_listed: {name} must have a multiple of 16 channels, got {channels}.")
        inputs, outputs = (CHANNELS, CHANNELS) if everything else (dense_in, dense_channels)
        slice_channels = geometry.SLICE_BYTES // self._bytes
        check("weights", weights, self.element, -(-9 * inputs // slice_channels), outputs, slice_channels)
        check("pixels", pixels, np.uint32, area)
        check("count", count, np.int32, 1)
        check("sums", sums, np.int64, outputs)
        arguments = (
            *(dense, rows, inverse, np.int32(dense_in), weights, pixels, count, dense_out, rows_out),
            *(np.int32(dense_channels), sums, np.float32(slope), np.int32(height), np.int32(width)),
            *map(np.int32, window or (0, 0, height, width)),
        )
        blocks, shared = self._persistent(area), geometry.list_bytes(outputs)
        threads = TILES["TILE_PIXELS"]
        self._launch("conv.cu", "conv_listed", blocks, threads, shared, arguments, IN=inputs, OUT=outputs)

    def attention_scales(
        self,
        sums: Any,
        collect: Any,
        bias: Any,
        squeeze: Any,
        squeeze_bias: Any,
        expand: Any,
        expand_bias: Any,
        scales: Any,
        pixels: int,
    ) -> None:
        check = Check(self.device, "attention_scales")
        check("sums", sums, np.int64, 4, CHANNELS)
        check("collect", collect, np.float32, 4 * CHANNELS, CHANNELS)
        check("bias", bias, np.float32, CHANNELS)
        check("squeeze", squeeze, np.float32, CHANNELS, 4)
        check("squeeze_bias", squeeze_bias, np.float32, 4)
        check("expand", expand, np.float32, 4, CHANNELS)
        check("expand_bias", expand_bias, np.float32, CHANNELS)
        check("scales", scales, np.float32, CHANNELS)
        arguments = (sums, collect, bias, squeeze, squeeze_bias, expand, expand_bias, scales, np.int64(pixels))
        self._launch("attention.cu", "attention_scales", 1, 256, (256 + 64 + 4) * 4, arguments)

    def sum_features(self, high: Any, low: Any, sums: Any, window: tuple[int, int, int, int]) -> None:
        """window: (top, left, bottom, right), within the map."""
        check = Check(self.device, "sum_features")
        height, width = check("high", high, self.element, None, None, CHANNELS)[:2]
        check.sides(height, width)
        self._exact(check, high, low, height, width)
        check("sums", sums, np.int64, CHANNELS)
        top, left, bottom, right = window
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(f"sum_features: window must be within {height}x{width}, got {window}.")
        arguments = (high, low, sums, np.int32(width), *map(np.int32, window))
        blocks = min(-(-(bottom - top) * (right - left) // 16), RESIDENT * self.device.properties.multiprocessors)
        self._launch("attention.cu", "sum_features", blocks, 256, 16 * CHANNELS * 8, arguments)

    def residual(
        self,
        layers: Any,
        table: Any,
        weights: Any,
        bias: Any,
        scales: Any,
        before: tuple[Any, Any],
        after: tuple[Any, Any],
        share: Any,
        share_bias: Any,
        collected: Any,
        pixels: Any,
        count: Any,
        *,
        first: bool,
        last: bool,
        shared: bool = True,
        slope: float = 0.0,
    ) -> None:
        """before, after: f exactly, as (high, low). Not `shared`: collected is left alone. slope: after the last."""
        check = Check(self.device, "residual")
        height, width = check("before[0]", before[0], self.element, None, None, CHANNELS)[:2]
        check.sides(height, width)
        check("layers", layers, self.element, 4 * height * width * CHANNELS)
        chunks = check("table", table, np.int32, None, 4)[0]
        slice_channels = geometry.SLICE_BYTES // self._bytes
        steps = -(-chunks // TILES["SLICE_CHUNKS"])
        check("weights", weights, self.element, steps, CHANNELS, slice_channels)
        check("bias", bias, np.float32, CHANNELS)
        check("scales", scales, np.float32, CHANNELS)
        self._exact(check, *before, height, width)
        self._exact(check, *after, height, width)
        check("share", share, self.element, CHANNELS // slice_channels, CHANNELS, slice_channels)
        check("share_bias", share_bias, np.float32, CHANNELS)
        check("collected", collected, self.element, height, width, CHANNELS)
        check("pixels", pixels, np.uint32, height * width)
        check("count", count, np.int32, 1)
        arguments = (
            *(layers, table, np.int32(chunks), weights, bias, scales, *before, *after, share, share_bias, collected),
            *(pixels, count, np.int32(shared), np.int32(first), np.int32(last), np.float32(slope)),
            *(np.int32(height), np.int32(width)),
        )
        blocks, memory = self._persistent(height * width), geometry.residual_bytes(self.half)
        self._launch("attention.cu", "residual", blocks, TILES["TILE_PIXELS"], memory, arguments)

    def conv_shuffle(
        self, source: Any, weights: Any, bias: Any, mask: Any, out: Any, *, level: int, slope: float = 0.0
    ) -> None:
        """The source has 2**level times the mask's sides."""
        check = Check(self.device, "conv_shuffle")
        height, width = check("source", source, self.element, None, None, CHANNELS)[:2]
        slice_channels = geometry.SLICE_BYTES // self._bytes
        check("weights", weights, self.element, 4, 9 * CHANNELS // slice_channels, CHANNELS, slice_channels)
        check("bias", bias, np.float32, 4, CHANNELS)
        check("mask", mask, np.uint8, height >> level, width >> level)
        check("out", out, self.element, 2 * height, 2 * width, CHANNELS)
        sizes = np.int32(height), np.int32(width)
        arguments = (source, weights, bias, np.float32(slope), mask, np.int32(level), out, *sizes)
        blocks, shared = 4 * geometry.window_blocks(height, width), geometry.window_bytes(CHANNELS)
        self._launch("upsample.cu", "conv_shuffle", blocks, TILES["TILE_PIXELS"], shared, arguments)

    def tail(self, source: Any, weights: Any, bias: Any, frame: Any, out: Any, scale: int, up: int = 1) -> None:
        """The source has `up` times the frame's sides, a power of 2 up to 8; the result `scale` times those."""
        check = Check(self.device, "tail")
        outputs = geometry.tail_outputs(scale)
        height, width = self._frame(check, source, weights, bias, outputs)
        check("frame", frame, np.float32, height // up, width // up, 3)
        check("out", out, np.float32, scale * height, scale * width, 3)
        arguments = (source, weights, bias, frame, out, np.int32(height), np.int32(width))
        blocks, shared = geometry.window_blocks(height, width), geometry.tail_bytes(scale, up)
        threads = TILES["TILE_PIXELS"]
        self._launch("tail.cu", "tail", blocks, threads, shared, arguments, OUT=outputs, SCALE=scale, UP=up)

    @property
    def _bytes(self) -> int:
        return np.dtype(self.element).itemsize

    def _persistent(self, pixels: int) -> int:
        tiles = -(-pixels // TILES["TILE_PIXELS"])
        return min(tiles, RESIDENT * self.device.properties.multiprocessors)

    def _head(self, check: Check, frame: Any, mean: Any, weights: Any, bias: Any) -> tuple[int, int]:
        height, width = check("frame", frame, np.float32, None, None, 3)[:2]
        check("mean", mean, np.float32, 3)
        check("weights", weights, np.float32, 27, CHANNELS)
        check("bias", bias, np.float32, CHANNELS)
        return height, width

    def _head_first(
        self, frame: Any, mean: Any, weights: Any, bias: Any, high: Any, low: Any, *, alone: bool, slope: float
    ) -> None:
        height, width = frame.shape[:2]
        numbers = np.int32(alone), np.float32(slope), np.int32(height), np.int32(width)
        arguments = (frame, mean, weights, bias, high, low, *numbers)
        self._launch("head.cu", "head_first", -(-4 * height * width // 128), 128, 27 * CHANNELS * 4, arguments, HEAD=1)

    def _frame(self, check: Check, source: Any, weights: Any, bias: Any, outputs: int = CHANNELS) -> tuple[int, int]:
        height, width = check("source", source, self.element, None, None, CHANNELS)[:2]
        slice_channels = geometry.SLICE_BYTES // self._bytes
        check("weights", weights, self.element, 9 * CHANNELS // slice_channels, outputs, slice_channels)
        check("bias", bias, np.float32, outputs)
        return height, width

    def _exact(self, check: Check, high: Any, low: Any, height: int, width: int) -> None:
        check("high", high, self.element, height, width, CHANNELS)
        if self.half:
            check("low", low, self.element, height, width, CHANNELS)
            check.differ("low", low, "high", high)
        else:
            check("low", low, self.element, None, None, None)

    def _conv_frame(self, head: int, source: Any, weights: Any, bias: Any, added: Any, high: Any, low: Any) -> None:
        height, width = source.shape[:2]
        arguments = (source, weights, bias, added, high, low, np.int32(height), np.int32(width))
        blocks, shared = geometry.window_blocks(height, width), geometry.window_bytes(CHANNELS)
        self._launch("head.cu", "conv_frame", blocks, TILES["TILE_PIXELS"], shared, arguments, HEAD=head)

    def _launch(
        self, file: str, kernel: str, grid: int, block: int, shared: int, arguments: tuple[Any, ...], **more: int
    ) -> None:
        macros: Macros = geometry.macros(self.half, **more)
        self.device.launch(file, kernel, macros, grid, block, shared, arguments)
