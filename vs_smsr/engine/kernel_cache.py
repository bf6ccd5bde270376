"""Where compiled kernels are kept between processes: beside the package, or in the user's cache folder.

Both are looked into, so that what an administrator has compiled serves everybody; what is new goes to the first that
can be written. A file is named for its kernel and what it was compiled for: types, processor, and the sources and
versions it was compiled from. It is replaced at once, holds a checksum, and takes the place of those of other sources.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vs_smsr.engine.machine_code import numba_folder

log = logging.getLogger(__name__)
PLACE = "VS_SMSR_CACHE_DIR"  # environment variable: the folder to use
_DIGEST = hashlib.sha256().digest_size


def name(function: Any, types: Iterable[Any]) -> str:
    """Of the file for a function's code for those types."""
    line = str(function.py_func.__code__.co_firstlineno)  # one function may make several of one name
    return f"{_stem(function)}.{_hash([line, *map(str, types)])}.{_build(function)}.kernel"


def is_kept(function: Any) -> bool:
    """Is there code for some types?"""
    return any(any(place.glob(f"{_stem(function)}.*.{_build(function)}.kernel")) for place in _places())


def code(file: str, make: Callable[[], bytes]) -> bytes:
    """The code in a file of that name, or what `make` makes, which is kept.

    Of processes that need it at the same time one makes it, where the system locks files.
    """
    found = read(file)
    if found is None:
        with _alone(file):
            found = read(file)
            if found is None:
                found = make()
                write(file, found)
    return found


@contextmanager
def _alone(file: str) -> Iterator[None]:
    """Others wait until the block, or this process, ends."""
    place = folder()
    if place is None or sys.platform == "win32":
        yield
        return
    import fcntl

    lock = place / f"{file}.lock"
    try:
        opened = lock.open("w")
    except OSError:
        yield
        return
    with opened:
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def read(file: str) -> bytes | None:
    """The code in a file of that name; None if there is none, or what is there is damaged."""
    for place in _places():
        try:
            found = (place / file).read_bytes()
        except OSError:
            continue
        code = found[_DIGEST:]
        if code and hashlib.sha256(code).digest() == found[:_DIGEST]:
            return code
    return None


def write(file: str, code: bytes) -> None:
    """Keep code, and drop what was compiled for the same from other sources."""
    place = folder()
    if place is None:
        return
    kernel, types, build, _ = file.rsplit(".", 3)
    part = place / f"{file}.{os.getpid()}.part"
    try:
        part.write_bytes(hashlib.sha256(code).digest() + code)
        part.replace(place / file)
        for old in place.glob(f"{kernel}.{types}.{build.partition('-')[0]}-*.kernel"):
            if old.name != file:
                old.unlink(missing_ok=True)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.info("cpu: %s is not kept: %s", file, error)


@cache
def folder() -> Path | None:
    """The first place that can be written, made if need be; None if none can."""
    for place in _places():
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                return place
        except OSError as error:
            log.info("cpu: compiled kernels are not kept in %s: %s", place, error)
    return None


def _places() -> list[Path]:
    """The environment's, or the package's and the user's."""
    named = os.environ.get(PLACE)
    return [Path(named)] if named else [Path(__file__).parent / "__pycache__", _users()]


def _users() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "vs-smsr" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vs-smsr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vs-smsr"


def _stem(function: Any) -> str:
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
