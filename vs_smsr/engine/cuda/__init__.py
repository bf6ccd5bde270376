"""The cuda engine: masked networks on an NVIDIA GPU through the project's own kernels (cupy_kernels); no PyTorch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from cupy_kernels import Device, Kernels
from cupy_kernels.geometry import CHANNELS
from vs_smsr.engine import interpreter
from vs_smsr.engine.contract import Capabilities, Frame, Overrides, Upscaled, UpscaledPicture, sparsity_of
from vs_smsr.engine.cuda.buffers import bytes_for
from vs_smsr.engine.cuda.diagnosis import diagnose, examine
from vs_smsr.engine.cuda.network import Network
from vs_smsr.engine.cuda.ops import Workspace
from vs_smsr.engine.memory import Memory
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.profile import Profile
from vs_smsr.errors import EngineError, MemoryBudgetError
from vs_smsr.families import LearnedMask
from vs_smsr.options import EngineOptions
from vs_smsr.weights import Weights

log = logging.getLogger(__name__)
PATIENCE = 2.0  # seconds of compiling after which it is said


def status(ordinal: int = 0) -> tuple[bool, str]:
    """(True, the GPU's name), or (False, which part is missing and the command that mends it)."""
    return diagnose(examine(ordinal))


def create(weights: Weights, options: EngineOptions) -> CudaEngine:
    """A cuda engine, its kernels compiled (seconds the first time; cached on disk by CuPy).

    Raises:
        EngineError: no such GPU, or the precision is none of it.
    """
    if options.precision == "bf16":
        raise EngineError("cuda: precision must be 'auto', 'fp16' or 'fp32', got 'bf16'.")
    ordinal = int(options.device.partition(":")[2] or 0)
    ok, reason = status(ordinal)
    if not ok:
        raise EngineError(f"cuda: cuda:{ordinal} does not work here: {reason}")
    from cupy_kernels.cuda import CudaDevice, new_pool

    pool = new_pool()
    engine = CudaEngine(
        weights, lambda: CudaDevice(ordinal, pool), half=options.precision != "fp32", device=f"cuda:{ordinal}"
    )
    engine.compile()
    return engine


class CudaEngine:
    """See `contract.Engine`. Frames that run at the same time have a stream and buffers of their own.

    So frames that are submitted one after the other, or come from several threads, overlap: while one computes, another
    is copied in or out.
    """

    name = "cuda"
    capabilities = Capabilities(pictures=True, in_flight=3)  # one goes up, one computes, one comes down
    profile: Profile | None = None

    def __init__(
        self, weights: Weights, make_device: Callable[[], Device], *, half: bool, device: str = "cuda:0"
    ) -> None:
        self.weights = weights
        self.device = device
        self.precision = "fp16" if half else "fp32"
        self._half = half
        self._make_device = make_device
        self._first = make_device()
        self._network = Network(self._first, Kernels(self._first, half), weights)
        self._idle: list[Workspace] = []
        self._streams: list[Device] = []  # of workspaces that were let go
        self._lock = threading.Lock()
        self._waiting = ThreadPoolExecutor(1, "vs-smsr-cuda")  # for frames in flight, in their order
        self.memory: Memory = DeviceMemory(self)

    def compile(self) -> None:
        """Compile every kernel now, so that the first frame does not wait."""
        variants = self._network.variants()
        said = time.monotonic()
        for number, (file, macros) in enumerate(variants, 1):
            self._first.compile(file, macros)
            waited = time.monotonic() - said > PATIENCE  # the cache is empty: a user should know why nothing happens
            said = time.monotonic() if waited else said
            level = logging.WARNING if waited else logging.INFO
            log.log(level, "cuda: kernels compiled: %d of %d; they are cached for the next time", number, len(variants))

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        overrides = overrides or Overrides()
        with self._workspace(*frame.shape[:2]) as ops, ops.launches(replay=self._repeats(overrides)):
            return interpreter.run(ops, self.weights, frame, overrides)

    def upscale_picture(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> UpscaledPicture:
        return self._start(picture, like or picture.layout, overrides or Overrides())()

    def submit(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> Future[UpscaledPicture]:
        return self._waiting.submit(self._start(picture, like or picture.layout, overrides or Overrides()))

    def _start(self, picture: Picture, like: Layout, overrides: Overrides) -> Callable[[], UpscaledPicture]:
        """Queue a frame's copies and launches on a stream of its own; what is returned waits for the result."""
        height, width, scale = picture.height, picture.width, self.weights.scale
        even = height + height % 2, width + width % 2
        with self._explained(*even):
            space = self._take(*even)
            with space.launches(replay=self._repeats(overrides)):
                frame = space.put_picture(picture)
                channels = interpreter.trunk(space, self.weights, frame, overrides)
                large, counts = space.take_picture(like, scale * height, scale * width)

        def finish() -> UpscaledPicture:
            with self._explained(*even):
                space.device.synchronize()
            self._give(space)
            active = list(counts[:, 0] / (even[0] * even[1]))
            return UpscaledPicture(large, sparsity_of(self.weights, active, channels))

        return finish

    def _repeats(self, overrides: Overrides) -> bool:
        """Nothing is copied to or from the host on the way: the launches are those of every such frame."""
        spec = self.weights.spec
        computed = all(isinstance(block.mask, LearnedMask) and block.attention for block in spec.blocks)
        return overrides == Overrides() and computed and not spec.dynamic

    @contextmanager
    def open(self, height: int, width: int) -> Iterator[Workspace]:
        """See `contract.Engine`."""
        with self._workspace(height, width) as ops, ops.launches(replay=False):
            yield ops

    @contextmanager
    def _workspace(self, height: int, width: int) -> Iterator[Workspace]:
        """A stream and buffers of that size, for the length of the block; see `_take`."""
        with self._explained(height, width):
            space = self._take(height, width)
            yield space
            self._give(space)

    def _take(self, height: int, width: int) -> Workspace:
        """A stream and buffers of that size: idle ones if there are, else new ones; buffers of other sizes are let go.

        Their streams are used again, for freed memory stays with its stream's part of the pool.
        """
        with self._lock:
            fits = [(space.height, space.width) == (height, width) for space in self._idle]
            self._streams += [space.device for space, fit in zip(self._idle, fits, strict=True) if not fit]
            self._idle = [space for space, fit in zip(self._idle, fits, strict=True) if fit]
            space = self._idle.pop() if self._idle else None
            device = self._streams.pop() if not space and self._streams else None
        return space or Workspace(self._network, device or self._make_device(), self._half, height, width)

    def _give(self, space: Workspace) -> None:
        """Back after a frame; not after an error."""
        with self._lock:
            self._idle.append(space)

    @contextmanager
    def _explained(self, height: int, width: int) -> Iterator[None]:
        """Turn errors of the device into ours."""
        try:
            yield
        except MemoryError as error:
            needed = self.memory.workspace(height, width) / 2**20
            raise MemoryBudgetError(
                f"cuda: no memory for a frame of {width}x{height}, which takes {needed:.0f} MiB. Use smaller tiles."
            ) from error
        except RuntimeError as error:
            raise EngineError(f"cuda: {self.device} failed: {error}") from error


class DeviceMemory:
    """See `memory.Memory`: that of one GPU, as far as it is this engine's."""

    on_host = False

    def __init__(self, engine: CudaEngine) -> None:
        self.feature_bytes = 4 * CHANNELS  # kept exactly: floats, or two halves each
        self._engine = engine

    def workspace(self, height: int, width: int) -> int:
        return bytes_for(self._engine.weights.spec, height, width, self._engine._half)

    def in_use(self) -> int:
        """The weights."""
        return self._engine._network.bytes

    def available(self) -> int:
        """Whatever the limit; idle buffers count as free."""
        engine = self._engine
        with engine._lock:
            idle = sum(self.workspace(space.height, space.width) for space in engine._idle)
        return engine._first.free_bytes() + idle

    def held(self) -> int:
        """What is taken now, idle buffers included."""
        return self._engine._first.held_bytes()

    def limit(self, total: int) -> None:
        """Weights included; 0 = all."""
        self._engine._first.limit_memory(total)

    def release(self) -> None:
        """The streams stay: freed memory belongs to its stream's part of the pool."""
        engine = self._engine
        with engine._lock:
            engine._streams += [space.device for space in engine._idle]
            engine._idle.clear()
