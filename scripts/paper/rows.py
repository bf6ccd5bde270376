"""The rows of the paper's tables that are trained here, and from what each begins.

All rows of one table begin from one trunk and have the same number of steps after it, so they compare. The sparsities
are those at which the multiply-adds are the printed ones (`paper.counts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paper.counts import MODULES
from paper.training import Crops, Recipe, train
from vs_smsr.families import NetworkSpec, imdn, smsr, srresnet
from vs_smsr.network.baselines import EDSR, RCAN, SRResNet
from vs_smsr.network.dhp import DHP
from vs_smsr.network.masked import MaskedNetwork
from vs_smsr.weights import Weights, load, shipped, store

TRUNK, ROW, LONG_ROW, TABLE_1 = 600, 2000, 8000, 800  # steps
DENSE, MASKED = Recipe(steps=ROW), Recipe(steps=ROW, sparsity=0)


@dataclass(frozen=True)
class Row:
    """One trained network.

    Attributes:
        spec: makes its spec; None for what is no spec.
        recipe: how it is trained.
        start: the row it begins from, or the name of shipped weights, or None.
        make: makes the module of a row that is no spec.
        scale: of such a row.
    """

    spec: Callable[[], NetworkSpec] | None
    recipe: Recipe
    start: str | None = None
    make: Callable[[], nn.Module] | None = None
    scale: int = 4

    def module(self) -> nn.Module:
        if self.make:
            return self.make()
        assert self.spec, "a row is a spec or a module"
        return MaskedNetwork(self.spec())


def _masked(sparsity: float) -> Recipe:
    return replace(MASKED, sparsity=sparsity)


def _held(steps: int, sparsity: float, more: float, upsampling: float, dense: tuple[float, ...]) -> Recipe:
    """Masks that are decided from the beginning and go on learning, but for channels; the upsampling's is taught.

    Args:
        sparsity: of Set5; held of some training pictures.
        more: what those pictures are asked to skip beside, since Set5 takes so much more than they do, 0..1.
    """
    held = replace(_masked(sparsity + more), upsampling=upsampling, dense=dense, settled=1, learning=True)
    return replace(held, steps=steps)


def _table_1(channels: str) -> Row:
    return Row(
        lambda: smsr.variant(2, channels), Recipe(steps=TABLE_1, lr=1e-4, sparsity=0.6, learning=True), "shipped x2"
    )


def _module(make: Callable[[], nn.Module]) -> Row:
    """From nothing, with as many steps as trunk and row have together."""
    return Row(None, Recipe(steps=TRUNK + ROW), make=make)


ROWS = {  # in the order in which they are trained
    "srresnet_trunk": Row(lambda: srresnet.spec(4, masked=False), Recipe(steps=TRUNK)),
    "srresnet_x4_masked_52": Row(
        lambda: srresnet.spec(4), _held(LONG_ROW, 0.567, 0.04, 0.36, (0.3, 0.13)), "srresnet_trunk"
    ),
    "srresnet_x4": Row(lambda: srresnet.spec(4, masked=False), DENSE, "srresnet_trunk"),
    "srresnet_x4_long": Row(lambda: srresnet.spec(4, masked=False), replace(DENSE, steps=LONG_ROW), "srresnet_trunk"),
    "imdn_trunk": Row(lambda: imdn.spec(4, masked=False), Recipe(steps=TRUNK)),
    "imdn_x4_masked_42": Row(lambda: imdn.spec(4), _masked(0.552), "imdn_trunk"),
    "imdn_x4": Row(lambda: imdn.spec(4, masked=False), DENSE, "imdn_trunk"),
    "srresnet_x4_masked_35": Row(lambda: srresnet.spec(4), _held(ROW, 0.401, 0.01, 0.3, (0.4, 0.4)), "srresnet_trunk"),
    "imdn_x4_masked_22": Row(lambda: imdn.spec(4), _masked(0.318), "imdn_trunk"),
    "smsr_x2_none": _table_1("none"),
    "smsr_x2_static": _table_1("static"),
    "smsr_x2_dynamic": _table_1("dynamic"),
    "imdn_x4_basis_40": _module(MODULES["imdn_x4_basis_40"][0]),
    "imdn_x4_basis_17": _module(MODULES["imdn_x4_basis_17"][0]),
    "edsr_x2": Row(None, Recipe(steps=TRUNK), make=lambda: EDSR(2), scale=2),
    "rcan_x2": Row(None, Recipe(steps=TRUNK), make=lambda: RCAN(2), scale=2),
    "srresnet_x4_basis_50": _module(MODULES["srresnet_x4_basis_50"][0]),
    "srresnet_x4_basis_40": _module(MODULES["srresnet_x4_basis_40"][0]),
    "dhp_search": Row(None, Recipe(steps=TRUNK, shrink=1e-3), make=DHP),
    "srresnet_x4_dhp_58": Row(None, DENSE, "dhp_search", MODULES["srresnet_x4_dhp_58"][0]),
    "srresnet_x4_dhp_38": Row(None, DENSE, "dhp_search", MODULES["srresnet_x4_dhp_38"][0]),
}


def train_row(name: str, data: Path, out: Path, images: int, seconds: float, threads: int = 2) -> bool:
    """Train one row from where it is, and store its weights when it is done; False if the time did not suffice."""
    row = ROWS[name]
    target = weights_file(out, name) if row.spec else state_file(out, name)
    if target.exists():
        return True
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = row.module()
    if row.start == "dhp_search":
        network = _pruned(network, state_file(out, row.start))
    elif row.start:
        begin(network, load(shipped(2) if row.start == "shipped x2" else weights_file(out, row.start)))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = Crops(data, row.spec().scale if row.spec else row.scale, images)
    done = train(network, row.recipe, crops, out / f"{name}.pt", seconds)
    if done and not row.spec:
        torch.save(network.state_dict(), target)
    elif done and row.spec:
        store(to_weights(network, row.spec(), {"steps": str(row.recipe.steps)}), target)
    return done


def weights_file(out: Path, name: str) -> Path:
    return out / f"{name}.safetensors"


def state_file(out: Path, name: str) -> Path:
    """Of a row that is no spec."""
    return out / f"{name}.state.pt"


def _pruned(like: nn.Module, state: Path) -> nn.Module:
    """What is left of the searched network at the widths of a plain one."""
    assert isinstance(like, SRResNet), "pruning gives a plain SRResNet"
    searched = DHP()
    searched.load_state_dict(torch.load(state, weights_only=True))
    widths = [len(value) for name, value in like.state_dict().items() if name.endswith("bias")]
    return searched.pruned(widths[0], widths[1], widths[-2] // 4)


@torch.no_grad()
def begin(network: nn.Module, weights: Weights) -> None:
    """Take what both have, but for masks: every row learns its own from the beginning."""
    for name, value in network.named_parameters():
        if name in weights.tensors and not any(part in name for part in ("spa_mask", "ch_mask")):
            value.copy_(torch.from_numpy(np.array(weights.tensors[name])))


def to_weights(network: nn.Module, spec: NetworkSpec, metadata: dict[str, str]) -> Weights:
    """The network's numbers, float32."""
    tensors = {n: p.detach().contiguous().numpy().copy() for n, p in network.named_parameters()}
    return Weights(spec, {name: tensors[name] for name in spec.shapes}, metadata)
