"""Real machine code for every GPU generation, without a GPU: no spills, no stack frames, the right instructions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cupy_kernels import compilation, geometry, source
from cupy_kernels.compilation import ARCHS, compile_file
from cupy_kernels.cost import GPUS, Shape, frame

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def nvrtc() -> None:
    reason = compilation.missing()
    if reason:
        pytest.skip(reason)


@pytest.mark.usefixtures("nvrtc")
def test_every_kernel_for_every_gpu(tmp_path: Path) -> None:
    """The script's own run, with the channel pairs that trained networks have."""
    report = tmp_path / "kernels.json"
    command = [sys.executable, "scripts/check_kernels.py", "--pairs", "some", "--no-disassembly", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kernels = json.loads(report.read_text())["kernels"]
    assert {kernel["arch"] for kernel in kernels} == set(ARCHS)
    assert {kernel["file"] for kernel in kernels} == set(compilation.files())
    for kernel in kernels:
        assert kernel["spill_bytes"] == kernel["stack_bytes"] == 0, kernel
        assert kernel["resident_blocks"] >= 1, kernel
        assert kernel["shared_bytes"] <= 48 << 10, kernel


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", [75, 86])
def test_tensor_cores_and_wide_accesses_are_used(arch: int) -> None:
    if compilation.disassembler() is None:
        pytest.skip("reading machine code needs nvdisasm: pip install nvidia-cuda-nvdisasm")
    for file in ("conv.cu", "attention.cu", "head.cu"):
        macros = geometry.macros(True, IN=64, OUT=64, HEAD=0)
        kernels = {kernel.name: kernel.instructions for kernel in compile_file(file, macros, arch, disassemble=True)}
        counts = kernels[{"conv.cu": "conv_listed", "attention.cu": "residual", "head.cu": "conv_frame"}[file]]
        assert counts["mma"] >= 32
        assert counts["ldmatrix"] >= 12
        assert (counts["cp.async"] > 0) == (arch >= 80)
        assert counts["load 16 bytes"] > 0
        assert counts["store 16 bytes"] > 0
        assert counts["local memory"] == 0


@pytest.mark.usefixtures("nvrtc")
def test_errors_point_to_the_file_that_is_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    text = source.text("select.cu").replace("int total = 0;", "int total = nonsense;")
    line = 1 + (ROOT / "cupy_kernels/select.cu").read_text().split("int total = 0;")[0].count("\n")
    monkeypatch.setattr(source, "text", lambda file: text)
    with pytest.raises(RuntimeError, match=rf"select\.cu\({line}\): error: identifier \"nonsense\" is undefined"):
        compile_file("select.cu", geometry.macros(True), 86)


def test_an_edited_header_is_another_text() -> None:
    """CuPy's disk cache goes by the text alone."""
    header = (ROOT / "cupy_kernels/tile.cuh").read_text()
    assert source.text("conv.cu") != source.text("conv.cu", (("tile.cuh", header + "// edited\n"),))
    assert "#include" not in source.text("tail.cu")
    assert source.text("tail.cu").count("typedef half_bits element") == 1


def test_costs_are_the_networks() -> None:
    """Counted by hand: the body's operations at full activity are 20 convolutions and 5 collects of 256 channels."""
    area = 2 * 4
    costs = {cost.kernel: cost for cost in frame(Shape(2, 4, 1.0, [[0] * 4] * 5, 2, True))}
    assert costs["conv_listed (active)"].operations == 20 * 2 * 9 * 64 * 64 * area
    assert costs["conv_listed (inactive)"].operations == 0
    assert costs["residual"].operations == 5 * 2 * (256 + 64) * 64 * area
    for gpu in GPUS:
        assert all(cost.seconds(gpu) >= cost.bytes / gpu.bytes_per_second for cost in costs.values())
