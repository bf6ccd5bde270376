"""What a JPEG file holds behind its picture, where decoders do not look."""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # none that stands within a scan
_END = 0xD9
_FILM = re.compile(rb"\0\0\0[\x10-\x60]ftyp")  # the first box of an MP4; phones put their own marks before it


def notes(data: bytes, *, one: bool) -> list[str]:
    """What will be lost of it, a sentence each.

    Args:
        one: the file is known to hold one picture; further ones, which would follow it, are named elsewhere.
    """
    behind = data[end(data) :]
    if _FILM.search(behind):
        return ["a film follows the picture in the file (a motion photo); it is not carried."]
    if one and (behind := behind.strip(b"\0\r\n ")):
        return [f"{len(behind)} bytes of something else follow the picture in the file; they are not carried."]
    return []


def end(data: bytes) -> int:
    """Where the first picture ends; the file's end if no mark says it. Source: ITU-T T.81, annex B."""
    place = 2  # after the start of the image
    while marker := _MARKER.search(data, place):
        if marker[0][1] == _END:
            return marker.end()
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return len(data)
