"""`vs-smsr upscale` of long videos, and the commands around it: jobs, chunk, join."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

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


def test_what_is_no_job_of_several_chunks_is_not_sent_to_a_cluster(quick: Program) -> None:
    """A folder of all kinds is made with one command, and the notes tell what was made here."""
    Path("many").mkdir()
    for name in ("a.mp4", "b.avi"):
        video(name, 8).rename(Path("many", name))
    cv2.imwrite("many/c.png", np.zeros((32, 48, 3), np.uint8))
    ended = quick("upscale", "many", "-o", "made", "--json", "report.json", "--cluster", "tcp://127.0.0.1:9")
    assert ended.code == 0, ended.err
    entries = json.loads(Path("report.json").read_text())
    assert [Path(entry["output"]).name for entry in entries] == ["a_x2.mp4", "b_x2.mkv", "c_x2.png"]
    for entry in entries:
        assert entry["notes"][0] == "made on this machine: the cluster makes videos of several chunks"
    assert ended.err.count("made on this machine") == 3
    assert size_and_frames("made/a_x2.mp4") == (96, 64, 8)
