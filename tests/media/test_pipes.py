"""Y4M in and out through pipes, with FFmpeg's program at both ends."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vs_smsr.cli.plan import describe
from vs_smsr.errors import OptionError
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.reader import Reader
from vs_smsr.options import VideoOptions, parse_bytes
from vs_smsr.tiling import Tiler

UPSCALE = f"{shlex.quote(sys.executable)} -m vs_smsr upscale --no-progress -d cpu"


@pytest.fixture
def y4m(tmp_path: Path, ffmpeg: Callable[..., str]) -> Callable[..., Path]:
    """y4m(pix_fmt) -> a file of four frames."""

    def make(pix_fmt: str = "yuv420p", size: str = "32x24") -> Path:
        path = tmp_path / f"{pix_fmt}.y4m"
        source = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25", "-frames:v", "4"]
        ffmpeg(*source, "-pix_fmt", pix_fmt, "-strict", "-1", path)
        return path

    return make


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    script = f'set -o pipefail\nU() {{ {UPSCALE} "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


def checksums(path: Path, ffmpeg: Callable[..., str]) -> list[str]:
    lines = ffmpeg("-i", path, "-f", "framemd5", "-").splitlines()
    return [line.split(",")[-1] for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    "pix_fmt",
    [
        *("gray", "gray10le", "gray16le", "yuv420p", "yuv422p", "yuv444p"),
        *("yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv422p14le", "yuv420p16le", "yuv444p16le"),
    ],
)
def test_pipes_give_the_frames_of_files(tmp_path, stand_in, y4m, ffmpeg, ffprobe, pix_fmt):
    """FIFOs at both ends, against the same file into FFV1 (14 bit: FFV1 has none in 4:2:2)."""
    source = y4m(pix_fmt)
    tiler = Tiler(stand_in(2))
    before, after = tmp_path / "in", tmp_path / "out"
    for pipe in (before, after):
        os.mkfifo(pipe)
    feeding = threading.Thread(target=lambda: before.write_bytes(source.read_bytes()))
    taken: list[bytes] = []
    taking = threading.Thread(target=lambda: taken.append(after.read_bytes()))
    feeding.start()
    taking.start()
    report = upscale_video(before, after, tiler, VideoOptions())
    feeding.join()
    taking.join()
    (tmp_path / "piped.y4m").write_bytes(taken[0])
    assert report.notes == ()
    (stream,) = ffprobe(tmp_path / "piped.y4m", "-show_streams")["streams"]
    assert (stream["pix_fmt"], stream["width"], stream["r_frame_rate"]) == (pix_fmt, 64, "25/1")
    piped = checksums(tmp_path / "piped.y4m", ffmpeg)
    assert len(piped) == 4
    upscale_video(source, tmp_path / "file.mkv", tiler, VideoOptions(codec="ffv1"))
    if "14" not in pix_fmt:
        assert piped == checksums(tmp_path / "file.mkv", ffmpeg)


def test_a_line_of_three_programs(tmp_path, y4m, ffmpeg):
    """`ffmpeg | vs-smsr | ffmpeg` gives the frames of a file, and nothing but data goes to stdout."""
    y4m()
    ended = shell(
        "U yuv420p.y4m -o file.mkv -c ffv1 || exit 9\n"
        "ffmpeg -v error -i yuv420p.y4m -f yuv4mpegpipe - | U - -o - | ffmpeg -v error -i - -c ffv1 piped.mkv",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert checksums(tmp_path / "piped.mkv", ffmpeg) == checksums(tmp_path / "file.mkv", ffmpeg)
    assert "-: 4 frames in" in ended.stderr
    assert ended.stdout.count("\n") == 1, "the line for file.mkv alone"


def test_a_pipe_that_ends_within_a_frame_is_told(tmp_path, y4m, ffprobe):
    """FFmpeg drops what there is of that frame without a word."""
    y4m()
    ended = shell(
        "U - -o whole.mkv < <(cat yuv420p.y4m) || exit 1\n"
        "head -c -1 yuv420p.y4m | U - -o a.mkv && exit 2\n"
        "head -c -700 yuv420p.y4m | U /dev/stdin -o b.mkv --damaged stop && exit 3\n"
        "U <(head -c -1000 yuv420p.y4m) -o c.mkv --damaged keep || exit 4\n",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    told, stopped, kept = ended.stderr.splitlines()
    assert "is cut off: its last frame is incomplete. Get the whole file" in told
    assert "is cut off: its last frame is incomplete." in stopped
    assert "the end of the file is missing" in kept
    assert sorted(path.name for path in tmp_path.glob("*.mkv")) == ["c.mkv", "whole.mkv"]
    found = ffprobe(tmp_path / "c.mkv", "-count_frames", "-show_entries", "stream=nb_read_frames")
    assert found["streams"] == [{"nb_read_frames": "3"}]


def test_frames_of_y4m_may_have_parameters(tmp_path, y4m):
    """Their lines are longer then, and nothing is missing."""
    whole = y4m().read_bytes().replace(b"FRAME\n", b"FRAME Ip\n")
    (tmp_path / "a.y4m").write_bytes(whole)
    ended = shell("cat a.y4m | U - -o a.mkv --damaged stop", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_other_spellings_of_pipes(tmp_path, y4m, ffprobe):
    y4m()
    ended = shell(
        "cat yuv420p.y4m | U /dev/stdin -o a.mkv || exit 1\n"
        "U <(cat yuv420p.y4m) -o b.mkv || exit 2\n"
        "U yuv420p.y4m -o /dev/stdout | cat > c.y4m || exit 3\n"
        "U yuv420p.y4m -o >(cat > d.y4m; mv d.y4m e.y4m) || exit 4\n"
        "for n in {1..50}; do test -e e.y4m && break; sleep 0.1; done",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    for name in ("a.mkv", "b.mkv", "c.y4m", "e.y4m"):
        found = ffprobe(tmp_path / name, "-count_frames", "-show_entries", "stream=nb_read_frames,width")
        assert found["streams"] == [{"width": 64, "nb_read_frames": "4"}], name


def test_a_closed_pipe_ends_the_run(tmp_path, y4m):
    y4m(size="320x240")
    ended = shell("set +o pipefail\nU yuv420p.y4m -o - | head -c 100 > /dev/null; exit ${PIPESTATUS[0]}", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.endswith("-: the program that reads the result has closed the pipe.\n")
    assert len(ended.stderr.splitlines()) == 1


def test_what_pipes_cannot_do_is_one_line(tmp_path, y4m):
    y4m()
    for script, code, said in (
        ("U - -o a.mkv < /dev/null", 1, "is not a media file that can be read"),
        ("U - < yuv420p.y4m", 2, "--output: must be given for the input -"),
        ("U - --height 30 -o a.mkv < yuv420p.y4m", 1, "--scale: must be given"),
        ("U yuv420p.y4m -c libx265 -o - | cat", 1, "--codec: must be left out for a pipe"),
    ):
        ended = shell(script, tmp_path)
        assert (ended.returncode, ended.stdout) == (code, ""), script
        assert said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_what_y4m_cannot_hold_is_named(tmp_path, stand_in, clip, ffmpeg):
    source = clip(audio=[("aac", {}, 0)], pts=(0, 1, 2, 9, 10)).make(tmp_path / "plain.mkv")
    told = tmp_path / "chapters.txt"
    told.write_text(";FFMETADATA1\ntitle=Film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n")
    bsf = "h264_metadata=colour_primaries=9:transfer_characteristics=16:matrix_coefficients=9"
    options = ("-i", told, "-map_metadata", 1, "-c", "copy", "-bsf:v", bsf, "-metadata:s:v", "rotate=90")
    ffmpeg("-i", source, *options, tmp_path / "told.mov")
    source = tmp_path / "told.mov"
    target = tmp_path / "out"
    os.mkfifo(target)
    taking = threading.Thread(target=target.read_bytes)
    taking.start()
    notes = upscale_video(source, target, Tiler(stand_in(2)), VideoOptions()).notes
    taking.join()
    assert any("audio aac" in note and "y4m holds video alone" in note for note in notes)
    assert any("times of 2 frames are not carried" in note for note in notes)
    assert "1 of 1 chapters were not carried: y4m" in notes
    assert "file: not carried: tags title" in notes
    assert "video: not carried: rotation" in notes
    assert any("colour tags (transfer, primaries, matrix)" in note for note in notes)
    with Reader(source) as reader:
        assert reader.info.pix_fmt == "yuv420p"
    for options in (
        VideoOptions(pix_fmt="rgb24"),
        VideoOptions(crf=3),
        VideoOptions(preset="slow"),
        VideoOptions(encoder_options={"bf": "0"}),
    ):
        with pytest.raises(OptionError, match=r"--(pix-fmt|crf|preset|extra-encoder-option): must be"):
            upscale_video(source, target, Tiler(stand_in(2)), options)


def test_the_plan_knows_that_a_pipe_has_no_encoder(tmp_path, stand_in, clip):
    source = clip(size=(640, 480), audio=[("aac", {}, 0)], pts=range(2)).make(tmp_path / "a.mkv")
    os.mkfifo(tmp_path / "pipe")
    of_pipe, of_file = (
        describe(source, tmp_path / name, Tiler(stand_in(2)), VideoOptions(), "smsr") for name in ("pipe", "b.mkv")
    )
    assert "dropped: y4m holds video alone" in of_pipe

    def mib(told: str) -> float:
        (line,) = [line for line in told.splitlines() if "memory, sum" in line]
        return parse_bytes(line.split()[2]) / 2**20

    assert mib(of_pipe) < mib(of_file) - 100  # the frames that an encoder looks ahead
