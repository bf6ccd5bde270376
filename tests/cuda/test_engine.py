"""The whole cuda engine with its real launchers, on the emulator, against the cpu engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host.device import HostDevice, HostMemory
from networks import ALL, MIXED, NONE, image, masks, network, psnr, shortened, weights_of

from vs_smsr.engine import Overrides
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.cuda.buffers import buffers
from vs_smsr.engine.picture import Picture
from vs_smsr.errors import EngineError, MemoryBudgetError
from vs_smsr.families import smsr
from vs_smsr.families.smsr import MODULES
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights

pytestmark = pytest.mark.usefixtures("gpp")
FP32_LIMIT = 0.02  # of 0..255: the largest difference allowed
FP16_PSNR = 50.0


def engine(weights: Weights, precision: str, **device: Any) -> CudaEngine:
    """A cuda engine on the emulator; the devices of its threads share one memory."""
    arch, memory = device.pop("arch", 80), device.pop("memory", None) or HostMemory()
    return CudaEngine(weights, lambda: HostDevice(arch, memory=memory, **device), half=precision == "fp16")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(2, 2), (18, 34), (38, 14)])
def test_fp32_equals_the_cpu_engine(size: tuple[int, int], scale: int) -> None:
    weights, frame = network(scale=scale, seed=scale), image(*size)
    wanted = CpuEngine(weights, threads=1).upscale(frame)
    got = engine(weights, "fp32").upscale(frame)
    assert got.frame.shape == (scale * size[0], scale * size[1], 3)
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, wanted.masks, strict=True))
    assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
    assert np.abs(np.subtract(got.attention, wanted.attention)).max() < 1e-5
    assert got.sparsity == wanted.sparsity
    assert size == (2, 2) or 0.05 < np.mean(got.active) < 0.95  # the masks do something


@pytest.mark.parametrize(
    ("size", "scale", "arch"),
    [((2, 2), 2, 80), ((18, 34), 2, 80), ((26, 10), 3, 80), ((6, 30), 4, 80), ((10, 26), 2, 75)],
)
def test_fp16_equals_the_cpu_engine(size: tuple[int, int], scale: int, arch: int) -> None:
    weights, frame = network(scale=scale, seed=scale), image(*size)
    wanted = CpuEngine(weights, threads=1).upscale(frame)
    got = engine(weights, "fp16", arch=arch).upscale(frame)
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, wanted.masks, strict=True))
    assert psnr(got.frame, wanted.frame) > FP16_PSNR


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_real_weights_on_a_real_picture(shared: Path, precision: str) -> None:
    """Rounding to halves moves features a little, so a pixel at the very threshold may flip; the picture stays."""
    import cv2

    from vs_smsr.weights import load, shipped

    picture = cv2.imread(str(shared / "data/set5/HR/butterfly.png"))[100:124, 60:92, ::-1]
    frame = np.ascontiguousarray(picture, np.float32)
    weights = load(shipped(2))
    wanted = CpuEngine(weights, threads=1).upscale(frame)
    got = engine(weights, precision).upscale(frame)
    flips = sum(int((a != b).sum()) for a, b in zip(got.masks, wanted.masks, strict=True))
    if precision == "fp32":
        assert flips == 0
        assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
    else:
        assert flips <= MODULES * frame.shape[0] * frame.shape[1] / 1000
        assert psnr(got.frame, wanted.frame) > FP16_PSNR
    given = engine(weights, precision).upscale(frame, Overrides(masks=wanted.masks))
    assert np.abs(given.frame - wanted.frame).max() < (FP32_LIMIT if precision == "fp32" else 0.5)


@pytest.mark.parametrize("stack", [MIXED, ALL, NONE])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_given_masks(precision: str, share: float, stack: tuple[int, ...]) -> None:
    weights, frame = network(stack), image(10, 22)
    state = Overrides(masks=masks(share, 10, 22))
    wanted = CpuEngine(weights, threads=1).upscale(frame, state)
    got = engine(weights, precision).upscale(frame, state)
    assert all(np.array_equal(a, b) for a, b in zip(got.masks, state.masks or (), strict=True))
    if precision == "fp32":
        assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
    else:
        assert psnr(got.frame, wanted.frame) > FP16_PSNR


def test_given_attention_is_used() -> None:
    weights, frame = network(), image(10, 18)
    state = Overrides(attention=tuple(np.full(64, 0.2 * k, np.float32) for k in range(MODULES)))
    wanted = CpuEngine(weights, threads=1).upscale(frame, state)
    cuda = engine(weights, "fp32")
    got = cuda.upscale(frame, state)
    assert np.array_equal(got.attention, state.attention or ())
    assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
    assert np.abs(got.frame - cuda.upscale(frame).frame).max() > 0.1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bits_depend_on_the_frame_alone(precision: str) -> None:
    """Not on earlier frames, the number of multiprocessors, the order of blocks and threads, or what memory held."""
    weights, frame = network(), image(10, 34)
    wanted = engine(weights, precision, seed=1, multiprocessors=1).upscale(frame)
    other = engine(weights, precision, seed=8, multiprocessors=5)
    for size in ((34, 10), (2, 2)):
        other.upscale(image(*size, seed=1))
    for _ in range(2):
        got = other.upscale(frame)
        assert np.array_equal(got.frame, wanted.frame)
        assert np.array_equal(got.attention, wanted.attention)


def test_results_are_new_arrays() -> None:
    cuda = engine(network(), "fp32")
    first = cuda.upscale(image(2, 2))
    kept = first.frame.copy(), [mask.copy() for mask in first.masks]
    cuda.upscale(image(2, 2, seed=3))
    assert np.array_equal(first.frame, kept[0])
    assert all(np.array_equal(a, b) for a, b in zip(first.masks, kept[1], strict=True))


def test_many_frames_at_once() -> None:
    cuda = engine(network(), "fp32")
    frames = [image(8, 10, seed) for seed in range(4)]
    wanted = [cuda.upscale(frame).frame for frame in frames]
    results: dict[int, Any] = {}

    def work(i: int) -> None:
        results[i] = cuda.upscale(frames[i]).frame

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[i], wanted[i]) for i in range(len(frames)))


def test_streams_are_used_again_and_buffers_of_other_sizes_let_go() -> None:
    devices: list[HostDevice] = []
    memory = HostMemory()

    def make() -> HostDevice:
        devices.append(HostDevice(memory=memory))
        return devices[-1]

    cuda = CudaEngine(network(), make, half=False)
    weights_bytes = memory.held
    for size in ((2, 2), (2, 4), (4, 2), (2, 2)):
        cuda.upscale(image(*size))
        assert memory.held - weights_bytes <= cuda.memory.workspace(*size)
    assert len(devices) == 2  # one for the weights, one for the frames


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_memory_is_what_was_counted(precision: str) -> None:
    memory = HostMemory()
    cuda = engine(network(), precision, memory=memory)
    weights_bytes = memory.held
    cuda.upscale(image(6, 34))
    held = memory.held - weights_bytes
    counted = cuda.memory.workspace(6, 34)
    assert held <= counted <= held + 512 * len(buffers(cuda.weights.spec, 6, 34, precision == "fp16"))
    assert memory.peak == memory.held  # nothing is allocated on the way


def test_too_little_memory_is_said_and_does_not_stick() -> None:
    memory = HostMemory()
    cuda = engine(network(), "fp32", memory=memory)
    memory.limit = memory.held + cuda.memory.workspace(8, 8)
    with pytest.raises(MemoryBudgetError, match=r"34x18, which takes .* Use smaller tiles"):
        cuda.upscale(image(18, 34))
    cuda.upscale(image(8, 8))


class Replaying(HostDevice):
    """Records a frame's launches and runs the record in place of later ones, as a CUDA graph does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.properties = replace(self.properties, graphs=True)
        self.record: list[Callable[[], None]] | None = None
        self.mode = "run"
        self.frames: list[str] = []

    @contextmanager
    def replayed(self, owner: object) -> Iterator[None]:
        self.mode = "first" if not self.frames else "record" if self.record is None else "replay"
        self.frames.append(self.mode)
        if self.mode == "record":
            self.record = []
        yield
        replay, self.mode = self.mode != "first", "run"
        for step in self.record or () if replay else ():
            step()

    def launch(self, *arguments: Any) -> None:
        self._do(partial(super().launch, *arguments))

    def zero(self, array: Any) -> None:
        self._do(partial(super().zero, array))

    def upload(self, array: Any, host: Any) -> None:
        assert self.mode == "run", "no copies from the host among recorded launches"
        super().upload(array, host)

    def download(self, array: Any) -> Any:
        assert self.mode == "run", "no copies to the host among recorded launches"
        return super().download(array)

    def _do(self, step: Callable[[], None]) -> None:
        if self.mode in ("run", "first"):
            step()
        elif self.mode == "record":
            assert self.record is not None
            self.record.append(step)


