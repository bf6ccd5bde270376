"""The clock's rules on random clocks, and on files whose clocks jump, repeat or start late."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, pairwise
from pathlib import Path

import av
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vs_smsr.media.clock import Clock
from vs_smsr.media.spacing import Spacing

PICTURE, SOUND, TEXT = 0, 1, 2
RATE = 90_000  # ticks per second
FRAME, BLOCK = 3600, 2160  # 40 and 24 ms


@dataclass
class Stamp:
    """A packet as the clock sees it; `part` and `raw` are for the test."""

    stream_index: int
    pts: int | None
    dts: int | None
    duration: int
    part: int = 0
    size: int = 100
    time_base: Fraction = Fraction(1, RATE)
    raw: int = 0
    is_keyframe: bool = True


@dataclass(frozen=True)
class Part:
    """A recording: its clock starts at `base`; sound begins and ends `early` and `longer` ticks beside the picture."""

    base: int
    frames: int
    early: int
    longer: int

    def packets(self, number: int) -> list[Stamp]:
        length = self.frames * FRAME
        stamps = [
            Stamp(PICTURE, self.base + n * FRAME + 2 * FRAME, self.base + n * FRAME, FRAME) for n in range(self.frames)
        ]
        begin, end = self.base + 2 * FRAME - self.early, self.base + 2 * FRAME + length + self.longer
        stamps += [Stamp(SOUND, at, at, BLOCK) for at in range(begin, end, BLOCK)]
        stamps += [Stamp(TEXT, at, at, 0) for at in range(self.base + 3 * FRAME, self.base + length, 15 * FRAME)]
        stamps.sort(key=lambda stamp: (stamp.dts, stamp.stream_index))
        return [replace(stamp, part=number, raw=stamp.pts) for stamp in stamps]


parts = st.builds(
    Part,
    base=st.integers(20 * RATE, 2**33 - 1),
    frames=st.integers(30, 60),
    early=st.integers(-RATE // 2, RATE // 2),
    longer=st.integers(-RATE // 4, RATE // 4),
)


def jumps(before: Part, after: Part) -> bool:
    """Is the second part's clock surely another one than the first's, even with two parts between them?"""
    return after.base < before.base - 2 * RATE or after.base > before.base + 25 * RATE


def by_stream(packets: list[Stamp]) -> dict[int, list[Stamp]]:
    streams = defaultdict(list)
    for packet in packets:
        streams[packet.stream_index].append(packet)
    return streams


@settings(deadline=None, max_examples=60)
@given(joined=st.lists(parts, min_size=1, max_size=4), late=st.integers(0, 3))
def test_joined_recordings(joined: list[Part], late: int) -> None:
    """Every part is moved as a whole, sound, picture and text alike, to the end of the one before.

    A demuxer gives the last pictures of a part late, behind the next part's first sound.
    """
    assume(all(jumps(before, after) for before, after in combinations(joined, 2)))
    packets: list[Stamp] = []
    for number, part in enumerate(joined):
        new = part.packets(number)
        first = next(place for place, packet in enumerate(new) if packet.stream_index == PICTURE)
        held_back = [packet for packet in packets if packet.stream_index == PICTURE][-late:] if late else []
        packets = [packet for packet in packets if all(packet is not held for held in held_back)]
        packets += new[:first] + held_back + new[first:]
    start = Fraction(min(stamp.pts for stamp in joined[0].packets(0)), RATE)
    clock = Clock(PICTURE, [PICTURE, SOUND], start, live=True)
    before = by_stream(packets)
    mended = list(clock.run(packets))
    assert len(clock.jumps) == len(joined) - 1
    for index, stream in by_stream(mended).items():
        assert [id(packet) for packet in stream] == [id(packet) for packet in before[index]]
    for number in range(len(joined)):
        moved = {packet.pts - packet.raw for packet in mended if packet.part == number}
        assert len(moved) == 1
        assert number or moved == {-start * RATE}
    for index in (PICTURE, SOUND):
        assert all(a.dts < b.dts for a, b in pairwise(by_stream(mended)[index]))
    pictures = by_stream(mended)[PICTURE]
    for before_it, after_it in pairwise(pictures):
        gap = after_it.pts - before_it.pts - FRAME
        assert 0 <= gap <= (before_it.part != after_it.part) * (RATE // 2 + RATE // 4 + RATE // 10)


@settings(deadline=None, max_examples=60)
@given(
    part=parts,
    live=st.booleans(),
    pauses=st.dictionaries(st.integers(1, 59), st.integers(0, 9 * RATE), max_size=3),
    repeats=st.sets(st.integers(1, 59), max_size=10),
)
def test_times_of_an_unbroken_clock_are_untouched(part, live, pauses, repeats) -> None:
    """Pauses of all streams, equal times and times that fall a little are the file's own."""
    packets = [packet for packet in part.packets(0) if packet.stream_index != TEXT]
    for at, pause in sorted(pauses.items(), reverse=True):
        for packet in packets:
            if packet.dts >= part.base + at * FRAME:
                packet.dts, packet.pts = packet.dts + pause, packet.pts + pause
    pictures = by_stream(packets)[PICTURE]
    for number in repeats & set(range(1, len(pictures))):
        pictures[number].dts = pictures[number - 1].dts
        pictures[number].pts = pictures[number - 1].pts
    own = [(packet.pts - part.base, packet.dts - part.base) for packet in packets]
    clock = Clock(PICTURE, [PICTURE, SOUND], Fraction(part.base, RATE), live)
    assert [(packet.pts, packet.dts) for packet in clock.run(packets)] == own
    assert (clock.jumps, clock.wrong) == ([], 0)


