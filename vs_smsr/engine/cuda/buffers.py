"""The device memory that a frame or window takes, by name; the planner counts the same table."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from cupy_kernels import geometry
from cupy_kernels.geometry import CHANNELS, LAYERS
from vs_smsr.engine.picture import MOST_NUMBERS
from vs_smsr.families import DynamicChannels, NetworkSpec

Buffers = dict[str, tuple[tuple[int, ...], DTypeLike]]


def buffers(spec: NetworkSpec, height: int, width: int, half: bool) -> Buffers:
    """Name -> shape and dtype of everything that a frame of this size needs; the engine allocates exactly this."""
    element = np.float16 if half else np.float32
    area, features, blocks = height * width, (height, width, CHANNELS), len(spec.blocks)
    masks = blocks + bool(spec.upsampling)  # where it has none of its own, all pixels are active
    return {
        "frame": ((height, width, 3), np.float32),
        "head": (features, element),
        "high": (features, element),
        "low": (features if half else (0, 0, 0), element),
        "collected": (features, element),
        "fused low": (features if half and not spec.collect else (0, 0, 0), element),
        "layers": ((LAYERS * area * CHANNELS,), element),
        "pooled": ((height // 2, width // 2, geometry.MASK_CHANNELS), np.float32),
        "partial": ((geometry.select_blocks(area),), np.int32),
        "active": ((area,), np.uint32),
        "inactive": ((area,), np.uint32),
        "inverse": ((height, width), np.int32),
        "counts": ((len(spec.masks), 2), np.int32),
        "sums": ((blocks, LAYERS, CHANNELS), np.int64),
        "feature sums": ((CHANNELS,), np.int64),
        "decoding": ((MOST_NUMBERS,), np.float32),
        "encoding": ((MOST_NUMBERS,), np.float32),
        "out": ((spec.scale * height, spec.scale * width, 3), np.float32),
        **{
            f"larger{number}": ((height << number + 1, width << number + 1, CHANNELS), element)
            for number in range(len(spec.upsampling))
        },
        **{
            f"weights{number}": ((geometry.block_bytes(len(block.layers), half),), np.uint8)
            for number, block in enumerate(spec.blocks)
            if isinstance(block.channel_mask, DynamicChannels)
        },
        **{f"mask{block}": ((height, width), np.uint8) for block in range(masks)},
        **{f"scales{block}": ((CHANNELS,), np.float32) for block in range(blocks)},
    }


def bytes_for(spec: NetworkSpec, height: int, width: int, half: bool) -> int:
    """Device memory for a frame of this size."""
    sizes = (
        math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in buffers(spec, height, width, half).values()
    )
    return sum(map(geometry.allocated, sizes))
