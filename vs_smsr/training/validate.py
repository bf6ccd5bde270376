"""PSNR and sparsity of a network on a folder of HR images, or on a prepared set, while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vs_smsr.errors import MediaError
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.evaluation.metrics import psnr
from vs_smsr.network.smsr import SMSR
from vs_smsr.training.data import TrainingSet

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Score:
    """Means over the images: PSNR on Y in dB, sparsity per SMM and active pixels per SMM (0..1)."""

    psnr: float
    sparsity: tuple[float, ...]
    active: tuple[float, ...]

    @property
    def skipped(self) -> float:
        return float(np.mean(self.sparsity))


class Validator:
    """Holds the images; the LR ones are made by MATLAB-equal bicubic, as benchmarks do, or are those of a set that
    scripts/prepare_data.py has made: footage that is kept from training.
    """

    def __init__(self, folder: Path, scale: int) -> None:
        if (folder / "index.json").is_file():
            kept = TrainingSet(folder, scale)
            self.pairs = [kept.pair(index) for index in range(len(kept.entries))]
            return
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise MediaError(f"validate: {folder} holds no images.")
        self.pairs = [_pair(path, scale) for path in paths]

    @torch.inference_mode()
    def score(self, network: SMSR, masked: bool) -> Score:
        """Measure in float32. Not masked: the dense network (warm-up), whose sparsity is 0."""
        psnrs, shares, active = [], [], []
        sparse = [1 - share for share in network.dense_shares()]
        device = next(network.parameters()).device
        for lr, hr in self.pairs:
            x = torch.from_numpy(lr).permute(2, 0, 1)[None].float().to(device)
            x = F.pad(x, (0, lr.shape[1] % 2, 0, lr.shape[0] % 2), mode="replicate")
            if masked:
                result = network.hard_forward(x)
                out = result.out
                active.append([mask.mean().item() for mask in result.masks])
                shares.append([(1 - here) * channels for here, channels in zip(active[-1], sparse, strict=True)])
            else:
                out = network(x)[0]
                active.append([1.0] * len(sparse))
                shares.append([0.0] * len(sparse))
            psnrs.append(psnr(_to_8bit(out)[: hr.shape[0], : hr.shape[1]], hr, network.scale))
        mean = [tuple(float(v) for v in np.mean(values, axis=0)) for values in (shares, active)]
        return Score(float(np.mean(psnrs)), mean[0], mean[1])


def _pair(path: Path, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise MediaError(f"validate: {path} is not an image that OpenCV reads.")
    hr = np.ascontiguousarray(crop_to_multiple(image, scale))
    return imresize(hr, 1 / scale), hr


def _to_8bit(out: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) about 0..255 -> (H, W, 3) uint8, rounded."""
    return out[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
