"""The CLI on budgets and pictures: what is planned is kept, what is printed is there."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from vs_smsr.media.memory import levels, pipeline_bytes
from vs_smsr.media.reader import Reader
from vs_smsr.options import VideoOptions, parse_bytes


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vs_smsr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def first_frames(source: Path, count: int, target: Path) -> Path:
    with Reader(source) as reader, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = reader.info.width, reader.info.height, "yuv420p"
        for n, frame in enumerate(islice(reader, count)):
            copy = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
            copy.pts = n
            container.mux(stream.encode(copy))
        container.mux(stream.encode())
    return target


def test_a_plan_names_tiles_streams_bytes_and_time(demo_clip: Path) -> None:
    ended = run("plan", demo_clip, "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    for words in ("320x180 -> 640x360", "66 frames", "aac", "copied", "1 pass over the whole frame", "44 through"):
        assert words in ended.stdout
    rows = [line.split() for line in ended.stdout.splitlines() if line.startswith("  memory, ")]
    *parts, total = [parse_bytes(row[-1] if row[1] != "sum" else row[2]) for row in rows]
    assert abs(sum(parts) - total) <= len(parts) << 20  # each is rounded up to a megabyte
    assert "about" in ended.stdout


def test_a_dry_run_writes_nothing_and_small_budgets_mean_tiles(demo_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    ended = run("upscale", demo_clip, "-o", out, "--dry-run", "--tile", 64)
    assert ended.returncode == 0, ended.stderr
    assert "passes over 15 tiles of at most 64x64" in ended.stdout
    assert not list(tmp_path.iterdir())
    assert "copied" in ended.stdout


def test_a_budget_that_cannot_work_fails_at_once_and_names_one_that_can(demo_clip: Path, tmp_path: Path) -> None:
    ended = run("upscale", demo_clip, "-o", tmp_path / "out.mkv", "--memory", "50M")
    assert ended.returncode == 1
    assert "the budget must be at least" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see the peak")
def test_the_budget_is_kept(demo_clip: Path, tmp_path: Path) -> None:
    demo_clip = first_frames(demo_clip, 10, tmp_path / "short.mp4")
    smallest = run("upscale", demo_clip, "-o", tmp_path / "out.mkv", "--memory", "50M").stderr
    budget = parse_bytes(smallest.split("at least ")[1].split()[0]) + (30 << 20)
    command = [sys.executable, "-m", "vs_smsr", "upscale", str(demo_clip), "-o", str(tmp_path / "out.mkv")]
    process = subprocess.Popen([*command, "--memory", str(budget), "--no-progress"])
    peak = 0
    while process.poll() is None:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]) * 1024)
        time.sleep(0.02)
    assert process.returncode == 0
    assert 0 < peak <= 1.05 * budget


def test_what_takes_less_memory_comes_later(demo_clip: Path) -> None:
    with Reader(demo_clip) as reader:
        for codec in ("libx264", "libx265"):
            ladder = levels(VideoOptions(codec=codec))
            needed = [pipeline_bytes(reader.info, (3840, 2160), False, level) for level in ladder]
            assert needed == sorted(needed, reverse=True)
            assert not ladder[0].note


def test_masks_draws_all_pictures(demo_clip: Path, tmp_path: Path) -> None:
    ended = run("masks", demo_clip, "-o", tmp_path / "pictures", "--frames", 2)
    assert ended.returncode == 0, ended.stderr
    drawn = {path.name: cv2.imread(str(path)) for path in (tmp_path / "pictures").iterdir()}
    assert set(drawn) == {*(f"smm_{k}.png" for k in range(1, 6)), "work.png", "sparsity.png", "channels.png"}
    assert drawn["work.png"].shape == (360, 640, 3)
    assert drawn["smm_2.png"].shape == (180, 320, 3)
    coloured = [float((np.ptp(drawn[f"smm_{k}.png"].astype(int), axis=2) > 30).mean()) for k in range(1, 6)]
    told = [int(word.removesuffix("%")) / 100 for word in ended.stdout.split("last:")[1].split()]
    assert coloured == pytest.approx(told, abs=0.03)
