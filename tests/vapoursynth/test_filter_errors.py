"""What the filter refuses, by name: arguments, clips, props, values, hosts; and errors while it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from vs_smsr import smsr
from vs_smsr.errors import EngineError

from .test_filter import clip_of, core, noise

BLANK: dict[str, Any] = {"format": vs.RGBS, "width": 8, "height": 8, "length": 1}


def test_an_error_while_running_names_the_frame(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = smsr(core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=5))

    def fail(frame: np.ndarray, state: None = None) -> None:
        raise EngineError("cuda: the device is gone.")

    monkeypatch.setattr(made[0], "upscale", fail)
    with pytest.raises(vs.Error, match=r"smsr: frame 3: cuda: the device is gone\."):
        result.get_frame(3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value: float, made: list[Any]) -> None:
    frames = noise(2, 4, 4)
    frames[1][2][3, 3] = value
    result = smsr(clip_of(frames, vs.RGBS))
    result.get_frame(0)
    with pytest.raises(vs.Error, match="smsr: frame 1 must be finite everywhere"):
        result.get_frame(1)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"_Matrix": 0}, r"smsr: frame 0: _Matrix is 0 \(RGB\), but the clip is YUV420P8"),
        ({"_Matrix": 10}, "smsr: frame 0: _Matrix 10 needs _Transfer and _Primaries"),
        ({"_Matrix": 14, "_Transfer": 2}, "smsr: frame 0: _Matrix 14 needs _Transfer and _Primaries"),
    ],
)
def test_props_that_cannot_be_converted(props: dict[str, int], message: str, made: list[Any]) -> None:
    clip = core.std.BlankClip(format=vs.YUV420P8, width=16, height=16).std.SetFrameProps(**props)
    with pytest.raises(vs.Error, match=message):
        smsr(clip).get_frame(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 5}, "scale must be 2, 3 or 4, got 5"),
        ({"scale": 2.0}, r"scale must be a whole number, got 2\.0"),
        ({"scale": "2"}, "scale must be a whole number, got '2'"),
        ({"scale": True}, "scale must be a whole number, got True"),
        ({"num_streams": 0}, "num_streams must be 1 or more, got 0"),
        ({"threads": -1}, r"threads must be 0 \(all\) or a positive number, got -1"),
        ({"device": "gpu"}, 'device must be "auto", "cpu", "cuda" or "cuda:N", got \'gpu\''),
        ({"device": 0}, "device must be a string, got 0"),
        ({"engine": "tensorrt"}, "engine must be one of"),
        ({"precision": "int8"}, "precision must be one of"),
        ({"weights": 3}, r"weights must be the path of a \.safetensors file or None, got 3"),
        ({"weights": "missing.safetensors"}, r"weights: missing\.safetensors does not exist"),
        ({"model": "other"}, "no shipped weights 'other_x2'"),
        ({"device": "cuda", "engine": "cpu"}, "the cpu engine cannot run on device 'cuda'"),
        ({"tiles": 4}, "there is no argument 'tiles'"),
        ({"device_index": 0}, r"there is no argument 'device_index'. Use device=\"cuda:N\""),
        ({"device_id": 0}, r"there is no argument 'device_id'. Use device=\"cuda:N\""),
        ({"backend": 1}, "there is no argument 'backend'. Use engine= and device="),
        ({"overlap": 1}, "there is no argument 'overlap'"),
        ({"tile_pad": 1}, "there is no argument 'tile_pad'"),
        ({"tilesize": 1}, "there is no argument 'tilesize'"),
        ({"sharpness": 1}, r"there is no argument 'sharpness'. See help\(smsr\)"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(vs.Error, match=f"^smsr: .*{message}") as caught:
        smsr(core.std.BlankClip(**BLANK), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (None, "clip must be a video clip, got NoneType"),
        (core.std.BlankAudio(length=10), "clip must be a video clip, got AudioNode"),
        (core.std.BlankClip(varsize=True), "clip must have one format and one size"),
        (core.std.BlankClip(varformat=True), "clip must have one format and one size"),
        (core.std.BlankClip(format=vs.GRAY32), "at most 16 bits per integer sample, got Gray32"),
    ],
)
def test_wrong_clips_are_named(clip: Any, message: str) -> None:
    with pytest.raises(vs.Error, match=f"^smsr: .*{message}"):
        smsr(clip)


@pytest.mark.parametrize("reuse", ["auto", "forward"])
def test_reuse_that_needs_frames_in_order_is_refused(reuse: str) -> None:
    with pytest.raises(vs.Error, match=rf"^smsr: reuse must be 'exact', 'near:N' or 'off', got '{reuse}', which needs"):
        smsr(vs.core.std.BlankClip(width=32, height=32, format=vs.RGB24, length=3), reuse=reuse)


@pytest.mark.parametrize("arguments", [{"attention": "held"}, {"attention": "auto"}, {"reuse": "near:2"}])
def test_hosts_that_keep_few_frames_are_answered(arguments: dict[str, str], made: list[Any]) -> None:
    """mpv gives a clip of INT_MAX / 16 frames and refuses those that it has shown."""
    endless = core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=(2**31 - 1) // 16, keep=True)
    assert smsr(endless).get_frame(1_000_000).width == 32
    with pytest.raises(vs.Error, match=r'^smsr: .* needs earlier frames .* Use attention="frame" and reuse="exact"\.'):
        smsr(endless, **arguments)
