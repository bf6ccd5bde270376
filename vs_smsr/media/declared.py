"""How long a file says it is: a container whose outermost box goes on past the end of the file was cut off.

FFmpeg reads a cut Matroska, AVI, MXF or FLV file without a complaint and stops early, so this is asked before any work.
What lies behind the last box (text, padding, a phone maker's trailer) is no box, and does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof")
MORE_BOXES = (
    b"pnot",
    b"uuid",
    b"meta",
    b"meco",
    b"mfra",
    b"sidx",
    b"ssix",
    b"prft",
    b"emsg",
    b"pdin",
    b"udta",
    b"imda",
)
ELEMENTS = (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec", b"\xbf")  # EBML, Segment, Void, CRC-32
PAGE, PAGE_HEADER, PAGE_MOST, PAGE_IS_LAST = b"OggS", 27, 65307, 4
OBJECTS = ("3026b2758e66cf11", "3626b2758e66cf11", "90080033b1e5cf11", "d329e2d6da35d111", "f803b1fead12644c")  # of ASF
HEAD = 1 << 16  # bytes in which a film in fragments says that it is one
RIFF_CHUNK = 8  # bytes of its name and size
Y4M = b"YUV4MPEG2 "
Y4M_LINE = 1024  # most bytes of a line of it
OPEN = 0  # the end of a box that goes on to the end of the file, however long that is


@dataclass(frozen=True)
class Declared:
    """What a container tells of its length.

    Attributes:
        size: bytes that the file should have at least; None if the container does not tell.
        odd: what does not fit together though nothing is missing, for a note; empty if all does.
    """

    size: int | None
    odd: str = ""


def declared(path: Path) -> Declared:
    """The length that a file gives itself.

    Knows ISO media (MP4, MOV), Matroska/WebM, RIFF (AVI), MXF, FLV, ASF (WMV), Ogg and Y4M.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[: len(PAGE)] == PAGE:
            return _of_ogg(file, size)
        walk = _walk_of(head)
        if walk is None:
            return Declared(None)
        position = start = 0
        while position < size:
            file.seek(position)
            end = walk(file, position)
            if end == OPEN:
                return Declared(None)
            if end is None:
                file.seek(position)
                padding = not any(file.read(64))
                return Declared(None, "" if padding else f"its last {size - position} bytes are not part of the video")
            start, position = position, end
        if walk is _end_of_riff and position > size and _chunks_are_whole(file, start, size):
            return Declared(size, f"its RIFF header is wrong about its size by {position - size} bytes")
        return Declared(position)


def _walk_of(head: bytes) -> Callable[[BinaryIO, int], int | None] | None:
    """The function that finds the end of the box at a position, by the file's first bytes.

    It returns None where there is no box.
    """
    if head[4:8] in BOXES:
        return _end_of_box
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _end_of_element
    if head[:4] == b"RIFF":
        return _end_of_riff
    if head[:4] == b"\x06\x0e\x2b\x34":
        return _end_of_klv
    if head[:3] == b"FLV":
        return _end_of_tag
    if head[:8].hex() == OBJECTS[0]:
        return _end_of_object
    if head[: len(Y4M)] == Y4M:
        return _end_of_frame
    return None


def _end_of_box(file: BinaryIO, start: int) -> int | None:
    """Source: ISO/IEC 14496-12 section 4.2."""
    head = file.read(16)
    if head[4:8] not in BOXES + MORE_BOXES or (start and head[4:8] == b"ftyp" and b"mvex" not in file.read(HEAD)):
        return None  # a second film, which nothing reads, unless they are fragments
    size = int.from_bytes(head[:4])
    if size == 1:
        size = int.from_bytes(head[8:16])
    return start + size if size >= 8 else OPEN


def _end_of_element(file: BinaryIO, start: int) -> int | None:
    """Source: RFC 8794 section 4: a variable-length id, a variable-length size, the data."""
    head = file.read(12)
    id_bytes = next((len(known) for known in ELEMENTS if head.startswith(known)), 0)
    if not id_bytes:
        return None
    if len(head) <= id_bytes or head[id_bytes] == 0:
        return OPEN
    size_bytes = 9 - head[id_bytes].bit_length()
    field = int.from_bytes(head[id_bytes : id_bytes + size_bytes])
    size = field & ((1 << 7 * size_bytes) - 1)
    if size == (1 << 7 * size_bytes) - 1:  # all ones: a live recording, whose length was never written
        return OPEN
    return start + id_bytes + size_bytes + size


