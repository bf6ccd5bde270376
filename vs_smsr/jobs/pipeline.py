"""Frames through decoder, engine and encoder in three threads; what both ways of making a video share.

The engine runs in the caller's thread; decoding and encoding run beside it, at most a few frames ahead and behind.
A result goes to the encoder in the encoder's own format: as float RGB it is eight times as large, and how much memory
is taken would depend on how many wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import av
import cv2

from vs_smsr import tiling
from vs_smsr.engine import conversion
from vs_smsr.engine.picture import Picture
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.jobs.planes import frame_of, layout_of, picture_of
from vs_smsr.jobs.queue import BoundedQueue, Closed, in_order
from vs_smsr.jobs.report import Pair, Tally
from vs_smsr.jobs.sizing import Size
from vs_smsr.media.colour import BT709, Array, Colour, alpha_of, depth, to_rgb
from vs_smsr.media.memory import Level, levels, pipeline_bytes
from vs_smsr.media.reader import Packet, VideoInfo
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import FramePlan, TiledFrame, TiledPicture, Tiler

FRAME, PACKET = 8, 1  # what they take of a queue's room


class Sink(Protocol):
    """What frames are made for: how they must be, and how a result becomes one; in the caller's thread."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def pix_fmt(self) -> str: ...
    @property
    def colour(self) -> Colour: ...
    def prepare(
        self, pixels: Array | av.VideoFrame, source: av.VideoFrame, alpha: Array | None = None
    ) -> av.VideoFrame: ...


@dataclass(frozen=True)
class Begin:
    """The next frames are upscaled as a sequence that starts at that frame of the clip."""

    number: int


@dataclass(frozen=True)
class End:
    """They end here.

    Attributes:
        following: source frames that come after them.
        count: called in the caller's thread, before the mark is written, with what became of the frames since the
            last mark.
    """

    following: Sequence[av.VideoFrame]
    count: Callable[[Tally], None]


type Mark = Begin | End
type Decoded = av.VideoFrame | Packet | Mark
type Made = av.VideoFrame | Packet | Mark


@dataclass(frozen=True)
class Limits:
    """How much may be under way at the same time: see `fit`."""

    level: Level
    overhead: int
    plan: FramePlan


def fit(tiler: Tiler, info: VideoInfo, size: Size, options: VideoOptions, ahead: int = 0) -> Limits:
    """The best way to encode that leaves the engine enough of the memory budget; its bytes; the plan for the engine.

    Args:
        ahead: decoded frames that wait beside those of the pipeline.
    Raises:
        MemoryBudgetError: none does.
    """
    deep = False
    with suppress(ValueError):  # an unknown format: the writer says so
        deep = depth(av.VideoFormat(options.pix_fmt or info.pix_fmt)) > 8
        _compile_conversions(info.pix_fmt, options.pix_fmt or info.pix_fmt)
    *better, least = levels(options)
    for level in better:
        overhead = pipeline_bytes(info, size, deep, level, ahead)
        with suppress(MemoryBudgetError):
            plan = tiler.plan(info.height, info.width, overhead)
            if plan.tile is None:  # whole frames are worth more than looking ahead
                return Limits(level, overhead, plan)
    overhead = pipeline_bytes(info, size, deep, least, ahead)
    return Limits(least, overhead, tiler.plan(info.height, info.width, overhead))


def _compile_conversions(*pix_fmts: str) -> None:
    """Before memory is counted, of which compiled kernels keep some."""
    for pix_fmt in pix_fmts:
        if (layout := layout_of(pix_fmt, Colour(BT709, full=False))) is not None:  # types alone count, not colours
            conversion.compile_for(layout)


def run(
    items: Iterable[Decoded],
    sink: Sink,
    write: Callable[[Made], None],
    tiler: Tiler,
    limits: Limits,
    after_frame: Callable[[Tally, Pair], None],
) -> Tally:
    """Upscale every frame of the items.

    Args:
        items: from a decoder; iterated in a thread of its own.
        write: takes prepared frames in order, packets as they come, and marks in their place among the
            frames; called in a thread of its own.
        after_frame: called after each frame in the caller's thread, with what became of all so far, and with
            the latest.
    """
    tally = Tally()
    since = Tally()  # the last mark
    with _threads(items, write, limits.level, _planes_of(sink, tiler.scale)) as (decoded, made):
        started = _started(tiler, limits.overhead, sink, decoded, made)
        for item in in_order(started, limits.plan.in_flight):
            if not isinstance(item, _Result):
                if isinstance(item, End):
                    item.count(since)
                    since = Tally()
                made.put(item, PACKET)
                continue
            now = Tally(1, item.result.skipped, item.result.reused, int(item.result.held), item.result.alike)
            tally, since = tally + now, since + now
            source, frame = item.source, sink.prepare(item.pixels, item.source, item.alpha)
            del item  # one large frame less while the next is made
            made.put(frame, FRAME)
            after_frame(tally, (source, frame))
            del source
    return tally


