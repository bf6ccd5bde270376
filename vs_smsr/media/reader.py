"""Decoding: every video frame of a file in presentation order, and the packets of its other streams in between."""

from __future__ import annotations

import logging
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.packet import Packet as AnyPacket
from av.rational import AVRational
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream

from vs_smsr.errors import MediaError
from vs_smsr.media.clock import TS_DISCONT, Clock, is_live, start_of, steady_streams
from vs_smsr.media.colour import FULL, LIMITED, RESERVED, RGB, UNSPECIFIED, Colour, colour_of, has_alpha, is_rgb
from vs_smsr.media.declared import declared_size
from vs_smsr.media.flv import joined_flv
from vs_smsr.media.main_video import main_video
from vs_smsr.media.paths import is_pipe, url
from vs_smsr.media.spacing import Spacing

log = logging.getLogger(__name__)
type Packet = AnyPacket[Any]  # of whatever kind of stream
type Item = av.VideoFrame | Packet
MARKED_AT_JOINT = 3  # a demuxer marks one of so many packets before a joint


class Damage(Enum):
    """What is wrong with a packet of the video."""

    MARKED = "the demuxer marks it as incomplete"
    REFUSED = "the decoder refuses it"


@dataclass(frozen=True)
class VideoInfo:
    """The video stream as its first frame shows it.

    Attributes:
        width, height: coded pixels; a rotation is not applied.
        pix_fmt: FFmpeg's name of the pixel format.
        colour: resolved colour, see `colour_of`.
        time_base: seconds per tick of the frames' pts.
        rate: mean frames per second, as the container or codec tells.
        frames: expected number of frames, or None; may be off if the container only tells a duration.
        aspect: shape of a pixel, width / height; None if not told.
        display_matrix: FFmpeg's 9 numbers of rotation and flips, or None.
        matrix_tagged, range_tagged: False if the file does not name its matrix or range, and colour holds the usual.
        side_data: what hangs on the first frame (mastering display, content light level ...), as FFmpeg's bytes.
        interlaced: the first frame is two fields.
    """

    width: int
    height: int
    pix_fmt: str
    colour: Colour
    time_base: Fraction
    rate: Fraction
    frames: int | None
    aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    matrix_tagged: bool
    range_tagged: bool
    side_data: dict[SideData, bytes]
    interlaced: bool

    @property
    def alpha(self) -> bool:
        return has_alpha(av.VideoFormat(self.pix_fmt))


