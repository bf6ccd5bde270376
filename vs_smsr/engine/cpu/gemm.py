"""The micro-kernel of every convolution: an indirect GEMM of a few pixels by a few vectors of output channels.

One LLVM intrinsic does all the multiplying. Pixels are addressed through an indirection buffer, so an arbitrary set of
pixels costs the same per pixel as a full frame, and the sum of a pixel never depends on which pixels it shares a
register tile with: results are bit-equal for every tile, list order and thread count.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from vs_smsr.engine.compiled import cgutils, intrinsic, types
from vs_smsr.engine.cpu.vectors import F32, I16, I32, I64

FP32, BF16 = 0, 1  # multiply float32; multiply bf16 pairs
MORE, NEW = 0, 1
UNROLL = 4  # words of a line handled without a jump


@intrinsic
def indirect_gemm(
    typingctx: Any,
    lanes: Any,  # literals: float32 lanes of a vector, vectors, pixels
    vectors: Any,
    pixels: Any,
    mode: Any,  # literal: FP32 or BF16
    fresh: Any,  # literal: NEW, the sums begin at zero; or MORE, at what the tile holds
    tile: Any,  # float32*: pixel p's sums start at tile[p * tile_stride]
    tile_stride: Any,
    blocks: Any,  # how many times `pixels` there are
    groups: Any,  # how many times `vectors * lanes` output channels there are
    source: Any,  # T*: T = float32 (FP32), or uint32 holding two bf16 channels (BF16)
    indirection: Any,  # int64*: [tap * indirection_stride + p] = element of the source where pixel p's channels start
    indirection_stride: Any,
    taps: Any,
    words: Any,  # T per tap: channels, or pairs of channels
    weights: Any,  # [group][tap][word][vectors * lanes] T
    weight_offsets: Any,  # int64*: element within a group where a tap starts
    group_stride: Any,  # elements of a group
) -> Any:
    """tile[p, o] (+)= sum over taps, then channels, of source[indirection[tap, p] + c] * weights[tap, c, o]."""
    literals = (lanes, vectors, pixels, mode, fresh)
    if not all(isinstance(value, types.IntegerLiteral) for value in literals):
        return None
    n_lanes, n_vectors, n_pixels, the_mode, is_fresh = (value.literal_value for value in literals)
    i64 = types.int64
    arrays = (tile, i64, i64, i64, source, indirection, i64, i64, i64, weights, weight_offsets, i64)
    signature = types.void(*literals, *arrays)
    vector = ir.VectorType(F32, n_lanes)
    word = F32 if the_mode == FP32 else I32
    word_vector = ir.VectorType(word, n_lanes)
    pairs = ir.VectorType(I16, 2 * n_lanes)
    width = n_vectors * n_lanes
    cells = [(p, v) for p in range(n_pixels) for v in range(n_vectors)]

    def constant(value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def load(b: ir.IRBuilder, base: Any, element: int, kind: Any) -> Any:
        return b.load(b.bitcast(b.gep(base, [constant(element)]), kind.as_pointer()), align=4)

    def multiply_add(b: ir.IRBuilder, sums: Any, value: Any, weight: Any) -> Any:
        if the_mode != BF16:
            kind = ir.FunctionType(vector, [vector] * 3)
            return b.call(
                cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{n_lanes}f32"), [value, weight, sums]
            )
        kind = ir.FunctionType(vector, [vector, pairs, pairs])
        dot = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.avx512bf16.dpbf16ps.{32 * n_lanes}")
        return b.call(dot, [sums, b.bitcast(value, pairs), b.bitcast(weight, pairs)])

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        tile, tile_stride, blocks, groups, source, indirection, indirection_stride, taps, words = args[5:14]
        weights, weight_offsets, group_stride = args[14:]
        spread = ir.Constant(ir.VectorType(I32, n_lanes), [0] * n_lanes)
        undefined = ir.Constant(word_vector, ir.Undefined)
        sums = {cell: cgutils.alloca_once(b, vector) for cell in cells}

        def one_word(b: ir.IRBuilder, index: Any, starts: list[Any], tap_weights: Any) -> None:
            line = b.gep(tap_weights, [b.mul(index, constant(width))])
            loaded = [load(b, line, v * n_lanes, word_vector) for v in range(n_vectors)]
            for p in range(n_pixels):
                one = b.insert_element(undefined, b.load(b.gep(starts[p], [index])), ir.Constant(I32, 0))
                value = b.shuffle_vector(one, undefined, spread)
                for v in range(n_vectors):
                    b.store(multiply_add(b, b.load(sums[p, v]), value, loaded[v]), sums[p, v])

        with cgutils.for_range(b, groups, intp=I64) as group, cgutils.for_range(b, blocks, intp=I64) as block:
            first = b.mul(block.index, constant(n_pixels))
            corner = b.add(b.mul(first, tile_stride), b.mul(group.index, constant(width)))
            rows = [b.gep(tile, [b.add(corner, b.mul(constant(p), tile_stride))]) for p in range(n_pixels)]
            group_weights = b.gep(weights, [b.mul(group.index, group_stride)])
            for p, v in cells:
                start = ir.Constant(vector, [0.0] * n_lanes) if is_fresh else load(b, rows[p], v * n_lanes, vector)
                b.store(start, sums[p, v])
            with cgutils.for_range(b, taps, intp=I64) as tap:
                places = b.gep(indirection, [b.add(b.mul(tap.index, indirection_stride), first)])
                starts = [b.gep(source, [b.load(b.gep(places, [constant(p)]))]) for p in range(n_pixels)]
                tap_weights = b.gep(group_weights, [b.load(b.gep(weight_offsets, [tap.index]))])
                whole = b.and_(words, constant(-UNROLL))
                for begin, end, step in ((constant(0), whole, UNROLL), (whole, words, 1)):
                    with cgutils.for_range_slice(b, begin, end, constant(step), intp=I64) as (index, _):
                        for i in range(step):
                            one_word(b, b.add(index, constant(i)), starts, tap_weights)
            for p, v in cells:
                target = b.bitcast(b.gep(rows[p], [constant(v * n_lanes)]), vector.as_pointer())
                b.store(b.load(sums[p, v]), target, align=4)
        return context.get_dummy_value()

    return signature, codegen
