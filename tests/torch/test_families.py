"""The networks beside SMSR: each spec is held to a module written by hand, each engine to the reference."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr import Upscaler
from vs_smsr.cli.app import main
from vs_smsr.engine import Overrides
from vs_smsr.engine.contract import Frame, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.ahead import compile_backwards
from vs_smsr.engine.cpu.isa import choose, supported
from vs_smsr.engine.cuda.embedding import check
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.errors import EngineError
from vs_smsr.families import Convolution, MaskedBlock, NetworkSpec, guess, imdn, smsr, srresnet
from vs_smsr.network.masked import HARD, MaskedNetwork, gradient_mask
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.weights import Weights, load, store

UPSAMPLING = replace(  # a collect, which adds f_0, and upsampling after it
    smsr.spec(4),
    upsampling=(Convolution(name="up", inputs=64, outputs=256),),
    tail=Convolution(name="tail.0", inputs=64, outputs=12),
)
NETWORKS = {
    "smsr with upsampling": UPSAMPLING,
    "smsr without channel masks": smsr.variant(2, "none"),
    "smsr by gradient": smsr.variant(2, gradient=30.0),
    "srresnet": srresnet.spec(4),
    "srresnet, upsampling everywhere": replace(srresnet.spec(4), upsampling_mask=None),
    "srresnet, dense": srresnet.spec(4, masked=False),
    "imdn": imdn.spec(4),
    "imdn x3": imdn.spec(3),
    "imdn, dense": imdn.spec(2, masked=False),
}
PRECISIONS = ["fp32", *(["bf16"] if choose().bf16 else [])]


def shortened(spec: NetworkSpec, blocks: int = 3) -> NetworkSpec:
    """The same kinds of blocks, few of them: tests are quick."""
    collect = spec.collect and (replace(spec.collect[0], inputs=blocks * spec.width), spec.collect[1])
    return replace(spec, blocks=spec.blocks[:blocks], collect=collect)


def weights(spec: NetworkSpec, seed: int = 0) -> Weights:
    """Random numbers under which masks are mixed and the network's part in the picture is large."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in spec.shapes.items():
        fan = np.prod(shape[1:]) if len(shape) == 4 else 10
        gain = 1.4 if name.endswith("weight") else 1.0
        gain = 1 if name.endswith("ch_mask") else 1 / 15 if name.startswith(spec.head[0].name) else gain / fan**0.5
        tensors[name] = rng.normal(0, gain, shape).astype(np.float32)
        if name.endswith("spa_mask.5.bias"):
            tensors[name][:] = 0
    return Weights(spec, tensors)


