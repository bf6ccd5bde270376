"""Channel masks that follow from the frame, on the cuda engine: weights are ordered anew for each frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from host.device import HostDevice, HostMemory
from networks import image, moving, psnr, shortened, weights_of

from vs_smsr.engine import Overrides, Upscaled
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.cuda.buffers import buffers
from vs_smsr.engine.picture import Picture
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.families import smsr
from vs_smsr.network.masked import HARD, MaskedNetwork
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.weights import Weights

pytestmark = pytest.mark.usefixtures("gpp")
FP32_LIMIT, FP16_PSNR = 0.02, 50.0  # those of test_engine.py
PRECISIONS = ["fp32", "fp16"]
SHARES = {"none": (0, 0, 0, 0), "all": (1, 1, 1, 1), "one layer": (0, 1, 0, 0), "some": (0.3, 0.1, 0.02, 0.6)}


def weights(kind: str = "mixed", seed: int = 0) -> Weights:
    """Masks that the frame decides ("mixed"), or such shares of dense channels in the layers for any frame."""
    found, rng = weights_of(shortened(smsr.variant(2, "dynamic"), 2), seed), np.random.default_rng(seed)
    for name in [name for name in found.tensors if kind in SHARES and name.endswith("predict.2.bias")]:
        dense = np.where(rng.random((64, 4)) < np.array(SHARES[kind]), 1e4, -1e4)
        found.tensors[name][:] = np.stack([dense, np.zeros((64, 4))], -1).reshape(-1)
    return found


def engine(found: Weights, precision: str, **device: Any) -> CudaEngine:
    memory = HostMemory()
    return CudaEngine(found, lambda: HostDevice(memory=memory, **device), half=precision == "fp16")


def same(a: Upscaled, b: Upscaled) -> bool:
    """All bits."""
    pairs = [(a.frame, b.frame), *zip(a.masks, b.masks, strict=True), *zip(a.attention, b.attention, strict=True)]
    return all(np.array_equal(*pair) for pair in [*pairs, *zip(a.channels, b.channels, strict=True)])


@pytest.mark.parametrize("kind", ["mixed", *SHARES])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_the_reference(precision: str, kind: str) -> None:
    """By its own channel masks; with given spatial masks, which halves cannot flip."""
    found, cuda = weights(kind), engine(weights(kind), precision)
    for size in ((2, 2), (14, 26)):
        source = image(*size)
        masks = tuple((np.random.default_rng(k).random(size) < 0.4).astype(np.uint8) for k in range(2))
        wanted = ReferenceEngine(found).upscale(source, Overrides(masks=masks))
        got = cuda.upscale(source, Overrides(masks=masks))
        assert all(np.array_equal(a, b) for a, b in zip(got.channels, wanted.channels, strict=True))
        assert got.sparsity == wanted.sparsity
        if precision == "fp32":
            assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
        else:
            assert psnr(got.frame, wanted.frame) > FP16_PSNR
    if kind in SHARES:
        assert np.allclose(np.array(got.channels).mean((0, 2)), SHARES[kind], atol=0.1)


def test_it_is_the_network_in_pytorch() -> None:
    found, source = weights(), image(18, 34)
    module = MaskedNetwork(found.spec)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in found.tensors.items()})
    with torch.inference_mode():
        made, shares = module(torch.from_numpy(source).permute(2, 0, 1)[None], HARD)
    got = engine(found, "fp32").upscale(source)
    assert np.abs(got.frame - made[0].clamp(0, 255).permute(1, 2, 0).numpy()).max() < FP32_LIMIT
    assert np.allclose(1 - shares.numpy(), got.sparsity, atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_masks_are_those_of_the_frame(precision: str) -> None:
    """Whatever frame was there before, and whatever the order of blocks and threads."""
    frames = [image(10, 14), 255 - image(10, 14) / 3]
    wanted = [engine(weights(), precision, seed=1, multiprocessors=1).upscale(frame) for frame in frames]
    assert any(not np.array_equal(a, b) for a, b in zip(wanted[0].channels, wanted[1].channels, strict=True))
    cuda = engine(weights(), precision, seed=8, multiprocessors=5)
    for n in (0, 1, 1, 0):
        assert same(cuda.upscale(frames[n]), wanted[n])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tiles_change_no_bit(precision: str) -> None:
    cuda, source = engine(weights(), precision), image(21, 31)
    assert same(Tiler(cuda, TilingOptions(tile=16)).upscale(source), Tiler(cuda).upscale(source))


def test_held_masks_and_reuse_change_no_bit() -> None:
    cuda, clip = engine(weights(), "fp16"), moving(image(40, 48), brighter=90)
    options = TilingOptions(attention="held", memory=8 << 30)
    reusing, plain = Sequence(Tiler(cuda, options)), Sequence(Tiler(cuda, replace(options, reuse="off")))
    first = cuda.upscale(clip[0])
    for n, source in enumerate(clip):
        a, b = reusing.upscale(source, cut=n == 0), plain.upscale(source, cut=n == 0)
        assert same(a, b)
        assert all(np.array_equal(x, y) for x, y in zip(a.channels, first.channels, strict=True))
        assert n < 2 or 0 < a.reused < 1  # the second frame is kept for the third


def test_pictures_go_through_like_frames() -> None:
    cuda, source = engine(weights(), "fp16"), np.rint(image(10, 14)).astype(np.uint8)
    frame = cuda.upscale(source.astype(np.float32))
    futures = [cuda.submit(Picture.of(one)) for one in (source, 255 - source, source)]
    for future in (futures[0], futures[2]):
        assert np.array_equal(future.result().picture.planes[0], np.rint(frame.frame).astype(np.uint8))
        assert future.result().sparsity == frame.sparsity
    assert not np.array_equal(futures[1].result().picture.planes[0], futures[0].result().picture.planes[0])


@pytest.mark.parametrize("kind", ["mixed", "all"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_is_what_was_counted(precision: str, kind: str) -> None:
    """With all channels dense, too, when weights take the most."""
    memory = HostMemory()
    cuda = CudaEngine(weights(kind), lambda: HostDevice(memory=memory), half=precision == "fp16")
    before = memory.held
    cuda.upscale(image(6, 34))
    counted = cuda.memory.workspace(6, 34)
    assert memory.held - before <= counted
    assert counted <= memory.held - before + 512 * len(buffers(cuda.weights.spec, 6, 34, precision == "fp16"))
    assert memory.peak == memory.held  # nothing is allocated on the way
