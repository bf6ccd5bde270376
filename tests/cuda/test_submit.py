"""Frames in flight on the cuda engine: what is copied, and in which order, counted where copies and launches happen."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from host.device import HostDevice, HostMemory
from layouts import LAYOUTS, layout, random_picture
from networks import network
from numpy.typing import NDArray

from vs_smsr.engine import conversion
from vs_smsr.engine.cuda import CudaEngine
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.errors import EngineError
from vs_smsr.jobs.arrays import ArraySequence
from vs_smsr.jobs.queue import in_order
from vs_smsr.jobs.video import upscale_video
from vs_smsr.options import TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

pytestmark = pytest.mark.usefixtures("gpp")
Event = tuple[int, str, Any]  # number of a stream, what happened, bytes or kernel


class Logging(HostDevice):
    """Writes down what happens, in a list that all streams share; waits only once `go` is set."""

    def __init__(self, events: list[Event], number: int, memory: HostMemory, go: threading.Event) -> None:
        super().__init__(memory=memory)
        self.events, self.number, self.go = events, number, go

    def upload(self, array: NDArray[Any], host: NDArray[Any]) -> None:
        self.events.append((self.number, "up", host.nbytes))
        super().upload(array, host)

    def start_download(self, array: NDArray[Any]) -> NDArray[Any]:
        self.events.append((self.number, "down", array.nbytes))
        return super().start_download(array)

    def launch(self, file: str, kernel: str, *rest: Any) -> None:
        self.events.append((self.number, "launch", kernel))
        super().launch(file, kernel, *rest)

    def synchronize(self) -> None:
        assert self.go.wait(60), "nobody waits before all frames are on their way"
        self.events.append((self.number, "wait", None))
        super().synchronize()


class Idle(Logging):
    """Launches nothing, so that large frames can be counted."""

    def launch(self, file: str, kernel: str, *rest: Any) -> None:
        self.events.append((self.number, "launch", kernel))


def logged(kind: type[Logging] = Logging) -> tuple[CudaEngine, list[Event], threading.Event]:
    events: list[Event] = []
    go, numbers, memory = threading.Event(), itertools.count(), HostMemory()
    go.set()
    return CudaEngine(network(), lambda: kind(events, next(numbers), memory, go), half=True), events, go


@pytest.mark.parametrize("like", [None, layout("yuv", 10, (1, 0), (1, 1))], ids=["as it came", "10 bit"])
@pytest.mark.parametrize("name", ["420 left", "444", "grey, 16 bit"])
def test_the_device_converts_as_the_host(name: str, like: Layout | None) -> None:
    """Odd sides too: bit for bit what the host's conversions make around the same engine."""
    engine, _, _ = logged()
    given = random_picture(LAYOUTS[name], 7, 9)
    got = engine.upscale_picture(given, like)
    wanted = engine.upscale(conversion.unpack(given))
    expected = conversion.pack(wanted.frame, like or given.layout, 14, 18)
    assert got.picture.same(expected)
    assert got.sparsity == wanted.sparsity


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (10, 2)])
def test_bytes_of_a_720p_frame(bits: int, factor: int) -> None:
    """4:2:0: 1.38 MB up and 5.53 MB down, twice that with 10 bits; and eight bytes a block for what is active."""
    engine, events, _ = logged(Idle)
    given = random_picture(layout("yuv", bits, (1, 0), (1, 1)), 720, 1280)
    engine.upscale_picture(given)
    events.clear()
    engine.upscale_picture(given)
    up = sum(amount for _, what, amount in events if what == "up")
    down = [amount for _, what, amount in events if what == "down"]
    assert up == factor * 1280 * 720 * 3 // 2 == factor * 1_382_400
    assert down == [factor * 5_529_600, 8 * len(engine.weights.spec.blocks)]


def test_three_frames_in_flight() -> None:
    """Nothing waits before all three are queued; each has a stream of its own, on which everything is in order."""
    engine, events, go = logged()
    pictures = [random_picture(LAYOUTS["420 left"], 6, 8, seed) for seed in range(3)]
    alone = [engine.upscale_picture(picture).picture for picture in pictures]
    go.clear()
    events.clear()
    futures = [engine.submit(picture) for picture in pictures]
    queued = list(events)
    assert not any(future.done() for future in futures)
    go.set()
    for future, expected in zip(futures, alone, strict=True):
        assert future.result(60).picture.same(expected)

    streams = [stream for stream, _ in itertools.groupby(stream for stream, _, _ in queued)]
    assert len(streams) == len(set(streams)) == 3, "a frame's work is queued whole, on its own stream"
    bytes_up, bytes_down = [48, 12, 12], [4 * 72, 40]
    for stream in streams:
        own = [(what, value) for number, what, value in queued if number == stream]
        copies = [what for what, _ in own]
        launches = [value for what, value in own if what == "launch"]
        tables = 2 * (stream != streams[0])  # uploaded at a stream's first frame
        assert [value for what, value in own if what == "down"] == bytes_down
        assert [value for what, value in own if what == "up"][:3] == bytes_up
        assert copies.count("up") == 3 + tables
        assert launches[0] == "unpack_planes"
        assert launches[1:3] == ["head_first", "conv_frame"]
        assert launches[-2:] == ["tail", "pack_planes"]
        assert copies[:3] == ["up"] * 3
        assert copies[-2:] == ["down"] * 2
    waited = [stream for stream, what, _ in events[len(queued) :] if what == "wait"]
    assert waited == streams, "results come in the order of the frames"


