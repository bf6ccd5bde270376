"""Reading: every frame, its time, what the file says of itself; and files that are not what they say."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from vs_smsr.errors import MediaError
from vs_smsr.media.declared import declared
from vs_smsr.media.ffmpeg_log import errors_said
from vs_smsr.media.reader import Reader


def frames_of(path: Path) -> list[av.VideoFrame]:
    with Reader(path) as reader:
        return list(reader)


@pytest.mark.parametrize(
    ("ending", "codec", "options"),
    [
        ("mp4", "libx264", {"bf": "3"}),
        ("mkv", "libx265", {"x265-params": "log-level=none:bframes=4"}),
        ("webm", "libvpx-vp9", {}),
        ("avi", "mpeg4", {}),
        ("flv", "libx264", {}),
        ("ts", "libx264", {"bf": "2"}),
        ("mov", "prores_ks", {}),
        ("mxf", "mpeg2video", {}),
        ("gif", "gif", {}),
        ("h264", "libx264", {}),
        ("y4m", "wrapped_avframe", {}),
    ],
)
def test_no_frame_is_lost_and_times_increase(tmp_path: Path, clip, ending: str, codec: str, options) -> None:
    pix_fmt = {"prores_ks": "yuv422p10le", "gif": "rgb8"}.get(codec, "yuv420p")
    path = clip(codec=codec, pix_fmt=pix_fmt, options=options, pts=range(23)).make(tmp_path / f"a.{ending}")
    with Reader(path) as reader:
        frames = list(reader)
        assert reader.info.frames is None or abs(reader.info.frames - 23) <= 2
        assert (reader.info.width, reader.info.height) == (64, 48)
    times = [frame.pts * reader.info.time_base for frame in frames]
    assert len(frames) == 23
    assert all(Fraction(frame.time_base.num, frame.time_base.den) == reader.info.time_base for frame in frames)
    steps = {round(float(after - before), 3) for before, after in pairwise(times)}
    assert steps == {0.04}


def test_times_of_a_variable_rate_are_the_files_own(tmp_path: Path, clip) -> None:
    pts = [0, 7, 8, 9, 100, 333, 1000, 1001]
    path = clip(pts=pts, time_base=Fraction(1, 12800), options={"bf": "2"}).make(tmp_path / "a.mp4")
    with Reader(path) as reader:
        assert [frame.pts * reader.info.time_base for frame in reader] == [Fraction(p, 12800) for p in pts]


def test_what_the_file_says(tmp_path: Path, clip) -> None:
    path = clip(
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": "log-level=none"},
        colour={"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1, "chroma_sample_location": 3},
        aspect=Fraction(4, 3),
        rotation=90,
    ).make(tmp_path / "a.mp4")
    with Reader(path) as reader:
        info = reader.info
    assert (info.pix_fmt, info.aspect, info.frames, info.rate) == ("yuv420p10le", Fraction(4, 3), 12, 25)
    assert info.display_matrix == (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    assert (info.colour.matrix, info.colour.primaries, info.colour.transfer, info.colour.siting) == (9, 9, 16, 3)
    assert info.matrix_tagged
    assert not info.colour.full
    assert not info.interlaced


def test_items_keep_the_order_of_the_file(tmp_path: Path, clip) -> None:
    path = clip(audio=[("aac", {}, 0)]).make(tmp_path / "a.mkv")
    with Reader(path) as reader:
        items = list(reader.items())
    frames = [item for item in items if isinstance(item, av.VideoFrame)]
    packets = [item for item in items if not isinstance(item, av.VideoFrame)]
    assert len(frames) == 12
    assert len(packets) > 20
    with av.open(str(path)) as file:
        expected = [bytes(packet) for packet in file.demux(file.streams.audio[0]) if packet.size]
    assert [bytes(packet) for packet in packets] == expected


def test_a_recording_starts_at_zero_and_says_so(tmp_path: Path, clip) -> None:
    path = clip(pts=range(100_000, 100_020)).make(tmp_path / "a.ts")  # begins at 4000 s
    with Reader(path) as reader:
        times = [frame.pts * reader.info.time_base for frame in reader]
    assert times[0] == 0
    assert any("start at 0" in note for note in reader.notes)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi", "mxf", "flv", "nut"])
@pytest.mark.parametrize("kept", [0.98, 0.6, 0.3])
def test_a_cut_file_is_refused(tmp_path: Path, clip, ending: str, kept: float) -> None:
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4", "mxf": "mpeg2video", "nut": "ffv1"}.get(ending, "libx264")
    whole = clip(codec=codec, size=(128, 96), pts=range(40)).make(tmp_path / f"whole.{ending}").read_bytes()
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(MediaError, match="cut"):
        frames_of(cut)


@pytest.mark.parametrize("missing", [1, 8, 500])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_file_says_its_size(tmp_path: Path, clip, ending: str, missing: int) -> None:
    path = clip(codec="mpeg4").make(tmp_path / f"a.{ending}")
    size = path.stat().st_size
    assert declared(path).size == size
    path.write_bytes(path.read_bytes()[:-missing])
    assert declared(path).size == size


def test_a_file_that_is_longer_than_it_says_or_live_is_not_cut(tmp_path: Path, clip) -> None:
    path = clip().make(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes() + b"\0" * 1000)  # as some download tools leave it
    assert len(frames_of(path)) == 12
    live = clip(container_options={"live": "1"}).make(tmp_path / "live.mkv")
    assert declared(live).size is None
    assert len(frames_of(live)) == 12


def test_damage_in_the_middle_is_an_error_that_tells_where(tmp_path: Path, clip) -> None:
    path = clip(size=(128, 96), pts=range(50), options={"g": "5"}).make(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"damaged after 0\.[3-9]\d s"):
        frames_of(path)


def test_damage_in_a_recording_is_a_note(tmp_path: Path, clip) -> None:
    path = clip(size=(128, 96), pts=range(50), options={"g": "5"}).make(tmp_path / "a.ts")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle + 4 : middle + 184] = b"\x55" * 180
    del data[middle + 188 * 4 : middle + 188 * 9]
    path.write_bytes(data)
    with Reader(path) as reader:
        frames = list(reader)
    assert 40 <= len(frames) <= 50
    assert any("damaged" in note for note in reader.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"This is a text, not a film.\n" * 40, "not a media file"),
        (np.random.default_rng(0).bytes(20_000), "not a media file"),
        (b"\x1a\x45\xdf\xa3" + bytes(3000), "not a media file"),
    ],
)
def test_not_media(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=message) as caught:
        Reader(path)
    assert "\n" not in str(caught.value)
    assert "film.mkv" in str(caught.value)


def test_no_such_file_a_folder_and_sound_alone(tmp_path: Path, clip) -> None:
    with pytest.raises(MediaError, match="No such file"):
        Reader(tmp_path / "none.mkv")
    with pytest.raises(MediaError, match="directory"):
        Reader(tmp_path)
    both = clip(audio=[("aac", {}, 0)]).make(tmp_path / "both.mkv")
    alone = tmp_path / "alone.mka"
    with av.open(str(both)) as source, av.open(str(alone), "w", format="matroska") as target:
        sound = source.streams.audio[0]
        copy = target.add_stream_from_template(sound)
        for packet in source.demux(sound):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    with pytest.raises(MediaError, match="no video stream"):
        Reader(alone)


def test_errors_are_collected_by_each_thread_and_the_level_comes_back() -> None:
    """FFmpeg has one level for all threads: whoever ends last puts it back, not whoever began last."""
    inside, leave = threading.Barrier(2, timeout=60), threading.Barrier(2, timeout=60)
    heard: dict[str, list[str]] = {}

    def listen() -> None:
        with errors_said() as words:
            inside.wait()
            av.logging.log(av.logging.ERROR, "test", "of the thread")
            leave.wait()
            heard["thread"] = words()

    before = av.logging.get_level()
    other = threading.Thread(target=listen)
    with errors_said() as words:
        other.start()
        inside.wait()
        av.logging.log(av.logging.ERROR, "test", "of the caller")
        heard["caller"] = words()
    assert av.logging.get_level() == av.logging.ERROR
    leave.wait()
    other.join(60)
    assert heard == {"thread": ["of the thread"], "caller": ["of the caller"]}
    assert av.logging.get_level() == before


def test_a_file_whose_header_ends_it_is_one_line(tmp_path: Path) -> None:
    """FFmpeg says that the file is at its end, which is no OSError."""
    header = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
    (tmp_path / "a.mkv").write_bytes(header)
    with pytest.raises(MediaError, match=r"a\.mkv: the file .*End of file"):
        Reader(tmp_path / "a.mkv")
