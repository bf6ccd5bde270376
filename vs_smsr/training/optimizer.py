"""The optimizers: Adam, and Muon for the 3x3 and 1x1 convolutions of the trunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vs_smsr.training.options import TrainOptions

BETAS = (0.9, 0.99)
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic whose fixed band around 1 is reached in five steps


class Muon(torch.optim.Optimizer):
    """Momentum whose update, seen as a matrix (outputs, inputs x taps), is made orthogonal.

    Every direction of a weight then moves equally fast, not only those with large gradients. Scaled so that an
    element moves by about 0.2 lr, as Adam's does: one learning rate serves both.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers", 2024; scale of J. Liu et al., "Muon is scalable
    for LLM training", 2025.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__([{"params": params}], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient; weights of one shape go through the matrices together."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonal(torch.stack([self._momentum(p) for p in parameters]))
                size = 0.2 * max(shape[0], shape[1:].numel()) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.view(shape), alpha=-group["lr"] * size)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov momentum of the gradient, (outputs, inputs x taps) float32."""
        assert parameter.grad is not None, "only parameters with gradients come here"
        grad = parameter.grad.float()
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(grad)
        state["momentum"].lerp_(grad, 1 - MOMENTUM)
        return grad.lerp(state["momentum"], MOMENTUM).flatten(1)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns): nearly the nearest matrices whose singular values are all equal to 1 (0.7..1.2)."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Optimizers:
    """All optimizers of a run, driven as one."""

    def __init__(self, network: nn.Module, options: TrainOptions) -> None:
        masks, matrices, others = [], [], []
        for name, parameter in network.named_parameters():
            if "spa_mask" in name or "ch_mask" in name:
                masks.append(parameter)
            elif options.optimizer == "muon" and _is_trunk_matrix(name):
                matrices.append(parameter)
            else:
                others.append(parameter)
        groups = [{"params": others, "factor": 1.0}, {"params": masks, "factor": options.mask_lr}]
        self._all: list[torch.optim.Optimizer] = [torch.optim.Adam(groups, lr=options.lr, betas=BETAS)]
        if matrices:
            self._all.append(Muon(matrices, options.lr, options.weight_decay))

    def step(self, lr: float) -> None:
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("factor", 1.0)
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self._all:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def _is_trunk_matrix(name: str) -> bool:
    """Weights from 64 or more channels to 64: not the first and last layer, not the small ones, no biases."""
    return name.endswith("weight") and ("body.body." in name or "collect" in name or name == "head.2.weight")
