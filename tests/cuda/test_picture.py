"""Pictures of the caller's own type and memory order: converted by the kernels as the host would, and by the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import KINDS, SEEDS, SIZES
from host.device import HostDevice, HostMemory
from networks import network
from numpy.typing import NDArray

from cupy_kernels import Kernels
from cupy_kernels.geometry import PICTURE_TYPES
from vs_smsr.engine.conversion import unpack
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.picture import WHITE, Picture, from_frame, to_frame
from vs_smsr.jobs.arrays import upscale_array
from vs_smsr.options import TilingOptions
from vs_smsr.tiling import Tiler

pytestmark = pytest.mark.usefixtures("gpp")
Array = NDArray[Any]
RACES = [False, *sorted({kind.races for kind in KINDS if kind.races})]


def picture(height: int, width: int, dtype: str, seed: int = 0) -> Array:
    """(height, width, 3) 0..white: the ends and their neighbours, random values between."""
    rng = np.random.default_rng(seed)
    if dtype.startswith("uint"):
        values = rng.integers(0, WHITE[dtype] + 1, (height, width, 3)).astype(dtype)
        ends: Array = np.array([0, 1, WHITE[dtype] - 1, WHITE[dtype], 127, 128], dtype)
    else:
        values = rng.random((height, width, 3)).astype(dtype)
        tiny = np.finfo(dtype).smallest_normal
        ends = np.array([0, 1, np.nextafter(np.array(1, dtype), np.array(0, dtype)), tiny, 2 * tiny, 0.5], dtype)
    values.reshape(-1)[: len(ends)] = ends[: values.size]
    return values


def between(dtype: str, height: int, width: int) -> Array:
    """Floats 0..255: the middles between two codes, where rounding goes to the even one, and their neighbours."""
    unit = np.float32(255 / WHITE[dtype])
    codes = np.random.default_rng(3).integers(0, WHITE[dtype] + (dtype != "float16"), (height, width, 3))
    middles = ((codes + np.float32(0.5)) * unit).astype(np.float32)
    spread = np.resize([-np.inf, np.inf, 0], middles.shape)
    values = np.where(spread == 0, middles, np.nextafter(middles, spread.astype(np.float32)))
    values[0, 0], values[-1, -1] = 0, 255
    return np.clip(values, 0, 255).astype(np.float32)


def laid_out(host: Array, planar: bool) -> Array:
    """As it lies in memory."""
    return np.ascontiguousarray(host.transpose(2, 0, 1)) if planar else host


@pytest.mark.parametrize("races", RACES, ids=lambda races: "races" if races else "plain")
@pytest.mark.parametrize("planar", [False, True], ids=["packed", "planar"])
@pytest.mark.parametrize("dtype", PICTURE_TYPES)
def test_kernels_convert_as_the_host_does(dtype: str, planar: bool, races: bool) -> None:
    """Bit for bit, all sizes of the table and odd ones, whose frames repeat the last row and column."""
    for height, width in [(1, 1), (7, 13), (9, 31)] if races else [(1, 1), (7, 13), (33, 9), *SIZES]:
        for seed in SEEDS:
            device = HostDevice(seed=seed, races=races)
            kernels = Kernels(device, False)
            source = picture(height, width, dtype)
            wanted = unpack(Picture.of(source))
            frame = device.empty(wanted.shape, np.float32)
            given = device.array(laid_out(source, planar))
            kernels.unpack_picture(given, frame, white=WHITE[dtype], planar=planar)
            np.testing.assert_array_equal(frame, wanted)

            for values in (wanted, between(dtype, *wanted.shape[:2])):
                target = device.array(laid_out(np.zeros_like(source), planar))
                kernels.pack_picture(device.array(values), target, white=WHITE[dtype], planar=planar)
                packed = from_frame(values[:height, :width], source.dtype)
                np.testing.assert_array_equal(target, laid_out(packed, planar))


def engine(precision: str) -> CudaEngine:
    memory = HostMemory()
    return CudaEngine(network(), lambda: HostDevice(memory=memory), half=precision == "fp16")


@pytest.mark.parametrize(
    ("dtype", "precision"), [("uint8", "fp16"), ("uint16", "fp32"), ("float16", "fp32"), ("float32", "fp16")]
)
def test_the_engine_takes_and_gives_the_callers_type(dtype: str, precision: str) -> None:
    """As if the host had converted, in both memory orders; and floats 0..255 go on working with the same buffers."""
    cuda = engine(precision)
    given = picture(4, 6, dtype)
    wanted = cuda.upscale(to_frame(given))
    for planar in (False, True):
        order = np.ascontiguousarray(given.transpose(2, 0, 1)).transpose(1, 2, 0) if planar else given
        got = cuda.upscale_picture(Picture.of(order))
        assert got.picture.layout.kind == ("planar" if planar else "packed")
        assert got.picture.layout.dtype == given.dtype
        np.testing.assert_array_equal(got.picture.array, from_frame(wanted.frame, given.dtype))
        assert got.sparsity == wanted.sparsity
    np.testing.assert_array_equal(cuda.upscale(to_frame(given)).frame, wanted.frame)


class Counting(HostDevice):
    """Counts the bytes that are copied; a list that the devices of an engine share."""

    def __init__(self, copied: list[int], memory: HostMemory) -> None:
        super().__init__(memory=memory)
        self.copied = copied

    def upload(self, array: Array, host: Array) -> None:
        self.copied.append(host.nbytes)
        super().upload(array, host)

    def start_download(self, array: Array) -> Array:
        self.copied.append(array.nbytes)
        return super().start_download(array)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_upscaler_copies_small_types(dtype: str) -> None:
    """Odd sides too: what the Python API gives is what the host's conversions give, with copies of the small type."""
    copied: list[int] = []
    memory = HostMemory()
    cuda = CudaEngine(network(), lambda: Counting(copied, memory), half=False)
    tiler, given = Tiler(cuda), picture(5, 7, dtype)
    upscale_array(tiler, given)
    copied.clear()
    got = upscale_array(tiler, given).pixels
    size = np.dtype(dtype).itemsize
    assert copied == [5 * 7 * 3 * size, 10 * 14 * 3 * size, 5 * 2 * 4]  # and the numbers of active pixels
    frame = tiler.upscale(to_frame(given)).frame
    np.testing.assert_array_equal(got, from_frame(frame, given.dtype))


def test_upscaler_in_tiles_converts_on_the_host() -> None:
    cuda, given = engine("fp32"), picture(17, 26, "uint16")
    got = upscale_array(Tiler(cuda, TilingOptions(memory=1 << 40, tile=16)), given).pixels
    wanted = upscale_array(Tiler(cuda, TilingOptions(memory=1 << 40)), given).pixels
    assert got.dtype == given.dtype
    assert np.abs(got.astype(int) - wanted).max() <= 1