@dataclass(frozen=True)
class _Frame:
    """A frame on its way to the engine: as it was decoded; its planes, or its RGB and alpha."""

    source: av.VideoFrame
    pixels: Picture | Array
    alpha: Array | None


@dataclass(frozen=True)
class _Result:
    """The decoded frame, its result, what the sink takes of it, and alpha of its size."""

    source: av.VideoFrame
    result: TiledPicture | TiledFrame
    pixels: av.VideoFrame | Array
    alpha: Array | None


def _planes_of(sink: Sink, scale: int) -> Size | None:
    """Size of the frames whose planes go to the engine, for it to make those that are encoded; None: of no frames."""
    width, height = sink.size
    whole = width % scale == 0 and height % scale == 0
    return Size(width // scale, height // scale) if whole and layout_of(sink.pix_fmt, sink.colour) else None


def _started(
    tiler: Tiler, overhead: int, sink: Sink, decoded: Iterable[_Frame | Packet | Mark], made: BoundedQueue[Made]
) -> Iterator[Callable[[], _Result | Mark]]:
    """Start on the frames, one after the other; packets go past those in flight, marks keep their place."""
    sequence = tiling.Sequence(tiler, overhead=overhead)
    for item in decoded:
        if isinstance(item, _Frame):
            yield _sent(sequence, sink, item)
        elif isinstance(item, Begin | End):
            if isinstance(item, Begin):
                sequence = tiling.Sequence(tiler, item.number, overhead)
            yield partial(_itself, item)
        else:
            made.put(item, PACKET)


def _itself(mark: Mark) -> Mark:
    return mark


def _sent(sequence: tiling.Sequence, sink: Sink, item: _Frame) -> Callable[[], _Result]:
    """Start on a frame; what is returned waits for the result."""
    if isinstance(item.pixels, Picture):
        like = layout_of(sink.pix_fmt, sink.colour)
        assert like is not None, "planes go in only where planes come out"
        wait = sequence.submit_picture(item.pixels, like)

        def finish() -> _Result:
            large = wait()
            return _Result(item.source, large, frame_of(large.picture, sink.pix_fmt, sink.colour), None)

        return finish
    result = sequence.upscale(item.pixels)
    return lambda: _Result(item.source, result, result.frame, _enlarged(item.alpha, result.frame))


class _AtOnce(BoundedQueue[Made]):
    """In place of the queue to the encoder where memory is short: encodes in the caller's thread."""

    def __init__(self, write: Callable[[Made], None]) -> None:
        super().__init__(0)
        self._write = write

    def put(self, item: Made, size: int) -> None:
        self._write(item)


@contextmanager
def _threads(
    items: Iterable[Decoded], write: Callable[[Made], None], level: Level, planes_of: Size | None
) -> Iterator[tuple[BoundedQueue[_Frame | Packet | Mark], BoundedQueue[Made]]]:
    """Run the decoder and the encoder beside the block; both have ended when it ends, however it does.

    They are daemons, so that an interrupt of the waiting for them ends the program too.
    """
    decoded = BoundedQueue[_Frame | Packet | Mark](level.room * FRAME)
    made = BoundedQueue[Made](level.room * FRAME) if level.room else _AtOnce(write)
    threads = [threading.Thread(target=_decode, args=(items, decoded, planes_of), name="smsr decode", daemon=True)]
    if level.room:
        threads.append(threading.Thread(target=_encode, args=(made, write), name="smsr encode", daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield decoded, made
        made.close()
        for thread in threads:
            thread.join()
    except BaseException:  # KeyboardInterrupt too
        decoded.close(discard=True)
        made.close(discard=True)
        for thread in threads:
            thread.join()
        raise
    made.raise_error()


def _decode(items: Iterable[Decoded], decoded: BoundedQueue[_Frame | Packet | Mark], planes_of: Size | None) -> None:
    try:
        for item in items:
            if isinstance(item, av.VideoFrame):
                picture = picture_of(item) if (item.width, item.height) == planes_of else None
                decoded.put(_Frame(item, picture or to_rgb(item), alpha_of(item)), FRAME)
            else:
                decoded.put(item, PACKET)
    except Closed:
        pass
    except BaseException as error:
        decoded.close(error)
    else:
        decoded.close()


def _encode(made: BoundedQueue[Made], write: Callable[[Made], None]) -> None:
    try:
        for item in made:
            write(item)
    except BaseException as error:
        made.close(error, discard=True)


def _enlarged(alpha: Array | None, rgb: Array) -> Array | None:
    """Alpha of rgb's size; by bicubic interpolation, as it is no picture that the network knows."""
    if alpha is None:
        return None
    larger: Array = cv2.resize(alpha, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC)
    return larger.clip(0, 255)
