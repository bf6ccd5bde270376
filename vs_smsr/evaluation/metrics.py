"""PSNR and SSIM on luma, as the super-resolution literature (and BasicSR) reports them; all in float64."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.options import require

LUMA = np.array([65.481, 128.553, 24.966]) / 255  # BT.601, from RGB 0..255 to Y 16..235
PEAK = 255.0
WINDOW, SIGMA = 11, 1.5  # SSIM's Gaussian window

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]


def luma(rgb: NDArray[Any]) -> Plane:
    """(H, W, 3) RGB 0..255 -> (H, W) float64, Y of BT.601 with limited range (16..235), not rounded.

    Source: ITU-R BT.601; the coefficients are those of MATLAB's rgb2ycbcr.
    """
    result: Plane = rgb.astype(np.float64) @ LUMA + 16
    return result


def psnr(first: Pixels, second: Pixels, border: int) -> float:
    """Peak signal-to-noise ratio of two images on Y, in dB; infinite if they are equal.

    Args:
        first, second: (H, W, 3) uint8 RGB of one shape.
        border: pixels left out on every side; benchmarks take the scale.
    Raises:
        OptionError: the shapes differ, or the border leaves nothing.
    """
    a, b = _inner_luma("psnr", first, second, border, 1)
    error = float(np.mean((a - b) ** 2))
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def ssim(first: Pixels, second: Pixels, border: int) -> float:
    """Mean structural similarity of two images on Y; 1 if they are equal.

    Args:
        first, second: (H, W, 3) uint8 RGB of one shape.
        border: pixels left out on every side; benchmarks take the scale.
    Raises:
        OptionError: the shapes differ, or the border leaves less than the 11x11 window.
    Source:
        Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
        2004: Gaussian window of 11x11 with sigma 1.5, K = (0.01, 0.03), only windows that lie inside the image.
    """
    a, b = _inner_luma("ssim", first, second, border, WINDOW)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _windowed(a), _windowed(b)
    variance_a = _windowed(a * a) - mean_a**2
    variance_b = _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(likeness / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))))


def _inner_luma(where: str, first: Pixels, second: Pixels, border: int, least: int) -> tuple[Plane, Plane]:
    require(first.shape == second.shape, where, "second", f"of the shape {first.shape}", second.shape)
    require(first.ndim == 3 and first.shape[2] == 3, where, "first", "(H, W, 3) RGB", first.shape)
    height, width = first.shape[0] - 2 * border, first.shape[1] - 2 * border
    large = border >= 0 and min(height, width) >= least
    require(large, where, "first", f"at least {least}x{least} without a border of {border}", first.shape)
    inner = (slice(border, border + height), slice(border, border + width))
    return luma(first[inner]), luma(second[inner])


def _windowed(plane: Plane) -> Plane:
    """Gaussian means over all windows that lie inside the plane."""
    edge = WINDOW // 2
    blurred: Plane = cv2.GaussianBlur(plane, (WINDOW, WINDOW), SIGMA)
    return blurred[edge:-edge, edge:-edge]
