"""The register-blocked heart of every convolution: a few pixels times a few vectors of output channels.

One LLVM intrinsic does all the multiplying. Pixels are addressed through offsets, so an arbitrary set of pixels costs
the same per pixel as a full frame, and the sum of a pixel never depends on which pixels it shares a block with:
the results are bit-equal for every tile, list order and thread count.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


@intrinsic
def contract(
    typingctx: Any,
    lanes: Any,  # literals: float32 lanes of a vector, vectors, pixels, 1 for bf16 pairs
    vectors: Any,
    pixels: Any,
    bf16: Any,
    tile: Any,  # float32*: pixel p's sums start at tile[p * tile_stride]; added to
    tile_stride: Any,
    blocks: Any,  # how many times `pixels` there are
    groups: Any,  # how many times `vectors * lanes` output channels there are
    source: Any,  # T*: T = float32, or uint32 holding two bf16 channels
    offsets: Any,  # int64*: offsets[tap * offset_stride + p] = element of the source where pixel p's channels start
    offset_stride: Any,
    taps: Any,
    channels: Any,  # channels (pairs for bf16) per tap
    weights: Any,  # T*: [group][tap][channel][vectors * lanes]
    weight_offsets: Any,  # int64*: element within a group where a tap starts
    group_stride: Any,  # elements of a group
) -> Any:
    """tile[p, o] += sum over taps and channels of source[offsets[tap, p] + c] * weights[tap, c, o], in that order."""
    literals = (lanes, vectors, pixels, bf16)
    if not all(isinstance(value, types.IntegerLiteral) for value in literals):
        return None
    n_lanes, n_vectors, n_pixels, is_bf16 = (value.literal_value for value in literals)
    i64 = types.int64
    arrays = (tile, i64, i64, i64, source, offsets, i64, i64, i64, weights, weight_offsets, i64)
    signature = types.void(*literals, *arrays)
    vector = ir.VectorType(F32, n_lanes)
    word = I32 if is_bf16 else F32
    word_vector = ir.VectorType(word, n_lanes)
    pairs = ir.VectorType(I16, 2 * n_lanes)
    width = n_vectors * n_lanes
    cells = [(p, v) for p in range(n_pixels) for v in range(n_vectors)]

    def constant(value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def load(b: ir.IRBuilder, base: Any, element: int, kind: Any) -> Any:
        return b.load(b.bitcast(b.gep(base, [constant(element)]), kind.as_pointer()), align=4)

    def multiply_add(b: ir.IRBuilder, sums: Any, value: Any, weight: Any) -> Any:
        if not is_bf16:
            kind = ir.FunctionType(vector, [vector] * 3)
            return b.call(
                cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{n_lanes}f32"), [value, weight, sums]
            )
        kind = ir.FunctionType(vector, [vector, pairs, pairs])
        dot = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.avx512bf16.dpbf16ps.{32 * n_lanes}")
        return b.call(dot, [sums, b.bitcast(value, pairs), b.bitcast(weight, pairs)])

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        tile, tile_stride, blocks, groups, source, offsets, offset_stride, taps, channels = args[4:13]
        weights, weight_offsets, group_stride = args[13:]
        spread = ir.Constant(ir.VectorType(I32, n_lanes), [0] * n_lanes)
        undefined = ir.Constant(word_vector, ir.Undefined)
        sums = {cell: cgutils.alloca_once(b, vector) for cell in cells}
        with cgutils.for_range(b, groups, intp=I64) as group, cgutils.for_range(b, blocks, intp=I64) as block:
            first = b.mul(block.index, constant(n_pixels))
            corner = b.add(b.mul(first, tile_stride), b.mul(group.index, constant(width)))
            rows = [b.gep(tile, [b.add(corner, b.mul(constant(p), tile_stride))]) for p in range(n_pixels)]
            group_weights = b.gep(weights, [b.mul(group.index, group_stride)])
            for p, v in cells:
                b.store(load(b, rows[p], v * n_lanes, vector), sums[p, v])
            with cgutils.for_range(b, taps, intp=I64) as tap:
                places = b.gep(offsets, [b.add(b.mul(tap.index, offset_stride), first)])
                starts = [b.gep(source, [b.load(b.gep(places, [constant(p)]))]) for p in range(n_pixels)]
                tap_weights = b.gep(group_weights, [b.load(b.gep(weight_offsets, [tap.index]))])
                with cgutils.for_range(b, channels, intp=I64) as channel:
                    line = b.gep(tap_weights, [b.mul(channel.index, constant(width))])
                    loaded = [load(b, line, v * n_lanes, word_vector) for v in range(n_vectors)]
                    for p in range(n_pixels):
                        value = b.load(b.gep(starts[p], [channel.index]))
                        value = b.shuffle_vector(
                            b.insert_element(undefined, value, ir.Constant(I32, 0)), undefined, spread
                        )
                        for v in range(n_vectors):
                            b.store(multiply_add(b, b.load(sums[p, v]), value, loaded[v]), sums[p, v])
            for p, v in cells:
                target = b.bitcast(b.gep(rows[p], [constant(v * n_lanes)]), vector.as_pointer())
                b.store(b.load(sums[p, v]), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def pointer(typingctx: Any, array: Any, index: Any) -> Any:
    """Address of array[index] of a flat array."""
    signature = types.CPointer(array.dtype)(array, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return b.gep(context.make_array(sig.args[0])(context, b, args[0]).data, [args[1]])

    return signature, codegen


@intrinsic
def fetch_add(typingctx: Any, array: Any, index: Any, amount: Any) -> Any:
    """Atomically add to array[index] of a flat int64 array; returns the value before."""
    signature = types.int64(array, types.int64, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        cell = b.gep(context.make_array(sig.args[0])(context, b, args[0]).data, [args[1]])
        return b.atomic_rmw("add", cell, args[2], "monotonic")

    return signature, codegen


WIDE = ir.VectorType(F32, 16)  # LLVM splits it where registers are narrower


def _wide(b: ir.IRBuilder, base: Any, element: Any, kind: Any = WIDE) -> Any:
    return b.bitcast(b.gep(base, [element]), kind.as_pointer())


def _each_wide(b: ir.IRBuilder, count: Any) -> Any:
    """Loop over the elements of a row, 16 at a time."""
    return cgutils.for_range_slice(b, ir.Constant(I64, 0), count, ir.Constant(I64, 16), intp=I64)


@intrinsic
def copy(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """target[i] = source[i] for `count` float32."""
    signature = types.void(target, source, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        cgutils.raw_memcpy(b, args[0], args[1], args[2], 4, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def relu(typingctx: Any, row: Any, count: Any) -> Any:
    """row[i] = max(row[i], 0) for `count` float32, a multiple of 16."""
    signature = types.void(row, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        zero = ir.Constant(WIDE, [0.0] * 16)
        with _each_wide(b, args[1]) as (i, _):
            place = _wide(b, args[0], i)
            value = b.load(place, align=4)
            b.store(b.select(b.fcmp_ordered(">", value, zero), value, zero), place, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scale_add(typingctx: Any, target: Any, row: Any, scales: Any, added: Any, count: Any) -> Any:
    """target[i] = row[i] * scales[i] + added[i] for `count` float32, a multiple of 16."""
    signature = types.void(target, row, scales, added, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        target, row, scales, added, count = args
        fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(WIDE, [WIDE] * 3), "llvm.fma.v16f32")
        with _each_wide(b, count) as (i, _):
            operands = [b.load(_wide(b, place, i), align=4) for place in (row, scales, added)]
            b.store(b.call(fma, operands), _wide(b, target, i), align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_fixed(typingctx: Any, sums: Any, row: Any, unit: Any, count: Any) -> Any:
    """sums[i] += rint(row[i] * unit) as int64 for `count` channels, a multiple of 16; exact in any order."""
    signature = types.void(sums, row, types.float32, types.int64)
    integers = ir.VectorType(I64, 16)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        sums, row, unit, count = args
        rint = cgutils.get_or_insert_function(b.module, ir.FunctionType(WIDE, [WIDE]), "llvm.rint.v16f32")
        units = b.insert_element(ir.Constant(WIDE, ir.Undefined), unit, ir.Constant(I32, 0))
        units = b.shuffle_vector(units, ir.Constant(WIDE, ir.Undefined), ir.Constant(ir.VectorType(I32, 16), [0] * 16))
        with _each_wide(b, count) as (i, _):
            whole = b.fptosi(b.call(rint, [b.fmul(b.load(_wide(b, row, i), align=4), units)]), integers)
            place = _wide(b, sums, i, integers)
            b.store(b.add(b.load(place, align=8), whole), place, align=8)
        return context.get_dummy_value()

    return signature, codegen
