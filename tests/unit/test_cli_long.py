"""`vs-smsr upscale` of long videos, and the commands around it: jobs, chunk, join."""

from __future__ import annotations

from pathlib import Path

from .conftest import Program
from .test_cli import names, size_and_frames, video

SMALL = ("--chunk-frames", 6, "--temporal-tile", 6)


def test_a_prepared_job_is_made_by_hand(quick: Program) -> None:
    """Chunks in any order; join refuses while one is missing, and names it; the result is that of one run."""
    source = video("a.mp4", 20)
    assert quick("upscale", source, "-o", "whole.mkv", *SMALL).code == 0
    ended = quick("upscale", source, "-o", "b.mkv", *SMALL, "--prepare-job")
    assert (ended.code, ended.err) == (0, "")
    assert "vs-smsr join" in ended.out
    job = "b.mkv.vs-smsr"
    assert "0 of 4 chunks of 6 frames done, killed, or not begun" in quick("jobs").out
    for number in (3, 0, 2):
        ended = quick("chunk", job, number)
        assert (ended.code, ended.out.split(": ")[1]) == (0, f"{2 if number == 3 else 6} frames\n")
    ended = quick("join", job)
    assert (ended.code, len(ended.errors)) == (1, 1)
    assert "of 4 chunks 1 are missing (1)" in ended.err
    ended = quick("chunk", job, 4)
    assert (ended.code, ended.errors) == (1, [f"error: {job}: there is no chunk 4 of 4; they count from 0."])
    assert quick("chunk", job, 1).code == 0
    assert "all of them; to be joined" in quick("jobs").out
    ended = quick("join", job)
    assert ended.code == 0
    assert Path("b.mkv").read_bytes() == Path("whole.mkv").read_bytes()
    assert size_and_frames("b.mkv") == (96, 64, 20)
    assert names() == ["a.mp4", "b.mkv", "whole.mkv"]
    assert quick("jobs").out == ".: no unfinished jobs\n"


def test_a_folder_that_is_no_job_is_one_line(quick: Program) -> None:
    for command in (("chunk", ".", 0), ("join", ".")):
        ended = quick(*command)
        assert (ended.code, len(ended.errors)) == (1, 1)
        assert "missing or damaged" in ended.err


def test_a_video_of_one_chunk_cannot_be_prepared(quick: Program) -> None:
    ended = quick("upscale", video("a.mp4", 4), "-o", "b.mkv", "--prepare-job")
    assert ended.code == 1
    assert "--prepare-job: must be left out" in ended.err
    assert names() == ["a.mp4"]
