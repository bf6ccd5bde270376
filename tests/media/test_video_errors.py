"""What goes wrong: one clear line, nothing left under the target's name or beside it, no thread left running."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from vs_smsr.engine.contract import Upscaled
from vs_smsr.errors import EngineError, MediaError, OptionError, OutputExistsError, SmsrError
from vs_smsr.jobs.report import Progress
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media import streams
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Tiler


@pytest.fixture
def source(tmp_path: Path, clip) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return clip(size=(128, 96), pts=range(30), audio=[("aac", {}, 0)]).make(folder / "a.mp4")


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, which must be empty again, and no thread of ours may be left."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    assert [path.name for path in folder.iterdir()] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("smsr")] == []


def fails(kind: type[BaseException], source: Path, target: Path, tiler: Tiler, **options: object) -> str:
    with pytest.raises(kind) as caught:
        upscale_video(source, target, tiler, VideoOptions(**options))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def tiler(stand_in) -> Tiler:
    return Tiler(stand_in())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codec": "nonsense"}, ("--codec", "nonsense")),
        ({"codec": "aac"}, ("--codec", "aac")),
        ({"codec": "utvideo"}, ("--codec", "mp4", "utvideo")),
        ({"preset": "nonsense"}, ("libx264", "preset", "nonsense")),
        ({"codec": "mpeg4", "preset": "fast"}, ("--preset", "mpeg4")),
        ({"codec": "mpeg4", "crf": 20}, ("--crf", "mpeg4")),
        ({"pix_fmt": "rgb24"}, ("--pix-fmt", "yuv420p", "rgb24")),
        ({"pix_fmt": "nonsense"}, ("--pix-fmt", "nonsense")),
        ({"encoder_options": {"nonsense": "1"}}, ("--encoder-option", "nonsense")),
        ({"encoder_options": {"g": "nonsense"}}, ("libx264", "nonsense")),
        ({"height": 95}, ("--height", "even", "95")),
        ({"width": 95, "height": 20}, ("--width", "even", "95")),
    ],
)
def test_wrong_options_fail_before_any_frame(source: Path, out: Path, tiler: Tiler, options, words) -> None:
    message = fails(OptionError, source, out / "b.mp4", tiler, **options)
    assert all(word in message for word in words), message
    assert tiler.engine.frames == []


@pytest.mark.parametrize("ending", ["xyz", "png", "", "srt"])
def test_endings_that_are_no_video_file(source: Path, out: Path, tiler: Tiler, ending: str) -> None:
    message = fails(SmsrError, source, out / f"b.{ending}", tiler)
    assert tiler.engine.frames == []
    assert "b." in message or "--codec" in message


def test_an_existing_target_is_left_alone(source: Path, tmp_path: Path, tiler: Tiler) -> None:
    target = tmp_path / "b.mp4"
    target.write_bytes(b"precious")
    message = fails(OutputExistsError, source, target, tiler)
    assert "exists" in message
    assert tiler.engine.frames == []
    with pytest.raises(FileExistsError):
        upscale_video(source, target, tiler, VideoOptions())
    fails(OptionError, source, target, tiler, overwrite=True, codec="nonsense")
    assert target.read_bytes() == b"precious"
    assert upscale_video(source, target, tiler, VideoOptions(overwrite=True)).frames == 30
    with av.open(str(target)) as file:
        assert file.streams.video[0].frames == 30


def test_the_source_is_never_the_target(source: Path, tmp_path: Path, tiler: Tiler) -> None:
    before = source.read_bytes()
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    for target in (source, link, source.parent / ".." / "in" / "a.mp4"):
        assert "another file" in fails(OptionError, source, target, tiler, overwrite=True)
    assert source.read_bytes() == before


def test_folders_that_cannot_be_written(source: Path, tmp_path: Path, tiler: Tiler) -> None:
    assert "cannot write" in fails(MediaError, source, source / "below" / "b.mp4", tiler)  # a file as a folder
    assert "cannot write" in fails(MediaError, source, Path("/proc/none/b.mp4"), tiler)
    if os.geteuid() != 0:  # root may write everywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o555)
        assert "Permission denied" in fails(MediaError, source, locked / "b.mp4", tiler)
    assert tiler.engine.frames == []


def test_a_missing_folder_is_made(source: Path, tmp_path: Path, tiler: Tiler) -> None:
    upscale_video(source, tmp_path / "new" / "folder" / "b.mp4", tiler, VideoOptions())
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["b.mp4"]


@pytest.mark.parametrize("limit", [500, 20_000])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_full_disk(source: Path, out: Path, tiler: Tiler, ending: str, limit: int) -> None:
    """A limit on file sizes fails as a full disk does: while frames are written, or only at the very end."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        message = fails(MediaError, source, out / f"b.{ending}", tiler, codec="mpeg4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert f"b.{ending}" in message
    assert "File too large" in message


