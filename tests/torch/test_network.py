"""The network: the authors' figures, hard form against soft form, sampled masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vs_smsr.families import smsr
from vs_smsr.network import SMSR, read_checkpoint, to_network, to_weights
from vs_smsr.network.smsr import MaskedConvolutions, gumbel_pair
from vs_smsr.training.validate import Validator

SHARED = Path(__file__).parents[2].parent / "shared"
OFFICIAL = SHARED / "weights" / "smsr_x2_official.pt"
needs_official = pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs ../shared: the authors' weights and Set5")


def network(scale: int = 2, seed: int = 0) -> SMSR:
    """A random network whose masks are mixed: half of the pixels, three quarters of the channels sparse."""
    torch.manual_seed(seed)
    result = SMSR(scale).eval()
    for module in result.body:
        module.body.ch_mask.data[..., 1] += 0.3
    return result


def image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


@needs_official
def test_official_state_dict_loads_strictly() -> None:
    state = torch.load(OFFICIAL, map_location="cpu", weights_only=True)
    SMSR(2).load_state_dict(state, strict=True)


@needs_official
def test_official_weights_give_the_published_psnr_on_set5() -> None:
    validator = Validator(SHARED / "data" / "set5" / "HR", 2)
    score = validator.score(to_network(read_checkpoint(OFFICIAL)), masked=True)
    assert score.psnr == pytest.approx(37.991, abs=0.003)
    dense = [
        1 - np.mean(counts) / 64
        for counts in ((24, 9, 3, 0), (16, 4, 1, 0), (16, 7, 1, 0), (3,) + (0,) * 3, (14, 5, 0, 0))
    ]
    assert score.sparsity == pytest.approx([(1 - a) * d for a, d in zip(score.active, dense, strict=True)])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_have_the_names_and_shapes_of_the_weights_format(scale: int) -> None:
    found = {name: tuple(p.shape) for name, p in SMSR(scale).named_parameters()}
    assert found == smsr.spec(scale).shapes


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(2, 2), (8, 18)])
def test_output_is_scale_times_as_large(scale: int, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        result = network(scale).hard_forward(image(*size))
    assert result.out.shape == (1, 3, size[0] * scale, size[1] * scale)
    assert all(mask.shape == (1, 1, *size) for mask in result.masks)


@pytest.mark.parametrize("active_share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("dense_count", [0, 1, 17, 64])
@pytest.mark.parametrize("soft", [False, True])
def test_decided_channels_equal_the_formula_of_the_paper(active_share: float, dense_count: int, soft: bool) -> None:
    """The hard form convolves all channels at once, the soft form splits the input: the same formula."""
    torch.manual_seed(1)
    body = MaskedConvolutions()
    features = torch.randn(2, 64, 9, 11)
    active = (torch.rand(2, 1, 9, 11) < active_share).float()
    if soft:
        active = torch.rand_like(active) * active
    dense = torch.zeros(64, 4, dtype=torch.bool)
    for layer in range(4):
        dense[torch.randperm(64)[:dense_count], layer] = True
    with torch.inference_mode():
        difference = (body.hard(features, active, dense) - body.soft(features, active, dense.float())).abs().max()
    assert difference < 2e-5


def test_an_inactive_dense_output_gets_nothing_from_active_neighbours() -> None:
    """One active pixel changes the second layer there and nowhere else, though dense channels are everywhere."""
    torch.manual_seed(2)
    body = MaskedConvolutions()
    body.collect.weight.data.zero_()
    body.collect.bias.data.zero_()
    for channel in range(64):
        body.collect.weight.data[channel, 64 + channel] = 1  # hands out the second layer as it is
    dense = torch.zeros(64, 4, dtype=torch.bool)
    dense[:8] = True
    features = torch.randn(1, 64, 5, 5)
    none, one = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
    one[..., 2, 2] = 1
    with torch.inference_mode():
        second = body.hard(features, none, dense)
        change = (body.hard(features, one, dense) - second).abs().amax((0, 1))
    assert second.abs().amax(1).min() > 0
    assert change[2, 2] > 0
    change = change.clone()
    change[2, 2] = 0
    assert change.max() == 0


def test_unmasked_form_equals_all_active_all_dense() -> None:
    body = MaskedConvolutions()
    features = torch.randn(1, 64, 6, 6)
    with torch.inference_mode():
        everything = body.soft(features, torch.ones(1, 1, 6, 6), torch.ones(64, 4))
        assert (body.unmasked(features) - everything).abs().max() < 2e-5


def test_given_masks_and_attention_are_used() -> None:
    net = network()
    x = image(12, 10)
    masks = tuple(
        (torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(k)) < 0.5).float() for k in range(5)
    )
    attention = tuple(torch.full((1, 64, 1, 1), 0.1 * (k + 1)) for k in range(5))
    with torch.inference_mode():
        own, given = net.hard_forward(x), net.hard_forward(x, masks, attention)
        again = net.hard_forward(x, own.masks, own.attention)
    assert all(torch.equal(a, b) for a, b in zip(given.masks + given.attention, masks + attention, strict=True))
    assert (given.out - own.out).abs().max() > 1e-3
    assert torch.equal(again.out, own.out)


def test_a_tied_channel_mask_is_dense_and_tied_logits_are_inactive() -> None:
    net = network()
    module = net.body[0]
    module.body.ch_mask.data[0, 5, 2] = 0.25
    assert module.body.hard_dense()[5, 2]
    module.spa_mask[5].weight.data.zero_()
    module.spa_mask[5].bias.data.zero_()
    with torch.inference_mode():
        assert net.hard_forward(image(8, 8)).masks[0].sum() == 0


def test_samples_follow_the_logits() -> None:
    """A sample's rounded value is a draw with the softmax probability, whatever the temperature."""
    torch.manual_seed(3)
    logits = torch.tensor([0.0, 1.0]).expand(40_000, 2)
    for tau in (0.3, 1.0):
        share = (gumbel_pair(logits, tau, 1) > 0.5).float().mean().item()
        assert share == pytest.approx(1 / (1 + np.exp(-1)), abs=0.01)


def test_tau_changes_the_samples() -> None:
    """The authors' trainer looks for a method that is not there, so its tau stays 1: ours must reach the masks."""
    net, x = network(), image(16, 16)

    def sampled(tau: float) -> Tensor:
        torch.manual_seed(7)
        with torch.inference_mode():
            return net(x, tau)[0]

    assert torch.equal(sampled(1.0), sampled(1.0))
    assert (sampled(1.0) - sampled(0.4)).abs().max() > 1e-3
    logits = torch.randn(1, 2, 64, 64)
    undecided = [((gumbel_pair(logits, tau, 1) - 0.5).abs() < 0.4).float().mean().item() for tau in (1.0, 0.4, 0.05)]
    assert undecided[0] > undecided[1] > undecided[2]


def test_gradients_reach_every_parameter_in_the_masked_form() -> None:
    net = network().train()
    out, computed, _ = net(image(16, 16), tau=1.0)
    (out.mean() + computed.mean()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_weights_survive_the_way_through_a_network() -> None:
    weights = to_weights(network(4), 4, {"note": "kept"})
    again = to_weights(to_network(weights), 4)
    assert all(np.array_equal(weights.tensors[name], again.tensors[name]) for name in smsr.spec(4).shapes)
    assert weights.metadata == {"note": "kept"}
