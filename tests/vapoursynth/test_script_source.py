"""A script as the source of a video: every frame, its time, its colours; one line for what goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from vs_smsr.errors import MediaError
from vs_smsr.jobs.long import in_chunks, upscale_in_chunks
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.colour import Colour
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, JobOptions, Range, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

RAMP = """
import vapoursynth as vs
clip = vs.core.std.BlankClip(format=vs.{form}, width=64, height=48, length=20, fpsnum=24000, fpsden=1001, keep=True)

def paint(n, f):
    frame = f.copy()
    for plane in range(frame.format.num_planes):
        rows = frame[plane]
        for y in range(rows.shape[0]):
            for x in range(rows.shape[1]):
                rows[y, x] = (7 * n + 3 * x + 5 * y + 50 * plane) % 200
    return frame

clip = clip.std.ModifyFrame(clip, paint)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """script(lines after the clip, format) -> its path."""

    def write(more: str = "clip.set_output()", form: str = "YUV420P8") -> Path:
        path = tmp_path / "film.vpy"
        path.write_text(RAMP.format(form=form) + more + "\n")
        return path

    return write


@pytest.mark.parametrize(
    "form",
    ["YUV420P8", "YUV420P10", "YUV422P12", "YUV444P16", "YUV410P8", "YUV411P8", "YUV440P8", "GRAY8", "GRAY16", "RGB24",
     "RGB30", "RGB48"],
)  # fmt: skip
def test_frames_are_the_scripts(script: Callable[..., Path], form: str) -> None:
    with Reader(script(form=form)) as reader:
        assert reader.info.frames == 20
        frames = list(reader)
        assert [frame.pts * reader.info.time_base for frame in frames] == [Fraction(1001 * n, 24000) for n in range(20)]
        assert reader.notes == []
    clip = vs.get_outputs()[0].clip
    for number, frame in enumerate(frames):
        source = clip.get_frame(number)
        order = (1, 2, 0) if form.startswith("RGB") else range(source.format.num_planes)
        for plane, of in zip(frame.planes, order, strict=True):
            expected = np.asarray(source[of])
            rows = np.frombuffer(plane, expected.dtype).reshape(-1, plane.line_size // expected.itemsize)
            np.testing.assert_array_equal(rows[: expected.shape[0], : expected.shape[1]], expected)


def test_colours_come_from_props(script: Callable[..., Path]) -> None:
    tags = "_Matrix=9, _Transfer=16, _Primaries=9, _Range=1, _ChromaLocation=2"
    with Reader(script(f"clip.std.SetFrameProps({tags}).set_output()")) as reader:
        assert reader.info.colour == Colour(9, True, 3, 16, 9)


def test_times_of_a_varying_frame_rate(script: Callable[..., Path]) -> None:
    more = """
slow = clip[:5].std.AssumeFPS(fpsnum=10, fpsden=1)
(slow + clip[5:]).set_output()
"""
    with Reader(script(more)) as reader:
        times = [frame.pts * reader.info.time_base for frame in reader]
    expected = [Fraction(n, 10) for n in range(6)] + [Fraction(1, 2) + Fraction(1001 * n, 24000) for n in range(1, 15)]
    assert all(abs(a - b) <= Fraction(1, 90000) for a, b in zip(times, expected, strict=True))


def test_in_chunks_it_is_the_same(script: Callable[..., Path], stand_in: Callable[..., Any], tmp_path: Path) -> None:
    """Lossless, so every pixel; a range too."""
    source, tiling = script(), TilingOptions(temporal_tile=5)
    options = VideoOptions(crf=0.0, preset="ultrafast")
    whole, joined, part = (tmp_path / f"{name}.mkv" for name in ("whole", "joined", "part"))
    job = JobOptions(chunk_frames=5)
    assert in_chunks(source, joined, options, job)
    first = upscale_video(source, whole, Tiler(stand_in(2), tiling), options)
    second = upscale_in_chunks(source, joined, Tiler(stand_in(2), tiling), EngineOptions(), options, job)
    assert second is not None
    assert (first.frames, first.notes) == (second.frames, second.notes) == (20, ())
    some = VideoOptions(crf=0.0, preset="ultrafast", range=Range(first=3, last=7))
    assert upscale_video(source, part, Tiler(stand_in(2), tiling), some).frames == 5
    with Reader(whole) as a, Reader(joined) as b, Reader(part) as c:
        whole_frames, joined_frames, some_frames = (
            [(frame.pts * reader.info.time_base, frame.to_ndarray()) for frame in reader] for reader in (a, b, c)
        )
    for (time, pixels), (other_time, other) in zip(whole_frames, joined_frames, strict=True):
        assert time == other_time
        np.testing.assert_array_equal(pixels, other)
    for (_, pixels), (_, other) in zip(whole_frames[3:8], some_frames, strict=True):
        np.testing.assert_array_equal(pixels, other)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("clip.std.Nothing()", r"the script fails in line 15: .*Nothing"),
        ("raise SystemExit('enough')", "the script fails in line 15: enough"),
        ("clip.set_output(", "the script fails in line 15: "),
        ("pass", r"has no output 0\. End it with clip\.set_output"),
        ("vs.core.std.BlankAudio().set_output()", "must be a video of one format and size"),
        ("clip.resize.Point(format=vs.YUV420PS).set_output()", "YUV420PS has no equal in FFmpeg"),
    ],
)
def test_what_is_wrong_is_one_line(script: Callable[..., Path], more: str, said: str) -> None:
    with pytest.raises(MediaError, match=said):
        Reader(script(more))


def test_a_frame_that_cannot_be_made(script: Callable[..., Path]) -> None:
    more = """
def refuse(n, clip=clip):
    if n == 7:
        raise ValueError("seven")
    return clip
clip.std.FrameEval(refuse).set_output()
"""
    said = r"frame 7 of the script cannot be made \(line 18\): ValueError: seven"
    with pytest.raises(MediaError, match=said), Reader(script(more)) as reader:
        list(reader)


def test_without_vapoursynth(script: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    with pytest.raises(MediaError, match="pip install vapoursynth"):
        Reader(script())
