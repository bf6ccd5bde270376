"""Which of a file's video streams is the film."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

STILL = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def main_video(container: InputContainer) -> VideoStream | None:
    """The stream to upscale: of those that last, the one with the largest picture; None if there is none.

    A stream lasts if it is at least half as long as the longest. A stream of unknown length (a live recording) lasts.
    Covers and thumbnails are left out by what the container calls them and, where it does not, by their length. Of
    equal streams the container's default comes first, then the order.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & STILL and stream.codec_context]
    films = films or [stream for stream in container.streams.video if not stream.disposition & STILL]
    lengths = {stream.index: length(stream) for stream in films}
    longest = max((known for known in lengths.values() if known is not None), default=Fraction(0))

    def lasts(stream: VideoStream) -> bool:
        known = lengths[stream.index]
        return known is None or 2 * known >= longest

    def rank(stream: VideoStream) -> tuple[int, bool]:
        area = stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0
        return area, bool(stream.disposition & Disposition.default)

    return max((stream for stream in films if lasts(stream)), key=rank, default=None)


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
