"""Is a contender's output what PyTorch computes for the form of the network that it runs?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from bench.contenders import Output
from bench.dense import Dense
from vs_smsr.engine.contract import Frame
from vs_smsr.network import SMSR

LEAST_PSNR = {"fp32": 100.0, "bf16": 48.0}  # dB over 255: what rounding explains
MOST_FLIPPED = {"fp32": 0.001, "bf16": 0.03}  # share of mask pixels that rounding may decide otherwise


@dataclass(frozen=True)
class Error:
    """How far off an output is.

    Attributes:
        psnr: dB against PyTorch fp32 on the same form, masks as the contender used them.
        worst: largest difference of a value, 0..255.
        flipped: share of mask pixels that PyTorch decides otherwise; 0 without masks.
        end_to_end: PSNR against PyTorch fp32 with its own masks; without masks the same as `psnr`.
    """

    psnr: float
    worst: float
    flipped: float
    end_to_end: float

    def reason(self, precision: str) -> str:
        """Why this is more than the precision explains; "" if it is not."""
        if not self.psnr >= LEAST_PSNR[precision]:  # also true for NaN
            return f"{self.psnr:.1f} dB to PyTorch; {precision} explains {LEAST_PSNR[precision]:.0f} dB or more"
        if self.flipped > MOST_FLIPPED[precision]:
            return f"{self.flipped:.2%} of the mask pixels differ; {precision} explains {MOST_FLIPPED[precision]:.1%}"
        return ""


class Reference:
    """PyTorch fp32 on one frame."""

    def __init__(self, network: SMSR, frame: Frame) -> None:
        self._network, self._frame = network, torch.from_numpy(frame)
        with torch.inference_mode():
            self._dense = Dense(network)(self._frame).numpy()
            own = network.hard_forward(self._frame.permute(2, 0, 1).unsqueeze(0))
        self._sparse = _pixels(own.out)
        self._masks = np.stack([mask[0, 0].numpy() > 0 for mask in own.masks])

    def error(self, output: Output) -> Error:
        """Compare an output with its own form of the network."""
        if output.masks is None:
            found = psnr(output.frame, self._dense)
            return Error(found, _worst(output.frame, self._dense), 0.0, found)
        masks = np.stack(output.masks) > 0
        with torch.inference_mode():
            given = [torch.from_numpy(mask).float()[None, None] for mask in masks]
            expected = _pixels(self._network.hard_forward(self._frame.permute(2, 0, 1).unsqueeze(0), given).out)
        return Error(
            psnr(output.frame, expected),
            _worst(output.frame, expected),
            float((masks != self._masks).mean()),
            psnr(output.frame, self._sparse),
        )

    def end_to_end(self, frame: Frame, masked: bool) -> float:
        """PSNR of a frame whose masks are not known."""
        return psnr(frame, self._sparse if masked else self._dense)


def psnr(a: Frame, b: Frame) -> float:
    """dB over 255 in float64; at most 200."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return min(10 * math.log10(255**2 / error), 200.0) if error else 200.0


def _worst(a: Frame, b: Frame) -> float:
    return float(np.abs(a - b).max())


def _pixels(out: torch.Tensor) -> Frame:
    frame: Frame = out[0].permute(1, 2, 0).clamp(0, 255).contiguous().numpy()
    return frame
