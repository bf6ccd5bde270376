"""The emulator itself against NumPy, exact fractions and plain matrix products."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from host import emulator
from host.translate import PtxError, translate
from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("gpp")

KERNELS = Path(__file__).parent / "host" / "kernels"
PLAIN_HALVES = ("-mno-f16c",) if emulator.platform.machine() == "x86_64" else ()  # the conversions written out


def program(name: str, **options: object) -> emulator.Program:
    return emulator.build((KERNELS / name).read_text(), **options)


def floats_of_all_kinds() -> NDArray[np.float32]:
    """Every half, the points half way between two halves and their neighbours, other magnitudes, specials."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = np.sort(halves[np.isfinite(halves)].astype(np.float32))
    middles = (halves[1:] + halves[:-1]) / 2
    around = [np.nextafter(middles, np.float32(side)) for side in (-np.inf, np.inf)]
    rng = np.random.default_rng(0)
    others = rng.integers(0, 1 << 32, 20000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    special = np.array([np.inf, -np.inf, np.nan, 65519.996, 65520, -65520, 1e-30, 0.0, -0.0], np.float32)
    return np.concatenate([halves, middles, *around, others, special]).astype(np.float32)


@pytest.mark.parametrize("flags", [(), PLAIN_HALVES], ids=["f16c", "plain"])
def test_every_half_and_bfloat16_widens_exactly(flags: tuple[str, ...]) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    out, brain_out = np.empty(1 << 16, np.float32), np.empty(1 << 16, np.float32)
    program("numbers.cu", flags=flags).launch("widen", 256, 256, [bits.view(np.float16), out, bits, brain_out])
    np.testing.assert_array_equal(out, bits.view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(brain_out, (bits.astype(np.uint32) << 16).view(np.float32))


@pytest.mark.parametrize("flags", [(), PLAIN_HALVES], ids=["f16c", "plain"])
def test_floats_narrow_to_the_nearest_even(flags: tuple[str, ...]) -> None:
    values = floats_of_all_kinds()
    n = len(values)
    half, pairs, brain, tensor = (np.empty(n, t) for t in (np.float16, np.uint32, np.uint16, np.uint32))
    arguments = [values, half, pairs, brain, tensor, np.int32(n)]
    program("numbers.cu", flags=flags).launch("narrow", -(-n // 256), 256, arguments)
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16)
    np.testing.assert_array_equal(half, wanted)
    np.testing.assert_array_equal(np.signbit(half), np.signbit(wanted))
    low, high = (pairs & 0xFFFF).astype(np.uint16).view(np.float16), (pairs >> 16).astype(np.uint16).view(np.float16)
    np.testing.assert_array_equal(low, wanted)
    np.testing.assert_array_equal(high, wanted[::-1])

    finite = np.isfinite(values) & (np.abs(values) < 3e38)
    for found, digits, ties_even in ((brain.astype(np.uint32) << 16, 8, True), (tensor, 11, False)):
        found_values = found.view(np.float32)[finite].astype(np.float64)
        exact = values[finite].astype(np.float64)
        step = 2.0 ** (np.maximum(np.frexp(exact)[1], -125) - digits)
        rounded = np.rint(exact / step) if ties_even else np.trunc(exact / step + np.copysign(0.5, exact))
        np.testing.assert_array_equal(found_values, rounded * step)


def test_half_arithmetic_rounds_once() -> None:
    rng = np.random.default_rng(1)
    n = 20000
    a, b, c = ((rng.standard_normal(n) * 2.0 ** rng.integers(-12, 6, n)).astype(np.float16) for _ in range(3))
    c[: n // 2] = (a * b)[: n // 2] * np.float16(-1)  # cancellation: a fused operation keeps what rounding drops
    out = np.empty((10, n), np.float16)
    program("numbers.cu").launch("arithmetic", -(-n // 256), 256, [a, b, c, out, np.int32(n)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out[0], a + b)
        np.testing.assert_array_equal(out[1], a - b)
        np.testing.assert_array_equal(out[2], a * b)
        np.testing.assert_array_equal(out[3], a / b)
        np.testing.assert_array_equal(out[5], np.sqrt(np.abs(a)))
    np.testing.assert_array_equal(out[8], np.maximum(a, b))
    np.testing.assert_array_equal(out[9], np.minimum(a, b))
    for row, (x, y, z) in ((4, (a, b, c)), (6, (a, c, b)), (7, (b, c, a))):
        for i in range(0, n, 7):
            exact = Fraction(float(x[i])) * Fraction(float(y[i])) + Fraction(float(z[i]))
            assert_nearest_half(out[row, i], exact)


def assert_nearest_half(found: np.float16, exact: Fraction) -> None:
    """No other half is nearer, and of two equally near ones it is the even one."""
    if not np.isfinite(found):
        assert abs(exact) >= 65520
        return
    error = abs(Fraction(float(found)) - exact)
    for other in (np.nextafter(found, np.float16(np.inf)), np.nextafter(found, np.float16(-np.inf))):
        if np.isfinite(other):
            distance = abs(Fraction(float(other)) - exact)
            assert error < distance or (error == distance and found.view(np.uint16) % 2 == 0), (found, exact)


def test_fused_multiply_add_is_correct_where_double_is_not_enough() -> None:
    """A product of 22 bits and a sum 2^-60 away from a tie: rounding to double first would go the wrong way."""
    a = np.array([1 + 2.0**-10, 2.0**-24], np.float16)  # the product is a tie of halves plus 2^-48
    b = np.array([1.0, -(2.0**-24)], np.float16)
    c = np.array([2.0**11, 2.0**11 + 2], np.float16)
    out = np.empty((10, 2), np.float16)
    program("numbers.cu").launch("arithmetic", 1, 32, [a, b, c, out, np.int32(2)])
    for i in range(2):
        assert_nearest_half(out[4, i], Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i])))


def test_integer_conversions_saturate() -> None:
    values = np.array([0.5, 1.5, -2.5, 3e9, -3e9, 1e20, -1e20, np.nan, 2147483520, -7.9, 4294967040], np.float32)
    n = len(values)
    ints, unsigneds, longs = np.empty(n, np.int32), np.empty(n, np.uint32), np.empty(n, np.int64)
    program("numbers.cu").launch("integers", 1, 32, [values, ints, unsigneds, longs, np.int32(n)])
    exact = np.nan_to_num(values.astype(np.float64))
    np.testing.assert_array_equal(ints, np.clip(np.rint(exact), -(2**31), 2**31 - 1).astype(np.int64))
    np.testing.assert_array_equal(unsigneds, np.clip(np.trunc(exact), 0, 2**32 - 1).astype(np.int64))
    limit = 2**63 - 1
    wanted = [max(-limit - 1, min(limit, int(np.rint(x * 1024)))) for x in exact]
    assert longs.tolist() == wanted


def test_bit_intrinsics() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([[0, 1, 0x80000000, 0xFFFFFFFF], rng.integers(0, 1 << 32, 252)]).astype(np.uint32)
    n = len(values)
    out = np.empty((8, n), np.uint32)
    program("numbers.cu").launch("bits", 1, 256, [values, out, np.int32(n)])
    for i, x in enumerate(map(int, values)):
        text, inverse = f"{x:032b}", ~x & 0xFFFFFFFF
        both = (inverse << 32 | x).to_bytes(8, "little")
        wanted = [
            text.count("1"),
            32 - x.bit_length(),
            (x & -x).bit_length(),
            int(text[::-1], 2),
            int.from_bytes(bytes(both[k] for k in (5, 1, 7, 3)), "little"),
            x * 0x9E3779B9 >> 32,
            (inverse << 32 | x) >> 5 & 0xFFFFFFFF,
            (min(x, 1000) + max(7, x)) & 0xFFFFFFFF,
        ]
        assert out[:, i].tolist() == wanted


@pytest.mark.parametrize("flags", [(), ("-DEMU_UCONTEXT",)], ids=["own switch", "ucontext"])
def test_shuffles(flags: tuple[str, ...]) -> None:
    n = 256
    values = np.random.default_rng(3).integers(0, 100, n, dtype=np.int32)
    out = np.empty((8, n), np.int32)
    program("warps.cu", flags=flags).launch("shuffles", 2, 128, [values, out, np.int32(n)])
    for i in range(n):
        warp, lane = values[i // 32 * 32 : i // 32 * 32 + 32], i % 32
        group = lane // 8 * 8
        wanted = [
            warp[5],
            warp[group + values[i] % 8],
            warp[lane - 3 if lane >= 3 else lane],
            warp[lane - 3 if lane % 16 >= 3 else lane],
            warp[lane + 7 if lane + 7 < 32 else lane],
            warp[lane + 2 if lane % 4 < 2 else lane],
            warp[lane ^ 9],
            warp[lane ^ 17],
        ]
        assert out[:, i].tolist() == wanted


def test_votes_and_reductions() -> None:
    n, block = 256, 64
    values = np.random.default_rng(4).integers(0, 100, n, dtype=np.int32)
    values[64:128] += 1 - (values[64:128] == 2)  # a block without 3s may have them; another has none
    out = np.empty((12, n), np.uint32)
    program("warps.cu").launch("votes", n // block, block, [values, out, np.int32(n)], seed=9)

    def ballot(flags: NDArray[np.bool_]) -> int:
        return sum(1 << k for k in range(32) if flags[k])

    for i in range(n):
        warp, whole = values[i // 32 * 32 :][:32], values[i // block * block :][:block]
        half = np.arange(32) // 16 == i % 32 // 16
        wanted = [
            ballot(warp & 1 != 0),
            int((warp == 3).any()),
            int((warp != 3).all()),
            ballot(warp & 7 == values[i] & 7),
            int(warp.sum()),
            int(warp.min() - 50) & 0xFFFFFFFF,
            int(warp.max()),
            int(np.bitwise_xor.reduce(warp)),
            ballot((warp & 2 != 0) & half),
            int((whole & 1).sum()),
            int((whole == 3).any()),
            int((whole < 99).all()),
        ]
        assert out[:, i].tolist() == wanted


def test_atomics() -> None:
    values = np.random.default_rng(5).integers(-1000, 1000, 512, dtype=np.int32)
    ints, unsigneds = np.zeros(7, np.int32), np.zeros(2, np.uint32)
    longs, floats = np.zeros(1, np.int64), np.zeros(1, np.float32)
    program("warps.cu").launch("atomics", 4, 128, [values, ints, unsigneds, longs, floats])
    ors = int(np.bitwise_or.reduce(1 << (values.astype(np.int64) & 31)))
    ors -= (ors >> 31) << 32
    wanted = [values.sum(), values.max(), values.min(), ors, np.bitwise_xor.reduce(values), -values.sum(), 2 * 512]
    assert ints.tolist() == [int(x) for x in wanted]
    ticks = [0, 0]
    for _ in range(512):
        ticks = [0 if ticks[0] >= 6 else ticks[0] + 1, 6 if ticks[1] in (0, 7) else ticks[1] - 1]
    assert unsigneds.tolist() == ticks
    assert longs[0] == int(values.sum()) << 32
    assert floats[0] == values.sum()


def test_every_thread_runs_once_in_an_order_that_the_seed_chooses() -> None:
    turns = []
    for seed in (1, 2, 2):
        ticket, turn, times = np.zeros(1, np.uint32), np.zeros(720, np.uint32), np.zeros(720, np.uint32)
        program("warps.cu").launch("order", (3, 2), (10, 12), [ticket, turn, times], seed=seed)
        assert times.tolist() == [1] * 720
        assert sorted(turn.tolist()) == list(range(720))
        turns.append(turn.astype(int))
    assert (turns[0] != turns[1]).mean() > 0.9
    np.testing.assert_array_equal(turns[1], turns[2])
    within = turns[0].reshape(6, 120)
    assert (np.diff(within, axis=1) < 0).any(axis=1).all(), "threads run out of their numbers' order in each block"
    assert (np.diff(within.min(axis=1)) < 0).any(), "blocks run out of their numbers' order"


def test_shared_memory_is_poisoned_for_every_block() -> None:
    for seed, poison in ((1, 0xCDCDCDCD), (2, 0xFFFFFFFF)):
        fixed, dynamic = np.zeros(256, np.uint32), np.zeros(256, np.uint32)
        program("warps.cu").launch("stale", 4, 64, [fixed, dynamic], shared_bytes=256, seed=seed)
        assert (fixed == poison).all()
        assert (dynamic == poison).all()


@pytest.mark.parametrize("depth", [16, 8])
@pytest.mark.parametrize("kind", ["halves", "brains"])
def test_mma_of_16_bit_types_is_a_matrix_product(kind: str, depth: int) -> None:
    rng = np.random.default_rng(depth)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, depth), (depth, 8), (16, 8)))
    if kind == "halves":
        left, right = a.astype(np.float16), b.astype(np.float16)
        wide_left, wide_right = left.astype(np.float64), right.astype(np.float64)
    else:
        left, right = ((x.view(np.uint32) >> 16).astype(np.uint16) for x in (a, b))
        wide_left, wide_right = ((x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for x in (left, right))
    d = np.full((16, 8), np.nan, np.float32)
    arguments = [left.view(np.uint16), right.view(np.uint16), c, d]
    program("tensors.cu").launch(f"{kind}_{depth}", 1, 32, arguments)
    np.testing.assert_allclose(d, wide_left @ wide_right + c, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [8, 4])
def test_mma_of_tf32_is_a_matrix_product(depth: int) -> None:
    rng = np.random.default_rng(depth)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, depth), (depth, 8), (16, 8)))
    d = np.full((16, 8), np.nan, np.float32)
    program("tensors.cu").launch(f"tensor_floats_{depth}", 1, 32, [a.view(np.uint32), b.view(np.uint32), c, d])
    short = [(x.view(np.uint32) & ~np.uint32(0x1FFF)).view(np.float32).astype(np.float64) for x in (a, b)]
    np.testing.assert_allclose(d, short[0] @ short[1] + c, rtol=0, atol=1e-5)


def test_ldmatrix_gives_every_lane_its_elements() -> None:
    rows = np.arange(256, dtype=np.uint16).reshape(32, 8)
    out = np.empty((14, 32), np.uint32)
    program("tensors.cu").launch("matrices", 1, 32, [rows, out])
    matrices = rows.reshape(4, 8, 8)
    register = 0
    for count in (1, 2, 4):
        for transposed in (False, True):
            for m in range(count):
                matrix = matrices[m].T if transposed else matrices[m]
                pairs = matrix.reshape(32, 2).astype(np.uint32)
                np.testing.assert_array_equal(out[register], pairs[:, 0] | pairs[:, 1] << 16)
                register += 1


def test_cp_async_sizes_and_zero_fill() -> None:
    data = np.arange(1024, dtype=np.uint8) | 1
    out = np.zeros_like(data)
    program("copies.cu").launch("sizes", 1, 32, [data, out])
    wanted = data.reshape(32, 32).copy()
    wanted[:, 11:16] = 0
    wanted[::2, 16:] = 0
    np.testing.assert_array_equal(out.reshape(32, 32), wanted)


@pytest.mark.parametrize("seed", [1, 2])
def test_cp_async_lands_only_when_its_group_is_waited_for(seed: int) -> None:
    data = np.arange(12, dtype=np.uint32)
    out = np.zeros((8, 3, 12), np.uint32)
    program("copies.cu").launch("groups", 1, 8, [data, out], shared_bytes=8 * 48, seed=seed)
    poison = 0xCDCDCDCD if seed % 2 else 0xFFFFFFFF
    for waited in range(3):
        landed = 4 * (waited + 1)
        assert (out[:, waited, :landed] == data[:landed]).all()
        assert (out[:, waited, landed:] == poison).all()


class TestLaunch:
    """What is refused before a kernel runs."""

    floats = np.zeros(8, np.float32)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([5], "argument 4 must be a NumPy int32, got int"),
            ([np.int64(5)], "argument 4 must be a NumPy int32, got int64 scalar"),
            ([np.float32(5)], "argument 4 must be a NumPy int32, got float32 scalar"),
            ([], "takes 5 arguments, got 4"),
            ([np.zeros(1, np.int32)], "argument 4 must be a NumPy int32, got ndarray"),
        ],
    )
    def test_numbers_of_another_type(self, arguments: list[object], message: str) -> None:
        halves = [np.zeros(8, np.float16)] * 4
        with pytest.raises(emulator.LaunchError, match=message):
            program("numbers.cu").launch("arithmetic", 1, 8, [*halves, *arguments])

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros(8, np.float64), "must have dtype float32, got float64"),
            (np.zeros((8, 2), np.float32)[:, 0], "must be C-contiguous"),
            (np.zeros(33, np.uint8)[1:].view(np.float32), "must be aligned to 4 bytes"),
            (np.float32(0), "must be an array"),
        ],
    )
    def test_arrays_that_do_not_fit(self, array: object, message: str) -> None:
        rest = [np.zeros(8, t) for t in (np.float16, np.uint32, np.uint16, np.uint32)]
        with pytest.raises(emulator.LaunchError, match=message):
            program("numbers.cu").launch("narrow", 1, 8, [array, *rest, np.int32(8)])

    def test_an_output_that_cannot_be_written(self) -> None:
        out = np.zeros(8, np.float16)
        out.flags.writeable = False
        rest = [np.zeros(8, t) for t in (np.uint32, np.uint16, np.uint32)]
        with pytest.raises(emulator.LaunchError, match="argument 1 is written by the kernel"):
            program("numbers.cu").launch("narrow", 1, 8, [self.floats, out, *rest, np.int32(8)])

    def test_more_threads_than_the_launch_bounds(self) -> None:
        text = 'extern "C" __global__ void __launch_bounds__(2 * 32, 4) small(int *out) { out[threadIdx.x] = 1; }'
        built = emulator.build(text)
        built.launch("small", 1, 64, [np.zeros(64, np.int32)])
        with pytest.raises(emulator.LaunchError, match="1 to 64 threads, got 65"):
            built.launch("small", 1, 65, [np.zeros(65, np.int32)])

    def test_too_much_shared_memory_and_an_unknown_kernel(self) -> None:
        with pytest.raises(emulator.LaunchError, match="at most 227 KiB"):
            program("warps.cu").launch("order", 1, 32, [np.zeros(32, np.uint32)] * 3, shared_bytes=233 * 1024)
        with pytest.raises(emulator.LaunchError, match="no such kernel"):
            program("warps.cu").launch("ordre", 1, 32, [])


