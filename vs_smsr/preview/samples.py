"""Samples of a video: short pieces, found by seeking, joined without loss into one clip that a job can run on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.codec import find_best_pix_fmt_of_list
from av.container import InputContainer
from av.video.stream import VideoStream

from vs_smsr.engine.contract import Frame
from vs_smsr.errors import MediaError, OptionError
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.filters import Filters
from vs_smsr.media.main_video import length, main_video
from vs_smsr.media.paths import is_pipe, url
from vs_smsr.media.reader import Reader, VideoInfo, fraction, reason
from vs_smsr.media.streams import wanted
from vs_smsr.options import VideoOptions, require


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pieces of a video.

    Raises:
        OptionError: a value is outside its range.
    """

    samples: int = 5
    seconds: float = 2.0  # of each
    start: float = 0.0  # seconds; where the part that they are spread over begins
    duration: float | None = None  # seconds of that part; None: to the end

    def __post_init__(self) -> None:
        where = "vs-smsr preview"
        require(self.samples >= 1, where, "--samples", "1 or more", self.samples)
        require(self.seconds > 0, where, "--sample-seconds", "more than 0", self.seconds)
        require(self.start >= 0, where, "--start", "0 or more seconds", self.start)
        require(self.duration is None or self.duration > 0, where, "--duration", "more than 0 seconds", self.duration)

    def windows(self, whole: float) -> list[tuple[float, float]]:
        """Start and end of each, seconds, of a video that lasts `whole` seconds; they do not overlap."""
        rule = f"less than the {whole:.2f} s that the video lasts"
        require(self.start < whole, "vs-smsr preview", "--start", rule, self.start)
        part = min(self.duration or whole, whole - self.start) / self.samples
        span = min(self.seconds, part)
        begins = (self.start + (number + 0.5) * part - span / 2 for number in range(self.samples))
        return [(begin, begin + span) for begin in begins]


@dataclass(frozen=True)
class Sample:
    """One piece.

    Attributes:
        time: of `shown`, seconds into the video.
        frames: how many it has.
        before, shown: (H, W, 3) float32 RGB 0..255; the frame in its middle, and the one before that.
    """

    time: float
    frames: int
    before: Frame
    shown: Frame


@dataclass(frozen=True)
class Cut:
    """The joined samples.

    Attributes:
        info: of the whole video; seconds, frames: how long that is.
        other_bytes: of all streams that would be copied, by what they have in the samples.
    """

    info: VideoInfo
    seconds: float
    frames: int
    samples: list[Sample]
    other_bytes: float

    @property
    def sampled(self) -> int:
        """Frames in all samples."""
        return sum(sample.frames for sample in self.samples)


def cut(source: Path, clip: Path, asked: Wanted, options: VideoOptions) -> Cut:
    """Write the samples of a video into `clip` (FFV1 in Matroska); only what is needed is decoded.

    Raises:
        OptionError: the source is a pipe, or does not last that long. MediaError: it cannot be read.
    """
    if is_pipe(source):
        raise OptionError(f"{source}: must be a file to preview, which is read more than once, got a pipe.")
    with Reader(source, options.damaged, options.deinterlace) as reader:
        info = reader.info
    try:
        with av.open(url(source)) as container:
            video = main_video(container)
            assert video is not None, "the reader found it"
            seconds = _seconds(video, info)
            windows = asked.windows(seconds)
            pieces = _Pieces(container, video, info.rate, options)
            with _Clip(clip, info) as joined:
                samples = [_sample(pieces, joined, start, end) for start, end in windows]
    except av.FFmpegError as error:
        raise MediaError(f"{source}: the file cannot be sampled ({reason(error)}).") from error
    found = [sample for sample in samples if sample]
    if not found:
        raise MediaError(f"{source}: the file has no frames where the samples are. Try another --start.")
    span = sum(end - start for start, end in windows)
    frames = info.frames or max(round(seconds * info.rate), 1)
    return Cut(info, seconds, frames, found, pieces.other_bytes * seconds / span)


