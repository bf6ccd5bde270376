"""A video through the pipeline to its encoder: codecs and options, progress, what waits in memory, the network."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vs_smsr.engine import create
from vs_smsr.engine.contract import Upscaled
from vs_smsr.jobs import pipeline
from vs_smsr.jobs.report import Progress
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, VideoOptions
from vs_smsr.tiling import Tiler


@pytest.mark.parametrize(
    ("codec", "ending"),
    [
        *[("libx265", "mp4"), ("libvpx", "webm"), ("libvpx-vp9", "webm"), ("mpeg4", "avi"), ("mpeg2video", "ts")],
        *[("png", "mov"), ("mjpeg", "mkv"), ("gif", "gif"), ("wrapped_avframe", "y4m"), ("utvideo", "avi")],
        ("dnxhd", "mov"),
    ],
)
def test_other_encoders_and_containers(tmp_path: Path, clip, upscaled, facts_of, codec: str, ending: str) -> None:
    source = clip(size=(128, 96), pts=range(5)).make(tmp_path / "a.mp4")
    options = {"encoder_options": {"profile": "dnxhr_hq"}} if codec == "dnxhd" else {}
    report = upscaled(source, tmp_path / f"b.{ending}", codec=codec, **options)
    after = facts_of(tmp_path / f"b.{ending}")
    assert (report.frames, len(after.frames), after.size) == (5, 5, (256, 192))


def test_two_frames_by_x265(tmp_path: Path, clip, upscaled, facts_of) -> None:
    """Their decoding times come from memory that x265 never wrote, so that half the runs failed or began ages late."""
    source = clip(pts=range(2)).make(tmp_path / "a.mp4")
    for number in range(12):
        upscaled(source, tmp_path / f"{number}.mkv", codec="libx265")
        assert facts_of(tmp_path / f"{number}.mkv").frames == [0, Fraction(1, 25)]


def test_options_reach_the_encoder(tmp_path: Path, clip, upscaled) -> None:
    source = clip(size=(128, 96), pts=range(30)).make(tmp_path / "a.mp4")
    upscaled(source, tmp_path / "fine.mp4", crf=4, encoder_options={"g": "5", "bf": "0"})
    upscaled(source, tmp_path / "coarse.mp4", crf=40, preset="ultrafast", pix_fmt="yuv444p")
    with av.open(str(tmp_path / "fine.mp4")) as file:
        keys = [packet.is_keyframe for packet in file.demux(video=0) if packet.size]
    assert keys == [number % 5 == 0 for number in range(30)]
    with av.open(str(tmp_path / "coarse.mp4")) as file:
        assert file.streams.video[0].pix_fmt == "yuv444p"
    assert (tmp_path / "coarse.mp4").stat().st_size * 3 < (tmp_path / "fine.mp4").stat().st_size


def test_progress_counts_every_frame(tmp_path: Path, clip, stand_in) -> None:
    seen: list[Progress] = []
    source = clip(pts=range(9)).make(tmp_path / "a.mp4")
    upscale_video(source, tmp_path / "b.mp4", Tiler(stand_in()), VideoOptions(), seen.append)
    assert [progress.frames for progress in seen] == list(range(1, 10))
    assert {progress.total for progress in seen} == {9}
    assert all(progress.fps > 0 and progress.skipped == pytest.approx(0.7) for progress in seen)


def test_few_frames_wait_in_memory(tmp_path: Path, clip, stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the engine is, the decoder stays a few frames ahead of it."""
    source = clip(pts=range(40), options={"bf": "0"}).make(tmp_path / "a.mkv")
    decoded: list[int] = []
    ahead: list[int] = []
    real = pipeline.picture_of
    monkeypatch.setattr(pipeline, "picture_of", lambda frame: decoded.append(1) or real(frame))

    class Slow(stand_in):
        def upscale(self, frame, state=None) -> Upscaled:
            time.sleep(0.01)
            ahead.append(len(decoded) - len(self.frames))
            return super().upscale(frame, state)

    assert upscale_video(source, tmp_path / "b.mkv", Tiler(Slow()), VideoOptions()).frames == 40
    assert len(decoded) == 40
    assert 2 <= max(ahead) <= 5


def test_end_to_end_with_the_network(tmp_path: Path, demo_clip: Path) -> None:
    """The shipped weights on the cpu engine: the file holds what the engine gives for each frame, but for the codec."""
    source = tmp_path / "short.mp4"
    with av.open(str(demo_clip)) as whole, av.open(str(source), "w") as short:
        copy = short.add_stream_from_template(whole.streams.video[0], opaque=True)
        packets = [packet for packet in whole.demux(video=0) if packet.size][:4]
        last = max(packet.pts for packet in packets)
        for packet in packets:
            packet.stream = copy
            short.mux(packet)
        assert last > 0
    tiler = Tiler(create(EngineOptions(device="cpu")))
    report = upscale_video(source, tmp_path / "b.mp4", tiler, VideoOptions(crf=4, pix_fmt="yuv444p"))
    with Reader(source) as before, Reader(tmp_path / "b.mp4") as after:
        frames = list(zip(before, after, strict=True))
        assert len(frames) == report.frames >= 1
        for small, large in frames:
            expected = tiler.upscale(to_rgb(small)).frame
            error = np.abs(np.clip(expected, 0, 255) - to_rgb(large))
            assert error.mean() < 1.0
    assert 0.5 < report.skipped < 1


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux's scheduling")
def test_an_encoder_leaves_the_scheduling_as_it_is(demo_clip: Path, tmp_path: Path, stand_in) -> None:
    """SVT-AV1, run by root, asks for real time: two threads that spin would stop a machine of two cores."""
    seen = set()

    def look(progress: Progress) -> None:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                seen.add(os.sched_getscheduler(int(thread.name)))

    before = os.sched_getscheduler(0)
    options = VideoOptions(codec="libsvtav1", crf=40, preset="12")
    upscale_video(demo_clip, tmp_path / "b.mkv", Tiler(stand_in(2)), options, look)
    assert seen == {before}
