"""The one seam between the launchers and a GPU: memory, copies, launches on one stream.

`cupy_kernels.cuda.CudaDevice` is the GPU through CuPy; tests/cuda/host/ has one that runs the kernels on the CPU.
The launchers and the engine use nothing else, so both run them unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Macros = Mapping[str, int]
Argument = Any  # an Array of the device, or np.int32, np.int64, np.float32: exactly the kernel's parameter type


class Array(Protocol):
    """Memory on the device; cupy.ndarray and numpy.ndarray both are one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def flags(self) -> Any: ...


@dataclass(frozen=True)
class Properties:
    """What the launchers must know of a GPU.

    Attributes:
        name: as the driver gives it.
        arch: compute capability as a number: 75, 80, 86, 89, 90, 100, 120.
        multiprocessors: how many blocks run at once at least.
        graphs: `replayed` records launches and replays them at once; without it it does nothing.
    """

    name: str
    arch: int
    multiprocessors: int
    graphs: bool = False


class Device(Protocol):
    """One GPU and one stream: everything below happens in call order, and only `synchronize` and `download` wait."""

    properties: Properties

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> Any:
        """A new C-contiguous array with undefined content, its start aligned to 256 bytes.

        Raises:
            MemoryError: the device or its memory limit has no room.
        """
        ...

    def owns(self, array: object) -> bool:
        """True if the array lies on this device (type and ordinal)."""
        ...

    def zero(self, array: Any) -> None:
        """Set all bytes to 0."""
        ...

    def upload(self, array: Any, host: NDArray[Any]) -> None:
        """Copy host to array (same shape and dtype; the array C-contiguous); host may be changed after the call."""
        ...

    def download(self, array: Any) -> NDArray[Any]:
        """A new host array with the content; waits for all work before."""
        ...

    def start_download(self, array: Any) -> NDArray[Any]:
        """A new host array that has the content after `synchronize`."""
        ...

    def replayed(self, owner: object) -> AbstractContextManager[None]:
        """The launches and `zero`s within are the same for each call with this owner, arguments and all; no copies.

        So the first time they run one by one, the second time they are recorded as a graph, and from then on the graph
        runs in their place: one launch instead of many. Only called where `properties.graphs` says so.
        """
        ...

    def free_bytes(self) -> int:
        """Memory of the device that is not in use, whatever the limit."""
        ...

    def held_bytes(self) -> int:
        """Memory of the arrays of this device, and of those that share its pool."""
        ...

    def limit_memory(self, limit: int) -> None:
        """Arrays of this device, and of those that share its pool, take no more bytes than that; 0: no limit."""
        ...

    def compile(self, file: str, macros: Macros) -> Any:
        """Compile a file now rather than at its first launch."""
        ...

    def launch(
        self,
        file: str,  # "conv.cu", a file of this package
        kernel: str,  # the extern "C" name in it
        macros: Macros,  # the -D of its compilation
        grid: int,  # blocks, one-dimensional
        block: int,  # threads
        shared_bytes: int,  # dynamic shared memory
        arguments: Sequence[Argument],  # in the order of the kernel's parameters
    ) -> None:
        """Run a kernel; compiles it on first use. Nobody but the launchers of this package calls this."""
        ...

    def synchronize(self) -> None:
        """Wait for all work so far; errors of the GPU surface here."""
        ...
