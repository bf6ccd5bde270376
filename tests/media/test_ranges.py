"""Ranges: the frames of a linear decode, bit for bit, wherever decoding begins; sound and subtitles cut alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vs_smsr import engine, jobs
from vs_smsr.errors import MediaError, OptionError
from vs_smsr.jobs.chunks import encode as encode_chunks
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, Range, TilingOptions, VideoOptions, parse_range
from vs_smsr.tiling import Tiler

FRAMES = 50
X265 = "log-level=none:keyint=10:min-keyint=10:bframes=4:b-adapt=0:scenecut=0"


@dataclass(frozen=True)
class Coded:
    """A clip with few key frames; `enters`: decoding can begin at one in the middle, told by the number of a frame."""

    ending: str
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    enters: bool = True
    pix_fmt: str = "yuv420p"


X264 = {"g": "10", "keyint_min": "10", "bf": "3", "sc_threshold": "0"}
OPEN = X264 | {"x264-params": "open-gop=1:b-adapt=0"}
CLIPS = {
    "h264 mp4": Coded("mp4", options=X264),
    "h264 open gop mkv": Coded("mkv", options=OPEN),
    "h264 open gop mp4": Coded("mp4", options=OPEN),
    "h264 open gop ts": Coded("ts", options=OPEN),
    "h264 10 bit": Coded("mkv", options=OPEN, pix_fmt="yuv420p10le"),
    "h264 fields": Coded("mp4", options=X264 | {"x264-params": "interlaced=1"}, enters=False),
    "h264 intra refresh": Coded("mkv", options=X264 | {"x264-params": "intra-refresh=1"}, enters=False),
    "hevc open gop mkv": Coded("mkv", "libx265", {"x265-params": f"{X265}:open-gop=1"}),
    "hevc open gop ts": Coded("ts", "libx265", {"x265-params": f"{X265}:open-gop=1"}),
    "hevc closed mp4": Coded("mp4", "libx265", {"x265-params": f"{X265}:open-gop=0"}),
    "mpeg2 ts": Coded("ts", "mpeg2video", {"g": "9", "bf": "2"}, enters=False),
    "mpeg2 ps": Coded("mpg", "mpeg2video", {"g": "9", "bf": "2"}, enters=False),
    "mpeg4 avi": Coded("avi", "mpeg4", {"g": "9", "bf": "2"}, enters=False),
    "vp9": Coded("webm", "libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "vp8": Coded("webm", "libvpx", {"g": "10", "deadline": "realtime", "auto-alt-ref": "1"}, enters=False),
    "av1": Coded("mkv", "libsvtav1", {"g": "10", "preset": "12"}),
    "ffv1": Coded("mkv", "ffv1", {"g": "10"}),
    "prores": Coded("mov", "prores_ks", pix_fmt="yuv422p10le"),
    "raw h264": Coded("h264", options=X264, enters=False),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(name) -> a file of CLIPS, made once."""
    folder = tmp_path_factory.mktemp("ranges")

    def make(name: str) -> Path:
        coded = CLIPS[name]
        path = folder / f"{name.replace(' ', '_')}.{coded.ending}"
        return path if path.exists() else encode(path, coded, range(FRAMES), Fraction(1, 25))

    return make


