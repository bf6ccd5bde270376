"""What each kernel computes, in plain NumPy and float64; maps are (H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def conv3(source: NDArray[Any], weight: NDArray[Any]) -> Doubles:
    """(H, W, in) with (out, in, 3, 3) to (H, W, out), zeros outside."""
    height, width = source.shape[:2]
    padded = np.pad(source.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    result = np.zeros((height, width, len(weight)))
    for dy in range(3):
        for dx in range(3):
            result += padded[dy : dy + height, dx : dx + width] @ weight[:, :, dy, dx].astype(np.float64).T
    return result


def conv3_terms(source: NDArray[Any], weight: NDArray[Any]) -> Doubles:
    """The sums of the terms' absolute values: what a rounding error of conv3 is relative to."""
    return conv3(np.abs(source.astype(np.float64)), np.abs(weight))


def mean2x2(source: Doubles) -> Doubles:
    height, width, channels = source.shape
    return source.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def transposed_conv3(source: Doubles, weight: NDArray[Any]) -> Doubles:
    """(H, W, in) with (in, out, 3, 3), stride 2, padding 1, output padding 1, to (2H, 2W, out)."""
    height, width = source.shape[:2]
    full = np.zeros((2 * height + 1, 2 * width + 1, weight.shape[1]))
    for dy in range(3):
        for dx in range(3):
            full[dy : dy + 2 * height : 2, dx : dx + 2 * width : 2] += source @ weight[:, :, dy, dx].astype(np.float64)
    return full[1:, 1:]


def pixel_shuffle(source: Doubles, scale: int) -> Doubles:
    """(H, W, C * scale * scale) to (scale * H, scale * W, C)."""
    height, width, channels = source.shape
    split = source.reshape(height, width, channels // scale**2, scale, scale)
    return split.transpose(0, 3, 1, 4, 2).reshape(height * scale, width * scale, -1)


def bicubic(frame: NDArray[Any], scale: int) -> Doubles:
    """Keys' cubic with a = -0.75, pixel centres aligned, edges repeated (what PyTorch calls align_corners=False)."""

    def along_rows(image: Doubles) -> Doubles:
        size = len(image)
        centres = (np.arange(size * scale) + 0.5) / scale - 0.5
        result = np.zeros((size * scale, *image.shape[1:]))
        for tap in range(-1, 3):
            place = np.floor(centres).astype(int) + tap
            factor = _keys(np.abs(centres - place))
            result += factor[:, None, None] * image[np.clip(place, 0, size - 1)]
        return result

    down = along_rows(frame.astype(np.float64))
    return along_rows(down.transpose(1, 0, 2)).transpose(1, 0, 2)


def _keys(distance: Doubles, a: float = -0.75) -> Doubles:
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
