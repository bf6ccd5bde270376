"""The paper's rows: their sizes, the networks that masks are compared with, and the small trainer."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.families import smsr, srresnet
from vs_smsr.network.baselines import EDSR, IMDN, RCAN, SRResNet, basis
from vs_smsr.network.dhp import DHP
from vs_smsr.network.masked import HARD, STRAIGHT, MaskedNetwork
from vs_smsr.weights import load

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from paper import masks  # noqa: E402
from paper.counts import EXPLAINED, MODULES, SPECS, measured  # noqa: E402
from paper.training import Crops, Recipe, train  # noqa: E402

ROWS = [
    *("smsr_x2", "smsr_x3", "smsr_x4"),
    *("srresnet_x4", "srresnet_x4_masked_35", "srresnet_x4_masked_52"),
    *("imdn_x4", "imdn_x4_masked_22", "imdn_x4_masked_42"),
    *("srresnet_x4_basis_40", "srresnet_x4_basis_50", "srresnet_x4_dhp_38", "srresnet_x4_dhp_58"),
    *("imdn_x4_basis_17", "imdn_x4_basis_40"),
]


def test_all_rows_are_within_a_percent_of_what_is_printed_or_explained(tmp_path):
    command = [sys.executable, str(SCRIPTS / "reproduce.py"), "flops", "--json", str(tmp_path / "flops.json")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = json.loads((tmp_path / "flops.json").read_text())
    assert set(ROWS) <= set(rows)
    for name in ROWS:
        row = rows[name]
        assert row["gflops_720p"] == pytest.approx(row["paper_gflops"], rel=0.01), name
        if name in EXPLAINED:
            assert row["params"] == pytest.approx(row["paper_params"], rel=0.05)
            assert EXPLAINED[name] in printed
        else:
            assert row["params"] == pytest.approx(row["paper_params"], rel=0.01), name
        assert 0 < row.get("sparsity", 0.5) < 1


@pytest.mark.parametrize("name", ["srresnet_x4", "imdn_x4"])
def test_modules_are_counted_as_specs_are(name):
    module = {"srresnet_x4": SRResNet, "imdn_x4": lambda: IMDN(4)}[name]()
    spec, _ = SPECS[name]
    assert measured(module, 4) == pytest.approx(spec.macs * 57600 / 1e9, rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SRResNet(make=basis(8)),
        lambda: IMDN(3, basis(8)),
        DHP,
        lambda: EDSR(2, 16, 2),
        lambda: RCAN(4, 16, 2, 2),
    ],
    ids=["basis", "imdn basis", "dhp", "edsr", "rcan"],
)
def test_what_masks_are_compared_with_learns(make):
    torch.manual_seed(0)
    network = make()
    small = torch.rand(2, 3, 8, 8) * 255
    out, shares = network(small, None)
    assert out.shape == (2, 3, 8 * network.scale, 8 * network.scale)
    assert shares.tolist() == [1]
    (out - 128).abs().mean().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert all("attention" in name for name in missing), missing  # whose relu may be shut for one random input


def test_pruned_channels_are_those_that_say_nothing():
    """A DHP network whose other latent elements are 0 is its pruned network."""
    torch.manual_seed(0)
    network = DHP(width=12, blocks=2)
    latents = (network.trunk, *network.inside, network.up)
    with torch.no_grad():
        for latent, kept in zip(latents, (7, 5, 5, 6), strict=True):
            latent[torch.randperm(12)[kept:]] = 0
    network.shrink(1e-3)
    pruned = network.pruned(7, 5, 6)
    pruned.body = pruned.body[:2]
    x = torch.rand(1, 3, 10, 10) * 255
    with torch.inference_mode():
        assert torch.allclose(network(x)[0], pruned(x)[0], atol=1e-2)
    assert all(value == 0 for value in network.trunk[network.trunk.abs() < 1e-3])


@pytest.mark.parametrize("name", MODULES)
def test_every_module_row_can_be_made(name):
    make, printed = MODULES[name]
    assert sum(p.numel() for p in make().parameters()) == pytest.approx(printed.params, rel=0.05)


SHALLOW = replace(srresnet.spec(4), blocks=srresnet.spec(4).blocks[:2])
DRAWN_AT_FIRST = Recipe(steps=4, batch=1, patch=8, sparsity=0.5, settled=0.5, learning=True)
CHOSEN = replace(DRAWN_AT_FIRST, settled=1, upsampling=0.3, dense=(0.5, 0.25))


@pytest.mark.parametrize(
    ("spec", "recipe"), [(smsr.variant(2, "dynamic"), DRAWN_AT_FIRST), (SHALLOW, CHOSEN)], ids=["drawn", "chosen"]
)
def test_a_row_that_is_stopped_goes_on_to_the_same_numbers(tmp_path, spec, recipe):
    rng = np.random.default_rng(0)
    for n in range(2):
        cv2.imwrite(str(tmp_path / f"{n}.png"), cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (72, 72)))
    crops = Crops(tmp_path, spec.scale, 2)

    def network() -> MaskedNetwork:
        torch.manual_seed(0)
        return MaskedNetwork(spec)

    whole, parts = network(), network()
    assert train(whole, recipe, crops, tmp_path / "whole.pt")
    assert not train(parts, recipe, crops, tmp_path / "parts.pt", stop=2)
    parts = network()
    assert train(parts, recipe, crops, tmp_path / "parts.pt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_committed_rows_are_small_and_load():
    files = sorted((SCRIPTS.parent / "reproduction").glob("*.safetensors"))
    assert files
    assert max(path.stat().st_size for path in files) < 3.2e6
    assert sum(path.stat().st_size for path in files) < 12e6
    for path in files:
        CpuEngine(load(path))


def test_decided_masks_learn():
    torch.manual_seed(0)
    spec = srresnet.spec(4)
    network, x = MaskedNetwork(replace(spec, blocks=spec.blocks[:2])), torch.rand(1, 3, 16, 16) * 255
    out, shares = network(x, STRAIGHT)
    assert 0 < shares.min() < shares.max() <= 1
    with torch.inference_mode():
        assert torch.equal(network(x, HARD)[0], out)
    (out - 128).abs().mean().backward()
    branches = {name: p.grad for name, p in network.named_parameters() if "spa_mask" in name}
    assert len(branches) == 3 * 6
    assert all(grad is not None and grad.abs().max() > 0 for grad in branches.values())


def test_the_pressure_holds_what_is_computed():
    hold, computed = masks.Hold(0.4, share=0.4, pressure=0.5), 0.7
    for _ in range(400):
        hold.adjust(computed)
        computed += 0.1 * (0.9 - 0.5 * hold.pressure - computed)  # who pays for what is computed does less
    assert computed == pytest.approx(0.4, abs=0.02)


def test_the_upsampling_is_taught_where_the_base_is_far_from_hr():
    torch.manual_seed(0)
    spec = srresnet.spec(4)
    network = MaskedNetwork(replace(spec, blocks=spec.blocks[:1]))
    small = torch.full((1, 3, 16, 16), 90.0)
    large = F.interpolate(small, scale_factor=4)
    large[..., :32] += 20 * torch.rand(1, 3, 64, 32)  # flat on the right
    quads, optimizer = masks.Quads(0.5, [(small, large)]), torch.optim.Adam(network.parameters(), 0.01)
    assert 0 < quads.limit < 20
    small[..., :8] += 20 * torch.rand(1, 3, 16, 8)  # which the network sees
    for _ in range(60):
        network(small, STRAIGHT)
        optimizer.zero_grad()
        quads.loss(network, small, large).backward()
        optimizer.step()
    on = network.quads[0, 0] > 0
    assert on[:, :3].all()
    assert not on[:, 5:].any()
    limit = quads.limit
    quads.aim(0.7)
    assert quads.limit > limit
    quads.aim(0.3)
    assert quads.limit == pytest.approx(limit)


def test_strong_channels_are_dense():
    torch.manual_seed(0)
    network = MaskedNetwork(srresnet.spec(4))
    numbers = dict(network.named_parameters())
    with torch.no_grad():
        numbers["body.2.conv1.weight"][5] *= 9
        numbers["body.2.conv2.weight"][:, 7] *= 9  # who reads channel 7
        numbers["body.2.conv2.weight"][11] *= 9
    masks.choose_channels(network, (2 / 64, 1 / 64))
    first, second = numbers["body.2.ch_mask"][0].permute(1, 0, 2)
    assert (first[:, 0] > first[:, 1]).nonzero().flatten().tolist() == [5, 7]
    assert (second[:, 0] > second[:, 1]).nonzero().flatten().tolist() == [11]


def test_what_crops_are_held_to_gives_the_wanted_share_of_pictures():
    hold = masks.Hold(0.4)
    hold.aim(crops=0.7, pictures=0.5)
    assert hold.share == pytest.approx(0.6)


def test_masks_settle_at_the_wanted_share(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(3):
        cv2.imwrite(str(tmp_path / f"{n}.png"), cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (96, 96)))
    crops, recipe = Crops(tmp_path, 2, 3), Recipe(steps=12, batch=2, patch=16, sparsity=0.6)
    torch.manual_seed(0)
    network = MaskedNetwork(smsr.variant(2, "static"))
    assert train(network, recipe, crops, tmp_path / "row.pt")
    with torch.inference_mode():
        shares = torch.stack([network(image, HARD)[1] for image in crops.small(3)])
    assert float(shares.mean()) == pytest.approx(0.4, abs=0.03)
