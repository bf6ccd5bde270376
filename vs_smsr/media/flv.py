"""FLV files joined by `cat`: FFmpeg takes the second file's header for the length of a tag and skips most of it."""

from __future__ import annotations

import io
from pathlib import Path

HEADER, TAG, SIZE = 9, 11, 4  # bytes: file header, tag header, the size that follows each of them


class JoinedFlv(io.RawIOBase):
    """The bytes of a joined FLV file, open for reading, without the headers of all files but the first."""

    def __init__(self, path: Path, cuts: list[int]) -> None:
        """
        Args:
            path: the file.
            cuts: positions at which a file but the first begins.
        """
        self._file = path.open("rb")
        ends = [*cuts, path.stat().st_size]
        starts = [0, *(cut + HEADER + SIZE for cut in cuts)]
        self._parts = list(zip(starts, ends, strict=True))
        self._length = sum(end - start for start, end in self._parts)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = self._length - self._position if size < 0 else size
        before, pieces = self._position, []
        for start, end in self._parts:
            length = end - start
            if left > 0 and before < length:
                self._file.seek(start + before)
                pieces.append(self._file.read(min(left, length - before)))
                left -= len(pieces[-1])
                before = length
            before -= length
        data = b"".join(pieces)
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def joined_flv(path: Path) -> JoinedFlv | None:
    """The file without its inner headers if it is FLV and has any."""
    cuts = []
    with path.open("rb") as file:
        if file.read(3) != b"FLV":
            return None
        position, size = HEADER + SIZE, path.stat().st_size
        while position < size:
            file.seek(position)
            head = file.read(TAG)
            if head[:3] == b"FLV":
                cuts.append(position)
                position += HEADER + SIZE
            else:
                position += TAG + int.from_bytes(head[1:4]) + SIZE
    return JoinedFlv(path, cuts) if cuts else None
