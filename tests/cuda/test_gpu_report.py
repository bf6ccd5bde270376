"""The report that GPU owners run: its checks on the emulator, its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from host.device import HostDevice, HostMemory
from networks import image, network

from cupy_kernels import cost
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.cuda.network import stored_channels

SCRIPT = Path(__file__).parents[2] / "scripts/gpu_report.py"


CHECK = {
    "precision": "fp16",
    "largest_difference_same_masks": 0.03,
    "psnr": 81.2,
    "flipped_share": 0.0001,
    "same_bits_twice": True,
    "passed": True,
}
ROWS: dict[str, dict[str, Any]] = {
    "correctness": CHECK,
    "tiled": {"precision": "fp16", "different_values": 0, "flips": 0, "passed": True},
    "memory": {"input": "640x360", "precision": "fp16", "counted_mb": 250, "held_mb": 249.5, "passed": True},
    "speed": {
        "input": "640x360",
        "precision": "fp16",
        "active": 0.3,
        "milliseconds_alone": 5,
        "milliseconds_three_in_flight": 4,
        "fps_three_in_flight": 250,
        "device_mb_per_frame_in_flight": 300,
    },
    "rivals": {"runtime": "TensorRT", "input": "640x360", "skipped": "No module named 'tensorrt'"},
    "video": {"input": "1280x720", "fps_defaults": 90, "fps_frame": 50},
    "kernels": {
        "kernel": "conv_listed",
        "precision": "fp16",
        "milliseconds": 1.5,
        "gigabytes_per_second": 900,
        "teraflops": 80,
        "share_of_floor": 0.61,
    },
}


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("gpu_report")


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


@pytest.mark.usefixtures("gpp")
def test_tiles_are_held_to_the_whole_frame(script: ModuleType) -> None:
    memory = HostMemory()
    engine = CudaEngine(network(), lambda: HostDevice(memory=memory), half=True)
    assert script.tiled(engine, image(16, 24), side=16) == {
        "precision": "fp16",
        "different_values": 0,
        "flips": 0,
        "passed": True,
    }


@pytest.mark.usefixtures("gpp")
def test_every_kernel_is_timed_beside_its_floor() -> None:
    from gpu.timing import kernels

    memory, weights = HostMemory(), network()
    found = kernels(weights, lambda: HostDevice(memory=memory), (8, 12), True, "NVIDIA GeForce RTX 3060", repeats=1)
    counted = cost.frame(cost.Shape(8, 12, 0.5, stored_channels(weights), weights.scale, True))
    assert {row["kernel"] for row in found} == {item.kernel.partition(" ")[0] for item in counted}
    assert all(row["milliseconds"] > 0 and 0 < row["share_of_floor"] < 1 for row in found)
    unknown = kernels(weights, lambda: HostDevice(memory=memory), (8, 12), True, "NVIDIA B0", repeats=1)
    assert all(row["share_of_floor"] is None for row in unknown)


def test_a_rival_that_does_not_run_says_why(script: ModuleType) -> None:
    rows = list(script.rivals(network(), (8, 12), 1, 0))
    assert [row["runtime"] for row in rows] == ["PyTorch", "PyTorch, compiled", "TensorRT"]
    assert all(row["skipped"] for row in rows)


def test_the_whole_command_is_timed() -> None:
    from gpu.video import end_to_end

    found = end_to_end((32, 48), "cpu", frames=3)
    assert found["frames"] == 3
    assert found["fps_defaults"] > 0
    assert found["fps_frame"] > 0


def test_parts_come_in_order_and_what_was_not_checked_has_not_passed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each part is tested above; here they are rows that are known."""
    monkeypatch.setattr(script.cuda, "status", lambda ordinal: (True, "a GPU"))
    monkeypatch.setattr(script.cuda, "create", lambda weights, options: options.precision)
    for name in ("correctness", "tiled", "memory", "speed"):
        monkeypatch.setattr(script, name, lambda *given, name=name: ROWS[name])
    monkeypatch.setattr(script, "rivals", lambda *given: [ROWS["rivals"]])
    monkeypatch.setattr(script, "end_to_end", lambda *given: ROWS["video"])
    monkeypatch.setattr(script, "_kernels", lambda *given: [ROWS["kernels"]])

    def ended(*options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gpu_report.py", "--output", str(tmp_path / "found"), *options])
        return script.main(), (tmp_path / "found.md").read_text()

    code, text = ended()
    assert code == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: len(rows) for name, rows in found.items() if isinstance(rows, list)} == {
        "correctness": 2, "tiled": 2, "memory": 6, "speed": 6, "rivals": 3, "kernels": 1, "video": 1
    }  # fmt: skip
    assert "conv_listed | fp16 | 1.500 ms | 900 | 80.0 | 61%" in text
    code, text = ended("--minutes", "0")
    assert code == 1
    assert "Left out, for time: correctness, tiled" in text
    monkeypatch.setitem(ROWS["tiled"], "passed", False)
    assert ended()[0] == 1


def test_the_page_names_what_failed(script: ModuleType) -> None:
    check = CHECK | {"same_bits_twice": False, "passed": False}
    report = {
        "gpu": "RTX 0000, compute capability 8.9, CUDA 13",
        "system": "Linux",
        "vs_smsr": "0",
        "compile_seconds": 9,
        "correctness": [check],
        "memory": [ROWS["memory"]],
        "speed": [],
        "rivals": [ROWS["rivals"]],
    }
    text = script.page(report)
    assert text.startswith("# RTX 0000, compute capability 8.9, CUDA 13\n")
    assert "| fp16 | 0.03 | 81.2 dB | 0.0001 | False | **FAILED** |" in text
    assert "| 640x360 | fp16 | 250.0 MiB | 249.5 MiB | passed |" in text
    assert "| 640x360 | TensorRT | No module named 'tensorrt' |" in text


def test_the_shell_script_says_what_is_missing(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    settings = {**os.environ, "PYTHON": str(bare), "WHEELS": str(tmp_path / "none")}
    for arguments, message in (
        ([], f"there is no folder {tmp_path / 'none'}"),
        (["a", "b"], "must get one name at most, got 2 arguments"),
        (["--wheels"], "--wheels must be given a folder"),
    ):
        ended = subprocess.run(
            [SCRIPT.with_name("gpu_check.sh"), *arguments], capture_output=True, text=True, env=settings
        )
        assert ended.returncode == 2
        assert message in ended.stderr
