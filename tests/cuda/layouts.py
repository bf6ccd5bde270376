"""Layouts of luma and chroma that stand for all: types, subsamplings, sitings, ranges."""

from __future__ import annotations

import numpy as np

from vs_smsr.engine.picture import Layout, Picture, Sampling

# Rows of BT.709 for 8 bits in limited range, made of the luma weights of H.273 by hand.
RED, BLUE = 0.2126, 0.0722
LUMA = np.array([RED, 1 - RED - BLUE, BLUE])
ROWS = np.stack([
    219 / 255 * LUMA,
    112 / 255 / (1 - BLUE) * (np.array([0, 0, 1]) - LUMA),
    112 / 255 / (1 - RED) * (np.array([1, 0, 0]) - LUMA),
])  # fmt: skip


def layout(kind: str, bits: int, across: tuple[int, int] = (0, 0), down: tuple[int, int] = (0, 0)) -> Layout:
    """Of BT.709 in limited range; across and down are (shift, first)."""
    unit = 2 ** (bits - 8)
    rows = np.column_stack([unit * ROWS, [16 * unit, 128 * unit, 128 * unit]])[: 3 if kind == "yuv" else 1]
    encoding = tuple(tuple(map(float, row)) for row in rows)
    dtype = "uint8" if bits == 8 else "uint16"
    assert kind in ("yuv", "grey")
    return Layout(kind, dtype, 2**bits - 1, encoding, Sampling(*across), Sampling(*down))  # type: ignore[arg-type]


LAYOUTS = {
    "420 left": layout("yuv", 8, (1, 0), (1, 1)),
    "420 centre": layout("yuv", 8, (1, 1), (1, 1)),
    "420 bottom, 10 bit": layout("yuv", 10, (1, 0), (1, 2)),
    "422, 12 bit": layout("yuv", 12, (1, 0)),
    "440, 16 bit": layout("yuv", 16, (0, 0), (1, 0)),
    "411": layout("yuv", 8, (2, 0)),
    "410 centre": layout("yuv", 8, (2, 3), (2, 3)),
    "444": layout("yuv", 8),
    "grey": layout("grey", 8),
    "grey, 16 bit": layout("grey", 16),
}


def random_picture(layout: Layout, height: int, width: int, seed: int = 0) -> Picture:
    """Any codes at all."""
    rng = np.random.default_rng(seed)
    shapes = layout.shapes(height, width)
    return Picture(tuple(rng.integers(0, layout.peak + 1, shape).astype(layout.dtype) for shape in shapes), layout)
