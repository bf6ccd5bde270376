"""Features of whole frames between stages: in memory, or in a file where the memory does not suffice."""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import Any, Protocol

import numpy as np

from vs_smsr.engine.contract import Features
from vs_smsr.engine.window import Window
from vs_smsr.errors import EngineError


class Store(Protocol):
    """Features of a whole frame at one stage."""

    def read(self, window: Window) -> Features: ...

    def write(self, window: Window, values: Features) -> None: ...


class InMemory:
    """A store in an array."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._array: Features | None = None

    def read(self, window: Window) -> Features:
        assert self._array is not None, "a stage is written before it is read"
        return self._array[window.slices]

    def write(self, window: Window, values: Features) -> None:
        if values.shape[:2] == self._size:
            self._array = values
            return
        if self._array is None:
            self._array = np.empty((*self._size, *values.shape[2:]), values.dtype)
        self._array[window.slices] = values


def _folder() -> str | None:
    """Where stores on disk lie: where TMPDIR says, else /var/tmp, since /tmp is in memory on many systems."""
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return None if asked or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


class OnDisk:
    """A store in an unnamed temporary file; EngineError if it finds no room.

    Read and written row by row, not mapped: pages of a mapped file count as this process's memory.
    """

    def __init__(self, height: int, width: int) -> None:
        self._width = width
        self._file = tempfile.TemporaryFile(buffering=0, prefix="vs-smsr-", dir=_folder())  # noqa: SIM115  # closed with the store
        weakref.finalize(self, self._file.close)
        self._pixel: tuple[np.dtype[Any], tuple[int, ...]] = np.dtype(np.uint8), ()

    def read(self, window: Window) -> Features:
        dtype, channels = self._pixel
        values = np.empty((window.height, window.width, *channels), dtype)
        for y, row in enumerate(values, window.top):
            self._file.seek((y * self._width + window.left) * row[0].nbytes)
            view = memoryview(row).cast("B")
            while view:
                view = view[self._file.readinto(view) or len(view) :]
        return values

    def write(self, window: Window, values: Features) -> None:
        self._pixel = values.dtype, values.shape[2:]
        for y, row in enumerate(np.ascontiguousarray(values), window.top):
            self._file.seek((y * self._width + window.left) * row[0].nbytes)
            view = memoryview(row).cast("B")
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError as error:
                raise EngineError(
                    f"tiling: features that do not fit into the memory could not be written to "
                    f"{_folder() or tempfile.gettempdir()}: {error.strerror}. Make room there, set TMPDIR to another "
                    "folder, or allow more memory."
                ) from error
