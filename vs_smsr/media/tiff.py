"""The tags of a TIFF file that OpenCV does not keep: the ICC profile and the kind of alpha.

Source: TIFF revision 6.0, section 2 (file structure) and Adobe's ICC tag 34675.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA_SAMPLES, SAMPLE_FORMAT, ICC = 258, 262, 277, 284, 338, 339, 34675
PREMULTIPLIED, STRAIGHT = 1, 2  # values of EXTRA_SAMPLES
_SHORT, _UNDEFINED = 3, 7
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of one value by type


@dataclass(frozen=True)
class Tag:
    """One directory entry: `raw` is its value in the file's byte order, which starts at `position` of the file."""

    kind: int
    count: int
    raw: bytes
    position: int


@dataclass(frozen=True)
class Directory:
    """The first image's directory; `following` is the position of the next one, 0 if there is none."""

    order: str  # "<" or ">", as struct has it
    tags: dict[int, Tag]
    following: int

    def shorts(self, name: int, default: int) -> tuple[int, ...]:
        """The values of a tag of 16-bit numbers."""
        tag = self.tags.get(name)
        if tag is None or tag.kind != _SHORT:
            return (default,)
        return struct.unpack(f"{self.order}{tag.count}H", tag.raw)


def parse(data: bytes) -> Directory:
    """Read the first directory of a classic TIFF.

    Raises:
        ValueError: not a classic TIFF (BigTIFF is not read), or it ends too early.
    """
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    if data[:4] not in orders:
        raise ValueError("only classic TIFF is read, not BigTIFF")
    order = orders[data[:4]]
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, start)
        tags = {}
        for index in range(entries):
            at = start + 2 + 12 * index
            name, kind, count = struct.unpack_from(order + "HHI", data, at)
            size = _SIZES.get(kind, 0) * count
            position = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
            tags[name] = Tag(kind, count, data[position : position + size], position)
            if len(tags[name].raw) < size:
                raise ValueError("the file ends too early")
        (following,) = struct.unpack_from(order + "I", data, start + 2 + 12 * entries)
    except struct.error as error:
        raise ValueError("the file ends too early") from error
    return Directory(order, tags, following)


def patch_short(data: bytes, tag: Tag, order: str, value: int) -> bytes:
    """The file with a one-value tag of 16 bits changed."""
    return data[: tag.position] + struct.pack(order + "H", value) + data[tag.position + 2 :]


def add_tags(data: bytes, profile: bytes | None, alpha: bool) -> bytes:
    """The file with an ICC profile and the mark "the fourth sample is straight alpha" added.

    The directory is written anew at the end; the old one stays where it is, unused.
    """
    directory = parse(data)
    order = directory.order
    entries = {name: (tag.kind, tag.count, tag.raw) for name, tag in directory.tags.items()}
    if alpha:
        entries[EXTRA_SAMPLES] = (_SHORT, 1, struct.pack(order + "H", STRAIGHT))
    if profile:
        entries[ICC] = (_UNDEFINED, len(profile), profile)
    start = len(data) + len(data) % 2  # directories begin on even positions
    values_at = start + 2 + 12 * len(entries) + 4
    table, values = b"", b""
    for name, (kind, count, raw) in sorted(entries.items()):
        field = raw.ljust(4, b"\0")
        if len(raw) > 4:
            field = struct.pack(order + "I", values_at + len(values))
            values += raw + b"\0" * (len(raw) % 2)
        table += struct.pack(order + "HHI", name, kind, count) + field
    header = data[:4] + struct.pack(order + "I", start) + data[8:].ljust(start - 8, b"\0")
    return header + struct.pack(order + "H", len(entries)) + table + struct.pack(order + "I", 0) + values
