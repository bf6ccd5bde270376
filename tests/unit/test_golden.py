"""Results of the shipped weights, bit for bit: hashes of what an earlier version made, in every way that there is.

The hashes of fp32 are those of every instruction set. New weights change them: then record them anew from a checkout
whose other tests pass, and say so in the commit. So does another order of adding. Those of bf16 need AVX-512 BF16: no
such machine was at hand to record them since the order last changed, and nothing is held to them until one is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from vs_smsr.engine.contract import Frame
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.weights import load, shipped

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden.json").read_text())
PRECISIONS = ["fp32"]
SIZES = ((64, 96), (53, 75))


def picture(height: int, width: int, seed: int) -> Frame:
    """(height, width, 3) float32 of whole numbers 0..255: ramps, squares and a flat part."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    channels = []
    for c in range(3):
        ramp = (x * (3 + c) + y * (5 - c)) // 2
        squares = ((x // 7 + y // 5 + c + seed) % 2) * 90
        channels.append((ramp + squares + (x * y * (seed + 3)) % 23) % 256)
    made = np.stack(channels, -1)
    made[: height // 3, : width // 2] = (40 + 20 * seed, 90, 130)
    return made.astype(np.float32)


def clip() -> list[Frame]:
    """Something moves, one frame repeats, the last one is another scene."""
    frames = [picture(66, 102, 1)]
    for n in range(1, 5):
        frame = frames[-1].copy()
        if n != 2:
            frame[40:48, 10 * n : 10 * n + 8] = (250 - 30 * n, 20 * n, 60)
        frames.append(frame)
    return [*frames, 255 - frames[0]]


def digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def engine(scale: int, precision: str) -> CpuEngine:
    return CpuEngine(load(shipped(scale)), precision=precision)


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_frames(scale: int, precision: str, tile: int):
    tiler = Tiler(engine(scale, precision), TilingOptions(tile=tile))
    for size in SIZES:
        result = tiler.upscale(picture(*size, 0))
        way = f"x{scale} {precision} {'tiled' if tile else 'whole'} {size}"
        assert digest(result.frame, *result.masks, *result.attention) == GOLDEN[way], way


@pytest.mark.parametrize(
    ("attention", "reuse", "tile"),
    [
        ("frame", "exact", 0),
        ("frame", "off", 0),
        ("held", "exact", 0),
        ("held", "exact", 32),
        ("held", "off", 0),
        ("held", "near:4", 0),
        ("auto", "exact", 0),
        ("auto", "off", 0),
    ],
)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_clips(scale: int, precision: str, attention: str, reuse: str, tile: int):
    options = TilingOptions(attention=attention, reuse=reuse, tile=tile)
    sequence = Sequence(Tiler(engine(scale, precision), options))
    way = f"x{scale} {precision} clip {attention} {reuse} tile {tile}"
    assert digest(*[sequence.upscale(frame).frame for frame in clip()]) == GOLDEN[way], way
