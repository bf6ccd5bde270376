"""Who makes which chunk of a job."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vs_smsr.errors import JobError
from vs_smsr.jobs.board import Board
from vs_smsr.jobs.folder import Chunk, Ending, JobFolder, Manifest
from vs_smsr.jobs.remote import MadeChunk
from vs_smsr.jobs.report import Tally
from vs_smsr.media.chunk_writer import Encoded, digest
from vs_smsr.media.preparation import Changed


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def board(folder: JobFolder, expected: int | None) -> Board:
    """Of a job with chunks of ten frames."""
    manifest = Manifest("a", "b", 10, expected, (2, 2), "1/25", {}, {}, {}, {})
    folder.create(manifest)
    return Board(folder, manifest)


def made(folder: JobFolder, number: int, frames: int = 10, end: int | None = None) -> MadeChunk:
    """A chunk whose file is in the folder; with the end of the source, if it is known."""
    folder.file(number).write_bytes(b"packets")
    encoded = Encoded(tuple((n, 1) for n in range(frames)), tuple(range(frames)), digest(folder.file(number)))
    return MadeChunk(Chunk(encoded, Tally(frames), Changed()), 7, None if end is None else Ending(end, {}))


def test_all_chunks_are_made_once(folder: JobFolder) -> None:
    one = board(folder, 25)
    assert [one.take("a"), one.take("b"), one.take("c")] == [0, 1, 2]
    one.hear({"who": "a", "number": 0, "tally": {"frames": 4}})
    one.hear({"who": "b", "number": 0, "tally": {"frames": 9}})  # it is a's
    assert one.tally().frames == 4
    one.finish(0, made(folder, 0))
    one.finish(2, made(folder, 2, 5, 25))
    assert not one.over
    one.give_back(1)
    assert one.take("a") == 1
    one.finish(1, made(folder, 1))
    assert one.over
    assert one.take("a") is None
    assert one.tally().frames == 25
    assert board(folder, 25).over, "the folder tells as much"


@pytest.mark.parametrize("expected", [10, 30])
def test_the_end_is_where_the_source_ends(folder: JobFolder, expected: int) -> None:
    """A file that tells of fewer or more frames than it has; 20 are there."""
    one = board(folder, expected)
    for number in (0, 1):
        assert one.take("a") == number
        one.finish(number, made(folder, number))
    assert one.take("a") == 2
    one.finish(2, MadeChunk(None, 0, Ending(20, {})))
    assert one.over


def test_beyond_what_is_expected_one_is_tried_at_a_time(folder: JobFolder) -> None:
    one = board(folder, 10)
    assert one.take("a") == 0
    got: list[int | None] = []
    other = threading.Thread(target=lambda: got.append(one.take("b")))
    other.start()
    one.wait(0.1)
    assert got == []
    one.finish(0, made(folder, 0))
    other.join(10)
    assert got == [1]


def test_losses_are_counted_by_chunk_or_by_worker(folder: JobFolder) -> None:
    one = board(folder, 30)
    for count in (1, 2, 3):
        assert one.take("a") == 0
        assert one.lose(0, "a") == count
    assert [one.lose(None, "a"), one.lose(None, "b"), one.lose(1, "b")] == [1, 1, 1]


def test_an_error_ends_it(folder: JobFolder) -> None:
    one = board(folder, 30)
    one.fail(JobError("first"))
    one.fail(JobError("second"))
    assert one.take("a") is None
    with pytest.raises(JobError, match="first"):
        assert one.over
    two = board(folder, 30)
    two.stop()
    assert two.take("a") is None
