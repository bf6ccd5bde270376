"""Any network of `families.spec` in PyTorch, for training: its masks are drawn, or decided as engines decide them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.families import Convolution, DynamicChannels, GradientMask, LearnedMask, MaskedBlock, NetworkSpec
from vs_smsr.network.smsr import gumbel_margin, gumbel_pair

HARD = 0.0  # in place of a temperature: masks as inference decides them
STRAIGHT = -1.0  # the same, but gradients pass as if they were as soft as a sigmoid
LUMA = (0.299, 0.587, 0.114)  # of BT.601


@dataclass(frozen=True)
class Masks:
    """A block's masks: 0 or 1, or between while they are drawn.

    Attributes:
        active: (B, 1, H, W); None: everywhere.
        dense: (B or 1, width, layers), 1 where a channel is dense; None: no channel is.
        decided: they are 0 or 1.
    """

    active: Tensor | None
    dense: Tensor | None
    decided: bool = False


class MaskedNetwork(nn.Module):
    """One network; the names of its parameters are those of `spec.shapes`. Images are (B, 3, H, W) RGB 0..255, even.

    Attributes:
        quads: (B, 1, H / 2, W / 2) margins by which the newest call decided for the upsampling of quads of pixels, or,
            below 0, against it.
    """

    mean: Tensor
    quads: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        for name, shape in spec.shapes.items():
            _place(self, name, nn.Parameter(torch.zeros(shape)))
        self._numbers = dict(self.named_parameters())
        self._reset()

    @torch.no_grad()
    def _reset(self) -> None:
        """Random numbers: residuals begin small, most pixels begin as active."""
        for name, value in self._numbers.items():
            if name.endswith("ch_mask"):
                value.uniform_(0, 1)
            elif name.endswith("weight"):
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
        for block in self.spec.blocks:
            self._numbers[f"{block.body[-1].name}.weight"].mul_(0.1)
        for mask in self.spec.masks:
            if isinstance(mask, LearnedMask):
                self._numbers[f"{mask.decide.name}.bias"][1] = 2.0
        self._numbers[f"{self.spec.head[0].name}.weight"].mul_(1 / 60)  # pixels are up to 127 from the mean
        self._numbers[f"{self.spec.tail.name}.weight"].mul_(4)

    def forward(self, x: Tensor, tau: float | None) -> tuple[Tensor, Tensor]:
        """The enlarged images (B, 3, sH, sW), and per mask of `spec.masks` the share of positions that are computed.

        Args:
            x: (B, 3, H, W).
            tau: temperature of the masks that are drawn; `HARD` or `STRAIGHT`; or None, which computes everything.
        """
        spec, centred = self.spec, x - self.mean
        features = self._conv(spec.head[0], centred)
        for convolution in spec.head[1:]:
            features = self._conv(convolution, F.leaky_relu(features, spec.slope))
        start, outputs, shares = features, [], []
        for block in spec.blocks:
            masks = Masks(None, None) if tau is None else self._masks(block, x, features, tau)
            body = self._body(block, features, masks)
            features = body * self._attention(block, body) + features
            outputs.append(features)
            shares.append(_computed(masks, features))
        if spec.collect:
            merged = self._conv(spec.collect[0], torch.cat(outputs, 1))
            features = self._conv(spec.collect[1], F.leaky_relu(merged, spec.slope)) + start
        features, computed = self._upsampled(features, tau)
        detail = F.pixel_shuffle(self._conv(spec.tail, features), spec.tail_scale)
        base = F.interpolate(centred, scale_factor=spec.scale, mode="bicubic", align_corners=False)
        return detail + base + self.mean, torch.stack([*shares, *computed])

    def _upsampled(self, features: Tensor, tau: float | None) -> tuple[Tensor, list[Tensor]]:
        """Features at the size that the tail takes, and where the spec has a mask for it the share that is computed."""
        mask, quads = self.spec.upsampling_mask, None
        if mask and tau is not None:
            self.quads = F.max_pool2d(self._margin(mask, features), 2)
            quads = _active(self.quads, tau)
        for level, convolution in enumerate(self.spec.upsampling):
            features = F.leaky_relu(F.pixel_shuffle(self._conv(convolution, features), 2), self.spec.slope)
            if quads is not None:
                features = features * F.interpolate(quads, scale_factor=4 << level)
        if mask is None:
            return features, []
        return features, [features.new_ones(()) if quads is None else quads.mean()]

    def _masks(self, block: MaskedBlock, x: Tensor, features: Tensor, tau: float) -> Masks:
        active = dense = None
        if isinstance(block.mask, LearnedMask):
            active = _active(self._margin(block.mask, features), tau)
        elif isinstance(block.mask, GradientMask):
            active = gradient_mask(x, block.mask.threshold)
        if block.channel_mask is not None:
            kinds = self._channel_logits(block, features)
            dense = (kinds[..., 0] >= kinds[..., 1]).float() if tau <= HARD else 1 - gumbel_pair(kinds, tau, 3)[..., 0]
        return Masks(active, dense, tau <= HARD)

    def _margin(self, mask: LearnedMask, features: Tensor) -> Tensor:
        """How far the logit of activity is above the other, (B, 1, H, W)."""
        hidden = F.avg_pool2d(self._conv(mask.first, features).relu(), 2)
        hidden = self._conv(mask.second, hidden).relu()
        weight, bias = self._of(mask.decide)
        logits = F.conv_transpose2d(hidden, weight, bias, stride=2, padding=1, output_padding=1)
        return logits[:, 1:] - logits[:, :1]

    def _channel_logits(self, block: MaskedBlock, features: Tensor) -> Tensor:
        """(B or 1, width, layers, 2)."""
        channels = block.channel_mask
        if isinstance(channels, DynamicChannels):
            mean = features.mean((2, 3), keepdim=True)
            logits = self._conv(channels.up, self._conv(channels.down, mean).relu())
            return logits.view(len(features), -1, len(block.layers), 2)
        assert channels is not None, "a block without channel masks has no logits"
        return self._numbers[channels]

    def _body(self, block: MaskedBlock, features: Tensor, masks: Masks) -> Tensor:
        values, before, kept = features, None, []
        for number in range(len(block.layers)):
            values, before = self._layer(block, number, values, before, masks)
            kept.append(values[:, : block.kept(number)])
            values = values[:, block.distilled :]
            before = None if before is None else before[:, block.distilled :]
        result = torch.cat(kept, 1)
        return self._conv(block.fuse, result) if block.fuse else result

    def _layer(
        self, block: MaskedBlock, number: int, values: Tensor, before: Tensor | None, masks: Masks
    ) -> tuple[Tensor, Tensor | None]:
        """One masked layer: its outputs, and which of them are dense (B or 1, outputs, 1, 1).

        Args:
            before: which of the inputs are dense; None: all, or without masks none matters.
        """
        layer, active = block.layers[number], masks.active
        dense = None if masks.dense is None else masks.dense[:, : layer.outputs, number, None, None]
        if active is None:
            mixed = self._conv(layer, values)
        elif dense is None or before is None:
            mixed = self._conv(layer, values) * (active if dense is None else dense + (1 - dense) * active)
        elif masks.decided and len(dense) == 1:
            always = self._always(layer, values, before.flatten().bool(), dense.flatten().bool())
            mixed = active * self._conv(layer, values) + (1 - active) * always
        else:
            parts = self._conv(layer, torch.cat((values * before, values * (1 - before))))
            from_dense, from_sparse = parts.chunk(2)
            mixed = (dense + (1 - dense) * active) * from_dense + active * from_sparse
        return F.leaky_relu(mixed, block.slope_of(number)), dense

    def _always(self, layer: Convolution, values: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
        """What the layer's dense outputs get from its dense inputs (masks of channels), zero in all other channels."""
        weight = self._of(layer)[0][outputs][:, inputs]
        result = values.new_zeros(len(values), layer.outputs, *values.shape[2:])
        if not weight.numel():
            return result
        found = F.conv2d(values[:, inputs], weight, padding=layer.radius)
        return result.index_copy(1, outputs.nonzero().flatten(), found)

    def _attention(self, block: MaskedBlock, body: Tensor) -> Tensor | float:
        attention = block.attention
        if attention is None:
            return 1.0
        seen = body.mean((2, 3), keepdim=True)
        if attention.contrast:
            seen = seen + (body.var((2, 3), unbiased=False, keepdim=True) + 1e-6).sqrt()
        return self._conv(attention.up, self._conv(attention.down, seen).relu()).sigmoid()

    def _of(self, convolution: Convolution) -> tuple[Tensor, Tensor | None]:
        return self._numbers[f"{convolution.name}.weight"], self._numbers.get(f"{convolution.name}.bias")

    def _conv(self, convolution: Convolution, x: Tensor) -> Tensor:
        return F.conv2d(x, *self._of(convolution), padding=convolution.radius)


