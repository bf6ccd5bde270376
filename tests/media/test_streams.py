"""Streams, tags and notes beside the picture, judged by ffprobe."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

PICTURE = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.2")
SOUND = ("-f", "lavfi", "-i", "sine=d=0.4")


@pytest.fixture
def packets(ffprobe):
    """packets(path, kind) -> (codec's name, [(time, MD5 of the data)]) of the first stream of a kind."""

    def read(path: Path, kind: str) -> tuple[str, list[tuple[float, str]]]:
        show = ("-select_streams", f"{kind}:0", "-show_data_hash", "md5", "-show_packets", "-show_streams")
        found = ffprobe(path, *show)
        times = [(float(packet["pts_time"]), packet["data_hash"]) for packet in found["packets"]]
        return found["streams"][0]["codec_name"], times

    return read


def make(ffmpeg, path: Path, video: str, *rest: object) -> Path:
    ffmpeg(*PICTURE, *SOUND, "-c:v", video, *rest, path)
    return path


@pytest.mark.parametrize(
    ("codec", "source", "target", "options"),
    [
        ("wmav1", "wmv", "mkv", ()),
        ("wmav2", "wmv", "mkv", ()),
        ("adpcm_ms", "avi", "mkv", ()),
        ("adpcm_ima_wav", "avi", "mkv", ()),
        ("adpcm_yamaha", "avi", "mkv", ()),
        ("g726", "avi", "mkv", ("-ar", "8000", "-ac", "1", "-b:a", "32k")),
        ("pcm_mulaw", "mov", "mkv", ("-ar", "8000")),
        ("pcm_mulaw", "mov", "mov", ("-ar", "8000")),
        ("pcm_alaw", "mov", "mov", ("-ar", "8000")),
        ("pcm_alaw", "avi", "mov", ()),
        ("adpcm_ima_qt", "mov", "mov", ()),
        ("aac", "ts", "mkv", ("-mpegts_flags", "latm")),
        ("libspeex", "flv", "mkv", ("-ac", "1", "-ar", "16000")),
        ("nellymoser", "flv", "mov", ("-ac", "1", "-ar", "22050")),
        ("pcm_s24le", "mov", "mkv", ()),
    ],
)
def test_sound_goes_as_it_is(tmp_path, ffmpeg, ffprobe, upscaled, codec, source, target, options) -> None:
    video = {"wmv": "wmv2", "flv": "flv"}.get(source, "mpeg4")
    path = make(ffmpeg, tmp_path / f"a.{source}", video, "-c:a", codec, *options)
    report = upscaled(path, tmp_path / f"b.{target}")
    assert [note for note in report.notes if "audio" in note] == []
    for how in ("copy", "pcm_s16le"):  # the packets, and what they sound like
        before, after = (
            ffmpeg("-i", file, "-map", "0:a", "-c:a", how, "-f", "streamhash", "-")
            for file in (path, tmp_path / f"b.{target}")
        )
        assert before.startswith("0,a,SHA256=")
        assert after == before
    names = [
        ffprobe(file, "-show_streams", "-select_streams", "a")["streams"][0]["codec_name"]
        for file in (path, tmp_path / f"b.{target}")
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("codec", "target"),
    [("adpcm_ms", "mov"), ("adpcm_ms", "mp4")],  # MOV's muxer refuses it at the first packet, MP4's at the header
)
def test_sound_that_the_container_refuses_is_named(tmp_path, ffmpeg, ffprobe, upscaled, codec, target) -> None:
    path = make(ffmpeg, tmp_path / "a.avi", "mpeg4", "-c:a", codec)
    report = upscaled(path, tmp_path / f"b.{target}")
    assert report.notes == (f"stream #1 (audio {codec}): not carried: {target} cannot hold it",)
    found = ffprobe(tmp_path / f"b.{target}", "-show_streams", "-count_packets")["streams"]
    assert [(stream["codec_type"], stream["nb_read_packets"]) for stream in found] == [("video", "5")]


@pytest.mark.parametrize("target", ["mp4", "mkv"])
def test_sound_of_an_unknown_codec_is_named(tmp_path, ffmpeg, ffprobe, upscaled, target: str) -> None:
    path = make(ffmpeg, tmp_path / "a.mp4", "libx264", "-c:a", "aac")
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"zz9a").replace(b"esds", b"zz9b"))
    report = upscaled(path, tmp_path / f"b.{target}")
    assert [note for note in report.notes if "audio" in note] == [
        f"stream #1 (audio of an unknown codec, und): not carried: {'matroska' if target == 'mkv' else target} "
        "cannot hold it"
    ]
    (video,) = ffprobe(tmp_path / f"b.{target}", "-show_streams", "-count_packets")["streams"]
    assert (video["width"], video["nb_read_packets"]) == (128, "5")


