"""Features of whole frames between stages: in memory, or in a file where the memory does not suffice."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from vs_smsr.engine.contract import Features
from vs_smsr.engine.window import Window
from vs_smsr.errors import EngineError


class Store(Protocol):
    """Features of a whole frame at one stage."""

    def read(self, window: Window) -> Features:
        """(h, w, words) of a window, not to be changed; the whole frame has been written."""
        ...

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


class WriteBehind:
    """Writes one window at a time to stores on disk while the next one is computed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smsr store")
        weakref.finalize(self, self._thread.shutdown, wait=False)
        self._current: tuple[OnDisk, Window, Future[None]] | None = None

    def start(self, store: OnDisk, window: Window, values: Features) -> None:
        """Begin with a window; raises what went wrong with the one before."""
        self.wait()
        self._current = store, window, self._thread.submit(store.put, window, values)

    def wait(self, store: OnDisk | None = None, window: Window | None = None) -> None:
        """Until nothing of that window of a store is to be written any more; None: nothing at all."""
        if self._current is None:
            return
        of, where, done = self._current
        if store not in (None, of) or (window is not None and min(_sides(window.intersect(where))) <= 0):
            return
        self._current = None
        done.result()


def _sides(window: Window) -> tuple[int, int]:
    return window.height, window.width


def _folder() -> str | None:
    """Where stores on disk lie: where TMPDIR says, else /var/tmp, since /tmp is in memory on many systems."""
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return None if asked or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


class OnDisk:
    """A store in an unnamed temporary file; EngineError if it finds no room.

    What is read is mapped, and only as long as it is in use: pages of a mapped file count as this process's memory,
    but need not be copied. What is written is not, so that a full disk is an error and not the end of the process.
    """

    def __init__(self, height: int, width: int, behind: WriteBehind) -> None:
        self._size, self._behind = (height, width), behind
        self._file = tempfile.TemporaryFile(buffering=0, prefix="vs-smsr-", dir=_folder())  # noqa: SIM115  # closed with the store
        weakref.finalize(self, self._file.close)
        self._pixel: tuple[np.dtype[Any], tuple[int, ...]] = np.dtype(np.uint8), ()
        self._row = 0  # bytes

    def read(self, window: Window) -> Features:
        self._behind.wait(self, window)
        dtype, channels = self._pixel
        first = window.top * self._row
        offset = first - first % mmap.ALLOCATIONGRANULARITY
        pages = mmap.mmap(self._file.fileno(), window.bottom * self._row - offset, offset=offset)
        rows = np.frombuffer(pages, dtype, (window.height * self._row) // dtype.itemsize, first - offset)
        return rows.reshape(window.height, self._size[1], *channels)[:, window.left : window.right]

    def write(self, window: Window, values: Features) -> None:
        """Begin to write; errors are raised by a later call. The values must not be changed afterwards."""
        self._pixel = values.dtype, values.shape[2:]
        self._row = self._size[1] * values[0, 0].nbytes
        self._behind.start(self, window, np.ascontiguousarray(values))

    def put(self, window: Window, values: Features) -> None:
        """Write a window (h, w, words), C-contiguous, to the file."""
        pixel = values[0, 0].nbytes
        whole = window.width == self._size[1]
        for y, part in ((window.top, values),) if whole else enumerate(values, window.top):
            self._file.seek(y * self._row + window.left * pixel)
            view = memoryview(part).cast("B")
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError as error:
                raise EngineError(
                    f"tiling: features that do not fit into the memory could not be written to "
                    f"{_folder() or tempfile.gettempdir()}: {error.strerror}. Make room there, set TMPDIR to another "
                    "folder, or allow more memory."
                ) from error
