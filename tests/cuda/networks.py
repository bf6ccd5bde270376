"""Small networks and frames for the engine tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vs_smsr.families import NetworkSpec, smsr
from vs_smsr.families.smsr import CHANNELS, LAYERS, MODULES
from vs_smsr.weights import Weights

MIXED, ALL, NONE = (24, 9, 0, 5), (64, 64, 64, 64), (0, 0, 0, 0)  # dense channels of the four layers


def network(stack: tuple[int, ...] = MIXED, scale: int = 2, seed: int = 0) -> Weights:
    """Random weights whose features stay near 1, with so many dense channels per layer, scattered."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in smsr.spec(scale).shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 80 if name == "head.0.weight" else 1.4
        tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    for module in range(MODULES):
        logits = tensors[f"body.{module}.body.ch_mask"]
        logits[:] = (0, 1)
        for layer in range(LAYERS):
            logits[0, rng.permutation(CHANNELS)[: stack[layer]], layer] = (1, 0)
    return Weights(smsr.spec(scale), tensors)


def shortened(spec: NetworkSpec, blocks: int = 3) -> NetworkSpec:
    """The same kinds of blocks, few of them: tests are quick."""
    collect = spec.collect and (replace(spec.collect[0], inputs=blocks * spec.width), spec.collect[1])
    return replace(spec, blocks=spec.blocks[:blocks], collect=collect)


def weights_of(spec: NetworkSpec, seed: int = 0) -> Weights:
    """Random numbers under which masks are mixed and the network's part in the picture is large."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in spec.shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 15 if name == f"{spec.head[0].name}.weight" else 1.4 / fan_in**0.5 if len(shape) > 1 else 0.3
        tensors[name] = rng.normal(0, 1 if name.endswith("ch_mask") else gain, shape).astype(np.float32)
        if name.endswith("spa_mask.5.bias"):
            tensors[name][:] = 0
    return Weights(spec, tensors)


def image(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """(height, width, 3) 0..255: waves, an edge, noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 20, (height, width, 3))
    values = 128 + 80 * np.sin(x / 5)[..., None] * np.cos(y / 7)[..., None] + noise + 60 * (x > width / 2)[..., None]
    return np.clip(values, 0, 255).astype(np.float32)


def moving(first: NDArray[np.float32], brighter: float = 30) -> list[NDArray[np.float32]]:
    """The frame (H, W, 3) and two more, on which a square moves that is so much brighter."""
    clip = [first]
    for n in range(2):
        following = clip[-1].copy()
        following[12 + 4 * n : 20 + 4 * n, 20:28] += brighter
        clip.append(np.clip(following, 0, 255))
    return clip


def masks(share: float, height: int, width: int) -> tuple[NDArray[np.uint8], ...]:
    """Five random masks with that share of active pixels."""
    rng = np.random.default_rng(5)
    return tuple((rng.random((height, width)) < share).astype(np.uint8) for _ in range(MODULES))


def psnr(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """dB over 0..255."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
