"""Where temporal tiles start: the score against FFmpeg's scdet, and the same starts from wherever one enters."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.filter import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

from vs_smsr.tiling.temporal import SIDE, THRESHOLD, Starts, difference, is_cut, luma


def scdet(frames: list[np.ndarray]) -> list[dict[str, str]]:
    """What FFmpeg's detector says of each grey frame (H, W) uint8."""
    graph = Graph()
    height, width = frames[0].shape
    source = graph.add_buffer(width=width, height=height, format="gray", time_base=Fraction(1, 25))
    chain = [source, graph.add("scdet"), graph.add("buffersink")]
    for a, b in pairwise(chain):
        a.link_to(b)
    graph.configure()
    found = []
    for n, codes in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(codes, format="gray")
        frame.pts, frame.time_base = n, Fraction(1, 25)
        graph.push(frame)
        found.append(dict(graph.pull().metadata))
    return found


def test_cuts_are_those_of_ffmpeg() -> None:
    rng = np.random.default_rng(0)
    levels = (40, 44, 90, 90, 30, 200, 60, 60, 61, 180)  # cuts, and a flicker that is none
    frames = [np.clip(rng.normal(level, 12, (SIDE, SIDE)), 0, 255).astype(np.uint8) for level in levels]
    told = scdet(frames)
    starts = Starts(length=1000)
    ours = [starts.starts(np.repeat(frame[..., None], 3, 2).astype(np.float32)) for frame in frames]
    assert ours[1:] == ["lavfi.scd.time" in told[n] for n in range(1, len(frames))]
    assert 1 < sum(ours) < len(frames)
    changes = [0.0, *(difference(a.astype(np.float32), b.astype(np.float32)) for a, b in pairwise(frames))]
    for n in range(1, len(frames)):
        assert changes[n] == pytest.approx(float(told[n]["lavfi.scd.mafd"]), abs=1e-3)
        score = float(told[n]["lavfi.scd.score"])
        assert is_cut(changes[n - 1], changes[n]) == (score >= THRESHOLD)


def test_a_real_cut_and_none_within_scenes(shared) -> None:
    from vs_smsr.media.colour import to_rgb
    from vs_smsr.media.reader import Reader

    scenes = []
    for name in ("film", "world"):
        with Reader(shared / f"data/clips/{name}.mp4") as reader:
            scenes += [to_rgb(frame) for frame, _ in zip(reader, range(8), strict=False)]
    starts = Starts(length=1000)
    assert [n for n, frame in enumerate(scenes) if starts.starts(frame)] == [0, 8]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 30, 100, 200]), min_size=1, max_size=30), st.integers(2, 7))
def test_starts_do_not_depend_on_where_one_enters(levels: list[int], length: int) -> None:
    frames = [np.full((8, 10, 3), level, np.float32) for level in levels]
    whole = Starts(length)
    expected = [whole.starts(frame) for frame in frames]
    assert all(expected[::length])
    for first in range(0, len(frames), length):
        later = Starts(length, first)
        assert [later.starts(frame) for frame in frames[first:]] == expected[first:]
    last = -1
    for n, start in enumerate(expected):
        last = n if start else last
        assert n - last < length


def test_a_cut_that_is_told_counts() -> None:
    frame = np.zeros((8, 8, 3), np.float32)
    starts = Starts(length=4)
    told = [None, True, False, None, False]
    assert [starts.starts(frame + 60 * (n >= 3), cut) for n, cut in enumerate(told)] == [True, True, False, True, True]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (720, 1280)])
def test_luma_of_any_size(size: tuple[int, int]) -> None:
    grey = luma(np.full((*size, 3), 100, np.float32))
    assert grey.shape == (min(size[0], SIDE), min(size[1], SIDE))
    assert np.allclose(grey, 100, atol=1e-3)
