"""Any frame through an engine that takes even sizes only."""

from __future__ import annotations

import dataclasses

import numpy as np

from vs_smsr.engine.contract import Engine, Frame, Upscaled


class Tiler:
    """Feeds frames to one engine; the only way in which the doors (CLI, filter, API) call an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def scale(self) -> int:
        return self.engine.weights.scale

    def upscale(self, frame: Frame) -> Upscaled:
        """Upscale (H, W, 3) float32 RGB 0..255 of any size to (scale * H, scale * W, 3).

        An odd side is padded to even by repeating the last row or column, since the mask branch works at half
        resolution; the result is cropped. Masks cover the padded frame.
        """
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        result = self.engine.upscale(np.ascontiguousarray(frame, np.float32))
        cropped = result.frame[: self.scale * height, : self.scale * width]
        return dataclasses.replace(result, frame=np.ascontiguousarray(cropped))
