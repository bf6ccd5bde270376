"""Previews of animations and scripts: samples are the source's frames, and trying all of them is the job itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from vs_smsr.cli.app import app
from vs_smsr.errors import MediaError, OptionError
from vs_smsr.jobs.image import upscale_animation
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.animations import open_animation
from vs_smsr.options import VideoOptions
from vs_smsr.preview.frame_samples import cut_animation, cut_script
from vs_smsr.preview.samples import Wanted
from vs_smsr.preview.trial import try_animation, try_video
from vs_smsr.tiling import Tiler

FRAMES = 12
SCRIPT = """
import pathlib
import vapoursynth as vs

width = int(pathlib.Path("width.txt").read_text())  # found in the script's own folder
blank = vs.core.std.BlankClip(width=width, height=32, format=vs.GRAY8, length=60, fpsnum=30)
blank.std.FrameEval(lambda n: blank.std.BlankClip(color=4 * n)).set_output()
"""


@pytest.fixture(params=["gif", "png", "webp"])
def animation(request, tmp_path):
    """Grey frames, each lighter than the one before, for 100 ms each."""
    first, *others = (Pillow.new("RGB", (32, 24), (15 * n,) * 3) for n in range(1, FRAMES + 1))
    path = tmp_path / f"moves.{request.param}"
    more = {"lossless": True} if request.param == "webp" else {}
    first.save(path, save_all=True, append_images=others, duration=100, loop=0, **more)
    return path


@pytest.fixture
def script(tmp_path):
    (tmp_path / "width.txt").write_text("48")
    path = tmp_path / "grey.vpy"
    path.write_text(SCRIPT)
    return path


def shade(frame):
    assert frame.min() == frame.max()
    return float(frame.mean())


def test_samples_of_an_animation(animation):
    pieces = cut_animation(animation, Wanted(samples=2, seconds=0.35))
    assert pieces.frames == FRAMES
    assert [sample.frames for sample in pieces.samples] == [4, 4]  # parts of the outer two are shown
    for sample, number in zip(pieces.samples, (3, 9), strict=True):
        assert sample.time == pytest.approx(0.1 * number)
        assert (shade(sample.before), shade(sample.shown)) == (15 * number, 15 * (number + 1))
    shades = [shade(frame) / 15 for frame, _ in pieces.animation.frames()]
    assert shades == [2, 3, 4, 5, 8, 9, 10, 11]
    with pytest.raises(OptionError, match=r"less than the 1\.20 s"):
        cut_animation(animation, Wanted(start=2))


def test_an_animation_tried_whole_is_the_job(animation, tmp_path, stand_in):
    tiler, options = Tiler(stand_in()), VideoOptions()
    pieces = cut_animation(animation, Wanted(samples=1, seconds=100))
    prediction, shown = try_animation(
        animation, pieces, tmp_path / f"made{animation.suffix}", tiler, options, lambda _: None
    )
    real = tmp_path / f"real{animation.suffix}"
    assert upscale_animation(animation, real, tiler, options).frames == pieces.frames
    assert prediction.bytes == real.stat().st_size
    assert shown[0].after.shape == (48, 64, 3)
    assert sorted(tmp_path.iterdir()) == sorted([animation, real])


def test_an_animation_is_read_again_and_again(animation):
    opened = open_animation(animation)
    first = [frame for frame, _ in opened.frames()]
    part = opened.frames()
    next(part)
    again = [frame for frame, _ in opened.frames()]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_samples_of_a_script(script, tmp_path, stand_in):
    clip = tmp_path / "samples.vpy"
    pieces = cut_script(script, clip, Wanted(samples=2, seconds=0.2))
    assert (pieces.frames, pieces.seconds, pieces.sampled) == (60, 2.0, 12)
    for sample, middle in zip(pieces.samples, (15, 45), strict=True):
        assert sample.frames == 6
        assert sample.time == pytest.approx(middle / 30)
        assert shade(sample.shown) - shade(sample.before) == 4
        assert shade(sample.shown) == 4 * middle  # grey of a script is full range
    options = VideoOptions(preset="ultrafast")
    prediction, _ = try_video(pieces, clip, Tiler(stand_in()), options, lambda _: None)
    real = tmp_path / "real.mkv"
    upscale_video(script, real, Tiler(stand_in()), options)
    assert prediction.bytes == pytest.approx(real.stat().st_size, rel=0.5)  # the container's own bytes are among these


def test_what_a_script_says_is_said(script, tmp_path):
    (tmp_path / "width.txt").unlink()
    with pytest.raises(MediaError, match=r"grey\.vpy: the script fails in line 5"):
        cut_script(script, tmp_path / "samples.vpy", Wanted())


def test_pages(animation, script):
    for source in (animation, script):
        run = CliRunner().invoke(app, ["preview", str(source), "--samples", "2", "--sample-seconds", "0.1"])
        assert run.exit_code == 0, run.output
        page = source.with_name(f"{source.stem}_preview.html")
        assert page.read_text().count("data:image/jpeg") == 2 * 4  # thumbnail, bicubic, Lanczos and ours
        assert "frames sampled" in page.read_text()
        assert "smsr: " in run.stdout  # the model that --model auto has chosen
        assert '"layers": ["Bicubic", "Lanczos", "smsr"]' in page.read_text()


SPIED = """
import sys
from pathlib import Path

