"""Decoding: every video frame of a file in presentation order, and the packets of its other streams in between."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.container import InputContainer
from av.packet import Packet as AnyPacket
from av.rational import AVRational
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream

from vs_smsr.errors import MediaError
from vs_smsr.media.clock import TS_DISCONT, Clock, is_live, start_of, steady_streams
from vs_smsr.media.colour import FULL, LIMITED, RESERVED, RGB, UNSPECIFIED, Colour, colour_of, has_alpha, is_rgb
from vs_smsr.media.damage import ADVICE, Damage, Decoder
from vs_smsr.media.declared import declared
from vs_smsr.media.ffmpeg_log import errors_said
from vs_smsr.media.filters import Filters
from vs_smsr.media.flv import joined_flv
from vs_smsr.media.fragments import end_of_first_film
from vs_smsr.media.main_video import expected_frames, main_video, rate_of
from vs_smsr.media.paths import is_pipe, url
from vs_smsr.media.piped import Piped
from vs_smsr.media.ranges import BEYOND, Cut, Located, NoFrameError, frames_in, locate
from vs_smsr.media.script_source import is_script, open_script
from vs_smsr.media.side_data import LateSideData
from vs_smsr.media.spacing import Spacing
from vs_smsr.options import Damaged, Range

STILL_FORMATS = "_pipe"  # how FFmpeg names the formats of stills, since pipes hold several in a row

type Packet = AnyPacket[Any]  # of whatever kind of stream
type Item = av.VideoFrame | Packet


@dataclass(frozen=True)
class VideoInfo:
    """The video stream as its first frame shows it.

    Attributes:
        width, height: pixels that are shown, without what the container crops; a rotation is not applied.
        pix_fmt: FFmpeg's name of the pixel format.
        colour: resolved colour, see `colour_of`.
        time_base: seconds per tick of the frames' pts.
        rate: mean frames per second, as the container or codec tells.
        frames: expected number of frames, or None; may be off if the container only tells a duration.
        aspect: shape of a pixel, width / height; None if not told.
        display_matrix: FFmpeg's 9 numbers of rotation and flips, or None.
        matrix_tagged, range_tagged: False if the file does not name its matrix or range, and colour holds the usual.
        side_data: what hangs on the first frame (mastering display, content light level ...), as FFmpeg's bytes.
        interlaced: the first frame is two fields, and is not deinterlaced.
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

    def __init__(
        self,
        path: Path | str,
        damaged: Damaged = "auto",
        deinterlace: bool = False,
        part: Range = Range(),  # noqa: B008  # frozen
    ) -> None:
        """
        Args:
            path: any file that FFmpeg decodes, or a VapourSynth script.
            damaged, deinterlace: see `VideoOptions`.
            part: of the video, see `VideoOptions.range`.
        """
        self.path = Path(path)
        self.notes: list[str] = []
        self.damage = Damage()
        self._skips_video = False
        self._piped: Piped | None = None
        self._film_end: int | None = None
        self._cut = self._find_cut(damaged)
        try:
            self.container = self._open()
        except MediaError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:  # FFmpeg's end of file is no OSError
            what = f"{self._cut}, and what is there" if self._cut else "is not a media file that"
            raise self._error(f"{what} can{'not' * bool(self._cut)} be read ({reason(error)})") from error
        try:
            self.video = self._main_video()
            self._damaged = damaged
            self._decoder = Decoder(self.video, damaged, self.is_broadcast, self._error)
            self.filters = Filters(self.video, deinterlace)
            self.start = start_of(self.container)
            self._clock = _clock(self.container, self.video)
            self.part = part
            once = is_pipe(self.path) or is_script(self.path)  # looking through it first is not possible, or no gain
            self._located = self._locate() if part and not once else None
            if self._located:
                self._decoder.enter(self._located.pts)
            self._cut_out = Cut(part, self._located, self.video, rate_of(self.video))
            step = 1 / (rate_of(self.video) * fraction(self.video.time_base))
            self._spacing = Spacing(max(round(step), 1))
            self._late = LateSideData(fraction(self.video.time_base))
            self._items = self._in_time()
            self._early = list(self._until_first_frame())
            self.info = self._describe(self._early[-1])
        except BaseException:
            self._close_files()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._items.close()
        self._close_files()

    def _close_files(self) -> None:
        self.container.close()
        if self._piped:
            self._piped.close()

    def __iter__(self) -> Iterator[av.VideoFrame]:
        return (item for item in self.items() if isinstance(item, av.VideoFrame))

    def items(self) -> Iterator[Item]:
        """Frames in presentation order and the other streams' packets, as they come in the file; once."""
        early, self._early = self._early, []
        return chain(early, self._items)

    @property
    def origin(self) -> Fraction:
        """Seconds that are taken off all times: where the recording starts, and the range in it."""
        return self.start + self._cut_out.origin

    @property
    def shift(self) -> int:
        """Ticks that are taken off all times, as the range begins at 0."""
        return round(self._cut_out.origin / fraction(self.video.time_base))

    @property
    def entered(self) -> bool:
        """Does decoding begin at a key frame before the range, not at the first frame?"""
        return bool(self._located and self._located.packet)

    @property
    def length(self) -> Fraction | None:
        """Seconds from time 0 to the end of the range, as far as it is known; None: to the end of the file."""
        return None if self._cut_out.end is None else self._cut_out.end - self._cut_out.origin

    def _open(self) -> InputContainer:
        if is_pipe(self.path):
            self._piped = Piped(self.path)
            return av.open(self._piped, "r")
        if is_script(self.path):
            return open_script(self.path)
        return av.open(joined_flv(self.path) or url(self.path, end=self._film_end), "r")

    def _locate(self) -> Located | None:
        """Look through the packets for the range, decoding none."""
        with self._open() as again:
            video = again.streams[self.video.index]
            assert isinstance(video, VideoStream), "the same file"
            before = 2 if self.filters.deinterlace else 0
            try:
                with errors_said(by=again.format.name):
                    return locate(_clock(again, video).run(again.demux()), video, self.part, before)
            except NoFrameError as error:
                raise self._error(str(error)) from error
            except (av.FFmpegError, ValueError):  # damaged: reading it from the start tells where
                return None

    def packets(self) -> Iterator[Packet]:
        """The other streams' packets alone, as they come in the file; once.

        Nothing is decoded for it but a range, whose frames tell which packets belong to it.
        """
        if is_script(self.path):
            return iter(())
        self._skips_video = not self.part
        return (item for item in self.items() if not isinstance(item, av.VideoFrame))

    def _find_cut(self, damaged: Damaged) -> str:
        """What is wrong with the file's length if its end is missing, else nothing."""
        if is_pipe(self.path):
            return ""
        try:
            size, told, self._film_end = self.path.stat().st_size, declared(self.path), end_of_first_film(self.path)
        except OSError as error:
            raise self._error(f"cannot be read ({error.strerror})") from error
        if size == 0:
            raise self._error("is empty (0 bytes)")
        if self._film_end:
            self.notes.append(f"file: its last {size - self._film_end} bytes are another film, which is left out")
        elif told.odd:
            self.notes.append(f"file: {told.odd}")
        if told.size is None or told.size <= size:
            return ""
        cut = f"is cut off: it says it has {told.size} bytes, but there are {size}"
        if damaged != "keep":
            raise self._error(f"{cut}. {ADVICE}")
        return cut

    def _main_video(self) -> VideoStream:
        form = self.container.format.name
        if form.endswith(STILL_FORMATS) and not self._piped:
            raise self._error(f"is a still of a kind that is not read ({form.removesuffix('_pipe')})")
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
        try:
            frames = self.filters.run(self._spacing.run(self._decode()))
            yield from self._late.run(self._cut_out.run(frames) if self.part else frames)
        except av.FFmpegError as error:
            raise self._error(f"cannot be cropped or deinterlaced ({reason(error)})") from error
        if self._skips_video:
            return
        cut_off, expected = (
            (False, None) if self._cut_out.over else (bool(self._cut), expected_frames(self.container, self.video))
        )
        guessed = self.container.format.name in ("asf", "ogg")  # where they are cut off, from what is there
        found = self._decoder.finish(cut_off, None if self.part or guessed else expected, not self._cut_out.over)
        self.damage = found.shifted(self._cut_out.origin)
        self.notes += self._mended() + self.damage.notes() + self._late.notes()
        if self.filters.deinterlace and not self.filters.interlaced:
            self.notes.append("video: no frame is marked as interlaced; none was deinterlaced")

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
        epoch = 0
        undecoded = self._located.packet if self._located else 0
        for packet in self._clock.run(self._demux()):
            if packet.stream is not self.video:
                if packet.size:
                    yield packet
                continue
            if self._cut_out.over:
                if _is_beyond(packet, self._cut_out.end):
                    return
                continue
            if undecoded and packet.size:
                undecoded -= 1
                continue
            if epoch != self._clock.epoch:  # joined files break the count of packets, which is no damage
                epoch = self._clock.epoch
                self._decoder.pass_joint()
            if not self._skips_video:
                yield from self._decoder.decode(packet)

    def _demux(self) -> Iterator[Packet]:
        packets = self.container.demux()
        while True:
            try:
                with errors_said(by=self.container.format.name) as words:
                    packet = next(packets, None)
            except (av.FFmpegError, ValueError) as error:
                problem = f"is damaged or cut off {self._decoder.place()} ({reason(error)})"
                if self._damaged != "keep":
                    raise self._error(f"{problem}. {ADVICE}") from error
                self._cut = problem
                rest = AnyPacket()  # an empty one: the decoder gives what it holds
                rest.stream = self.video
                yield rest
                return
            if said := words():
                self._decoder.skip(said[0])
            if packet is None:
                if self._piped and self._piped.lacks_an_end:
                    self._cut = "is cut off: its last frame is incomplete"
                    if self._damaged != "keep":
                        raise self._error(f"{self._cut}. {ADVICE}")
                return
            yield packet

    def _until_first_frame(self) -> Iterator[Item]:
        for item in self._items:
            yield item
            if isinstance(item, av.VideoFrame):
                return
        if self.part:
            raise self._error(str(NoFrameError(self._cut_out.frames, self._cut_out.last)))

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
            rate=rate_of(self.video),
            frames=self._located.frames
            if self._located
            else frames_in(self.part, expected_frames(self.container, self.video), rate_of(self.video)),
            aspect=fraction(self.video.sample_aspect_ratio) or None,
            display_matrix=struct.unpack("=9i", matrix) if matrix else None,
            matrix_tagged=tagged,
            range_tagged=frame.color_range in (LIMITED, FULL),
            side_data=side_data,
            interlaced=frame.interlaced_frame,
        )

    def _error(self, what: str) -> MediaError:
        return MediaError(f"{self.path}: the file {what}.")


def _clock(container: InputContainer, video: VideoStream) -> Clock[Packet]:
    return Clock(video.index, steady_streams(container), start_of(container), is_live(container))


def _is_beyond(packet: Packet, end: Fraction | None) -> bool:
    """Is it so far behind the end of a range that no packet of another stream can follow that belongs to it?"""
    return end is not None and packet.dts is not None and packet.dts * fraction(packet.time_base) > end + BEYOND


def fraction(value: AVRational) -> Fraction:
    """FFmpeg's rational as a Fraction; an undefined one (x/0) is 0."""
    return Fraction(value.numerator, value.denominator) if value.denominator else Fraction(0)


def reason(error: Exception) -> str:
    """What FFmpeg says, in one line, without the number and the file name."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
