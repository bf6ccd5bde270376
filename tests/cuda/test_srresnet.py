"""SRResNet on the cuda engine: a head of one convolution, linear last layers, no fuse, no collect, upsampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from host.device import HostDevice, HostMemory
from networks import image, moving, psnr, shortened, weights_of

from vs_smsr.engine import Overrides
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.picture import Picture
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.families import srresnet
from vs_smsr.network.masked import HARD, MaskedNetwork
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.weights import Weights

pytestmark = pytest.mark.usefixtures("gpp")
FP32_LIMIT, FP16_PSNR = 0.02, 50.0  # those of test_engine.py
PRECISIONS = ["fp32", "fp16"]
SPECS = {"masked": shortened(srresnet.spec(4)), "dense": shortened(srresnet.spec(4, masked=False))}


def engine(weights: Weights, precision: str, **device: Any) -> CudaEngine:
    memory = HostMemory()
    return CudaEngine(weights, lambda: HostDevice(memory=memory, **device), half=precision == "fp16")


def split(weights: Weights, dense: int) -> Weights:
    """With so many dense channels in every layer, scattered."""
    rng, tensors = np.random.default_rng(9), dict(weights.tensors)
    for name in [name for name in tensors if name.endswith("ch_mask")]:
        tensors[name] = np.zeros_like(tensors[name])
        tensors[name][..., 1] = 1
        for layer in range(tensors[name].shape[2]):
            tensors[name][0, rng.permutation(64)[:dense], layer] = (1, 0)
    return Weights(weights.spec, tensors)


def near(got: Frame, wanted: Frame, precision: str) -> bool:
    return bool(np.abs(got - wanted).max() < FP32_LIMIT if precision == "fp32" else psnr(got, wanted) > FP16_PSNR)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("size", [(2, 2), (19, 33), (38, 13)])
def test_it_is_the_network_in_pytorch(size: tuple[int, int], kind: str, precision: str) -> None:
    """With its own masks; the worst pixel is bounded where halves cannot flip a mask's pixel."""
    weights, source = weights_of(SPECS[kind]), image(*size)
    module = MaskedNetwork(weights.spec)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.tensors.items()})
    even = np.pad(source, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
    with torch.inference_mode():
        made, _ = module(torch.from_numpy(even).permute(2, 0, 1)[None], HARD)
    wanted = made[0].clamp(0, 255).permute(1, 2, 0).numpy()[: 4 * size[0], : 4 * size[1]]
    got = Tiler(engine(weights, precision)).upscale(source)
    assert got.frame.shape == (4 * size[0], 4 * size[1], 3)
    assert near(got.frame, wanted, precision)
    if kind == "masked" and size != (2, 2):
        assert 0.05 < np.mean(got.active) < 0.95, "masks that decide something"
        assert 0.05 < np.mean(got.sparsity) < 0.95
        assert 0 < got.active[-1] < 1, "a mask of the upsampling that decides something"
    if kind == "dense":
        assert got.active == (1.0,) * 3, "no mask of the upsampling"
    bicubic = Weights(weights.spec, {name: np.zeros_like(value) for name, value in weights.tensors.items()})
    base = Tiler(ReferenceEngine(bicubic)).upscale(source)
    assert np.abs(got.frame - base.frame).mean() > 1, "a result that is more than the bicubic base"


@pytest.mark.parametrize("dense", [0, 21, 64])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_given_masks(precision: str, share: float, dense: int) -> None:
    weights, source = split(weights_of(SPECS["masked"], seed=dense), dense), image(10, 22)
    masks = tuple((np.random.default_rng(k).random((10, 22)) < share).astype(np.uint8) for k in range(4))
    wanted = ReferenceEngine(weights).upscale(source, Overrides(masks=masks))
    got = engine(weights, precision).upscale(source, Overrides(masks=masks))
    assert near(got.frame, wanted.frame, precision)
    assert got.sparsity == wanted.sparsity


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", SPECS)
def test_tiles_change_no_bit(kind: str, precision: str) -> None:
    cuda, source = engine(weights_of(SPECS[kind]), precision), image(21, 31)
    whole = Tiler(cuda).upscale(source)
    tiled = Tiler(cuda, TilingOptions(tile=16)).upscale(source)
    assert np.array_equal(whole.frame, tiled.frame)
    assert all(np.array_equal(a, b) for a, b in zip(whole.masks, tiled.masks, strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_reuse_changes_no_bit(precision: str) -> None:
    cuda, clip = engine(weights_of(shortened(srresnet.spec(4), 2)), precision), moving(image(40, 48))
    options = TilingOptions(attention="held", memory=8 << 30)
    reusing, plain = Sequence(Tiler(cuda, options)), Sequence(Tiler(cuda, replace(options, reuse="off")))
    for n, one in enumerate(clip):
        a, b = reusing.upscale(one), plain.upscale(one)
        assert np.array_equal(a.frame, b.frame)
        assert n < 2 or 0 < a.reused < 1  # the second frame is kept for the third


def test_bits_depend_on_the_frame_alone() -> None:
    """Not on the number of multiprocessors, the order of blocks and threads, or what memory held."""
    weights, source = weights_of(SPECS["masked"]), image(10, 34)
    wanted = engine(weights, "fp16", seed=1, multiprocessors=1).upscale(source)
    other = engine(weights, "fp16", seed=8, multiprocessors=5)
    other.upscale(image(34, 10, seed=1))
    assert np.array_equal(other.upscale(source).frame, wanted.frame)


def test_pictures_go_through_like_frames() -> None:
    cuda, source = engine(weights_of(SPECS["masked"]), "fp16"), np.rint(image(9, 15)).astype(np.uint8)
    picture = cuda.upscale_picture(Picture.of(source)).picture
    frame = Tiler(cuda).upscale(source.astype(np.float32)).frame
    assert np.array_equal(picture.planes[0], np.rint(frame).astype(np.uint8))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_is_what_was_counted(precision: str) -> None:
    memory = HostMemory()
    cuda = CudaEngine(weights_of(SPECS["masked"]), lambda: HostDevice(memory=memory), half=precision == "fp16")
    before = memory.held
    cuda.upscale(image(6, 34))
    counted = cuda.memory.workspace(6, 34)
    assert memory.held - before <= counted <= memory.held - before + 512 * 40
    assert memory.peak == memory.held  # nothing is allocated on the way


def test_all_sixteen_blocks_fit() -> None:
    weights, source = weights_of(srresnet.spec(4)), image(6, 8)
    for block in weights.spec.blocks:
        weights.tensors[f"{block.layers[-1].name}.weight"] *= 0.3  # or features would grow from block to block
    masks = tuple((np.random.default_rng(k).random((6, 8)) < 0.5).astype(np.uint8) for k in range(17))
    wanted = ReferenceEngine(weights).upscale(source, Overrides(masks=masks))
    got = engine(weights, "fp32").upscale(source, Overrides(masks=masks))
    assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
