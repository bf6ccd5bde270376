"""Crop and deinterlacing before the network: ffmpeg makes the same picture, times and other streams stay."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vs_smsr.cli.plan import describe
from vs_smsr.media.filters import Crop
from vs_smsr.media.reader import Reader
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Tiler

SIZE = (128, 96)


@pytest.fixture(scope="session")
def mkvpropedit() -> Callable[..., None]:
    if shutil.which("mkvpropedit") is None:
        pytest.skip("needs mkvpropedit (Debian: apt-get install mkvtoolnix)")

    def run(*arguments: object) -> None:
        subprocess.run(["mkvpropedit", "-q", *map(str, arguments)], check=True, capture_output=True)

    return run


@pytest.fixture
def pixels(ffmpeg, tmp_path: Path) -> Callable[..., np.ndarray]:
    """pixels(path, filters) -> (frames, samples) of the luma, as ffmpeg decodes and filters them."""

    def decode(path: Path, size: tuple[int, int], filters: str = "null") -> np.ndarray:
        raw = tmp_path / "luma.raw"
        ffmpeg("-i", path, "-vf", filters, "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", raw)
        return np.fromfile(raw, np.uint8).reshape(-1, size[1], size[0]).astype(int)

    return decode


def clean_aperture(path: Path, width: int, height: int, right: int, down: int) -> Path:
    """Put a `clap` box into a file: size and offset of its centre in half pixels."""
    return put_into_sample_entry(path, b"clap", struct.pack(">8i", width, 1, height, 1, right, 2, down, 2))


def put_into_sample_entry(path: Path, box_name: bytes, content: bytes) -> Path:
    """Put a box into the sample entry of an H.264 MP4 or MOV whose index is at its end."""
    data = bytearray(path.read_bytes())
    box = struct.pack(">I4s", len(content) + 8, box_name) + content
    entry = data.index(b"avc1", data.index(b"stsd"))
    end = entry - 4 + int.from_bytes(data[entry - 4 : entry])
    data[end:end] = box
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = data.index(name, data.index(b"moov")) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4]) + len(box)).to_bytes(4)
    path.write_bytes(data)
    return path


def assert_cropped(source: Path, made: Path, crop: Crop, pixels, ffprobe) -> None:
    width, height = SIZE[0] - crop.left - crop.right, SIZE[1] - crop.top - crop.bottom
    stream = ffprobe(made, "-show_streams", "-select_streams", "v")["streams"][0]
    assert (stream["width"], stream["height"]) == (2 * width, 2 * height)
    picture = f"crop={width}:{height}:{crop.left}:{crop.top}:exact=1,scale={2 * width}:{2 * height}:flags=neighbor"
    expected = pixels(source, (2 * width, 2 * height), picture)
    assert abs(pixels(made, (2 * width, 2 * height)) - expected).mean() < 2


@pytest.mark.parametrize("crop", [Crop(8, 16, 4, 20), Crop(0, 0, 12, 0), Crop(3, 0, 5, 1)])
def test_the_crop_of_matroska(tmp_path: Path, clip, mkvpropedit, upscaled, pixels, ffprobe, crop: Crop) -> None:
    source = clip(size=SIZE).make(tmp_path / "a.mkv")
    plain = clip(size=SIZE).make(tmp_path / "plain.mkv")
    sides = [f"pixel-crop-{side}={getattr(crop, side)}" for side in ("top", "bottom", "left", "right")]
    mkvpropedit(source, "--edit", "track:v1", *(word for side in sides for word in ("--set", side)))
    report = upscaled(source, tmp_path / "b.mkv")
    assert_cropped(plain, tmp_path / "b.mkv", crop, pixels, ffprobe)
    assert report.cropped == crop
    assert [note for note in report.notes if "cropped before" in note]


def test_the_clean_aperture_of_mp4(tmp_path: Path, clip, upscaled, pixels, ffprobe) -> None:
    plain = clip(size=SIZE).make(tmp_path / "plain.mp4")
    source = clean_aperture(clip(size=SIZE).make(tmp_path / "a.mp4"), 96, 80, right=-16, down=8)
    report = upscaled(source, tmp_path / "b.mp4")
    assert report.cropped == Crop(top=12, bottom=4, left=8, right=24)
    assert_cropped(plain, tmp_path / "b.mp4", report.cropped, pixels, ffprobe)
    assert b"clap" not in (tmp_path / "b.mp4").read_bytes()


@pytest.fixture
def woven(tmp_path: Path, ffmpeg) -> Callable[..., Path]:
    """woven(name, codec): fields of a moving picture, top first, with sound; 13 frames."""

    def make(name: str, *codec: str) -> Path:
        ffmpeg(
            *("-f", "lavfi", "-i", "testsrc2=s=128x96:r=50:d=0.52", "-f", "lavfi", "-i", "sine=d=0.52"),
            *(
                "-vf",
                "hue=s=0.2,tinterlace=interleave_top,setfield=tff",
                "-pix_fmt",
                "yuv420p",
                *codec,
                tmp_path / name,
            ),
        )
        return tmp_path / name

    return make


CODECS = {
    "a.mkv": ("-c:v", "libx264", "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
    "a.ts": ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-b:v", "4M"),
    "a.mov": ("-c:v", "prores_ks", "-flags", "+ildct"),
}


@pytest.mark.parametrize("name", CODECS)
def test_deinterlacing(tmp_path: Path, woven, upscaled, pixels, ffprobe, name: str) -> None:
    source, made = woven(name, *CODECS[name]), tmp_path / "b.mkv"
    report = upscaled(source, made, deinterlace=True, codec="ffv1")
    expected = pixels(source, (256, 192), "bwdif=mode=send_frame,scale=256:192:flags=neighbor")
    found = pixels(made, (256, 192))
    assert len(found) == len(expected) == report.frames == report.deinterlaced == 13
    untouched = pixels(source, (256, 192), "scale=256:192:flags=neighbor")
    assert abs(found - expected).mean() < abs(found - untouched).mean() / 3
    frames, before = (ffprobe(path, "-show_frames", "-select_streams", "v")["frames"] for path in (made, source))
    assert {frame["interlaced_frame"] for frame in frames} == {0}
    assert {frame["interlaced_frame"] for frame in before} == {1}
    start = float(before[0]["pts_time"])
    times = [float(frame["pts_time"]) - float(frames[0]["pts_time"]) for frame in frames]
    assert times == pytest.approx([float(frame["pts_time"]) - start for frame in before], abs=0.0011)
    sound, old = (ffprobe(path, "-show_packets", "-select_streams", "a")["packets"] for path in (made, source))
    assert [packet["size"] for packet in sound] == [packet["size"] for packet in old]
    assert not [note for note in report.notes if "interlaced" in note]


def test_interlaced_frames_are_left_alone_without_the_option(tmp_path: Path, woven, upscaled, pixels) -> None:
    source = woven("a.mkv", *CODECS["a.mkv"])
    report = upscaled(source, tmp_path / "b.mkv")
    expected = pixels(source, (256, 192), "scale=256:192:flags=neighbor")
    assert abs(pixels(tmp_path / "b.mkv", (256, 192)) - expected).mean() < 2
    assert report.deinterlaced == 0
    assert [note for note in report.notes if "--deinterlace" in note]


@pytest.mark.parametrize("frames", [1, 2, 12])
def test_progressive_frames_are_not_deinterlaced(tmp_path: Path, clip, upscaled, facts_of, frames: int) -> None:
    pts = [0, 7, 8, 9, 100, 333, 1000, 1001, 1100, 1200, 1201, 1300][:frames]
    source = clip(size=SIZE, pts=pts).make(tmp_path / "a.mkv")
    report = upscaled(source, tmp_path / "b.mkv", deinterlace=True)
    upscaled(source, tmp_path / "c.mkv")
    assert (tmp_path / "b.mkv").stat().st_size == (tmp_path / "c.mkv").stat().st_size
    assert facts_of(tmp_path / "b.mkv").frames == facts_of(source).frames
    assert any("no frame is marked as interlaced" in note for note in report.notes)


def test_the_plan_tells_of_both(tmp_path: Path, woven, mkvpropedit, stand_in) -> None:
    source = woven("a.mkv", *CODECS["a.mkv"])
    mkvpropedit(source, "--edit", "track:v1", "--set", "pixel-crop-top=8")
    tiler = Tiler(stand_in())
    told = describe(source, tmp_path / "b.mkv", tiler, VideoOptions(), "smsr")
    assert "128x88 -> 256x176" in told
    assert "8 top" in told
    assert "--deinterlace" in told
    assert "a frame for a frame" in describe(source, tmp_path / "b.mkv", tiler, VideoOptions(deinterlace=True), "smsr")


def test_times_are_those_of_the_file(tmp_path: Path, woven) -> None:
    source = woven("a.mkv", *CODECS["a.mkv"])
    with Reader(source) as plain, Reader(source, deinterlace=True) as changed:
        assert [(f.pts, f.duration) for f in plain] == [(f.pts, f.duration) for f in changed]
        assert not changed.info.interlaced