def test_a_recorded_frame_is_replayed() -> None:
    devices: list[Replaying] = []

    def make() -> Replaying:
        devices.append(Replaying(memory=memory))
        return devices[-1]

    weights, memory = network(), HostMemory()
    cuda, plain = CudaEngine(weights, make, half=False), engine(weights, "fp32")
    given = Overrides(masks=masks(0.3, 8, 10))
    for seed, state in ((0, None), (1, None), (2, None), (3, given), (4, None)):
        frame = image(8, 10, seed)
        assert np.array_equal(cuda.upscale(frame, state).frame, plain.upscale(frame, state).frame)
    assert devices[-1].frames == ["first", "record", "replay", "replay"]  # given masks are copied in: never recorded


def test_masks_by_gradient_are_those_of_the_frame() -> None:
    """Pictures too, which the host does not convert otherwise; and launches are not replayed with another frame's."""
    devices: list[Replaying] = []

    def make() -> Replaying:
        devices.append(Replaying(memory=memory))
        return devices[-1]

    weights, memory = weights_of(shortened(smsr.variant(2, gradient=30.0), 2)), HostMemory()
    cuda = CudaEngine(weights, make, half=False)
    for seed in range(3):
        source = np.rint(image(9, 15, seed)).astype(np.uint8)
        wanted = Tiler(CpuEngine(weights)).upscale(source.astype(np.float32))
        got = Tiler(cuda).upscale(source.astype(np.float32))
        assert all(np.array_equal(a, b) for a, b in zip(got.masks, wanted.masks, strict=True))
        assert np.abs(got.frame - wanted.frame).max() < FP32_LIMIT
        made = cuda.upscale_picture(Picture.of(source))
        assert np.array_equal(made.picture.planes[0], np.rint(got.frame).astype(np.uint8))
        assert made.sparsity == wanted.sparsity
    assert 0.05 < np.mean(got.active) < 0.95
    assert not any(device.frames for device in devices)


def test_a_failing_device_is_an_engine_error() -> None:
    class Broken(HostDevice):
        def launch(self, *arguments: Any) -> None:
            raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

    memory = HostMemory()
    cuda = CudaEngine(network(), lambda: Broken(memory=memory), half=False)
    with pytest.raises(EngineError, match="cuda:0 failed: cudaErrorIllegalAddress"):
        cuda.upscale(image(2, 2))