@settings(deadline=None, max_examples=60)
@given(part=parts, live=st.booleans(), which=st.integers(5, 20), index=st.sampled_from([PICTURE, SOUND]), far=st.data())
def test_one_wrong_time_moves_nothing_else(part, live, which, index, far) -> None:
    packets = [packet for packet in part.packets(0) if packet.stream_index != TEXT]
    wrong = by_stream(packets)[index][which]
    distance = far.draw(st.one_of(st.integers(3 * RATE, 2**33), st.integers(-(2**33), -3 * RATE)))
    own = [(packet.pts - part.base, packet.dts - part.base) for packet in packets]
    wrong.pts, wrong.dts = wrong.pts + distance, wrong.dts + distance
    clock = Clock(PICTURE, [PICTURE, SOUND], Fraction(part.base, RATE), live)
    mended = list(clock.run(packets))
    assert clock.wrong == 1
    assert clock.jumps == []
    for packet, times in zip(mended, own, strict=True):
        expected = (None, None) if packet is wrong and index == PICTURE else times
        assert (packet.pts, packet.dts) == expected


def test_sound_without_times_follows() -> None:
    sound = [Stamp(SOUND, 1000, 1000, BLOCK), *(Stamp(SOUND, None, None, BLOCK) for _ in range(3))]
    mended = list(Clock(PICTURE, [PICTURE, SOUND]).run(sound))
    assert [packet.pts for packet in mended] == [1000 + n * BLOCK for n in range(4)]


@given(
    times=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    lacking=st.dictionaries(st.integers(0, 29), st.tuples(st.integers(1, 7), st.booleans()), max_size=5),
)
def test_frames_that_lack_a_time_are_put_between(times: list[int], lacking: dict) -> None:
    """Before the frames of those numbers there are some without a time or with a time that has passed."""
    frames, own, pts = [], [], 1000
    for number, step in enumerate(times):
        for _ in range(lacking[number][0] if number in lacking else 0):
            frames.append(av.VideoFrame(2, 2, "gray"))
            frames[-1].pts = pts - 7 if lacking[number][1] and number else None
            own.append(None)
        pts += step * 8  # room for seven
        frames.append(av.VideoFrame(2, 2, "gray"))
        frames[-1].pts = pts
        own.append(pts)
    spacing = Spacing(40)
    mended = list(spacing.run([*frames, "a packet"]))
    assert [id(item) for item in mended[:-1]] == [id(frame) for frame in frames]
    result = [frame.pts for frame in mended[:-1]]
    assert all(a < b for a, b in pairwise(result))
    assert [new for new, old in zip(result, own, strict=True) if old is not None] == [old for old in own if old]
    assert (spacing.between, spacing.by_rate) == (own.count(None), 0)