def _end_of_riff(file: BinaryIO, start: int) -> int | None:
    """RIFF and, in OpenDML files above 1 GiB, more RIFF chunks behind it."""
    head = file.read(RIFF_CHUNK)
    size = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF":
        return None
    if size in (0, 0xFFFFFFFF):
        return OPEN
    return start + RIFF_CHUNK + size + size % 2


def _chunks_are_whole(file: BinaryIO, start: int, size: int) -> bool:
    """True if the chunks in the RIFF at `start` end where the file does, whatever RIFF says: some writers miscount."""
    position = start + RIFF_CHUNK + 4
    while position < size:
        file.seek(position)
        head = file.read(RIFF_CHUNK)
        if len(head) < RIFF_CHUNK:
            return False
        length = int.from_bytes(head[4:8], "little")
        position += RIFF_CHUNK + length
        if position == size:  # the last chunk may lack its padding
            return True
        position += length % 2
    return position == size


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


def _end_of_frame(file: BinaryIO, start: int) -> int | None:
    """Y4M: a line about all frames, then for each a line that begins with FRAME, and its samples."""
    line = file.readline(Y4M_LINE)
    if start == 0 and line.endswith(b"\n"):
        return len(line)
    if not b"FRAME".startswith(line[:5]):
        return None
    file.seek(0)
    size = y4m_samples(file.readline(Y4M_LINE))
    return start + len(line) + size if size else OPEN


def y4m_samples(header: bytes) -> int:
    """Bytes of a frame; 0 if the header does not tell, or tells what is not known here."""
    told = {word[:1]: word[1:] for word in header.decode("latin-1").split()[1:]}
    layout = re.match(
        r"(mono|420|411|422|444alpha|444)(?:jpeg|mpeg2|paldv|p?(9|10|12|14|16))?$", told.get("C", "420jpeg")
    )
    if not (layout and told.get("W", "").isdecimal() and told.get("H", "").isdecimal()):
        return 0
    width, height = int(told["W"]), int(told["H"])
    across, down = {"420": (2, 2), "411": (4, 1), "422": (2, 1)}.get(layout[1], (1, 1))
    chroma = -(-width // across) * -(-height // down)
    planes = {"mono": 0, "444alpha": 3}.get(layout[1], 2)
    return (width * height + planes * chroma) * (1 + bool(layout[2]))


def _end_of_tag(file: BinaryIO, start: int) -> int | None:
    """FLV: a header, then tags of 11 bytes and their data, each followed by its size in 4 bytes."""
    head = file.read(11)
    if start == 0:
        return int.from_bytes(head[5:9]) + 4
    if head[0] & 0xDF not in (8, 9, 18) or any(head[8:11]):  # no sound, picture or script, in stream 0
        return OPEN
    return start + 11 + int.from_bytes(head[1:4]) + 4


def _end_of_object(file: BinaryIO, start: int) -> int | None:
    """Source: Advanced Systems Format specification 2.1. A second header begins another film, which nothing reads."""
    head = file.read(24)
    if head[:8].hex() not in OBJECTS[bool(start) :]:
        return None
    size = int.from_bytes(head[16:24], "little")
    return start + size if size >= len(head) else OPEN  # 0: a live recording


def _of_ogg(file: BinaryIO, size: int) -> Declared:
    """By the last page alone, for there may be very many. Source: RFC 3533 section 6."""
    file.seek(max(size - 2 * PAGE_MOST, 0))
    tail = file.read()
    at = tail.rfind(PAGE)
    if at < 0:
        return Declared(None)
    header = tail[at : at + PAGE_HEADER].ljust(PAGE_HEADER, b"\1")  # where it is cut, a segment is missing as well
    lengths = tail[at + PAGE_HEADER : at + PAGE_HEADER + header[-1]].ljust(header[-1], b"\0")
    end = size - len(tail) + at + PAGE_HEADER + len(lengths) + sum(lengths)
    whole = end > size or header[5] & PAGE_IS_LAST
    return Declared(end, "" if whole else "it has no end mark: it may be cut off, and frames be missing")
