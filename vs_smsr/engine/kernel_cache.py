"""Where compiled kernels are kept between processes: beside the package, or in the user's cache folder.

A file is named for its kernel and what it was compiled for: types, processor, and the sources and versions it was
compiled from. It is replaced at once, holds a checksum, and takes the place of those of other sources.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vs_smsr.engine.machine_code import numba_folder

log = logging.getLogger(__name__)
PLACE = "VS_SMSR_CACHE_DIR"  # environment variable: the folder to use
_DIGEST = hashlib.sha256().digest_size


def place(function: Any, types: Iterable[Any]) -> Path | None:
    """The file for a function's code for those types; None where nothing can be kept."""
    where = folder()
    return where and where / f"{_name(function)}.{_hash(map(str, types))}.{_build(function)}.kernel"


def is_kept(function: Any) -> bool:
    """Is there code for some types? Also False where nothing can be kept."""
    where = folder()
    return where is not None and any(where.glob(f"{_name(function)}.*.{_build(function)}.kernel"))


def read(path: Path | None) -> bytes | None:
    """Its code; None if there is none, or what is there is damaged."""
    try:
        found = path.read_bytes() if path else b""
    except OSError:
        return None
    code = found[_DIGEST:]
    return code if code and hashlib.sha256(code).digest() == found[:_DIGEST] else None


def write(path: Path | None, code: bytes) -> None:
    """Keep code, and drop what was compiled for the same from other sources."""
    if path is None:
        return
    name, types, build, _ = path.name.rsplit(".", 3)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(hashlib.sha256(code).digest() + code)
        part.replace(path)
        for old in path.parent.glob(f"{name}.{types}.{build.partition('-')[0]}-*.kernel"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.info("cpu: %s is not kept: %s", path.name, error)


@cache
def folder() -> Path | None:
    """An existing folder that can be written, the environment's or the package's or the user's; None if none can."""
    named = os.environ.get(PLACE)
    home = Path(named) if named else None
    for candidate in [home] if home else [Path(__file__).parent / "__pycache__", _users()]:
        try:
            candidate.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=candidate):
                return candidate
        except OSError as error:
            log.info("cpu: compiled kernels are not kept in %s: %s", candidate, error)
    return None


def _users() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "vs-smsr" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vs-smsr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vs-smsr"


def _name(function: Any) -> str:
    """Module, function, and the integers it is made for: sparse_kernels.convolution-8-2-6-0."""
    closure = function.py_func.__closure__ or ()
    integers = [cell.cell_contents for cell in closure if isinstance(cell.cell_contents, int)]
    if len(integers) < len(closure):
        raise TypeError(f"{function.__qualname__}: a kernel's closure may hold integers only.")
    module = function.__module__.rpartition(".")[2]
    return "-".join([f"{module}.{function.__qualname__.partition('.')[0]}", *map(str, integers)])


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(function: Any) -> str:
    """Processor and sources: of the engine, and of the file that holds the function."""
    return f"{_processor()}-{_hash([_engine(), _text(function.py_func.__code__.co_filename)])}"


@cache
def _processor() -> str:
    import llvmlite.binding as llvm

    return _hash([platform.machine(), sys.platform, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()])


@cache
def _engine() -> str:
    """Of the engine's sources, and of what compiles them and runs what was compiled."""
    import llvmlite

    numba = _text(str(numba_folder() / "_version.py"))
    versions = [sys.version, np.__version__, llvmlite.__version__, numba]
    return _hash([*versions, *(_text(str(file)) for file in sorted(Path(__file__).parent.rglob("*.py")))])


@cache
def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
