"""How long a file says it is: a container whose outermost box goes on past the end of the file was cut off.

FFmpeg reads a cut Matroska, AVI, MXF or FLV file without a complaint and stops early, so this is asked before any work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def declared_size(path: Path) -> int | None:
    """Bytes that the file should have at least, or None if its container does not say.

    Knows ISO media (MP4, MOV), Matroska/WebM, RIFF (AVI), MXF and FLV.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        walk = _walk_of(head)
        if walk is None:
            return None
        position = 0
        while position < size:
            file.seek(position)
            end = walk(file, position)
            if end is None:  # a live recording, whose length was never written, or padding
                return None
            position = end
        return position


def _walk_of(head: bytes) -> Callable[[BinaryIO, int], int | None] | None:
    """The function that finds the end of the box at a position, by the file's first bytes."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof"):
        return _end_of_box
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _end_of_element
    if head[:4] == b"RIFF":
        return _end_of_riff
    if head[:4] == b"\x06\x0e\x2b\x34":
        return _end_of_klv
    if head[:3] == b"FLV":
        return _end_of_tag
    return None


def _end_of_box(file: BinaryIO, start: int) -> int | None:
    """Source: ISO/IEC 14496-12 section 4.2."""
    head = file.read(16)
    if len(head) < 8 or not head[4:8].isascii() or head[:4] == bytes(4):  # padding, or "to the end of the file"
        return None
    size = int.from_bytes(head[:4])
    if size == 1:
        size = int.from_bytes(head[8:16])
    return start + size if size >= 8 else None


def _end_of_element(file: BinaryIO, start: int) -> int | None:
    """Source: RFC 8794 section 4: a variable-length id, a variable-length size, the data."""
    head = file.read(12)
    if not head or head[0] == 0:
        return None
    id_bytes = 9 - head[0].bit_length()
    if len(head) <= id_bytes or head[id_bytes] == 0:
        return None
    size_bytes = 9 - head[id_bytes].bit_length()
    field = int.from_bytes(head[id_bytes : id_bytes + size_bytes])
    size = field & ((1 << 7 * size_bytes) - 1)
    if size == (1 << 7 * size_bytes) - 1:  # all ones
        return None
    return start + id_bytes + size_bytes + size


def _end_of_riff(file: BinaryIO, start: int) -> int | None:
    """RIFF and, in OpenDML files above 1 GiB, more RIFF chunks behind it."""
    head = file.read(8)
    size = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or size in (0, 0xFFFFFFFF):
        return None
    return start + 8 + size + size % 2


def _end_of_klv(file: BinaryIO, start: int) -> int | None:
    """Source: SMPTE ST 336: a 16-byte key, a BER length, the value."""
    head = file.read(25)
    if head[:4] != b"\x06\x0e\x2b\x34"[: len(head)]:
        return None
    if len(head) < 17:
        return start + 17
    first = head[16]
    if first < 0x80:
        return start + 17 + first
    length_bytes = first & 0x7F
    return start + 17 + length_bytes + int.from_bytes(head[17 : 17 + length_bytes])


def _end_of_tag(file: BinaryIO, start: int) -> int | None:
    """FLV: a header, then tags of 11 bytes and their data, each followed by its size in 4 bytes."""
    head = file.read(11)
    if start == 0:
        return int.from_bytes(head[5:9]) + 4
    if head[0] & 0x1F not in (8, 9, 18):  # sound, picture, script
        return None
    return start + 11 + int.from_bytes(head[1:4]) + 4
