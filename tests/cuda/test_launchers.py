"""Every launcher refuses every array that is of another dtype, shape, memory order or device, and names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from host.device import HostDevice

from cupy_kernels import Kernels, geometry, packing

H, W, AREA = 6, 10, 60


class Recorder(HostDevice):
    """Launches nothing: the arguments are what is tested."""

    def launch(self, file: str, kernel: str, *rest: Any) -> None:
        self.launches.append((kernel, *rest[1:4]))


def arguments(device: HostDevice, element: Any) -> dict[str, tuple[list[tuple[str, Any]], dict[str, Any]]]:
    """Launcher -> its arrays by name, each right, and its other arguments."""
    half = np.dtype(element) == np.float16
    slices = 32 if half else 16

    def f(*shape: int) -> Any:
        return device.empty(shape, np.float32)

    def e(*shape: int) -> Any:
        return device.empty(shape, element)

    def i(dtype: Any, *shape: int) -> Any:
        return device.empty(shape, dtype)

    maps = lambda: e(H, W, 64)  # noqa: E731
    window = e(9 * 64 // slices, 64, slices)
    lists = [("pixels", i(np.uint32, AREA)), ("count", i(np.int32, 1))]
    select = [("mask", i(np.uint8, H, W)), ("partial", i(np.int32, geometry.select_blocks(AREA)))]
    table = packing.chunk_table((16, 0, 32, 0), True, half)
    exact = [("high", maps()), ("low", maps())]
    conv = [("dense", e(H, W, 16)), ("rows", e(AREA, 48)), ("inverse", i(np.int32, H, W))]
    conv_out = [("dense_out", e(H, W, 32)), ("rows_out", e(AREA, 32))]
    planes = [("luma", i(np.uint8, H, W)), *((n, i(np.uint8, H // 2, W // 2)) for n in ("blue", "red"))]
    return {
        "unpack_picture": (
            [("picture", i(np.uint8, H - 1, W - 1, 3)), ("frame", f(H, W, 3))],
            {"white": 255, "planar": False},
        ),
        "pack_picture": (
            [("frame", f(H, W, 3)), ("picture", i(np.float16, 3, H, W))],
            {"white": 1, "planar": True},
        ),
        "unpack_planes": (
            [*planes, ("table", f(12 + 8 + 8)), ("frame", f(H, W, 3))],
            {"firsts": (0, 1), "shifts": (1, 1)},
        ),
        "pack_planes": (
            [("frame", f(H, W, 3)), ("table", f(12 + 8 + 8)), *planes],
            {"peak": 255, "firsts": (0, 1), "shifts": (1, 1)},
        ),
        "head_first": (
            [("frame", f(H, W, 3)), ("mean", f(3)), ("weights", f(27, 64)), ("bias", f(64)), ("out", maps())],
            {},
        ),
        "head_alone": (
            [("frame", f(H, W, 3)), ("mean", f(3)), ("weights", f(27, 64)), ("bias", f(64)), *exact],
            {},
        ),
        "conv_shuffle": (
            [
                *[("source", maps()), ("weights", e(4, *window.shape)), ("bias", f(4, 64))],
                *[("mask", i(np.uint8, H, W)), ("out", e(2 * H, 2 * W, 64))],
            ],
            {"level": 0},
        ),
        "sum_features": ([*exact, ("sums", i(np.int64, 64))], {"window": (0, 0, H, W)}),
        "conv_head": ([("source", maps()), ("weights", window), ("bias", f(64)), *exact], {}),
        "conv_add": (
            [("source", maps()), ("weights", window), ("bias", f(64)), ("added", maps()), ("out", maps())],
            {},
        ),
        "mask_pool": (
            [
                *exact,
                ("weights", e(54 if half else 36, 16, slices)),
                ("bias", f(16)),
                ("pooled", f(H // 2, W // 2, 16)),
            ],
            {},
        ),
        "mask_decide": (
            [
                *[("pooled", f(H // 2, W // 2, 16)), ("weights", f(9, 16, 16)), ("bias", f(16))],
                *[("up_weights", f(9, 16, 2)), ("up_bias", f(2)), ("mask", i(np.uint8, H, W))],
            ],
            {"quads": False},
        ),
        "count_pixels": (select, {}),
        "list_pixels": (
            [
                *select,
                *[("active", i(np.uint32, AREA)), ("inactive", i(np.uint32, AREA))],
                *[("inverse", i(np.int32, H, W)), ("counts", i(np.int32, 2))],
            ],
            {},
        ),
        "conv_listed": (
            [*conv, ("weights", window), *lists, *conv_out, ("sums", i(np.int64, 64))],
            {"everything": True},
        ),
        "attention_scales": (
            [
                *[("sums", i(np.int64, 4, 64)), ("collect", f(256, 64)), ("bias", f(64)), ("squeeze", f(64, 4))],
                *[("squeeze_bias", f(4)), ("expand", f(4, 64)), ("expand_bias", f(64)), ("scales", f(64))],
            ],
            {"pixels": AREA},
        ),
        "residual": (
            [
                *[("layers", e(4 * AREA * 64)), ("table", device.array(table))],
                *[("weights", e(-(-len(table) // 4), 64, slices)), ("bias", f(64)), ("scales", f(64))],
                *[("before", (maps(), maps())), ("after", (maps(), maps())), ("share", e(64 // slices, 64, slices))],
                *[("share_bias", f(64)), ("collected", maps()), *lists],
            ],
            {"first": True, "last": False},
        ),
        "tail": (
            [
                *[("source", maps()), ("weights", e(9 * 64 // slices, 16, slices)), ("bias", f(16))],
                *[("frame", f(H, W, 3)), ("out", f(2 * H, 2 * W, 3))],
            ],
            {"scale": 2},
        ),
    }


NAMES = sorted(arguments(Recorder(), np.float32))


def call(kernels: Kernels, name: str, arrays: list[tuple[str, Any]], rest: dict[str, Any]) -> None:
    getattr(kernels, name)(*(array for _, array in arrays), **rest)


def test_the_table_has_every_launcher() -> None:
    public = [name for name, _ in inspect.getmembers(Kernels, inspect.isfunction) if not name.startswith("_")]
    assert public == NAMES


@pytest.mark.parametrize("element", [np.float32, np.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_right_arguments_are_launched(name: str, element: Any) -> None:
    device = Recorder()
    call(Kernels(device, element is np.float16), name, *arguments(device, element)[name])
    ((_, grid, block, shared),) = device.launches
    assert grid >= 1
    assert block % 32 == 0
    assert (
        (0 if name.endswith(("picture", "planes")) else 1) <= shared <= 48 << 10
    )  # what every GPU gives without being asked


def spoiled(device: HostDevice, array: Any) -> Iterator[tuple[type[Exception], str, Any]]:
    """(error, part of its message, the array made wrong in one way)."""
    other = np.float64 if array.dtype != np.float64 else np.float32
    yield TypeError, "must be", device.empty(array.shape, other)
    yield ValueError, "must have shape", device.empty((*array.shape, 1), array.dtype)
    yield ValueError, "must be an array on the emulator", np.zeros(array.shape, array.dtype)
    yield ValueError, "must be an array on the emulator", HostDevice().empty(array.shape, array.dtype)
    yield ValueError, "must be an array on the emulator", None
    if array.shape[-1] == 1:
        return  # one element has no order
    wide = device.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    yield ValueError, "must be C-contiguous", wide[..., ::2]


@pytest.mark.parametrize("element", [np.float32, np.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_wrong_arrays_are_refused(name: str, element: Any) -> None:
    device = Recorder()
    kernels = Kernels(device, element is np.float16)
    arrays, rest = arguments(device, element)[name]
    for place, (argument, value) in enumerate(arrays):
        pair = isinstance(value, tuple)
        if argument == "low" and element is np.float32:
            continue  # floats have no low part
        for error, message, wrong in spoiled(device, value[0] if pair else value):
            changed = list(arrays)
            changed[place] = (argument, (wrong, value[1]) if pair else wrong)
            expected = r"(high|before\[0\])" if pair else argument
            with pytest.raises(error, match=rf"^{name}: {expected} {message}"):
                call(kernels, name, changed, rest)
    assert device.launches == []


@pytest.mark.parametrize(
    ("name", "argument", "shape"),
    [
        ("conv_listed", "rows", (AREA, 32)),
        ("conv_listed", "weights", (18, 32, 32)),
        ("conv_listed", "count", (2,)),
        ("mask_pool", "pooled", (H, W, 16)),
        ("residual", "weights", (1, 64, 32)),
        ("tail", "out", (3 * H, 3 * W, 3)),
        ("head_first", "out", (W, H, 64)),
        ("conv_shuffle", "out", (H, W, 64)),
        ("conv_shuffle", "mask", (2 * H, 2 * W)),
        ("list_pixels", "partial", (2,)),
        ("unpack_planes", "blue", (H, W)),
        ("pack_planes", "red", (0, 0)),
        ("pack_planes", "table", (12,)),
    ],
)
def test_sizes_must_fit_each_other(name: str, argument: str, shape: tuple[int, ...]) -> None:
    device = Recorder()
    arrays, rest = arguments(device, np.float16)[name]
    changed = [(n, device.empty(shape, a.dtype) if n == argument else a) for n, a in arrays]
    with pytest.raises(ValueError, match=rf"^{name}: {argument} must have shape"):
        call(Kernels(device, True), name, changed, rest)


def test_dense_channels_come_in_sixteens() -> None:
    device = Recorder()
    arrays, rest = arguments(device, np.float16)["conv_listed"]
    odd = {"dense": device.empty((H, W, 8), np.float16), "rows": device.empty((AREA, 56), np.float16)}
    with pytest.raises(ValueError, match="dense must have a multiple of 16 channels, got 8"):
        call(Kernels(device, True), "conv_listed", [(n, odd.get(n, a)) for n, a in arrays], rest)


@pytest.mark.parametrize("window", [(0, 0, H + 1, W), (0, -1, H, W), (2, 0, 2, W)])
def test_sums_are_over_a_part_of_the_map(window: tuple[int, ...]) -> None:
    device = Recorder()
    arrays, _ = arguments(device, np.float16)["sum_features"]
    with pytest.raises(ValueError, match=f"sum_features: window must be within {H}x{W}"):
        call(Kernels(device, True), "sum_features", arrays, {"window": window})


def refused(make: Callable[[HostDevice], tuple[str, list[Any]]], message: str) -> None:
    device = Recorder()
    name, arrays = make(device)
    with pytest.raises(ValueError, match=message):
        getattr(Kernels(device, True), name)(*arrays)


def test_odd_frames_and_giant_frames_are_refused() -> None:
    def odd(device: HostDevice) -> tuple[str, list[Any]]:
        high, low = (device.empty((5, 10, 64), np.float16) for _ in range(2))
        return "mask_pool", [high, low, None, None, None]

    def giant(device: HostDevice) -> tuple[str, list[Any]]:
        return "list_pixels", [device.empty((2, 1 << 15), np.uint8), *[None] * 5]

    refused(odd, "mask_pool: height and width must be even, got 5x10")
    refused(giant, "list_pixels: sides must be below 32768, got 2x32768. Use smaller tiles")


@pytest.mark.parametrize("shape", [(H - 2, W, 3), (H, W + 1, 3), (H, 0, 3)])
def test_a_frame_has_the_pictures_sides_or_a_few_more(shape: tuple[int, ...]) -> None:
    device = Recorder()
    picture, frame = device.empty(shape, np.uint8), device.empty((H, W, 3), np.float32)
    with pytest.raises(ValueError, match=f"unpack_picture: picture must be {H}x{W} or up to 1 less, got {shape[0]}x"):
        Kernels(device, True).unpack_picture(picture, frame, white=255, planar=False)


@pytest.mark.parametrize("places", [{"firsts": (0, 2), "shifts": (0, 0)}, {"firsts": (0, 0), "shifts": (0, 3)}])
def test_chroma_lies_on_a_luma_sample_or_between(places: dict[str, tuple[int, int]]) -> None:
    device = Recorder()
    arrays, _ = arguments(device, np.float16)["unpack_planes"]
    chroma = device.empty((H, -(-W >> places["shifts"][1])), np.uint8)
    changed = [(n, chroma if n in ("blue", "red") else a) for n, a in arrays]
    with pytest.raises(ValueError, match="unpack_planes: shifts must be 0, 1 or 2, and firsts fit"):
        call(Kernels(device, True), "unpack_planes", changed, places)


def test_outputs_must_not_be_inputs() -> None:
    device = Recorder()
    arrays, rest = arguments(device, np.float16)["conv_add"]
    same = [(n, arrays[0][1] if n == "out" else a) for n, a in arrays]
    with pytest.raises(ValueError, match="conv_add: out and source must be different arrays"):
        call(Kernels(device, True), "conv_add", same, rest)
