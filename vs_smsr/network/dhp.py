"""Differentiable pruning by hypernetworks on SRResNet: latent vectors generate the weights, and are made sparse.

A layer's weights come from its own latent vector and that of the layer before: an outer product, and a small linear
network for each of its elements. Elements that the L1 proximal step drives to nothing are channels that go.

Source: Li et al., "DHP: Differentiable Meta Pruning via HyperNetworks", ECCV 2020.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.network.baselines import Enlarging, SRResNet

EMBEDDING = 8  # numbers that each element of the outer product becomes


class HyperConvolution(nn.Module):
    """Generates a 3x3 convolution's weights (outputs, inputs, 3, 3) from two latent vectors; the bias is plain."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        deviation = gain * (2 / (9 * inputs)) ** 0.5
        self.offset = nn.Parameter(torch.zeros(outputs, inputs))
        self.embed = nn.Parameter(torch.randn(outputs, inputs, EMBEDDING) / EMBEDDING**0.5)
        self.expand = nn.Parameter(torch.randn(outputs, inputs, 9, EMBEDDING) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def weights(self, latent_in: Tensor, latent_out: Tensor) -> Tensor:
        """From vectors (inputs,) and (outputs,)."""
        outer = latent_out[:, None] * latent_in[None] + self.offset
        embedded = outer[..., None] * self.embed
        return torch.einsum("oikm,oim->oik", self.expand, embedded).view(*outer.shape, 3, 3)


class DHP(Enlarging):
    """SRResNet x4 whose widths are searched for; `pruned` is what is left."""

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        super().__init__(4)
        self.trunk = nn.Parameter(torch.rand(width) + 0.5)
        self.inside = nn.ParameterList(nn.Parameter(torch.rand(width) + 0.5) for _ in range(blocks))
        self.up = nn.Parameter(torch.rand(width) + 0.5)
        self.first = HyperConvolution(3, width)
        self.convs = nn.ModuleList(HyperConvolution(width, width, gain) for _ in range(blocks) for gain in (1, 0.1))
        self.ups = nn.ModuleList(HyperConvolution(width, 4 * width) for _ in range(2))
        self.last = HyperConvolution(width, 3)

    def generated(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Weights and biases by the names of `baselines.SRResNet`."""
        made: dict[str, tuple[HyperConvolution, Tensor, Tensor]] = {
            "conv_first": (self.first, torch.ones(3), self.trunk)
        }
        convs, ups = cast("list[HyperConvolution]", self.convs), cast("list[HyperConvolution]", self.ups)
        for number, inside in enumerate(self.inside):
            first, second = convs[2 * number], convs[2 * number + 1]
            made[f"body.{number}.conv1"] = first, self.trunk, inside
            made[f"body.{number}.conv2"] = second, inside, self.trunk
        shuffled = self.up.repeat_interleave(4)
        made["upconv1"], made["upconv2"] = (ups[0], self.trunk, shuffled), (ups[1], self.up, shuffled)
        made["conv_last"] = self.last, self.up, torch.ones(3)
        return {name: (layer.weights(before, own), layer.bias) for name, (layer, before, own) in made.items()}

    def detail(self, centred: Tensor) -> Tensor:
        made = self.generated()

        def conv(name: str, x: Tensor) -> Tensor:
            return F.conv2d(x, *made[name], padding=1)

        features = conv("conv_first", centred)
        for number in range(len(self.inside)):
            inner = F.relu(conv(f"body.{number}.conv1", features))
            features = conv(f"body.{number}.conv2", inner) + features
        for name in ("upconv1", "upconv2"):
            features = F.leaky_relu(F.pixel_shuffle(conv(name, features), 2), 0.1)
        return conv("conv_last", features)

    @torch.no_grad()
    def shrink(self, amount: float) -> None:
        """The proximal step of L1 on the latent vectors: everything goes towards 0 by that amount."""
        for latent in (self.trunk, *self.inside, self.up):
            latent.copy_(latent.sign() * (latent.abs() - amount).clamp(min=0))

    @torch.no_grad()
    def pruned(self, width: int, inside: int, up: int) -> SRResNet:
        """A plain network of the channels whose latent elements are largest, with the weights that they generate."""

        def largest(latent: Tensor, count: int) -> Tensor:
            return latent.abs().topk(count).indices.sort().values

        network, state = SRResNet(width, inside, up), {}
        trunk, above = largest(self.trunk, width), largest(self.up, up)
        shuffled = (4 * above[:, None] + torch.arange(4)).flatten()
        every = torch.arange(3)
        for name, (weight, bias) in self.generated().items():
            number = int(name.split(".")[1]) if "." in name else 0
            inner = largest(self.inside[number], inside)
            rows, columns = {
                "conv_first": (trunk, every),
                "conv1": (inner, trunk),
                "conv2": (trunk, inner),
                "upconv1": (shuffled, trunk),
                "upconv2": (shuffled, above),
                "conv_last": (every, above),
            }[name.split(".")[-1]]
            state[f"{name}.weight"], state[f"{name}.bias"] = weight[rows][:, columns], bias[rows]
        network.load_state_dict(state, strict=False)
        return network
