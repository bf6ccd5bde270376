"""`--model auto`: the model for coded video where video was coded with loss, the one for clean pictures elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from vs_smsr import jobs
from vs_smsr.jobs.choosing import choose, shipped_scales
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image
from vs_smsr.options import EngineOptions, VideoOptions
from vs_smsr.upscaler import Upscaler
from vs_smsr.weights import shipped, suited

LOSSY = {
    "x264": ("a.mp4", "libx264", "yuv420p", {}),
    "x264 4:4:4": ("a.mkv", "libx264", "yuv444p", {}),
    "x265": ("a.mkv", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "VP9": ("a.webm", "libvpx-vp9", "yuv420p", {}),
    "MPEG-2": ("a.mpg", "mpeg2video", "yuv420p", {}),
    "MJPEG": ("a.avi", "mjpeg", "yuvj420p", {}),
}
LOSSLESS = {
    "x264 qp 0": ("a.mp4", "libx264", "yuv420p", {"qp": "0"}),
    "FFV1": ("a.mkv", "ffv1", "yuv420p", {}),
    "raw": ("a.nut", "rawvideo", "yuv420p", {}),
    "y4m": ("a.y4m", "wrapped_avframe", "yuv420p", {}),
    "HuffYUV": ("a.avi", "huffyuv", "yuv422p", {}),
    "PNG in MOV": ("a.mov", "png", "rgb24", {}),
}


@pytest.fixture(autouse=True)
def _both_models(monkeypatch, tmp_path):
    """As if there were the model for coded video at x2 and x3."""
    monkeypatch.chdir(tmp_path)
    there = {2: "video", 3: "video"}
    monkeypatch.setattr(
        "vs_smsr.jobs.choosing.suited", lambda scale, lossy=False: there.get(scale, "smsr") if lossy else "smsr"
    )


def video(name: str, codec: str = "libx264", pix_fmt: str = "yuv420p", options: dict[str, str] | None = None) -> Path:
    with av.open(name, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 40 * number, np.uint8), "rgb24")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return Path(name)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_video_gets_the_model_for_it(kind):
    assert choose(EngineOptions(), video(*LOSSY[kind])).model == "video"


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_video_does_not(kind):
    assert choose(EngineOptions(), video(*LOSSLESS[kind])).model == "smsr"


def test_images_animations_and_scripts_do_not():
    pixels = np.zeros((8, 8, 3), np.uint8)
    write_image(Path("a.jpg"), Image(pixels))
    assert choose(EngineOptions(), Path("a.jpg")).model == "smsr"
    assert choose(EngineOptions(), video("a.gif", "gif", "rgb8")).model == "smsr"
    assert choose(EngineOptions(), Path("-")).model == "smsr"


def test_what_is_named_stays():
    source = video("a.mp4")
    for options in (EngineOptions(model="smsr"), EngineOptions(model="video"), EngineOptions(weights=shipped(2))):
        assert choose(options, source) == options


def test_the_scale_that_the_size_needs_counts_and_not_the_given_one():
    source = video("a.mp4")
    for height, scale, model in ((128, 2, "video"), (190, 3, "video"), (256, 4, "smsr")):
        chosen = choose(EngineOptions(), source, VideoOptions(height=height), [2, 3, 4])
        assert (chosen.scale, chosen.model) == (scale, model)


def test_the_shipped_ones():
    assert suited(2) == suited(3) == suited(4) == "smsr"
    for scale in (2, 3, 4):
        assert suited(scale, lossy=True) == ("video" if scale in shipped_scales("video") else "smsr")
    assert shipped(2) == shipped(2, "smsr")
    assert Upscaler().model == "smsr"


def test_a_batch_of_both_kinds_tells_which(quick, stand_in, monkeypatch):
    made = []
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: made.append(options.model) or stand_in(options.scale))
    Path("in").mkdir()
    video("in/a.mp4")
    video("in/b.mkv", "ffv1")
    write_image(Path("in/c.png"), Image(np.zeros((8, 8, 3), np.uint8)))
    ended = quick("upscale", "in", "-o", "out", "--json", "told.json")
    assert ended.code == 0, ended.err
    assert made == ["video", "smsr"], "an engine for each model, made once"
    for line, model in zip(ended.out.splitlines(), ("video", "smsr", "smsr"), strict=True):
        assert f", model {model}, " in line
    assert [entry["model"] for entry in json.loads(Path("told.json").read_text())] == ["video", "smsr", "smsr"]
    planned = quick("plan", "in")
    assert [line.split()[1] for line in planned.out.splitlines() if line.startswith("  model ")] == [
        "video",
        "smsr",
        "smsr",
    ]


def test_a_job_keeps_what_it_began_with(stand_in, monkeypatch):
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))
    job = jobs.plan(video("a.mp4"), "b.mkv", chunk_frames=2)
    with job:
        assert job.network == "video"
    assert JobFolder(job.folder).manifest().engine["model"] == "video"
