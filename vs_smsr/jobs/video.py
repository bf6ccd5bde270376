"""A video file in, the same video larger out: decode -> colour -> tiler -> colour -> encode, in three threads.

The engine runs in the caller's thread; decoding and encoding run beside it, at most a few frames ahead and behind.
A result goes to the encoder in the encoder's own format: as float RGB it is eight times as large, and how much memory
is taken would depend on how many wait.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import cv2

from vs_smsr.engine.picture import Picture
from vs_smsr.errors import MemoryBudgetError, OptionError, OutputExistsError
from vs_smsr.jobs.planes import frame_of, layout_of, picture_of
from vs_smsr.jobs.queue import BoundedQueue, Closed, in_order
from vs_smsr.jobs.report import Progress, Report
from vs_smsr.jobs.sizing import Size, final_size
from vs_smsr.media.colour import Array, alpha_of, depth, to_rgb
from vs_smsr.media.memory import Level, levels, pipeline_bytes
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.reader import Packet, Reader, VideoInfo
from vs_smsr.media.writer import Writer
from vs_smsr.media.y4m import PipeWriter, pipe_options
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import FramePlan, Sequence, TiledFrame, TiledPicture, Tiler

FRAME, PACKET = 8, 1  # what they take of a queue's room


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
    alike: list[float] = []
    with Reader(source, options.damaged, options.deinterlace) as reader:
        size = final_size(Size(reader.info.width, reader.info.height), tiler.scale, options, multiple=2)
        level, overhead, plan = fit(tiler, reader.info, size, options)
        options = dataclasses.replace(options, encoder_options={**level.options, **options.encoder_options})
        sequence = Sequence(tiler, overhead=overhead)
        writer_of = PipeWriter if to_pipe else Writer
        with (
            writer_of(target, reader, size, options) as writer,
            _threads(reader, writer, level, _planes_of(writer, tiler.scale)) as (decoded, upscaled),
        ):
            started = _started(sequence, writer, decoded, upscaled)
            for original, result, pixels, alpha in in_order(started, plan.in_flight):
                frames, skipped, reused = frames + 1, skipped + result.skipped, reused + result.reused
                held += result.held
                alike += [] if result.alike is None else [result.alike]
                frame = writer.prepare(pixels, original, alpha)
                del result, pixels  # one large frame less while the next is made
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
        min(alike, default=None),
    )


def fit(tiler: Tiler, info: VideoInfo, size: Size, options: VideoOptions) -> tuple[Level, int, FramePlan]:
    """The best way to encode that leaves the engine enough of the memory budget; its bytes; the plan for the engine.

    Raises:
        MemoryBudgetError: none does.
    """
    deep = False
    with suppress(ValueError):  # an unknown format: the writer says so
        deep = depth(av.VideoFormat(options.pix_fmt or info.pix_fmt)) > 8
    *better, least = levels(options)
    for level in better:
        overhead = pipeline_bytes(info, size, deep, level)
        with suppress(MemoryBudgetError):
            plan = tiler.plan(info.height, info.width, overhead)
            if plan.tile is None:  # whole frames are worth more than looking ahead
                return level, overhead, plan
    overhead = pipeline_bytes(info, size, deep, least)
    return least, overhead, tiler.plan(info.height, info.width, overhead)


@dataclass(frozen=True)
class _Frame:
    """A frame on its way to the engine: as it was decoded; its planes, or its RGB and alpha."""

    source: av.VideoFrame
    pixels: Picture | Array
    alpha: Array | None


def _planes_of(writer: Writer | PipeWriter, scale: int) -> Size | None:
    """Size of the frames whose planes go to the engine, for it to make those that are encoded; None: of no frames."""
    width, height = writer.size
    whole = width % scale == 0 and height % scale == 0
    return Size(width // scale, height // scale) if whole and layout_of(writer.pix_fmt, writer.colour) else None


type _Decoded = _Frame | Packet
type _Upscaled = av.VideoFrame | Packet
# The decoded frame, its result, what the writer takes of it, and alpha of its size.
type _Result = tuple[av.VideoFrame, TiledPicture | TiledFrame, av.VideoFrame | Array, Array | None]


def _started(
    sequence: Sequence, writer: Writer | PipeWriter, decoded: Iterable[_Decoded], upscaled: BoundedQueue[_Upscaled]
) -> Iterator[Callable[[], _Result]]:
    """Start on the frames, one after the other; packets go past those in flight."""
    for item in decoded:
        if isinstance(item, _Frame):
            yield _sent(sequence, writer, item)
        else:
            upscaled.put(item, PACKET)


def _sent(sequence: Sequence, writer: Writer | PipeWriter, item: _Frame) -> Callable[[], _Result]:
    """Start on a frame; what is returned waits for the result."""
    if isinstance(item.pixels, Picture):
        like = layout_of(writer.pix_fmt, writer.colour)
        assert like is not None, "planes go in only where planes come out"
        wait = sequence.submit_picture(item.pixels, like)

        def finish() -> _Result:
            made = wait()
            return item.source, made, frame_of(made.picture, writer.pix_fmt, writer.colour), None

        return finish
    result = sequence.upscale(item.pixels)
    return lambda: (item.source, result, result.frame, _enlarged(item.alpha, result.frame))


class _AtOnce(BoundedQueue[_Upscaled]):
    """In place of the queue to the encoder where memory is short: encodes in the caller's thread."""

    def __init__(self, writer: Writer | PipeWriter) -> None:
        super().__init__(0)
        self._writer = writer

    def put(self, item: _Upscaled, size: int) -> None:
        _write(self._writer, item)


@contextmanager
def _threads(
    reader: Reader, writer: Writer | PipeWriter, level: Level, planes_of: Size | None
) -> Iterator[tuple[BoundedQueue[_Decoded], BoundedQueue[_Upscaled]]]:
    """Run the decoder and the encoder beside the block; both have ended when it ends, however it does.

    They are daemons, so that an interrupt of the waiting for them ends the program too.
    """
    decoded = BoundedQueue[_Decoded](level.room * FRAME)
    upscaled = BoundedQueue[_Upscaled](level.room * FRAME) if level.room else _AtOnce(writer)
    threads = [threading.Thread(target=_decode, args=(reader, decoded, planes_of), name="smsr decode", daemon=True)]
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


def _decode(reader: Reader, decoded: BoundedQueue[_Decoded], planes_of: Size | None) -> None:
    try:
        for item in reader.items():
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


def _encode(upscaled: BoundedQueue[_Upscaled], writer: Writer | PipeWriter) -> None:
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
