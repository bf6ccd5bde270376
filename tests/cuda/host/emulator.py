"""Kernels on the CPU: `build` compiles a .cu text with g++, `Program.launch` runs a kernel of it on NumPy arrays."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from host import checked as checking
from host.translate import MARK, translate

INCLUDE = Path(__file__).parent / "include"
COMMON = ("-std=c++17", "-fno-strict-aliasing", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-fno-exceptions")
WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-Wno-unknown-pragmas",
    "-Wno-attributes",
)
FAST = ("-O2", "-g0", "-march=native")
# Uninitialised locals hold a pattern (NaN as floats), so that a kernel that reads one gives a wrong result.
CHECKED = ("-O1", "-g1", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
           "-fsanitize-sections=emu_shared", "-ftrivial-auto-var-init=pattern")  # fmt: skip
RACES = ("-O1", "-g1", "-march=native", "-fsanitize=thread")  # see race.h
COUNTS = ("mma", "ldmatrix", "async_bytes", "barriers")


class BuildError(RuntimeError):
    """g++ does not accept the text."""


class LaunchError(RuntimeError):
    """A launch that does not fit its kernel, or an error that the emulator found while the kernel ran."""


def missing() -> str | None:
    """Why the emulator cannot run here; None if it can."""
    if not shutil.which("g++"):
        return "the CUDA emulator needs g++"
    if platform.system() != "Linux":
        return "the CUDA emulator needs Linux"
    return None


def build(
    source: str,
    *,
    macros: Mapping[str, int] | None = None,
    arch: int = 80,
    races: bool = False,
    flags: Sequence[str] = (),
) -> Program:
    """Compile a .cu text, or take it from the cache; in a process of `checked.run` with AddressSanitizer and UBSan.

    Args:
        source: the text as NVRTC would get it.
        macros: -D of this compilation.
        arch: compute capability, 75, 80, ...; __CUDA_ARCH__ is ten times that.
        races: find races exactly, by watching every load and store; about 10 times slower.
        flags: more flags for g++.
    Raises:
        BuildError: g++ or `translate` does not accept it.
    """
    kind = RACES if races else CHECKED if checking.active() else FAST
    options = [*COMMON, *WARNINGS, *kind, *flags, f"-D__CUDA_ARCH__={arch * 10}", f"-I{INCLUDE}"]
    options += [f"-D{name}={value}" for name, value in (macros or {}).items()]
    key = hashlib.sha256("\0".join([_toolchain(), _headers(), *options, source]).encode()).hexdigest()[:24]
    library = _cache_folder() / f"{key}.so"
    if not library.exists():
        _compile(source, options, library)
    return _load(library)


def _compile(source: str, options: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        before, after, middle, result = (Path(folder) / name for name in ("text.cpp", "text.ii", "text.o", "text.so"))
        before.write_text(f'#include "launch.h"\n{MARK}\n#line 1 "kernels.cu"\n{source}\n')
        text = _gpp(["-E", *options, str(before)])
        after.write_text(translate(text))
        _gpp(["-c", "-fpreprocessed", *options, str(after), "-o", str(middle)])
        link = [flag for flag in options if flag.startswith("-fsanitize=") and "thread" not in flag]
        _gpp(["-shared", *link, str(middle), "-o", str(result)])
        result.replace(library)  # whole or not at all: other processes use the cache too


def _gpp(arguments: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # not under the sanitizer
    done = subprocess.run(["g++", *arguments], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(done.stderr)
    return done.stdout


@cache
def _cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"vs-smsr-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def _toolchain() -> str:
    cpu = next(
        (line for line in _cpuinfo() if line.startswith(("flags", "Features"))), ""
    )  # -march=native depends on it
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout + cpu


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


@cache
def _headers() -> str:
    files = [*sorted(INCLUDE.iterdir()), Path(__file__).with_name("translate.py")]
    return "".join(file.read_text() for file in files)


@cache
def _load(library: Path) -> Program:
    return Program(library)


class _Kernel(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("parameters", ctypes.c_char_p), ("max_threads", ctypes.c_int))


class Program:
    """A compiled text. One launch at a time: others wait.

    Attributes:
        kernels: name -> parameters, each as "const float32* 4" (pointee, its alignment) or "int32 4" (its size).
        counts: what ran so far: tensor core products, ldmatrix, bytes of cp.async, barriers.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.emu_launch.restype = ctypes.c_char_p
        self.kernels: dict[str, list[str]] = {}
        self._max_threads: dict[str, int] = {}
        self._counts = (ctypes.c_uint64 * 8)()
        self._lock = threading.Lock()
        kernel = _Kernel()
        while self._library.emu_kernel(len(self.kernels), ctypes.byref(kernel)):
            name = kernel.name.decode()
            self.kernels[name] = [p for p in kernel.parameters.decode().split(";") if p]
            self._max_threads[name] = kernel.max_threads

    @property
    def counts(self) -> dict[str, int]:
        return dict(zip(COUNTS, self._counts, strict=False))

    def launch(
        self,
        kernel: str,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        arguments: Sequence[Any],
        *,
        shared_bytes: int = 0,
        seed: int = 1,
    ) -> None:
        """Run a kernel to its end.

        Args:
            kernel: its extern "C" name.
            grid, block: one to three sizes.
            arguments: NumPy arrays for pointers, NumPy scalars for numbers, one per parameter, of exactly its type.
            shared_bytes: dynamic shared memory.
            seed: chooses the order of blocks and threads; odd seeds poison with 0xCD, even ones with 0xFF.
        Raises:
            LaunchError: the launch does not fit the kernel, or the emulator found an error.
        """
        if kernel not in self.kernels:
            raise LaunchError(f"{kernel}: no such kernel, only {', '.join(self.kernels)}")
        grid3, block3 = _three(grid), _three(block)
        threads = block3[0] * block3[1] * block3[2]
        if min(grid3) < 1 or max(grid3[1:]) > 65535 or grid3[0] >= 2**31:
            raise LaunchError(f"{kernel}: the grid must be 1 to 2^31-1, 65535, 65535 blocks, got {grid3}")
        if not 1 <= threads <= (self._max_threads[kernel] or 1024):
            raise LaunchError(
                f"{kernel}: a block must have 1 to {self._max_threads[kernel] or 1024} threads, got {threads}"
            )
        if not 0 <= shared_bytes <= 227 * 1024:
            raise LaunchError(f"{kernel}: shared memory must be at most 227 KiB, got {shared_bytes} bytes")
        parameters = self.kernels[kernel]
        if len(arguments) != len(parameters):
            raise LaunchError(f"{kernel}: takes {len(parameters)} arguments, got {len(arguments)}")
        pairs = zip(parameters, arguments, strict=True)
        values = [_value(f"{kernel}: argument {i}", *pair) for i, pair in enumerate(pairs)]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*[ctypes.addressof(value) for value in values])
        sizes = [argument.nbytes if isinstance(argument, np.ndarray) else 0 for argument in arguments]
        with self._lock:
            error = self._library.emu_launch(
                list(self.kernels).index(kernel),
                (ctypes.c_uint * 3)(*grid3),
                (ctypes.c_uint * 3)(*block3),
                ctypes.c_ulong(shared_bytes),
                pointers,
                (ctypes.c_uint64 * (len(sizes) + 1))(*sizes, 2**64 - 1),
                ctypes.c_ulong(seed),
                self._counts,
            )
        if error:
            raise LaunchError(re.sub(r"<\+(0x\w+)>", self._line, error.decode()))

    def _line(self, match: re.Match[str]) -> str:
        """The source line of the instruction before a return address."""
        place = hex(int(match[1], 16) - 1)
        done = subprocess.run(
            ["addr2line", "-i", "-e", self._library._name, place], capture_output=True, text=True, check=False
        )
        lines = [line.rpartition("/")[2].split(" ")[0] for line in done.stdout.splitlines()]
        own = [line for line in lines if not line.startswith(("ptx.h", "race.h", "intrinsics.h", "?"))]
        return " from ".join(own) or match[1]


