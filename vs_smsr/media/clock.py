"""One clock for all streams of a file: where it starts, where it jumps, and packets without a time.

Rules, in their order:

* Live-like containers (MPEG transport and program streams, FLV, Ogg) start anywhere, a recording at its time of day:
  their earliest packet is put at 0, and so is the first of the file where that is far off (Ogg whose sound begins at 0
  and whose picture at a time of day). Others keep their start, unless nobody would wait for it (10 s or more).
* The clock jumps where the times of a stream fall by more than 0.1 s, or, in live-like containers, where they are more
  than 10 s ahead of everything before: joined recordings, a restarted encoder, a wrapped counter. From there on all
  streams get one more offset, the same for all, each from its own jump on, as streams do not jump at the same place of
  the file. It is the least offset with which the picture has no overlap and no other stream falls back. So sound and
  picture stay as far apart as in the recording.
* One packet alone with a time far off is no jump: it loses that time.
* Sound without a time follows the packet before it. For frames without one see `media.spacing`.
* No other time is touched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av
from av.container import InputContainer
from av.rational import AVRational

from vs_smsr.media.main_video import STILL

TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: the clock may jump and start anywhere
BACK = Fraction(1, 10)  # seconds that times may fall: jitter of bad muxers
AHEAD = Fraction(10)  # seconds without a packet of any stream that are a pause, not a jump
STEP = Fraction(1)  # a packet that comes so much later than expected may be a wrong one
LOOK_AHEAD = 1000  # packets
LOOK_AHEAD_BYTES = 64 << 20
SETTLED = Fraction(1)  # seconds after a jump in which the other streams are expected to jump as well
LEAST_STEP = Fraction(1, 1000)  # seconds between two packets of sound
PICTURES_TO_WAIT = 8  # a demuxer gives the last pictures before a jump only when the next one begins


class Stamped(Protocol):
    """What the clock reads and writes of a packet."""

    pts: int | None
    dts: int | None

    @property
    def stream_index(self) -> int: ...
    @property
    def is_keyframe(self) -> bool: ...
    @property
    def duration(self) -> int | None: ...
    @property
    def size(self) -> int: ...
    @property
    def time_base(self) -> AVRational | Fraction: ...


@dataclass
class _Stream:
    """How far a stream is; times in seconds."""

    epoch: int
    last: Fraction | None = None  # mended decoding time of the last packet
    end: Fraction | None = None  # mended, of what was shown so far
    step: Fraction = Fraction(0)  # between the last two packets


def is_live(container: InputContainer) -> bool:
    """True for containers that are made while something happens, with a clock that may start anywhere and jump."""
    return bool(container.format.flags & TS_DISCONT) or container.format.name == "flv"


def start_of(container: InputContainer) -> Fraction:
    """Seconds that are taken off all times of a file."""
    start = Fraction(container.start_time or 0, av.time_base)
    return start if is_live(container) or abs(start) >= AHEAD else Fraction(0)


def steady_streams(container: InputContainer) -> list[int]:
    """Indexes of the streams whose packets follow one another without a pause: sound and pictures that move."""
    kinds = ("audio", "video")
    return [stream.index for stream in container.streams if stream.type in kinds and not stream.disposition & STILL]


class Clock[P: Stamped]:
    """Mends the times of a file's packets, see the module's first lines.

    Attributes:
        jumps: seconds in the result at which the clock of the source jumped, as far as it was read.
        wrong: packets whose time was far off.
    """

    def __init__(self, picture: int, steady: Iterable[int], start: Fraction = Fraction(0), live: bool = False) -> None:
        """
        Args:
            picture: index of the video stream that is upscaled.
            steady: indexes of the streams of sound and picture, whose packets follow one another without a pause.
            start: seconds to take off all times.
            live: the clock may jump ahead as well.
        """
        self.jumps: list[Fraction] = []
        self.wrong = 0
        self._picture, self._steady, self._live = picture, {picture, *steady}, live
        self._offsets = [-start]  # of each epoch, from one jump to the next
        self._streams: dict[int, _Stream] = {}
        self._position: Fraction | None = None  # the furthest end of all steady streams

    def run(self, packets: Iterable[P]) -> Iterator[P]:
        """Yield every packet, with its times mended; subtitles and data of live-like containers a little later."""
        source = _LookAhead(packets)
        waiting: list[tuple[P, int]] = []  # and the number of pictures that each has seen
        for packet in source:
            if packet.size and packet.stream_index not in self._steady:
                waiting.append((packet, 0 if self._live else PICTURES_TO_WAIT))
            else:
                if packet.size:
                    self._mend(packet, source)
                yield packet
            seen = packet.stream_index == self._picture
            waiting = [(late, pictures + seen) for late, pictures in waiting]
            while waiting and waiting[0][1] >= PICTURES_TO_WAIT:
                yield self._near(waiting.pop(0)[0])
        for late, _ in waiting:
            yield self._near(late)

    def _mend(self, packet: P, source: _LookAhead[P]) -> None:
        """Mend a packet of sound or picture."""
        stream = self._streams.setdefault(packet.stream_index, _Stream(self.epoch))
        time = _time(packet)
        if time is not None and self._is_wrong(packet, time, stream, source):
            packet.pts = packet.dts = time = None
            self.wrong += 1
        if time is not None:
            epoch = self._epoch_of(stream, time)
            stream.epoch = self._new_epoch(packet, time, stream, source) if epoch is None else epoch
            _shift(packet, self._offsets[stream.epoch])
        elif packet.pts is not None:  # pictures in the order of decoding: their times fall and rise
            _shift(packet, self._offsets[stream.epoch])
        elif packet.stream_index != self._picture and stream.end is not None:
            packet.pts = packet.dts = round(stream.end / _ticks(packet))
        self._advance(packet, stream)

    @property
    def epoch(self) -> int:
        """Number of the jump that the picture passed last, 0 before the first."""
        picture = self._streams.get(self._picture)
        return picture.epoch if picture else 0

    def _fits(self, last: Fraction | None, mended: Fraction) -> bool:
        """Can a packet of this time follow one of the same stream at `last`?"""
        if self._position is None:
            return not self._live or abs(mended) <= AHEAD
        ahead = self._position + AHEAD if self._live else mended
        if last is None:
            return mended <= ahead and (not self._live or mended >= self._position - AHEAD)
        return last - BACK <= mended <= ahead

    def _epoch_of(self, stream: _Stream, time: Fraction) -> int | None:
        """The epoch that a packet continues: the stream's own, else the latest that it fits; None after a new jump."""
        others = (epoch for epoch in reversed(range(len(self._offsets))) if epoch != stream.epoch)
        fitting = (epoch for epoch in (stream.epoch, *others) if self._fits(stream.last, time + self._offsets[epoch]))
        return next(fitting, None)

    def _is_wrong(self, packet: P, time: Fraction, stream: _Stream, source: _LookAhead[P]) -> bool:
        """True if the packet is far off, but the stream's next one is not."""
        if stream.last is None or stream.end is None:
            return False
        offset, latest = self._offsets[stream.epoch], stream.end + STEP
        if stream.last - BACK <= time + offset <= latest or self._epoch_of(stream, time) not in (None, stream.epoch):
            return False
        times = (_time(later) for later in source.peek() if later.stream_index == packet.stream_index)
        following = next((found for found in times if found is not None), None)
        return following is not None and stream.last <= following + offset <= latest

    def _new_epoch(self, packet: P, time: Fraction, stream: _Stream, source: _LookAhead[P]) -> int:
        """Add the epoch that begins with this packet, and choose its offset by how all streams go on."""
        firsts = {packet.stream_index: (time, packet)}
        ends = {index: (known.last, known.end) for index, known in self._streams.items()}
        for later in source.peek():
            index, found = later.stream_index, _time(later)
            if found is None or index not in self._steady:
                continue
            if index in firsts:
                if found > firsts[index][0] + SETTLED:
                    break
                continue
            known = self._streams.get(index, _Stream(stream.epoch))
            last, end = ends.get(index, (None, None))
            mended = found + self._offsets[known.epoch]
            if last is not None and self._fits(last, mended):
                ends[index] = (
                    mended,
                    max(end or mended, _shown(later, found) - found + mended + _length(later, known)),
                )
            elif abs(found - time) <= AHEAD:
                firsts[index] = (found, later)
        offsets = []
        for index, (found, first) in firsts.items():
            last, end = ends.get(index, (None, None))
            if last is None or end is None:
                continue
            if index != self._picture:
                offsets.append(last + LEAST_STEP - found)
            elif first.is_keyframe:
                offsets.append(end - _shown(first, found))
            else:  # within a group of pictures, whose times rise in the order of decoding alone
                offsets.append(last + self._streams[index].step - found)
        offset = max(offsets, default=(self._position or 0) - time)
        self._offsets.append(offset)
        self.jumps.append(_shown(packet, time) + offset)
        return len(self._offsets) - 1

    def _near(self, packet: P) -> P:
        """Mend subtitles or data: in the epoch that puts them nearest to the picture."""
        time, now = _time(packet), self.epoch
        position = self._position or Fraction(0)
        recent = range(max(now - 1, 0), len(self._offsets)) if self._live and time is not None else [now]
        epoch = min(recent, key=lambda epoch: abs((time or 0) + self._offsets[epoch] - position))
        _shift(packet, self._offsets[epoch])
        return packet

    def _advance(self, packet: P, stream: _Stream) -> None:
        time = _time(packet)
        if time is None:
            return
        if packet.pts is not None and abs(packet.pts * _ticks(packet) - time) > AHEAD:
            packet.pts = None  # the counter wrapped between the two
        stream.step = Fraction(0) if stream.last is None else min(max(time - stream.last, Fraction(0)), STEP)
        end = _shown(packet, time) + _length(packet, stream)
        stream.last = time
        stream.end = end if stream.end is None else max(stream.end, end)
        self._position = end if self._position is None else max(self._position, end)


