"""The device seam on an NVIDIA GPU: CuPy memory and streams, kernels compiled by NVRTC and cached on disk by CuPy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cupy
import numpy as np
from numpy.typing import DTypeLike, NDArray

from cupy_kernels import source
from cupy_kernels.device import Argument, Macros, Properties

log = logging.getLogger(__name__)
OPTIONS = ("-std=c++17", "-lineinfo")  # CuPy adds the architecture and -ftz=true

_programs: dict[tuple[Any, ...], Any] = {}  # compiled modules; they belong to the process, as CuPy's own do
_compiling = threading.Lock()


class CudaDevice:
    """See `device.Device`. One stream; give each thread its own and let them share a pool.

    Attributes:
        pool: where the arrays come from; see `limit_memory`.
    """

    def __init__(self, ordinal: int = 0, pool: Any = None) -> None:
        self._device = cupy.cuda.Device(ordinal)
        self.pool = pool or cupy.cuda.MemoryPool()
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            attributes = self._device.attributes
            name = cupy.cuda.runtime.getDeviceProperties(ordinal)["name"].decode()
        arch = int(self._device.compute_capability)
        multiprocessors = int(attributes["MultiProcessorCount"])
        self.properties = Properties(f"cuda:{ordinal} ({name})", arch, multiprocessors, graphs=True)
        self._copying: list[tuple[Any, Any]] = []  # pinned memory that a copy may still read, and the copy's event

        self._owner: object = None  # of the launches that `replayed` saw last
        self._graph: Any = None  # of those launches, once recorded
        self._replaying = False

    @contextmanager
    def _here(self) -> Iterator[None]:
        with self._device, self._stream:
            yield

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> Any:
        with self._here(), cupy.cuda.using_allocator(self.pool.malloc):
            try:
                return cupy.empty(tuple(shape), dtype)
            except cupy.cuda.memory.OutOfMemoryError:
                self.pool.free_all_blocks()  # free blocks of other sizes and streams count against the limit
            try:
                return cupy.empty(tuple(shape), dtype)
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise MemoryError(str(error)) from error

    def owns(self, array: object) -> bool:
        return isinstance(array, cupy.ndarray) and array.device == self._device

    def zero(self, array: Any) -> None:
        if self._replaying:
            return
        with self._here():
            array.data.memset_async(0, array.nbytes, self._stream)

    def upload(self, array: Any, host: NDArray[Any]) -> None:
        assert (array.shape, array.dtype) == (host.shape, host.dtype), "upload: same shape and dtype"
        with self._here():
            self._copying = [(pinned, event) for pinned, event in self._copying if not event.done]
            staged = _pinned(host.shape, host.dtype)
            np.copyto(staged, host)
            array.set(staged, self._stream)
            event = cupy.cuda.Event(disable_timing=True)
            event.record(self._stream)
            self._copying.append((staged, event))

    def download(self, array: Any) -> NDArray[Any]:
        host = self.start_download(array)
        self.synchronize()
        return host

    def start_download(self, array: Any) -> NDArray[Any]:
        with self._here():
            pinned = _pinned(array.shape, array.dtype)
            array.get(self._stream, out=pinned, blocking=False)
            return pinned

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
        if self._replaying:
            return
        with self._here():
            function = self.compile(file, macros).get_function(kernel)
            function((grid,), (block,), tuple(arguments), shared_mem=shared_bytes)

    @contextmanager
    def replayed(self, owner: object) -> Iterator[None]:
        if owner is not self._owner:  # the first run also compiles and loads, which a recording cannot
            self._owner = self._graph = None
            yield
            self._owner = owner
            return
        if self._graph is not None:
            self._replaying = True
            try:
                yield
            finally:
                self._replaying = False
        else:
            with self._here():
                self._stream.begin_capture()
                try:
                    yield
                finally:
                    graph = self._stream.end_capture()  # ends it after an error too, or the stream would be lost
            self._graph = graph
        with self._here():
            self._graph.launch(self._stream)

    def free_bytes(self) -> int:
        with self._device:
            free: int = cupy.cuda.runtime.memGetInfo()[0]
            return free + int(self.pool.free_bytes())

    def held_bytes(self) -> int:
        with self._device:
            return int(self.pool.used_bytes())

    def limit_memory(self, limit: int) -> None:
        with self._device:  # a pool has a part, and a limit, for each GPU
            self.pool.free_all_blocks()
            self.pool.set_limit(size=limit)

    def compile(self, file: str, macros: Macros) -> Any:
        """The module of a file with these macros, from memory, from CuPy's disk cache, or compiled now."""
        key = (self._device.id, file, *sorted(macros.items()))
        if key not in _programs:
            with _compiling, self._here():
                if key not in _programs:
                    options = (*OPTIONS, *(f"-D{name}={value}" for name, value in sorted(macros.items())))
                    module = cupy.RawModule(code=source.text(file), options=options)
                    try:
                        module.compile()
                    except cupy.cuda.compiler.CompileException as error:
                        raise RuntimeError(f"{file} does not compile: {error}") from error
                    _programs[key] = module
        return _programs[key]

    def synchronize(self) -> None:
        with self._here():
            self._stream.synchronize()


def _pinned(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """A host array that the GPU can copy from or to while both work; freed to CuPy's pool with the array."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64))
    memory = cupy.cuda.alloc_pinned_memory(size * dtype.itemsize)
    return np.frombuffer(memory, dtype, size).reshape(tuple(shape))


def new_pool() -> Any:
    """A memory pool of its own, for the devices of one engine."""
    return cupy.cuda.MemoryPool()