@pytest.mark.parametrize("target", ["mkv", "webm"])
@pytest.mark.parametrize("place", [7, 11, 28])
def test_sound_with_a_damaged_header_is_named(tmp_path, ffmpeg, ffprobe, upscaled, target: str, place: int) -> None:
    """A result with it would be one that ffprobe and players give up on."""
    path = make(ffmpeg, tmp_path / "a.webm", "libvpx", "-c:a", "libvorbis")
    codec = "libvpx" if target == "webm" else "libx264"
    assert upscaled(path, tmp_path / f"b.{target}", codec=codec).notes == ()
    data = bytearray(path.read_bytes())
    start = data.find(b"\x05vorbis") + place
    data[start : start + 33] = b"\xff" * 33
    path.write_bytes(data)
    report = upscaled(path, tmp_path / f"c.{target}", codec=codec)
    (note,) = [note for note in report.notes if "audio vorbis" in note]
    assert "not carried: its header is damaged" in note
    found = ffprobe(tmp_path / f"c.{target}", "-show_streams", "-count_frames")["streams"]
    assert [(stream["codec_type"], stream["nb_read_frames"]) for stream in found] == [("video", "5")]


@pytest.mark.parametrize("setup", [bytes(5), bytes.fromhex("110180fe80")])
def test_sound_of_a_kind_that_is_no_kind_is_named(tmp_path, ffmpeg, ffprobe, upscaled, setup: bytes) -> None:
    """AAC of object type 0, which FFmpeg's decoder does not implement; and one whose list of channels ends early."""
    path = make(ffmpeg, tmp_path / "a.mkv", "libx264", "-c:a", "aac")
    with av.open(str(path)) as file:
        old = file.streams.audio[0].codec_context.extradata
    data = path.read_bytes()
    assert (data.count(old), len(old)) == (1, len(setup))
    path.write_bytes(data.replace(old, setup))
    report = upscaled(path, tmp_path / "b.mkv")
    (note,) = [note for note in report.notes if "audio aac" in note]
    assert "not carried: its header is damaged" in note
    assert [stream["codec_type"] for stream in ffprobe(tmp_path / "b.mkv", "-show_streams")["streams"]] == ["video"]


