"""SMSR without masks, the best case of a dense runtime: no mask branch, every convolution everywhere, attention."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from vs_smsr.network import SMSR


class Dense(nn.Module):
    """Masks of all ones. Frames in the form that a runtime is given them.

    Args:
        planar: False: (H, W, 3) float32 RGB 0..255 in, (sH, sW, 3) 0..255 out, as our engine does.
            True: (1, 3, H, W) 0..1 in, (1, 3, sH, sW) 0..1 out, as a filter on RGBS planes needs it.
    """

    def __init__(self, network: SMSR, planar: bool = False) -> None:
        super().__init__()
        self.network = network
        self.planar = planar

    def forward(self, frame: Tensor) -> Tensor:
        x = frame * 255 if self.planar else frame.permute(2, 0, 1).unsqueeze(0)
        out = self.network(x)[0]  # without a temperature: the dense warm-up, everything computed everywhere
        clamped: Tensor = out.float().clamp(0, 255)
        return clamped / 255 if self.planar else clamped[0].permute(1, 2, 0)


def export(network: SMSR, height: int, width: int, path: Path, planar: bool = False) -> Path:
    """Write the dense network for one frame size as ONNX; returns the path."""
    frame = torch.zeros((1, 3, height, width) if planar else (height, width, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one; the new one needs packages of its own
        torch.onnx.export(
            Dense(network, planar).eval(),
            (frame,),
            str(path),
            dynamo=False,
            input_names=["frame"],
            output_names=["result"],
            opset_version=17,
        )
    return path
