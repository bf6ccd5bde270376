"""The VapourSynth filter: formats, colours, frame props, frames in flight, pixels, errors.

Most tests run on an engine that repeats pixels, so that what must come out is known; the rest on the cpu engine.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from vs_smsr import Upscaler, smsr
from vs_smsr import engine as engines
from vs_smsr.options import EngineOptions
from vs_smsr.tiling import Tiler

core = vs.core
OWN = {"SMSRSparsity", "SMSRReused", "SMSRHeld"}  # the props that the filter adds
MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # Kr, Kb by _Matrix


def clip_of(
    frames: Sequence[Sequence[np.ndarray]], format: int, props: Sequence[dict[str, Any]] | None = None
) -> vs.VideoNode:
    """A clip from planes and props of each frame; both may differ from frame to frame."""
    height, width = frames[0][0].shape
    blank = core.std.BlankClip(format=format, width=width, height=height, length=len(frames), keep=True)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        result = f.copy()
        for plane, values in enumerate(frames[n]):
            np.asarray(result[plane])[...] = values
        if props is not None:
            result.props.update(props[n])
        return result

    return core.std.ModifyFrame(blank.std.RemoveFrameProps(), blank.std.RemoveFrameProps(), fill)


def planes(frame: vs.VideoFrame) -> list[np.ndarray]:
    return [np.asarray(frame[plane]).copy() for plane in range(frame.format.num_planes)]


def noise(count: int, height: int, width: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return [[rng.random((height, width), np.float32) for _ in range(3)] for _ in range(count)]


FORMATS = [
    vs.RGBS, vs.RGBH, vs.RGB24, vs.RGB30, vs.RGB48,
    vs.YUV420P8, vs.YUV420P10, vs.YUV422P8, vs.YUV440P8, vs.YUV411P8, vs.YUV410P8, vs.YUV444P16, vs.YUV444PS,
    vs.YUV420PH, vs.GRAY8, vs.GRAY12, vs.GRAYS, vs.GRAYH,
]  # fmt: skip


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize("scale", [2, 3])
def test_format_size_and_colour_stay(format: vs.PresetVideoFormat, full: int, scale: int, made: list[Any]) -> None:
    info = core.get_video_format(format)
    bits = 1 << (info.bits_per_sample - 8) if info.sample_type == vs.INTEGER else 1 / 255
    centre = 0.0 if info.sample_type == vs.FLOAT and info.color_family == vs.YUV else 128 * bits
    colour = [100 * bits, centre - 20 * bits, centre + 25 * bits][: info.num_planes]
    if info.color_family == vs.RGB:
        colour = [100 * bits, 60 * bits, 200 * bits]
    blank = core.std.BlankClip(format=format, width=32, height=24, length=3, color=colour, fpsnum=24000, fpsden=1001)
    clip = blank.std.SetFrameProps(_Range=full, _Matrix=0 if info.color_family == vs.RGB else 1)
    result = smsr(clip, scale)
    assert (result.format.id, result.width, result.height) == (format, 32 * scale, 24 * scale)
    assert (result.num_frames, result.fps) == (3, Fraction(24000, 1001))
    tolerance = {16: 0.001, 32: 2e-6}[info.bits_per_sample] if info.sample_type == vs.FLOAT else 1
    for before, after in zip(planes(clip.get_frame(1)), planes(result.get_frame(1)), strict=True):
        assert after.shape == tuple(scale * side for side in before.shape)
        np.testing.assert_allclose(after.astype(np.float64), float(before[0, 0]), atol=tolerance, rtol=0)


def rgb_by_definition(colour: tuple[int, int, int], matrix: int, full: int) -> np.ndarray:
    """RGB 0..255 of an 8-bit YCbCr colour, from ITU-T H.273."""
    kr, kb = MATRICES[matrix]
    y, cb, cr = colour[0] / 255, (colour[1] - 128) / 255, (colour[2] - 128) / 255
    if not full:
        y, cb, cr = (colour[0] - 16) / 219, (colour[1] - 128) / 224, (colour[2] - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return 255 * np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


def test_each_frame_is_converted_by_its_own_props(made: list[Any]) -> None:
    colour = (110, 118, 141)
    tags = [(matrix, full) for matrix in MATRICES for full in (0, 1)]
    frames = [[np.full((4, 6), value, np.uint8) for value in colour] for _ in tags]
    props: list[dict[str, Any]] = [{"_Matrix": matrix, "_Range": full} for matrix, full in tags]
    result = smsr(clip_of(frames, vs.YUV444P8, props), num_streams=1)
    for n, (matrix, full) in enumerate(tags):
        after = result.get_frame(n)
        given = made[0].frames[-1]
        np.testing.assert_allclose(
            given, np.broadcast_to(rgb_by_definition(colour, matrix, full), given.shape), atol=1e-3
        )
        assert [int(plane[0, 0]) for plane in planes(after)] == list(colour)


@pytest.mark.filterwarnings("ignore:The _ColorRange frame property has been deprecated")
@pytest.mark.parametrize("full", [0, 1])
def test_the_older_range_prop_counts_the_other_way_round(full: int, made: list[Any]) -> None:
    colour = (110, 118, 141)
    clip = core.std.BlankClip(format=vs.YUV444P8, width=4, height=4, color=colour, length=1)
    after = smsr(clip.std.SetFrameProps(_Matrix=1, _ColorRange=1 - full)).get_frame(0)
    given = made[0].frames[0]
    np.testing.assert_allclose(given, np.broadcast_to(rgb_by_definition(colour, 1, full), given.shape), atol=1e-3)
    assert [int(plane[0, 0]) for plane in planes(after)] == list(colour)
    assert after.props["_Range"] == full


@pytest.mark.parametrize(
    ("width", "height", "matrix"), [(1278, 4, 6), (1280, 4, 1), (4, 576, 6), (4, 577, 1), (720, 480, 6)]
)
@pytest.mark.parametrize("props", [{}, {"_Matrix": 2}, {"_Matrix": 3}])
def test_open_props_follow_the_size(
    width: int, height: int, matrix: int, props: dict[str, Any], made: list[Any]
) -> None:
    colour = (110, 118, 141)
    clip = clip_of([[np.full((height, width), value, np.uint8) for value in colour]], vs.YUV444P8, [props])
    after = smsr(clip).get_frame(0)
    given = made[0].frames[0]
    np.testing.assert_allclose(given, np.broadcast_to(rgb_by_definition(colour, matrix, 0), given.shape), atol=1e-3)
    assert {key: value for key, value in after.props.items() if key not in OWN} == props


def test_grey_taken_from_rgb_and_limited_rgb(made: list[Any]) -> None:
    grey = [[np.full((4, 4), 126, np.uint8)]]
    after = smsr(clip_of(grey, vs.GRAY8, [{"_Matrix": 0, "_Range": 1}])).get_frame(0)
    np.testing.assert_allclose(made[-1].frames[0], 126, atol=1e-3)
    assert np.unique(planes(after)[0]).tolist() == [126]
    limited = [[np.full((4, 4), value, np.uint8) for value in (16, 126, 235)]]
    after = smsr(clip_of(limited, vs.RGB24, [{"_Matrix": 1, "_Range": 0}])).get_frame(0)
    np.testing.assert_allclose(made[-1].frames[0][0, 0], [0, 110 / 219 * 255, 255], atol=1e-3)
    assert [plane[0, 0] for plane in planes(after)] == [16, 126, 235]


@pytest.mark.parametrize(("location", "offset"), [(vs.CHROMA_LEFT, 0.25), (vs.CHROMA_CENTER, 0.5), (None, 0.25)])
def test_chroma_stays_where_it_is(location: int | None, offset: float, made: list[Any]) -> None:
    """A ramp of chroma. Repeated pixels move content by a quarter pixel; the rest of the shift would be an error."""
    slope = 1000
    ramp = np.broadcast_to(20000 + slope * np.arange(24), (12, 24))
    frame = [np.full((24, 48), 30000), np.full((12, 24), 32768), ramp]
    props: dict[str, Any] = {"_Matrix": 1}
    if location is not None:
        props["_ChromaLocation"] = int(location)
    after = planes(smsr(clip_of([frame], vs.YUV420P16, [props])).get_frame(0))[2].astype(np.float64)
    expected = 20000 + slope * (np.arange(48) - offset) / 2
    assert np.abs(after - expected)[:, 8:-8].max() < 0.04 * slope


def test_all_props_pass_through_and_sparsity_is_added(made: list[Any]) -> None:
    props: dict[str, Any] = {
        "_Matrix": 1, "_Transfer": 16, "_Primaries": 9, "_Range": 1, "_ChromaLocation": 1, "_FieldBased": 0,
        "_SARNum": 64, "_SARDen": 45, "_DurationNum": 1001, "_DurationDen": 30000, "_AbsoluteTime": 2.5,
        "_PictType": b"P", "list": [1, 2, 3], "SMSRSparsity": 0.1,
    }  # fmt: skip
    for format in (vs.YUV420P10, vs.YUV444PS, vs.RGB24):
        source = core.std.BlankClip(format=format, width=16, height=16, length=2).std.RemoveFrameProps()
        mine = {**props, "_Matrix": 0} if format == vs.RGB24 else props
        clip = core.std.SetFrameProps(source, **mine)
        before, after = dict(clip.get_frame(1).props), dict(smsr(clip).get_frame(1).props)
        assert after.pop("SMSRSparsity") == pytest.approx(0.7)  # the mean of what the stand-in reports
        assert (after.pop("SMSRReused"), after.pop("SMSRHeld")) == (0, 0)
        before.pop("SMSRSparsity")
        assert after == before
        assert set(mine) - {"SMSRSparsity"} == set(before)


def test_props_of_rgbs_pass_through_too(made: list[Any]) -> None:
    clip = core.std.BlankClip(format=vs.RGBS, width=5, height=3, length=2).std.SetFrameProps(_Matrix=0, note="kept")
    after = dict(smsr(clip).get_frame(0).props)
    assert after.pop("SMSRSparsity") == pytest.approx(0.7)
    assert {key: value for key, value in after.items() if key not in OWN} == dict(clip.get_frame(0).props)


@pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV420PH, vs.GRAY8, vs.GRAYS], ids=lambda f: f.name)
def test_interlaced_frames_are_told_once(
    format: vs.PresetVideoFormat, made: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Of a height that fields cannot have, too: VapourSynth's own resizer refuses that."""
    clip = core.std.BlankClip(format=format, width=16, height=18, length=4).std.SetFrameProps(_FieldBased=2)
    with caplog.at_level(logging.WARNING):
        frames = list(smsr(clip).frames())
    assert [frame.props["_FieldBased"] for frame in frames] == [2] * 4
    assert len([record for record in caplog.records if "interlaced" in record.getMessage()]) == 1


