"""What `vs-smsr doctor` says of CUDA, for every way in which it may not work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from host.device import HostDevice
from networks import network

from vs_smsr.engine import create, cuda, status
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.cuda.diagnosis import Facts, diagnose, examine
from vs_smsr.errors import EngineError
from vs_smsr.options import EngineOptions

WORKS = Facts(
    driver=13000, wheels=("cupy-cuda13x",), cupy_major=13, nvrtc=(13, 0), gpus=2, name="RTX 4090", arch=89
)  # fmt: skip
CUDA12 = replace(WORKS, driver=12040, wheels=("cupy-cuda12x",), cupy_major=12, nvrtc=(12, 4))
BROKEN = {
    "no driver": (Facts(), "no NVIDIA driver", "nvidia.com/drivers"),
    "driver of CUDA 11": (replace(WORKS, driver=11080), "serves CUDA 11.8, which is too old", "525"),
    "no CuPy": (Facts(driver=13000, cupy_error="No module"), "CuPy is not installed", "pip install 'vs-smsr[cuda13]'"),
    "no CuPy, CUDA 12": (Facts(driver=12080, cupy_error="No module"), "not installed", "pip install 'vs-smsr[cuda12]'"),
    "two wheels": (
        replace(WORKS, wheels=("cupy-cuda12x", "cupy-cuda13x")),
        "several CuPy wheels",
        "pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install 'vs-smsr[cuda13]'",
    ),
    "CuPy does not load": (
        replace(WORKS, cupy_error="libcudart.so.13: cannot open shared object file"),
        "does not load (libcudart.so.13",
        "pip uninstall -y cupy-cuda13x && pip install 'vs-smsr[cuda13]'",
    ),
    "wheel of the newer CUDA": (
        replace(WORKS, driver=12040),
        "CuPy is for CUDA 13, but the driver serves CUDA 12",
        "pip uninstall -y cupy-cuda13x && pip install 'vs-smsr[cuda12]'",
    ),
    "no NVRTC": (replace(WORKS, nvrtc=None), "NVRTC is missing", "pip install 'cupy-cuda13x[ctk]'"),
    "no GPU": (replace(WORKS, gpus=0), "shows no GPU", "nvidia-smi"),
    "driver error": (replace(WORKS, gpu_error="cudaErrorUnknown"), "cudaErrorUnknown", "nvidia-smi"),
    "no such GPU": (replace(WORKS, ordinal=2), "there is no GPU 2", "cuda:0 to cuda:1"),
    "too old": (replace(WORKS, name="GTX 1080", arch=61), "GTX 1080 is too old: compute capability 6.1", "'cpu'"),
    "Blackwell with an old compiler": (
        replace(CUDA12, driver=12080, name="RTX 5090", arch=120),
        "RTX 5090 needs NVRTC 12.8 or newer, but 12.4 is installed",
        "pip install --upgrade 'cupy-cuda12x[ctk]'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_names_the_part_and_the_command(case: str) -> None:
    facts, part, command = BROKEN[case]
    ok, reason = diagnose(facts)
    assert not ok
    assert part in reason
    assert command in reason
    assert "\n" not in reason


@pytest.mark.parametrize("facts", [WORKS, CUDA12, replace(CUDA12, driver=13010)])
def test_works(facts: Facts) -> None:
    ok, reason = diagnose(facts)
    assert ok
    assert reason.startswith("RTX 4090, compute capability 8.9, CUDA 1")


def test_this_machine_is_examined_without_an_error() -> None:
    facts = examine()
    assert status("cuda") == diagnose(facts) == cuda.status()
    assert (facts.driver == 0) or facts.wheels or facts.cupy_error


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """--device cuda:1 on a machine with one."""
    monkeypatch.setattr(cuda, "examine", lambda ordinal: replace(WORKS, gpus=1, ordinal=ordinal))
    with pytest.raises(EngineError, match=r"cuda:1 does not work here: there is no GPU 1; choose --device cuda:0$"):
        cuda.create(network(), EngineOptions(engine="cuda", device="cuda:1"))


def test_auto_logs_which_engine_it_took_and_of_a_gpu_which(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vs_smsr.engine")
    chosen = create(EngineOptions())
    ok, reason = status("cuda")
    assert chosen.name == ("cuda" if ok else "cpu")
    assert ("engine: cpu" if not ok else f"engine: cuda ({reason})") in caplog.messages


@pytest.mark.usefixtures("gpp")
def test_compiling_is_said_where_it_takes_long(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Instant(HostDevice):
        def compile(self, file: str, macros: Any) -> Any:
            return None

    engine = CudaEngine(network(), Instant, half=True)
    engine.compile()
    assert not caplog.messages  # from the cache: nothing above INFO
    monkeypatch.setattr(cuda, "PATIENCE", -1.0)
    engine.compile()
    count = len(caplog.messages)
    assert count >= 10
    assert caplog.messages[-1] == f"cuda: kernels compiled: {count} of {count}; they are cached for the next time"


def test_precision_bf16_is_refused() -> None:
    with pytest.raises(EngineError, match="precision must be 'auto', 'fp16' or 'fp32', got 'bf16'"):
        cuda.create(network(), EngineOptions(engine="cuda", precision="bf16"))
