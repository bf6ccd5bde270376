"""The whole process group is killed at random moments, and the same command is run again.

Two jobs in the suite, each killed at up to two moments; VS_SMSR_KILLS=20 tries as many.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from vs_smsr.jobs.folder import JobFolder

KILLS = int(os.environ.get("VS_SMSR_KILLS", "2"))
FRAMES, CHUNK = 30, 5
PROGRAM = """
import os, time
from media_zoo import command
from vs_smsr import cli, engine

class Counting(command.PixelRepeater):
    def upscale(self, frame, overrides=None):
        if frame.any():
            time.sleep(0.01)
            with open(os.environ["COMPUTED"], "a") as log:
                log.write("x")
        return super().upscale(frame, overrides)

engine.create = lambda options: Counting(command.load(command.shipped(options.scale)))  # in workers, too
if __name__ == "__main__":
    cli.main()
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    program, log = tmp_path / "program.py", tmp_path / "computed"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "scripts")]), "COMPUTED": str(log)}

    def run(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(program), *map(str, arguments)]
        return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)

    return run


def test_killed_at_random_moments(start: Callable[..., Any], clip, tmp_path: Path) -> None:
    """Byte for byte what an undisturbed run makes, nothing under the target's name before, one chunk lost at most."""
    source = clip(pts=tuple(range(FRAMES)), audio=[("aac", {}, 1)]).make(tmp_path / "source.mkv")
    options = ["--chunk-frames", CHUNK, "--temporal-tile", CHUNK, "--preset", "ultrafast"]
    whole, target, computed = tmp_path / "whole.mkv", tmp_path / "target.mkv", tmp_path / "computed"
    began = time.monotonic()
    assert start("upscale", source, "-o", whole, *options).wait(120) == 0
    seconds = time.monotonic() - began
    alone = len(computed.read_text())
    draw = random.Random(KILLS)
    for _ in range(KILLS):
        computed.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        runs = 0
        while True:
            process = start("upscale", source, "-o", target, *options)
            runs += 1
            try:
                code = process.wait(draw.uniform(0.3, 1.1) * seconds if runs < 3 else 120)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if target.exists():
                    assert target.read_bytes() == whole.read_bytes(), "it has its name only when it is whole"
                    if not (JobFolder.of(target) / "manifest.json").exists():
                        break
                continue
            assert code == 0
            break
        assert target.read_bytes() == whole.read_bytes()
        JobFolder(JobFolder.of(target)).clear_rest()
        assert not JobFolder.of(target).exists()
        # Of the frames on their way when it is killed, a chunk's are lost, and the few between decoder and encoder.
        assert len(computed.read_text()) <= alone + (runs - 1) * (2 * CHUNK + 6)
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_worker_that_dies_has_its_chunk_made_again(start: Callable[..., Any], clip, tmp_path: Path) -> None:
    source = clip(pts=tuple(range(FRAMES))).make(tmp_path / "source.mkv")
    options = ["--chunk-frames", CHUNK, "--temporal-tile", CHUNK, "--preset", "ultrafast"]
    whole, target = tmp_path / "whole.mkv", tmp_path / "target.mkv"
    assert start("upscale", source, "-o", whole, *options).wait(120) == 0
    process = start("upscale", source, "-o", target, *options, "--workers", 2)
    folder = JobFolder(JobFolder.of(target))
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None and not folder.chunks():
        time.sleep(0.05)
    workers = [
        child for child in psutil.Process(process.pid).children() if "multiprocessing.spawn" in str(child.cmdline())
    ]
    assert len(workers) == 2
    workers[0].kill()
    assert process.wait(120) == 0
    assert target.read_bytes() == whole.read_bytes()
