"""Engines take even sides: pad frames to them, and crop the results."""

from __future__ import annotations

import dataclasses

import numpy as np

from vs_smsr.engine.contract import Frame, Upscaled


def padded(frame: Frame) -> Frame:
    """(H, W, 3) float32 with even sides, C-contiguous; a missing row or column repeats the last one."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame, np.float32)


def cropped(result: Upscaled, height: int, width: int) -> Upscaled:
    """The result for a source of that size, without what it was padded with; masks stay those of the padded frame."""
    scale = result.frame.shape[0] // result.masks[0].shape[0]
    frame = np.ascontiguousarray(result.frame[: scale * height, : scale * width])
    return dataclasses.replace(result, frame=frame)