def pictures_of(path: Path) -> list[NDArray[Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def write_clip(path: Path, count: int) -> None:
    """4:2:0, lossless; frame 3 repeats frame 2."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=8, height=6, pix_fmt="yuv420p")
        for number in range(count):
            planes = random_picture(LAYOUTS["420 left"], 6, 8, 2 if number == 3 else number).planes
            frame = av.VideoFrame.from_ndarray(
                np.concatenate([plane.ravel() for plane in planes]).reshape(9, 8), "yuv420p"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("attention", ["frame", "auto"])
def test_a_video_has_three_frames_in_flight(attention: Any, tmp_path: Path) -> None:
    """Each with its own attention; a temporal tile's attention comes from one frame, so the next must wait for it."""
    source, results = tmp_path / "clip.mkv", []
    write_clip(source, 6)
    for count in (1, None):
        engine, events, go = logged()
        tiler = Tiler(engine, TilingOptions(attention=attention), in_flight=count)
        tiler.plan(6, 8)  # the warm-up is over
        events.clear()
        if attention == "frame" and count is None:
            go.clear()  # until three frames have gone up
            threading.Thread(target=set_after, args=(go, events, 3), daemon=True).start()
        target = tmp_path / f"{count}.mkv"
        report = upscale_video(source, target, tiler, VideoOptions(codec="ffv1"))
        results.append((pictures_of(target), report.frames, report.skipped, report.reused))
        if attention == "frame":
            assert len(uploads(events)) == 5, "the repeated frame is not computed"
        if count == 1:
            waits = [number for number, (_, what, _) in enumerate(events) if what == "wait"]
            assert all(upload > wait for upload, wait in zip(uploads(events)[1:], waits, strict=False))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert len(results[0][0]) == 6


def uploads(events: list[Event]) -> list[int]:
    """Where the luma of a frame of 8x6 goes up."""
    return [number for number, (_, what, value) in enumerate(list(events)) if (what, value) == ("up", 48)]


def set_after(go: threading.Event, events: list[Event], count: int) -> None:
    while len(uploads(events)) < count:
        time.sleep(0.01)
    go.set()


def test_arrays_in_flight() -> None:
    """The same results in the same order; two more are taken ahead, and a repeated one gives a copy."""
    engine, _, _ = logged()
    arrays = [np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8) for seed in (0, 1, 1, 2, 3)]
    sequence = ArraySequence(Tiler(engine, TilingOptions(attention="frame")))
    taken = []

    def given() -> Iterator[NDArray[Any]]:
        for array in arrays:
            taken.append(len(taken))
            yield array

    results = []
    for result in in_order(map(sequence.submit, given()), engine.capabilities.in_flight):
        results.append(result.pixels)
        assert len(taken) == min(len(results) + 2, 5)
    for array, result in zip(arrays, results, strict=True):
        np.testing.assert_array_equal(result, engine.upscale_picture(Picture.of(array)).picture.array)
    assert results[1] is not results[2]


def test_no_memory_for_frames_in_flight() -> None:
    """A frame that found no memory beside others is computed when they are done."""

    class Full(Logging):
        def synchronize(self) -> None:
            if self.number > 1 and not failed:
                failed.append(self.number)
                raise MemoryError("out of memory")
            super().synchronize()

    failed: list[int] = []
    engine, _, _ = logged(Full)
    pictures = [random_picture(LAYOUTS["420 left"], 6, 8, seed) for seed in range(4)]
    tiler = Tiler(engine, TilingOptions())
    sent = [tiler.submit(picture) for picture in pictures[:3]]
    got = [one.result().picture for one in sent]
    assert failed
    for picture, result in zip(pictures, got, strict=False):
        assert result.same(engine.upscale_picture(picture).picture)


def test_errors_come_out_of_the_future() -> None:
    class Failing(Logging):
        def synchronize(self) -> None:
            if self.number:  # the first one loads the weights
                raise RuntimeError("an illegal address")

    engine, _, _ = logged(Failing)
    future = engine.submit(Picture.of(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(EngineError, match="cuda:0 failed: an illegal address"):
        future.result(60)
