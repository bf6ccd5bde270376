"""Pictures of where the network works: masks over the frame, reused regions and tiles, sparsity over time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Mask
from vs_smsr.engine.window import Window
from vs_smsr.tiling.reuse import Changed
from vs_smsr.weights import Weights

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
ACTIVE, REUSED, GRID = (255, 96, 0), (40, 110, 255), (255, 255, 255)
COLOURS = ((214, 64, 69), (230, 159, 0), (0, 140, 100), (0, 114, 200), (140, 80, 170))  # of blocks, again and again
INK, PAPER, LINE = (40, 40, 40), (255, 255, 255), (215, 215, 215)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def mask_overlay(frame: Frame, mask: Mask, zoom: int = 1) -> Picture:
    """The frame in grey, its active pixels in colour. frame (H, W, 3) 0..255, mask at least (H, W)."""
    height, width = frame.shape[:2]
    grey = frame.mean(axis=2, keepdims=True) * 0.75 + 32
    tinted = grey * 0.45 + np.array(ACTIVE, np.float32) * 0.55
    picture = np.where(mask[:height, :width, None] != 0, tinted, grey)
    return _enlarged(np.clip(picture, 0, 255).astype(np.uint8), zoom)


def work_overlay(
    frame: Frame, masks: Sequence[Mask], computed: Changed, tiles: Sequence[Window], zoom: int = 2
) -> Picture:
    """Active pixels (the more SMMs the stronger), reused regions in blue, tiles as white lines."""
    height, width = frame.shape[:2]
    share = np.mean([mask[:height, :width] for mask in masks], axis=0, dtype=np.float32)[..., None]
    base = frame.mean(axis=2, keepdims=True) * 0.8 + 24
    picture = base * (1 - 0.65 * share) + np.array(ACTIVE, np.float32) * 0.65 * share
    kept = ~computed[:height, :width, None]
    picture = np.where(kept, base * 0.6 + np.array(REUSED, np.float32) * 0.4, picture)
    large = _enlarged(np.clip(picture, 0, 255).astype(np.uint8), zoom)
    edges, _ = cv2.findContours(_enlarged(kept[..., 0].astype(np.uint8), zoom), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(large, edges, -1, REUSED, 1)
    for tile in tiles:
        cv2.rectangle(
            large, (tile.left * zoom, tile.top * zoom), (tile.right * zoom - 1, tile.bottom * zoom - 1), GRID, 1
        )
    return large


def channel_chart(weights: Weights) -> Picture:
    """A row for each layer of each SMM, a square for each channel: filled if it is dense."""
    side, left, top, gap = 14, 120, 46, 14
    spec = weights.spec
    rows = sum(len(block.layers) for block in spec.blocks)
    picture = _paper(top + rows * side + len(spec.blocks) * gap + 10, left + spec.width * side + 90)
    _write(picture, "dense channels (filled) are computed everywhere, sparse ones at active pixels only", (left, 24))
    y = top
    for number, block in enumerate(spec.blocks):
        for layer in range(len(block.layers)):
            dense = weights.dense_channels(number, layer)
            _write(picture, f"SMM {number + 1}, layer {layer + 1}", (8, y + side - 3), 0.38)
            for channel in range(len(dense)):
                x = left + channel * side
                cv2.rectangle(picture, (x, y), (x + side - 3, y + side - 3), LINE, 1)
                if dense[channel]:
                    cv2.rectangle(picture, (x, y), (x + side - 3, y + side - 3), _colour(number), cv2.FILLED)
            _write(picture, f"{int(dense.sum())} of {len(dense)}", (left + spec.width * side + 8, y + side - 3), 0.38)
            y += side
        y += gap
    return picture


def sparsity_chart(sparsity: Sequence[Sequence[float]], reused: Sequence[float]) -> Picture:
    """Skipped (pixel, channel) positions of each SMM and reused pixels, frame after frame; each 0..1."""
    height, width, left, top = 320, 760, 60, 40
    picture = _paper(height + top + 50, width + left + 150)
    for percent in range(0, 101, 20):
        y = top + height - height * percent // 100
        cv2.line(picture, (left, y), (left + width, y), LINE, 1)
        _write(picture, f"{percent}%", (14, y + 5), 0.42)
    count = len(sparsity)
    for n in sorted({0, count // 4, count // 2, 3 * count // 4, count - 1}):
        _write(picture, str(n), (left + width * n // max(count - 1, 1) - 6, top + height + 22), 0.42)
    _write(picture, "frame", (left + width // 2 - 20, top + height + 42), 0.42)
    _write(picture, "skipped work of each SMM, and pixels reused from the frame before", (left, 24))
    lines = [
        ([frame[block] for frame in sparsity], _colour(block), f"SMM {block + 1}") for block in range(len(sparsity[0]))
    ]
    lines.append((list(reused), INK, "reused"))
    for row, (values, colour, name) in enumerate(lines):
        across = [left + width * n // max(count - 1, 1) for n in range(count)]
        points = [(x, top + height - round(height * value)) for x, value in zip(across, values, strict=True)]
        cv2.polylines(picture, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
        if count == 1:
            cv2.circle(picture, points[0], 4, colour, cv2.FILLED, cv2.LINE_AA)
        y = top + 20 + 24 * row
        cv2.line(picture, (left + width + 20, y), (left + width + 44, y), colour, 3)
        _write(picture, name, (left + width + 52, y + 5), 0.45)
    return picture


def _colour(block: int) -> tuple[int, int, int]:
    return COLOURS[block % len(COLOURS)]


def _paper(height: int, width: int) -> Picture:
    return np.full((height, width, 3), PAPER, np.uint8)


def _write(picture: Picture, text: str, place: tuple[int, int], size: float = 0.5) -> None:
    cv2.putText(picture, text, place, FONT, size, INK, 1, cv2.LINE_AA)


def _enlarged(picture: Picture, zoom: int) -> Picture:
    return np.ascontiguousarray(picture.repeat(zoom, axis=0).repeat(zoom, axis=1))
