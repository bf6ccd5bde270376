"""A network that only this file knows: a spec and a PyTorch module are all that it takes to run everywhere.

Other widths than SMSR's, three masked blocks of three layers, no channel masks, no attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from host.device import HostDevice, HostMemory
from networks import moving
from torch import Tensor, nn

from vs_smsr import families
from vs_smsr.engine import Engine, Overrides
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.isa import choose, supported
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.errors import EngineError, WeightsError
from vs_smsr.families import Convolution, Family, LearnedMask, MaskedBlock, NetworkSpec
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.weights import Weights, load, store

pytestmark = pytest.mark.usefixtures("gpp")
WIDTH, BLOCKS, LAYERS, MASK = 48, 3, 3, 8
ENGINES = ["reference", "cpu fp32", *(["cpu bf16"] if choose().bf16 else []), "cuda fp32", "cuda fp16"]


def toy(scale: int) -> NetworkSpec:
    """The spec of the toy network."""
    c = WIDTH

    def block(name: str) -> MaskedBlock:
        return MaskedBlock(
            mask=LearnedMask(
                first=Convolution(name=f"{name}.look", inputs=c, outputs=MASK),
                second=Convolution(name=f"{name}.think", inputs=MASK, outputs=MASK),
                decide=Convolution(name=f"{name}.decide", inputs=MASK, outputs=2, transposed=True),
            ),
            layers=tuple(
                Convolution(name=f"{name}.layers.{i}", inputs=c, outputs=c, bias=False) for i in range(LAYERS)
            ),
            channel_mask=None,
            fuse=Convolution(name=f"{name}.fuse", inputs=LAYERS * c, outputs=c, size=1),
            attention=None,
        )

    return NetworkSpec(
        family="toy",
        version=1,
        scale=scale,
        mean=(100.0, 110.0, 120.0),
        head=(Convolution(name="first", inputs=3, outputs=c), Convolution(name="second", inputs=c, outputs=c)),
        blocks=tuple(block(f"blocks.{k}") for k in range(BLOCKS)),
        collect=(
            Convolution(name="merge", inputs=BLOCKS * c, outputs=c, size=1),
            Convolution(name="mix", inputs=c, outputs=c),
        ),
        tail=Convolution(name="tail", inputs=c, outputs=3 * scale**2),
    )


class Block(nn.Module):
    """A masked block: at inactive pixels all layers are 0, for there are no dense channels."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.think = nn.Conv2d(WIDTH, MASK, 3, padding=1), nn.Conv2d(MASK, MASK, 3, padding=1)
        self.decide = nn.ConvTranspose2d(MASK, 2, 3, stride=2, padding=1, output_padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False) for _ in range(LAYERS))
        self.fuse = nn.Conv2d(LAYERS * WIDTH, WIDTH, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.decide(self.think(F.avg_pool2d(self.look(features).relu(), 2)).relu())
        mask = (logits[:, 1:] > logits[:, :1]).float()
        values, outputs = features, []
        for layer in self.layers:
            values = (mask * layer(values)).relu()
            outputs.append(values)
        return self.fuse(torch.cat(outputs, 1)) + features, mask


class Toy(nn.Module):
    """The network in PyTorch."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.second = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.merge, self.mix = nn.Conv2d(BLOCKS * WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.tail = nn.Conv2d(WIDTH, 3 * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        mean = torch.tensor([100.0, 110.0, 120.0]).view(1, 3, 1, 1)
        features = start = self.second(self.first(x - mean).relu())
        outputs, masks = [], []
        for block in self.blocks:
            features, mask = block(features)
            outputs.append(features)
            masks.append(mask)
        merged = self.mix(self.merge(torch.cat(outputs, 1)).relu()) + start
        base = F.interpolate(x - mean, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return (F.pixel_shuffle(self.tail(merged), self.scale) + base + mean).clamp(0, 255), masks


def network(scale: int = 2) -> Toy:
    """Random numbers under which masks are mixed and the result is a picture."""
    torch.manual_seed(2)
    made = Toy(scale).eval()
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            gain = 1 / 60 if name.startswith("first") else 1.2
            fan = tensor[0].numel() if tensor.ndim > 1 else 10
            tensor.normal_(0, gain / fan**0.5)
            if name.endswith("decide.bias"):
                tensor.zero_()
    return made


def weights(scale: int = 2) -> Weights:
    tensors = {name: value.detach().numpy().copy() for name, value in network(scale).named_parameters()}
    return Weights(toy(scale), tensors)


def frame(height: int, width: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 128 + 90 * np.sin(x / 4)[..., None] * np.cos(y / 6)[..., None] + rng.normal(0, 12, (height, width, 3))
    waves[: height // 3] = 90
    return np.clip(waves, 0, 255).astype(np.float32)


def engine(kind: str, scale: int = 2) -> Engine:
    name, _, precision = kind.partition(" ")
    if name == "reference":
        return ReferenceEngine(weights(scale))
    if name == "cpu":
        return CpuEngine(weights(scale), precision=precision)
    memory = HostMemory()
    return CudaEngine(weights(scale), lambda: HostDevice(80, memory=memory), half=precision == "fp16")


def test_the_spec_names_the_tensors_of_the_module():
    assert {name: tuple(value.shape) for name, value in network().named_parameters()} == toy(2).shapes


@pytest.mark.parametrize("scale", [2, 3])
def test_the_reference_engine_is_the_module(scale):
    source = frame(20, 28)
    with torch.inference_mode():
        expected, masks = network(scale)(torch.from_numpy(source).permute(2, 0, 1)[None])
    got = ReferenceEngine(weights(scale)).upscale(source)
    assert np.abs(got.frame - expected[0].permute(1, 2, 0).numpy()).max() < 1e-3
    assert all(np.array_equal(a, b[0, 0].numpy()) for a, b in zip(got.masks, masks, strict=True))
    assert all(0.1 < mask.mean() < 0.9 for mask in got.masks), "masks that decide something"


@pytest.mark.parametrize("kind", ENGINES[1:])
def test_every_engine_is_near_the_reference(kind):
    source = frame(22, 30)
    expected = ReferenceEngine(weights()).upscale(source)
    got = engine(kind).upscale(source, Overrides(masks=expected.masks))
    error = np.abs(got.frame - expected.frame)
    exact = kind.endswith("fp32")
    assert error.max() < (0.01 if exact else 4)
    assert np.sqrt(np.square(error).mean()) < (0.001 if exact else 0.6)
    own = engine(kind).upscale(source)
    flipped = np.mean([a != b for a, b in zip(own.masks, expected.masks, strict=True)])
    assert flipped < (1e-3 if exact else 0.01)
    assert len(own.sparsity) == len(own.attention) == BLOCKS


@pytest.mark.parametrize("isa", supported())
def test_every_instruction_set(isa):
    source = frame(14, 18)
    expected = ReferenceEngine(weights(3)).upscale(source)
    got = CpuEngine(weights(3), isa=isa).upscale(source, Overrides(masks=expected.masks))
    assert np.abs(got.frame - expected.frame).max() < 0.01


@pytest.mark.parametrize("kind", ENGINES)
def test_tiles_change_no_bit(kind):
    source = frame(50, 66)
    made = engine(kind)
    whole = Tiler(made).upscale(source)
    tiled = Tiler(made, TilingOptions(tile=32)).upscale(source)
    exact = kind != "reference"  # PyTorch's own convolutions differ by the size of their input
    if exact:
        assert np.array_equal(whole.frame, tiled.frame)
        assert all(np.array_equal(a, b) for a, b in zip(whole.masks, tiled.masks, strict=True))
    else:
        assert np.abs(whole.frame - tiled.frame).max() < 1e-3


@pytest.mark.parametrize("kind", [kind for kind in ENGINES if kind != "reference"])
def test_reuse_changes_no_bit(kind):
    made, clip = engine(kind), moving(frame(48, 64))
    options = TilingOptions(attention="held", memory=4 << 30)
    reusing, plain = Sequence(Tiler(made, options)), Sequence(Tiler(made, replace(options, reuse="off")))
    for n, source in enumerate(clip):
        a, b = reusing.upscale(source), plain.upscale(source)
        assert np.array_equal(a.frame, b.frame)
        assert n < 2 or 0 < a.reused < 1  # the second frame is kept for the third


@pytest.fixture
def known() -> Iterator[None]:
    """The family, known to `load` for the length of a test."""
    before = dict(families._families)
    families.register(Family(name="toy", version=1, spec=toy))
    yield
    families._families.clear()
    families._families.update(before)


def test_a_file_tells_its_family(known: None, tmp_path: Path):
    store(weights(), tmp_path / "toy.safetensors", np.float32)
    found = load(tmp_path / "toy.safetensors")
    assert found.spec == toy(2)
    source = frame(16, 16)
    assert np.array_equal(CpuEngine(found).upscale(source).frame, CpuEngine(weights()).upscale(source).frame)


def test_an_unknown_family_or_version_is_one_clear_error(tmp_path: Path):
    store(weights(), tmp_path / "toy.safetensors")
    with pytest.raises(WeightsError, match=r"family must be one of imdn, smsr, srresnet, got 'toy'"):
        load(tmp_path / "toy.safetensors")
    newer = replace(families.family("smsr").spec(2), version=99)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in newer.shapes.items()}
    store(Weights(newer, tensors), tmp_path / "newer.safetensors")
    with pytest.raises(WeightsError, match="version of smsr must be 1 to 1, got 99"):
        load(tmp_path / "newer.safetensors")


def test_what_the_kernels_cannot_run_is_one_clear_error():
    spec = toy(2)
    wide = replace(spec, tail=replace(spec.tail, size=5))
    tensors = {name: np.zeros(shape, np.float32) for name, shape in wide.shapes.items()}
    with pytest.raises(EngineError, match="tail must be 3x3, got 5x5"):
        CpuEngine(Weights(wide, tensors))
