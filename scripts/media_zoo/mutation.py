"""Damage to the bytes of a file, as transfers, disks and broken programs do it, and worse."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

HEAD = 600  # bytes in which containers say what they are
EDGES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def mutate(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    """The file with one to three mutations, and what they are: "flip 3 bytes, cut at 512"."""
    told = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if data:
            data, what = random.choice(KINDS)(data, others, random)
            told.append(what)
    return data, ", ".join(told)


def _range(data: bytes, random: Random, most: int = 4096) -> tuple[int, int]:
    """Begin and end of a piece, short ones more often than long ones."""
    start = random.randrange(len(data))
    length = int(2 ** random.uniform(0, min(most, len(data)).bit_length()))
    return start, min(start + length, len(data))


def _flip(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    count = int(2 ** random.uniform(0, 6))
    changed = bytearray(data)
    for _ in range(count):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed), f"flip a bit of {count} bytes"


def _edit_head(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    position = random.randrange(min(HEAD, len(data)))
    length = min(random.choice((1, 1, 2, 4, 8)), len(data) - position)
    value = bytes(random.choice(EDGES) for _ in range(length))
    return data[:position] + value + data[position + length :], f"set {value.hex()} at {position}"


def _edit_number(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    position = random.randrange(len(data))
    value = random.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, random.getrandbits(32))).to_bytes(4)
    value = value[: len(data) - position]
    return data[:position] + value + data[position + 4 :], f"set {value.hex()} at {position}"


def _cut(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    end = random.randrange(len(data))
    return data[:end], f"cut at {end}"


def _cut_front(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    start = random.randrange(len(data))
    return data[start:], f"begin at {start}"


def _drop(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    start, end = _range(data, random)
    return data[:start] + data[end:], f"drop {start}..{end}"


def _zero(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    start, end = _range(data, random)
    return data[:start] + bytes(end - start) + data[end:], f"zero {start}..{end}"


def _duplicate(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    start, end = _range(data, random)
    return data[:end] + data[start:end] + data[end:], f"duplicate {start}..{end}"


def _splice(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    """A piece of some file over a piece of this one."""
    piece_of = random.choice(others) or data
    start, end = _range(piece_of, random)
    position = random.randrange(len(data))
    piece = piece_of[start:end]
    return data[:position] + piece + data[position + len(piece) :], f"splice {len(piece)} bytes at {position}"


def _join(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    other = random.choice(others)
    return data + other, f"append a file of {len(other)} bytes"


KINDS = (_flip, _flip, _edit_head, _edit_head, _edit_number, _cut, _cut_front, _drop, _zero, _duplicate, _splice, _join)