def test_a_stream_that_ffmpeg_cannot_decode_is_carried(tmp_path, ffmpeg, ffprobe, upscaled) -> None:
    """Teletext, for which FFmpeg's builds have no decoder."""
    source = tmp_path / "a.ts"
    plain = make(ffmpeg, tmp_path / "plain.ts", "mpeg2video", "-c:a", "mp2")
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        copies = [new.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        text = new.add_mux_stream("dvb_teletext", time_base=Fraction(1, 90_000))
        for packet in old.demux():
            if packet.size and packet.stream_index == 0:
                page = av.Packet(b"\x10" + (b"\x03\x2c" + bytes(44)) * 3)
                page.stream, page.time_base, page.pts, page.dts = text, packet.time_base, packet.dts, packet.dts
                new.mux(page)
            if packet.size:
                packet.stream = copies[packet.stream_index]
                new.mux(packet)
    report = upscaled(source, tmp_path / "b.ts", codec="mpeg2video")
    assert not any("not carried" in note for note in report.notes)
    found = ffprobe(tmp_path / "b.ts", "-show_streams", "-count_packets", "-select_streams", "s")["streams"]
    assert [(stream["codec_name"], stream["nb_read_packets"]) for stream in found] == [("dvb_teletext", "5")]
    report = upscaled(source, tmp_path / "b.mp4")
    assert sum("#2 (subtitle of an unknown codec" in note for note in report.notes) == 1


def test_subtitles_keep_equal_times(tmp_path, ffmpeg, packets, upscaled) -> None:
    script = tmp_path / "signs.ass"
    events = [f"Dialogue: 0,0:00:00.{t:02},0:00:00.16,Default,,0,0,0,,sign {t} {n}" for t in (0, 8) for n in range(30)]
    head = ["[Script Info]", "ScriptType: v4.00+", "", "[Events]"]
    columns = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
    script.write_text("\n".join([*head, columns, *events]))
    ffmpeg(*PICTURE, "-i", script, "-c:v", "mpeg4", "-c:s", "ass", tmp_path / "a.mkv")
    report = upscaled(tmp_path / "a.mkv", tmp_path / "b.mkv")
    before, after = packets(tmp_path / "a.mkv", "s"), packets(tmp_path / "b.mkv", "s")
    assert len({time for time, _ in before[1]}) == 2
    assert after == before
    assert report.notes == ()


def test_the_film_is_upscaled_not_the_thumbnail(tmp_path, ffmpeg, ffprobe, upscaled) -> None:
    """One frame, first in the file and larger than the film, and not marked as a cover."""
    small, large = "testsrc=s=64x48:r=25:d=0.24", "testsrc=s=80x60:r=25:d=0.04"
    for ending in ("mp4", "mkv"):
        source = tmp_path / f"a.{ending}"
        ffmpeg("-f", "lavfi", "-i", large, "-f", "lavfi", "-i", small, "-map", 0, "-map", 1, "-c:v", "mpeg4", source)
        report = upscaled(source, tmp_path / f"b.{ending}")
        assert report.frames == 6
        found = ffprobe(tmp_path / f"b.{ending}", "-show_streams")["streams"]
        assert sorted((stream["width"], stream["codec_name"]) for stream in found) == [(80, "mpeg4"), (128, "h264")]


@pytest.mark.parametrize("ending", ["mp4", "mov", "avi"])
def test_a_single_picture_is_no_film_however_long_it_is_shown(tmp_path, ffmpeg, upscaled, ending) -> None:
    small, large = "testsrc=s=64x48:r=25:d=0.24", "testsrc=s=80x60:r=1:d=1"
    source = tmp_path / f"a.{ending}"
    ffmpeg("-f", "lavfi", "-i", large, "-f", "lavfi", "-i", small, "-map", 0, "-map", 1, "-c:v", "mjpeg", source)
    assert upscaled(source, tmp_path / "b.mkv").frames == 6


def test_the_larger_of_two_films_is_upscaled(tmp_path, ffmpeg, upscaled) -> None:
    small, large = "testsrc=s=64x48:r=25:d=0.24", "testsrc=s=80x60:r=25:d=0.2"
    source = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", small, "-f", "lavfi", "-i", large, "-map", 0, "-map", 1, "-c:v", "mpeg4", source)
    assert upscaled(source, tmp_path / "b.mkv").frames == 5


@pytest.mark.parametrize(("codec", "target"), [("libx264", "avi"), ("mpeg4", "avi"), ("libx264", "mxf")])
def test_containers_that_hold_decoding_times_alone(tmp_path, ffmpeg, ffprobe, upscaled, codec, target) -> None:
    """They get no B-frames, so every frame is where it was, and nothing is to be told."""
    source = tmp_path / "a.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.6", "-c:v", "mpeg4", source)
    report = upscaled(source, tmp_path / f"b.{target}", codec=codec)
    assert report.notes == ()
    frames = ffprobe(report.output, "-show_frames", "-select_streams", "v")["frames"]
    assert [round(float(frame["best_effort_timestamp_time"]) * 25) for frame in frames] == list(range(15))