def test_frames_without_any_times_go_by_the_rate() -> None:
    frames = [av.VideoFrame(2, 2, "gray") for _ in range(40)]
    spacing = Spacing(40)
    assert [frame.pts for frame in spacing.run(frames)] == [40 * n for n in range(40)]
    assert spacing.by_rate == 40


def test_frames_move_where_there_is_no_room() -> None:
    frames = [av.VideoFrame(2, 2, "gray") for _ in range(6)]
    for frame, pts in zip(frames, [10, 10, 10, 11, 12, 20], strict=True):
        frame.pts = pts
    assert [frame.pts for frame in Spacing(1).run(frames)] == [10, 11, 12, 13, 16, 20]


# Files, made by FFmpeg and judged by ffprobe.

SOURCES = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d={0}", "-f", "lavfi", "-i", "sine=d={0}")


@pytest.fixture
def times(ffprobe):
    """times(path, kind) -> seconds of each packet of the first stream of a kind, in the order of showing."""

    def read(path: Path, kind: str) -> list[float]:
        packets = ffprobe(path, "-select_streams", f"{kind}:0", "-show_entries", "packet=pts_time")["packets"]
        return sorted(float(packet.get("pts_time", "inf")) for packet in packets)

    return read


@pytest.fixture
def record(tmp_path, ffmpeg):
    """record(name, start, seconds) -> a file whose clock starts there."""

    def make(name: str, start: float, seconds: float, *options: object) -> Path:
        path = tmp_path / name
        video = {"mpg": "mpeg2video", "vob": "mpeg2video", "flv": "libx264"}.get(path.suffix[1:], "libx264")
        sound = "mp2" if path.suffix in (".ts", ".mpg", ".vob") else "aac"
        sources = (text.format(seconds) for text in SOURCES)
        ffmpeg(*sources, "-c:v", video, "-c:a", sound, "-output_ts_offset", start, *options, path)
        return path

    return make


@pytest.mark.parametrize(
    ("ending", "first", "second"),
    [
        *[("ts", 0, 0), ("ts", 0, 36000), ("ts", 36000, 0), ("ts", 30, 10), ("ts", 95440, 600)],
        *[("vob", 0, 0), ("vob", 36000, 0), ("flv", 0, 0), ("flv", 0, 36000)],
    ],
)
def test_joined_files(tmp_path, record, times, upscaled, ending: str, first: int, second: int) -> None:
    """`cat`; 10 hours ahead and back, and over the end of the 33-bit counter."""
    pieces = [record(f"{n}.{ending}", start, 2) for n, start in enumerate((first, second))]
    joined = tmp_path / f"joined.{ending}"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    report = upscaled(joined, tmp_path / "b.mkv")
    assert sum("clock of the file jumps" in note for note in report.notes) == 1
    assert not any("damaged" in note for note in report.notes)
    picture, sound = times(tmp_path / "b.mkv", "v"), times(tmp_path / "b.mkv", "a")
    assert len(picture) == sum(len(times(piece, "v")) for piece in pieces)
    assert len(sound) == sum(len(times(piece, "a")) for piece in pieces)
    assert picture[0] < 0.2
    assert all(0.039 <= b - a <= 0.041 for a, b in pairwise(picture[:50]))
    assert all(0.039 <= b - a <= 0.041 for a, b in pairwise(picture[50:]))
    assert 0.039 <= picture[50] - picture[49] <= 0.2
    assert all(a < b for a, b in pairwise(sound))
    for begin, piece, count in ((0, pieces[0], 0), (50, pieces[1], len(times(pieces[0], "a")))):
        apart = times(piece, "v")[0] - times(piece, "a")[0]
        assert picture[begin] - sound[count] == pytest.approx(apart, abs=0.0015)


