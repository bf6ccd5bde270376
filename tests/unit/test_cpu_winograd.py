"""Winograd's transforms: they make the 3x3 convolution, and each output of its own nine inputs alone."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from vs_smsr.engine.cpu.isa import ISAS, Isa, supported
from vs_smsr.engine.cpu.packing import to_bf16
from vs_smsr.engine.cpu.vectors import pointer
from vs_smsr.engine.cpu.winograd import patch_to_points, points_to_quad, transformed

LANES = 8


@njit
def run_before(points, patch, places, channels, words):
    patch_to_points(LANES, pointer(points, 0), words, pointer(patch, 0), pointer(places, 0), channels)


@njit
def run_after(quad, sums, bias, slope, channels):
    points_to_quad(LANES, pointer(quad, 0), pointer(sums, 0), channels, pointer(bias, 0), slope, channels)


def quad_of(patch: np.ndarray, weight: np.ndarray, bias: np.ndarray, slope: float) -> np.ndarray:
    """(4, 4, inputs) -> (2, 2, outputs), activated, through points; the products over channels by NumPy."""
    inputs, outputs = patch.shape[2], weight.shape[0]
    points = np.full(16 * inputs, np.nan, np.float32)
    run_before(points, patch.ravel(), np.arange(16) * inputs, inputs, inputs)
    sums = np.einsum("kc,ock->ko", points.reshape(16, inputs), transformed(weight).reshape(outputs, inputs, 16))
    quad = np.full(4 * outputs, np.nan, np.float32)
    run_after(quad, sums.astype(np.float32).ravel(), bias, np.float32(slope), outputs)
    return quad.reshape(2, 2, outputs)


@pytest.mark.parametrize(("inputs", "outputs", "slope"), [(64, 64, 0), (24, 12, 1), (8, 4, 0.1), (40, 28, 1)])
def test_a_quad_is_the_convolution_of_its_patch(inputs: int, outputs: int, slope: float) -> None:
    rng = np.random.default_rng(inputs)
    patch, weight = rng.standard_normal((4, 4, inputs)), rng.standard_normal((outputs, inputs, 3, 3))
    patch, weight = patch.astype(np.float32), weight.astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    result = quad_of(patch, weight, bias, slope)
    exact = patch.astype(np.float64)
    for y in range(2):
        for x in range(2):
            expected = np.einsum("yxc,ocyx->o", exact[y : y + 3, x : x + 3], weight) + bias
            expected = np.where(expected > 0, expected, slope * expected)
            assert np.abs(result[y, x] - expected).max() < 1e-4
            others = rng.standard_normal((4, 4, inputs)).astype(np.float32)
            others[y : y + 3, x : x + 3] = patch[y : y + 3, x : x + 3]
            assert np.array_equal(quad_of(others, weight, bias, slope)[y, x], result[y, x]), "depends on other pixels"


def bf16_patch() -> np.ndarray:
    """(4, 4, 32) pairs of bf16 channels."""
    return to_bf16(np.random.default_rng(0).standard_normal((4, 4, 64)).astype(np.float32)).view(np.uint32)


def points_of(patch: np.ndarray) -> np.ndarray:
    """(16 * 64,) float32 points of (4, 4, words)."""

    @njit
    def run(points, patch, places):
        patch_to_points(LANES, pointer(points, 0), 64, pointer(patch, 0), pointer(places, 0), 64)

    points = np.empty(16 * 64, np.float32)
    run(points, patch.ravel(), np.arange(16) * patch.shape[2])
    return points


def test_lines_of_bf16_to_float32_points() -> None:
    bits = bf16_patch()
    floats = (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(points_of(bits), points_of(floats))


@pytest.mark.skipif("avx512bf16" not in supported(), reason="needs a processor with AVX-512 BF16")
def test_lines_of_bf16_to_bf16_points() -> None:
    rounded = np.empty(16 * 32, np.uint32)

    @njit
    def run(points, patch, places):
        patch_to_points(LANES, pointer(points, 0), 32, pointer(patch, 0), pointer(places, 0), 64)

    run(rounded, bf16_patch().ravel(), np.arange(16) * 32)
    assert np.array_equal(rounded.view(np.uint16), to_bf16(points_of(bf16_patch())))


@pytest.mark.parametrize("isa", ISAS.values(), ids=ISAS)
def test_any_width_is_whole_register_blocks(isa: Isa) -> None:
    """A network's channels and a mask branch's lie in maps without gaps, so no sum may be wasted on them."""
    for outputs in range(8, 264, 8):
        assert outputs % isa.shape(outputs).width == 0, outputs
        assert not isa.bf16 or outputs % isa.shape(outputs, pairs=True).width == 0, outputs
        loose = isa.shape(outputs, loose=True)
        assert -(-outputs // loose.width) * loose.width < outputs + 16
