"""Inputs of the kernel tests, and what the kernels compute, in plain NumPy and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from host.device import HostDevice
from numpy.typing import NDArray

from cupy_kernels import Kernels
from vs_smsr.weights import LAYERS, MODULES, Weights, shapes

Floats = NDArray[np.float64]
SIZES = ((2, 2), (8, 16), (10, 34))  # (height, width): one pair of pixels, one window exactly, odd windows
MASKS = ("empty", "full", "random", "corners")
STACKS = ((24, 9, 0, 5), (64, 64, 64, 64), (0, 0, 0, 0))  # dense channels of the layers: mixed, all, none


def kernels(precision: str, arch: int = 80, **more: Any) -> tuple[HostDevice, Kernels]:
    """An emulated device and its kernels."""
    device = HostDevice(arch, **more)
    return device, Kernels(device, precision == "fp16")


def mask(kind: str, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width) of 0 and 1."""
    found = np.zeros((height, width), np.uint8)
    if kind == "full":
        found[:] = 1
    elif kind == "random":
        found[:] = np.random.default_rng(seed).random(found.shape) < 0.4
    elif kind == "corners":
        found[:: height - 1, :: width - 1] = 1
    return found


def image(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """(height, width, 3) 0..255: waves, an edge, noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 20, (height, width, 3))
    values = 128 + 80 * np.sin(x / 5)[..., None] * np.cos(y / 7)[..., None] + noise + 60 * (x > width / 2)[..., None]
    return np.clip(values, 0, 255).astype(np.float32)


def normal(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def network(stack: tuple[int, ...], scale: int = 2, seed: int = 0) -> Weights:
    """Random weights whose features stay near 1, with so many dense channels per layer, scattered."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes(scale).items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 80 if name == "head.0.weight" else 1.4
        tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    for module in range(MODULES):
        logits = tensors[f"body.{module}.body.ch_mask"]
        logits[:] = (0, 1)
        for layer in range(LAYERS):
            dense = rng.permutation(64)[: stack[layer]]
            logits[0, dense, layer] = (1, 0)
    return Weights(scale, tensors)


def rounded(values: NDArray[Any], precision: str) -> Floats:
    """What the kernels see of values that they keep in their own type."""
    return values.astype(np.float16 if precision == "fp16" else np.float32).astype(np.float64)


def conv3(x: NDArray[Any], weight: NDArray[Any]) -> Floats:
    """(H, W, in) by (out, in, 3, 3), zeros outside: (H, W, out)."""
    height, width = x.shape[:2]
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    taps = weight.astype(np.float64)
    return sum(padded[dy : dy + height, dx : dx + width] @ taps[:, :, dy, dx].T for dy in range(3) for dx in range(3))  # type: ignore[return-value]


def listed(active: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int32]]:
    """Pixels y << 16 | x of active and of inactive pixels, each padded to all pixels; the inverse map."""
    lists = []
    for value in (1, 0):
        y, x = np.nonzero(active == value)
        pixels = np.full(active.size, 0xFFFFFFFF, np.uint32)
        pixels[: len(y)] = y.astype(np.uint32) << 16 | x.astype(np.uint32)
        lists.append(pixels)
    inverse = np.where(active.ravel(), np.cumsum(active.ravel(), dtype=np.int64), 0)
    return lists[0], lists[1], inverse.astype(np.int32).reshape(active.shape)


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """dB over 0..255."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)
