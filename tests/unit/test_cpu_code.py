"""The machine code of the kernels: the instructions that were meant, here and on another processor; the disk cache."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import njit

from vs_smsr.engine.cpu.gemm import indirect_gemm
from vs_smsr.engine.cpu.isa import ISAS, RegisterTile, fastest_precision, supported
from vs_smsr.engine.cpu.vectors import pointer


def multiply(shape: RegisterTile, mode: int = 0, fresh: int = 0):
    """A compiled function with nothing in it but the register block; it gives what NumPy does."""
    lanes, vectors, pixels = shape.lanes, shape.vectors, shape.pixels

    @njit(nogil=True)
    def run(tile, source, offsets, words, weights, starts):
        indirect_gemm(
            lanes, vectors, pixels, mode, fresh, pointer(tile, 0), lanes * vectors, 1, 1, pointer(source, 0),
            pointer(offsets, 0), pixels, starts.shape[0], words, pointer(weights, 0), pointer(starts, 0), 0,
        )  # fmt: skip

    rng = np.random.default_rng(0)
    words, taps, width = 9, 3, lanes * vectors
    source = rng.standard_normal((40, words)).astype(np.float32)
    weights = rng.standard_normal((taps, words, width)).astype(np.float32)
    offsets = rng.integers(0, 40, (taps, pixels)) * words
    tile = rng.standard_normal((pixels, width)).astype(np.float32)
    expected = (1 - fresh) * tile + np.einsum("tpc,tco->po", source[offsets // words].astype(np.float64), weights)
    flat = tile.ravel()
    run(flat, source.ravel(), offsets.ravel(), words, weights.ravel(), np.arange(taps) * words * width)
    assert np.abs(flat.reshape(pixels, width) - expected).max() < 1e-4
    return run


SHAPES = sorted({(isa.name, shape) for isa in ISAS.values() for shape in (*isa.shapes, *isa.pairs)}, key=str)


@pytest.mark.parametrize(("isa", "shape"), SHAPES, ids=lambda value: str(getattr(value, "width", value)))
def test_every_register_block_multiplies(isa: str, shape: RegisterTile) -> None:
    assert 12 % shape.pixels == 0
    for fresh in (0, 1):
        multiply(shape, fresh=fresh)


def test_neon_code_for_a_64_bit_arm_processor() -> None:
    """The same function compiled for aarch64: fused multiply-adds by element, and the sums stay in registers."""
    run = multiply(ISAS["neon"].shapes[0])
    host = next(iter(run.inspect_llvm().values()))
    body = re.search(r"^define [^\n]*i32 @_ZN.*?^}", host, flags=re.MULTILINE | re.DOTALL)
    declared = re.findall(r"^(?:declare|attributes|!\d+ =) .*$", host, flags=re.MULTILINE)
    assert body is not None
    text = "\n".join([body.group(), *(line for line in declared if "x86" not in line)])
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(
        cpu="neoverse-n1", opt=3, features="+neon"
    )
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    code = machine.emit_assembly(module)
    loop = max(re.split(r"^\.?L[\w$.]*:", code, flags=re.MULTILINE), key=lambda part: part.count("fmla"))
    assert loop.count("fmla") == 4 * 4 * 4  # pixels x vectors x words of a turn
    assert not re.search(r"fmla.*\n\s+str\s+q", loop), "sums are stored inside the loop"


@pytest.mark.skipif("avx512" not in supported(), reason="needs a processor with AVX-512")
def test_avx512_code_uses_whole_registers() -> None:
    code = next(iter(multiply(ISAS["avx512"].shapes[0]).inspect_asm().values()))
    assert len(re.findall(r"vfmadd\w+ps.*%zmm", code)) >= 4 * 4 * 4


@pytest.mark.skipif("avx512bf16" not in supported(), reason="needs a processor with AVX-512 BF16")
def test_bf16_code_uses_dot_products() -> None:
    shape = ISAS["avx512bf16"].shapes[0]

    @njit(nogil=True)
    def run(tile, source, offsets, weights, starts):
        indirect_gemm(
            16, 4, 6, 1, 0, pointer(tile, 0), 64, 1, 1, pointer(source, 0), pointer(offsets, 0), 6, 1, 1,
            pointer(weights, 0), pointer(starts, 0), 0,
        )  # fmt: skip

    tile = np.zeros(6 * 64, np.float32)
    pair = np.uint32(0x40003F80)  # (1.0, 2.0), the first in the lower half
    weights = np.full(64, 0x40403F80, np.uint32)  # (1.0, 3.0)
    run(tile, np.full(6, pair), np.arange(6), weights, np.zeros(1, np.int64))
    assert (tile == 1 * 1 + 2 * 3).all()
    assert shape.width == 64
    assert "vdpbf16ps" in next(iter(run.inspect_asm().values()))


UPSCALE = (
    "import numpy as np; from vs_smsr.engine import create; from vs_smsr.options import EngineOptions;"
    "engine = create(EngineOptions(engine='cpu', precision='fp32', threads=1));"
    "print(float(engine.upscale(np.full((8, 8, 3), 99, np.float32)).frame.mean()))"
)
WITHOUT_NUMBA = "; import sys; assert 'numba' not in sys.modules"


def upscale_in_a_process(more: str = "", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", UPSCALE + more],
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("processor", "precision"),
    [("znver4", "bf16"), ("znver5", "bf16"), ("sapphirerapids", "fp32"), ("emeraldrapids", "fp32")],
)
def test_bf16_is_chosen_where_it_is_faster(processor: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: processor)
    assert fastest_precision(ISAS["avx512bf16"]) == precision
    assert fastest_precision(ISAS["avx512"]) == fastest_precision(ISAS["neon"]) == "fp32"


def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    both = [upscale_in_a_process(VS_SMSR_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0] == outputs[1]
    kept = list(tmp_path.rglob("*.kernel"))
    assert kept
    again = upscale_in_a_process(WITHOUT_NUMBA, VS_SMSR_CACHE_DIR=str(tmp_path))
    assert again.communicate() == outputs[0]
    assert again.returncode == 0
    assert sorted(tmp_path.rglob("*.kernel")) == sorted(kept), "the second run compiled something again"


def test_without_a_place_for_a_cache(tmp_path: Path) -> None:
    """A folder that cannot be written (here: below a file) must not stop anything."""
    (tmp_path / "file").write_text("")
    process = upscale_in_a_process(VS_SMSR_CACHE_DIR=str(tmp_path / "file" / "below"))
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert float(output) == pytest.approx(99, abs=3)
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)
