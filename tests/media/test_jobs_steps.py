"""`vs_smsr.jobs`: a long video planned, made in chunks and joined from Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vs_smsr import jobs
from vs_smsr.errors import JobError, OptionError
from vs_smsr.jobs.long import upscale_in_chunks
from vs_smsr.media.encoding import encoder_threads
from vs_smsr.options import EngineOptions, JobOptions, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

ROOT = Path(__file__).parents[2]
SMALL = {"tiling": TilingOptions(temporal_tile=5), "chunk_frames": 10}


@pytest.fixture
def film(clip: Callable[..., Any], stand_in: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> Path:
    """33 frames; engines repeat pixels."""
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))
    return clip(pts=tuple(range(33)), audio=[("aac", {}, 1)]).make(tmp_path / "film.mkv")


def test_the_example_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """By the real network; the picture rests, so that most of it is reused."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/long_jobs.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with av.open("film.mkv", "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(250):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((24, 32, 3), 90, np.uint8), "rgb24")))
        out.mux(stream.encode())
    exec(block, {})
    assert capsys.readouterr().out == "0 240 frames\n1 10 frames\nfilm_x2.mkv: 250 frames\n"


def test_chunks_in_any_order_and_by_others(film: Path, stand_in: Callable[..., Any], tmp_path: Path) -> None:
    """The result is that of one run."""
    whole, target = tmp_path / "whole.mkv", tmp_path / "target.mkv"
    job = JobOptions(chunk_frames=10)
    upscale_in_chunks(film, whole, Tiler(stand_in(2), SMALL["tiling"]), EngineOptions(), VideoOptions(), job)
    with jobs.plan(film, target, **SMALL) as first:
        assert first.missing() == [0, 1, 2, 3]
        assert [first.make(3), first.make(1)] == [3, 10]
        assert first.make(4) == 0, "the source ends before it"
        with jobs.Job(first.folder, device="cpu", threads=1) as second:
            assert second.missing() == [0, 2]
            with pytest.raises(JobError, match=r"of 4 chunks 2 are missing \(0, 2\)"):
                second.join()
            assert [second.make(2), second.make(0)] == [10, 10]
        assert first.missing() == []
        report = first.join()
    assert isinstance(report, jobs.Report)
    assert (report.output, report.frames) == (target, 33)
    assert target.read_bytes() == whole.read_bytes()
    assert not first.folder.exists()


@pytest.mark.parametrize(("options", "threads"), [({}, encoder_threads()), ({"threads": "3"}, 3)])
def test_x264_cuts_no_frame_into_slices(film: Path, tmp_path: Path, options: dict[str, str], threads: int) -> None:
    """What x264 writes of its settings into the first frame; slices made files a fifth larger at low rates."""
    job = jobs.plan(film, tmp_path / "target.mkv", **SMALL, video=VideoOptions(encoder_options=options))
    job.make(0)
    told = (job.folder / "chunk-00000.packets").read_bytes()
    assert f" threads={threads} ".encode() in told
    assert b" sliced_threads=0 " in told


def test_a_plan_is_found_again(film: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.mkv"
    jobs.plan(film, target, **SMALL).make(0)
    assert jobs.plan(film, target, **SMALL).missing() == [1, 2, 3]
    with pytest.raises(JobError, match="begun with --crf"):
        jobs.plan(film, target, **SMALL, video=VideoOptions(crf=20.0))


def test_what_cannot_be_planned(film: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"is not made in chunks as a\.avi"):
        jobs.plan(film, tmp_path / "a.avi", **SMALL)
    with pytest.raises(OptionError, match="is not made in chunks"):
        jobs.plan(film, tmp_path / "a.mkv")
    with pytest.raises(JobError, match="missing or damaged"):
        jobs.Job(tmp_path)
