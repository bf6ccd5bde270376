"""Samples are the frames of the video, what is tried on all of it is the job itself, and wrong wishes are one line."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from vs_smsr.cli.app import app
from vs_smsr.cli.preview import clock, duration, variants
from vs_smsr.errors import OptionError
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image
from vs_smsr.media.reader import Reader
from vs_smsr.options import VideoOptions
from vs_smsr.preview.samples import Cut, Wanted, cut
from vs_smsr.preview.trial import KEY_EVERY, _video_bytes, try_video
from vs_smsr.tiling import Tiler


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("whole", [0.5, 12.0, 5000.0])
def test_windows_are_spread_and_apart(count, whole):
    windows = Wanted(samples=count).windows(whole)
    assert len(windows) == count
    assert windows[0][0] >= -1e-9
    assert windows[-1][1] <= whole + 1e-9
    assert all(end <= begin + 1e-9 for (_, end), (begin, _) in itertools.pairwise(windows))
    if whole > 100:
        assert all(end - start == pytest.approx(2) for start, end in windows)


def test_a_part_of_the_video():
    windows = Wanted(samples=2, start=10, duration=20).windows(100)
    assert windows == [(14, 16), (24, 26)]
    with pytest.raises(OptionError, match=r"must be less than the 5\.00 s"):
        Wanted(start=7).windows(5)


def test_samples_are_the_frames_of_the_video(demo_clip, tmp_path):
    """Found by seeking and kept without loss: each equals the frame that decoding from the start gives."""
    pieces = cut(demo_clip, tmp_path / "clip.mkv", Wanted(samples=3, seconds=0.2), VideoOptions())
    with Reader(demo_clip) as reader:
        frames = [(frame.pts * reader.info.time_base, to_rgb(frame)) for frame in reader]
        rate = reader.info.rate
    with Reader(tmp_path / "clip.mkv") as reader:
        kept = [to_rgb(frame) for frame in reader]
    windows = Wanted(samples=3, seconds=0.2).windows(pieces.seconds)
    expected = [rgb for start, end in windows for time, rgb in frames if start <= time < end]
    assert len(expected) == pieces.sampled == len(kept) == round(0.6 * rate)
    for one, other in zip(kept, expected, strict=True):
        assert np.array_equal(one, other)
    for sample in pieces.samples:
        number = next(n for n, (time, _) in enumerate(frames) if float(time) == pytest.approx(sample.time))
        assert np.array_equal(sample.shown, frames[number][1])
        assert np.array_equal(sample.before, frames[number - 1][1])
    with av.open(str(demo_clip)) as container:  # the sound takes part in the predicted size
        sound = sum(packet.size for packet in container.demux(audio=0))
    assert pieces.other_bytes == pytest.approx(sound, rel=0.25)


def test_what_is_tried_on_all_of_it_is_the_job(demo_clip, tmp_path, stand_in):
    tiler, options = Tiler(stand_in()), VideoOptions(codec="libx264", preset="ultrafast")
    clip = tmp_path / "clip.mkv"
    pieces = cut(demo_clip, clip, Wanted(samples=1, seconds=1e6), options)
    prediction, shown = try_video(pieces, clip, tiler, options, lambda _: None)
    report = upscale_video(demo_clip, tmp_path / "real.mkv", tiler, options)
    assert report.frames == pieces.frames == pieces.sampled
    assert prediction.bytes == pytest.approx((tmp_path / "real.mkv").stat().st_size, rel=0.05)
    assert shown[0].after.shape == (360, 640, 3)
    assert np.array_equal(shown[0].after, pieces.samples[0].shown.round().astype(np.uint8).repeat(2, 0).repeat(2, 1))


def test_key_frames_of_samples_do_not_count_for_the_whole(demo_clip, tmp_path, stand_in):
    """Short samples of a clip of one scene: counted by the frame alone, their key frames would double its size."""
    options = VideoOptions(codec="libx264", preset="ultrafast")
    made = {}
    for name, asked in {"short": Wanted(samples=4, seconds=0.12), "whole": Wanted(samples=1, seconds=9)}.items():
        pieces = cut(demo_clip, tmp_path / f"{name}.mkv", asked, options)
        upscale_video(tmp_path / f"{name}.mkv", tmp_path / f"{name}_x2.mkv", Tiler(stand_in()), options)
        made[name] = _video_bytes(tmp_path / f"{name}_x2.mkv", pieces)
    assert isinstance(pieces, Cut)
    assert pieces.frames < KEY_EVERY
    assert made["short"] == pytest.approx(made["whole"], rel=0.35)


def test_variants_are_named_by_what_differs():
    given = {"model": [("a", "a")], "reuse": [("reuse off", "off"), ("reuse exact", "exact")]}
    assert variants(given) == [
        ("reuse off", {"model": "a", "reuse": "off"}),
        ("reuse exact", {"model": "a", "reuse": "exact"}),
    ]
    assert [name for name, _ in variants({"model": [("a", "a")]})] == ["a"]


def test_an_image(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    write_image(tmp_path / "photo.png", Image(pixels))
    arguments = ["preview", str(tmp_path / "photo.png"), "--reuse", "exact,off"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    text = (tmp_path / "photo_preview.html").read_text()
    assert text.count("data:image/jpeg") == 5  # a thumbnail, two before, two after
    assert text.count("data:image/png") == 2  # the masks of both
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "photo_preview.html"]
    assert CliRunner().invoke(app, arguments).exit_code == 2  # it exists


@pytest.mark.parametrize(
    "wrong", [["--samples", "0"], ["--sample-seconds", "0"], ["-o", "page.png"], ["--model", "nobody,smsr"]]
)
def test_wrong_wishes(demo_clip, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["preview", str(demo_clip), "-o", "x.html", *wrong]).exit_code in (1, 2)
    assert not list(tmp_path.iterdir())


def test_words():
    assert (duration(4.23), duration(150), duration(3900)) == ("4.2 s", "2 min 30 s", "1 h 05 min")
    assert (clock(2.04), clock(3723.4)) == ("0:02.0", "1:02:03.4")
