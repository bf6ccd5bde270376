"""A video into a pipe: Y4M, frames as they are, for the next program in line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.codec.codec import Codec, find_best_pix_fmt_of_list
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from vs_smsr.errors import MediaError, OptionError
from vs_smsr.media import encoding, streams
from vs_smsr.media.colour import UNSPECIFIED, Array, depth, from_rgb, has_alpha, is_rgb
from vs_smsr.media.paths import url
from vs_smsr.media.reader import Packet, Reader, reason
from vs_smsr.options import VideoOptions

DEEP = [f"yuv{chroma}p{bits}le" for chroma in (420, 422, 444) for bits in (9, 10, 12, 14, 16)]
FORMATS = ["gray", "gray9le", "gray10le", "gray12le", "gray16le", "yuv411p", "yuv420p", "yuv422p", "yuv444p", *DEEP]


class PipeWriter:
    """Frames on their way into a pipe; the interface of `Writer`.

    The format is the source's, or the nearest that Y4M has; the frame rate is constant and nothing but video is held.

    Attributes:
        size: (width, height) of the written frames.
        pix_fmt, colour: of the written frames.
        notes: a line for everything that was not carried, and why; complete after the block.

    Raises:
        OptionError: Y4M has no such pixel format.
        MediaError: the pipe cannot be written.
    """

    def __init__(self, target: Path, reader: Reader, size: tuple[int, int], options: VideoOptions) -> None:
        self.target, self.reader, self.size = target, reader, size
        self.notes: list[str] = []
        self.pix_fmt = _pix_fmt(reader.info.pix_fmt, options)
        self.colour = encoding.output_colour(reader.info, Codec("rawvideo", "w"), self.pix_fmt)
        self._frames = self._moved = self._transparent = self._resized = 0
        self._first = 0
        with ExitStack() as undo, self._explained():
            self._output = av.open(
                url(target, writing=True), "w", format="yuv4mpegpipe", container_options={"strict": "-1"}
            )
            undo.callback(self._abandon)
            stream = self._output.add_stream(encoding.UNCOMPRESSED, rate=reader.info.rate.limit_denominator(1_000_000))
            assert isinstance(stream, VideoStream), "an encoder of video"
            (stream.width, stream.height), stream.pix_fmt = size, self.pix_fmt
            stream.codec_context.chroma_sample_location = self.colour.siting
            stream.codec_context.color_range = 2 if self.colour.full else 1
            if aspect := encoding.pixel_aspect(reader.info, size):
                stream.codec_context.sample_aspect_ratio = aspect
            self._stream = stream
            undo.pop_all()
        self._tell_in_advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        with self._explained():
            self._output.mux(self._stream.encode(None))
            self._output.close()
        if self._moved:
            self.notes.append(f"video: times of {self._moved} frames are not carried: y4m has a constant frame rate")
        if self._transparent:
            self.notes.append(f"video: not carried: transparency; {self.pix_fmt} has none")
        if self._resized:
            self.notes.append(f"video: {self._resized} frames had another size and were resized to {self.size}")

    def prepare(
        self, pixels: Array | av.VideoFrame, source: av.VideoFrame, alpha: Array | None = None
    ) -> av.VideoFrame:
        """See `Writer.prepare`."""
        frame = pixels if isinstance(pixels, av.VideoFrame) else from_rgb(pixels, self.pix_fmt, self.colour, self.size)
        self._transparent += alpha is not None and bool(alpha.min() < 254.5)
        assert source.pts is not None, "the reader gives every frame a time"
        info = self.reader.info
        self._resized += (source.width, source.height) != (info.width, info.height)
        if not self._frames:
            self._first = source.pts
        place = (source.pts - self._first) * info.time_base * info.rate
        self._moved += abs(place - self._frames) >= 1
        frame.pts, frame.time_base = self._frames, 1 / info.rate
        self._frames += 1
        return frame

    def write(self, frame: av.VideoFrame) -> None:
        """Write a prepared frame."""
        with self._explained():
            self._output.mux(self._stream.encode(frame))

    def copy(self, packet: Packet) -> None:
        """Nothing but video is held; what is not was told when the pipe was opened."""

    def _tell_in_advance(self) -> None:
        for stream in self.reader.container.streams:
            if stream is not self.reader.video:
                self.notes.append(f"{streams.name_of(stream)}: not carried: y4m holds video alone")
        info, crop = self.reader.info, self.reader.filters.crop
        if info.interlaced:
            self.notes.append("video: interlaced; upscaled as whole frames. --deinterlace gives a clean result")
        if crop:
            self.notes.append(f"video: cropped before upscaling, as the container says: {crop}")
        before, after = depth(VideoFormat(info.pix_fmt)), depth(VideoFormat(self.pix_fmt))
        if before > after:
            self.notes.append(f"video: {before} bits become {after} in {self.pix_fmt}")
        self.notes += streams.lost_tags("file", streams.tags(self.reader.container.metadata), {})
        if chapters := len(self.reader.container.chapters()):
            self.notes.append(f"{chapters} of {chapters} chapters were not carried: y4m")
        self.notes += streams.lost_from_video(info, dataclasses.replace(info, side_data={}, display_matrix=None))
        named = [name for name in ("transfer", "primaries") if getattr(info.colour, name) != UNSPECIFIED]
        named += ["matrix"] if info.matrix_tagged and not is_rgb(VideoFormat(info.pix_fmt)) else []
        if named:
            self.notes.append(f"video: not carried: colour tags ({', '.join(named)}), which y4m has no place for")

    def _abandon(self) -> None:
        with suppress(av.FFmpegError, ValueError):
            self._output.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except av.error.BrokenPipeError as error:
            raise MediaError(f"{self.target}: the program that reads the result has closed the pipe.") from error
        except av.FFmpegError as error:
            raise MediaError(f"{self.target}: cannot be written ({reason(error)}).") from error


def pipe_options(options: VideoOptions) -> VideoOptions:
    """The options of a video that goes into a pipe, where there is no encoder.

    Raises:
        OptionError: an option for an encoder was given.
    """
    given = {
        "--codec": options.codec != VideoOptions.codec,
        "--crf": options.crf is not None,
        "--preset": options.preset is not None,
        "--extra-encoder-option": bool(options.encoder_options),
    }
    for name in (name for name, is_given in given.items() if is_given):
        raise OptionError(f"{name}: must be left out for a pipe, which gets uncompressed frames (y4m).")
    return dataclasses.replace(options, codec=encoding.UNCOMPRESSED)


def _pix_fmt(source: str, options: VideoOptions) -> str:
    if options.pix_fmt is not None:
        if options.pix_fmt not in FORMATS:
            raise OptionError(f"--pix-fmt: must be one of {', '.join(FORMATS)} for a pipe, got {options.pix_fmt!r}.")
        return options.pix_fmt
    source = source.replace("yuvj", "yuv")
    if source in FORMATS:
        return source
    best, _ = find_best_pix_fmt_of_list(FORMATS, source, has_alpha(VideoFormat(source)))
    return best.name if best else "yuv444p"
