"""The picture in the terminal: the latest frame's colours above the bar, and one line where there is no terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from vs_smsr.cli.app import app
from vs_smsr.jobs.report import Progress
from vs_smsr.preview.terminal import HALF, TerminalPicture

ROOT = Path(__file__).parents[2]
CELL = re.compile(rf"38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m{HALF}")


def progress(*halves):
    """A frame of 64x32 whose upper and lower half have these colours."""
    pixels = np.repeat(np.array(halves, np.uint8), 16, axis=0)[:, None].repeat(64, axis=1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
    return Progress(1, 2, 1.0, 0.5, 0.0, (frame, frame))


def drawn(picture, console):
    console.print(picture)
    lines = console.file.getvalue().splitlines()
    console.file.seek(0)
    console.file.truncate()
    return [CELL.findall(line) for line in lines]


def test_each_character_is_two_pixels(monkeypatch):
    monkeypatch.setattr("vs_smsr.preview.terminal.EVERY", 1e6)
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=40, height=20)
    picture = TerminalPicture(console)
    assert drawn(picture, console) == []
    picture.see("a", progress((250, 120, 10), (0, 60, 200)))
    rows = drawn(picture, console)
    assert [len(row) for row in rows] == [40] * 10  # 64x32 fitted into 40 columns
    assert set(rows[0]) == {("250", "120", "10") * 2}
    assert set(rows[-1]) == {("0", "60", "200") * 2}
    picture.see("a", progress((1, 2, 3), (1, 2, 3)))  # too soon
    assert drawn(picture, console) == rows
    picture._last -= 2e6
    picture.see("a", progress((1, 2, 3), (1, 2, 3)))
    assert set(drawn(picture, console)[0]) == {("1", "2", "3") * 2}


def test_it_leaves_room_in_a_low_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200, height=10)
    picture = TerminalPicture(console)
    picture.see("a", progress((9, 9, 9), (9, 9, 9)))
    assert len(drawn(picture, console)) == 6


def test_a_job_in_a_terminal(tmp_path):
    orange = np.full((24, 32, 3), (240, 120, 0), np.uint8)
    with av.open(str(tmp_path / "orange.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(orange, "rgb24")))
        container.mux(stream.encode())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "vs_smsr", "upscale", "orange.mkv", "--preview-terminal"]
    terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, **terminal},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = bytearray()
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    assert process.wait() == 0, said.decode()
    cells = np.array(CELL.findall(said.decode()), int)
    assert len(cells) >= 28 * 14  # 4:3 in 14 of 24 rows
    assert np.abs(cells - [240, 120, 0] * 2).max() <= 12
    assert (tmp_path / "orange_x2.mkv").is_file()


@pytest.mark.parametrize(("more", "said"), [([], "no terminal"), (["--preview"], "beside --preview")])
def test_where_it_cannot_be(demo_clip, more, said):
    run = CliRunner().invoke(app, ["upscale", str(demo_clip), "--preview-terminal", *more])
    assert run.exit_code == 2
    assert "--preview-terminal must be" in run.stderr
    assert said in run.stderr
