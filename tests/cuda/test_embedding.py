"""Networks that are smaller than what the kernels are compiled for, on the emulator; and those that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from host.device import HostDevice, HostMemory
from networks import image, masks, psnr
from numpy.typing import NDArray

from cupy_kernels.geometry import TILES
from vs_smsr.engine import Overrides, Upscaled
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.errors import EngineError
from vs_smsr.families import SUM_UNIT, ChannelAttention, Convolution, LearnedMask, MaskedBlock, NetworkSpec, smsr
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights

pytestmark = pytest.mark.usefixtures("gpp")
WIDTH = 40  # channels
SIZE = 38, 46  # of a frame


def block(name: str, layers: int, *, mask: bool, channel_mask: bool, attention: bool, bias: bool = True) -> MaskedBlock:
    c = WIDTH
    return MaskedBlock(
        mask=LearnedMask(
            first=Convolution(name=f"{name}.first", inputs=c, outputs=7),
            second=Convolution(name=f"{name}.second", inputs=7, outputs=5),
            decide=Convolution(name=f"{name}.decide", inputs=5, outputs=2, transposed=True),
        )
        if mask
        else None,
        layers=tuple(
            Convolution(name=f"{name}.layer.{layer}", inputs=c, outputs=c, bias=False) for layer in range(layers)
        ),
        channel_mask=f"{name}.channels" if channel_mask else None,
        fuse=Convolution(name=f"{name}.fuse", inputs=layers * c, outputs=c, size=1, bias=bias),
        attention=ChannelAttention(
            down=Convolution(name=f"{name}.down", inputs=c, outputs=3, size=1),
            up=Convolution(name=f"{name}.up", inputs=3, outputs=c, size=1),
        )
        if attention
        else None,
    )


def narrow() -> NetworkSpec:
    """40 channels; a block with all parts, one without a mask, one with nothing but its layers, one layer alone."""
    c = WIDTH
    return NetworkSpec(
        family="narrow",
        version=1,
        scale=2,
        mean=(110.0, 115.0, 120.0),
        head=(Convolution(name="head.0", inputs=3, outputs=c), Convolution(name="head.1", inputs=c, outputs=c)),
        blocks=(
            block("a", 4, mask=True, channel_mask=True, attention=True),
            block("b", 2, mask=False, channel_mask=True, attention=True, bias=False),
            block("c", 3, mask=False, channel_mask=False, attention=False),
            block("d", 1, mask=True, channel_mask=False, attention=True),
        ),
        collect=(
            Convolution(name="collect.0", inputs=4 * c, outputs=c, size=1),
            Convolution(name="collect.1", inputs=c, outputs=c),
        ),
        tail=Convolution(name="tail", inputs=c, outputs=12),
    )


def weights() -> Weights:
    """Random numbers under which features stay near 1 and the masks are mixed."""
    rng = np.random.default_rng(3)
    tensors = {}
    for name, shape in narrow().shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        gain = 1 / 80 if name == "head.0.weight" else 1.4
        tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    for name in ("a.decide.bias", "d.decide.bias"):
        tensors[name][:] = 0
    return Weights(narrow(), tensors)


def engine(precision: str) -> CudaEngine:
    memory = HostMemory()
    return CudaEngine(weights(), lambda: HostDevice(memory=memory), half=precision == "fp16")


def reference() -> ReferenceEngine:
    """The same network, written with a bias of zeros where it has none, as that engine needs it."""
    spec, tensors = weights().spec, weights().tensors
    blocks = tuple(replace(one, fuse=replace(one.fuse, bias=True)) for one in spec.blocks)
    return ReferenceEngine(
        Weights(replace(spec, blocks=blocks), {"b.fuse.bias": np.zeros(WIDTH, np.float32), **tensors})
    )


def same(a: Upscaled, b: Upscaled) -> bool:
    pairs = [(a.frame, b.frame), *zip(a.masks, b.masks, strict=True), *zip(a.attention, b.attention, strict=True)]
    return all(np.array_equal(one, other) for one, other in pairs)


def test_fp32_equals_the_reference_engine() -> None:
    frame = image(*SIZE)
    wanted, got = reference().upscale(frame), engine("fp32").upscale(frame)
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, wanted.masks, strict=True))
    assert np.abs(got.frame - wanted.frame).max() < 0.02
    assert got.sparsity == wanted.sparsity
    for mine, theirs in zip(got.attention, wanted.attention, strict=True):
        assert mine.shape == theirs.shape == (WIDTH,)
        assert np.abs(mine - theirs).max() < 1e-5
    assert [0.05 < share < 0.95 for share in got.active] == [True, False, False, True]
    assert got.active[1] == got.active[2] == 1
    assert np.all(got.attention[2] == 1)
    assert not np.all(got.attention[0] == got.attention[1])


def test_fp16_equals_the_reference_engine() -> None:
    frame, given = image(*SIZE), Overrides(masks=masks(0.4, *SIZE)[:4])
    wanted, got = reference().upscale(frame, given), engine("fp16").upscale(frame, given)
    assert psnr(got.frame, wanted.frame) > 50


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tiles_and_second_frames_change_no_bit(precision: str) -> None:
    """A second frame finds the buffers, and what was left in them, of the first."""
    made, frame = engine(precision), image(*SIZE)
    whole = made.upscale(frame)
    assert same(made.upscale(frame), whole)
    assert same(Tiler(made, TilingOptions(tile=32)).upscale(frame), whole)


def test_channel_sums_have_the_unit_of_all_engines() -> None:
    assert TILES["SUM_SCALE"] == 1 / SUM_UNIT


def test_idle_buffers_are_released() -> None:
    memory = HostMemory()
    made = CudaEngine(weights(), lambda: HostDevice(memory=memory), half=True)
    before, frame = made.memory.held(), image(6, 8)
    first = made.upscale(frame)
    assert made.memory.held() > before
    made.memory.release()
    assert made.memory.held() == before
    assert same(made.upscale(frame), first)


def wider(spec: NetworkSpec, part: Callable[[MaskedBlock], MaskedBlock]) -> NetworkSpec:
    """With its second block changed."""
    return replace(spec, blocks=(spec.blocks[0], part(spec.blocks[1]), *spec.blocks[2:]))


def five_layers(one: MaskedBlock) -> MaskedBlock:
    extra = replace(one.layers[0], name="extra")
    return replace(one, layers=(*one.layers, extra), fuse=replace(one.fuse, inputs=5 * 64))


def wide_mask(one: MaskedBlock) -> MaskedBlock:
    mask = one.mask
    assert isinstance(mask, LearnedMask)
    second, decide = replace(mask.second, outputs=24), replace(mask.decide, inputs=24)
    return replace(one, mask=replace(mask, second=second, decide=decide))


def wide_attention(one: MaskedBlock) -> MaskedBlock:
    inside = one.attention
    assert inside is not None
    down, up = replace(inside.down, outputs=8), replace(inside.up, inputs=8)
    return replace(one, attention=ChannelAttention(down=down, up=up))


SMSR = smsr.spec(2)
MISFITS: dict[str, NetworkSpec] = {
    "a masked block must have 1 to 4 layers, got 5": wider(SMSR, five_layers),
    "a mask branch must have at most 16 channels, got 24": wider(SMSR, wide_mask),
    "attention must have at most 4 channels inside, got 8": wider(SMSR, wide_attention),
    "body.1.body.collect must be 1x1, got 3x3": wider(SMSR, lambda one: replace(one, fuse=replace(one.fuse, size=3))),
    "collect.0 must be 1x1, got 3x3": replace(SMSR, collect=(replace(SMSR.collect[0], size=3), SMSR.collect[1])),
    "head.0 must be 3x3, got 7x7": replace(SMSR, head=(replace(SMSR.head[0], size=7), SMSR.head[1])),
    "tail.0 must be 3x3, got 5x5": replace(SMSR, tail=replace(SMSR.tail, size=5)),
}


def empty(spec: NetworkSpec) -> Weights:
    tensors: dict[str, NDArray[np.float32]] = {name: np.zeros(shape, np.float32) for name, shape in spec.shapes.items()}
    return Weights(spec, tensors)


@pytest.mark.parametrize("rule", MISFITS)
def test_a_network_without_kernels_is_one_error_that_names_what_does_not_fit(rule: str) -> None:
    with pytest.raises(EngineError) as caught:
        CudaEngine(empty(MISFITS[rule]), HostDevice, half=True)
    assert str(caught.value) == f"cuda: {rule}. The reference engine runs this network."


def test_features_that_are_too_wide_are_refused() -> None:
    c = 96
    layer = Convolution(name="layer", inputs=c, outputs=c, bias=False)
    fuse = Convolution(name="fuse", inputs=c, outputs=c, size=1)
    spec = replace(
        SMSR,
        head=(Convolution(name="head.0", inputs=3, outputs=c), Convolution(name="head.2", inputs=c, outputs=c)),
        blocks=(MaskedBlock(mask=None, layers=(layer,), channel_mask=None, fuse=fuse, attention=None),),
        collect=(replace(SMSR.collect[0], inputs=c, outputs=c), replace(SMSR.collect[1], inputs=c, outputs=c)),
        tail=replace(SMSR.tail, inputs=c),
    )
    with pytest.raises(EngineError, match="cuda: features must have at most 64 channels, got 96"):
        CudaEngine(empty(spec), HostDevice, half=True)
