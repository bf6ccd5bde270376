"""What FFmpeg says of an error, which its error codes do not carry, or of damage that it goes on after."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av.logging

_lock = threading.Lock()
_listeners = 0  # threads that collect: FFmpeg has one level for all
_before: tuple[int | None, bool] = None, True  # level, and whether repeated messages are left out


@contextmanager
def errors_said(by: str | None = None) -> Iterator[Callable[[], list[str]]]:
    """Collect FFmpeg's error messages of this thread; `by` takes those of one component, like a demuxer's name.

    Do not close a codec inside: PyAV keeps the GIL while it waits for the codec's threads, which need it to be heard.
    """
    _listen(1)
    try:
        with av.logging.Capture() as logs:
            yield lambda: [" ".join(said.split()).rstrip(".") for _, name, said in logs if by in (None, name)]
    finally:
        _listen(-1)


def _listen(change: int) -> None:
    global _listeners, _before
    with _lock:
        if not _listeners:
            _before = av.logging.get_level(), av.logging.get_skip_repeated()
        _listeners += change
        # Were repeated messages left out, the second of two equally damaged files would be taken for whole.
        level, skip = (av.logging.ERROR, False) if _listeners else _before
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