def test_a_stream_of_the_second_part_alone_is_named(tmp_path, record, ffmpeg, upscaled) -> None:
    first, second = record("1.ts", 0, 2), tmp_path / "2.ts"
    ffmpeg("-i", first, "-map", 0, "-map", "0:a", "-c", "copy", second)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    report = upscaled(joined, tmp_path / "b.mkv")
    assert [note for note in report.notes if "#2" in note and "begins so late" in note]
    assert report.frames == 100


@pytest.mark.parametrize("ending", ["ts", "vob"])
def test_the_counter_wraps(tmp_path, record, times, upscaled, ending: str) -> None:
    """33 bits of 1/90000 s end after 26.5 hours: nothing is seen of it."""
    source = record(f"a.{ending}", 2**33 / 90_000 - 3, 4)
    report = upscaled(source, tmp_path / "b.mkv")
    assert not any("jumps" in note for note in report.notes)
    for kind, most in (("v", 0.041), ("a", 0.03)):
        after = times(tmp_path / "b.mkv", kind)
        assert after[0] < 0.1
        assert len(after) == len(times(source, kind)) > 90
        assert max(b - a for a, b in pairwise(after)) < most


@pytest.mark.parametrize("jump", [36000, 60])
def test_a_jump_inside_flv(tmp_path, record, times, upscaled, jump: int) -> None:
    whole, broken = record("whole.flv", 0, 4), tmp_path / "broken.flv"
    with av.open(str(whole)) as old, av.open(str(broken), "w") as new:
        copies = {stream.index: new.add_stream_from_template(stream, opaque=True) for stream in old.streams}
        for packet in old.demux():
            if packet.size:
                if packet.dts * packet.time_base.numerator / packet.time_base.denominator >= 2:
                    packet.pts, packet.dts = packet.pts + jump * 1000, packet.dts + jump * 1000
                packet.stream = copies[packet.stream_index]
                new.mux(packet)
    assert times(broken, "v")[-1] > jump
    report = upscaled(broken, tmp_path / "b.mkv")
    assert sum("clock of the file jumps" in note for note in report.notes) == 1
    for kind in "va":
        before, after = times(whole, kind), times(tmp_path / "b.mkv", kind)
        assert len(after) == len(before)
        assert max(b - a for a, b in pairwise(after)) < 0.1
    assert times(tmp_path / "b.mkv", "v")[-1] == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize("sound", ["libvorbis", "flac", "libopus"])
def test_ogg_with_the_time_of_day(tmp_path, ffmpeg, times, upscaled, sound: str) -> None:
    """FFmpeg's muxer moves the picture alone, with most codecs of sound."""
    source = tmp_path / "a.ogv"
    films = (text.format(1) for text in SOURCES)
    ffmpeg(*films, "-c:v", "libtheora", "-c:a", sound, "-ar", 48000, "-output_ts_offset", 90_000, source)
    assert times(source, "v")[0] == 90_000
    upscaled(source, tmp_path / "b.mkv")
    for kind in "va":
        assert abs(times(tmp_path / "b.mkv", kind)[0]) < 0.05