def encode(path: Path, coded: Coded, times, time_base: Fraction) -> Path:
    """Noise on a moving picture: a wrong reference shows in every frame after it."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        video = out.add_stream(coded.codec, rate=25, options=dict(coded.options))
        video.width, video.height, video.pix_fmt = 128, 96, coded.pix_fmt
        video.codec_context.time_base = time_base
        video.codec_context.thread_count = 1
        ground = random.integers(0, 256, (96, 192, 3), np.uint8)
        for number, pts in enumerate(times):
            rgb = np.roll(ground, 3 * number, axis=1)[:, :128].copy()
            rgb[10:40, number : number + 30] = random.integers(0, 256, (30, 30, 3))
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=coded.pix_fmt)
            frame.pts, frame.time_base = pts, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def linear(path: Path) -> list[av.VideoFrame]:
    """By PyAV alone, from the first packet to the last."""
    with av.open(str(path)) as file:
        file.streams.video[0].thread_type = "SLICE"
        return list(file.decode(video=0))


def bits(frame: av.VideoFrame) -> bytes:
    return frame.to_ndarray().tobytes()


def read(path: Path, part: Range, **options: object) -> tuple[list[bytes], list[Fraction], Reader]:
    with Reader(path, part=part, **options) as reader:
        frames = list(reader)
    return [bits(frame) for frame in frames], [frame.pts * reader.info.time_base for frame in frames], reader


@pytest.mark.parametrize("name", CLIPS)
def test_frames_by_number_are_those_of_the_linear_decode(made, name: str) -> None:
    whole = [bits(frame) for frame in linear(made(name))]
    assert len(whole) == FRAMES
    entered = 0
    for first, last in ((0, 3), (8, 12), (10, 19), (19, 21), (28, 29), (47, None)):
        found, times, reader = read(made(name), Range(first=first, last=last), damaged="stop")
        assert found == whole[first : None if last is None else last + 1], (first, last)
        assert times[0] == 0 or first == 0
        assert not any("damaged" in note or "between two key frames" in note for note in reader.notes)
        entered += bool(reader._located and reader._located.packet)
        if reader._located:
            assert reader.info.frames == len(found)
    assert (entered > 2) == CLIPS[name].enters


@pytest.mark.parametrize("name", CLIPS)
def test_frames_by_time_are_those_of_the_linear_decode(made, name: str) -> None:
    with Reader(made(name)) as reader:
        whole = [(frame.pts * reader.info.time_base, bits(frame)) for frame in reader]
    for start, end in (("0", "0.2"), ("0.4", "0.8"), ("0.41", "0.79"), ("1.88", None)):
        part = parse_range(start, end, None, None)
        begin, stop = part.start, 99 if part.end is None else part.end
        expected = [(time, data) for time, data in whole if begin <= time + Fraction(1, 2000) < stop]
        found, times, _ = read(made(name), part)
        assert found == [data for _, data in expected], (start, end)
        zero = expected[0][0] if begin else 0
        assert times == [time - zero for time, _ in expected]


def test_a_variable_rate(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(1).integers(20, 900, FRAMES)).tolist()
    path = encode(tmp_path / "a.mp4", Coded("mp4", options=OPEN), times, Fraction(1, 12800))
    whole = [bits(frame) for frame in linear(path)]
    for first, last in ((3, 17), (31, 33)):
        found, zeroed, reader = read(path, Range(first=first, last=last))
        assert found == whole[first : last + 1]
        assert zeroed == [Fraction(pts - times[first], 12800) for pts in times[first : last + 1]]
        assert reader._located.packet > 0 or first < 10
        between = Range(start=Fraction(times[first], 12800), end=Fraction(times[last] + 10, 12800))
        assert read(path, between)[:2] == (found, zeroed)


def test_an_edit_list(made, ffmpeg, tmp_path: Path) -> None:
    """A cut in the middle of a group of pictures: the frames before it are decoded, but are none of the film."""
    path = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.52", "-i", made("h264 mp4"), "-c", "copy", path)
    whole = [bits(frame) for frame in linear(path)]
    assert whole == [bits(frame) for frame in linear(made("h264 mp4"))][13:]
    for first, last in ((0, 2), (5, 9), (7, 7), (20, 24)):
        found, _, _ = read(path, Range(first=first, last=last), damaged="stop")
        assert found == whole[first : last + 1]


def test_deinterlacing_sees_the_frame_before(made) -> None:
    with Reader(made("h264 fields"), deinterlace=True) as reader:
        whole = [bits(frame) for frame in reader]
        assert reader.filters.interlaced == FRAMES
    assert read(made("h264 fields"), Range(first=20, last=22), deinterlace=True)[0] == whole[20:23]
    assert (
        read(made("h264 fields"), Range(start=Fraction("0.8"), end=Fraction("0.9")), deinterlace=True)[0]
        == whole[20:23]
    )


def test_what_follows_the_range_is_not_decoded(made, tmp_path: Path) -> None:
    """Damage behind it, and before the key frame it begins with, is none of its concern."""
    whole = [bits(frame) for frame in linear(made("h264 mp4"))]
    with av.open(str(made("h264 mp4"))) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    data = bytearray(made("h264 mp4").read_bytes())
    for packet in packets[1:9] + packets[30:]:
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    assert read(path, Range(first=11, last=18), damaged="stop")[0] == whole[11:19]


@pytest.fixture
def film(tmp_path: Path, clip) -> Path:
    """75 frames, 3 s; tone of 0.5 s and subtitles at 0..0.4 and 0.6..0.9 s; chapters."""
    chapters = [(0, 300, "One"), (300, 800, "Two"), (800, 3000, "Three")]
    made = clip(pts=range(75), audio=[("ac3", {}, 0)], subtitles=True, chapters=chapters, options=X264)
    return made.make(tmp_path / "film.mkv")


@pytest.mark.parametrize(
    "part",
    [
        Range(start=Fraction("0.2"), end=Fraction("0.8")),
        Range(first=5, last=19),
    ],
)
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_sound_subtitles_and_chapters_are_cut_alike(film, facts_of, upscaled, tmp_path, part, ending: str) -> None:
    upscaled(film, tmp_path / f"whole.{ending}")
    report = upscaled(film, tmp_path / f"part.{ending}", range=part)
    before, after = facts_of(tmp_path / f"whole.{ending}"), facts_of(tmp_path / f"part.{ending}")
    zero, end = Fraction("0.2"), Fraction("0.8")
    assert report.frames == 15
    assert after.frames == [time - zero for time in before.frames if zero <= time < end]
    assert after.kinds == before.kinds
    assert [chapter[2] for chapter in after.chapters] == ["One", "Two"]
    assert [float(time) for chapter in after.chapters for time in chapter[:2]] == [0, 0.1, 0.1, 0.6]
    sound, *texts = (index for index, kind in enumerate(before.kinds) if kind in ("audio", "subtitle"))
    expected = [(time - zero, data) for time, data in before.packets[sound] if zero <= time < end]
    assert len(expected) >= 6
    assert [data for _, data in after.packets[sound]] == [data for _, data in expected]
    assert all(abs(a[0] - b[0]) <= Fraction(1, 1000) for a, b in zip(after.packets[sound], expected, strict=True))
    assert len(texts) == (ending == "mkv")  # MP4 holds no SubRip
    for text in texts:
        assert [time for time, _ in after.packets[text]] == [0, Fraction("0.4")]
        assert [data for _, data in after.packets[text]] == [data for _, data in before.packets[text]]
    assert not [note for note in report.notes if "not carried" in note and "srt" not in note]


def test_a_range_from_the_start_keeps_sound_before_the_first_frame(film, facts_of, upscaled, tmp_path) -> None:
    upscaled(film, tmp_path / "whole.mkv")
    upscaled(film, tmp_path / "part.mkv", range=Range(end=Fraction("0.3")))
    before, after = facts_of(tmp_path / "whole.mkv"), facts_of(tmp_path / "part.mkv")
    assert after.frames == before.frames[:8]
    assert after.packets[1] == [packet for packet in before.packets[1] if packet[0] < Fraction("0.32")]


def test_a_subtitle_lasts_to_the_end_of_the_range_at_most(film, ffprobe, upscaled, tmp_path) -> None:
    upscaled(film, tmp_path / "b.mkv", range=Range(first=5, last=19))
    found = ffprobe(tmp_path / "b.mkv", "-select_streams", "s", "-show_entries", "packet=pts_time,duration_time")
    lines = [(float(packet["pts_time"]), float(packet["duration_time"])) for packet in found["packets"]]
    assert lines == [(0.0, 0.2), (0.4, 0.2)]


@pytest.mark.parametrize(
    "part", [Range(start=9), Range(first=75), Range(start=Fraction("0.001"), end=Fraction("0.03"))]
)
def test_a_range_without_a_frame_is_one_line_and_no_file(film, upscaled, tmp_path, part: Range) -> None:
    with pytest.raises(
        MediaError, match=r"has no frame in the range: frame \d+ at \d\.\d{3} s is the last before it\.$"
    ):
        upscaled(film, tmp_path / "b.mkv", range=part)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("1:02:03.5", None, "20", None), Range(start=Fraction("3723.5"), end=Fraction("3743.5"))),
        (("2:03", "130", None, None), Range(start=Fraction(123), end=Fraction(130))),
        ((None, None, "0.1", None), Range(end=Fraction("0.1"))),
        ((None, None, None, "100-199"), Range(first=100, last=199)),
        ((None, None, None, "7-"), Range(first=7)),
        ((None, None, None, None), Range()),
    ],
)
def test_the_options_of_a_range(options, expected: Range) -> None:
    assert parse_range(*options) == expected
    assert bool(expected) == any(options)


@pytest.mark.parametrize(
    "options",
    [
        ("1:99", None, None, None),
        ("-3", None, None, None),
        ("soon", None, None, None),
        ("5", "5", None, None),
        ("5", "9", "1", None),
        (None, None, "0", None),
        (None, None, None, "9-3"),
        (None, None, None, "-3"),
        ("1", None, None, "1-3"),
    ],
)
def test_ranges_that_cannot_be(options) -> None:
    with pytest.raises(OptionError, match=r"vs-smsr: --\w+ must be "):
        parse_range(*options)


def test_a_still_has_no_range(tmp_path: Path, capsys) -> None:
    from vs_smsr.cli.app import app

    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as ended:
        app(["upscale", str(tmp_path / "a.png"), "--start", "1"])
    assert ended.value.code == 1
    assert "is an image, of which no range" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("attention", "first"), [("frame", 5), ("held", 6)])
def test_the_network_makes_the_frames_of_the_full_run(tmp_path: Path, clip, attention, first: int) -> None:
    """Held attention: where the range begins with a temporal tile of the full run."""
    source = clip(pts=range(9), size=(48, 32)).make(tmp_path / "a.mp4")
    tiler = Tiler(engine.create(EngineOptions(threads=1)), TilingOptions(attention=attention, temporal_tile=3))
    for name, part in (("whole", Range()), ("part", Range(first=first, last=7))):
        options = VideoOptions(codec="ffv1", range=part)
        upscale_video(source, tmp_path / f"{name}.mkv", tiler, options)
    whole, part = ([bits(frame) for frame in linear(tmp_path / name)] for name in ("whole.mkv", "part.mkv"))
    assert part == whole[first:8]


@pytest.fixture
def entered_chunks(stand_in, monkeypatch, tmp_path: Path):
    """entered_chunks(source) -> how many chunks of six frames were entered at a key frame.

    Chunks that are made one by one, in any order, are byte for byte those of one linear decode, and so is all that is
    known of the source in the end.
    """
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))
    tiling, video = TilingOptions(temporal_tile=3), VideoOptions(codec="ffv1")

    def run(source: Path) -> int:
        one, other = (
            jobs.plan(source, tmp_path / f"{name}.mkv", tiling=tiling, video=video, chunk_frames=6).folder
            for name in ("one", "other")
        )
        folder = JobFolder(one)
        encode_chunks(folder, folder.manifest(), Tiler(stand_in(2), tiling), range(20))
        numbers, entered = sorted(folder.chunks()), 0
        for number in np.random.default_rng(0).permutation(numbers).tolist():
            with jobs.Job(other) as job:
                assert job.make(number)
                assert job._maker is not None
                assert job._maker._frames is not None
                entered += job._maker._frames.entered
        assert JobFolder(other).ending() == folder.ending()
        assert JobFolder(other).chunks() == folder.chunks()
        assert len(numbers) > 5
        return entered

    return run


@pytest.mark.parametrize("name", CLIPS)
def test_chunks_may_be_entered(made, entered_chunks, name: str) -> None:
    broadcast = CLIPS[name].ending in ("ts", "mpg")
    assert (entered_chunks(made(name)) > 4) == (CLIPS[name].enters and not broadcast)


def test_chunks_of_a_variable_rate_may_be_entered(tmp_path: Path, entered_chunks) -> None:
    times = np.cumsum(np.random.default_rng(1).integers(20, 900, FRAMES)).tolist()
    path = encode(tmp_path / "a.mp4", Coded("mp4", options=OPEN), times, Fraction(1, 12800))
    assert entered_chunks(path) > 4


def test_chunks_of_an_edit_list_may_be_entered(made, ffmpeg, tmp_path: Path, entered_chunks) -> None:
    ffmpeg("-ss", "0.52", "-i", made("h264 mp4"), "-c", "copy", tmp_path / "cut.mp4")
    assert entered_chunks(tmp_path / "cut.mp4") >= 0
