"""Networks for several scales with one trunk: what a step of any scale teaches, all of them know."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vs_smsr.network.smsr import SMSR


class Family(nn.Module):
    """One SMSR for each scale; they share all parameters but the tail's. A single scale is a family of one."""

    def __init__(self, scales: Sequence[int]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({f"x{scale}": SMSR(scale) for scale in scales})
        first = self[scales[0]]
        for scale in scales[1:]:
            other = self[scale]
            other.head, other.body, other.collect = first.head, first.body, first.collect

    def __getitem__(self, scale: int) -> SMSR:
        network = self.networks[f"x{scale}"]
        assert isinstance(network, SMSR), "a family holds nothing else"
        return network

    def forward(
        self, x: Tensor, scale: int, tau: float | None, frozen_channels: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The training form of one of them; see `SMSR.forward`."""
        result: tuple[Tensor, Tensor, list[Tensor]] = self[scale](x, tau, frozen_channels)
        return result
