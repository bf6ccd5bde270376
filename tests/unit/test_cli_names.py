"""A path is a path: odd names of files, folders and results, each made or refused in one clear line."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from vs_smsr.cli.app import app

ROOT = Path(__file__).parents[2]
ODD = [
    *("Alien: Romulus", "file:x", "http:", "http:x", "pipe:0", "pipe:", "concat:a|b", "data:,x", "subfile,,start,0"),
    *("%", "%d", "%03d", "100%", "%%", "a%20b", "x{1}", "{}", "[1]", "[a-z]", "*", "a*b", "?", "what?", "~", "~root"),
    *(" lead", "trail ", "two  words", "tab\there", "new\nline", "\x1b[31mred", "'quote'", '"double"', "`tick`"),
    *("$(id)", "$HOME", "a;b", "a&b", "a|b", "a>b", "#hash", "!bang", "@at", "a=b", "a,b", "back\\slash", "end."),
    *("-dash", "--output", "-", "CON", "NUL", "aux", "COM1", "com1.tar", "ü", "日本語", "emoji 😀", "e\u0301"),
    *("\u202ertl", "..two", "a..b", "cache:a", "x_x2", "[bold]rich", "a:b:c", "C:", "null", "None", "0"),
    "x" * 240,
    os.fsdecode(b"latin-\xfc\xff"),
]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for level in (60, 160):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((24, 32, 3), level, np.uint8), "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in, capfd) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))

    def upscale(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(["upscale", "--no-progress", *arguments], prog_name="vs-smsr")
        return int(ended.value.code or 0), capfd.readouterr().err

    return upscale


def is_video(path: Path) -> bool:
    with path.open("rb") as file, av.open(file) as container:
        return (container.streams.video[0].width, sum(1 for _ in container.decode(video=0))) == (64, 2)


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names_of_files(run, clip, tmp_path, name):
    """As an input, as a result, and both in a folder of such a name."""
    source = tmp_path / f"{name}.mp4"
    shutil.copy(clip, source)
    assert run("--", f"{name}.mp4") == (0, "")
    assert is_video(tmp_path / f"{name}_x2.mp4")
    assert run("clip.mp4", "-o", f"out/{name}.mkv") == (0, "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{name}.mkv"]
    assert is_video(tmp_path / "out" / f"{name}.mkv")
    folder = tmp_path / "in" / name
    folder.mkdir(parents=True)
    shutil.copy(clip, folder / "a.mp4")
    Pillow.new("RGB", (8, 6)).save(folder / "b.png")
    assert run(f"in/{name}", "-o", f"made/{name}/") == (0, "")
    assert is_video(tmp_path / "made" / name / "a_x2.mp4")
    with Pillow.open(tmp_path / "made" / name / "b_x2.png") as made:
        assert made.size == (16, 12)


def test_another_file_is_never_read(run, clip, tmp_path):
    """`file:x.mp4` is a name; x.mp4 is another file."""
    shutil.copy(clip, tmp_path / "x.mp4")
    code, err = run("file:x.mp4")
    assert code == 1
    assert err == "error: file:x.mp4: no such file.\n"


@pytest.mark.parametrize("length", [255, 254, 240])
def test_a_result_may_have_the_longest_name(run, clip, tmp_path, length):
    name = "ü" * ((length - 5) // 2) + "x" * ((length - 4) % 2) + ".mkv"
    assert run("clip.mp4", "-o", name)[0] == 0
    assert is_video(tmp_path / name)
    Pillow.new("RGB", (8, 6)).save("a.png")
    assert run("a.png", "-o", "y" * (length - 4) + ".png")[0] == 0


def test_a_name_that_gets_too_long_is_one_line(run, clip, tmp_path):
    name = "x" * 251 + ".mp4"
    shutil.copy(clip, tmp_path / name)
    code, err = run(name)
    assert code == 1
    assert "_x2.mp4: File name too long." in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "clip.mp4"])


def test_a_slash_behind_a_file(run, clip):
    assert run("clip.mp4/")[0] in (0, 1)
    code, err = run("clip.mp4", "-o", "clip.mp4/")
    assert code == 1
    assert len(err.splitlines()) == 1


# ---- lines that cannot be printed


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    script = f'U() {{ "$PYTHON" -m vs_smsr upscale --no-progress -d cpu "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        "PYTHONIOENCODING=ascii U a.png -o 'ü😀.png' --json j",
        "U a.png -o o.png --json j | head -c 0; exit ${PIPESTATUS[0]}",
        "U a.png -o o.png --json j >&-",
        "U a.png -o o.jpg --json j 2>&-",  # with a note
        "U a.png -o o.png --json j < /dev/null >&- 2>&- <&-",
    ],
)
def test_a_line_that_cannot_be_printed_is_no_failure(tmp_path, command):
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 8), np.uint16)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    ended = shell(command, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    (entry,) = json.loads((tmp_path / "j").read_text())
    assert "error" not in entry
    with Pillow.open(tmp_path / entry["output"]) as made:
        assert made.size == (16, 12)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """Else what a library writes to stderr would go into the result."""
    code = "from vs_smsr.cli.report import prepare_output; prepare_output(); exit(open('x', 'w').fileno() <= 2)"
    assert shell(f'"$PYTHON" -c "{code}" <&- >&- 2>&-', tmp_path).returncode == 0


# ---- the source tree


def opened_without_url(source: str) -> list[int]:
    """Lines where av.open gets something else than `url(path)`, bytes in memory or another container's URL."""
    lines, in_memory = [], {"stream.container.name", "container.name", "self._piped", "video", "self"}
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Assign) and "BytesIO(" in ast.unparse(node.value):
            in_memory |= {ast.unparse(target) for target in node.targets}
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "av.open":
            given = ast.unparse(node.args[0])
            if "url(" not in given and "BytesIO(" not in given and given not in in_memory:
                lines.append(node.lineno)
    return lines


def test_every_path_that_ffmpeg_gets_is_a_url():
    found = {path.name: opened_without_url(path.read_text()) for path in (ROOT / "vs_smsr").rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert opened_without_url("av.open(str(path))\nav.open(url(path))") == [1]
