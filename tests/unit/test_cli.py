"""The program as a user meets it: results, exit codes, one line for each error, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from vs_smsr import engine as engines
from vs_smsr.families import smsr
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image, read_image
from vs_smsr.options import IN_ORDER, IN_ORDER_REUSE
from vs_smsr.upscaler import Upscaler
from vs_smsr.weights import shipped

ROOT = Path(__file__).parents[2]


def image(path: str | Path, height: int = 6, width: int = 8, channels: int = 3) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    write_image(Path(path), Image(pixels))
    return Path(path)


def video(path: str | Path, frames: int = 5, height: int = 32, width: int = 48) -> Path:
    rng = np.random.default_rng(0)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(60, 190, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return Path(path)


def size_and_frames(path: str | Path) -> tuple[int, int, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in container.decode(stream))


def names(folder: str | Path = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# ---- results


def test_an_image_equals_the_python_api(program):
    image("a.png", 9, 14)
    ended = program("upscale", "a.png", "--engine", "reference")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"a_x2\.png: [\d.]+ s, model smsr, \d+% of the masked work skipped\n", ended.out)
    expected = Upscaler(engine="reference").upscale(read_image(Path("a.png")).pixels)
    np.testing.assert_array_equal(read_image(Path("a_x2.png")).pixels, expected)


def test_a_video(quick):
    video("in/clip.mp4")
    ended = quick("upscale", "in/clip.mp4", "-o", "out/large.mkv")
    assert ended.code == 0, ended.err
    work = r"5 frames in [\d.]+ s, [\d.]+ fps, model (smsr|video), \d+% of the masked work skipped"
    assert re.search(rf"out/large\.mkv: {work}[^\n]*\n", ended.out)
    assert size_and_frames("out/large.mkv") == (96, 64, 5)


def test_a_profile_explains_all_frames_of_a_video_with_held_attention(program):
    """Whole frames, windows of frames and copies: all counted, and no time that the engine did not take."""
    video("clip.mp4")
    ended = program("upscale", "clip.mp4", "--attention", "held", "--engine", "cpu", "--profile")
    assert ended.code == 0, ended.err
    assert "ms per frame, 5 frames" in ended.err
    shares = {name: float(share) for name, share in re.findall(r"│ (\w+) .*│ +(-?[\d.]+)% │", ended.err)}
    assert {"active_fuse", "quad_convolution", "tail_convolution", "other"} <= shares.keys()
    assert sum(shares.values()) == pytest.approx(100, abs=1.5)
    assert min(shares.values()) >= 0


def test_names_work_with_both_dashes_and_as_short_options(quick):
    video("clip.mp4")
    ended = quick(
        *("upscale", "-i", "clip.mp4", "-o", "new.mp4", "-s", 2, "-d", "cpu", "-c", "libx264", "--pix_fmt", "yuv444p"),
        *("-e", "tune=grain", "--extra_encoder_option", "bf=0", "--log_level", "error", "--no_progress"),
        *("--no_copy_audio_streams", "--crf", "20", "--preset", "ultrafast"),
    )
    assert ended.code == 0, ended.err
    with av.open("new.mp4") as container:
        assert container.streams.video[0].pix_fmt == "yuv444p"
        assert container.streams.video[0].profile == "High 4:4:4 Predictive"


def test_a_batch_goes_on_after_a_bad_file(quick):
    image("in/a.png")
    Path("in/b.png").write_bytes(b"not an image")
    image("in/deep/c.png")
    Path("in/d.mp4").write_bytes(b"not a video")
    ended = quick("upscale", "in", "gone.png", "-o", "out", "--recursive")
    assert ended.code == 1
    assert names("out") == ["a_x2.png", "deep"]
    assert names("out/deep") == ["c_x2.png"]
    assert len(ended.out.splitlines()) == 2
    assert len(ended.errors) == 4
    assert all(line.startswith("error: ") for line in ended.errors[:3])
    assert "gone.png: no such file" in ended.errors[2]
    assert ended.errors[3] == "3 of 5 files failed"


@pytest.mark.parametrize(
    ("options", "expected", "name"),
    [
        (["--height", "30"], (40, 30), "a_30p.png"),
        (["--width", "10"], (10, 8), "a_10w.png"),
        (["--width", "50", "--height", "20"], (50, 20), "a_50x20.png"),
    ],
)
def test_a_final_size(quick, options, expected, name):
    image("a.png", 6, 8)
    assert quick("upscale", "a.png", *options).code == 0
    assert read_image(Path(name)).pixels.shape[1::-1] == expected


def test_the_final_size_chooses_among_the_shipped_scales(quick, monkeypatch, stand_in):
    image("a.png", 10, 10)
    made = []
    monkeypatch.setattr("vs_smsr.cli.upscale.shipped_scales", lambda model: [2, 3, 4])
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: made.append(options.scale) or stand_in(options.scale))
    for height, scale in ((15, 2), (20, 2), (21, 3), (40, 4), (90, 4)):
        made.clear()
        assert quick("upscale", "a.png", "--height", height, "-o", "b.png", "--overwrite").code == 0
        assert made[-1] == scale
        assert read_image(Path("b.png")).pixels.shape[0] == height
    made.clear()
    assert quick("upscale", "a.png", "--height", 40, "-s", 2, "-o", "c.png").code == 0
    assert made == [2], "a scale that is given is used"


def test_the_scale_of_a_weights_file(program, tmp_path):
    from vs_smsr.weights import Weights, store

    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in smsr.spec(3).shapes.items()}
    store(Weights(smsr.spec(3), tensors), tmp_path / "x3.safetensors")
    image("a.png", 4, 6)
    ended = program("upscale", "a.png", "--weights", "x3.safetensors", "--engine", "reference")
    assert ended.code == 0, ended.err
    assert read_image(Path("a_x3.png")).pixels.shape == (12, 18, 3)
    ended = program("upscale", "a.png", "--weights", "x3.safetensors", "-s", "2")
    assert ended.code == 1
    assert "are for x3, but scale is 2" in ended.err


def test_notes_are_printed(quick):
    pixels = np.full((4, 4), 1000, np.uint16)
    write_image(Path("a.png"), Image(pixels))
    ended = quick("upscale", "a.png", "-o", "b.jpg")
    assert ended.code == 0
    assert ended.errors == ["note: a.png: 16 bit became 8 bit, as .jpg holds no more."]


def test_the_report_tells_of_every_file(quick, tmp_path):
    video("a.mp4", 5)
    Path("b.png").write_bytes(b"no image")
    ended = quick("upscale", "a.mp4", "b.png", "--json", "report.json")
    assert ended.code == 1
    made, failed = json.loads(Path("report.json").read_text())
    assert (made["source"], made["output"], made["frames"]) == ("a.mp4", "a_x2.mp4", 5)
    assert {"seconds", "skipped", "reused", "held", "notes"} <= made.keys()
    assert failed["source"] == "b.png"
    assert failed["error"].startswith("b.png: ")
    Path("a_x2.mp4").unlink()
    missing = quick("upscale", "a.mp4", "--json", "nowhere/report.json")
    assert missing.code == 1
    assert not Path("a_x2.mp4").exists()
    assert missing.errors == ["error: nowhere/report.json: cannot write: No such file or directory."]


# ---- bad input: one clear line, nothing left under the target name


# ---- usage


def test_options_of_ffmpeg_are_understood(quick):
    """ffmpeg writes them with one dash; `-c:v` alone would be a codec named ":v"."""
    image("a.png")
    image("a_x2.png")
    assert quick("upscale", "a.png", "-y", "-crf", "18", "-preset", "slow", "-c:v", "libx265", "-pix_fmt", "yuv420p",
                 "-an", "-sn", "-threads", "1", "-loglevel", "error").code == 0  # fmt: skip
    assert quick("upscale", "--", "-y").errors == ["error: -y: no such file."]
    assert quick("-version").out.startswith("vs-smsr ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], f"--precision fp32 --attention {IN_ORDER} --reuse {IN_ORDER_REUSE}"),
        (["--mode", "balanced"], "--precision fp32 --attention auto --reuse auto"),
        (["--mode", "fast"], "--precision fp32 --attention held --reuse near:2"),
        (["--mode", "best"], "--precision fp32 --attention frame --reuse exact"),
        (["--mode", "best", "--reuse", "off"], "--precision fp32 --attention frame --reuse off"),
        (["--attention", "frame", "--mode", "fast"], "--precision fp32 --attention frame --reuse near:2"),
    ],
)
def test_a_mode_is_what_plan_says(quick, demo_clip, arguments, said, monkeypatch):
    """Of a stand-in, whose precision is fp32 whatever is asked for."""
    asked = []
    create = engines.create
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: [asked.append(options), create(options)][1])
    ended = quick("plan", demo_clip, *arguments)
    assert ended.code == 0
    assert re.search(r"^  which is +(.*)$", ended.out, re.MULTILINE)[1] == said
    assert asked[0].precision == ("fp32" if "best" in arguments else "auto")


# ---- evaluate


def test_evaluate(program, tmp_path):
    image("hr/b.png", 48, 40)
    image("hr/a.png", 40, 41)
    ended = program("evaluate", "--hr", "hr", "--json", "figures.json", "--engine", "reference")
    assert ended.code == 0, ended.err
    figures = json.loads(Path("figures.json").read_text())
    assert set(figures) == {"psnr", "ssim", "sparsity", "gflops_720p", "images"}
    assert [entry["name"] for entry in figures["images"]] == ["a", "b"]
    assert figures["psnr"] == pytest.approx(np.mean([entry["psnr"] for entry in figures["images"]]))
    for entry in figures["images"]:
        assert re.search(rf"{entry['name']} .*{entry['psnr']:.3f} .*{entry['ssim']:.5f}", ended.out)
    assert f"{figures['gflops_720p']:.1f} GFLOPs" in ended.out


def test_evaluate_errors(program):
    ended = program("evaluate", "--hr", "nowhere", "--engine", "reference")
    assert ended.code == 1
    assert len(ended.errors) == 1
    image("hr/a.png", 40, 40)
    ended = program("evaluate", "--hr", "hr", "--engine", "reference", "--json", "no/folder.json")
    assert ended.code == 1
    assert ended.errors == ["error: no/folder.json: cannot write: No such file or directory."]


# ---- as a program of its own


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vs_smsr", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_bar_on_a_terminal(tmp_path):
    """Frame n/total, rate, skipped work, workers and time left; and not a word of it with --no-progress."""
    pty = pytest.importorskip("pty")
    source = video(tmp_path / "a.mp4", 6)

    def screen(*options: str) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "vs_smsr", "upscale", str(source), "--overwrite", "-d", "cpu", *options]
        environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm-256color"}
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the program has ended
            pass
        os.close(ours)
        run.communicate()
        assert run.returncode == 0
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())

    assert re.search(r"a\.mp4 .*[1-6]/6  [\d.]+ fps  \d+% skipped  ETA \d:\d\d:\d\d", screen())
    shared = screen("--workers", "2", "--chunk-frames", "3", "--temporal-tile", "3")
    assert re.search(r"a\.mp4 .* 0/6  0\.0 fps  2 workers  ETA", shared)
    assert re.search(r"a\.mp4 .*[1-6]/6  [\d.]+ fps  \d+% skipped .*[12] workers?  ETA \d:\d\d:\d\d", shared)
    assert screen("--no-progress") == ""


def test_weights_of_the_package_on_the_cpu_engine(tmp_path):
    """The whole program, as `make demo` runs it, on one small image."""
    source = image(tmp_path / "a.png", 15, 20)
    run = start("upscale", str(source), "-d", "cpu", "--precision", "fp32", "--log-level", "info")
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert out.startswith(f"{tmp_path / 'a_x2.png'}: ")
    expected = Upscaler(engine="reference").upscale(read_image(source).pixels).astype(int)
    difference = np.abs(read_image(tmp_path / "a_x2.png").pixels - expected)
    assert difference.max() <= 1
    assert shipped(2).is_file()
