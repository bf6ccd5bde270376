"""Which of a file's video streams is the film."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

LOOKED_AT = 2000  # packets
LOSSLESS_H264 = "High 4:4:4 Predictive"  # FFmpeg's name of the profile
STILL = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def main_video(container: InputContainer) -> VideoStream | None:
    """The stream to upscale: of those that move and last, the one with the largest picture; None if there is none.

    A stream lasts if it is at least half as long as the longest. A stream of unknown length (a live recording) lasts.
    Covers and thumbnails are left out by what the container calls them and, where it does not, by their length and by
    their single picture, however long it is shown. Of equal streams the container's default comes first, then the
    order.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & STILL and stream.codec_context]
    films = films or [stream for stream in container.streams.video if not stream.disposition & STILL]
    if len(films) > 1:
        pictures = _pictures(container, films)
        films = [stream for stream in films if pictures[stream.index] > 1] or films
    lengths = {stream.index: length(stream) for stream in films}
    longest = max((known for known in lengths.values() if known is not None), default=Fraction(0))

    def lasts(stream: VideoStream) -> bool:
        known = lengths[stream.index]
        return known is None or 2 * known >= longest

    def rank(stream: VideoStream) -> tuple[int, bool]:
        area = stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0
        return area, bool(stream.disposition & Disposition.default)

    return max((stream for stream in films if lasts(stream)), key=rank, default=None)


def _pictures(container: InputContainer, films: list[VideoStream]) -> Counter[int]:
    """How many pictures each of these streams has near the start of the file, by index; in a pipe 2 for each."""
    seen = Counter({stream.index: 0 for stream in films})
    if not Path(container.name.removeprefix("file:")).is_file():
        return Counter({stream.index: 2 for stream in films})
    with av.open(container.name) as again, suppress(av.FFmpegError):
        for packet in islice(again.demux(), LOOKED_AT):
            if packet.size and packet.stream_index in seen:
                seen[packet.stream_index] += 1
            if min(seen.values()) > 1:
                break
    return seen


def length(stream: VideoStream) -> Fraction | None:
    """Seconds, by the container or by Matroska's tag; None if the file does not tell."""
    if stream.duration:
        return stream.duration * Fraction(stream.time_base.numerator, stream.time_base.denominator)
    told = next((value for key, value in stream.metadata.items() if key.upper().split("-")[0] == "DURATION"), "")
    try:
        time = datetime.strptime(told[:15], "%H:%M:%S.%f")
    except ValueError:
        return None
    return Fraction((time.hour * 60 + time.minute) * 60 + time.second) + Fraction(time.microsecond, 1_000_000)


def is_lossy(video: VideoStream) -> bool:
    """Was it coded with loss, as far as its codec tells?

    H.264 in 4:2:0 that is of the profile for 4:4:4 is lossless; what H.264, HEVC and AV1 in other profiles hold without
    loss is taken for lossy.
    """
    codec = video.codec_context
    lossless = codec.profile == LOSSLESS_H264 and "444" not in (codec.pix_fmt or "")
    return codec.codec.lossy and not lossless


def rate_of(video: VideoStream) -> Fraction:
    """Mean frames per second; 25 if nothing tells."""
    for rate in (video.average_rate, video.guessed_rate, video.base_rate):
        if rate.denominator and rate > 0:
            return Fraction(rate.numerator, rate.denominator)
    return Fraction(25)


def expected_frames(container: InputContainer, video: VideoStream) -> int | None:
    """How many frames a stream has by what the file says, which may be off; None if it says nothing."""
    if video.frames:
        return video.frames
    counted = next((value for key, value in video.metadata.items() if key.startswith("NUMBER_OF_FRAMES")), "")
    if counted.isdecimal():
        return int(counted)
    if video.duration:
        ticks = Fraction(video.time_base.numerator, video.time_base.denominator)
        return round(video.duration * ticks * rate_of(video)) or None
    if container.duration:
        return round(Fraction(container.duration, av.time_base) * rate_of(video)) or None
    return None
