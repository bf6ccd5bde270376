"""What the supplement compares masks with: SRResNet and IMDN on a learned filter basis or of other widths, EDSR, RCAN.

All take (B, 3, H, W) RGB 0..255, and a temperature that they do not look at, as `masked.MaskedNetwork` does; they
return the enlarged images and (1,) ones: nothing is skipped.

Sources: Li et al., "Learning Filter Basis for Convolutional Neural Network Compression", ICCV 2019; Lim et al.,
"Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017; Zhang et al., "Image Super-Resolution
Using Very Deep Residual Channel Attention Networks", ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.families.branches import DIV2K_MEAN
from vs_smsr.network.smsr import conv

Conv = Callable[[int, int], nn.Module]  # makes a 3x3 from so many channels to so many


def plain(inputs: int, outputs: int) -> nn.Module:
    return conv(inputs, outputs, 3)


def basis(filters: int) -> Conv:
    """Makes convolutions whose filters are combinations of so many that are learned: a 3x3 to them, and a 1x1."""
    return lambda inputs, outputs: nn.Sequential(conv(inputs, filters, 3, bias=False), conv(filters, outputs, 1))


class Enlarging(nn.Module):
    """A network over the bicubic base; `detail` is what a subclass adds."""

    mean: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)

    def detail(self, centred: Tensor) -> Tensor:
        """(N, 3, H, W), the mean taken off, in units of 64 -> (N, 3, scale * H, scale * W) to add to the base."""
        raise NotImplementedError

    def forward(self, x: Tensor, tau: float | None = None) -> tuple[Tensor, Tensor]:
        base = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return self.detail((x - self.mean) / 64) * 64 + base, x.new_ones(1)


class Residual(nn.Module):
    """Two convolutions with a relu between them, and what came in."""

    def __init__(self, width: int, inside: int, make: Conv) -> None:
        super().__init__()
        self.conv1, self.conv2 = make(width, inside), make(inside, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.relu(self.conv1(x))) + x
        return out


class SRResNet(Enlarging):
    """SRResNet x4 as `families.srresnet` has it.

    Args:
        width, inside, up: channels of the features, between a block's convolutions, and of the upsampling.
        make, make_up: how convolutions of the blocks and of the upsampling are made.
    """

    def __init__(
        self, width: int = 64, inside: int = 64, up: int = 64, make: Conv = plain, make_up: Conv | None = None
    ) -> None:
        super().__init__(4)
        make_up = make_up or make
        self.conv_first = plain(3, width)
        self.body = nn.Sequential(*(Residual(width, inside, make) for _ in range(16)))
        self.upconv1, self.upconv2 = make_up(width, 4 * up), make_up(up, 4 * up)
        self.conv_last = plain(up, 3)

    def detail(self, centred: Tensor) -> Tensor:
        features = self.body(self.conv_first(centred))
        for convolution in (self.upconv1, self.upconv2):
            features = F.leaky_relu(F.pixel_shuffle(convolution(features), 2), 0.1)
        out: Tensor = self.conv_last(features)
        return out


class Distillation(nn.Module):
    """IMDN's module, its contrast attention after the 1x1 as in `families.imdn`."""

    def __init__(self, make: Conv) -> None:
        super().__init__()
        self.c1, self.c2, self.c3, self.c4 = make(64, 64), make(48, 64), make(48, 64), make(48, 16)
        self.c5 = conv(64, 64, 1)
        self.attention = nn.Sequential(conv(64, 4, 1), nn.ReLU(), conv(4, 64, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        rest, kept = x, []
        for layer in (self.c1, self.c2, self.c3):
            rest = F.leaky_relu(layer(rest), 0.05)
            kept.append(rest[:, :16])
            rest = rest[:, 16:]
        fused = self.c5(torch.cat((*kept, self.c4(rest)), 1))
        deviation = (fused.var((2, 3), unbiased=False, keepdim=True) + 1e-6).sqrt()
        out: Tensor = fused * self.attention(fused.mean((2, 3), keepdim=True) + deviation) + x
        return out


class IMDN(Enlarging):
    """IMDN with convolutions of another making; `make_last` makes the one after the modules."""

    def __init__(self, scale: int, make: Conv = plain, make_last: Conv = plain) -> None:
        super().__init__(scale)
        self.fea_conv = plain(3, 64)
        self.modules_ = nn.ModuleList(Distillation(make) for _ in range(6))
        self.c, self.last = conv(6 * 64, 64, 1), make_last(64, 64)
        self.upsampler = plain(64, 3 * scale**2)

    def detail(self, centred: Tensor) -> Tensor:
        start = features = self.fea_conv(centred)
        outputs = []
        for module in self.modules_:
            features = module(features)
            outputs.append(features)
        merged = self.last(F.leaky_relu(self.c(torch.cat(outputs, 1)), 0.05)) + start
        return F.pixel_shuffle(self.upsampler(merged), self.scale)


class EDSR(Enlarging):
    """EDSR's baseline: 16 residual blocks of 64 channels, x2 or x4 by steps of two, or x3."""

    def __init__(self, scale: int, width: int = 64, blocks: int = 16) -> None:
        super().__init__(scale)
        self.head = plain(3, width)
        self.body = nn.Sequential(*(Residual(width, width, plain) for _ in range(blocks)), plain(width, width))
        self.tail = upsampler(scale, width)

    def detail(self, centred: Tensor) -> Tensor:
        start = self.head(centred)
        out: Tensor = self.tail(self.body(start) + start)
        return out


class AttentionBlock(nn.Module):
    """RCAN's residual block with channel attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = plain(width, width), plain(width, width)
        self.attention = nn.Sequential(conv(width, 4, 1), nn.ReLU(), conv(4, width, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x)))
        scaled: Tensor = out * self.attention(out.mean((2, 3), keepdim=True)) + x
        return scaled


class Group(nn.Module):
    """RCAN's residual group."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(AttentionBlock(width) for _ in range(blocks)), plain(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + x
        return out


class RCAN(Enlarging):
    """RCAN, reduced to four groups of four blocks."""

    def __init__(self, scale: int, width: int = 64, groups: int = 4, blocks: int = 4) -> None:
        super().__init__(scale)
        self.head = plain(3, width)
        self.body = nn.Sequential(*(Group(width, blocks) for _ in range(groups)), plain(width, width))
        self.tail = upsampler(scale, width)

    def detail(self, centred: Tensor) -> Tensor:
        start = self.head(centred)
        out: Tensor = self.tail(self.body(start) + start)
        return out


def upsampler(scale: int, width: int) -> nn.Sequential:
    """Convolutions and shuffles to the scale, and the one to RGB."""
    steps = [scale] if scale % 2 else [2] * (scale // 2)
    parts: list[nn.Module] = []
    for step in steps:
        parts += [plain(width, step**2 * width), nn.PixelShuffle(step)]
    return nn.Sequential(*parts, plain(width, 3))
