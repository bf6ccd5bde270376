"""A video through the pipeline: what went in besides the pixels comes out, or a note says what did not."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideData

from vs_smsr.errors import OptionError
from vs_smsr.jobs.report import Report
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.reader import Reader

BT709 = {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1, "chroma_sample_location": 1}
HDR10 = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16, "chroma_sample_location": 3}
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def assert_same_but_larger(before, after, scale: int = 2) -> None:
    """Everything of `facts_of` that a result shares with its source in a container of the same kind."""
    assert after.size == (before.size[0] * scale, before.size[1] * scale)
    assert after.frames == before.frames
    assert after.packets == before.packets
    assert after.kinds == before.kinds
    assert after.attachments == before.attachments
    assert after.chapters == before.chapters
    assert after.colour == before.colour
    assert after.aspect == before.aspect
    assert after.dispositions == before.dispositions
    known = {"encoder", "duration", "compatible_brands"}
    for old, new in zip(
        [before.metadata, *before.stream_metadata], [after.metadata, *after.stream_metadata], strict=True
    ):
        assert {k: v for k, v in new.items() if k not in known} == {k: v for k, v in old.items() if k not in known}


def test_the_demo_clip(demo_clip: Path, tmp_path: Path, upscaled, facts_of) -> None:
    target = tmp_path / "demo.mp4"
    report = upscaled(demo_clip, target)
    before, after = facts_of(demo_clip), facts_of(target)
    assert_same_but_larger(before, after)
    assert (after.size, len(after.frames), after.codec, after.pix_fmt) == ((640, 360), 66, "h264", "yuv420p")
    assert after.colour == (1, 1, 1, 1, 1)
    assert len(after.packets[1]) == len(before.packets[1]) > 100
    assert report == Report(target, 66, report.seconds, pytest.approx(0.7), ())


def test_real_footage(tmp_path: Path, upscaled, facts_of, ffprobe) -> None:
    """MPEG-2 in a program stream, 405 lines, without colour tags."""
    source, target = Path(__file__).parents[1] / "data" / "city.mpg", tmp_path / "city.mkv"
    report = upscaled(source, target)
    (stream,) = ffprobe(target, "-count_frames", "-show_streams")["streams"]
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (1440, 810, "12")
    assert stream["r_frame_rate"] == "25/1"
    assert report.frames == 12
    before, after = (
        [
            frame.reformat(720, 405, "gray", interpolation="AREA").to_ndarray()
            for frame in av.open(str(path)).decode(video=0)
        ]
        for path in (source, target)
    )
    for old, new in zip(before, after, strict=True):  # no frame twice, none in another's place
        assert np.abs(old.astype(int) - new).mean() < 1.5
    assert min(np.abs(one.astype(int) - next_).mean() for one, next_ in itertools.pairwise(before)) > 2


def test_ten_bit_hevc_with_hdr_numbers(tmp_path: Path, clip, upscaled, facts_of) -> None:
    params = f"log-level=none:master-display={MASTERING}:max-cll=1000,400"
    recipe = clip(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": params}, colour=HDR10)
    source = recipe.make(tmp_path / "a.mkv")
    before = facts_of(source)
    for codec in ("libx264", "libx265", "libsvtav1"):
        target = tmp_path / f"{codec}.mkv"
        report = upscaled(source, target, codec=codec)
        after = facts_of(target)
        assert after.pix_fmt == "yuv420p10le"
        assert (after.frames, after.colour) == (before.frames, before.colour)
        assert after.colour == (9, 1, 9, 16, 3)
        assert report.notes == ()
        light = after.side_data[SideData.CONTENT_LIGHT_LEVEL]
        assert light == before.side_data[SideData.CONTENT_LIGHT_LEVEL] == struct.pack("=2I", 1000, 400)
        display = mastering(after.side_data)
        assert display == pytest.approx(mastering(before.side_data), abs=2e-5)
        assert display[:2] == pytest.approx([34000 / 50000, 16000 / 50000], abs=2e-5)  # red


def mastering(side_data: dict[SideData, bytes]) -> list[float]:
    """Red, green, blue and white (x, y), darkest and brightest in cd/m2."""
    numbers = struct.unpack_from("=20i", side_data[SideData.MASTERING_DISPLAY_METADATA])
    return [over / under for over, under in zip(numbers[::2], numbers[1::2], strict=True)]


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_a_variable_frame_rate_stays(tmp_path: Path, clip, upscaled, facts_of, ending: str) -> None:
    pts = [0, 1000, 1400, 5000, 5001, 9000, 12000, 15000, 15100, 22000]
    source = clip(pts=pts, time_base=Fraction(1, 12800), colour=BT709).make(tmp_path / f"a.{ending}")
    target = tmp_path / f"b.{ending}"
    report = upscaled(source, target)
    before, after = facts_of(source), facts_of(target)
    assert_same_but_larger(before, after)
    assert after.frames == [Fraction(p, 12800) for p in pts]
    assert report.notes == ()


def test_the_last_frame_is_shown_as_long(tmp_path: Path, clip, upscaled, facts_of) -> None:
    source = clip(options={"bf": "0"}, pts=range(0, 5120, 512), time_base=Fraction(1, 12800), last=7777)
    upscaled(source.make(tmp_path / "a.mp4"), tmp_path / "b.mp4", encoder_options={"bf": "0"})
    before, after = facts_of(tmp_path / "a.mp4"), facts_of(tmp_path / "b.mp4")
    assert after.durations == before.durations
    assert after.durations[-1] == Fraction(7777, 12800)


def test_times_rounded_to_a_millisecond_are_not_worth_a_note(tmp_path: Path, clip, upscaled, facts_of) -> None:
    source = clip(pts=range(0, 24024, 1001), time_base=Fraction(1, 24000)).make(tmp_path / "a.mp4")
    report = upscaled(source, tmp_path / "b.mkv")
    worst = max(
        abs(new - old) for new, old in zip(facts_of(tmp_path / "b.mkv").frames, facts_of(source).frames, strict=True)
    )
    assert 0 < worst <= Fraction(1, 2000)
    assert report.notes == ()


@pytest.mark.parametrize("degrees", [90, 180, -90])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_rotation_is_a_tag_and_stays_one(tmp_path: Path, clip, upscaled, facts_of, ending: str, degrees: int) -> None:
    source = clip(rotation=degrees, aspect=Fraction(64, 45), colour=BT709).make(tmp_path / f"a.{ending}")
    upscaled(source, tmp_path / f"b.{ending}")
    before, after = facts_of(source), facts_of(tmp_path / f"b.{ending}")
    assert_same_but_larger(before, after)
    assert after.side_data[SideData.DISPLAYMATRIX] == before.side_data[SideData.DISPLAYMATRIX]
    assert after.aspect == Fraction(64, 45)


@pytest.fixture
def full_mkv(tmp_path: Path, clip) -> Path:
    recipe = clip(
        colour=BT709,
        audio=[
            ("aac", {"language": "eng", "title": "Main"}, int(av.stream.Disposition.default)),
            ("libopus", {"language": "fra", "title": "Commentaire"}, int(av.stream.Disposition.comment)),
        ],
        subtitles=True,
        font=True,
        chapters=[(0, 250, "Eins"), (250, 480, "Zwei – ½")],
        metadata={"title": "A film", "FOO": "bar"},
        video_metadata={"language": "jpn", "title": "Picture"},
    )
    return recipe.make(tmp_path / "full.mkv")


def test_everything_of_a_matroska_file(tmp_path: Path, full_mkv: Path, upscaled, facts_of) -> None:
    report = upscaled(full_mkv, tmp_path / "b.mkv")
    before, after = facts_of(full_mkv), facts_of(tmp_path / "b.mkv")
    assert before.kinds == ["video", "audio", "audio", "subtitle", "attachment"]
    assert [len(before.packets[index]) > 1 for index in (1, 2, 3)] == [True] * 3
    assert len(before.chapters) == 2
    assert_same_but_larger(before, after)
    assert report.notes == ()


def test_what_mp4_cannot_hold_is_told(tmp_path: Path, full_mkv: Path, upscaled, facts_of) -> None:
    report = upscaled(full_mkv, tmp_path / "b.mp4")
    before, after = facts_of(full_mkv), facts_of(tmp_path / "b.mp4")
    for index in (1, 2):
        assert [data for _, data in after.packets[index]] == [data for _, data in before.packets[index]]
        shifts = [
            abs(new - old) for (new, _), (old, _) in zip(after.packets[index], before.packets[index], strict=True)
        ]
        assert max(shifts) <= Fraction(1, 48000)
    assert after.frames == before.frames
    assert [title for _, _, title in after.chapters] == ["Eins", "Zwei – ½"]
    assert [metadata.get("language") for metadata in after.stream_metadata[:3]] == ["jpn", "eng", "fra"]
    assert len(report.notes) == 3
    for words in (("#3", "subtitle", "deu"), ("#4", "Some Font.ttf"), ("FOO",)):
        assert any(all(word in note for word in words) for note in report.notes), words


def test_sound_and_subtitles_can_be_left_out(tmp_path: Path, full_mkv: Path, upscaled, facts_of) -> None:
    report = upscaled(full_mkv, tmp_path / "b.mkv", copy_audio=False, copy_subtitles=False)
    after = facts_of(tmp_path / "b.mkv")
    assert after.kinds == ["video", "attachment"]
    assert report.notes == ()


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_a_cover_stays_a_cover(tmp_path: Path, clip, upscaled, ending: str) -> None:
    jpeg = cv2.imencode(".jpg", np.full((16, 16, 3), 90, np.uint8))[1].tobytes()
    plain = clip(colour=BT709).make(tmp_path / "plain.mkv")
    source = tmp_path / "cover.mkv"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        copy = new.add_stream_from_template(old.streams.video[0], opaque=True)
        new.add_attachment("cover.jpg", "image/jpeg", jpeg)
        for packet in old.demux():
            if packet.size:
                packet.stream = copy
                new.mux(packet)
    upscaled(source, tmp_path / f"b.{ending}")
    with av.open(str(tmp_path / f"b.{ending}")) as file:
        cover = file.streams[1]
        assert cover.disposition & av.stream.Disposition.attached_pic
        assert next(bytes(packet) for packet in file.demux(cover) if packet.size) == jpeg
        assert (file.streams[0].width, len(file.streams)) == (128, 2)


def test_an_untagged_matrix_is_named_in_the_result(tmp_path: Path, clip, upscaled, facts_of) -> None:
    """Players guess it by the size, and 720x480 would become 1440x960: from BT.601 to BT.709."""
    source = clip(size=(720, 480), pts=range(2), options={"preset": "ultrafast"}).make(tmp_path / "a.mp4")
    assert facts_of(source).colour[0] == 2
    upscaled(source, tmp_path / "b.mp4", preset="ultrafast")
    assert facts_of(tmp_path / "b.mp4").colour[0] == 6
    with Reader(source) as before, Reader(tmp_path / "b.mp4") as after:
        small, large = to_rgb(next(iter(before))), to_rgb(next(iter(after)))
    assert np.abs(small.mean(axis=(0, 1)) - large.mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize(
    ("source_format", "codec", "expected"),
    [
        ("yuv420p", "libx264", "yuv420p"),
        ("yuv422p", "libx264", "yuv420p"),  # at 2x, 4:2:0 has as many chroma samples as the source
        ("yuv444p", "libx264", "yuv420p"),
        ("gray", "libx264", "yuv420p"),
        ("bgr0", "libx264", "yuv420p"),
        ("yuv420p12le", "libx264", "yuv420p10le"),
        ("yuv420p12le", "libx265", "yuv420p12le"),
        ("yuv422p10le", "prores_ks", "yuv422p10le"),
        ("yuva444p10le", "prores_ks", "yuva444p12le"),  # what the decoder gives for 10 bits of ProRes 4444
        ("yuv444p12le", "ffv1", "yuv444p12le"),
        ("gray", "ffv1", "gray"),
        ("bgra", "ffv1", "bgra"),
        ("yuva420p", "libvpx-vp9", "yuv420p"),  # FFmpeg's own VP9 decoder does not show alpha
        ("bgr0", "libx264rgb", "gbrp"),
    ],
)
def test_formats_and_their_pixels(
    tmp_path: Path, clip, upscaled, facts_of, source_format: str, codec: str, expected: str
) -> None:
    """The result is the source with each pixel doubled, whatever the formats are."""
    source = clip(codec="ffv1", pix_fmt=source_format, pts=range(3), options={"strict": "-2"}).make(tmp_path / "a.mkv")
    upscaled(source, tmp_path / "b.mkv", codec=codec)
    assert facts_of(tmp_path / "b.mkv").pix_fmt == expected
    with Reader(source) as before, Reader(tmp_path / "b.mkv") as after:
        for small, large in zip(before, after, strict=True):
            doubled = to_rgb(small).repeat(2, axis=0).repeat(2, axis=1)
            error = np.abs(doubled - to_rgb(large))
            if codec == "ffv1":  # no loss but the rounding of the format
                assert error.max() <= 1
            else:
                assert error.mean() < 4  # of the codec, and of 4:2:0 under a pattern that changes at every pixel
                assert np.abs(error.mean(axis=(0, 1))).max() < 5


def test_alpha_is_upscaled_where_the_codec_has_it(tmp_path: Path, upscaled) -> None:
    """And where it has not, a note says so."""
    source = tmp_path / "a.mkv"
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[None, :].repeat(48, axis=0)
    rgba = np.dstack([np.full((48, 64, 3), 120, np.uint8), ramp])
    with av.open(str(source), "w") as out:
        video = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "bgra"
        out.mux(video.encode(av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format="bgra")))
        out.mux(video.encode(None))
    assert upscaled(source, tmp_path / "b.mkv", codec="ffv1").notes == ()
    with av.open(str(tmp_path / "b.mkv")) as file:
        found = next(file.decode(video=0)).to_ndarray(format="rgba")
    expected = cv2.resize(ramp, (128, 96), interpolation=cv2.INTER_CUBIC)
    assert np.abs(found[:, :, 3].astype(int) - expected).max() <= 1
    assert any("transparency" in note for note in upscaled(source, tmp_path / "c.mp4").notes)


def test_closed_captions_stay_on_their_frames(tmp_path: Path, clip, upscaled) -> None:
    """Captions of CEA-608/708 travel inside the video, in a message before each picture."""
    plain = clip(pts=range(8), options={"bf": "2"}, colour=BT709).make(tmp_path / "plain.h264").read_bytes()
    source = tmp_path / "captions.h264"
    nals = plain.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    with source.open("wb") as file:
        for number, nal in enumerate(nals):
            if nal[0] & 0x1F in (1, 5):  # a slice
                text = b"\xb5\x00\x31GA94\x03\x41\xff" + bytes([0xFC, 0x41 + number, 0x61]) + b"\xff"
                file.write(b"\0\0\1\x06\x04" + bytes([len(text)]) + text + b"\x80")
            file.write(b"\0\0\1" + nal)
    report = upscaled(source, tmp_path / "b.mkv")
    captions = []
    for path in (source, tmp_path / "b.mkv"):
        with Reader(path) as reader:
            captions.append([bytes(memoryview(frame.side_data[SideData.A53_CC])) for frame in reader])
    assert len(set(captions[0])) == 8
    assert captions[1] == captions[0]
    assert [note for note in report.notes if "without a time" not in note] == []


def test_interlaced_video_is_told(tmp_path: Path, clip, upscaled) -> None:
    source = clip(codec="mpeg2video", options={"flags": "+ildct+ilme"}, colour={"field_order": 2}).make(
        tmp_path / "a.ts"
    )
    with Reader(source) as reader:
        interlaced = reader.info.interlaced
    if not interlaced:
        pytest.fail("the encoder made no interlaced frames; the test needs another way to make them")
    assert any("interlaced" in note for note in upscaled(source, tmp_path / "b.mkv").notes)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"height": 96}, (128, 96)),
        ({"height": 71}, None),
        ({"height": 70}, (94, 70)),
        ({"width": 100}, (100, 76)),
        ({"width": 200, "height": 100}, (200, 100)),
        ({"width": 32}, (32, 24)),
    ],
)
def test_the_final_size(tmp_path: Path, clip, upscaled, facts_of, options, size) -> None:
    source = clip(pts=range(2)).make(tmp_path / "a.mp4")
    if size is None:
        with pytest.raises(OptionError, match="--height: must be even"):
            upscaled(source, tmp_path / "b.mp4", **options)
        return
    report = upscaled(source, tmp_path / "b.mp4", **options)
    after = facts_of(tmp_path / "b.mp4")
    assert after.size == size
    assert after.aspect == (Fraction(2, 3) if size == (200, 100) else 0)
    assert report.notes == ()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_odd_sizes_and_other_scales(tmp_path: Path, clip, upscaled, facts_of, scale: int) -> None:
    source = clip(size=(35, 21), pix_fmt="yuv444p", pts=range(2)).make(tmp_path / "a.mkv")
    report = upscaled(source, tmp_path / "b.mkv", scale)
    assert facts_of(tmp_path / "b.mkv").size == {2: (70, 42), 3: (104, 62), 4: (140, 84)}[scale]
    assert bool(report.notes) == (scale == 3)
    report = upscaled(source, tmp_path / "c.mkv", scale, codec="ffv1")
    assert facts_of(tmp_path / "c.mkv").size == (35 * scale, 21 * scale)
