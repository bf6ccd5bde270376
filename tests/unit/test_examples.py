"""The scripts in examples/ run as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(*arguments: object, **environment: str) -> str:
    """The script's output; it must end with 0."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_example_has_a_test():
    tested = "".join(path.read_text() for path in (Path(__file__), ROOT / "tests/vapoursynth/test_players.py"))
    assert all(path.name in tested for path in EXAMPLES.iterdir() if path.suffix in (".py", ".vpy"))


def test_a_network_of_your_own():
    assert run(EXAMPLES / "custom_network.py").startswith("(180, 320, 3)")


@pytest.fixture
def short_clip(demo_clip: Path, tmp_path: Path) -> Path:
    """Three small frames."""
    import av

    path = tmp_path / "in" / "short.mkv"
    path.parent.mkdir()
    with av.open(str(demo_clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == 3:
                break
            small = frame.reformat(64, 48, "yuv420p")
            small.pts = None
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))
    return path


def test_frames_from_a_decoder(short_clip, tmp_path):
    run(EXAMPLES / "frames.py", short_clip, tmp_path / "out")
    made = sorted((tmp_path / "out").iterdir())
    assert [cv2.imread(str(path)).shape for path in made] == [(96, 128, 3)] * 3


def test_a_batch_and_its_report(short_clip, tmp_path):
    said = run(EXAMPLES / "batch.py", short_clip.parent, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report[0]["frames"] == 3
    assert str(tmp_path / "out") in said


def test_the_script_for_vapoursynth(short_clip):
    code = "import runpy, vapoursynth as vs; runpy.run_path('examples/filter.vpy'); print(vs.get_output(0).clip.width)"
    assert run("-c", code, SOURCE=str(short_clip)).strip() == "128"
