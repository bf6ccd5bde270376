"""The reference engine: the ops in plain PyTorch, dense, float32. Slow and clear; every other engine is held to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from importlib import util
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Mask, Scales, State, Upscaled
from vs_smsr.engine.tiled import Features, Slot, Sums, Wanted
from vs_smsr.engine.walk import walk
from vs_smsr.engine.window import Window
from vs_smsr.options import EngineOptions
from vs_smsr.weights import CHANNELS, MEAN, Weights

if TYPE_CHECKING:
    from torch import Tensor


def status() -> tuple[bool, str]:
    """(True, "PyTorch") if PyTorch is installed."""
    if util.find_spec("torch") is None:
        return False, "PyTorch is not installed. Install it with: pip install 'vs-smsr[train]'"
    return True, "PyTorch, cpu"


def create(weights: Weights, options: EngineOptions) -> ReferenceEngine:
    """A reference engine; only threads are taken from the options."""
    return ReferenceEngine(weights, options.threads)


SUM_SCALE = 1 << 20


class ReferenceEngine:
    """See `contract.Engine`."""

    name = "reference"
    device = "cpu"
    precision = "fp32"
    feature_bytes = 4 * CHANNELS

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.weights = weights
        self._ops = ReferenceOps(weights)

    def upscale(self, frame: Frame, state: State | None = None) -> Upscaled:
        import torch

        with torch.inference_mode():
            return walk(self._ops, self.weights, frame, state or State())

    @contextmanager
    def windowed(self, height: int, width: int) -> Iterator[ReferenceOps]:
        """See `tiled.WindowEngine`."""
        import torch

        with torch.inference_mode():
            yield copy(self._ops)

    def workspace_bytes(self, height: int, width: int) -> int:
        """An estimate: some twelve maps of 64 channels at the worst moment."""
        return 12 * 4 * CHANNELS * height * width


class ReferenceOps:
    """`walk.Ops` on torch tensors: a Map and a Layer are (1, 64, H, W), Pixels is the mask as float (1, 1, H, W)."""

    def __init__(self, weights: Weights) -> None:
        import torch

        self._scale = weights.scale
        self._tensors = {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in weights.tensors.items()}
        self._dense = {
            (module, layer): torch.from_numpy(weights.dense_channels(module, layer)).float().view(1, CHANNELS, 1, 1)
            for module in range(5)
            for layer in range(4)
        }

    def _conv(self, name: str, x: Tensor) -> Tensor:
        from torch.nn.functional import conv2d

        weight = self._tensors[f"{name}.weight"]
        return conv2d(x, weight, self._tensors.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def head(self, frame: Frame) -> Tensor:
        return self._conv("head.2", self._conv("head.0", _centred(frame)).relu())

    def mask(self, module: int, features: Tensor) -> Tensor:
        from torch.nn.functional import avg_pool2d, conv_transpose2d

        name = f"body.{module}.spa_mask"
        pooled = avg_pool2d(self._conv(f"{name}.0", features).relu(), 2)
        hidden = self._conv(f"{name}.3", pooled).relu()
        weight, bias = self._tensors[f"{name}.5.weight"], self._tensors[f"{name}.5.bias"]
        logits = conv_transpose2d(hidden, weight, bias, stride=2, padding=1, output_padding=1)
        return logits[:, 1:] > logits[:, :1]

    def given_mask(self, mask: Mask) -> Tensor:
        import torch

        return torch.from_numpy(mask.astype(bool))[None, None]

    def select(self, mask: Tensor) -> Tensor:
        return mask.float()

    def conv3x3(
        self, module: int, layer: int, source: Tensor, pixels: Tensor, total: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        from torch.nn.functional import conv2d

        name = f"body.{module}.body"
        weight = self._tensors[f"{name}.body.{layer}.weight"]
        dense_in = self._dense[module, layer - 1] if layer else 1.0
        dense_out = self._dense[module, layer]
        everywhere = conv2d(source * dense_in, weight, padding=1)
        if layer:
            everywhere = everywhere + pixels * conv2d(source * (1 - dense_in), weight, padding=1)
        output = (everywhere * (dense_out + (1 - dense_out) * pixels)).relu()
        share = self._tensors[f"{name}.collect.weight"][:, layer * CHANNELS : (layer + 1) * CHANNELS]
        if total is None:
            return output, conv2d(output, share, self._tensors[f"{name}.collect.bias"])
        return output, total + conv2d(output, share)

    def attention(self, module: int, total: Tensor) -> Tensor:
        return self._attention(module, total.mean((2, 3), keepdim=True))

    def _attention(self, module: int, mean: Tensor) -> Tensor:
        hidden = self._conv(f"body.{module}.ca.conv_du.0", mean).relu()
        return self._conv(f"body.{module}.ca.conv_du.2", hidden).sigmoid()

    def given_attention(self, scales: Scales) -> Tensor:
        import torch

        return torch.from_numpy(scales).view(1, CHANNELS, 1, 1)

    def residual(
        self, module: int, features: Tensor, total: Tensor, scales: Tensor, collected: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        from torch.nn.functional import conv2d

        features = total * scales + features
        share = self._tensors["collect.0.weight"][:, module * CHANNELS : (module + 1) * CHANNELS]
        if collected is None:
            return features, conv2d(features, share, self._tensors["collect.0.bias"])
        return features, collected + conv2d(features, share)

    def collect(self, collected: Tensor, head: Tensor) -> Tensor:
        return self._conv("collect.2", collected.relu()) + head

    def tail(self, features: Tensor, frame: Frame) -> NDArray[np.float32]:
        from torch.nn.functional import interpolate, pixel_shuffle

        detail = pixel_shuffle(self._conv("tail.0", features), self._scale)
        base = interpolate(_centred(frame), scale_factor=self._scale, mode="bicubic", align_corners=False)
        result = (detail + base)[0].permute(1, 2, 0).contiguous().numpy() + MEAN
        clamped: NDArray[np.float32] = np.clip(result, 0, 255, dtype=np.float32)
        return clamped

    def write(self, slot: Slot, values: Features) -> Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]

    def read(self, features: Tensor, window: Window) -> Features:
        values: Features = features[0].permute(1, 2, 0).numpy()[window.slices].copy()
        return values

    def only(self, pixels: Wanted) -> None:
        """Nothing is left out: this engine is dense."""

    def want(self, core: Window) -> None:
        self._core = core

    def finished(self, total: Tensor) -> tuple[Features, Sums]:
        values = self.read(total, self._core)
        return values, np.rint(values * np.float32(SUM_SCALE)).astype(np.int64).sum((0, 1))

    def given_total(self, values: Features) -> Tensor:
        return self.write("features", values)

    def attention_of(self, module: int, sums: Sums, pixels: int) -> Tensor:
        import torch

        mean = torch.from_numpy(sums / (SUM_SCALE * pixels)).float().view(1, CHANNELS, 1, 1)
        return self._attention(module, mean)

    def host_mask(self, mask: Tensor) -> Mask:
        host: Mask = mask[0, 0].numpy().astype(np.uint8)
        return host

    def host_attention(self, scales: Tensor) -> Scales:
        host: Scales = scales.reshape(CHANNELS).numpy().copy()
        return host


def _centred(frame: Frame) -> Tensor:
    """(1, 3, H, W) tensor of frame - mean."""
    import torch

    return torch.from_numpy(frame - MEAN).permute(2, 0, 1)[None].contiguous()
