"""One checked launcher per kernel: nobody else launches, and what reaches a kernel has its type and size.

A launcher returns a `Call`; `then` adds a stage of calls that do not need each other's results to what threads work on
meanwhile. Before anything else looks at what they read or write, `finish` waits for them. Compiled code trusts its
arguments, so everything that it indexes is checked here: a wrong array is a ValueError that names it, not a crash.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine import merging
from vs_smsr.engine.contract import Features, Frame, Mask, Scales, Wanted
from vs_smsr.engine.cpu import masked_winograd, pixel_kernels, sparse_kernels, winograd_kernels
from vs_smsr.engine.cpu.index_lists import Only
from vs_smsr.engine.cpu.packing import Floats, Integers, Packed, PackedBlock, PackedLayer, Words
from vs_smsr.engine.cpu.pool import Call, Job, Pool
from vs_smsr.engine.cpu.work_stealing import copy_rows
from vs_smsr.engine.profile import Profile
from vs_smsr.engine.window import Window

Positions = NDArray[np.int32]
INT32, INT64, FLOAT32, UINT8 = map(np.dtype, (np.int32, np.int64, np.float32, np.uint8))  # quick to compare


def check(name: str, array: NDArray[Any], dtype: np.dtype[Any], least: int) -> None:
    """A contiguous array of that type and at least that many elements.

    Raises:
        ValueError: it is another one.
    """
    if array.dtype != dtype or array.size < least or not array.flags.c_contiguous:
        raise ValueError(
            f"cpu: {name} must be a contiguous array of at least {least} {dtype}, got "
            f"{array.size} {array.dtype}{'' if array.flags.c_contiguous else ', not contiguous'}."
        )


class Launchers:
    """Launches kernels on the pool, for frames of one size at a time.

    Attributes:
        block: the block that launches belong to, for the profile; None outside blocks.
    """

    def __init__(self, pool: Pool, channels: int, line: int, word: np.dtype[Any], profile: Profile | None) -> None:
        self.block: int | None = None
        self._pool, self._profile = pool, profile
        self._channels, self._line, self._word = channels, line, word
        self._pitch = self._grid = 0
        self._job: Job | None = None

    def resize(self, height: int, width: int) -> None:
        """From now on for frames of that size."""
        self._pitch, self._grid = width + 2, (height + 2) * (width + 2)

    def then(self, *calls: Call) -> None:
        """Make the calls when all before are done; with a profile now, one after the other."""
        if self._profile is None:
            if calls:
                self._job = self._job or Job(self._pool)
                self._job.then(calls)
            return
        for call in calls:
            start = time.perf_counter()
            self._pool.run([call])
            name = str(call[0].__qualname__).partition(".")[0]
            self._profile.add(name, self.block, time.perf_counter() - start)

    def finish(self) -> None:
        """Return when all calls are done."""
        job, self._job = self._job, None
        if job:
            job.finish()

    def drop(self) -> None:
        """As `finish`, without doing what nobody has begun."""
        job, self._job = self._job, None
        if job:
            job.drop()

    def run(self, *calls: Call) -> None:
        """`then` and `finish`."""
        self.then(*calls)
        self.finish()

    def _check_map(self, name: str, lines: Words) -> None:
        """A map of the whole grid."""
        check(name, lines, self._word, self._grid * self._line)

    def convolution(
        self, packed: Packed, list_: Positions, pitch: int, source: Floats, source_stride: int, target: Words,
        target_stride: int, *, slope: float = 1, outputs: int,
    ) -> Call:  # fmt: skip
        """3x3 in float32, map to map, over a list; strides in words of the maps, pitch in pixels."""
        check("list", list_, INT32, 0)
        check("source", source, FLOAT32, 1)
        if packed.words > source_stride or outputs > packed.groups * packed.shape.width:
            raise ValueError(f"cpu: {packed.words} words and {outputs} outputs do not fit the convolution.")
        return sparse_kernels.convolution(*packed.literals[:3]), (
            list_, pitch, source, packed.words, source_stride, packed.data, packed.group_stride, packed.tap_starts,
            packed.groups, packed.bias, np.float32(slope), target, target_stride, outputs,
        )  # fmt: skip

    def active_layer(
        self, layer: PackedLayer, list_: Positions, dense: Words, stride: int, dense_shift: int, rows: Words,
        pixel_to_row: Positions, base: int, out_rows: Words, out_dense: Words, out_shift: int,
    ) -> Call:  # fmt: skip
        """A masked layer at the active pixels of quads, from and to rows and dense maps.

        A layer of dense inputs only also makes the dense outputs of the quads' other pixels.
        """
        check("list", list_, INT32, 1)
        check("pixel_to_row", pixel_to_row, INT32, self._grid)
        check("rows", rows, self._word, self._line)
        check("out_rows", out_rows, self._word, self._line)
        packed = layer.active
        return masked_winograd.active_quads(*packed.literals), (
            list_, self._pitch, dense, min(stride, packed.words), stride, dense_shift, rows, pixel_to_row, base,
            packed.words, packed.data, packed.group_stride, packed.tap_starts, packed.groups,
            np.float32(layer.slope), layer.all_dense, layer.dense_outputs,
            self._line, out_rows, out_dense, layer.dense_stride, out_shift,
        )  # fmt: skip

    def inactive_layer(
        self, layer: PackedLayer, list_: Positions, dense: Words, stride: int, dense_shift: int,
        pixel_to_row: Positions, out_dense: Words, out_shift: int,
    ) -> Call:  # fmt: skip
        """A masked layer's dense outputs at the inactive pixels of quads, map to map."""
        packed, out_stride = layer.inactive, layer.dense_stride
        check("list", list_, INT32, 1)
        check("pixel_to_row", pixel_to_row, INT32, self._grid)
        outputs = out_stride * (self._channels // self._line)
        if packed.words > stride or outputs > packed.groups * packed.shape.width:
            raise ValueError(f"cpu: {packed.words} words and {outputs} outputs do not fit the masked layer.")
        return masked_winograd.inactive_quads(*packed.literals), (
            list_, self._pitch, dense, stride, dense_shift, pixel_to_row, packed.words, packed.data,
            packed.group_stride, packed.tap_starts, packed.groups, np.float32(layer.slope), out_dense, out_stride,
            out_shift,
        )  # fmt: skip

    def active_fuse(
        self, block: PackedBlock, list_: Positions, pixel_to_row: Positions, base: int, rows: Words, fused: Words,
        sums: Integers,
    ) -> Call:  # fmt: skip
        """A block's fuse at active pixels; rows is (kept layers, words)."""
        self._check_fuse(list_, fused, sums)
        check("pixel_to_row", pixel_to_row, INT32, self._grid)
        packed, layers = block.fuse, len(block.fuse_dense)
        check("rows", rows, self._word, layers * self._line)
        return sparse_kernels.active_fuse(*packed.literals, self._channels, layers), (
            list_, pixel_to_row, base, rows.ravel(), rows.shape[1], self._line, packed.data, packed.group_stride,
            packed.tap_starts, packed.bias, fused, sums,
        )  # fmt: skip

    def inactive_fuse(
        self, block: PackedBlock, list_: Positions, dense: list[Words], shift: int, fused: Words, sums: Integers
    ) -> Call:
        """A block's fuse at inactive pixels, from its layers' dense maps."""
        self._check_fuse(list_, fused, sums)
        shares = block.fuse_dense
        return sparse_kernels.inactive_fuse(*shares[0].literals, self._channels, len(shares)), (
            list_, shares[0].bias, tuple(share.data for share in shares), tuple(dense), *block.fuse_table, shift,
            self._line, fused, sums,
        )  # fmt: skip

    def _check_fuse(self, list_: Positions, fused: Words, sums: Integers) -> None:
        check("list", list_, INT32, 1)
        self._check_map("fused", fused)
        check("sums", sums, INT64, self._channels)

    def window_sums(self, fused: Words, window: Window, sums: Integers, *, squares: bool = False) -> Call:
        """Channel sums of a map, or of its squares, over a window, as the fuse adds them."""
        self._check_map("fused", fused)
        check("sums", sums, INT64, self._channels)
        edges = window.top, window.left, window.bottom, window.right
        return sparse_kernels.window_sums(self._channels, squares), (fused, self._pitch, self._line, *edges, sums)

    def residual_collect(
        self, share: Packed, list_: Positions, source: Words, fused: Words, scales: Scales, result: Words | None,
        collected: Words, *, collect: bool, first: bool, last: bool, slope: float = 0,
    ) -> Call:  # fmt: skip
        """result = fused * scales + source, where that is wanted, and its share of the collect."""
        target = collected if result is None else result
        for name, lines in (("source", source), ("fused", fused), ("result", target), ("collected", collected)):
            self._check_map(name, lines)
        check("scales", scales, FLOAT32, self._channels)
        return sparse_kernels.residual_collect(*share.literals, self._channels), (
            list_, source, fused, scales, target, self._line, share.data, share.group_stride, share.bias, collected,
            result is not None, collect, first, last, np.float32(slope),
        )  # fmt: skip

    def winograd(
        self, packed: Packed, quads: Positions, source: Words, target: Words, added: Words | None = None
    ) -> Call:
        """3x3 over whole quads, map to map."""
        self._check_map("source", source)
        self._check_map("target", target)
        return winograd_kernels.quad_convolution(*packed.literals, self._channels), (
            quads, self._pitch, source, packed.data, packed.group_stride, packed.tap_starts, packed.bias,
            target if added is None else added, added is not None, target,
        )  # fmt: skip

    def pooled(self, packed: Packed, quads: Positions, source: Words, means: Positions, target: Floats) -> Call:
        """3x3, relu and the mean of each quad, to the half-size grid."""
        self._check_map("source", source)
        check("target", target, FLOAT32, 1)
        if len(quads) != len(means):
            raise ValueError(f"cpu: there must be a mean for each of {len(quads)} quads, got {len(means)}.")
        return winograd_kernels.pooled_convolution(*packed.literals, self._channels), (
            quads, self._pitch, source, packed.data, packed.group_stride, packed.tap_starts, packed.groups, packed.bias,
            means, target,
        )  # fmt: skip

    def decide(self, hidden: Floats, weights: Floats, bias: np.float32, only: Only, mask: Mask) -> Call:
        """Logits and mask (H, W) from the half-size grid (H/2 + 2, W/2 + 2, channels)."""
        height, width, channels = hidden.shape
        if mask.shape != (2 * height - 4, 2 * width - 4) or weights.shape != (3, 3, channels):
            raise ValueError(f"cpu: a mask of {mask.shape} does not fit hidden features of {hidden.shape}.")
        self._check_only(only, *mask.shape)
        return pixel_kernels.decide(channels), (hidden, weights, bias, only.pixels, only.some, mask)

    def shuffled(
        self, packed: Packed, quads: Positions, pitch: int, source: Words, target: Words, target_pitch: int, *,
        skip: int, slope: float,
    ) -> Call:  # fmt: skip
        """3x3 to four times the channels and a shuffle to a map twice as large; its first `skip` rows are left out.

        The packed outputs are ordered by their place in a pixel's four, then by channel.
        """
        check("source", source, self._word, int(quads.max(initial=0) + pitch + 2) * self._line)
        last = int(quads.max(initial=pitch + 1)) // pitch - 1
        check("target", target, self._word, (2 * last + 3 - skip) * target_pitch * self._line)
        if packed.outputs != 4 * self._channels:
            raise ValueError(f"cpu: upsampling must have {4 * self._channels} outputs, got {packed.outputs}.")
        return winograd_kernels.shuffled_convolution(*packed.literals, self._channels), (
            quads, pitch, source, packed.data, packed.group_stride, packed.tap_starts, packed.groups, packed.bias,
            np.float32(slope), target, target_pitch, skip,
        )  # fmt: skip

    def tail(
        self, packed: Packed, quads: Positions, source: Words, mean: Floats, scale: int, frame: Frame,
        pitch: int | None = None,
    ) -> Call:  # fmt: skip
        """3x3 and pixel shuffle, added to what `frame` (sH, sW, 3) holds; the mean too, and a clamp to 0..255.

        Args:
            pitch: of the source, if not that of the maps.
        """
        return self._tail(packed, packed.bias, quads, source, mean, (0, 255), scale, frame, pitch or self._pitch)

    def part_of_tail(self, packed: Packed, quads: Positions, source: Words, scale: int, frame: Frame) -> Call:
        """As `tail`, but for the bias, the mean and the clamp: the tail of a sum is the sum of its parts' tails."""
        bias, mean, limits = np.zeros_like(packed.bias), np.zeros(3, np.float32), (-np.inf, np.inf)
        return self._tail(packed, bias, quads, source, mean, limits, scale, frame, self._pitch)

    def _tail(
        self, packed: Packed, bias: Floats, quads: Positions, source: Words, mean: Floats,
        limits: tuple[float, float], scale: int, frame: Frame, pitch: int,
    ) -> Call:  # fmt: skip
        check("source", source, self._word, int(quads.max(initial=0) + pitch + 2) * self._line)
        if packed.outputs != 3 * scale**2:
            raise ValueError(f"cpu: the tail must have {3 * scale**2} outputs, got {packed.outputs}.")
        return winograd_kernels.tail_convolution(*packed.literals, self._channels), (
            quads, pitch, source, packed.data, packed.group_stride, packed.tap_starts, packed.groups, bias,
            mean, *map(np.float32, limits), scale, frame,
        )  # fmt: skip

    def centre(self, frame: Frame, mean: Floats, grid: Floats) -> Call:
        """grid (H + 2, W + 2, 3) = frame (H, W, 3) - mean."""
        if frame.dtype != np.float32 or grid.shape != (frame.shape[0] + 2, frame.shape[1] + 2, 3):
            raise ValueError(f"cpu: a {frame.dtype} frame of {frame.shape} does not fit a grid of {grid.shape}.")
        return pixel_kernels.centre, (frame, mean, grid)

    def bicubic(self, grid: Floats, taps: Integers, weights: Floats, only: Only, result: Frame) -> Call:
        """result (sH, sW, 3) = the frame in grid, enlarged."""
        scale = len(taps)
        if result.shape != (scale * (grid.shape[0] - 2), scale * (grid.shape[1] - 2), 3):
            raise ValueError(f"cpu: a result of {result.shape} does not fit a grid of {grid.shape} at x{scale}.")
        self._check_only(only, grid.shape[0] - 2, grid.shape[1] - 2)
        return pixel_kernels.bicubic, (grid, taps, weights, only.pixels, only.some, result)

    @staticmethod
    def _check_only(only: Only, height: int, width: int) -> None:
        if only.some and not only.pixels.shape == only.needed.shape == (height, width):
            raise ValueError(f"cpu: {only.pixels.shape} wanted pixels do not fit a frame of {(height, width)}.")

    def count(self, mask: Mask, only: Only, pixels: Integers, quads: Integers) -> Call:
        """Active and inactive pixels of each row, and quads by the kinds of pixels that they have."""
        check("mask", mask, UINT8, 1)
        self._check_only(only, *mask.shape)
        for name, counts, rows in (("pixels", pixels, 3 * len(mask)), ("quads", quads, 3 * (len(mask) // 2))):
            check(name, counts, INT64, rows)
        return pixel_kernels.count, (mask, *only, pixels, quads)

    def select(
        self, mask: Mask, only: Only, firsts: Integers, quad_firsts: Integers, lists: tuple[Positions, ...],
        pixel_to_row: Positions,
    ) -> Call:  # fmt: skip
        """Lists of those: of pixels, then of quads; and the way from a pixel to its row."""
        check("mask", mask, UINT8, 1)
        self._check_only(only, *mask.shape)
        check("firsts", firsts, INT64, 3 * (len(mask) + 1))
        check("quad_firsts", quad_firsts, INT64, 3 * (len(mask) // 2 + 1))
        for list_, count in zip(lists, (*firsts[1:, -1], *quad_firsts[:, -1]), strict=True):
            check("list", list_, INT32, int(count))
        check("pixel_to_row", pixel_to_row, INT32, self._grid)
        return pixel_kernels.select, (mask, *only, firsts, quad_firsts, *lists, pixel_to_row)

    def move(self, flat: Words, start: int, target: int, count: int) -> Call:
        """flat[target : target + count] = what was in flat[start : start + count]; they may overlap."""
        check("flat", flat, self._word, max(start, target) + count)
        return pixel_kernels.move, (flat, start, target, count)

    def clear_border(self, flat: Floats, pitch: int, line: int) -> Call:
        """The border of a map = 0; `line` numbers a pixel, of which a row has `pitch`."""
        check("flat", flat, FLOAT32, 1)
        return pixel_kernels.clear_border, (flat, pitch, line)

    def merge(self, values: Features, kept: Features, wanted: Wanted, differs: Wanted) -> Call:
        """See `merging`; the same rows and columns of all four."""
        if not values.shape[:2] == kept.shape[:2] == wanted.shape == differs.shape or values.dtype != kept.dtype:
            raise ValueError(f"cpu: {kept.dtype} features of {kept.shape} do not fit {values.dtype} {values.shape}.")
        return pixel_kernels.merge_rows, (merging.bits(values), merging.bits(kept), wanted, differs)

    def clear(self, flat: Words) -> Call:
        """flat = 0."""
        check("flat", flat, self._word, 0)
        return pixel_kernels.clear, (flat,)

    def copy(self, target: Words, source: Words) -> Call:
        """target = source, row by row."""
        return copy_rows, (target, source)
