"""The small code around the multiplying, as LLVM intrinsics: words that are moved, lines of channels that are changed.

Lines are of float32, or of bf16 pairs: 32-bit words of two channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from vs_smsr.engine.compiled import cgutils, intrinsic, types

MAGIC = 1.5 * 2.0**52  # a double of this size has steps of 1
I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


class BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


@intrinsic
def pointer(typingctx: Any, array: Any, index: Any) -> Any:
    """Address of array[index] of a flat array, or of one that is contiguous as if it were."""
    signature = types.CPointer(array.dtype)(array, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return b.gep(context.make_array(sig.args[0])(context, b, args[0]).data, [args[1]])

    return signature, codegen


@intrinsic
def atomic_add(typingctx: Any, array: Any, index: Any, amount: Any) -> Any:
    """Atomically add to array[index] of a flat int64 array; returns the value before.

    Who adds after others sees what they wrote before they added.
    """
    signature = types.int64(array, types.int64, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        cell = b.gep(context.make_array(sig.args[0])(context, b, args[0]).data, [args[1]])
        return b.atomic_rmw("add", cell, args[2], "acq_rel")

    return signature, codegen


@intrinsic
def copy(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """target[i] = source[i] for `count` words of the same type, a multiple of 4."""
    signature = types.void(target, source, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        _copy(b, *args)
        return context.get_dummy_value()

    return signature, codegen


def _copy(b: ir.IRBuilder, target: Any, source: Any, count: Any) -> None:
    """Vectors, since for a few lines a call of memcpy takes longer than what it does."""
    begin = ir.Constant(I64, 0)
    for words in (16, 4):
        kind, end = ir.VectorType(I32, words), b.and_(count, ir.Constant(I64, -words))
        with cgutils.for_range_slice(b, begin, end, ir.Constant(I64, words), intp=I64) as (i, _):
            b.store(b.load(_cast(b, source, i, kind), align=4), _cast(b, target, i, kind), align=4)
        begin = end


@intrinsic
def shift(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """target[i] = source[i] for `count` words of the same type, where the two may overlap."""
    signature = types.void(target, source, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        cgutils.raw_memmove(b, *args, 4, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def eight_bytes(typingctx: Any, place: Any) -> Any:
    """Eight bytes as one uint64, wherever they lie."""
    signature = types.uint64(place)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return b.load(b.bitcast(args[0], I64.as_pointer()), align=1)

    return signature, codegen


@intrinsic
def fetch(typingctx: Any, place: Any, count: Any) -> Any:
    """Ask memory for `count` words to be read or written some microseconds from now: they come while others multiply.

    No processor asks by itself, early enough, for what does not lie in a row.
    """
    signature = types.void(place, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        ask = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        to_read, second_level, data = (ir.Constant(I32, value) for value in (0, 2, 1))
        with _each(b, args[1], 16) as (i, _):
            b.call(ask, [b.bitcast(b.gep(args[0], [i]), byte), to_read, second_level, data])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def store_channels(typingctx: Any, target: Any, row: Any, count: Any) -> Any:
    """Store `count` float32 as float32 or, if target is uint32*, as bf16 pairs (nearest, ties to even)."""
    signature = types.void(target, row, types.int64)
    narrow = is_bf16(target)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        target, row, count = args
        if not narrow:
            _copy(b, target, row, count)
            return context.get_dummy_value()
        target = b.bitcast(target, I16.as_pointer())
        for i, lanes in _vectors(b, count):
            floats = b.load(_cast(b, row, i, ir.VectorType(F32, lanes)), align=4)
            halves = ir.VectorType(BFloat(), lanes)
            b.store(b.fptrunc(floats, halves), _cast(b, target, i, halves), align=2)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def load_channels(typingctx: Any, row: Any, source: Any, count: Any) -> Any:
    """The way back from `store_channels`: `count` float32 from float32, or from bf16 pairs if source is uint32*."""
    signature = types.void(row, source, types.int64)
    narrow = is_bf16(source)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        row, source, count = args
        if not narrow:
            _copy(b, row, source, count)
            return context.get_dummy_value()
        for i, lanes in _vectors(b, count):
            b.store(_load(b, source, i, lanes), _cast(b, row, i, ir.VectorType(F32, lanes)), align=4)
        return context.get_dummy_value()

    return signature, codegen


def is_bf16(pointer_type: Any) -> bool:
    """Rows of float32 are float32*, rows of bf16 are uint32* (pairs)."""
    return bool(pointer_type.dtype == types.uint32)


def _all(kind: ir.Type, lanes: int, value: float) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def _cast(b: ir.IRBuilder, base: Any, element: Any, kind: Any) -> Any:
    return b.bitcast(b.gep(base, [element]), kind.as_pointer())


def _each(b: ir.IRBuilder, count: Any, step: int) -> Any:
    return cgutils.for_range_slice(b, ir.Constant(I64, 0), count, ir.Constant(I64, step), intp=I64)


def _vectors(b: ir.IRBuilder, count: Any) -> Iterator[tuple[Any, int]]:
    """Code for all of `count` channels, a multiple of 8: the loop bodies, each with its index and number of lanes."""
    whole = b.and_(count, ir.Constant(I64, -16))
    for begin, end, lanes in ((ir.Constant(I64, 0), whole, 16), (whole, count, 8)):
        with cgutils.for_range_slice(b, begin, end, ir.Constant(I64, lanes), intp=I64) as (i, _):
            yield i, lanes


def _load(b: ir.IRBuilder, source: Any, element: Any, lanes: int) -> Any:
    """A vector of float32 from float32*, or from the bf16 pairs of uint32*."""
    if source.type.pointee == F32:
        return b.load(_cast(b, source, element, ir.VectorType(F32, lanes)), align=4)
    halves = b.bitcast(source, I16.as_pointer())
    half = b.load(_cast(b, halves, element, ir.VectorType(I16, lanes)), align=2)
    bits = b.shl(b.zext(half, ir.VectorType(I32, lanes)), _all(I32, lanes, 16))
    return b.bitcast(bits, ir.VectorType(F32, lanes))


@intrinsic
def relu(typingctx: Any, row: Any, count: Any) -> Any:
    """row[i] = max(row[i], 0) for `count` float32, a multiple of 8."""
    signature = types.void(row, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        for i, lanes in _vectors(b, args[1]):
            place, zero = _cast(b, args[0], i, ir.VectorType(F32, lanes)), _all(F32, lanes, 0.0)
            value = b.load(place, align=4)
            b.store(b.select(b.fcmp_ordered(">", value, zero), value, zero), place, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def leaky_relu(typingctx: Any, row: Any, slope: Any, count: Any) -> Any:
    """row[i] *= slope where it is not above 0, for `count` float32, a multiple of 8."""
    signature = types.void(row, types.float32, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        row, slope, count = args
        for i, lanes in _vectors(b, count):
            place, zero = _cast(b, row, i, ir.VectorType(F32, lanes)), _all(F32, lanes, 0.0)
            undefined = ir.Constant(ir.VectorType(F32, lanes), ir.Undefined)
            one = b.insert_element(undefined, slope, ir.Constant(I32, 0))
            slopes = b.shuffle_vector(one, undefined, _all(I32, lanes, 0))
            value = b.load(place, align=4)
            b.store(b.select(b.fcmp_ordered(">", value, zero), value, b.fmul(value, slopes)), place, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scale_add(typingctx: Any, target: Any, row: Any, scales: Any, added: Any, count: Any) -> Any:
    """target[i] = row[i] * scales[i] + added[i] for `count` channels; row and added are float32*, or lines of bf16."""
    signature = types.void(target, row, scales, added, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        target, row, scales, added, count = args
        for i, lanes in _vectors(b, count):
            vector = ir.VectorType(F32, lanes)
            name = f"llvm.fma.v{lanes}f32"
            fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(vector, [vector] * 3), name)
            operands = [_load(b, place, i, lanes) for place in (row, scales, added)]
            b.store(b.call(fma, operands), _cast(b, target, i, vector), align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_to_indices(typingctx: Any, target: Any, source: Any, offset: Any, count: Any) -> Any:
    """target[i] = source[i] + offset for `count` int64, an even number."""
    signature = types.void(target, source, types.int64, types.int64)
    vector = ir.VectorType(I64, 2)  # LLVM joins them where registers are wider

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        target, source, offset, count = args
        undefined = ir.Constant(vector, ir.Undefined)
        indirection = b.shuffle_vector(
            b.insert_element(undefined, offset, ir.Constant(I32, 0)), undefined, _all(I32, 2, 0)
        )
        with _each(b, count, 2) as (i, _):
            b.store(
                b.add(b.load(_cast(b, source, i, vector), align=8), indirection), _cast(b, target, i, vector), align=8
            )
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def square(typingctx: Any, row: Any, count: Any) -> Any:
    """row[i] = row[i]**2 for `count` float32, a multiple of 8."""
    signature = types.void(row, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        for i, lanes in _vectors(b, args[1]):
            place = _cast(b, args[0], i, ir.VectorType(F32, lanes))
            value = b.load(place, align=4)
            b.store(b.fmul(value, value), place, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_fixed(typingctx: Any, sums: Any, rows: Any, unit: Any, count: Any, channels: Any) -> Any:
    """sums[i] += rows[p][i] * unit as int64, the nearest (ties to even), for `count` rows of `channels`, by eights.

    Exact in any order. |rows[p][i] * unit| must be below 2**51: there a double that MAGIC is added to holds the integer
    in its lower bits, and few processors convert vectors to int64. unit is a power of two, so products are exact.
    """
    signature = types.void(sums, rows, types.float32, types.int64, types.int64)
    floats, doubles, integers = (ir.VectorType(kind, 8) for kind in (F32, ir.DoubleType(), I64))

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        sums, rows, unit, count, channels = args
        undefined = ir.Constant(doubles, ir.Undefined)
        one = b.insert_element(undefined, b.fpext(unit, ir.DoubleType()), ir.Constant(I32, 0))
        units, magic = b.shuffle_vector(one, undefined, _all(I32, 8, 0)), _all(ir.DoubleType(), 8, MAGIC)
        fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(doubles, [doubles] * 3), "llvm.fma.v8f64")
        total = cgutils.alloca_once(b, integers)
        with _each(b, channels, 8) as (i, _):
            place = _cast(b, sums, i, integers)
            b.store(b.load(place, align=8), total)
            with _each(b, count, 1) as (p, _):
                line = _cast(b, rows, b.add(b.mul(p, channels), i), floats)
                bits = b.bitcast(b.call(fma, [b.fpext(b.load(line, align=4), doubles), units, magic]), integers)
                b.store(b.add(b.load(total), b.sub(bits, b.bitcast(magic, integers))), total)
            b.store(b.load(total), place, align=8)
        return context.get_dummy_value()

    return signature, codegen