def test_joined_ogg_lacks_no_frame(tmp_path, ffmpeg, times, upscaled) -> None:
    """The second recording's headers are no frames."""
    ffmpeg(*(text.format(2) for text in SOURCES), "-c:v", "libtheora", "-c:a", "libvorbis", tmp_path / "1.ogv")
    (tmp_path / "2.ogv").write_bytes((tmp_path / "1.ogv").read_bytes() * 2)
    once, twice = (upscaled(tmp_path / f"{n}.ogv", tmp_path / f"{n}.mkv", damaged="stop") for n in (1, 2))
    assert twice.frames == 2 * once.frames
    assert len(times(tmp_path / "2.mkv", "v")) == twice.frames
    assert [note for note in twice.notes if "jumps" not in note] == []


def make_live(path: Path) -> Path:
    """A fragmented MP4 whose fragments count from the time of day, as a joined DASH stream has them."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tfdt")
    while at >= 0:
        track = data[data.rfind(b"tfhd", 0, at) + 11]
        ticks = int.from_bytes(data[at + 8 : at + 16]) + 90_000 * {1: 12_800, 2: 44_100}[track]
        data[at + 8 : at + 16] = ticks.to_bytes(8)
        at = data.find(b"tfdt", at + 1)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("target", ["mp4", "mkv"])
@pytest.mark.parametrize("ending", ["flv", "ts", "mkv", "mp4"])
def test_a_clock_of_the_time_of_day(tmp_path, record, times, ffprobe, upscaled, ending: str, target: str) -> None:
    if ending == "mp4":
        source = make_live(record("a.mp4", 0, 1, "-movflags", "frag_keyframe+empty_moov+default_base_moof"))
    else:
        source = record(f"a.{ending}", 90_000, 1)
    assert times(source, "v")[0] > 89_999
    report = upscaled(source, tmp_path / f"b.{target}")
    assert any("start at 0" in note and ("9000" in note or "8999" in note) for note in report.notes)
    found = ffprobe(tmp_path / f"b.{target}", "-show_entries", "format=start_time,duration")["format"]
    assert abs(float(found["start_time"])) < 0.1
    assert float(found["duration"]) < 1.3
    apart = [times(path, "v")[0] - times(path, "a")[0] for path in (source, tmp_path / f"b.{target}")]
    assert apart[1] == pytest.approx(apart[0], abs=0.025)


def test_chapters_move_with_the_start(tmp_path, ffmpeg, record, ffprobe, upscaled) -> None:
    marks = tmp_path / "marks.txt"
    marks.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=1\nEND=2\ntitle=One\n")
    ffmpeg(
        "-i",
        record("a.mkv", 0, 3),
        "-i",
        marks,
        "-map_chapters",
        1,
        "-c",
        "copy",
        "-output_ts_offset",
        7200,
        tmp_path / "late.mkv",
    )
    (before,) = ffprobe(tmp_path / "late.mkv", "-show_chapters")["chapters"]
    late = float(before["start_time"])
    upscaled(tmp_path / "late.mkv", tmp_path / "b.mkv")
    (after,) = ffprobe(tmp_path / "b.mkv", "-show_chapters")["chapters"]
    assert float(after["start_time"]) == pytest.approx(max(late - 7200, 0), abs=0.05)


def test_only_repeated_times_are_mended(tmp_path, times, upscaled) -> None:
    """Every fifth frame has its predecessor's time, as capture programs write it."""
    own = [n * 40 - 40 * (n % 5 == 4) for n in range(20)]
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        video = out.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p"
        for pts in own:
            (packet,) = video.encode(av.VideoFrame(64, 48, "yuvj420p"))
            packet.pts = packet.dts = pts
            packet.time_base = Fraction(1, 1000)
            out.mux(packet)
    assert [round(1000 * time) for time in times(source, "v")] == sorted(own)
    report = upscaled(source, tmp_path / "b.mkv")
    expected = [pts + (40 if n % 5 == 4 else 0) for n, pts in enumerate(own)]
    assert [round(1000 * time) for time in times(tmp_path / "b.mkv", "v")] == expected
    assert report.notes == (
        "frames without a time of their own: 3; they were put between their neighbours",
        "frames without a time of their own: 1; they were spaced by the frame rate",
    )
