"""SMSR in PyTorch: what the network is. The training form learns the masks, the hard form is what engines are held to.

Source: Wang et al., "Exploring Sparsity in Image Super-Resolution for Efficient Inference", CVPR 2021. The parameter
names are those of the authors, so that their state dict loads strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.families import smsr
from vs_smsr.families.smsr import ATTENTION_CHANNELS, CHANNELS, LAYERS, MASK_CHANNELS, MEAN, MODULES


@dataclass(frozen=True)
class HardResult:
    """What the hard form returns.

    Attributes:
        out: (B, 3, sH, sW) RGB, about 0..255, not clamped.
        masks: 5 x (B, 1, H, W), 1.0 where a pixel is active.
        attention: 5 x (B, 64, 1, 1), 0..1.
    """

    out: Tensor
    masks: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]


def gumbel_pair(logits: Tensor, tau: float, dim: int) -> Tensor:
    """A Gumbel-softmax sample of two classes along `dim`: the second's soft weight, 0..1, `dim` kept with size 1."""
    first, second = torch.chunk(logits.float(), 2, dim)
    return gumbel_margin(second - first, tau)


def gumbel_margin(margin: Tensor, tau: float) -> Tensor:
    """As `gumbel_pair`, of how far the second logit is above the first.

    The difference of two Gumbel variables is logistic, so one sigmoid replaces two draws and a softmax.
    """
    uniform = torch.rand_like(margin).clamp(1e-7, 1 - 1e-7)
    return torch.sigmoid((margin + torch.logit(uniform)) / tau)


def conv(inputs: int, outputs: int, size: int, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps height and width, padded with zeros."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)


class MeanShift(nn.Module):
    """Adds a fixed colour; a 1x1 convolution in the authors' checkpoint, hence the weight that does nothing."""

    weight: Tensor
    bias: Tensor

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(3).view(3, 3, 1, 1))
        self.register_buffer("bias", sign * torch.tensor(MEAN))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.view(1, 3, 1, 1)


