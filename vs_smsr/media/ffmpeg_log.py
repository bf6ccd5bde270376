"""What FFmpeg says of an error, which its error codes do not carry, or of damage that it goes on after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av.logging


@contextmanager
def errors_said(by: str | None = None) -> Iterator[Callable[[], list[str]]]:
    """Collect FFmpeg's error messages of this thread; `by` takes those of one component, like a demuxer's name."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else the second of two equally damaged files is taken for whole
    try:
        with av.logging.Capture() as logs:
            yield lambda: [" ".join(said.split()).rstrip(".") for _, name, said in logs if by in (None, name)]
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