def _three(size: int | tuple[int, ...]) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else size
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def _value(where: str, parameter: str, argument: Any) -> Any:
    """The argument as ctypes memory, after checking it against the parameter as strictly as a compiler would."""
    match = re.fullmatch(r"(const )?(\w*)(\*?) (\d+)", parameter)
    assert match, f"a parameter that launch.h describes, not {parameter!r}"
    constant, wanted, pointer, size = match[1], match[2], match[3], int(match[4])
    if not pointer:
        if not isinstance(argument, np.generic) or argument.dtype.name != wanted:
            given = f"{argument.dtype.name} scalar" if isinstance(argument, np.generic) else type(argument).__name__
            raise LaunchError(f"{where} must be a NumPy {wanted}, got {given}")
        return (ctypes.c_char * size).from_buffer_copy(argument.tobytes())
    if not isinstance(argument, np.ndarray):
        raise LaunchError(f"{where} must be an array for {parameter}, got {type(argument).__name__}")
    if not argument.flags.c_contiguous:
        raise LaunchError(f"{where} must be C-contiguous: a kernel gets the address alone")
    if wanted not in ("", "void", argument.dtype.name) and (wanted, argument.dtype.name) != ("uint16", "float16"):
        raise LaunchError(f"{where} must have dtype {wanted}, got {argument.dtype.name}")
    if argument.size and argument.ctypes.data % size:
        raise LaunchError(f"{where} must be aligned to {size} bytes")
    if not constant and not argument.flags.writeable:
        raise LaunchError(f"{where} is written by the kernel, but the array is read-only")
    return ctypes.c_void_p(argument.ctypes.data)
