"""A `cupy_kernels.device.Device` whose memory is NumPy arrays and whose launches run on the emulator."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from host import emulator
from numpy.typing import DTypeLike, NDArray

from cupy_kernels import source
from cupy_kernels.device import Argument, Macros, Properties

ALIGNMENT = 256  # what CuPy's pool promises


class HostMemory:
    """What the devices of a test share, as CUDA devices share a pool.

    Attributes:
        limit: bytes that may be held; None = all. It plays the GPU's size or the pool's limit.
        budget: what `HostDevice.limit_memory` was told last.
        held: bytes of the arrays that live now.
        peak: the most that was held so far.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.budget: int | None = None
        self.held = self.peak = 0
        self._starts: dict[int, int] = {}  # address -> bytes

    def empty(self, size: int) -> NDArray[np.uint8]:
        """A block of exactly this size, so that AddressSanitizer knows its end."""
        for limit in (self.limit, self.budget):
            if limit is not None and self.held + size > limit:
                raise MemoryError(f"{size} bytes do not fit: {self.held} of {limit} bytes are in use")
        start = ctypes.c_void_p()
        if _libc().posix_memalign(ctypes.byref(start), ctypes.c_size_t(ALIGNMENT), ctypes.c_size_t(max(size, 1))):
            raise MemoryError(f"{size} bytes of host memory")
        assert start.value, "posix_memalign gives an address"
        memory = (ctypes.c_uint8 * size).from_address(start.value)
        weakref.finalize(memory, self._free, start.value)
        self._starts[start.value] = size
        self.held += size
        self.peak = max(self.peak, self.held)
        return np.frombuffer(memory, np.uint8)

    def _free(self, start: int) -> None:
        self.held -= self._starts.pop(start)
        _libc().free(ctypes.c_void_p(start))

    def owns(self, array: NDArray[Any]) -> bool:
        address = array.ctypes.data
        return any(start <= address <= start + size for start, size in self._starts.items())


class HostDevice:
    """Runs kernels as they are launched, one after the other.

    Attributes:
        memory: where the arrays come from.
        races: find races exactly (slow).
        seed: of the next launch; every launch takes its own.
        launches: what ran, as (kernel, grid, block, shared bytes).
    """

    def __init__(
        self,
        arch: int = 80,
        *,
        seed: int = 1,
        memory: HostMemory | None = None,
        multiprocessors: int = 2,
        races: bool = False,
    ) -> None:
        self.properties = Properties("the emulator", arch, multiprocessors)
        self.memory = memory or HostMemory()
        self.races = races
        self.seed = seed
        self.launches: list[tuple[str, int, int, int]] = []
        self._downloads: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._programs: dict[tuple[Any, ...], emulator.Program] = {}

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """A new array of poison."""
        dtype = np.dtype(dtype)
        array = self.memory.empty(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        array.fill(0xCD if self.seed % 2 else 0xFF)
        return array.view(dtype).reshape(tuple(shape))

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray) and self.memory.owns(array)

    def zero(self, array: NDArray[Any]) -> None:
        array.view(np.uint8).fill(0)

    def upload(self, array: NDArray[Any], host: NDArray[Any]) -> None:
        assert (array.shape, array.dtype) == (host.shape, host.dtype), "upload: same shape and dtype"
        assert array.flags.c_contiguous, "upload: C-contiguous"
        np.copyto(array, host)

    def download(self, array: NDArray[Any]) -> NDArray[Any]:
        host = self.start_download(array)
        self.synchronize()
        return host

    def start_download(self, array: NDArray[Any]) -> NDArray[Any]:
        """As late as it may be: the host array is poison until `synchronize`."""
        host = np.full(array.nbytes, 0xCD, np.uint8).view(array.dtype).reshape(array.shape)
        self._downloads.append((host, array.copy()))
        return host

    def free_bytes(self) -> int:
        limit = self.memory.limit
        return (1 << 40 if limit is None else limit) - self.memory.held

    def held_bytes(self) -> int:
        return self.memory.held

    def limit_memory(self, limit: int) -> None:
        self.memory.budget = limit or None

    def launch(
        self,
        file: str,
        kernel: str,
        macros: Macros,
        grid: int,
        block: int,
        shared_bytes: int,
        arguments: Sequence[Argument],
    ) -> None:
        for number, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray) and not self.owns(argument):
                raise emulator.LaunchError(f"{kernel}: argument {number} is an array of the host")
        self.launches.append((kernel, grid, block, shared_bytes))
        self.seed += 1
        self.compile(file, macros).launch(kernel, grid, block, arguments, shared_bytes=shared_bytes, seed=self.seed)

    def compile(self, file: str, macros: Macros) -> emulator.Program:
        key = (file, *sorted(macros.items()))
        if key not in self._programs:
            self._programs[key] = emulator.build(
                source.text(file), macros=macros, arch=self.properties.arch, races=self.races
            )
        return self._programs[key]

    def synchronize(self) -> None:
        for host, content in self._downloads:
            np.copyto(host, content)
        self._downloads = []

    def array(self, host: NDArray[Any]) -> NDArray[Any]:
        """For tests: a device array with this content."""
        array = self.empty(host.shape, host.dtype)
        self.upload(array, np.ascontiguousarray(host))
        return array


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
