"""A video file in, the same video larger out: decode -> colour -> tiler -> colour -> encode, in three threads.

The engine runs in the caller's thread; decoding and encoding run beside it, at most a few frames ahead and behind.
A result goes to the encoder in the encoder's own format: as float RGB it is eight times as large, and how much memory
is taken would depend on how many wait.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import cv2

from vs_smsr.errors import MemoryBudgetError, OptionError, OutputExistsError
from vs_smsr.media.colour import Array, alpha_of, depth, to_rgb
from vs_smsr.media.damage import Damage
from vs_smsr.media.filters import Crop
from vs_smsr.media.memory import Level, levels, pipeline_bytes
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.reader import Packet, Reader, VideoInfo
from vs_smsr.media.writer import Writer
from vs_smsr.media.y4m import PipeWriter, pipe_options
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import Plan, Sequence, Tiler

FRAME, PACKET = 8, 1  # what they take of a line's room


@dataclass(frozen=True)
class Progress:
    """How far a video is.

    Attributes:
        frames: upscaled so far.
        total: expected number of frames, or None if the file does not tell.
        fps: frames per second since the start.
        skipped: mean share of the masked work that was skipped, 0..1.
        reused: mean share of the pixels that were copied from the frame before, 0..1.
    """

    frames: int
    total: int | None
    fps: float
    skipped: float
    reused: float = 0.0


@dataclass(frozen=True)
class Report:
    """What was made.

    Attributes:
        output: the written file.
        frames: number of frames.
        seconds: time it took.
        skipped: mean share of the masked work that was skipped, 0..1.
        notes: a line for each stream or tag that could not be carried, and why.
        reused: mean share of the pixels that were copied from the frame before, 0..1.
        held: frames that went with the attention of their temporal tile's first frame.
        cropped: what was cropped before, as the container asks for; None if nothing.
        deinterlaced: frames that were deinterlaced.
        damage: what of the source was lost or repaired; None if nothing.
    """

    output: Path
    frames: int
    seconds: float
    skipped: float
    notes: tuple[str, ...]
    reused: float = 0.0
    held: int = 0
    cropped: Crop | None = None
    deinterlaced: int = 0
    damage: Damage | None = None


def upscale_video(
    source: Path,
    target: Path,
    tiler: Tiler,
    options: VideoOptions,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Upscale a video file; sound, subtitles, attachments, chapters and tags come along.

    Args:
        source: any file that FFmpeg decodes.
        target: its ending chooses the container. It is there whole or not at all.
        tiler: made around the engine to use, with its memory budget.
        options: how to encode and what to leave out.
        progress: called after each frame, in the caller's thread.

    Raises:
        OptionError: an option does not fit the source, encoder or container.
        OutputExistsError: the target exists and options.overwrite is False.
        MediaError: the source is not a whole video file, or the target cannot be written.
        EngineError: the engine failed. MemoryBudgetError: the budget is too small; names the smallest that is not.
    """
    start = time.perf_counter()
    source, target = Path(source), Path(target)
    to_pipe = is_pipe(target)
    options = pipe_options(options) if to_pipe else options
    if not to_pipe and target.exists():
        if source.exists() and target.samefile(source):
            raise OptionError(f"--output: must be another file than the input, got {target} for both.")
        if not options.overwrite:
            raise OutputExistsError(f"{target}: exists already. Allow to replace it with --overwrite.")
    frames, skipped, reused, held = 0, 0.0, 0.0, 0
    with Reader(source, options.damaged, options.deinterlace) as reader:
        size = final_size(reader.info, tiler.scale, options)
        level, _ = fit(tiler, reader.info, size, options)
        options = dataclasses.replace(options, encoder_options={**level.options, **options.encoder_options})
        sequence = Sequence(tiler)
        writer_of = PipeWriter if to_pipe else Writer
        with writer_of(target, reader, size, options) as writer, _threads(reader, writer, level) as (decoded, upscaled):
            for item in decoded:
                if not isinstance(item, _Frame):
                    upscaled.put(item, PACKET)
                    continue
                result = sequence.upscale(item.rgb)
                frames, skipped, reused = frames + 1, skipped + result.skipped, reused + result.reused
                held += result.held
                frame = writer.prepare(result.frame, item.source, _enlarged(item.alpha, result.frame))
                del result, item  # one large frame less while the next is made
                upscaled.put(frame, FRAME)
                if progress:
                    fps = frames / (time.perf_counter() - start)
                    progress(Progress(frames, reader.info.frames, fps, skipped / frames, reused / frames))
    notes = [*reader.notes, *writer.notes]
    if level.note:
        notes.append(f"to fit the memory budget, {level.note}")
    filters = reader.filters
    return Report(
        target,
        frames,
        time.perf_counter() - start,
        skipped / frames,
        tuple(notes),
        reused / frames,
        held,
        filters.crop,
        filters.interlaced if filters.deinterlace else 0,
        reader.damage or None,
    )