class ChannelAttention(nn.Module):
    """One scale per channel from the mean over the whole frame."""

    def __init__(self) -> None:
        super().__init__()
        c, a = CHANNELS, ATTENTION_CHANNELS
        self.conv_du = nn.Sequential(conv(c, a, 1), nn.ReLU(), conv(a, c, 1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """(B, 64, H, W) -> (B, 64, 1, 1), 0..1."""
        scales: Tensor = self.conv_du(features.mean((2, 3), keepdim=True))
        return scales


class MaskedConvolutions(nn.Module):
    """The body of an SMM: four 3x3 convolutions whose sparse channels live on active pixels only, then a 1x1.

    a_l = relu(gate_l * conv(dense part of a_{l-1}) + active * conv(sparse part of a_{l-1})), where gate_l is 1 for a
    dense channel and the spatial mask for a sparse one. A dense output at an inactive pixel gets nothing from sparse
    inputs, even where a neighbour is active.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ch_mask = nn.Parameter(torch.rand(1, CHANNELS, LAYERS, 2))  # logits of (dense, sparse)
        self.body = nn.ModuleList(conv(CHANNELS, CHANNELS, 3, bias=False) for _ in range(LAYERS))
        self.collect = conv(LAYERS * CHANNELS, CHANNELS, 1)

    def hard_dense(self) -> Tensor:
        """(64, 4) bool, True where a channel is dense; a tie counts as dense."""
        return self.ch_mask[0, :, :, 0] >= self.ch_mask[0, :, :, 1]

    def unmasked(self, features: Tensor) -> Tensor:
        """Everything computed everywhere: the dense warm-up."""
        layers = []
        for layer in self.body:
            features = F.relu(layer(features))
            layers.append(features)
        collected: Tensor = self.collect(torch.cat(layers, 1))
        return collected

    def soft(self, features: Tensor, active: Tensor, dense: Tensor) -> Tensor:
        """Masks between 0 and 1. The dense and the sparse part of a layer's input go as one batch: same convolution.

        Args:
            features: (B, 64, H, W).
            active: (B, 1, H, W), 0..1.
            dense: (64, 4), 0..1.
        """
        active = active.to(features.dtype)
        layers: list[Tensor] = []
        for index, layer in enumerate(self.body):
            gate = self._gate(dense[:, index], active)
            if index == 0:
                mixed = gate * layer(features)
            else:
                share = dense[:, index - 1].to(features.dtype).view(1, -1, 1, 1)
                from_dense, from_sparse = layer(torch.cat((features * share, features * (1 - share)))).chunk(2)
                mixed = gate * from_dense + active * from_sparse
            features = F.relu(mixed)
            layers.append(features)
        collected: Tensor = self.collect(torch.cat(layers, 1))
        return collected

    @staticmethod
    def _gate(dense: Tensor, active: Tensor) -> Tensor:
        """(64,) and (B, 1, H, W) -> (B, 64, H, W): 1 for a dense channel, the spatial mask for a sparse one."""
        share = dense.to(active.dtype).view(1, -1, 1, 1)
        return share + (1 - share) * active

    def hard(self, features: Tensor, active: Tensor, dense: Tensor) -> Tensor:
        """The same for channel masks that are decided: one convolution of all channels, and a small one, from dense to
        dense channels, for what an inactive pixel keeps.

        Args:
            features: (B, 64, H, W).
            active: (B, 1, H, W), 0..1 (soft while spatial masks are drawn).
            dense: (64, 4) bool.
        """
        active = active.to(features.dtype)
        from_order = torch.arange(CHANNELS, device=features.device)  # channels of `features`, the dense ones first
        inputs = CHANNELS  # how many of them are dense: an SMM's input counts as all dense
        layers, columns = [], []
        for index, layer in enumerate(self.body):
            order = torch.cat((dense[:, index].nonzero(), (~dense[:, index]).nonzero())).flatten()
            outputs = int(dense[:, index].sum())
            weight = cast(Tensor, layer.weight)[order][:, from_order]
            everything = F.conv2d(features, weight, padding=1)
            kept = everything[:, :outputs]
            if inputs < CHANNELS:
                always = torch.zeros_like(kept)
                if inputs and outputs:
                    always = F.conv2d(features[:, :inputs], weight[:outputs, :inputs], padding=1)
                kept = torch.lerp(always, kept, active)
            features = F.relu(torch.cat((kept, active * everything[:, outputs:]), 1))
            layers.append(features)
            columns.append(order + index * CHANNELS)
            from_order, inputs = order, outputs
        weight = self.collect.weight[:, torch.cat(columns)]
        return F.conv2d(torch.cat(layers, 1), weight, self.collect.bias)


class SparseMaskModule(nn.Module):
    """SMM: decides where to compute, computes there, weighs channels, adds its input."""

    def __init__(self) -> None:
        super().__init__()
        c, m = CHANNELS, MASK_CHANNELS
        self.spa_mask = nn.Sequential(
            conv(c, m, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            conv(m, m, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(m, 2, 3, stride=2, padding=1, output_padding=1),
        )
        self.body = MaskedConvolutions()
        self.ca = ChannelAttention()

    def learn(self, features: Tensor, tau: float | None, frozen_channels: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The training form: (B, 64, H, W) -> the same shape, the share of (pixel, channel) positions computed, and
        (B, 1, H, W) the logits of masks that are hard (else none, (0,)): no gradient reaches those through the result.
        """
        logits = features.new_zeros(0)
        if tau is None:
            body = self.body.unmasked(features)
            return body * self.ca(body) + features, torch.ones((), device=features.device), logits
        if tau == 0:
            pair = self.spa_mask(features.detach()).float()
            logits = pair[:, 1:] - pair[:, :1]
            active = (logits > 0).float()
        else:
            active = gumbel_pair(self.spa_mask(features), tau, 1)
        if frozen_channels or tau == 0:
            dense = self.body.hard_dense()
            body = self.body.hard(features, active, dense)
        else:
            dense = 1 - gumbel_pair(self.body.ch_mask[0], tau, 2)[..., 0]
            body = self.body.soft(features, active, dense)
        always = dense.float().mean()
        return body * self.ca(body) + features, always + (1 - always) * active.mean(), logits

    def infer(self, features: Tensor, mask: Tensor | None, attention: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The inference form: (B, 64, H, W) -> the same shape, and mask and attention as they were used."""
        if mask is None:
            logits = self.spa_mask(features)
            mask = logits[:, 1:] > logits[:, :1]
        mask = mask.to(features.dtype)
        body = self.body.hard(features, mask, self.body.hard_dense())
        scales: Tensor = self.ca(body) if attention is None else attention.to(features.dtype)
        return body * scales + features, mask, scales


class SMSR(nn.Module):
    """The network for one scale. Images are (B, 3, H, W) RGB 0..255, H and W even."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        c = CHANNELS
        self.spec = smsr.spec(scale)
        self.scale = scale
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.head = nn.Sequential(conv(3, c, 3), nn.ReLU(), conv(c, c, 3))
        self.body = nn.ModuleList(SparseMaskModule() for _ in range(MODULES))
        self.collect = nn.Sequential(conv(MODULES * c, c, 1), nn.ReLU(), conv(c, c, 3))
        self.tail = nn.Sequential(conv(c, 3 * scale * scale, 3), nn.PixelShuffle(scale))

    def forward(
        self, x: Tensor, tau: float | None = None, frozen_channels: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The training form.

        Args:
            x: (B, 3, H, W) RGB 0..255.
            tau: temperature of the Gumbel-softmax masks; 0 = as inference decides them; None = no masks (dense
                warm-up).
            frozen_channels: take channel masks as decided by their logits; only spatial masks are sampled.
        Returns:
            (B, 3, sH, sW); (5,) the share of (pixel, channel) positions each SMM computed, 0..1, as the sparsity loss
            counts it; and at tau 0 5 x (B, 1, H, W) logits, above 0 where a pixel is active, for a loss of their own
            (5 x (0,) otherwise).
        """
        centred = self.sub_mean(x)
        features = start = self.head(centred)
        outputs, shares, logits = [], [], []
        for module in self._modules_in_order():
            features, share, decided = module.learn(features, tau, frozen_channels)
            outputs.append(features)
            shares.append(share)
            logits.append(decided)
        return self._finish(centred, start, outputs), torch.stack(shares), logits

    def hard_forward(
        self, x: Tensor, masks: Sequence[Tensor] | None = None, attention: Sequence[Tensor] | None = None
    ) -> HardResult:
        """The inference form, computed densely: masks are hard, every pixel is convolved, masked values are zeroed.

        Args:
            x: (B, 3, H, W) RGB 0..255.
            masks: 5 x (B, 1, H, W) of 0 and 1 to use instead of the network's own.
            attention: 5 x (B, 64, 1, 1) to use instead of the means over this input.
        """
        centred = self.sub_mean(x)
        features = start = self.head(centred)
        outputs, used_masks, used_scales = [], [], []
        for index, module in enumerate(self._modules_in_order()):
            given_mask = None if masks is None else masks[index]
            given_scales = None if attention is None else attention[index]
            features, mask, scales = module.infer(features, given_mask, given_scales)
            outputs.append(features)
            used_masks.append(mask)
            used_scales.append(scales)
        return HardResult(self._finish(centred, start, outputs), tuple(used_masks), tuple(used_scales))

    def dense_shares(self) -> list[float]:
        """5 shares of dense channels, 0..1, mean over an SMM's layers."""
        return [module.body.hard_dense().float().mean().item() for module in self._modules_in_order()]

    def _modules_in_order(self) -> list[SparseMaskModule]:
        return cast(list[SparseMaskModule], list(self.body))

    def _finish(self, centred: Tensor, start: Tensor, outputs: list[Tensor]) -> Tensor:
        merged = self.collect(torch.cat(outputs, 1)) + start
        enlarged = F.interpolate(centred, scale_factor=self.scale, mode="bicubic", align_corners=False)
        out: Tensor = self.add_mean(self.tail(merged) + enlarged)
        return out
