"""Pixels as callers hold them, and frames as engines take them: what the two mean, and the way between on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame

Picture = NDArray[Any]  # gamma as coded, 0..white: uint8, uint16, float16 or float32
BAND = 128  # rows that are converted at a time: large results are large in floats
WHITE = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1}  # what white is, by dtype


def to_frame(picture: Picture) -> Frame:
    """Any shape, 0..white -> float32 0..255."""
    frame: Frame = np.multiply(picture, _unit(picture.dtype), dtype=np.float32)
    return frame


def from_frame(frame: Frame, dtype: np.dtype[Any]) -> Picture:
    """Any shape, float32 0..255 -> 0..white; integers are rounded to the nearest, ties to even."""
    picture = np.empty(frame.shape, dtype)
    for top in range(0, len(frame), BAND):
        values = frame[top : top + BAND] / _unit(dtype)
        if dtype.kind == "u":
            values = np.rint(values).clip(0, WHITE[dtype.name])
        picture[top : top + BAND] = values
    return picture


def _unit(dtype: np.dtype[Any]) -> np.float32:
    return np.float32(255 / WHITE[dtype.name])
