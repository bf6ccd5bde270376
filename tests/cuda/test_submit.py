"""Frames in flight on the cuda engine: what is copied, and in which order, counted where copies and launches happen."""

from __future__ import annotations

import itertools
import threading
from typing import Any

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


def test_errors_come_out_of_the_future() -> None:
    class Failing(Logging):
        def synchronize(self) -> None:
            if self.number:  # the first one loads the weights
                raise RuntimeError("an illegal address")

    engine, _, _ = logged(Failing)
    future = engine.submit(Picture.of(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(EngineError, match="cuda:0 failed: an illegal address"):
        future.result(60)
