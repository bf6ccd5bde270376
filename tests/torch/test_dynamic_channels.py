"""Channel masks that follow from the frame: every engine against PyTorch, in tiles, held and reused."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vs_smsr.engine import Engine, Overrides, create
from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.isa import choose
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.families import DynamicChannels, NetworkSpec, smsr
from vs_smsr.network.masked import HARD, MaskedNetwork
from vs_smsr.options import EngineOptions, TilingOptions
from vs_smsr.tiling import Sequence, Tiler, planner
from vs_smsr.weights import Weights, load, store

PRECISIONS = ["fp32", *(["bf16"] if choose().bf16 else [])]
LIMIT, LEAST = 0.02, 48.0  # of 0..255 in fp32; dB in bf16
KINDS = ("mixed", "none", "all", "all, none, all, none", "some of one layer")


def spec(blocks: int = 3) -> NetworkSpec:
    found = smsr.variant(2, "dynamic")
    assert found.collect is not None
    collect = replace(found.collect[0], inputs=blocks * found.width), found.collect[1]
    return replace(found, blocks=found.blocks[:blocks], collect=collect)


def weights(kind: str = "mixed", seed: int = 0) -> Weights:
    """Random numbers under which the frame moves channel masks ("mixed"), or masks of a kind for any frame."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in spec().shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 15 if name == "head.0.weight" else 1.4 / fan_in**0.5 if len(shape) > 1 else 0.3
        tensors[name] = rng.normal(0, gain, shape).astype(np.float32)
        if name.endswith("spa_mask.5.bias"):
            tensors[name][:] = 0
    share = {"none": (0, 0, 0, 0), "all": (1, 1, 1, 1), "all, none, all, none": (1, 0, 1, 0)}
    chosen = share.get(kind, (0, 0.1, 0, 0) if kind == "some of one layer" else None)
    for name in [name for name in tensors if chosen is not None and name.endswith("predict.2.bias")]:
        dense = rng.random((64, 4)) < np.array(chosen)
        tensors[name][:] = np.stack([np.where(dense, 1e4, -1e4), np.zeros((64, 4))], -1).reshape(-1)
    return Weights(spec(), tensors)


def picture(height: int, width: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 128 + 70 * np.sin(x / (4 + seed))[..., None] * np.cos(y / 6)[..., None]
    waves = waves + rng.normal(0, 12, (height, width, 3)) + np.array([40, -20, 10]) * seed
    waves[: height // 3] = 90
    return np.clip(waves, 0, 255).astype(np.float32)


def in_pytorch(found: Weights, source: Frame) -> tuple[Frame, np.ndarray]:
    """The frame with even sides enlarged, and the shares of positions that are computed, (blocks,)."""
    module = MaskedNetwork(found.spec)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in found.tensors.items()})
    with torch.inference_mode():
        made, shares = module(torch.from_numpy(source).permute(2, 0, 1)[None], HARD)
    return made[0].clamp(0, 255).permute(1, 2, 0).numpy(), shares.numpy()


def near(got: Frame, wanted: Frame, precision: str) -> bool:
    if precision == "fp32":
        return bool(np.abs(got - wanted).max() < LIMIT)
    return bool(10 * np.log10(255**2 / np.square(got - wanted).mean()) > LEAST)


def same(a: Upscaled, b: Upscaled) -> bool:
    """All bits of results of one size."""
    pairs = [(a.frame, b.frame), *zip(a.masks, b.masks, strict=True), *zip(a.attention, b.attention, strict=True)]
    return all(np.array_equal(*pair) for pair in [*pairs, *zip(a.channels, b.channels, strict=True)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(2, 2), (18, 34), (46, 22)])
def test_every_engine_is_the_module_in_pytorch(size: tuple[int, int], kind: str) -> None:
    found, source = weights(kind), picture(*size)
    wanted, shares = in_pytorch(found, source)
    made: list[Engine] = [ReferenceEngine(found), *(CpuEngine(found, precision=precision) for precision in PRECISIONS)]
    for engine in made:
        got = engine.upscale(source)
        assert near(got.frame, wanted, engine.precision), engine.name
        if engine.precision == "fp32":
            assert np.allclose(1 - shares, got.sparsity, atol=1e-4), engine.name
        dense = np.array(got.channels).mean((0, 2))  # by layers
        expected = {"none": [0, 0, 0, 0], "all": [1, 1, 1, 1], "all, none, all, none": [1, 0, 1, 0]}.get(kind)
        if expected:
            assert dense.tolist() == expected
        else:
            assert 0.02 < dense[1] < 0.98
    assert np.abs(wanted - in_pytorch(replace(found, tensors=found.tensors | flipped(found)), source)[0]).max() > 1


