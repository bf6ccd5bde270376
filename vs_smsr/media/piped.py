"""Bytes that come through a pipe, on their way to FFmpeg, which drops a last Y4M frame that is incomplete unsaid."""

from __future__ import annotations

import io
import os
from pathlib import Path

from vs_smsr.media.declared import Y4M, y4m_samples
from vs_smsr.media.paths import STANDARD


class Piped(io.RawIOBase):
    """A pipe, open for reading; Y4M is followed from frame to frame."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(0, "rb", 0, closefd=False) if path == STANDARD else path.open("rb", 0)
        self._line = b""  # as far as it has come
        self._samples: int | None = None  # bytes of a frame; 0: not known; None: the header is still to come
        self._left = 0  # bytes of this frame that are still to come

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size) or b""
        self._follow(data)
        return data

    @property
    def lacks_an_end(self) -> bool:
        """Does what came so far end within a frame of Y4M?"""
        return bool(self._samples) and bool(self._left or self._line)

    def _follow(self, data: bytes) -> None:
        at = 0
        while at < len(data) and self._samples != 0:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            at = end or len(data)
            if not Y4M.startswith(self._line[: len(Y4M)]) and self._samples is None:
                self._samples = 0
            elif end:
                if self._samples is None:
                    self._samples = y4m_samples(self._line)
                else:
                    self._left = self._samples
                self._line = b""

    def close(self) -> None:
        self._file.close()
        super().close()
