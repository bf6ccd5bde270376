"""Maps of whole frames between stages: in memory, or in files where the memory does not suffice."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from io import FileIO
from typing import Protocol

import numpy as np

from vs_smsr.engine.contract import Features
from vs_smsr.engine.window import Window
from vs_smsr.errors import EngineError

COPIERS = min(4, os.cpu_count() or 1)  # threads that copy the rows of a window; more are no faster than the memory
PAGE = 4096  # bytes; where rows begin with pages, they are copied in two thirds of the time


class Store(Protocol):
    """Pixels of a whole map, all of one type and number of words."""

    def read(self, window: Window, into: Features) -> None:
        """Fill (h, w, words) with a window that has been written."""
        ...

    def write(self, window: Window, values: Features) -> None:
        """Take over a window's (h, w, words), whose rows are C-contiguous."""
        ...


class Copiers:
    """Threads that share the rows of a window."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(COPIERS, thread_name_prefix="smsr store")
        weakref.finalize(self, self._threads.shutdown, wait=False)

    def run(self, copy: Callable[[int], None]) -> None:
        """Call `copy` with 0 .. COPIERS - 1 at the same time; when all are done, raises what one of them raised."""
        copying = [self._threads.submit(copy, share) for share in range(COPIERS)]
        wait(copying)
        for done in copying:
            done.result()


class InMemory:
    """A store in an array."""

    def __init__(self, height: int, width: int, copiers: Copiers) -> None:
        self._size, self._copiers = (height, width), copiers
        self._array: Features | None = None

    def read(self, window: Window, into: Features) -> None:
        assert self._array is not None, "a window is written before it is read"
        self._copy(into, self._array[window.slices])

    def write(self, window: Window, values: Features) -> None:
        if self._array is None:
            self._array = np.empty((*self._size, *values.shape[2:]), values.dtype)
        self._copy(self._array[window.slices], values)

    def _copy(self, to: Features, values: Features) -> None:
        def copy(share: int) -> None:
            rows = slice(share * len(to) // COPIERS, (share + 1) * len(to) // COPIERS)
            to[rows] = values[rows]

        self._copiers.run(copy)


class OnDisk:
    """A store in unnamed temporary files; EngineError if it finds no room.

    Rows go by turns to as many files as there are threads that copy them: a file is written by one thread at a time.
    They are read and written, not mapped: a full disk is an error and not the end of the process, and no page of theirs
    counts as its memory.
    """

    def __init__(self, height: int, width: int, copiers: Copiers) -> None:
        self._width, self._copiers = width, copiers
        self._files = [_temporary() for _ in range(COPIERS)]
        for file in self._files:
            weakref.finalize(self, file.close)

    def read(self, window: Window, into: Features) -> None:
        self._each_row(window, into, _fill)

    def write(self, window: Window, values: Features) -> None:
        self._each_row(window, values, _put)

    def _each_row(self, window: Window, values: Features, move: Callable[[FileIO, memoryview], None]) -> None:
        pixel = values[0, 0].nbytes
        row = -(-self._width * pixel // PAGE) * PAGE

        def copy(share: int) -> None:
            file = self._files[share]
            for y in range(window.top + (share - window.top) % COPIERS, window.bottom, COPIERS):
                file.seek(y // COPIERS * row + window.left * pixel)
                move(file, memoryview(values[y - window.top]).cast("B"))

        self._copiers.run(copy)


def _temporary() -> FileIO:
    return tempfile.TemporaryFile(buffering=0, prefix="vs-smsr-", dir=_folder())


def _folder() -> str | None:
    """Where stores on disk lie: where TMPDIR says, else /var/tmp, since /tmp is in memory on many systems."""
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return None if asked or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


def _fill(file: FileIO, view: memoryview) -> None:
    while view:
        count = file.readinto(view)
        assert count, "a window is written before it is read"
        view = view[count:]


def _put(file: FileIO, view: memoryview) -> None:
    try:
        while view:
            view = view[file.write(view) or 0 :]
    except OSError as error:
        raise EngineError(
            f"tiling: features that do not fit into the memory could not be written to "
            f"{_folder() or tempfile.gettempdir()}: {error.strerror}. Make room there, set TMPDIR to another "
            "folder, or allow more memory."
        ) from error
