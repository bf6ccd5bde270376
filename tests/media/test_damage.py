"""Damaged files: what decodes is upscaled, what is lost is said, and ffprobe counts the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random

import av
import pytest

from vs_smsr.cli.upscale import upscale_all
from vs_smsr.errors import MediaError, OptionError
from vs_smsr.media.declared import declared
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, TilingOptions, VideoOptions

FRAMES = 40


@pytest.fixture
def count(ffprobe) -> Callable[[Path], int]:
    """Frames of a file's video that ffprobe decodes."""

    def frames(path: Path) -> int:
        found = ffprobe(path, "-v", "quiet", "-count_frames", "-select_streams", "v", "-show_streams")
        return int(found["streams"][0]["nb_read_frames"])

    return frames


@pytest.fixture
def film(tmp_path: Path, clip) -> Callable[..., Path]:
    """film(ending, codec): with sound and a key frame every ten frames."""

    def make(ending: str, codec: str = "libx264") -> Path:
        options = {"libx265": {"x265-params": "log-level=none:keyint=10:bframes=0"}}.get(codec, {"g": "10"})
        sound = (
            [] if ending in ("webm", "nut", "mxf") else [("libmp3lame" if ending in ("avi", "flv") else "aac", {}, 0)]
        )
        recipe = clip(codec=codec, size=(128, 96), pts=range(FRAMES), options=options, audio=sound)
        return recipe.make(tmp_path / f"film.{ending}")

    return make


def overwrite(path: Path, at: float, piece: bytes) -> Path:
    data = bytearray(path.read_bytes())
    start = int(at * len(data))
    data[start : start + len(piece)] = piece
    path.write_bytes(data)
    return path


def spoil(path: Path, number: int) -> Path:
    """Zero the data of one packet of the video."""
    with av.open(str(path)) as file:
        packet = next(islice(file.demux(video=0), number, None))
        data = bytes(packet)
    whole = path.read_bytes()
    assert whole.count(data) == 1
    path.write_bytes(whole.replace(data, bytes(len(data))))
    return path


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi", "mxf"])
@pytest.mark.parametrize("trailer", [b"hello, a text behind the film\n" * 9, b"\1\2\3\4SEFT" * 40, bytes(999)])
def test_a_trailer_is_no_part_of_the_file(tmp_path: Path, film, upscaled, count, ending: str, trailer: bytes) -> None:
    path = film(ending, {"avi": "mpeg4", "mxf": "mpeg2video"}.get(ending, "libx264"))
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + trailer)
    report = upscaled(path, tmp_path / "b.mkv", damaged="stop")
    assert report.frames == count(tmp_path / "b.mkv") == FRAMES
    assert report.damage is None
    told = [note for note in report.notes if f"its last {len(trailer)} bytes" in note]
    assert len(told) == any(trailer)
    path.write_bytes(path.read_bytes()[: whole - 200])
    with pytest.raises(MediaError, match="cut off"):
        Reader(path)


