"""Temporal tiles in VapourSynth: the same starts and the same bytes as in order, whatever order is asked for."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from vs_smsr import engine as engines
from vs_smsr import smsr
from vs_smsr.engine.conversion import unpack
from vs_smsr.engine.picture import Layout
from vs_smsr.options import EngineOptions, TilingOptions
from vs_smsr.tiling import Sequence, Tiler
from vs_smsr.tiling.temporal import StartRule, Starts
from vs_smsr.vapoursynth.formats import picture_of
from vs_smsr.vapoursynth.temporal import starts

core = vs.core
LENGTH = 12  # frames of the clip


def clip_of(frames: list[np.ndarray], cuts: dict[int, int] | None = None) -> vs.VideoNode:
    """RGBS from (H, W, 3) 0..1; `_SceneChangePrev` by frame number."""
    height, width = frames[0].shape[:2]
    blank = core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=len(frames), keep=True)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        result = f.copy()
        for plane in range(3):
            np.asarray(result[plane])[...] = frames[n][..., plane]
        if cuts is not None and n in cuts:
            result.props["_SceneChangePrev"] = cuts[n]
        return result

    return core.std.ModifyFrame(blank, blank, fill)


def scenes() -> list[np.ndarray]:
    """Two scenes with a moving square each; the second begins at frame 7."""
    rng = np.random.default_rng(0)
    pictures = [rng.uniform(0, 0.3, (48, 64, 3)), rng.uniform(0.6, 1, (48, 64, 3))]
    frames = []
    for n in range(LENGTH):
        frame = pictures[n >= 7].astype(np.float32)
        frame[10:20, 4 * n : 4 * n + 10] = 0.5
        frames.append(frame)
    return frames


@pytest.mark.parametrize("length", [2, 3, 5, 48])
@pytest.mark.parametrize("cuts", [None, {n: int(n in (4, 5)) for n in range(LENGTH)}, {7: 0, 9: 1}])
def test_starts_are_those_of_going_through_in_order(length: int, cuts: dict[int, int] | None) -> None:
    frames = scenes()
    clip = clip_of(frames, cuts)
    expected, start, in_order = [], 0, Starts(length)
    for n, frame in enumerate(frames):
        told = None if cuts is None or n not in cuts else bool(cuts[n])
        if in_order.starts(frame * np.float32(255), told):
            start = n
        expected.append(start)

    def read(n: int, frame: vs.VideoFrame) -> np.ndarray:
        return unpack(picture_of(n, frame, Layout("planar", "float32", 1)))

    node = starts(clip, clip, StartRule(length), read)
    order = list(range(LENGTH))
    random.Random(1).shuffle(order)
    found = {n: node.get_frame(n).props["SMSRStart"] for n in order}
    assert [found[n] for n in range(LENGTH)] == expected
    if cuts is None and length == 48:
        assert expected == [0] * 7 + [7] * 5


@pytest.mark.parametrize("attention", ["frame", "held", "auto"])
@pytest.mark.parametrize("reuse", ["exact", "near:4", "off"])
def test_any_order_gives_the_frames_of_a_sequence(attention: str, reuse: str, threads: None) -> None:
    frames = scenes()
    options: dict[str, Any] = {"attention": attention, "reuse": reuse, "temporal_tile": 5}
    engine = engines.create(EngineOptions(device="cpu", precision="fp32"))
    sequence = Sequence(Tiler(engine, TilingOptions(**options)))
    expected = [sequence.upscale(frame * np.float32(255)) for frame in frames]
    result = smsr(clip_of(frames), device="cpu", num_streams=3, **options)
    order = [*range(LENGTH), *range(LENGTH)]
    random.Random(2).shuffle(order)
    futures = [(n, result.get_frame_async(n)) for n in order]
    for n, future in futures:
        frame = future.result(timeout=120)
        pixels = np.dstack([np.asarray(frame[plane]) for plane in range(3)])
        np.testing.assert_array_equal(pixels, expected[n].frame / np.float32(255))
        assert frame.props["SMSRSparsity"] == expected[n].skipped
        assert attention != "frame" or not frame.props["SMSRHeld"]
        assert 0 <= frame.props["SMSRReused"] <= (reuse != "off")


def test_repeated_frames_are_reused() -> None:
    frames = [scenes()[n // 2] for n in range(8)]
    result = smsr(clip_of(frames), device="cpu", num_streams=1)
    reused = [frame.props["SMSRReused"] for frame in result.frames(prefetch=1)]
    assert reused == [0, 1] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": "much"}, "memory: a size must be a number with"),
        ({"memory": 1.5}, "memory must be a size such as"),
        ({"memory": "10M"}, "the budget must be at least"),
        ({"tile": 3}, "tile must be 0"),
        ({"attention": "mine"}, "attention must be one of"),
        ({"reuse": "near"}, "reuse must be"),
        ({"temporal_tile": 1}, "temporal_tile must be 2 or more"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    clip = core.std.BlankClip(format=vs.RGBS, width=64, height=48, length=2)
    with pytest.raises(vs.Error, match=rf"^smsr: .*{message}"):
        smsr(clip, device="cpu", **arguments)


def test_tiles_change_no_pixel() -> None:
    clip = clip_of(scenes())
    whole = smsr(clip, device="cpu").get_frame(3)
    small = smsr(clip, device="cpu", tile=16).get_frame(3)
    for plane in range(3):
        np.testing.assert_array_equal(np.asarray(small[plane]), np.asarray(whole[plane]))
