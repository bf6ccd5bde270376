"""Recipes to files."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from media_zoo.recipes import JOINED, RECIPES, SOUND, TRAILED, VIDEO, write_parts

QUIET = ("ffmpeg", "-nostdin", "-v", "error", "-y")
SAME_EACH_TIME = ("-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")


def make(folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> tuple[list[str], dict[str, str]]:
    """Make the files of the zoo in a folder.

    Returns:
        The names that were made, and of the others what ffmpeg said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as parts:
        cover = Path(parts, "cover.png")
        _run([*QUIET, *VIDEO.split(), "-frames:v", "1", *SAME_EACH_TIME, str(cover)])
        write_parts(Path(parts), cover.read_bytes())

        def by_recipe(name: str, target: Path) -> None:
            text = RECIPES[name].replace("{video}", VIDEO).replace("{sound}", SOUND).replace("{parts}", parts)
            text = re.sub(r"\{(.+?)\}", lambda match: str(source(match[1])), text)
            arguments = shlex.split(text)
            _run([*QUIET, *arguments, *SAME_EACH_TIME, str(target)])

        def source(name: str) -> Path:
            """A file that others are made of: from the folder, or beside it if it is not wanted itself."""
            path = folder / name if (folder / name).exists() else Path(parts, name)
            if not path.exists():
                by_recipe(name, path)
            return path

        for name in filter(wanted, [*RECIPES, *JOINED, *TRAILED]):
            try:
                if name in JOINED:
                    pieces = [_moved(source(part), offset, Path(parts)) for part, offset in JOINED[name]]
                    (folder / name).write_bytes(b"".join(pieces))
                elif name in TRAILED:
                    original, trailer = TRAILED[name]
                    (folder / name).write_bytes(source(original).read_bytes() + trailer)
                else:
                    by_recipe(name, folder / name)
            except subprocess.CalledProcessError as error:
                (folder / name).unlink(missing_ok=True)
                refused[name] = error.stderr.strip().splitlines()[0] if error.stderr.strip() else str(error)
            else:
                made.append(name)
    return made, refused


def _moved(path: Path, offset: float, parts: Path) -> bytes:
    """The file with its clock moved by seconds."""
    if not offset:
        return path.read_bytes()
    moved = parts / f"moved_{path.name}"
    _run([*QUIET, "-i", str(path), "-c", "copy", "-output_ts_offset", str(offset), *SAME_EACH_TIME, str(moved)])
    return moved.read_bytes()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
