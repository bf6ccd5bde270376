"""The filter in a script under vspipe, as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs

from vs_smsr import smsr

VSPIPE = Path(sys.executable).with_name("vspipe")
SCRIPT = """
import vapoursynth as vs
from vs_smsr import smsr
clip = vs.core.std.BlankClip(format=vs.YUV420P8, width=34, height=18, length=5, fpsnum=30000, fpsden=1001)
clip = vs.core.std.FrameEval(clip, lambda n: vs.core.std.BlankClip(clip, color=[40 + 20 * n, 100, 150], length=5))
smsr(clip, device="cpu", threads=1{arguments}).set_output()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """VapourSynth must be told once per installation which Python it is for; here, in a folder of its own."""
    result = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    config = subprocess.run(
        [VSPIPE.with_name("vapoursynth"), "config"], env=result, capture_output=True, text=True, check=True
    )
    if "successfully" not in config.stdout and "No configuration needed" not in config.stdout:
        pytest.skip(f"vspipe needs a Python with a shared library: {config.stdout.strip()}")
    return result


def vspipe(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    (folder / "script.vpy").write_text(script)
    command = [str(VSPIPE), "-c", "y4m", str(folder / "script.vpy"), "-"]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)


def test_vspipe_writes_y4m_of_twice_the_size(tmp_path: Path, environment: dict[str, str]) -> None:
    result = vspipe(SCRIPT.format(arguments=""), tmp_path, environment)
    assert result.returncode == 0, result.stderr.decode()
    header, _, body = result.stdout.partition(b"\n")
    fields = header.split()
    assert fields[0] == b"YUV4MPEG2"
    assert {b"W68", b"H36", b"F30000:1001", b"C420"} <= set(fields) | {field[:4] for field in fields}
    frame_size = len(b"FRAME\n") + 68 * 36 * 3 // 2
    assert len(body) == 5 * frame_size  # nothing but frames on stdout

    small = vs.core.std.BlankClip(format=vs.YUV420P8, width=34, height=18, length=1, color=[40 + 20 * 3, 100, 150])
    expected = smsr(small, device="cpu", threads=1).get_frame(0)
    pixels = b"".join(np.asarray(expected[plane]).tobytes() for plane in range(3))
    assert body[3 * frame_size : 4 * frame_size] == b"FRAME\n" + pixels


def test_an_error_in_a_script_is_one_clear_line(tmp_path: Path, environment: dict[str, str]) -> None:
    result = vspipe(SCRIPT.format(arguments=", tiles=2"), tmp_path, environment)
    assert result.returncode != 0
    assert result.stdout == b""
    assert b"smsr: there is no argument 'tiles'." in result.stderr
