"""A path is a path: what FFmpeg and the terminal would make of its characters does not matter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

STANDARD = Path("-")  # standard input, or standard output


def url(path: Path | str, writing: bool = False, end: int | None = None) -> str:
    """The path as FFmpeg must get it, which takes "Alien: Romulus.mp4" for a protocol.

    Args:
        end: read the file as if it had only so many bytes.
    """
    if path == STANDARD:
        return "pipe:1" if writing else "pipe:0"
    return f"file:{os.fspath(path)}" if end is None else f"subfile,,start,0,end,{end},,:file:{os.fspath(path)}"


def is_file(path: Path) -> bool:
    """Is this a regular file? A pipe is not, and reading from it to see what it holds would take that away."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_pipe(path: Path) -> bool:
    """Can this only be read once and from the start, or written so: "-", a FIFO, a socket, a terminal?"""
    if path == STANDARD:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
