"""Compile kernels for any GPU without having one, and read what came out: registers, spills, instructions."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources, util
from pathlib import Path
from types import MappingProxyType

from cupy_kernels import source
from cupy_kernels.device import Macros

ARCHS = (75, 80, 86, 89, 90, 100, 120)
# As CuPy calls NVRTC; `cuda.OPTIONS` and what CuPy adds.
OPTIONS = ("-std=c++17", "-lineinfo", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")
INSTRUCTIONS = MappingProxyType(
    {
        "mma": r"\bHMMA\.",
        "ldmatrix": r"\bLDSM\.",
        "cp.async": r"\bLDGSTS\.",
        "load 16 bytes": r"\bLDGS?(?:TS)?\.E\.(?:\w+\.)*128",
        "store 16 bytes": r"\bSTG\.E\.(?:\w+\.)*128",
        "local memory": r"\b(?:LDL|STL)\b",
    }
)


@dataclass(frozen=True)
class Compiled:
    """One kernel of one compilation.

    Attributes:
        registers: per thread. stack_bytes, spill_bytes: per thread; both must be 0.
        instructions: name of `INSTRUCTIONS` -> how many are in the machine code; empty without a disassembler.
    """

    name: str
    file: str
    arch: int
    macros: Macros
    registers: int
    stack_bytes: int
    spill_bytes: int
    instructions: Mapping[str, int] = field(default_factory=dict)


def missing() -> str | None:
    """Why nothing can be compiled here; None if it can."""
    if util.find_spec("cupy_backends") is None:
        return "compiling kernels needs CuPy. Install it with: pip install 'cupy-cuda13x[ctk]'"
    from cupy_backends.cuda.libs import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:  # whatever the loader of the shared library raises
        return f"compiling kernels needs NVRTC ({error}). Install it with: pip install 'cupy-cuda13x[ctk]'"
    return None


def compile_file(file: str, macros: Macros, arch: int, disassemble: bool = False) -> list[Compiled]:
    """Compile a .cu file of this package to machine code.

    Args:
        file: its name.
        macros: -D of the compilation.
        arch: compute capability, 86 = 8.6.
        disassemble: count instructions too, where a disassembler is installed.
    Raises:
        RuntimeError: it does not compile; the message is the compiler's.
    """
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(source.text(file), file, (), ())
    try:
        options = (*OPTIONS, f"-arch=sm_{arch}", *(f"-D{name}={value}" for name, value in sorted(macros.items())))
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError as error:
            raise RuntimeError(f"{file} for sm_{arch}: {nvrtc.getProgramLog(program)}") from error
        log = nvrtc.getProgramLog(program)
        code = _instructions(nvrtc.getCUBIN(program)) if disassemble else {}
    finally:
        nvrtc.destroyProgram(program)
    if "warning" in log:
        raise RuntimeError(f"{file} for sm_{arch}: {log}")
    kernels = []
    for part in log.split("Compiling entry function ")[1:]:
        name, stack, stores, loads, registers = _numbers(part)
        kernels.append(Compiled(name, file, arch, macros, registers, stack, stores + loads, code.get(name, {})))
    return kernels


def _numbers(part: str) -> tuple[str, int, int, int, int]:
    """Kernel, bytes of stack, of spill stores, of spill loads, registers, from what ptxas -v says of one kernel."""
    name = re.match(r"'(\w+)'", part)
    memory = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
    registers = re.search(r"Used (\d+) registers", part)
    if not (name and memory and registers):
        raise RuntimeError(f"ptxas -v says something unexpected: {part}")
    return name[1], int(memory[1]), int(memory[2]), int(memory[3]), int(registers[1])


@cache
def disassembler() -> str | None:
    """Path of nvdisasm: of the CUDA toolkit, or of the wheel nvidia-cuda-nvdisasm; None = not installed."""
    found = shutil.which("nvdisasm")
    spec = util.find_spec("nvidia") if found is None else None
    if spec is not None:
        for root in spec.submodule_search_locations or ():
            found = found or next((str(path) for path in sorted(Path(root).glob("*/bin/nvdisasm"))), None)
    return found


def _instructions(cubin: bytes) -> dict[str, dict[str, int]]:
    """Kernel -> counts of `INSTRUCTIONS`."""
    tool = disassembler()
    if tool is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin + b"\0")  # CuPy takes the last byte off, as if it ended a string
        text = subprocess.run([tool, "-c", str(path)], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"\.section\s+\.text\.(\w+)", text)
    counts = {}
    for name, part in zip(parts[1::2], parts[2::2], strict=True):
        counts[name] = {what: len(re.findall(pattern, part)) for what, pattern in INSTRUCTIONS.items()}
    return counts


def files() -> list[str]:
    """All .cu files."""
    return sorted(path.name for path in resources.files(__package__).iterdir() if path.name.endswith(".cu"))
