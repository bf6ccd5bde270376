"""HDR numbers to the end: what ffprobe reads of the result's stream is what the source says; the rest is named."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from tests.media.test_filters import put_into_sample_entry

HDR10 = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16, "chroma_sample_location": 3}
DISPLAY = {
    **{"red_x": 0.68, "red_y": 0.32, "green_x": 0.265, "green_y": 0.69, "blue_x": 0.15, "blue_y": 0.06},
    **{"white_point_x": 0.3127, "white_point_y": 0.329, "min_luminance": 0.005, "max_luminance": 1000},
}
OPTIONS = {
    "libx265": (
        "x265-params",
        "log-level=none:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
    ),
    "libsvtav1": (
        "svtav1-params",
        "content-light=1000,400:"
        "mastering-display=G(0.265,0.690)B(0.150,0.060)R(0.680,0.320)WP(0.3127,0.3290)L(1000,0.005)",
    ),
}
RESULTS = [
    *((codec, ending) for codec in ("libx264", "libx265") for ending in ("mp4", "mkv", "mov")),
    *((codec, ending) for codec in ("libsvtav1", "libvpx-vp9", "ffv1") for ending in ("mp4", "mkv")),
    ("libvpx-vp9", "webm"),
    ("prores_ks", "mov"),
]


@pytest.fixture(params=OPTIONS)
def hdr_film(request, tmp_path: Path, clip) -> Path:
    recipe = clip(
        codec=request.param,
        pix_fmt="yuv420p10le",
        size=(128, 96),
        options=dict([OPTIONS[request.param]]),
        colour=HDR10,
        pts=range(3),
    )
    return recipe.make(tmp_path / "hdr.mkv")


@pytest.mark.parametrize(("codec", "ending"), RESULTS)
def test_static_numbers_are_in_the_stream(
    tmp_path: Path, hdr_film: Path, upscaled, ffprobe, codec: str, ending: str
) -> None:
    made = tmp_path / f"b.{ending}"
    report = upscaled(hdr_film, made, codec=codec)
    stream = ffprobe(made, "-show_streams", "-select_streams", "v")["streams"][0]
    told = {data["side_data_type"]: data for data in stream["side_data_list"]}
    display = {name: float(Fraction(told["Mastering display metadata"][name])) for name in DISPLAY}
    assert display == pytest.approx(DISPLAY, rel=1e-3, abs=2e-5)
    light = told["Content light level metadata"]
    assert (light["max_content"], light["max_average"]) == (1000, 400)
    assert (stream["color_transfer"], stream["color_primaries"]) == ("smpte2084", "bt2020")
    if codec != "prores_ks" and ending != "webm":  # VP9 and ProRes do not tell where chroma is
        assert stream.get("chroma_location", "topleft") in ("topleft", "left", "unspecified")
    assert not [note for note in report.notes if "HDR" in note]


def test_light_alone_and_none(tmp_path: Path, clip, upscaled, ffprobe) -> None:
    options = {"x265-params": "log-level=none:max-cll=700,100"}
    for name, given, count in (("light", options, 1), ("none", {"x265-params": "log-level=none"}, 0)):
        recipe = clip(codec="libx265", pix_fmt="yuv420p10le", options=given, colour=HDR10, pts=range(3))
        upscaled(recipe.make(tmp_path / f"{name}.mkv"), tmp_path / f"{name}_x2.mp4")
        stream = ffprobe(tmp_path / f"{name}_x2.mp4", "-show_streams")["streams"][0]
        assert len(stream.get("side_data_list", [])) == count
        if count:
            assert stream["side_data_list"][0]["max_content"] == 700


def test_a_container_without_room_for_them_is_named(tmp_path: Path, hdr_film: Path, upscaled) -> None:
    report = upscaled(hdr_film, tmp_path / "b.avi", codec="ffv1")
    assert any("HDR mastering display, HDR content light level" in note for note in report.notes)


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libx264"])
def test_dynamic_metadata_that_no_encoder_takes_are_named(
    tmp_path: Path, clip, ffmpeg, ffprobe, upscaled, codec: str
) -> None:
    """HDR10+ as a message before each picture, written here by ITU-T H.265 annex D and SMPTE ST 2094-40."""
    options = {"x265-params": "log-level=none:aud=1:bframes=0"}
    recipe = clip(codec="libx265", pix_fmt="yuv420p10le", size=(128, 96), options=options, colour=HDR10, pts=range(3))
    start, *pictures = recipe.make(tmp_path / "a.hevc").read_bytes().split(b"\0\0\0\1\x46")
    path = tmp_path / "plus.hevc"
    path.write_bytes(start + b"".join(b"\0\0\0\1\x46" + part[:2] + hdr10_plus() + part[2:] for part in pictures))
    before = ffprobe(path, "-show_frames")["frames"][0]["side_data_list"]
    assert any("HDR10+" in data["side_data_type"] for data in before)
    report = upscaled(path, tmp_path / "b.mkv", codec=codec)
    after = ffprobe(tmp_path / "b.mkv", "-show_frames")["frames"][0].get("side_data_list", [])
    carried = any("HDR10+" in data["side_data_type"] for data in after)
    assert carried != any("HDR10+" in note for note in report.notes)


@pytest.mark.parametrize(("first", "told"), [(0, r"HDR10\+ dynamic metadata$"), (2, r"HDR10\+ .* \(from 0\.08 s on\)")])
def test_dynamic_metadata_that_begin_late_are_named(
    tmp_path: Path, clip, ffprobe, upscaled, first: int, told: str
) -> None:
    options = {"x265-params": "log-level=none:aud=1:bframes=0"}
    recipe = clip(codec="libx265", pix_fmt="yuv420p10le", size=(128, 96), options=options, colour=HDR10, pts=range(5))
    start, *pictures = recipe.make(tmp_path / "a.hevc").read_bytes().split(b"\0\0\0\1\x46")
    path = tmp_path / "plus.hevc"
    for number, part in enumerate(pictures):
        start += b"\0\0\0\1\x46" + part[:2] + hdr10_plus() * (number >= first) + part[2:]
    path.write_bytes(start)
    frames = ffprobe(path, "-show_frames")["frames"]
    found = ["HDR10+" in str(frame.get("side_data_list")) for frame in frames]
    assert found == [number >= first for number in range(5)]
    (note,) = [note for note in upscaled(path, tmp_path / "b.mkv").notes if "HDR10+" in note]
    assert re.search(told, note)


def hdr10_plus() -> bytes:
    """A SEI message of one window, in Annex B framing."""
    fields = ((1, 2), (400, 27), (0, 1), (70000, 17), (60000, 17), (50000, 17), (4000, 17))
    fields += ((1, 4), (50, 7), (3000, 17), (10, 10), (0, 3))
    text = "".join(f"{value:0{bits}b}" for value, bits in fields)
    text += "0" * (-len(text) % 8)
    message = b"\xb5\x00\x3c\x00\x01\x04\x01" + int(text, 2).to_bytes(len(text) // 8)
    payload, zeros = bytearray(), 0
    for byte in bytes([4, len(message)]) + message + b"\x80":
        if zeros == 2 and byte <= 3:  # no start code within
            payload.append(3)
            zeros = 0
        payload.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1\x4e\x01" + bytes(payload)


def test_dolby_vision_is_named_as_lost(tmp_path: Path, clip, ffprobe, upscaled) -> None:
    profile, level = 9, 1
    record = struct.pack(">BBHB19x", 1, 0, profile << 9 | level << 3 | 0b101, 2 << 4)
    source = put_into_sample_entry(clip().make(tmp_path / "a.mp4"), b"dvvC", record)
    told = ffprobe(source, "-show_streams")["streams"][0]["side_data_list"]
    assert [data["side_data_type"] for data in told] == ["DOVI configuration record"]
    report = upscaled(source, tmp_path / "b.mp4")
    assert any("not carried: Dolby Vision metadata" in note for note in report.notes)
