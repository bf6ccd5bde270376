"""3x3 convolutions of four neighbouring pixels at a time with 16 multiplications in place of 36.

Winograd's F(2x2, 3x3): outputs = A'[(G g G') * (B'dB)]A for a quad (2x2 outputs) and the patch d (4x4 inputs) it reads.
The products over channels, 16 of them ("points"), are matrix products; what is here goes before and after them.
An output's sum takes its own 3x3 inputs only, whatever lies beside them: it is the same bits in every tile.

Source: A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016, section 4.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from vs_smsr.engine.compiled import cgutils, intrinsic, types
from vs_smsr.engine.cpu.vectors import F32, I16, I32, I64, BFloat, is_bf16

POINTS = 16  # of a quad
PATCH = 4  # pixels, the side of what a quad reads
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # G


def transformed(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(outputs, inputs, 3, 3) -> (outputs, inputs, 4, 4) weights of the points."""
    both_ways = np.kron(_KERNEL, _KERNEL).T  # one product for all, not one for each pair of channels
    points = weight.reshape(-1, 9).astype(np.float64) @ both_ways
    return points.reshape(*weight.shape[:2], 4, 4).astype(np.float32)


@intrinsic
def patch_to_points(
    typingctx: Any,
    lanes: Any,  # literal: float32 lanes of a vector
    points: Any,  # T*: point k's channels start at points[k * point_stride]; T as for the source, or float32
    point_stride: Any,
    source: Any,  # T*: T = float32, or uint32 holding two bf16 channels
    places: Any,  # int64*: element of the source where the channels of each of the patch's 16 pixels start, row by row
    channels: Any,  # a multiple of 8
) -> Any:
    """points = B' patch B, channel by channel; float32 inside."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    signature = types.void(lanes, points, types.int64, source, places, types.int64)
    from_bf16, to_bf16 = is_bf16(source), is_bf16(points)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        points, point_stride, source, places, channels = args[1:]
        pixels = [b.gep(source, [b.load(b.gep(places, [ir.Constant(I64, p)]))]) for p in range(PATCH * PATCH)]

        def load(place: Any, lanes: int) -> Any:
            if not from_bf16:
                return b.load(b.bitcast(place, ir.VectorType(F32, lanes).as_pointer()), align=4)
            half = b.load(b.bitcast(place, ir.VectorType(I16, lanes).as_pointer()), align=4)
            wide = ir.VectorType(I32, lanes)
            return b.bitcast(b.shl(b.zext(half, wide), ir.Constant(wide, [16] * lanes)), ir.VectorType(F32, lanes))

        def store(value: Any, place: Any, lanes: int) -> None:
            kind = ir.VectorType(BFloat() if to_bf16 else F32, lanes)
            value = b.fptrunc(value, kind) if to_bf16 else value
            b.store(value, b.bitcast(place, kind.as_pointer()), align=4)

        def step(channel: Any, lanes: int) -> None:
            word = b.udiv(channel, ir.Constant(I64, 2)) if from_bf16 else channel
            loaded = [load(b.gep(pixel, [word]), lanes) for pixel in pixels]
            patch = [loaded[y : y + PATCH] for y in range(0, PATCH * PATCH, PATCH)]
            done = _transposed(map(_before(b), _transposed(map(_before(b), patch))))
            target = b.gep(points, [b.udiv(channel, ir.Constant(I64, 2)) if to_bf16 else channel])
            for k in range(POINTS):
                place = b.gep(target, [b.mul(point_stride, ir.Constant(I64, k))])
                store(done[k // PATCH][k % PATCH], place, lanes)

        _over(b, lanes.literal_value, channels, step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def points_to_quad(
    typingctx: Any,
    lanes: Any,  # literal: float32 lanes of a vector
    quad: Any,  # float32*: pixel p's channels start at quad[p * channels]; p = 2 * row + column
    sums: Any,  # float32*: point k's channels start at sums[k * point_stride]
    point_stride: Any,
    bias: Any,  # float32*
    slope: Any,  # 0..1, of the leaky relu: 0 is a relu, 1 none
    channels: Any,  # a multiple of 4
) -> Any:
    """quad = act(A' sums A + bias), channel by channel."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    signature = types.void(lanes, quad, sums, types.int64, bias, types.float32, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        quad, sums, point_stride, bias, slope, channels = args[1:]

        def step(channel: Any, lanes: int) -> None:
            kind = ir.VectorType(F32, lanes).as_pointer()
            undefined = ir.Constant(ir.VectorType(F32, lanes), ir.Undefined)
            one = b.insert_element(undefined, slope, ir.Constant(I32, 0))
            slopes = b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))

            def at(base: Any, stride: Any, index: int) -> Any:
                return b.bitcast(b.gep(base, [b.add(channel, b.mul(stride, ir.Constant(I64, index)))]), kind)

            values = [
                [b.load(at(sums, point_stride, PATCH * y + x), align=4) for x in range(PATCH)] for y in range(PATCH)
            ]
            done = _transposed(map(_after(b), _transposed(map(_after(b), values))))
            added = b.load(at(bias, channels, 0), align=4)
            for p in range(4):
                value = b.fadd(done[p // 2][p % 2], added)
                falling = b.fmul(value, slopes)
                b.store(b.select(b.fcmp_ordered(">", value, falling), value, falling), at(quad, channels, p), align=4)

        _over(b, lanes.literal_value, channels, step)
        return context.get_dummy_value()

    return signature, codegen


def _before(b: ir.IRBuilder) -> Any:
    """A row of B': four values to four."""
    return lambda d: [b.fsub(d[0], d[2]), b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[1], d[3])]


def _after(b: ir.IRBuilder) -> Any:
    """A row of A': four values to two."""
    return lambda m: [b.fadd(b.fadd(m[0], m[1]), m[2]), b.fsub(b.fsub(m[1], m[2]), m[3])]


def _transposed(rows: Any) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _over(b: ir.IRBuilder, most: int, channels: Any, step: Any) -> None:
    """Run `step` over all channels, `most` at a time (more would not fit the registers), and what is left by fewer."""
    begin = ir.Constant(I64, 0)
    for lanes in (lanes for lanes in (16, 8, 4) if lanes <= most):
        end = b.and_(channels, ir.Constant(I64, -lanes))
        with cgutils.for_range_slice(b, begin, end, ir.Constant(I64, lanes), intp=I64) as (channel, _):
            step(channel, lanes)
        begin = end