def frame(height: int, width: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 128 + 70 * np.sin(x / 4)[..., None] * np.cos(y / 6)[..., None] + rng.normal(0, 12, (height, width, 3))
    waves[: height // 3] = 90
    return np.clip(waves, 0, 255).astype(np.float32)


def undistilled() -> MaskedBlock:
    """A block with contrast attention and nothing else that the cuda engine refuses."""
    attention = imdn.spec(2).blocks[0].attention
    return replace(smsr.spec(2).blocks[0], attention=attention)


def tensor(source: Frame) -> Tensor:
    return torch.from_numpy(source).permute(2, 0, 1)[None]


def run(network: nn.Module, source: Frame) -> Frame:
    with torch.inference_mode():
        found: Tensor = network(tensor(source))
    picture: Frame = found[0].clamp(0, 255).permute(1, 2, 0).numpy()
    return picture


def dense_part(source: Frame, made: Upscaled, scale: int) -> float:
    """How much of a result is the network's and not the bicubic base's."""
    base = F.interpolate(tensor(source), scale_factor=scale, mode="bicubic", align_corners=False)
    return float(np.abs(base[0].permute(1, 2, 0).numpy() - made.frame).mean())


def conv(inputs: int, outputs: int, size: int = 3, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)


def spatial_mask(inside: int) -> nn.Sequential:
    up = nn.ConvTranspose2d(inside, 2, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(conv(64, inside), nn.ReLU(), nn.AvgPool2d(2), conv(inside, inside), nn.ReLU(), up)


def decided(branch: nn.Sequential, features: Tensor) -> Tensor:
    logits = branch(features)
    return (logits[:, 1:] > logits[:, :1]).float()


class Masked(nn.Module):
    """What masks do to a convolution, as the paper's formula says it."""

    def layer(self, convolution: nn.Conv2d, values: Tensor, before: Tensor, number: int, mask: Tensor) -> Tensor:
        dense = self.dense(number, convolution.out_channels)
        out = convolution(values * before) + mask * convolution(values * (1 - before))
        return out * (dense + (1 - dense) * mask)

    def dense(self, number: int, outputs: int) -> Tensor:
        logits = self.ch_mask[0, :outputs, number]
        return (logits[:, 0] >= logits[:, 1]).float().view(1, -1, 1, 1)


class ResidualBlock(Masked):
    def __init__(self) -> None:
        super().__init__()
        self.spa_mask = spatial_mask(8)
        self.ch_mask = nn.Parameter(torch.rand(1, 64, 2, 2))
        self.conv1, self.conv2 = conv(64, 64, bias=False), conv(64, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mask = decided(self.spa_mask, x)
        first = self.layer(self.conv1, x, torch.ones(1), 0, mask).relu()
        return self.layer(self.conv2, first, self.dense(0, 64), 1, mask) + x


class SRResNet(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv_first, self.body = conv(3, 64), nn.Sequential(*(ResidualBlock() for _ in range(blocks)))
        self.upconv1, self.upconv2, self.conv_last = conv(64, 256), conv(64, 256), conv(64, 3)
        self.upconv = nn.ModuleDict({"spa_mask": spatial_mask(8)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.conv_first(x - torch.tensor(smsr.MEAN).view(1, 3, 1, 1)))
        quads = F.max_pool2d(decided(self.upconv["spa_mask"], y), 2)
        for up, larger in ((self.upconv1, 4), (self.upconv2, 8)):
            y = F.leaky_relu(F.pixel_shuffle(up(y), 2), 0.1) * F.interpolate(quads, scale_factor=larger)
        return self.conv_last(y) + F.interpolate(x, scale_factor=4, mode="bicubic", align_corners=False)


class DistillationModule(Masked):
    def __init__(self) -> None:
        super().__init__()
        self.spa_mask = spatial_mask(12)
        self.ch_mask = nn.Parameter(torch.rand(1, 64, 4, 2))
        self.c1, self.c2, self.c3 = conv(64, 64, bias=False), conv(48, 64, bias=False), conv(48, 64, bias=False)
        self.c4, self.c5 = conv(48, 16, bias=False), conv(64, 64, 1)
        self.cca = nn.ModuleDict({"conv_du": nn.Sequential(conv(64, 4, 1), nn.ReLU(), conv(4, 64, 1), nn.Sigmoid())})

    def forward(self, x: Tensor) -> Tensor:
        mask, rest, before, distilled = decided(self.spa_mask, x), x, torch.ones(1), []
        for number, layer in enumerate((self.c1, self.c2, self.c3)):
            out = F.leaky_relu(self.layer(layer, rest, before, number, mask), 0.05)
            part, rest = out.split((16, 48), 1)
            before = self.dense(number, 64)[:, 16:]
            distilled.append(part)
        distilled.append(self.layer(self.c4, rest, before, 3, mask))
        fused = self.c5(torch.cat(distilled, 1))
        contrast = fused.mean((2, 3), keepdim=True) + fused.std((2, 3), unbiased=False, keepdim=True)
        return fused * self.cca["conv_du"](contrast) + x


class IMDN(nn.Module):
    def __init__(self, scale: int, blocks: int) -> None:
        super().__init__()
        self.scale, self.blocks = scale, blocks
        self.fea_conv = conv(3, 64)
        for k in range(1, blocks + 1):
            self.add_module(f"IMDB{k}", DistillationModule())
        self.c = nn.Sequential(conv(64 * blocks, 64, 1), nn.LeakyReLU(0.05))
        self.LR_conv, self.upsampler = conv(64, 64), nn.Sequential(conv(64, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        start = y = self.fea_conv(x - torch.tensor(smsr.MEAN).view(1, 3, 1, 1))
        outputs = []
        for k in range(1, self.blocks + 1):
            y = self.get_submodule(f"IMDB{k}")(y)
            outputs.append(y)
        out = self.upsampler(self.LR_conv(self.c(torch.cat(outputs, 1))) + start)
        return out + F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        (shortened(srresnet.spec(4)), lambda: SRResNet(3)),
        (shortened(imdn.spec(4)), lambda: IMDN(4, 3)),
        (imdn.spec(3), lambda: IMDN(3, 6)),
    ],
    ids=["srresnet", "imdn", "imdn x3"],
)
def test_the_reference_engine_is_a_module_written_by_hand(spec, module):
    made, found = module().eval(), weights(spec)
    assert {name: tuple(value.shape) for name, value in made.named_parameters()} == spec.shapes
    made.load_state_dict({name: torch.from_numpy(value) for name, value in found.tensors.items()})
    source = frame(22, 30)
    result = ReferenceEngine(found).upscale(source)
    assert np.abs(result.frame - run(made, source)).max() < 2e-3
    assert any(0.1 < mask.mean() < 0.9 for mask in result.masks), "masks that decide something"
    assert dense_part(source, result, spec.scale) > 5, "a result that is more than the bicubic base"


@pytest.mark.parametrize("name", [*NETWORKS, "smsr"])
def test_the_module_for_training_is_the_reference_engine(name):
    spec = shortened(NETWORKS.get(name) or smsr.spec(2))
    found = weights(spec)
    network = MaskedNetwork(spec)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in found.tensors.items()})
    source = frame(20, 28)
    with torch.inference_mode():
        made, shares = network(tensor(source), HARD)
    result = ReferenceEngine(found).upscale(source)
    assert np.abs(made[0].clamp(0, 255).permute(1, 2, 0).numpy() - result.frame).max() < 2e-3
    if spec.blocks[0].channel_mask is None or spec.family == "smsr":  # else narrow layers count by their channels
        assert np.allclose(1 - shares.numpy(), result.sparsity, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_cpu_engine_is_near_the_reference(name, precision):
    found = weights(shortened(NETWORKS[name]))
    source = frame(31, 45)
    expected = Tiler(ReferenceEngine(found)).upscale(source)
    rng = np.random.default_rng(1)
    masks = tuple((rng.random((32, 46)) < 0.1 + 0.3 * (k % 3)).astype(np.uint8) for k in range(len(found.spec.masks)))
    padded = np.pad(source, ((0, 1), (0, 1), (0, 0)), mode="edge")
    engine = CpuEngine(found, precision=precision)
    given = engine.upscale(padded, Overrides(masks=masks))
    error = given.frame - ReferenceEngine(found).upscale(padded, Overrides(masks=masks)).frame
    if precision == "fp32":
        assert np.abs(error).max() < 0.02
        own = Tiler(engine).upscale(source)
        assert np.mean([a != b for a, b in zip(own.masks, expected.masks, strict=True)]) < 1e-3
    else:
        assert 10 * np.log10(255**2 / np.square(error).mean()) > 48


@pytest.mark.parametrize("isa", supported())
@pytest.mark.parametrize("name", ["srresnet", "imdn"])
def test_every_instruction_set(name, isa):
    found = weights(shortened(NETWORKS[name], 2))
    source = frame(14, 18)
    expected = ReferenceEngine(found).upscale(source)
    got = CpuEngine(found, isa=isa).upscale(source, Overrides(masks=expected.masks))
    assert np.abs(got.frame - expected.frame).max() < 0.02


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tiles_and_reuse_change_no_bit(name, precision):
    engine = CpuEngine(weights(shortened(NETWORKS[name])), precision=precision)
    source = frame(61, 77)
    whole = Tiler(engine).upscale(source)
    tiled = Tiler(engine, TilingOptions(tile=32)).upscale(source)
    assert np.array_equal(whole.frame, tiled.frame)
    assert all(np.array_equal(a, b) for a, b in zip(whole.masks, tiled.masks, strict=True))
    clip = [source]
    for n in range(2):
        following = clip[-1].copy()
        following[12 + 4 * n : 20 + 4 * n, 20:28] += 30
        clip.append(np.clip(following, 0, 255))
    options = TilingOptions(attention="held", memory=8 << 30)
    reusing, plain = Sequence(Tiler(engine, options)), Sequence(Tiler(engine, replace(options, reuse="off")))
    for n, one in enumerate(clip):
        a, b = reusing.upscale(one), plain.upscale(one)
        assert np.array_equal(a.frame, b.frame)
        assert all(np.array_equal(x, y) for x, y in zip(a.masks, b.masks, strict=True))
        assert n < 2 or 0 < a.reused < 1  # the second frame is kept for the third


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_of_every_network_are_compiled_ahead(name):
    compile_backwards(weights(shortened(NETWORKS[name], 2)), "fp32")


def test_masks_by_gradient_are_where_luma_jumps():
    source = np.full((12, 16, 3), 100, np.float32)
    source[4:, 6:] = 140
    made = ReferenceEngine(weights(shortened(smsr.variant(2, gradient=30.0)))).upscale(source)
    expected = np.zeros((12, 16), np.uint8)
    expected[3:5, 6:] = expected[4:, 5:7] = 1
    assert all(np.array_equal(mask, expected) for mask in made.masks)
    assert np.array_equal(gradient_mask(tensor(source), 30.0)[0, 0].numpy(), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_tells_what_is_in_it(name, tmp_path):
    found = weights(NETWORKS[name])
    store(found, tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors").spec == found.spec


@pytest.mark.parametrize("name", ["srresnet", "imdn"])
def test_the_doors_take_their_weights_like_any_others(name, tmp_path, monkeypatch):
    found = weights(shortened(NETWORKS[name], 2))
    store(found, tmp_path / "net.safetensors")
    small = np.rint(frame(21, 27)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "small.png"), small[..., ::-1])
    large = Upscaler(scale=4, weights=tmp_path / "net.safetensors", engine="cpu", precision="fp32").upscale(small)
    command = ["vs-smsr", "upscale", str(tmp_path / "small.png"), "--weights", str(tmp_path / "net.safetensors")]
    options = ["--engine", "cpu", "--precision", "fp32", "-o", str(tmp_path / "large.png")]
    monkeypatch.setattr(sys, "argv", [*command, *options])
    with suppress(SystemExit):
        main()
    assert np.array_equal(cv2.imread(str(tmp_path / "large.png"))[..., ::-1], large)


@pytest.mark.parametrize("spec", [srresnet.spec(4), imdn.spec(3), smsr.spec(2)])
def test_tensors_alone_tell_the_family(spec):
    assert guess(spec.shapes) == spec


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"size": 5}, "is masked and must be 3x3, got 5x5"),
        ({"bias": True}, "is masked and must have no bias"),
        ({"inputs": 32}, "must map 64 to 64 channels, got 32 to 64"),
    ],
)
def test_a_spec_refuses_what_no_engine_runs(change, rule):
    spec = srresnet.spec(4)
    block = spec.blocks[0]
    layers = (replace(block.layers[0], **change), *block.layers[1:])
    with pytest.raises(ValueError, match=rule):
        replace(spec, blocks=(replace(block, layers=layers), *spec.blocks[1:]))
    with pytest.raises(ValueError, match="scale must be a multiple of 4 for its upsampling, got 2"):
        replace(spec, scale=2)
    with pytest.raises(ValueError, match="without upsampling there is nothing to mask"):
        replace(imdn.spec(4), upsampling_mask=spec.upsampling_mask)
    with pytest.raises(ValueError, match="upsampling that is masked must follow the last block, got a collect"):
        replace(UPSAMPLING, upsampling_mask=spec.upsampling_mask)
    with pytest.raises(ValueError, match="must have one or two convolutions, got 3"):
        replace(spec, head=(Convolution(name="x", inputs=3, outputs=64),) * 3)


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (imdn.spec(4), "layers must pass on all their channels, without distilling some"),
        (replace(imdn.spec(2), blocks=(undistilled(),) * 6), "attention must be of means, without contrast"),
    ],
)
def test_the_cuda_engine_says_what_it_does_not_run(spec, rule):
    with pytest.raises(EngineError, match=f"cuda: {rule}. The reference engine runs this network"):
        check(spec)
