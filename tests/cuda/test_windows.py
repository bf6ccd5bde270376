"""The cuda engine by stages and windows, as `engine.tiled` drives it, on the emulator."""

from __future__ import annotations

import numpy as np
import pytest
from host.device import HostDevice, HostMemory
from networks import ALL, MIXED, NONE, image, masks, network

from vs_smsr.engine import Overrides, Upscaled
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.kept import KeptFrame
from vs_smsr.engine.picture import Picture
from vs_smsr.engine.staged import StagedFrame, store_size, stored
from vs_smsr.engine.stores import Copiers, Store
from vs_smsr.engine.window import Window
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Sequence, Tiler

pytestmark = pytest.mark.usefixtures("gpp")
HEIGHT, WIDTH = 16, 22


def engine(precision: str, stack: tuple[int, ...] = MIXED) -> CudaEngine:
    memory = HostMemory()
    return CudaEngine(network(stack), lambda: HostDevice(memory=memory), half=precision == "fp16")


def cores(height: int, width: int, side: int) -> list[Window]:
    return [
        Window(top, left, min(top + side, height), min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def stores(cuda: CudaEngine, height: int, width: int) -> list[Store]:
    (rows, columns), copiers = store_size(cuda.weights.spec, height, width), Copiers()
    return [Store(rows, columns, rows, copiers) for _ in stored(cuda.weights.spec)]


def tiled(cuda: CudaEngine, frame: np.ndarray, state: Overrides, side: int) -> Upscaled:
    height, width = frame.shape[:2]
    return StagedFrame(cuda, stores(cuda, height, width), height, width).upscale(
        frame, state, cores(height, width, side)
    )


def same(a: Upscaled, b: Upscaled) -> bool:
    """All bits."""
    pairs = [(a.frame, b.frame), *zip(a.masks, b.masks, strict=True), *zip(a.attention, b.attention, strict=True)]
    return all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("size", "side"), [((16, 22), 10), ((30, 6), 8), ((4, 34), 16)])
def test_a_frame_in_tiles_has_the_bits_of_the_whole_frame(size: tuple[int, int], side: int, precision: str) -> None:
    """With its own masks and its own attention."""
    cuda, frame = engine(precision), image(*size)
    whole = cuda.upscale(frame)
    assert 0.05 < np.mean(whole.active) < 0.95  # the masks do something
    assert same(tiled(cuda, frame, Overrides(), side), whole)


def test_the_bicubic_base_does_not_depend_on_where_a_window_begins() -> None:
    """At x3 its weights are no round numbers."""
    memory = HostMemory()
    cuda = CudaEngine(network(scale=3), lambda: HostDevice(memory=memory), half=False)
    frame = image(20, 26)
    assert same(tiled(cuda, frame, Overrides(), 10), cuda.upscale(frame))


@pytest.mark.parametrize("stack", [NONE, ALL])
def test_tiles_make_no_seams_with_given_masks(stack: tuple[int, ...]) -> None:
    cuda, frame, state = engine("fp16", stack), image(HEIGHT, WIDTH), Overrides(masks=masks(0.4, HEIGHT, WIDTH))
    assert same(tiled(cuda, frame, state, 12), cuda.upscale(frame, state))


def test_tiles_make_no_seams_with_given_attention() -> None:
    cuda, frame = engine("fp32"), image(HEIGHT, WIDTH)
    state = Overrides(attention=(np.linspace(0, 1, 64, dtype=np.float32),) * 5)
    assert same(tiled(cuda, frame, state, 12), cuda.upscale(frame, state))


def test_stages_that_are_kept_are_those_of_the_tiles() -> None:
    """And so is the attention, although windows of the same size had been asked for parts of theirs before."""
    cuda, frame, everything = engine("fp16"), image(HEIGHT, WIDTH), Window(0, 0, HEIGHT, WIDTH)
    left = dict(zip(stored(cuda.weights.spec), stores(cuda, HEIGHT, WIDTH), strict=True))
    tiles = StagedFrame(cuda, list(left.values()), HEIGHT, WIDTH).upscale(frame, Overrides(), cores(HEIGHT, WIDTH, 12))
    kept = KeptFrame(cuda, HEIGHT, WIDTH)
    assert same(tiles, kept.upscale(frame, Overrides()))
    for name, stage in ("features", -2), ("fused", -1):  # of the last block, which lies where the store begins
        found = np.empty_like(kept.stages[stage])
        left[name].read(everything, found)
        assert np.array_equal(kept.stages[stage], found), name
    every = np.ones((HEIGHT, WIDTH), np.bool_)
    for block in range(len(cuda.weights.spec.blocks)):
        assert not kept.masked(block, everything, every, every).any(), block


def test_only_the_wanted_pixels_are_listed() -> None:
    """What is wanted has the bits that it has when all is computed; the lists hold the wanted pixels alone."""
    cuda, frame = engine("fp16"), image(HEIGHT, WIDTH)
    mask = masks(0.4, HEIGHT, WIDTH)[0]
    core, wanted, listed = (np.zeros((HEIGHT, WIDTH), np.bool_) for _ in range(3))
    wanted[5:9, 6:14], listed[2:12, 3:17] = True, True
    core[:] = True
    results = []
    for only in (core, listed):
        with cuda.open(HEIGHT, WIDTH) as ops:
            bounds = Window(0, 0, HEIGHT, WIDTH)
            ops.head(frame)
            ops.restrict(only)
            ops.give_mask(0, mask)
            ops.masked_block(0, "head", bounds)
            (_, (_, active)), (_, (_, inactive)) = ops._fused.parts
            assert active == (mask[only] == 1).sum()
            assert inactive == (mask[only] == 0).sum()
            ops.give_attention(0, np.full(64, 0.5, np.float32))
            ops.residual(0, "head", collect=True)
            values = ops.read("features", bounds)
            ops.write("fused", values)
            assert ops._fused.parts[0][1][1] == only.sum()
        results.append(values)
    assert np.array_equal(results[0][wanted], results[1][wanted])
    assert not np.array_equal(results[0], results[1])


def test_what_changed_is_recomputed_to_the_same_bits() -> None:
    """Through the door that everybody uses: the third frame differs in a corner, the attention is held."""
    cuda, first = engine("fp16"), image(48, 64)
    resting, second = first.copy(), first.copy()
    resting[12:20, 20:28] += 9
    second[16:24, 20:28] += 9
    sequence = Sequence(Tiler(cuda, TilingOptions(memory=1 << 40, attention="held")))
    sequence.upscale(first, cut=True)
    sequence.upscale(resting, cut=False)  # what it leaves is kept
    got = sequence.upscale(second, cut=False)
    assert 0.1 < got.reused < 0.9
    wanted = cuda.upscale(second, Overrides(attention=got.attention))
    assert np.array_equal(got.frame, wanted.frame)
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, wanted.masks, strict=True))