class TestTranslate:
    """asm statements that must not slip through."""

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ('asm("mov.b32 %0, %2;" : "=r"(x) : "r"(y));', "no operand %2"),
            ('asm("mov.b32 %0, %1;" : "=q"(x) : "r"(y));', "constraint '=q' is not known"),
            ('asm("mov.b32 %0, blob;" : "=r"(x));', "'blob' is not understood"),
        ],
    )
    def test_bad_text(self, statement: str, message: str) -> None:
        with pytest.raises(PtxError, match=message):
            translate(f"EMU_KERNEL_TEXT_BEGINS void f() {{ {statement} }}")

    @pytest.mark.parametrize(
        "statement",
        [
            'asm("mov.b64 %0, %1;" : "=l"(x) : "l"(y));',  # an instruction that ptx.h does not have
            'asm("mov.b32 %0, %1;" : "=r"(x) : "f"(y));',  # a float register as an integer operand
            'asm("mov.b32 %0, %1;" : "=r"(x) : "l"(y));',  # 64 bits where 32 belong
            'asm("mov.b32 %0, %0;" : "=r"(x) : "r"(y));',  # reads what it only writes
            'asm("mov.b32 %1, %0;" : "=r"(x) : "r"(y));',  # writes what it only reads
        ],
    )
    def test_wrong_operands_do_not_compile(self, statement: str) -> None:
        with pytest.raises(emulator.BuildError):
            emulator.build(
                f'extern "C" __global__ void k(int *o) {{ unsigned x = 0, y = 1; {statement} o[0] = x + y; }}'
            )

    def test_errors_point_to_the_line_of_the_kernel(self) -> None:
        text = '#line 7 "mine.cu"\nextern "C" __global__ void k(int *out) {\n    *out = undeclared;\n}\n'
        with pytest.raises(emulator.BuildError, match=r"mine\.cu:8:"):
            emulator.build(text)
