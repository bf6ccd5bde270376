"""mpv's script, against what mpv's filter does: a clip of INT_MAX / 16 frames that go by once, few of them kept."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs

from vs_smsr import smsr

core = vs.core
SCRIPT = Path(__file__).parents[2] / "examples" / "mpv.vpy"
BUFFERED, CONCURRENT = 4, 2  # mpv keeps buffered-frames times concurrent-frames
FRAMES = 24


class Player:
    """Sends frames and takes results in order, as mpv does."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        blank = core.std.BlankClip(format=vs.YUV420P8, width=32, height=18, length=(2**31 - 1) // 16, keep=True)

        def give(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
            self.asked.append(n)
            if n < max(self.asked) - BUFFERED * CONCURRENT + 1:
                raise vs.Error(f"Frame {n} requested, but only have frames starting from {max(self.asked)}.")
            frame = f.copy()
            np.asarray(frame[0])[...] = 60 + n
            frame.props.update(_DurationNum=40_000, _DurationDen=1_000_000, _Matrix=1, _Range=0)
            return frame

        self.video_in = core.std.ModifyFrame(blank, blank, give)

    def play(self, result: vs.VideoNode) -> list[vs.VideoFrame]:
        shown = []
        requests = [result.get_frame_async(n) for n in range(CONCURRENT)]
        for n in range(CONCURRENT, FRAMES):
            shown.append(requests.pop(0).result(timeout=60))
            requests.append(result.get_frame_async(n))
        return shown + [request.result(timeout=60) for request in requests]


def test_the_script_asks_for_no_frame_twice_or_late() -> None:
    player = Player()
    runpy.run_path(str(SCRIPT), init_globals={"video_in": player.video_in})
    result = vs.get_output(0).clip
    vs.clear_outputs()
    shown = player.play(result)
    assert sorted(player.asked) == list(range(FRAMES))
    assert [frame.width for frame in shown] == [64] * FRAMES
    assert all(frame.props["_DurationNum"] == 40_000 for frame in shown)
    lights = [float(np.asarray(frame[0]).mean()) for frame in shown]
    np.testing.assert_allclose(lights, 60 + np.arange(FRAMES), atol=1.5)


def test_held_attention_is_refused_at_once() -> None:
    player = Player()
    with pytest.raises(vs.Error, match="keeps few"):
        smsr(player.video_in, attention="held")
    assert player.asked == []