class _LookAhead[P: Stamped]:
    """Packets in their order, of which some can be seen before it is their turn."""

    def __init__(self, packets: Iterable[P]) -> None:
        self._source = iter(packets)
        self._seen: deque[P] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[P]:
        while self._seen or self._see():
            packet = self._seen.popleft()
            self._bytes -= packet.size
            yield packet

    def peek(self) -> Iterator[P]:
        """Those to come, up to a number and size; none is taken."""
        yield from list(self._seen)
        while len(self._seen) < LOOK_AHEAD and self._bytes < LOOK_AHEAD_BYTES and self._see():
            yield self._seen[-1]

    def _see(self) -> bool:
        packet = next(self._source, None)
        if packet is None:
            return False
        self._seen.append(packet)
        self._bytes += packet.size
        return True


def _ticks(packet: Stamped) -> Fraction:
    base = packet.time_base
    return Fraction(base.numerator, base.denominator)


def _time(packet: Stamped) -> Fraction | None:
    """Seconds at which a packet is decoded; None if it does not tell."""
    return None if packet.dts is None else packet.dts * _ticks(packet)


def _shown(packet: Stamped, time: Fraction) -> Fraction:
    return time if packet.pts is None else packet.pts * _ticks(packet)


def _length(packet: Stamped, stream: _Stream) -> Fraction:
    return packet.duration * _ticks(packet) if packet.duration else stream.step


def _shift(packet: Stamped, offset: Fraction) -> None:
    ticks = round(offset / _ticks(packet))
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