def test_precision_follows_the_format(made: list[Any]) -> None:
    for format, expected in ((vs.RGBS, "fp32"), (vs.YUV444PS, "fp32"), (vs.RGBH, "auto"), (vs.YUV420P8, "auto")):
        smsr(core.std.BlankClip(format=format, width=16, height=16))
        assert made[-1].options.precision == expected
    smsr(core.std.BlankClip(format=vs.RGBS), precision="bf16", threads=3, device="cpu", engine="cpu", scale=4)
    options = made[-1].options
    assert (options.precision, options.threads, options.device, options.engine, options.scale) == (
        "bf16", 3, "cpu", "cpu", 4,
    )  # fmt: skip


@pytest.mark.parametrize("num_streams", [1, 3])
@pytest.mark.parametrize(
    ("format", "attention"), [(vs.RGBS, "frame"), (vs.YUV420P8, "frame"), (vs.RGBS, "held"), (vs.RGBS, "auto")]
)
def test_streams_run_side_by_side_and_no_more(
    num_streams: int, format: int, attention: str, made: list[Any], threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call waits until num_streams of them are inside: it would break if fewer could run at the same time."""
    clip = core.std.BlankClip(format=format, width=24, height=16, length=14)
    result = smsr(clip, num_streams=num_streams, reuse="off", attention=attention)
    for n in range(2):  # the first two of a temporal tile come before all others
        result.get_frame(n)
    engine = made[0]
    before = len(engine.frames)
    upscale: Callable[..., Any] = engine.upscale
    together = threading.Barrier(num_streams, timeout=30)
    lock = threading.Lock()
    inside, most = 0, 0

    def watched(frame: np.ndarray, overrides: Any = None) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait()
        time.sleep(0.02)  # time for one too many to come in
        with lock:
            inside -= 1
        return upscale(frame)

    monkeypatch.setattr(engine, "upscale", watched)
    for future in [result.get_frame_async(n) for n in range(2, 14)]:
        future.result(timeout=60)
    assert most == num_streams
    assert len(engine.frames) - before == 12


def test_more_streams_than_threads_do_not_hang(made: list[Any]) -> None:
    before = core.num_threads
    core.num_threads = 1
    try:
        clip = core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=9)
        assert sum(1 for _ in smsr(clip, num_streams=4).frames(prefetch=6)) == 9
    finally:
        core.num_threads = before


def test_each_source_frame_is_made_once(made: list[Any], threads: None) -> None:
    """The filter asks for a frame's pixels and props in several places; an expensive source must not notice."""
    asked: list[int] = []
    blank = core.std.BlankClip(format=vs.YUV420P8, width=16, height=18, length=20)

    def make(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        asked.append(n)
        return f

    clip = core.std.ModifyFrame(blank, blank, make)
    for _ in smsr(clip, num_streams=3, reuse="off").frames(prefetch=6, close=True):
        pass
    assert sorted(asked) == list(range(20))
    assert len(made[0].frames) == 20


def test_applied_twice_and_followed_by_others(made: list[Any]) -> None:
    clip = clip_of([[np.full((2, 2), n, np.float32) / 8 for _ in range(3)] for n in range(8)], vs.RGBS)
    result = smsr(smsr(clip)).std.SelectEvery(2, 1).std.Reverse()
    assert (result.width, result.num_frames) == (8, 4)
    assert [round(float(planes(frame)[0][7, 7]) * 8) for frame in result.frames()] == [7, 5, 3, 1]


@pytest.mark.parametrize("format", [vs.RGBS, vs.RGBH])
def test_pixels_are_those_of_the_upscaler_bit_for_bit(format: int) -> None:
    """Odd sides, values outside 0..1 too; the real engine."""
    frames = noise(2, 23, 37)
    frames[1] = [plane * 1.4 - 0.2 for plane in frames[1]]
    dtype = np.float32 if format == vs.RGBS else np.float16
    frames = [[plane.astype(dtype) for plane in frame] for frame in frames]
    result = smsr(clip_of(frames, format), device="cpu", precision="fp32")
    upscaler = Upscaler(device="cpu", precision="fp32")
    for n, frame in enumerate(frames):
        found = np.dstack(planes(result.get_frame(n)))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, upscaler.upscale(np.dstack(frame)))


PLANAR = [vs.YUV420P8, vs.YUV422P10, vs.YUV411P8, vs.YUV444P16, vs.GRAY8, vs.GRAY12, vs.RGB24, vs.RGB48]


def smooth(format: vs.PresetVideoFormat, height: int, width: int) -> list[np.ndarray]:
    """Planes of waves, away from the ends of the range."""
    info = core.get_video_format(format)
    result = []
    for plane in range(info.num_planes):
        rows, columns = (height >> info.subsampling_h, width >> info.subsampling_w) if plane else (height, width)
        y, x = np.mgrid[:rows, :columns]
        waves = 128 + (60 if plane == 0 else 15) * np.sin(x / 9 + plane) * np.cos(y / 8)
        result.append(np.rint(waves * (1 << info.bits_per_sample - 8)))
    return result


@pytest.mark.parametrize(
    ("format", "full"),
    [(format, full) for format in PLANAR for full in (0, 1) if full or format not in (vs.RGB24, vs.RGB48)],
)
def test_planes_go_to_the_engine_as_zimg_would_convert_them(
    format: vs.PresetVideoFormat, full: int, made: list[Any]
) -> None:
    """Reference: VapourSynth's resizer. In: within 0.3 of 255 (chroma's cubic differs by that); 0.01 without chroma."""
    family = core.get_video_format(format).color_family
    clip = clip_of([smooth(format, 40, 64)], format, [{"_Matrix": 0 if family == vs.RGB else 1, "_Range": full}])
    rgb = clip.resize.Bicubic(format=vs.RGBS, filter_param_a=0, filter_param_b=0.5).get_frame(0)
    after = planes(smsr(clip).get_frame(0))
    inner = (slice(8, -8), slice(8, -8))
    wanted = np.clip(np.dstack(planes(rgb)) * 255, 0, 255)[inner]
    subsampled = core.get_video_format(format).subsampling_w > 0
    np.testing.assert_allclose(made[0].frames[0][inner], wanted, atol=0.3 if subsampled else 0.01, rtol=0)
    for plane, (before, large) in enumerate(zip(planes(clip.get_frame(0)), after, strict=True)):
        assert large.dtype == before.dtype
        if not (subsampled and plane):  # repeated pixels come back as they were
            np.testing.assert_allclose(large[::2, ::2].astype(int), before, atol=1, rtol=0)


def test_pixels_and_sparsity_are_those_of_the_tiler() -> None:
    tiler = Tiler(engines.create(EngineOptions(device="cpu", precision="fp32")))
    frame = noise(1, 30, 22)[0]
    expected = tiler.upscale(np.dstack(frame) * np.float32(255))
    found = smsr(clip_of([frame], vs.RGBS), device="cpu").get_frame(0)
    np.testing.assert_array_equal(np.dstack(planes(found)), expected.frame / np.float32(255))
    assert found.props["SMSRSparsity"] == pytest.approx(expected.skipped)
    assert 0 < expected.skipped < 1


@pytest.mark.parametrize("format", [vs.RGBS, vs.YUV420P8])
def test_any_order_gives_the_same_frames(format: int, threads: None) -> None:
    """In order; then shuffled and many at once, on a filter of its own."""
    rng = np.random.default_rng(1)
    if format == vs.RGBS:
        clip = clip_of(noise(8, 16, 20), format)
    else:
        sides = [(16, 20), (8, 10), (8, 10)]
        frames = [[rng.integers(16, 236, side).astype(np.uint8) for side in sides] for _ in range(8)]
        clip = clip_of(frames, format, [{"_Matrix": 1 + 5 * (n % 2)} for n in range(8)])
    in_order = [planes(frame) for frame in smsr(clip, device="cpu", num_streams=1).frames(prefetch=1)]
    shuffled = smsr(clip, device="cpu", num_streams=3)
    order = [*range(8), *range(8)]
    random.Random(0).shuffle(order)
    futures = [(n, shuffled.get_frame_async(n)) for n in order]
    for n, future in futures:
        for expected, found in zip(in_order[n], planes(future.result(timeout=60)), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("matrix", [10, 14])
def test_luminance_based_matrices_come_back(matrix: int, made: list[Any]) -> None:
    """BT.2020 constant luminance and ICtCp, with their transfer and primaries."""
    transfer = {10: 14, 14: 16}[matrix]
    clip = core.std.BlankClip(format=vs.YUV444P16, width=8, height=8, color=[30000, 32000, 34000])
    clip = clip.std.SetFrameProps(_Matrix=matrix, _Transfer=transfer, _Primaries=9, _Range=0)
    after = planes(smsr(clip).get_frame(0))
    np.testing.assert_allclose([plane[0, 0] for plane in after], [30000, 32000, 34000], atol=40)


def test_nothing_goes_to_stdout(made: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    for _ in itertools.islice(smsr(core.std.BlankClip(format=vs.YUV420P8, width=16, height=16)).frames(), 2):
        pass
    assert capfd.readouterr() == ("", "")