def fit(tiler: Tiler, info: VideoInfo, size: tuple[int, int], options: VideoOptions) -> tuple[Level, Plan | None]:
    """The best way to encode that leaves the engine enough of the memory budget, and the plan for the engine.

    Raises:
        MemoryBudgetError: none does.
    """
    deep = False
    with suppress(ValueError):  # an unknown format: the writer says so
        deep = depth(av.VideoFormat(options.pix_fmt or info.pix_fmt)) > 8
    *better, least = levels(options)
    for level in better:
        tiler.reserve(pipeline_bytes(info, size, deep, level))
        with suppress(MemoryBudgetError):
            found = tiler.plan(info.height, info.width)
            if found is None or found.tile is None:  # whole frames are worth more than looking ahead
                return level, found
    tiler.reserve(pipeline_bytes(info, size, deep, least))
    return least, tiler.plan(info.height, info.width)


def final_size(info: VideoInfo, scale: int, options: VideoOptions) -> tuple[int, int]:
    """(width, height) of the result: scale times the source's, or what the options ask for.

    One side alone keeps the source's shape; the other is then rounded to even.
    """
    if options.width is None and options.height is None:
        return info.width * scale, info.height * scale
    width = options.width or _even((options.height or 0) * info.width / info.height)
    height = options.height or _even(width * info.height / info.width)
    return width, height


def _even(side: float) -> int:
    return max(2, 2 * round(side / 2))


@dataclass(frozen=True)
class _Frame:
    """A frame on its way to the engine: as it was decoded, its RGB and its alpha."""

    source: av.VideoFrame
    rgb: Array
    alpha: Array | None


type _Decoded = _Frame | Packet
type _Upscaled = av.VideoFrame | Packet


class _Closed(Exception):
    """Nobody takes from the line any more."""


class Line[T]:
    """A hand-over between two threads, in order, with room for so much; an error at one end comes out at the other."""

    def __init__(self, room: int) -> None:
        self._room, self._load = room, 0
        self._items: deque[tuple[T, int]] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, size: int) -> None:
        """Wait for room and hand over; raises the taker's error if the line was closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or not self._items or self._load + size <= self._room)
            if self._closed:
                raise self._error or _Closed()
            self._items.append((item, size))
            self._load += size
            self._change.notify_all()

    def close(self, error: BaseException | None = None, discard: bool = False) -> None:
        """No more items; those in the line still come out unless they are to be discarded. Then the error, if any."""
        with self._change:
            self._closed = True
            self._error = self._error or error
            if discard:
                self._items.clear()
            self._change.notify_all()

    def raise_error(self) -> None:
        """Raise what the taker failed with, if it did after the last put."""
        if self._error:
            raise self._error

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._items)
                if not self._items:
                    if self._error:
                        raise self._error
                    return
                item, size = self._items.popleft()
                self._load -= size
                self._change.notify_all()
            yield item


class _AtOnce(Line[_Upscaled]):
    """In place of the line to the encoder where memory is short: encodes in the caller's thread."""

    def __init__(self, writer: Writer | PipeWriter) -> None:
        super().__init__(0)
        self._writer = writer

    def put(self, item: _Upscaled, size: int) -> None:
        _write(self._writer, item)


@contextmanager
def _threads(
    reader: Reader, writer: Writer | PipeWriter, level: Level
) -> Iterator[tuple[Line[_Decoded], Line[_Upscaled]]]:
    """Run the decoder and the encoder beside the block; both have ended when it ends, however it does.

    They are daemons, so that an interrupt of the waiting for them ends the program too.
    """
    decoded = Line[_Decoded](level.room * FRAME)
    upscaled = Line[_Upscaled](level.room * FRAME) if level.room else _AtOnce(writer)
    threads = [threading.Thread(target=_decode, args=(reader, decoded), name="smsr decode", daemon=True)]
    if level.room:
        threads.append(threading.Thread(target=_encode, args=(upscaled, writer), name="smsr encode", daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield decoded, upscaled
        upscaled.close()
        for thread in threads:
            thread.join()
    except BaseException:  # KeyboardInterrupt too
        decoded.close(discard=True)
        upscaled.close(discard=True)
        for thread in threads:
            thread.join()
        raise
    upscaled.raise_error()


def _decode(reader: Reader, decoded: Line[_Decoded]) -> None:
    try:
        for item in reader.items():
            if isinstance(item, av.VideoFrame):
                decoded.put(_Frame(item, to_rgb(item), alpha_of(item)), FRAME)
            else:
                decoded.put(item, PACKET)
    except _Closed:
        pass
    except BaseException as error:
        decoded.close(error)
    else:
        decoded.close()


def _encode(upscaled: Line[_Upscaled], writer: Writer | PipeWriter) -> None:
    try:
        for item in upscaled:
            _write(writer, item)
    except BaseException as error:
        upscaled.close(error, discard=True)


def _write(writer: Writer | PipeWriter, item: _Upscaled) -> None:
    if isinstance(item, av.VideoFrame):
        writer.write(item)
    else:
        writer.copy(item)


def _enlarged(alpha: Array | None, rgb: Array) -> Array | None:
    """Alpha of rgb's size; by bicubic interpolation, as it is no picture that the network knows."""
    if alpha is None:
        return None
    larger: Array = cv2.resize(alpha, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC)
    return larger.clip(0, 255)