@pytest.mark.parametrize("off", [8, 1000, -100])
def test_a_wrong_riff_size_alone_is_a_note(tmp_path: Path, film, upscaled, count, off: int) -> None:
    path = film("avi", "mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[:4] + (len(data) - 8 + off).to_bytes(4, "little") + data[8:])
    report = upscaled(path, tmp_path / "b.mkv")
    assert report.frames == count(path) == count(tmp_path / "b.mkv") == FRAMES
    assert len(report.notes) == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert off < 0 or declared(path).size == len(data) + off


@pytest.mark.parametrize("ending", ["mp4", "mov", "wmv"])
def test_a_second_film_that_nothing_reads_is_named(tmp_path: Path, film, upscaled, ending: str) -> None:
    path = film(ending, {"wmv": "mpeg4"}.get(ending, "libx264"))
    length = path.stat().st_size
    assert upscaled(path, tmp_path / "a.mkv").notes == ()
    path.write_bytes(path.read_bytes() * 2)
    report = upscaled(path, tmp_path / "b.mkv")
    assert (report.frames, report.notes) == (FRAMES, (f"file: its last {length} bytes are not part of the video",))


FRAGMENTS = ["", "+default_base_moof", "+dash"]  # the first counts bytes from the beginning of the file


@pytest.mark.parametrize("flags", FRAGMENTS)
def test_a_second_film_in_fragments_is_named(tmp_path: Path, film, ffmpeg, upscaled, count, flags: str) -> None:
    """FFmpeg drops its first fragment unsaid, or shows the first film again."""
    path = tmp_path / "a.mp4"
    ffmpeg("-i", film("mkv"), "-c", "copy", "-movflags", f"frag_keyframe+empty_moov{flags}", path)
    assert upscaled(path, tmp_path / "b.mkv").notes == ()
    path.write_bytes(path.read_bytes() * 2)
    report = upscaled(path, tmp_path / "c.mkv")
    assert report.frames == count(tmp_path / "c.mkv") == FRAMES
    (note,) = report.notes
    assert "bytes are another film, which is left out" in note
    pictures = [ffmpeg("-i", tmp_path / name, "-map", "0:v", "-f", "framemd5", "-") for name in ("b.mkv", "c.mkv")]
    assert pictures[0] == pictures[1]


def test_fragments_that_go_on_behind_another_header(tmp_path: Path, film, ffmpeg, upscaled, count) -> None:
    """One film: a stream that was recorded in parts."""
    path = tmp_path / "a.mp4"
    ffmpeg("-i", film("mkv"), "-an", "-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof", path)
    data = path.read_bytes()
    first, _, third, *_ = [at - 4 for at in range(len(data)) if data.startswith(b"moof", at)]
    path.write_bytes(data[:third] + data[:first] + data[third:])
    report = upscaled(path, tmp_path / "b.mkv")
    assert (report.frames, report.notes) == (count(path), ()) == (FRAMES, ())


CUT_STARTS = [("libx264", "mkv"), ("libx264", "ts"), ("libx265", "mp4"), ("libvpx-vp9", "webm"), ("libsvtav1", "mkv")]


@pytest.mark.parametrize(("codec", "ending"), CUT_STARTS)
def test_a_recording_that_starts_between_key_frames(
    tmp_path: Path, clip, ffmpeg, ffprobe, upscaled, count, codec: str, ending: str
) -> None:
    options = {"libx265": {"x265-params": "log-level=none:keyint=10:bframes=0"}}.get(codec, {"g": "10"})
    whole = clip(codec=codec, size=(128, 96), pts=range(FRAMES), options=options).make(tmp_path / f"whole.{ending}")
    start = tmp_path / f"start.{ending}"
    ffmpeg("-i", whole, "-c", "copy", "-copyinkf", "-bsf:v", "noise=drop='lt(n,4)'", start)
    packets = ffprobe(start, "-v", "quiet", "-show_packets", "-select_streams", "v")["packets"]
    lost = next(number for number, packet in enumerate(packets) if "K" in packet["flags"])
    assert 0 < lost < 10
    report = upscaled(start, tmp_path / "b.mkv")
    assert report.damage.undecodable_at_start == lost
    assert report.frames == count(tmp_path / "b.mkv") == len(packets) - lost
    assert any(f"{lost} frames before the first" in note for note in report.notes)
    with pytest.raises(MediaError, match="between two key frames"):
        Reader(start, "stop")


def test_a_whole_file_is_not_said_to_lack_its_start(tmp_path: Path, clip, ffmpeg, upscaled) -> None:
    """Frames before an edit list's start and B-frames in AVI, which has no presentation times, are no loss."""
    film = clip(size=(128, 96), pts=range(FRAMES), options={"g": "10", "bf": "3"}).make(tmp_path / "film.mp4")
    ffmpeg("-ss", "0.2", "-i", film, "-c", "copy", tmp_path / "edited.mp4")
    ffmpeg("-i", film, "-c", "copy", tmp_path / "film.avi")
    for name in ("edited.mp4", "film.avi"):
        assert upscaled(tmp_path / name, tmp_path / "b.mkv", damaged="stop", overwrite=True).damage is None


def test_a_frame_that_is_repaired_is_no_refusal(tmp_path: Path, film, upscaled, count) -> None:
    random, repaired = Random(1), 0
    for number in range(12):
        path = overwrite(film("mkv", "mpeg4"), 0.2 + 0.05 * number, random.randbytes(3))
        try:
            report = upscaled(path, tmp_path / "b.mkv", overwrite=True)
        except MediaError:
            continue
        assert report.frames == count(tmp_path / "b.mkv")
        assert report.damage or report.frames == FRAMES
        if report.damage and report.damage.repaired:
            repaired += 1
            assert report.damage.lost == 0
            assert any("video: damaged at" in note and "repaired by the decoder" in note for note in report.notes)
            with pytest.raises(MediaError, match="damaged"):
                upscaled(path, tmp_path / "b.mkv", overwrite=True, damaged="stop")
    assert repaired >= 3


@pytest.mark.parametrize(("codec", "ending"), [("libx264", "mp4"), ("libvpx-vp9", "webm")])
def test_lost_frames_are_refused_or_named(tmp_path: Path, film, upscaled, count, codec: str, ending: str) -> None:
    path = spoil(film(ending, codec), 13)
    with pytest.raises(MediaError, match=r"damaged after 0\.\d\d s: a frame cannot be decoded .*--damaged keep"):
        upscaled(path, tmp_path / "b.mkv")
    assert not (tmp_path / "b.mkv").exists()
    report = upscaled(path, tmp_path / "b.mkv", damaged="keep")
    assert 0 < report.damage.lost < FRAMES
    assert 0.3 < report.damage.seconds[0] < 0.7
    assert report.frames + report.damage.lost == FRAMES
    assert report.frames == count(tmp_path / "b.mkv")
    assert any("lost" in note and "damaged at" in note for note in report.notes)


def test_frames_that_a_decoder_skips_without_an_error_are_named(tmp_path: Path, film, upscaled, count) -> None:
    path = spoil(film("mkv", "libsvtav1"), 13)
    report = upscaled(path, tmp_path / "b.mkv")
    assert (report.frames, report.damage.lost) == (FRAMES - 1, 1) == (count(path), 1)
    assert report.damage.seconds == (0.52,)
    assert any("damaged at 0.52 s: 1 frame lost" in note for note in report.notes)


def test_a_hole_in_the_container_is_named(tmp_path: Path, film, upscaled, count) -> None:
    """FFmpeg goes on behind it without an error; what is missing, nobody knows."""
    path = overwrite(film("webm", "libvpx-vp9"), 0.45, bytes(300))
    report = upscaled(path, tmp_path / "b.mkv")
    assert report.frames == count(tmp_path / "b.mkv") < FRAMES
    assert report.damage.unreadable
    assert any("cannot be read" in note for note in report.notes)
    with pytest.raises(MediaError, match="is damaged"):
        upscaled(path, tmp_path / "c.mkv", damaged="stop")


@pytest.mark.parametrize("ending", ["mkv", "avi", "flv", "nut", "wmv", "ts"])
def test_what_is_left_of_a_cut_file(tmp_path: Path, film, upscaled, count, ending: str) -> None:
    path = film(ending, {"avi": "mpeg4", "nut": "ffv1", "wmv": "mpeg4"}.get(ending, "libx264"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 8 // 10])
    report = upscaled(path, tmp_path / "b.mkv", damaged="keep")
    assert 0 < report.frames < FRAMES
    assert report.frames == count(tmp_path / "b.mkv")
    if ending == "ts":  # made to be cut anywhere
        return
    assert report.damage.cut_off
    assert any("end of the file is missing" in note for note in report.notes)
    if ending == "wmv":  # they do not tell how long they are
        assert report.damage.missing_at_end is None
    elif ending != "nut":
        lost = report.damage.missing_at_end + report.damage.lost
        assert abs(report.frames + lost - FRAMES) <= 2
    for damaged in ("auto", "stop"):
        with pytest.raises(MediaError, match="--damaged keep"):
            upscaled(path, tmp_path / "c.mkv", damaged=damaged)
    assert not (tmp_path / "c.mkv").exists()


@pytest.mark.parametrize(
    "pix_fmt",
    ["gray", "gray10le", "yuv411p", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p12le", "yuv444p16le"],
)
@pytest.mark.parametrize("missing", [1, 700])
def test_a_cut_y4m_is_told(tmp_path: Path, ffmpeg, pix_fmt: str, missing: int) -> None:
    """FFmpeg's reader drops the incomplete frame without a word; the sides are odd."""
    path = tmp_path / "a.y4m"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=33x25", "-frames:v", 4, "-pix_fmt", pix_fmt, "-strict", -1, path)
    with Reader(path) as reader:
        assert (len(list(reader)), reader.notes) == (4, [])
    path.write_bytes(path.read_bytes()[:-missing])
    for damaged in ("auto", "stop"):
        with pytest.raises(MediaError, match="is cut off: it says it has"):
            Reader(path, damaged)
    with Reader(path, "keep") as reader:
        assert len(list(reader)) == 3
        assert reader.damage.cut_off


def test_ogg_tells_its_end(tmp_path: Path, ffmpeg, upscaled, count) -> None:
    """Within a page it is cut off; behind one, it only lacks its end mark."""
    path = tmp_path / "a.ogv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=256x192:r=25:d=8", "-c:v", "libtheora", "-q:v", 9, path)
    whole = path.read_bytes()
    assert upscaled(path, tmp_path / "a.mkv").notes == ()
    pages = [at for at in range(len(whole)) if whole.startswith(b"OggS\0", at)]
    path.write_bytes(whole[: pages[-1] + 50])
    with pytest.raises(MediaError, match="cut off"):
        Reader(path)
    kept = upscaled(path, tmp_path / "kept.mkv", damaged="keep")
    assert (kept.frames, kept.notes) == (count(path), ("video: the end of the file is missing",))
    path.write_bytes(whole[: pages[-1]])
    report = upscaled(path, tmp_path / "b.mkv")
    assert report.frames == count(path) < 200
    assert report.notes == ("file: it has no end mark: it may be cut off, and frames be missing",)


def test_a_cut_file_without_its_index_cannot_be_kept(tmp_path: Path, film) -> None:
    path = film("mp4")  # its index is at its end
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MediaError, match=r"cut off.* and what is there cannot be read"):
        Reader(path, "keep")


def test_the_loss_is_in_the_json_report(tmp_path: Path, film, monkeypatch, stand_in, capsys) -> None:
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))
    path = spoil(film("webm", "libvpx-vp9"), 13)
    out, report = tmp_path / "b.mkv", tmp_path / "report.json"
    options = VideoOptions(damaged="keep")
    assert upscale_all([str(path)], str(out), EngineOptions(), options, TilingOptions(), report=report) == 0
    entry = json.loads(report.read_text())[0]
    assert entry["damage"]["lost"] > 0
    assert entry["damage"]["seconds"]
    assert "damaged frames lost" in capsys.readouterr().out


def test_a_decoder_that_cannot_be_opened_is_one_line(tmp_path: Path, film) -> None:
    """PyAV raises a ValueError at the second packet."""
    path = film("mkv", "ffv1")
    with av.open(str(path)) as file:
        setup = file.streams.video[0].codec_context.extradata
    path.write_bytes(path.read_bytes().replace(setup, bytes(len(setup))))
    with pytest.raises(MediaError, match="no frame of it can be decoded"):
        Reader(path)


def test_damaged_has_three_values() -> None:
    with pytest.raises(OptionError, match="damaged must be one of"):
        VideoOptions(damaged="maybe")


def test_a_frame_that_theora_shows_again_is_no_damage(tmp_path, ffmpeg, count, upscaled) -> None:
    """Its packet is empty; the frame before is shown for longer."""
    source = tmp_path / "a.ogv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-c:v", "libtheora", source)
    assert count(source) < 10, "no frame was repeated"
    report = upscaled(source, tmp_path / "b.mkv", damaged="stop")
    assert report.notes == ()
    assert count(report.output) == count(source)
