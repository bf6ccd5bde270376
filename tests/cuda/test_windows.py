"""The cuda engine by stages and windows, as `engine.tiled` drives it, on the emulator."""

from __future__ import annotations

import numpy as np
import pytest
from host.device import HostDevice, HostMemory
from networks import MIXED, NONE, image, masks, network

from vs_smsr.engine import State
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.tiled import STAGES, InMemory, TiledWalk
from vs_smsr.engine.window import Window
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Tiler

pytestmark = pytest.mark.usefixtures("gpp")
HEIGHT, WIDTH = 20, 26
NEAR = {"fp32": 1e-3, "fp16": 0.05}  # of 0..255: attention from sums of totals instead of sums of layers


def engine(precision: str, stack: tuple[int, ...] = MIXED) -> CudaEngine:
    memory = HostMemory()
    return CudaEngine(network(stack), lambda: HostDevice(memory=memory), half=precision == "fp16")


def cores(side: int) -> list[Window]:
    return [
        Window(top, left, min(top + side, HEIGHT), min(left + side, WIDTH))
        for top in range(0, HEIGHT, side)
        for left in range(0, WIDTH, side)
    ]


def tiled(cuda: CudaEngine, state: State, side: int) -> np.ndarray:
    walk = TiledWalk(cuda, [InMemory(HEIGHT, WIDTH) for _ in range(STAGES)], HEIGHT, WIDTH)
    return walk.upscale(image(HEIGHT, WIDTH), state, cores(side)).frame


@pytest.mark.parametrize("stack", [MIXED, NONE])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tiles_make_no_seams(precision: str, stack: tuple[int, ...]) -> None:
    """Masks given, so that no near tie can flip: equal to the whole frame, and every tiling gives the same bits."""
    cuda = engine(precision, stack)
    state = State(masks=masks(0.4, HEIGHT, WIDTH))
    whole = cuda.upscale(image(HEIGHT, WIDTH), state)
    results = [tiled(cuda, state, side) for side in (12, 26)]
    assert np.array_equal(*results)
    assert np.abs(results[0] - whole.frame).max() < NEAR[precision]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_own_masks_and_given_attention(precision: str) -> None:
    cuda = engine(precision)
    frame = image(HEIGHT, WIDTH)
    whole = cuda.upscale(frame)
    walk = TiledWalk(cuda, [InMemory(HEIGHT, WIDTH) for _ in range(STAGES)], HEIGHT, WIDTH)
    got = walk.upscale(frame, State(attention=whole.attention), cores(12))
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, whole.masks, strict=True))
    assert np.array_equal(got.frame, whole.frame)  # the same attention: not a bit differs


def test_stages_that_are_kept_are_those_of_the_tiles() -> None:
    cuda, frame = engine("fp16"), image(HEIGHT, WIDTH)
    state = State(masks=masks(0.4, HEIGHT, WIDTH), attention=(np.full(64, 0.5, np.float32),) * 5)
    kept, walked = (TiledWalk(cuda, [InMemory(HEIGHT, WIDTH) for _ in range(STAGES)], HEIGHT, WIDTH) for _ in range(2))
    results = kept.keep(frame, state).frame, walked.upscale(frame, state, cores(12)).frame
    everything = Window(0, 0, HEIGHT, WIDTH)
    for stage, (a, b) in enumerate(zip(kept.stores, walked.stores, strict=True)):
        assert np.array_equal(a.read(everything), b.read(everything)), stage
    assert np.array_equal(*results)


def test_through_the_door_that_everybody_uses() -> None:
    cuda, frame = engine("fp32"), image(31, 32)
    cuda.free_bytes = lambda: 1 << 40  # type: ignore[method-assign]
    got = Tiler(cuda, TilingOptions(tile=16)).upscale(frame)
    wanted = Tiler(cuda).upscale(frame)
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, wanted.masks, strict=True))
    assert np.abs(got.frame - wanted.frame).max() < NEAR["fp32"]
