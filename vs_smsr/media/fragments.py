"""MP4s in fragments that `cat` joined: FFmpeg drops the frames of a fragment whose times go back, and where fragments
count their bytes from the beginning of the file, reads those of the first film again. So its end must be known.

Source: ISO/IEC 14496-12 sections 8.8.7 (tfhd) and 8.8.12 (tfdt).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vs_smsr.media.declared import BOXES, MORE_BOXES

LARGE = 1  # the size of a box whose size follows in 8 bytes
HAS_OFFSET = 1  # flag of tfhd: the place of the samples is counted from a byte of the file
MOST = 1 << 20  # bytes of a fragment's header that are looked at


def end_of_first_film(path: Path) -> int | None:
    """Bytes of the first film of a file of fragments if another follows whose times begin anew; else None.

    Fragments that go on in time behind another header, as a stream that was recorded in parts has them, are one film.

    Raises:
        OSError: the file cannot be read.
    """
    decoded: dict[int, int] = {}  # by track: when the last fragment is decoded, in ticks
    film = before = behind = 0  # where the last header begins, the last samples before it end, and the last at all
    with path.open("rb") as file:
        for kind, start, end in _boxes(file, 0, path.stat().st_size):
            if kind == b"ftyp":
                film, before = start, behind
            elif kind == b"mdat":
                behind = end
            elif kind == b"moof":
                file.seek(start)
                for track, offset, time in _tracks(file.read(min(end - start, MOST))):
                    again = offset is not None and offset < film
                    if film and decoded and (again or (time is not None and time <= decoded.get(track, -1))):
                        return before
                    decoded[track] = time or 0
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of the outermost boxes, as far as there are any."""
    while start < end:
        file.seek(start)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4]), head[4:8]
        size = int.from_bytes(head[8:16]) if size == LARGE else size
        if kind not in BOXES + MORE_BOXES or size < 8:
            return
        yield kind, start, start + size
        start += size


def _tracks(moof: bytes) -> Iterator[tuple[int, int | None, int | None]]:
    """Of each track in a fragment: its number, from which byte of the file its samples count, when they are decoded."""
    for kind, body in _inner(moof[8:]):
        if kind != b"traf":
            continue
        parts = dict(_inner(body))
        header, time = parts.get(b"tfhd", b""), parts.get(b"tfdt", b"")
        if len(header) < 8:
            continue
        flags, track = struct.unpack_from(">II", header)
        offset = int.from_bytes(header[8:16]) if flags & HAS_OFFSET else None
        decoded = int.from_bytes(time[4 : 12 if time[0] else 8]) if len(time) >= 8 else None
        yield track, offset, decoded


def _inner(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the boxes in a box."""
    while len(data) >= 8:
        size = max(int.from_bytes(data[:4]), 8)
        yield data[4:8], data[8:size]
        data = data[size:]
