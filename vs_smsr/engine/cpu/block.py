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
    source: Any,  # T*: T = float32, or uint32 holding two bf16 channels
    offsets: Any,  # int64*: offsets[tap * offset_stride + p] = element of the source where pixel p's channels start
    offset_stride: Any,
    taps: Any,
    channels: Any,  # channels (pairs for bf16) per tap
    weights: Any,  # T*: weights[weight_offsets[tap] + (channel * vectors * lanes)...]
    weight_offsets: Any,  # int64*
) -> Any:
    """tile[p, o] += sum over taps and channels of source[offsets[tap, p] + c] * weights[tap, c, o], in that order."""
    literals = (lanes, vectors, pixels, bf16)
    if not all(isinstance(value, types.IntegerLiteral) for value in literals):
        return None
    n_lanes, n_vectors, n_pixels, is_bf16 = (value.literal_value for value in literals)
    i64 = types.int64
    signature = types.void(*literals, tile, i64, source, offsets, i64, i64, i64, weights, weight_offsets)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        tile, tile_stride, source, offsets, offset_stride, taps, channels, weights, weight_offsets = args[4:]
        vector = ir.VectorType(F32, n_lanes)
        pair_vector = ir.VectorType(ir.IntType(16), 2 * n_lanes)
        word = I32 if is_bf16 else F32
        spread = ir.Constant(ir.VectorType(I32, n_lanes), [0] * n_lanes)

        def constant(value: int) -> ir.Constant:
            return ir.Constant(I64, value)

        def load_vector(pointer: Any, kind: Any) -> Any:
            return b.load(b.bitcast(pointer, ir.VectorType(kind, n_lanes).as_pointer()), align=4)

        def sum_pointer(p: int, v: int) -> Any:
            start = b.mul(constant(p), tile_stride)
            return b.bitcast(b.gep(tile, [b.add(start, constant(v * n_lanes))]), vector.as_pointer())

        def multiply_add(sums: Any, value: Any, weight: Any) -> Any:
            if not is_bf16:
                fma = ir.FunctionType(vector, [vector] * 3)
                return b.call(
                    cgutils.get_or_insert_function(b.module, fma, f"llvm.fma.v{n_lanes}f32"), [value, weight, sums]
                )
            dot = ir.FunctionType(vector, [vector, pair_vector, pair_vector])
            name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * n_lanes}"
            operands = [sums, b.bitcast(value, pair_vector), b.bitcast(weight, pair_vector)]
            return b.call(cgutils.get_or_insert_function(b.module, dot, name), operands)

        cells = [(p, v) for p in range(n_pixels) for v in range(n_vectors)]
        sums = {cell: cgutils.alloca_once(b, vector) for cell in cells}
        for cell in cells:
            b.store(b.load(sum_pointer(*cell), align=4), sums[cell])
        with cgutils.for_range(b, taps, intp=I64) as tap:
            row = b.gep(offsets, [b.mul(tap.index, offset_stride)])
            starts = [b.gep(source, [b.load(b.gep(row, [constant(p)]))]) for p in range(n_pixels)]
            line_of_tap = b.gep(weights, [b.load(b.gep(weight_offsets, [tap.index]))])
            with cgutils.for_range(b, channels, intp=I64) as channel:
                line = b.gep(line_of_tap, [b.mul(channel.index, constant(n_vectors * n_lanes))])
                loaded = [load_vector(b.gep(line, [constant(v * n_lanes)]), word) for v in range(n_vectors)]
                undefined = ir.Constant(ir.VectorType(word, n_lanes), ir.Undefined)
                for p in range(n_pixels):
                    value = b.insert_element(undefined, b.load(b.gep(starts[p], [channel.index])), ir.Constant(I32, 0))
                    value = b.shuffle_vector(value, undefined, spread)
                    for v in range(n_vectors):
                        cell = sums[p, v]
                        b.store(multiply_add(b.load(cell), value, loaded[v]), cell)
        for cell in cells:
            b.store(b.load(sums[cell]), sum_pointer(*cell), align=4)
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
