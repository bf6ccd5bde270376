"""Does CUDA work here, and if not: which part is missing and the command that mends it."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field, replace
from importlib import metadata

OLDEST_ARCH = 75  # Turing: the first whose tensor cores have the instructions that the kernels use
BLACKWELL = 100  # needs NVRTC 12.8
DRIVERS = {12: "525", 13: "580"}  # the oldest driver of each CUDA major version
WHEELS = {12: "cupy-cuda12x", 13: "cupy-cuda13x"}


@dataclass(frozen=True)
class Facts:
    """What was found, in the order in which it is looked for; each is meaningless if one before it is missing.

    Attributes:
        driver: CUDA version that the driver serves, e.g. 13000; 0 = no driver.
        wheels: installed CuPy wheels.
        cupy_error: why CuPy does not import; "" = it does.
        cupy_major: CUDA major version that CuPy is for.
        nvrtc: version of the run-time compiler, e.g. (13, 0); None = it does not load.
        gpus: number of GPUs. gpu_error: what the driver says instead.
        ordinal: the GPU that was asked for. name, arch: its name and compute capability (89 = 8.9).
    """

    driver: int = 0
    wheels: tuple[str, ...] = field(default=())
    cupy_error: str = ""
    cupy_major: int = 0
    nvrtc: tuple[int, int] | None = None
    gpus: int = 0
    gpu_error: str = ""
    ordinal: int = 0
    name: str = ""
    arch: int = 0


def diagnose(facts: Facts) -> tuple[bool, str]:
    """(True, the GPU and its versions) or (False, what is missing and the command that mends it)."""
    if not facts.driver:
        return False, "no NVIDIA driver was found. Install it from https://www.nvidia.com/drivers, or use device='cpu'"
    major = min(max(facts.driver // 1000, 12), 13)
    install = f"pip install 'vs-smsr[cuda{major}]'"
    if facts.driver < 12000:
        served = f"{facts.driver // 1000}.{facts.driver % 1000 // 10}"
        return False, f"the NVIDIA driver serves CUDA {served}, which is too old. Update it to {DRIVERS[12]} or newer"
    if not facts.wheels and facts.cupy_error:
        return False, f"CuPy is not installed. Install it with: {install}"
    if len(facts.wheels) > 1:
        return False, (
            f"several CuPy wheels are installed ({', '.join(facts.wheels)}) and overwrite each other. "
            f"Mend it with: pip uninstall -y {' '.join(facts.wheels)} && {install}"
        )
    remove = f"pip uninstall -y {' '.join(facts.wheels) or 'cupy'}"
    if facts.cupy_error:
        return False, f"CuPy does not load ({facts.cupy_error}). Mend it with: {remove} && {install}"
    if facts.cupy_major > major:
        return False, (
            f"CuPy is for CUDA {facts.cupy_major}, but the driver serves CUDA {major}. "
            f"Update the driver to {DRIVERS[13]} or newer, or mend it with: {remove} && {install}"
        )
    if facts.nvrtc is None:
        wheel = facts.wheels[0] if facts.wheels else WHEELS[major]
        return False, f"the run-time compiler NVRTC is missing. Install it with: pip install '{wheel}[ctk]'"
    if facts.gpu_error or not facts.gpus:
        return False, f"the driver shows no GPU ({facts.gpu_error or 'none found'}). Look at the output of: nvidia-smi"
    if facts.ordinal >= facts.gpus:
        last = facts.gpus - 1
        return False, f"there is no GPU {facts.ordinal}; choose --device cuda:0{f' to cuda:{last}' if last else ''}"
    capability = f"{facts.arch // 10}.{facts.arch % 10}"
    if facts.arch < OLDEST_ARCH:
        return False, f"{facts.name} is too old: compute capability {capability}, but 7.5 is needed. Use device='cpu'"
    if facts.arch >= BLACKWELL and facts.nvrtc < (12, 8):
        return False, (
            f"{facts.name} needs NVRTC 12.8 or newer, but {facts.nvrtc[0]}.{facts.nvrtc[1]} is installed. "
            f"Mend it with: pip install --upgrade '{WHEELS[facts.cupy_major]}[ctk]'"
        )
    return True, f"{facts.name}, compute capability {capability}, CUDA {facts.cupy_major}"


def examine(ordinal: int = 0) -> Facts:
    """Look at this machine; never raises, and imports CuPy only where there is a driver."""
    driver = _driver()
    if not driver:
        return Facts()  # at once: every engine on a machine without a GPU waits for this
    wheels = _wheels()
    try:
        from cupy_backends.cuda.api import runtime
        from cupy_backends.cuda.libs import nvrtc

        cupy_major = int(runtime._getCUDAMajorVersion())
    except Exception as error:  # ImportError, OSError, and what a half-installed CuPy raises
        return Facts(driver=driver, wheels=wheels, cupy_error=_line(error))
    facts = Facts(driver=driver, wheels=wheels, cupy_major=cupy_major)
    try:
        facts = replace(facts, nvrtc=tuple(nvrtc.getVersion()))
    except Exception:  # the shared library is looked for at the first call
        return facts
    try:
        facts = replace(facts, gpus=int(runtime.getDeviceCount()), ordinal=ordinal)
        if ordinal >= facts.gpus:
            return facts
        properties = runtime.getDeviceProperties(ordinal)
    except Exception as error:
        return replace(facts, gpu_error=_line(error))
    name, arch = properties["name"].decode(), 10 * properties["major"] + properties["minor"]
    return replace(facts, name=name, arch=arch)


def _driver() -> int:
    """The CUDA version that the driver serves, asked of the driver itself: CuPy may be missing. 0 = no driver."""
    names = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
    for name in names:
        try:
            library = ctypes.CDLL(name)
            version = ctypes.c_int()
            if library.cuDriverGetVersion(ctypes.byref(version)) == 0:
                return version.value
        except (OSError, AttributeError):
            continue
    return 0


def _wheels() -> tuple[str, ...]:
    names = (str(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions())
    return tuple(sorted({name for name in names if name == "cupy" or name.startswith("cupy-")}))


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