from vs_smsr import engine
from vs_smsr.engine.compiled import Kernel
from vs_smsr.options import EngineOptions, TilingOptions, VideoOptions
from vs_smsr.preview import trial
from vs_smsr.preview.frame_samples import cut_animation
from vs_smsr.preview.samples import Wanted, cut
from vs_smsr.tiling import Tiler

loaded, loading = [], Kernel._version
Kernel._version = lambda self, types: (loaded.append(self.__qualname__), loading(self, types))[1]
tiler = Tiler(engine.create(EngineOptions()), TilingOptions(attention="held", reuse="auto"))


def watched(job):
    def run(*arguments):
        before = len(loaded)
        report = job(*arguments)
        print("job:", f"{report.reused:.2f}", *loaded[before:])
        return report

    return run


trial.upscale_video, trial.upscale_animation = watched(trial.upscale_video), watched(trial.upscale_animation)
source = Path(sys.argv[1])
if source.suffix == ".gif":
    pieces = cut_animation(source, Wanted(samples=1))
    trial.try_animation(source, pieces, source.with_name("made.gif"), tiler, VideoOptions(), lambda _: None)
else:
    clip = source.with_name("samples.mkv")
    pieces = cut(source, clip, Wanted(samples=1), VideoOptions())
    trial.try_video(pieces, clip, tiler, VideoOptions(), lambda _: None)
print("loaded:", len(loaded))
"""


@pytest.mark.parametrize("name", ["rests.gif", "rests.mkv"])
def test_nothing_is_compiled_while_the_clock_runs(tmp_path, name):
    """Neither compiled nor loaded from the cache: predictions are the same in the first run and in the hundredth."""
    noise = np.random.default_rng(1).integers(0, 255, (160, 240), np.uint8)
    frames = []
    for n in range(8):
        frame = noise.copy()
        frame[60:64, 4 * n : 4 * n + 4] = 200
        frames.append(Pillow.fromarray(frame))
    source = tmp_path / "rests.gif"
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=100)
    if name.endswith("mkv"):
        source = tmp_path / name
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "rests.gif", "-c:v", "ffv1", "-pix_fmt", "yuv420p", source]
        subprocess.run(command, check=True)
    run = subprocess.run([sys.executable, "-c", SPIED, source], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    job, count = run.stdout.splitlines()
    _, reused, *while_it_ran = job.split()
    assert float(reused) > 0.3  # so what reuse needs was needed
    assert while_it_ran == []
    assert int(count.split()[1]) > 20
