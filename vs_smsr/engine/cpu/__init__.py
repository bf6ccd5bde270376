"""The cpu engine: sparse convolutions compiled by Numba for the CPU it runs on; no PyTorch."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from vs_smsr.engine import interpreter
from vs_smsr.engine.contract import Capabilities, Frame, Overrides, Upscaled, UpscaledPicture
from vs_smsr.engine.conversion import Call
from vs_smsr.engine.cpu.arena import total_bytes
from vs_smsr.engine.cpu.isa import choose, fastest_precision, supported
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.ops import Workspace
from vs_smsr.engine.cpu.pool import Pool
from vs_smsr.engine.cpu.work_stealing import in_bands
from vs_smsr.engine.memory import HostMemory, Memory
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.profile import Profile
from vs_smsr.errors import EngineError, MemoryBudgetError
from vs_smsr.options import EngineOptions
from vs_smsr.weights import Weights


def status() -> tuple[bool, str]:
    """(True, the best instruction set of this CPU)."""
    return True, f"cpu, {supported()[0]}"


def create(weights: Weights, options: EngineOptions) -> CpuEngine:
    """A cpu engine; precision "auto" is bf16 where the CPU is faster with it, else fp32.

    Raises:
        EngineError: the CPU does not have the precision.
    """
    from vs_smsr.engine.cpu import ahead

    profile = Profile() if options.profile else None
    engine = CpuEngine(weights, threads=options.threads, precision=options.precision, profile=profile)
    ahead.start(weights, engine.precision)
    return engine


class CpuEngine:
    """See `contract.Engine`. Frames that run at the same time have buffers of their own and share the threads."""

    name = "cpu"
    device = "cpu"
    capabilities = Capabilities(pictures=True)

    def __init__(
        self,
        weights: Weights,
        *,
        threads: int = 0,
        precision: str = "fp32",
        isa: str = "auto",
        profile: Profile | None = None,
    ) -> None:
        chosen = choose(isa)
        self.precision = fastest_precision(chosen) if precision == "auto" else precision
        if self.precision not in ("fp32", "bf16"):
            raise EngineError(f"cpu: precision must be 'auto', 'fp32' or 'bf16', got {precision!r}.")
        if self.precision == "bf16" and not chosen.bf16:
            raise EngineError(f"cpu: precision bf16 needs AVX-512 BF16, but this is {chosen.name}. Use precision fp32.")
        self.weights = weights
        self.profile: Profile | None = profile
        network = self._network = PackedNetwork(weights, chosen, self.precision)
        self.memory: Memory = HostMemory(
            network.line * network.word.itemsize,
            lambda height, width: total_bytes(network, height, width),
            self._release,
        )
        self._pool = Pool(threads)
        weakref.finalize(self, self._pool.shutdown)
        self._idle: list[Workspace] = []
        self._lock = threading.Lock()

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        return interpreter.upscale(self, frame, overrides)

    def upscale_picture(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> UpscaledPicture:
        return interpreter.upscale_picture(self, picture, like, overrides, self._convert)

    def submit(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> Future[UpscaledPicture]:
        """At once: one frame keeps all threads busy."""
        return interpreter.at_once(self.upscale_picture(picture, like, overrides))

    def _convert(self, calls: Sequence[Call]) -> None:
        self._pool.run([(in_bands, call) for call in calls])

    def _release(self) -> None:
        with self._lock:
            self._idle.clear()

    @contextmanager
    def open(self, height: int, width: int) -> Iterator[Workspace]:
        """Ops for a frame, or a window of one, of that even size; see `contract.Engine`."""
        start = time.perf_counter()
        with self._lock:
            space = self._idle.pop() if self._idle else Workspace(self._network, self._pool, self.profile)
        try:
            space.begin(height, width)
        except MemoryError as error:
            raise MemoryBudgetError(f"cpu: no memory for {width}x{height} pixels. Use smaller tiles.") from error
        try:
            yield space
        except BaseException:
            space.drop()
            raise
        space.end()
        with self._lock:
            self._idle.append(space)
        if self.profile:
            self.profile.add_whole(time.perf_counter() - start)
