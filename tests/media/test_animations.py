"""Animations in and out, judged by Pillow: every frame with its time, the loop, clear pixels, metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from vs_smsr.errors import MediaError
from vs_smsr.jobs.image import upscale_animation
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.images import kind_of
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Tiler

TIMES = [100, 200, 50, 300]
COLOURS = [(220, 20, 20), (20, 200, 20), (20, 20, 210), (200, 200, 10)]
FORMATS = {".gif": "GIF", ".png": "PNG", ".webp": "WEBP", ".avif": "AVIF"}


def animation(path: Path, suffix: str, alpha: bool = False, **options: object) -> Path:
    """Four frames of one colour and a white square that moves; with alpha on a clear ground."""
    frames = []
    for number, colour in enumerate(COLOURS):
        frame = np.full((16, 24, 4), (*colour, 0 if alpha else 255), np.uint8)
        frame[4:12, 4 * number : 4 * number + 8] = 255
        frames.append(Pillow.fromarray(frame).convert("RGBA" if alpha else "RGB"))
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "GIF": {"disposal": 2}}
    form = FORMATS[suffix]
    options = {"duration": TIMES, "loop": 2, **lossless.get(form, {}), **options}
    frames[0].save(path, form, save_all=True, append_images=frames[1:], **options)
    return path


def shown(path: Path) -> tuple[list[np.ndarray], list[float], object]:
    with Pillow.open(path) as picture:
        frames, times = [], []
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            times.append(picture.info["duration"])
            frames.append(np.asarray(picture.convert("RGBA")).astype(int))
        return frames, times, picture.info.get("loop")


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_every_frame_with_its_time(tmp_path, stand_in, source, target):
    path = animation(tmp_path / "a.any", source)
    assert kind_of(path) == "animation"
    report = upscale_animation(path, tmp_path / f"b{target}", Tiler(stand_in(2)), VideoOptions())
    before, after = shown(path), shown(tmp_path / f"b{target}")
    assert report.frames == len(after[0]) == 4
    assert before[1] == after[1] == TIMES
    for small, large in zip(before[0], after[0], strict=True):
        assert np.abs(small.repeat(2, 0).repeat(2, 1) - large).mean() < 4
    if "AVIF" not in (FORMATS[source], FORMATS[target]):
        plays = [count + (suffix == ".gif") for count, suffix in ((before[2], source), (after[2], target))]
        assert plays[0] == plays[1]


@pytest.mark.parametrize("target", [".gif", ".png", ".webp"])
def test_clear_pixels_stay_clear(tmp_path, stand_in, target):
    path = animation(tmp_path / "a.webp", ".webp", alpha=True)
    upscale_animation(path, tmp_path / f"b{target}", Tiler(stand_in(2)), VideoOptions())
    for small, large in zip(shown(path)[0], shown(tmp_path / f"b{target}")[0], strict=True):
        expected = small.repeat(2, 0).repeat(2, 1)[..., 3]
        assert np.abs(expected - large[..., 3]).max() == 0


def test_an_animation_under_the_ending_of_a_still_is_found_out(tmp_path, stand_in):
    path = animation(tmp_path / "really_gif.png", ".gif")
    assert kind_of(path) == "animation"
    with pytest.raises(MediaError, match=r"b\.jpg: cannot hold an animation"):
        upscale_animation(path, tmp_path / "b.jpg", Tiler(stand_in(2)), VideoOptions())
    assert not (tmp_path / "b.jpg").exists()


def test_a_cut_animation_is_refused(tmp_path, stand_in):
    for suffix in FORMATS:
        path = animation(tmp_path / f"a{suffix}", suffix)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(MediaError):
            upscale_animation(path, tmp_path / f"b{suffix}", Tiler(stand_in(2)), VideoOptions())
        assert not (tmp_path / f"b{suffix}").exists()


def test_the_picture_for_viewers_without_animation_is_named(tmp_path, stand_in):
    path = animation(tmp_path / "a.png", ".png", default_image=True, duration=TIMES[1:])
    report = upscale_animation(path, tmp_path / "b.png", Tiler(stand_in(2)), VideoOptions())
    assert report.frames == 3
    assert "the picture for viewers that show no animation is not carried." in report.notes


def test_a_repeated_frame_is_computed_once(tmp_path, stand_in, ffmpeg):
    engine = stand_in(2)
    still = ["-f", "lavfi", "-i", "color=red:s=16x16:r=10", "-frames:v", "3", "-f", "apng"]
    ffmpeg(*still, tmp_path / "a.png")
    report = upscale_animation(tmp_path / "a.png", tmp_path / "b.png", Tiler(engine), VideoOptions())
    assert report.frames == 3
    assert len(engine.frames) == 1
    assert report.reused == pytest.approx(2 / 3)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_an_animation_into_a_video(tmp_path, stand_in, ffprobe, suffix):
    path = animation(tmp_path / "a.any", suffix)
    upscale_video(path, tmp_path / "b.mkv", Tiler(stand_in(2)), VideoOptions())
    found = ffprobe(tmp_path / "b.mkv", "-select_streams", "v:0", "-show_entries", "stream=width:frame=pts_time")
    assert found["streams"][0]["width"] == 48
    assert [float(frame["pts_time"]) for frame in found["frames"]] == pytest.approx([0, 0.1, 0.3, 0.35], abs=0.002)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif"])
def test_profile_and_xmp_of_an_animation(tmp_path, stand_in, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = animation(tmp_path / f"a{suffix}", suffix, icc_profile=profile)
    assert upscale_animation(path, tmp_path / f"b{suffix}", Tiler(stand_in(2)), VideoOptions()).notes[:1] in (
        (),
        ("the number of 2 showings is not kept: AVIF is shown for ever.",),
    )
    with Pillow.open(tmp_path / f"b{suffix}") as picture:
        assert picture.n_frames == 4
        assert picture.info["icc_profile"] == profile
    report = upscale_animation(path, tmp_path / "b.gif", Tiler(stand_in(2)), VideoOptions())
    assert "the ICC profile is not kept: it cannot be written into GIF." in report.notes