def _active(margin: Tensor, tau: float) -> Tensor:
    """Masks by that margin."""
    if tau > HARD:
        return gumbel_margin(margin, tau)
    decided, soft = (margin > 0).float(), margin.sigmoid()
    return decided + (soft - soft.detach()) if tau == STRAIGHT else decided


def gradient_mask(x: Tensor, threshold: float) -> Tensor:
    """(B, 1, H, W) of 0 and 1: where luma differs by more than the threshold from that of a pixel beside it."""
    luma = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    down, right = (luma.diff(dim=2).abs() > threshold), (luma.diff(dim=3).abs() > threshold)
    vertical, horizontal = down.float(), right.float()
    either = F.pad(vertical, (0, 0, 1, 0)) + F.pad(vertical, (0, 0, 0, 1))
    either = either + F.pad(horizontal, (1, 0)) + F.pad(horizontal, (0, 1))
    return (either > 0).float()


def _computed(masks: Masks, like: Tensor) -> Tensor:
    """The share of (pixel, channel) positions, 0..1."""
    active = like.new_ones(()) if masks.active is None else masks.active.mean()
    dense = like.new_zeros(()) if masks.dense is None else masks.dense.mean()
    return dense + (1 - dense) * active


def _place(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Register a parameter under a name with dots."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.register_parameter(last, parameter)
