"""Parameters and multiply-adds of the paper's rows, as it prints them and as our networks have them.

Multiply-adds are those of all convolutions for a result of 1280x720, as in `vs_smsr.evaluation.flops`. For a masked
row the sparsity is stated at which they are the printed ones: the same share in every block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vs_smsr.evaluation.flops import HR_PIXELS, gflops_720p
from vs_smsr.families import NetworkSpec, imdn, smsr, srresnet
from vs_smsr.network.baselines import IMDN, SRResNet, basis


@dataclass(frozen=True)
class Printed:
    """What the paper says: parameters, and 10^9 multiply-adds with nothing skipped and as used."""

    params: float
    gflops: float
    used: float | None = None


SPECS: dict[str, tuple[NetworkSpec, Printed]] = {
    "smsr_x2": (smsr.spec(2), Printed(985e3, 224.1, 131.6)),
    "smsr_x3": (smsr.spec(3), Printed(993e3, 100.5, 67.8)),
    "smsr_x4": (smsr.spec(4), Printed(1006e3, 57.2, 41.6)),
    "smsr_x2_dynamic": (smsr.variant(2, "dynamic"), Printed(1012e3, 224.1)),
    "srresnet_x4": (srresnet.spec(4, masked=False), Printed(1.54e6, 112.11)),
    "srresnet_x4_masked_35": (srresnet.spec(4), Printed(1.58e6, 72.65, 72.65)),
    "srresnet_x4_masked_52": (srresnet.spec(4), Printed(1.54e6, 54.26, 54.26)),
    "imdn_x4": (imdn.spec(4, masked=False), Printed(0.72e6, 41.22)),
    "imdn_x4_masked_22": (imdn.spec(4), Printed(0.77e6, 32.12, 32.12)),
    "imdn_x4_masked_42": (imdn.spec(4), Printed(0.77e6, 23.77, 23.77)),
}
# The supplement does not print sizes of the bases, nor widths after pruning: these give both printed figures.
MODULES: dict[str, tuple[Callable[[], nn.Module], Printed]] = {
    "srresnet_x4_basis_40": (lambda: SRResNet(make=basis(23), make_up=basis(161)), Printed(0.74e6, 67.51)),
    "srresnet_x4_basis_50": (lambda: SRResNet(make=basis(18), make_up=basis(137)), Printed(0.60e6, 55.72)),
    "srresnet_x4_dhp_38": (lambda: SRResNet(43, 64, 47), Printed(0.95e6, 69.29)),
    "srresnet_x4_dhp_58": (lambda: SRResNet(33, 57, 38), Printed(0.64e6, 46.82)),
    "imdn_x4_basis_17": (lambda: IMDN(4, basis(39), basis(45)), Printed(0.60e6, 34.16)),
    "imdn_x4_basis_40": (lambda: IMDN(4, basis(25), basis(53)), Printed(0.45e6, 24.52)),
}
EXPLAINED = {  # rows that are further than 1 % from what is printed
    "srresnet_x4": "1.536M is the count with a 9x9 first convolution, one more after the blocks, and batch norm, whose "
    "multiply-adds would be 115.0 G; the printed 112.11 G is that of 3x3 ends without it, which has 1.48M",
    "srresnet_x4_masked_52": "the same network as masked_35, for which 1.58M is printed",
    "imdn_x4_basis_40": "every convolution works at every source pixel, so 24.52 G is 426K weights; 0.45M is 5 % more",
}


def table() -> dict[str, dict[str, float]]:
    """By row: params, gflops_720p, what the paper prints of both, and where masks skip the sparsity (0..1)."""
    rows = {}
    for name, (spec, printed) in SPECS.items():
        row = {"params": sum(map(math.prod, spec.shapes.values())), "gflops_720p": gflops_720p(spec)}
        row |= {"paper_params": int(printed.params), "paper_gflops": printed.gflops}
        if printed.used:
            skipped = row["gflops_720p"] - printed.used
            body = sum(spec.masked_macs) * HR_PIXELS / spec.scale**2 / 1e9
            row |= {"sparsity": skipped / body, "gflops_dense": row["gflops_720p"]}
            used = gflops_720p(spec, [skipped / body] * len(spec.masks))
            row |= {"gflops_used": used, "paper_gflops_used": printed.used}
            if spec.family != "smsr":  # the paper prints what is used
                row["gflops_720p"] = used
        rows[name] = row
    for name, (make, printed) in MODULES.items():
        network = make()
        row = {"params": sum(p.numel() for p in network.parameters()), "gflops_720p": measured(network, 4)}
        rows[name] = row | {"paper_params": int(printed.params), "paper_gflops": printed.gflops}
    return rows


def measured(network: nn.Module, scale: int) -> float:
    """10^9 multiply-adds of a module's convolutions over feature maps for an HR frame of 1280x720."""
    total, side = 0.0, 8

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d), "hooked as such"
        if output.shape[-1] > 1:  # else attention, which papers do not count
            total += layer.weight.numel() * output.shape[-2] * output.shape[-1]

    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with torch.inference_mode():
        network(torch.zeros(1, 3, side, side), None)
    for hook in hooks:
        hook.remove()
    return total / side**2 * HR_PIXELS / scale**2 / 1e9
