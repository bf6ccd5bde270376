"""A part of a video: where decoding may begin, which frames and packets belong to it, and times from 0.

No seek is trusted. All packets are read from the first on, so that frames are counted and the clock is mended as for
the whole file; what a range saves is decoding. `locate` looks through the packets, decoding none, for the last key
frame before the range at which a decoder may begin (see `media.keyframes`). Where there is no such frame, or packets
and frames cannot be matched, decoding begins with the first frame and frames are counted as they come.

What belongs to a range: frames from `start` on and before `end`, to half a millisecond. Of sound and data
the packets that begin between the first frame of the range and the first after it; of subtitles those that show then,
cut to it. Sound that belongs to no frame (before the first one, after the last) stays where the range has that end of
the file.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vs_smsr.media.keyframes import is_entry, shows_one_frame_a_packet
from vs_smsr.media.main_video import STILL
from vs_smsr.options import Range

BEYOND = Fraction(10)  # seconds of the file after a range in which packets of other streams may belong to it
REORDERED = 64  # packets after the last of a range among which it may be shown; H.264 and HEVC reorder 16
NEAR = Fraction(1, 2000)  # seconds by which times are off that somebody read and rounded
FAR = 1 << 62  # ticks
STATE = Fraction(10)  # seconds for which a subtitle shows that does not tell how long


class NoFrameError(Exception):
    """A range that holds no frame; says how far the frames before it reach."""

    def __init__(self, frames: int, last: Fraction) -> None:
        reach = f"frame {frames - 1} at {float(last):.3f} s is the last before it" if frames else "all frames are later"
        super().__init__(f"has no frame in the range: {reach}")


@dataclass(frozen=True)
class Located:
    """A range as its packets show it, on the mended clock of the file.

    Attributes:
        packet: number of the video packet with which decoding begins, counted from 0.
        pts: when its frame is shown.
        start, end: ticks of the first frame of the range and of the first after it; None: no frame is after it.
        frames: in the range.
    """

    packet: int
    pts: int
    start: int
    end: int | None
    frames: int


def locate(packets: Iterable[Packet[Any]], video: VideoStream, part: Range, before: int) -> Located | None:
    """Find a range in the packets of a file, times mended; None: the frames must be counted from the first on.

    Args:
        before: frames before the range that are decoded as well, for filters that look back.

    Raises:
        NoFrameError: the range holds none.
    """
    if (part.first or part.last is not None) and not shows_one_frame_a_packet(video.codec_context):
        return None
    ticks = _ticks(video)
    shown: list[tuple[int, int]] = []  # (pts, number) of the packets that are shown
    entries: list[tuple[int, int]] = []  # (number, pts) of those that decoding may begin with
    count = 0
    stop = None if part.end is None else part.end + BEYOND
    for packet in packets:
        if packet.stream_index != video.index or not packet.size:
            continue
        if packet.pts is None or packet.is_corrupt or packet.has_sidedata("new_extradata"):
            return None
        if not packet.is_discard:
            shown.append((packet.pts, count))
        if is_entry(packet, video.codec_context):
            entries.append((count, packet.pts))
        if not count and (not entries or packet.is_discard):
            return None  # how many frames are lost or hidden before the first, only a decoder tells
        count += 1
        if stop is not None and packet.pts * ticks > stop:
            break
        if part.last is not None and len(shown) > part.last + REORDERED:
            break
    return _located(shown, entries, part, before, ticks)


def _located(
    shown: list[tuple[int, int]], entries: list[tuple[int, int]], part: Range, before: int, ticks: Fraction
) -> Located | None:
    in_time = sorted(shown)
    times = [pts for pts, _ in in_time]
    if not entries or len(set(times)) < len(times) or times[0] < entries[0][1]:
        return None
    begin, end = bounds(part, ticks)
    first = part.first or bisect.bisect_left(times, begin)
    stop = len(times)
    if part.last is not None:
        stop = min(part.last + 1, stop)
    elif end is not None:
        stop = bisect.bisect_left(times, end)
    if first >= stop:
        raise NoFrameError(stop, times[stop - 1] * ticks if stop else Fraction(0))
    needed = max(first - before, 0)
    earliest = min(number for _, number in in_time[needed:])
    fitting = (entry for entry in entries if entry[0] <= earliest and entry[1] <= times[needed])
    number, pts = max(fitting, default=entries[0])
    return Located(number, pts, times[first], times[stop] if stop < len(times) else None, stop - first)


def bounds(part: Range, ticks: Fraction) -> tuple[int, int | None]:
    """Start and end of a range of times in ticks of the video: the first that are not earlier, but for `NEAR`."""

    def tick(time: Fraction | float) -> int:
        return math.ceil((Fraction(time) - NEAR) / ticks)

    begin = tick(part.start) if part.start else -FAR  # a file may begin before 0
    return begin, None if part.end is None else tick(part.end)


def frames_in(part: Range, frames: int | None, rate: Fraction) -> int | None:
    """How many frames a range probably has, of so many at so many per second; None if that is not known."""
    if frames is None and part.end is None and part.last is None:
        return None
    length = Fraction(frames) if frames is not None else Fraction(1 << 62)
    begin = max(Fraction(part.first), Fraction(part.start) * rate)
    ends = [length] if part.end is None else [length, Fraction(part.end) * rate]
    if part.last is not None:
        ends.append(Fraction(part.last + 1))
    return max(round(min(ends)) - round(begin), 0)


class Cut:
    """Takes a range out of a file's frames and packets, and puts its first frame at 0.

    A range that begins with the file keeps the file's own beginning, where sound may come before the first frame.

    Attributes:
        origin: seconds that are taken off all times, as far as it is known; 0 before.
        end: seconds on the file's clock at which the range ends, as far as it is known; None: with the file.
        over: a frame after the range has come; no further frame is needed.
        frames: that came before the end of the range.
        last: seconds on the file's clock of the last of them.
    """

    def __init__(self, part: Range, located: Located | None, video: VideoStream, rate: Fraction) -> None:
        self._ticks, self._rate = _ticks(video), rate
        self._from_start = not (part.start or part.first)
        self._first, self._stop = part.first, None if part.last is None else part.last + 1  # numbers
        self._begin, self._end = bounds(part, self._ticks)
        if located:
            self._first, self._stop, self._begin, self._end = 0, None, located.start, located.end
        self.origin = Fraction(0)
        self.end = None if self._end is None else self._end * self._ticks
        self.over = False
        self.frames, self.last = 0, Fraction(0)
        self._begun = False
        self._passed = None if self._from_start else self._begin * self._ticks  # no frame of the range is earlier
        self._waiting: list[Packet[Any]] = []
        self._keyed: set[int] = set()  # other streams of video that have begun

    def run(self, items: Iterable[av.VideoFrame | Packet[Any]]) -> Iterator[av.VideoFrame | Packet[Any]]:
        """Yield what belongs to the range; a packet once it is known that it does."""
        for item in items:
            if not isinstance(item, av.VideoFrame):
                if self._may_belong(item):
                    self._waiting.append(item)
                if self.over:
                    yield from self._release(None)
                continue
            assert item.pts is not None, "the reader gives every frame a time"
            if self.over:
                continue
            number, time = self.frames, item.pts * self._ticks
            if (self._stop is not None and number >= self._stop) or (self._end is not None and item.pts >= self._end):
                self.over = True
                self.end = time
                yield from self._release(None)
                continue
            self.frames, self.last = number + 1, time
            if item.pts < self._begin or number < self._first:
                self._passed = time
                self._waiting = list(filter(self._may_belong, self._waiting))
                continue
            if not self._begun:
                self._start(number)
            yield from self._release(time)
            item.pts -= round(self.origin / self._ticks)
            yield item
        yield from self._release(None)

    def _start(self, number: int) -> None:
        self._begun = True
        if not self._from_start:
            self.origin = self._passed = self.last
        if self._stop is not None:  # until the frame after the range tells
            self.end = self.last + (self._stop - number) / self._rate

    def _may_belong(self, packet: Packet[Any]) -> bool:
        """False for packets that are over before the range begins."""
        time = _time(packet)
        if self._passed is None or time is None or _is_still(packet.stream):
            return True
        if packet.stream.type == "subtitle":
            return time + (_length(packet) or STATE) > self._passed
        return time >= self._passed

    def _release(self, until: Fraction | None) -> Iterator[Packet[Any]]:
        """Those packets that wait and belong to the range; with `until` only those that begin no later."""
        if not self._begun:
            return
        late = []
        for packet in self._waiting:
            time = _time(packet)
            if until is not None and time is not None and time > until:
                late.append(packet)
            elif self._belongs(packet, time):
                yield packet
        self._waiting = late

    def _belongs(self, packet: Packet[Any], time: Fraction | None) -> bool:
        """Does a packet belong to the range? Then it gets its time in it."""
        if time is None or _is_still(packet.stream):
            return True
        if not self._may_belong(packet) or (self.end is not None and time >= self.end):
            return False
        ticks = _ticks(packet)
        if packet.stream.type == "subtitle" and not self._from_start:
            stop = time + _length(packet)
            time = max(time, self.origin)
            packet.pts = packet.dts = round(time / ticks)
            packet.duration = max(round((stop - time) / ticks), 0)
        if packet.stream.type == "subtitle" and self.end is not None:
            packet.duration = min(packet.duration or 0, round((self.end - time) / ticks))
        if packet.stream.type == "video" and not self._from_start:  # begins with a key frame
            if not packet.is_keyframe and packet.stream_index not in self._keyed:
                return False
            self._keyed.add(packet.stream_index)
        shift = round(self.origin / ticks)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        return True


def _ticks(of: Packet[Any] | VideoStream) -> Fraction:
    return Fraction(of.time_base.numerator, of.time_base.denominator)


def _time(packet: Packet[Any]) -> Fraction | None:
    """Seconds at which it is shown or heard; None if it does not tell."""
    pts = packet.dts if packet.pts is None else packet.pts
    return None if pts is None else pts * _ticks(packet)


def _length(packet: Packet[Any]) -> Fraction:
    return (packet.duration or 0) * _ticks(packet)


def _is_still(stream: Stream) -> bool:
    return bool(stream.disposition & STILL)
