"""The report that GPU owners run: its checks on the emulator, its page."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from host.device import HostDevice, HostMemory
from networks import image, network

from vs_smsr.engine.cuda import CudaEngine

SCRIPT = Path(__file__).parents[2] / "scripts/gpu_report.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = util.spec_from_file_location("gpu_report", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("gpp")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_right_engine_passes_and_a_wrong_one_fails(script: ModuleType, precision: str) -> None:
    weights, memory = network(), HostMemory()
    engine = CudaEngine(weights, lambda: HostDevice(memory=memory), half=precision == "fp16")
    found = script.correctness(weights, engine, image(10, 18))
    assert found["passed"], found
    assert found["same_bits_twice"]
    other = CudaEngine(network(seed=1), lambda: HostDevice(memory=memory), half=precision == "fp16")
    assert not script.correctness(weights, other, image(10, 18))["passed"]


@pytest.mark.usefixtures("gpp")
def test_memory_is_measured_under_its_limit(script: ModuleType) -> None:
    memory = HostMemory()
    engine = CudaEngine(network(), lambda: HostDevice(memory=memory), half=True)
    found = script.memory(engine, (8, 10))
    assert found["passed"], found
    assert 0.9 < found["held_mb"] / found["counted_mb"] <= 1
    assert memory.budget is None
    engine.memory.workspace = lambda height, width: 1000  # type: ignore[method-assign]
    assert not script.memory(engine, (8, 12))["passed"]


def test_the_page_names_what_failed(script: ModuleType) -> None:
    check: dict[str, Any] = {
        "precision": "fp16",
        "largest_difference_same_masks": 0.03,
        "psnr": 81.2,
        "flipped_share": 0.0001,
        "same_bits_twice": False,
        "passed": False,
    }
    report = {
        "gpu": "RTX 0000, compute capability 8.9, CUDA 13",
        "system": "Linux",
        "vs_smsr": "0",
        "compile_seconds": 9,
        "correctness": [check],
        "memory": [{"input": "640x360", "precision": "fp16", "counted_mb": 250, "held_mb": 249.5, "passed": True}],
        "speed": [],
        "torch": [{"input": "640x360", "skipped": "PyTorch is not installed"}],
    }
    text = script.page(report)
    assert text.startswith("# RTX 0000, compute capability 8.9, CUDA 13\n")
    assert "| fp16 | 0.03 | 81.2 dB | 0.0001 | False | **FAILED** |" in text
    assert "| 640x360 | fp16 | 250.0 MiB | 249.5 MiB | passed |" in text
    assert "PyTorch is not installed" in text
