"""The reference engine: the ops in plain PyTorch, dense, float32. Slow and clear; every other engine is held to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine import interpreter
from vs_smsr.engine.contract import (
    Capabilities,
    Dense,
    Features,
    Frame,
    Map,
    Mask,
    Overrides,
    Scales,
    Sums,
    Upscaled,
    UpscaledPicture,
    Wanted,
    dense_channels,
    statistic,
)
from vs_smsr.engine.memory import HostMemory, Memory
from vs_smsr.engine.merging import update
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.profile import Profile
from vs_smsr.engine.window import Window
from vs_smsr.families import SUM_UNIT, Convolution, LearnedMask
from vs_smsr.options import EngineOptions
from vs_smsr.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor


def status() -> tuple[bool, str]:
    """(True, "PyTorch, cpu") if PyTorch is installed."""
    if util.find_spec("torch") is None:
        return False, "PyTorch is not installed. Install it with: pip install 'vs-smsr[train]'"
    return True, "PyTorch, cpu"


def create(weights: Weights, options: EngineOptions) -> ReferenceEngine:
    """A reference engine; only threads are taken from the options."""
    return ReferenceEngine(weights, options.threads)


class ReferenceEngine:
    """See `contract.Engine`."""

    name = "reference"
    device = "cpu"
    precision = "fp32"
    capabilities = Capabilities(pictures=True)
    profile: Profile | None = None

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.weights = weights
        pixel = 4 * weights.spec.width
        # An estimate: some twelve maps at the worst moment.
        self.memory: Memory = HostMemory(pixel, lambda height, width: 12 * pixel * height * width)
        self._tensors = {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in weights.tensors.items()}

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        return interpreter.upscale(self, frame, overrides)

    def upscale_picture(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> UpscaledPicture:
        return interpreter.upscale_picture(self, picture, like, overrides)

    def submit(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> Future[UpscaledPicture]:
        return interpreter.at_once(self.upscale_picture(picture, like, overrides))

    @contextmanager
    def open(self, height: int, width: int) -> Iterator[ReferenceOps]:
        """See `contract.Engine`."""
        import torch

        with torch.inference_mode():
            yield ReferenceOps(self.weights, self._tensors, height, width)


class ReferenceOps:
    """`contract.Ops` on torch tensors: a map is (1, width, H, W), a mask (1, 1, H, W) of 0.0 and 1.0."""

    def __init__(self, weights: Weights, tensors: dict[str, Tensor], height: int, width: int) -> None:
        self._weights, self._spec, self._tensors = weights, weights.spec, tensors
        self._size = height, width
        self._maps: dict[str, Tensor] = {}
        self._masks: dict[int, Tensor] = {}
        self._dense: dict[int, Dense] = {}
        self._scales: dict[int, Tensor] = {}
        self._newest, self._core = self._spec.blocks[0], Window(0, 0, 0, 0)

    def head(self, frame: Frame) -> None:
        first, *rest = self._spec.head
        values = self._conv(first, self._centred(frame))
        for convolution in rest:
            values = self._conv(convolution, self._act(values, self._spec.slope))
        self._maps["head"] = values

    def mask(self, block: int, source: Map) -> None:
        from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate, max_pool2d

        branch = self._spec.masks[block]
        assert isinstance(branch, LearnedMask), "other masks are given"
        pooled = avg_pool2d(self._conv(branch.first, self._maps[source]).relu(), 2)
        hidden = self._conv(branch.second, pooled).relu()
        weight, bias = (self._tensors[f"{branch.decide.name}.{part}"] for part in ("weight", "bias"))
        logits = conv_transpose2d(hidden, weight, bias, stride=2, padding=1, output_padding=1)
        active = (logits[:, 1:] > logits[:, :1]).float()
        if block == len(self._spec.blocks):
            active = interpolate(max_pool2d(active, 2), scale_factor=2)
        self._masks[block] = active

    def give_mask(self, block: int, mask: Mask) -> None:
        import torch

        self._masks[block] = torch.from_numpy(mask.astype(np.float32))[None, None]

    def feature_sums(self, source: Map, core: Window) -> Sums:
        return _sums(self.read(source, core))

    def give_channels(self, block: int, dense: Dense) -> None:
        self._dense[block] = dense

    def masked_block(self, block: int, source: Map, core: Window) -> None:
        import torch
        from torch.nn.functional import conv2d

        part, pixels, width = self._spec.blocks[block], self._masks[block], self._spec.width
        values, dense_in, kept = self._maps[source], self._channels(np.ones(width)), []
        dense = dense_channels(self._weights, block, self._dense.get(block))
        for number, layer in enumerate(part.layers):
            weight = self._tensors[f"{layer.name}.weight"]
            dense_out = self._channels(dense[number])
            everywhere = conv2d(values * dense_in, weight, padding=layer.radius)
            if number:
                everywhere = everywhere + pixels * conv2d(values * (1 - dense_in), weight, padding=layer.radius)
            values = self._act(everywhere * (dense_out + (1 - dense_out) * pixels), part.slope_of(number))
            kept.append(values[:, : part.kept(number)])
            values, dense_in = values[:, part.distilled :], dense_out[:, part.distilled :]
        result = torch.cat(kept, 1)
        self._maps["fused"] = self._conv(part.fuse, result) if part.fuse else result
        self._newest, self._core = part, core

    def sums(self) -> Sums:
        values = self.read("fused", self._core)
        parts = [values, np.square(values)] if self._newest.attention and self._newest.attention.contrast else [values]
        return np.stack([_sums(one) for one in parts]).squeeze()

    def attention(self, block: int, pixels: int, sums: Sums | None = None) -> None:
        import torch

        attention = self._spec.blocks[block].attention
        assert attention is not None, "a block without attention is given ones"
        if sums is None:
            values = self._maps["fused"]
            mean = values.mean((2, 3), keepdim=True)
            if attention.contrast:
                mean = mean + values.var((2, 3), unbiased=False, keepdim=True).sqrt()
        else:
            mean = torch.from_numpy(statistic(sums, pixels)).float().view(1, -1, 1, 1)
        self._scales[block] = self._conv(attention.up, self._conv(attention.down, mean).relu()).sigmoid()

    def give_attention(self, block: int, scales: Scales) -> None:
        import torch

        self._scales[block] = torch.from_numpy(scales).view(1, -1, 1, 1)

    def residual(self, block: int, source: Map, *, collect: bool) -> None:
        self._maps["features"] = self._maps["fused"] * self._scales[block] + self._maps[source]
        if collect:
            self.collect(block)

    def collect(self, block: int) -> None:
        from torch.nn.functional import conv2d

        assert self._spec.collect is not None, "a network without a collect collects nothing"
        name, width = self._spec.collect[0].name, self._spec.width
        share = self._tensors[f"{name}.weight"][:, block * width : (block + 1) * width]
        if "collected" not in self._maps:
            self._maps["collected"] = conv2d(self._maps["features"], share, self._tensors.get(f"{name}.bias"))
        else:
            self._maps["collected"] = self._maps["collected"] + conv2d(self._maps["features"], share)

    def tail(self, frame: Frame) -> Frame:
        from torch.nn.functional import interpolate, pixel_shuffle

        spec = self._spec
        features = self._maps["features"]
        if spec.collect:
            collected = self._act(self._maps["collected"], spec.slope)
            features = self._conv(spec.collect[1], collected) + self._maps["head"]
        for level, convolution in enumerate(spec.upsampling, 1):
            features = self._act(pixel_shuffle(self._conv(convolution, features), 2), spec.slope)
            if spec.upsampling_mask:
                features = features * interpolate(self._masks[len(spec.blocks)], scale_factor=1 << level)
        detail = pixel_shuffle(self._conv(spec.tail, features), spec.tail_scale)
        base = interpolate(self._centred(frame), scale_factor=spec.scale, mode="bicubic", align_corners=False)
        result = (detail + base)[0].permute(1, 2, 0).contiguous().numpy() + self._weights.mean
        clamped: Frame = np.clip(result, 0, 255, dtype=np.float32)
        return clamped

    def restrict(self, computed: Wanted, needed: Wanted | None = None) -> None:
        """Nothing is left out: this engine is dense."""

    def write(self, target: Map, values: Features) -> None:
        import torch

        self._maps[target] = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]

    def read(self, source: Map, window: Window, into: Features | None = None) -> Features:
        values: Features = self._maps[source][0].permute(1, 2, 0).numpy()[window.slices].copy()
        return values

    def load(self, target: Map, fill: Callable[[Features], None]) -> None:
        values = np.empty((*self._size, self._spec.width), np.float32)
        fill(values)
        self.write(target, values)

    def save(self, source: Map, window: Window, take: Callable[[Features], None]) -> None:
        take(self.read(source, window))

    def update(self, source: Map, window: Window, kept: Features, wanted: Wanted) -> Wanted:
        return update(self.read(source, window), kept, wanted)

    def read_mask(self, block: int) -> Mask:
        host: Mask = self._masks[block][0, 0].numpy().astype(np.uint8)
        return host

    def read_attention(self, block: int) -> Scales:
        host: Scales = self._scales[block].reshape(-1).numpy().copy()
        return host

    def _conv(self, convolution: Convolution, x: Tensor) -> Tensor:
        from torch.nn.functional import conv2d

        weight, bias = self._tensors[f"{convolution.name}.weight"], self._tensors.get(f"{convolution.name}.bias")
        return conv2d(x, weight, bias, padding=convolution.radius)

    @staticmethod
    def _act(values: Tensor, slope: float) -> Tensor:
        from torch.nn.functional import leaky_relu

        return values.relu() if slope == 0 else leaky_relu(values, slope)

    def _centred(self, frame: Frame) -> Tensor:
        """(1, 3, H, W) tensor of frame - mean."""
        import torch

        return torch.from_numpy(frame - self._weights.mean).permute(2, 0, 1)[None].contiguous()

    @staticmethod
    def _channels(values: NDArray[Any]) -> Tensor:
        import torch

        return torch.from_numpy(values.astype(np.float32)).view(1, -1, 1, 1)


def _sums(values: Features) -> Sums:
    """(channels,) of (h, w, channels)."""
    units: Sums = np.rint(values * np.float32(1 / SUM_UNIT)).astype(np.int64)
    total: Sums = units.sum((0, 1))
    return total
