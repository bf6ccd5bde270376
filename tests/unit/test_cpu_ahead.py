"""The second process that compiles kernels: only where none are cached, and it leaves what the first one needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
from vs_smsr.engine.cpu import ahead
from vs_smsr.weights import load, shipped
process = ahead.start(load(shipped(2)), "fp32")
print("none" if process is None else process.wait())
"""
LEFT = "tail_convolution", "residual_collect", "inactive_quads", "inactive_fuse", "bicubic"


def started(cache: Path, first: str = "") -> str:
    environment = os.environ | {"VS_SMSR_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", first + CODE]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def test_it_compiles_the_end_of_a_frame_once(tmp_path):
    assert started(tmp_path) == "0"
    found = {path.name.split(".")[1].split("-")[0] for path in tmp_path.rglob("*.kernel")}
    assert found >= set(LEFT)
    assert not found & {"active_quads", "pooled_convolution"}, "those are the first process's"
    assert started(tmp_path) == "none"  # they are cached


def test_one_core_has_no_second_process(tmp_path):
    assert started(tmp_path, "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})") == "none"