def flipped(found: Weights) -> dict[str, np.ndarray]:
    """Tensors under which the other channels are dense: what the masks do must show."""
    last = [name for name in found.tensors if ".predict.2." in name]
    return {name: -found.tensors[name] for name in last}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_masks_are_those_of_the_frame(precision: str) -> None:
    """Frames one after the other through the same buffers and packings, and at the same time from two threads."""
    found, sources = weights(), [picture(20, 26, seed) for seed in (0, 3)]
    engine = CpuEngine(found, precision=precision, threads=2)
    wanted = [CpuEngine(found, precision=precision).upscale(source) for source in sources]
    assert any(not np.array_equal(a, b) for a, b in zip(wanted[0].channels, wanted[1].channels, strict=True))
    for n in (0, 1, 1, 0):
        assert same(engine.upscale(sources[n]), wanted[n])
    results: dict[int, list[Upscaled]] = {0: [], 1: []}

    def work(n: int) -> None:
        results[n] = [engine.upscale(sources[n]) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(n,)) for n in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(found) == 4 and all(same(one, wanted[n]) for one in found) for n, found in results.items())


def test_weights_are_packed_anew_only_for_other_masks() -> None:
    network = CpuEngine(weights())._network
    dense = np.random.default_rng(0).random((4, 64)) < 0.5
    first = network.block_for(0, dense)
    assert network.block_for(0, dense.copy()) is first
    assert network.block_for(0, ~dense) is not first


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_change_no_bit(kind: str, precision: str) -> None:
    engine = CpuEngine(weights(kind), precision=precision)
    source = picture(61, 77)
    whole = Tiler(engine).upscale(source)
    assert same(Tiler(engine, TilingOptions(tile=32)).upscale(source), whole)


def test_windows_that_do_not_need_each_other_take_given_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only with the attention and the channel masks: with the attention alone a frame goes by stages."""
    monkeypatch.setattr(planner, "LEAST_INDEPENDENT", 8)
    engine = CpuEngine(weights())
    source, other = picture(120, 44), Tiler(engine).upscale(picture(120, 44, 3))
    tiler = Tiler(engine, TilingOptions(tile=96))
    assert tiler.plan(120, 44).independent
    for means in (other.means, Overrides(attention=other.attention)):
        whole = Tiler(engine).upscale(source, means)
        assert same(tiler.upscale(source, means), whole)
        taken_over = all(np.array_equal(a, b) for a, b in zip(whole.channels, other.channels, strict=True))
        assert taken_over == (means.channels is not None)


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_held_masks_and_reuse_change_no_bit(precision: str, tile: int) -> None:
    engine = CpuEngine(weights(), precision=precision)
    clip = [picture(60, 76)]
    for n in range(2):
        following = clip[-1].copy()
        following[12 + 4 * n : 20 + 4 * n, 20:28] += 90
        clip.append(np.clip(following, 0, 255))
    clip.append(picture(60, 76, 3))
    options = TilingOptions(attention="held", memory=8 << 30, tile=tile)
    reusing, plain = Sequence(Tiler(engine, options)), Sequence(Tiler(engine, replace(options, reuse="off")))
    first = engine.upscale(clip[0])
    assert any(not np.array_equal(a, b) for a, b in zip(first.channels, engine.upscale(clip[3]).channels, strict=True))
    for n, source in enumerate(clip):
        engine.upscale(clip[3])  # somebody else's frame between: what its buffers hold is that frame's
        a, b = reusing.upscale(source, cut=n == 0), plain.upscale(source, cut=n == 0)
        assert same(a, b)
        assert same(b, engine.upscale(source, first.means))
        assert a.sparsity == b.sparsity
        assert all(np.array_equal(x, y) for x, y in zip(a.channels, first.channels, strict=True))
        assert tile or n != 2 or 0 < a.reused < 1  # the second frame is kept for the third


def test_a_file_brings_them(tmp_path: Path) -> None:
    store(weights(), tmp_path / "net.safetensors", np.float32)
    found = load(tmp_path / "net.safetensors")
    assert all(isinstance(block.channel_mask, DynamicChannels) for block in found.spec.blocks)
    options = EngineOptions(scale=2, engine="cpu", precision="fp32", weights=tmp_path / "net.safetensors")
    source = picture(14, 18)
    assert same(create(options).upscale(source), CpuEngine(weights()).upscale(source))