def test_a_disk_that_fills_up_stops_the_engine(tmp_path: Path, clip, out: Path, tiler: Tiler) -> None:
    """The encoder's thread fails while frames still come."""
    source = clip(size=(128, 96), pts=range(120)).make(tmp_path / "silent.mp4")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, old[1]))
    try:
        assert "File too large" in fails(MediaError, source, out / "b.mkv", tiler, codec="ffv1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert len(tiler.engine.frames) < 100


def test_a_result_that_cannot_be_read_back(source: Path, out: Path, tiler: Tiler, monkeypatch) -> None:
    """The error names the target: the file that was written beside it is not there any more."""
    look = streams.losses

    def after_a_failing_disk(*arguments: Any) -> list[str]:
        os.truncate(arguments[3], 1500)
        return look(*arguments)

    monkeypatch.setattr(streams, "losses", after_a_failing_disk)
    message = fails(MediaError, source, out / "b.mkv", tiler)
    assert message.startswith(f"{out / 'b.mkv'}: the result cannot be read back: ")
    assert ".part" not in message


@pytest.mark.parametrize("kept", [0, 40, 1500, 0.5, 0.99])
def test_a_cut_source(source: Path, out: Path, tiler: Tiler, kept: float) -> None:
    data = source.read_bytes()
    source.write_bytes(data[: int(kept if kept == 0 or kept >= 1 else kept * len(data))])
    message = fails(MediaError, source, out / "b.mp4", tiler)
    assert str(source) in message
    assert tiler.engine.frames == []


def test_damage_that_shows_while_running(source: Path, out: Path, tiler: Tiler) -> None:
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    source.write_bytes(data)
    assert "damaged" in fails(MediaError, source, out / "b.mp4", tiler)
    assert tiler.engine.frames


def failing(stand_in, error: BaseException, at: int) -> Tiler:
    class Failing(stand_in):
        def upscale(self, frame, state=None) -> Upscaled:
            if len(self.frames) == at:
                raise error
            return super().upscale(frame, state)

    return Tiler(Failing())


@pytest.mark.parametrize("at", [0, 10, 29])
@pytest.mark.parametrize("error", [EngineError("device lost"), KeyboardInterrupt(), ValueError("odd")])
def test_a_failing_engine(source: Path, out: Path, stand_in, error: BaseException, at: int) -> None:
    with pytest.raises(type(error)) as caught:
        upscale_video(source, out / "b.mp4", failing(stand_in, error, at), VideoOptions())
    assert caught.value is error


def test_control_c(source: Path, out: Path, tiler: Tiler) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.frames == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        upscale_video(source, out / "b.mp4", tiler, VideoOptions(), interrupt)
    assert len(tiler.engine.frames) < 30


def test_a_failing_progress_callback(source: Path, out: Path, tiler: Tiler) -> None:
    def broken(progress: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        upscale_video(source, out / "b.mp4", tiler, VideoOptions(), broken)


def test_no_video(tmp_path: Path, out: Path, source: Path, tiler: Tiler) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no film\n" * 100)
    assert "not a media file" in fails(MediaError, text, out / "b.mp4", tiler)
    assert "No such file" in fails(MediaError, tmp_path / "none.mp4", out / "b.mp4", tiler)
    assert "cannot be read" in fails(MediaError, tmp_path, out / "b.mp4", tiler)
