"""Is what the cuda engine computes right, and does it keep to its memory?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine import Overrides, cuda
from vs_smsr.engine.contract import Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights

Frame = NDArray[np.float32]


def picture(height: int, width: int, seed: int = 0) -> Frame:
    """(height, width, 3) 0..255: smooth ground, edges, and texture in a third of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = (
        128 + 60 * np.sin(x / 97)[..., None] * np.cos(y / 71)[..., None] + 40 * ((x // 160 + y // 120) % 2)[..., None]
    )
    texture = rng.normal(0, 25, (height, width, 3)) * (y > height * 2 / 3)[..., None]
    return np.clip(base + texture, 0, 255).astype(np.float32)


def correctness(weights: Weights, engine: cuda.CudaEngine, frame: Frame) -> dict[str, Any]:
    """Against the cpu engine: masks, and pixels with the masks given; the same bits twice."""
    wanted = CpuEngine(weights).upscale(frame)
    got, again = engine.upscale(frame), engine.upscale(frame)
    given = engine.upscale(frame, Overrides(masks=wanted.masks))
    flips = sum(int((a != b).sum()) for a, b in zip(got.masks, wanted.masks, strict=True))
    error = float(np.abs(given.frame - wanted.frame).max())
    same = np.array_equal(got.frame, again.frame)
    quality = psnr(got, wanted)
    share = flips / (len(engine.weights.spec.blocks) * frame.shape[0] * frame.shape[1])
    limit = 1e-5 if engine.precision == "fp32" else 1e-3
    close = error < 0.02 if engine.precision == "fp32" else quality > 50
    return {
        "precision": engine.precision,
        "largest_difference_same_masks": error,
        "psnr": quality,
        "flipped_share": share,
        "same_bits_twice": same,
        "passed": bool(close and share <= limit and same),
    }


def tiled(engine: cuda.CudaEngine, frame: Frame, side: int = 96) -> dict[str, Any]:
    """Tiles against the whole frame: every bit, masks and attention included."""
    whole = engine.upscale(frame)
    tiles = Tiler(engine, TilingOptions(tile=side)).upscale(frame)
    different = int((whole.frame != tiles.frame).sum())
    flips = sum(int((a != b).sum()) for a, b in zip(whole.masks, tiles.masks, strict=True))
    return {
        "precision": engine.precision,
        "different_values": different,
        "flips": flips,
        "passed": not different + flips,
    }


def memory(engine: cuda.CudaEngine, size: tuple[int, int]) -> dict[str, Any]:
    """What the weights and one frame take, as allocated, beside what was counted for the planner: as a hard limit."""
    counted = engine.memory.in_use() + engine.memory.workspace(*size)
    engine.memory.limit(counted)
    try:
        engine.upscale(picture(*size))
        held = engine.memory.held()
    except MemoryBudgetError:
        held = counted + 1
    finally:
        engine.memory.limit(0)
    return {
        "input": f"{size[1]}x{size[0]}",
        "precision": engine.precision,
        "counted_mb": counted / 2**20,
        "held_mb": held / 2**20,
        "passed": held <= counted,
    }


def psnr(a: Upscaled, b: Upscaled) -> float:
    error = float(np.mean((a.frame.astype(np.float64) - b.frame) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
