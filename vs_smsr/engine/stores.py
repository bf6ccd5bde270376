"""Maps of whole frames between stages: in memory, and in files where the memory does not suffice."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from io import FileIO

import numpy as np

from vs_smsr.engine.contract import Features
from vs_smsr.engine.window import Window
from vs_smsr.errors import EngineError

COPIERS = min(4, os.cpu_count() or 1)  # threads that copy the rows of a window; more are no faster than the memory
PAGE = 4096  # bytes; where rows begin with pages, they are copied in two thirds of the time


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


class Store:
    """Pixels of a whole map, all of one type and number of words; EngineError if the disk has no room.

    The first rows lie in an array, the others in unnamed temporary files. They go by turns to as many files as there
    are threads that copy them: a file is written by one thread at a time. They are read and written, not mapped: a full
    disk is an error and not the end of the process, and no page of theirs counts as its memory.

    Args:
        in_memory: how many rows lie in the array; the whole height, and there are no files.
    """

    def __init__(self, height: int, width: int, in_memory: int, copiers: Copiers) -> None:
        self._width, self._in_memory, self._copiers = width, in_memory, copiers
        self._array: Features | None = None
        self._files = [_temporary() for _ in range(COPIERS)] if in_memory < height else []
        for file in self._files:
            weakref.finalize(self, file.close)

    def read(self, window: Window, into: Features) -> None:
        """Fill (h, w, words) with a window that has been written."""
        above = self._above(window)

        def copy(share: int) -> None:
            if above:
                assert self._array is not None, "a window is written before it is read"
                rows = _share(above, share)
                into[rows] = self._array[window.slices][rows]
            self._each_row(window, into, share, _fill)

        self._copiers.run(copy)

    def write(self, window: Window, values: Features) -> None:
        """Take over a window's (h, w, words), whose rows are C-contiguous."""
        above = self._above(window)
        if above and self._array is None:
            self._array = np.empty((self._in_memory, self._width, *values.shape[2:]), values.dtype)

        def copy(share: int) -> None:
            if above:
                assert self._array is not None, "made before"
                rows = _share(above, share)
                self._array[window.slices][rows] = values[rows]
            self._each_row(window, values, share, _put)

        self._copiers.run(copy)

    def _above(self, window: Window) -> int:
        """Rows of the window that lie in the array."""
        return min(max(self._in_memory - window.top, 0), window.height)

    def _each_row(
        self, window: Window, values: Features, share: int, move: Callable[[FileIO, memoryview], None]
    ) -> None:
        """Move a share of those that lie in files."""
        pixel, first = values[0, 0].nbytes, window.top + self._above(window)
        pitch = -(-self._width * pixel // PAGE) * PAGE
        for y in range(first + (share - first) % COPIERS, window.bottom, COPIERS):
            file = self._files[share]
            file.seek(y // COPIERS * pitch + window.left * pixel)
            move(file, memoryview(values[y - window.top]).cast("B"))


def _share(count: int, share: int) -> slice:
    """A copier's part of so many rows."""
    return slice(share * count // COPIERS, (share + 1) * count // COPIERS)


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