def test_the_engine_keeps_the_budget() -> None:
    """The plan's budget is the limit of what the devices take; it suffices for what was planned."""
    memory = HostMemory()
    cuda = CudaEngine(network(), lambda: HostDevice(memory=memory), half=True)
    assert memory.held <= cuda.memory.in_use() <= memory.held + 512 * 200
    frame = image(34, 16)
    wanted = cuda.upscale(frame)
    limit = cuda.memory.in_use() + cuda.memory.workspace(34, 16) - 1
    tiler = Tiler(cuda, TilingOptions(memory=limit))
    chosen = tiler.plan(34, 16)
    assert chosen.tile is not None  # one byte too few for the whole frame
    assert chosen.total <= limit
    memory.peak = 0
    assert same(tiler.upscale(frame), wanted)
    assert memory.peak <= limit == memory.budget
    with pytest.raises(MemoryBudgetError, match="no memory for a frame of 64x64"):
        cuda.upscale(image(64, 64))


def test_the_tile_is_halved_where_the_plan_does_not_hold(caplog: pytest.LogCaptureFixture) -> None:
    """Another program took memory after the planning: tiles, once said, and the same bits."""
    memory = HostMemory()
    cuda = CudaEngine(network(), lambda: HostDevice(memory=memory), half=False)
    picture = Picture.of(image(64, 6).astype(np.uint8))
    tiler = Tiler(cuda, TilingOptions(memory=1 << 40))
    assert tiler.plan(64, 6).tile is None
    wanted = tiler.upscale_picture(picture)
    cuda.upscale(image(2, 2))  # lets the buffers of the larger size go
    cuda.memory.limit(cuda.memory.in_use() + cuda.memory.workspace(54, 6))
    for _ in range(2):
        assert tiler.upscale_picture(picture).picture.same(wanted.picture)
    assert [record.message for record in caplog.records if "memory" in record.message] == [
        "memory: ran out; going on with tiles of 32 instead of whole frames"
    ]
    cuda.memory.limit(cuda.memory.in_use())
    with pytest.raises(MemoryBudgetError, match="even in tiles of 32"):
        tiler.upscale_picture(picture)