def _seconds(video: VideoStream, info: VideoInfo) -> float:
    container = video.container
    assert isinstance(container, InputContainer)
    told = length(video) or Fraction(container.duration or 0, av.time_base)
    return float(told or (info.frames or 1) / info.rate)


class _Pieces:
    """Frames of a window of time, with their times in seconds from the start of the video."""

    def __init__(self, container: InputContainer, video: VideoStream, rate: Fraction, options: VideoOptions) -> None:
        self._container, self._video, self._options = container, video, options
        self._tick = fraction(video.time_base)
        self._first = (video.start_time or 0) * self._tick
        self._step = 1 / rate
        self.other_bytes = 0

    def frames(self, start: float, end: float) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        to = int((self._first + Fraction(start)) / self._tick)
        self._container.seek(to, stream=self._video, backward=True)
        filters = Filters(self._video, self._options.deinterlace)
        time = -self._step
        for frame in filters.run(self._decoded(start, end)):
            time = time + self._step if frame.pts is None else frame.pts * self._tick - self._first
            if time >= end:
                return
            if time >= start:
                yield time, frame

    def _decoded(self, start: float, end: float) -> Iterator[av.VideoFrame]:
        for packet in self._container.demux():
            if packet.stream is self._video:
                yield from packet.decode()  # type: ignore[misc]  # of the video
            elif packet.pts is not None and wanted(packet.stream, self._options):
                time = packet.pts * fraction(packet.time_base) - self._first
                self.other_bytes += packet.size * (start <= time < end)


def _sample(pieces: _Pieces, joined: _Clip, start: float, end: float) -> Sample | None:
    count, middle, last = 0, (start + end) / 2, None
    pair: tuple[av.VideoFrame, av.VideoFrame] | None = None
    at = start
    for time, frame in pieces.frames(start, end):
        count += 1
        if pair is None and last is not None and time >= middle:
            pair, at = (last, frame), float(time)
        joined.write(time - Fraction(start), frame)
        last = frame
    joined.end(Fraction(end) - Fraction(start))
    if last is None:
        return None
    before, shown = pair or (last, last)
    return Sample(at, count, to_rgb(before), to_rgb(shown))


class _Clip:
    """A file without loss, in the source's format and colour."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._tick = info.time_base
        self._begin, self._last = Fraction(0), -1
        self._output = av.open(url(path), "w", format="matroska")
        stream = self._output.add_stream("ffv1", rate=info.rate.limit_denominator(1_000_000))
        assert isinstance(stream, VideoStream)
        offered = [pix_fmt.name for pix_fmt in stream.codec_context.codec.video_formats or []]
        best, _ = find_best_pix_fmt_of_list(offered, info.pix_fmt.replace("yuvj", "yuv"), True)
        assert best is not None, "FFV1 has formats of every kind"
        self._stream, self._pix_fmt = stream, best.name
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, best.name
        context.time_base = info.time_base
        colour = info.colour
        context.colorspace, context.color_range = colour.matrix, 2 if colour.full else 1
        context.color_trc, context.color_primaries = colour.transfer, colour.primaries
        if info.aspect:
            context.sample_aspect_ratio = info.aspect

    def __enter__(self) -> _Clip:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None and self._last >= 0:
            self._output.mux(self._stream.encode(None))
        self._output.close()

    def write(self, time: Fraction, frame: av.VideoFrame) -> None:
        context = self._stream.codec_context
        copy = frame.reformat(context.width, context.height, self._pix_fmt)
        copy.pts = self._last = max(int((self._begin + time) / self._tick), self._last + 1)
        copy.time_base, copy.pict_type = self._tick, 0
        self._output.mux(self._stream.encode(copy))

    def end(self, duration: Fraction) -> None:
        self._begin += duration