class Reader:
    """An opened file; iterate it for the frames, or `items()` for frames and the other streams' packets.

    The frames' pts are whole ticks of `info.time_base` and strictly increase (see `media.clock`); `notes` tells of what
    had to be mended, `start` of the seconds that were taken off all times.

    Raises:
        MediaError: no such file, not media, no video, cut off, or (while iterating) damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._refuse_incomplete()
        try:
            joined = None if is_pipe(self.path) else joined_flv(self.path)
            self.container = av.open(joined or url(self.path), "r")
        except (av.FFmpegError, ValueError) as error:
            raise self._error(f"is not a media file that can be read ({reason(error)})") from error
        try:
            self.video = self._main_video()
            # Not by frame: PyAV drops a decoding error that follows a frame in the same call.
            self.video.thread_type = "SLICE"
            self.start = start_of(self.container)
            self._clock: Clock[Packet] = Clock(
                self.video.index, steady_streams(self.container), self.start, is_live(self.container)
            )
            step = 1 / (self._rate() * fraction(self.video.time_base))
            self._spacing = Spacing(max(round(step), 1))
            self._pts: int | None = None
            self._items = self._in_time()
            self._early = list(self._until_first_frame())
            self.info = self._describe(self._early[-1])
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._items.close()
        self.container.close()

    def __iter__(self) -> Iterator[av.VideoFrame]:
        return (item for item in self.items() if isinstance(item, av.VideoFrame))

    def items(self) -> Iterator[Item]:
        """Frames in presentation order and the other streams' packets, as they come in the file; once."""
        early, self._early = self._early, []
        return chain(early, self._items)

    def _refuse_incomplete(self) -> None:
        if is_pipe(self.path):
            return
        try:
            size, declared = self.path.stat().st_size, declared_size(self.path)
        except OSError as error:
            raise self._error(f"cannot be read ({error.strerror})") from error
        if size == 0:
            raise self._error("is empty (0 bytes)")
        if declared is not None and declared > size:
            raise self._error(f"is cut off: it says it has {declared} bytes, but there are {size}. Get the whole file")

    def _main_video(self) -> VideoStream:
        video = main_video(self.container)
        if video is None:
            raise self._error("has no video stream")
        if video.codec_context is None:
            raise self._error("has a video stream that FFmpeg has no decoder for")
        return video

    @property
    def is_broadcast(self) -> bool:
        """MPEG transport and program streams: made to be cut anywhere."""
        return bool(self.container.format.flags & TS_DISCONT)

    def _in_time(self) -> Generator[Item]:
        if abs(self.start) >= Fraction(1, 10):
            self.notes.append(f"timestamps start at 0; in the recording they start at {float(self.start):.3f} s")
        for item in self._spacing.run(self._decode()):
            if isinstance(item, av.VideoFrame):
                self._pts = item.pts
            yield item
        self.notes += self._mended()

    def _mended(self) -> list[str]:
        """A line for every kind of time that was mended."""
        notes = []
        if self._clock.jumps:
            times = f"{len(self._clock.jumps)} times, first" if len(self._clock.jumps) > 1 else "once,"
            at = f"at {float(self._clock.jumps[0]):.2f} s"
            notes.append(f"the clock of the file jumps {times} {at}; what follows was joined on")
        if self._clock.wrong:
            notes.append(f"packets with a time far off: {self._clock.wrong}; they follow the one before")
        lacking = "frames without a time of their own"
        if self._spacing.between:
            notes.append(f"{lacking}: {self._spacing.between}; they were put between their neighbours")
        if self._spacing.by_rate:
            notes.append(f"{lacking}: {self._spacing.by_rate}; they were spaced by the frame rate")
        return notes

    def _decode(self) -> Generator[Item]:
        decoded = damaged = number = epoch = 0
        incomplete: list[int] = []  # numbers of the packets that are marked so
        for packet in self._clock.run(self._demux()):
            if packet.stream is not self.video:
                if packet.size:
                    yield packet
                continue
            number += 1
            if epoch != self._clock.epoch:  # joined files break the count of packets, which is no damage
                epoch = self._clock.epoch
                incomplete = [before for before in incomplete if before < number - MARKED_AT_JOINT]
            for frame in self._frames(packet):
                if isinstance(frame, Damage):
                    if frame is Damage.MARKED:
                        incomplete.append(number)
                    else:
                        damaged += 1
                    continue
                decoded += 1
                frame.pts = frame.dts if frame.pts is None else frame.pts
                yield frame
        if not decoded:
            raise self._error("has a video stream, but no frame of it can be decoded")
        damaged += len(incomplete)
        if damaged:
            self.notes.append(f"damaged places in the recording: {damaged}; what they held is missing or wrong")

    def _demux(self) -> Iterator[Packet]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, ValueError) as error:
                raise self._error(f"is damaged or cut off {self._place()} ({reason(error)})") from error
            if packet is None:
                return
            yield packet

    def _frames(self, packet: Packet) -> Iterator[av.VideoFrame | Damage]:
        """Decode one packet of the video, and tell of damage in a recording, which may be cut anywhere."""
        problem, kind = "a packet is incomplete" if packet.is_corrupt else "", Damage.MARKED
        try:
            frames = self.video.decode(packet)
        except av.FFmpegError as error:
            problem, frames, kind = reason(error), [], Damage.REFUSED
        if any(frame.is_corrupt for frame in frames):
            problem = "a frame is incomplete"
        if problem and not self.is_broadcast:
            raise self._error(f"is damaged or cut off {self._place()} ({problem})")
        if problem:
            log.info("%s: damaged %s: %s", self.path, self._place(), problem)
            yield kind
        yield from frames

    def _place(self) -> str:
        if self._pts is None:
            return "at its start"
        return f"after {float(self._pts * fraction(self.video.time_base)):.2f} s"

    def _until_first_frame(self) -> Iterator[Item]:
        for item in self._items:
            yield item
            if isinstance(item, av.VideoFrame):
                return

    def _describe(self, frame: Item) -> VideoInfo:
        assert isinstance(frame, av.VideoFrame), "the last of the early items is the first frame"
        side_data = {kind: bytes(memoryview(frame.side_data[kind])) for kind in frame.side_data}
        matrix = side_data.get(SideData.DISPLAYMATRIX)
        tagged = is_rgb(frame.format) or frame.colorspace not in (RGB, UNSPECIFIED, RESERVED)
        return VideoInfo(
            width=frame.width,
            height=frame.height,
            pix_fmt=frame.format.name,
            colour=colour_of(frame),
            time_base=fraction(self.video.time_base),
            rate=self._rate(),
            frames=self._expected_frames(),
            aspect=fraction(self.video.sample_aspect_ratio) or None,
            display_matrix=struct.unpack("=9i", matrix) if matrix else None,
            matrix_tagged=tagged,
            range_tagged=frame.color_range in (LIMITED, FULL),
            side_data=side_data,
            interlaced=frame.interlaced_frame,
        )

    def _rate(self) -> Fraction:
        """Mean frames per second; 25 if nothing tells."""
        rates = (self.video.average_rate, self.video.guessed_rate, self.video.base_rate)
        return next((fraction(rate) for rate in rates if fraction(rate) > 0), Fraction(25))

    def _expected_frames(self) -> int | None:
        if self.video.frames:
            return self.video.frames
        counted = next((value for key, value in self.video.metadata.items() if key.startswith("NUMBER_OF_FRAMES")), "")
        if counted.isdecimal():
            return int(counted)
        if self.video.duration:
            return round(self.video.duration * fraction(self.video.time_base) * self._rate()) or None
        if self.container.duration:
            return round(Fraction(self.container.duration, av.time_base) * self._rate()) or None
        return None

    def _error(self, what: str) -> MediaError:
        return MediaError(f"{self.path}: the file {what}.")


def fraction(value: AVRational) -> Fraction:
    """FFmpeg's rational as a Fraction; an undefined one (x/0) is 0."""
    return Fraction(value.numerator, value.denominator) if value.denominator else Fraction(0)


def reason(error: Exception) -> str:
    """What FFmpeg says, in one line, without the number and the file name."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