@pytest.mark.parametrize("target", ["mkv", "mp4"])
def test_a_copied_film_with_b_frames_keeps_its_times(tmp_path, ffmpeg, ffprobe, upscaled, target: str) -> None:
    """Matroska has no decoding times; the first packets must not be moved for the want of them."""
    source = tmp_path / "a.mkv"
    moving = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4")
    ffmpeg(*moving, *moving, "-map", "0", "-map", "1", "-filter:v:1", "scale=32:24", "-c:v", "libx264", source)
    report = upscaled(source, tmp_path / f"b.{target}")
    assert [note.split(": ")[1] for note in report.notes] == ["copied as it is; one video stream is upscaled"]
    show = ("-select_streams", "v:1", "-show_data_hash", "md5", "-show_packets")
    before, after = (
        [(packet["pts_time"], packet["data_hash"]) for packet in ffprobe(path, *show)["packets"]]
        for path in (source, report.output)
    )
    assert [time for time, _ in before] != sorted(time for time, _ in before), "no B-frames"
    assert after == before


def tags_of(ffprobe, path: Path) -> dict[str, str]:
    found = ffprobe(path, "-show_entries", "format_tags").get("format", {}).get("tags", {})
    return {key.lower(): value for key, value in found.items()}


PLACE, MADE = "+48.1351+011.5820/", "2024-05-06T07:08:09.000000Z"


@pytest.mark.parametrize("mdta", [False, True])
@pytest.mark.parametrize("target", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("source", ["mp4", "mov"])
def test_place_and_date_are_kept(tmp_path, ffmpeg, ffprobe, upscaled, source: str, target: str, mdta: bool) -> None:
    """And the date of the stream is no loss where the file has it (Matroska's DateUTC)."""
    phone = ("-movflags", "use_metadata_tags", "-metadata", "com.apple.quicktime.make=Maker") if mdta else ()
    tags = ("-metadata", f"location={PLACE}", "-metadata", f"creation_time={MADE}", *phone)
    path = make(ffmpeg, tmp_path / f"a.{source}", "mpeg4", "-c:a", "aac", *tags)
    report = upscaled(path, tmp_path / f"b.{target}")
    before, after = tags_of(ffprobe, path), tags_of(ffprobe, tmp_path / f"b.{target}")
    assert report.notes == ()
    assert before["location"] == PLACE
    assert {name: after.get(name) for name in before if name.startswith(("location", "creation_time", "com."))} == {
        name: value for name, value in before.items() if name.startswith(("location", "creation_time", "com."))
    }


def test_tags_that_the_container_cannot_keep_are_named(tmp_path, ffmpeg, ffprobe, upscaled) -> None:
    tags = ("-metadata", "software=CamSoft 1.2", "-metadata", f"location={PLACE}", "-metadata", "title=A film")
    path = make(ffmpeg, tmp_path / "a.mkv", "mpeg4", "-c:a", "aac", *tags)
    for target, names in {"mkv": "", "mp4": "SOFTWARE", "avi": "LOCATION, SOFTWARE"}.items():
        report = upscaled(path, tmp_path / f"b.{target}")
        told = [note for note in report.notes if "tags" in note]
        assert told == ([f"file: not carried: tags {names}"] if names else [])
        kept = tags_of(ffprobe, tmp_path / f"b.{target}")
        assert (kept.get("software") == "CamSoft 1.2", kept.get("location") == PLACE) == (
            "SOFTWARE" not in names,
            "LOCATION" not in names,
        )


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_encoders_print_nothing(tmp_path, clip, codec: str) -> None:
    """In a process of its own: an encoder asks once how much it may say, and other tests have used it before."""
    source = clip(pts=range(2)).make(tmp_path / "a.mp4")
    command = [sys.executable, "-m", "vs_smsr", "upscale", str(source), "-o", str(tmp_path / "b.mkv"), "-c", codec]
    done = subprocess.run([*command, "--no-progress"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)


def test_packets_that_do_not_come_back_are_counted(tmp_path, ffmpeg, packets, upscaled) -> None:
    """FFmpeg's MOV reader drops the last packet of Speex."""
    path = make(ffmpeg, tmp_path / "a.flv", "flv", "-c:a", "libspeex", "-ac", "1", "-ar", "16000")
    report = upscaled(path, tmp_path / "b.mov")
    written = len(packets(path, "a")[1])
    with av.open(str(tmp_path / "b.mov")) as file:
        there = sum(packet.size > 0 for packet in file.demux(audio=0))
    told = [note for note in report.notes if "packets" in note]
    assert len(told) == (there < written)
    assert all(f"{written - there} of {written} packets" in note for note in told)
