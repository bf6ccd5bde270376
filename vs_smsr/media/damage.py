"""Decoding a video stream that may be damaged: what is lost, what the decoder mended, and when that is refused."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vs_smsr.errors import MediaError
from vs_smsr.options import Damaged

log = logging.getLogger(__name__)
ONE_EACH = {"av1", "vp9"}  # every packet shows one frame; their decoders skip what they do not know without an error
THEORA_HEADER = 0x80
MARKED_AT_JOINT = 3  # a demuxer marks one of so many packets before a joint
NAMED = 3  # places that a note names
ADVICE = "Get the whole file, or upscale what can be decoded with --damaged keep"


@dataclass(frozen=True)
class Damage:
    """What a file lacks, or has only in part.

    Attributes:
        undecodable_at_start: frames before the first key frame, which nothing can decode.
        lost: packets of the video that gave no frame.
        repaired: frames of which a part was missing; the decoder filled it in.
        unreadable: places at which the container cannot be read; whether frames are missing there, nothing tells.
        seconds: where all of that is, in the time of the result.
        cut_off: the end of the file is missing.
        missing_at_end: frames that are missing there by what the file says of its length; None if it does not.
    """

    undecodable_at_start: int = 0
    lost: int = 0
    repaired: int = 0
    unreadable: int = 0
    seconds: tuple[float, ...] = ()
    cut_off: bool = False
    missing_at_end: int | None = None

    def __bool__(self) -> bool:
        return self != Damage()

    def shifted(self, seconds: Fraction) -> Damage:
        """The same with another time for 0."""
        return replace(self, seconds=tuple(round(second - float(seconds), 3) for second in self.seconds))

    def notes(self) -> list[str]:
        """A line for each kind of damage."""
        notes = []
        if self.undecodable_at_start:
            notes.append(
                f"video: starts between two key frames: {_frames(self.undecodable_at_start)} before the first that can "
                "be decoded are left out"
            )
        if self.lost or self.repaired or self.unreadable:
            places = list(dict.fromkeys(f"{second:.2f}" for second in self.seconds))
            more = f" and {len(places) - NAMED} more places" if len(places) > NAMED else ""
            kinds = [f"{_frames(self.lost)} lost"] if self.lost else []
            kinds += [f"{_frames(self.repaired)} repaired by the decoder, which may show"] if self.repaired else []
            kinds += ["parts of the file cannot be read, and frames may be missing there"] if self.unreadable else []
            notes.append(f"video: damaged at {', '.join(places[:NAMED])} s{more}: {', '.join(kinds)}")
        if self.cut_off:
            known = f": about {_frames(self.missing_at_end)} are missing there" if self.missing_at_end else ""
            notes.append(f"video: the end of the file is missing{known}")
        return notes


@dataclass(frozen=True)
class _Early:
    """A packet before the first frame: its time, whether a key frame came before or with it, whether it failed."""

    pts: int | None
    keyed: bool
    failed: bool


class Decoder:
    """Decodes the packets of one video stream.

    Args:
        video: the stream.
        damaged: see `VideoOptions`.
        lenient: "auto" takes lost frames too, as in a recording of a broadcast.
        refuse: makes the error from what is wrong.
    """

    def __init__(
        self, video: VideoStream, damaged: Damaged, lenient: bool, refuse: Callable[[str], MediaError]
    ) -> None:
        # Not by frame: PyAV drops a decoding error that follows a frame in the same call.
        video.thread_type = "SLICE"
        self._video, self._damaged, self._lenient, self._refuse = video, damaged, lenient, refuse
        self._ticks = Fraction(video.time_base.numerator, video.time_base.denominator)
        self._early: list[_Early] | None = []  # packets before the first frame
        self._keyed = False
        self._cut = False  # the last packet is incomplete
        self._undecodable = self._packets = self.frames = 0
        self._lost: list[float] = []  # seconds
        self._unreadable: list[float] = []  # seconds
        self._repaired: dict[float, int] = {}  # seconds and packet; a packet and the frame of it may both say so
        self._is_theora = video.codec_context.codec.canonical_name == "theora"
        self._one_each = video.codec_context.codec.canonical_name in ONE_EACH
        self._pending: deque[int] = deque()  # times of packets whose frame is still to come, in their order
        self._last = Fraction(0)  # seconds, of the last frame
        self._entry: int | None = None

    def enter(self, pts: int) -> None:
        """The first packet will be one in the middle, a key frame that is shown at `pts`.

        What comes after it but is shown before may lack what it refers to: it is left out, and no damage.
        """
        self._entry = pts

    def _leads(self, pts: int | None) -> bool:
        return self._entry is not None and pts is not None and pts < self._entry

    def decode(self, packet: Packet[Any]) -> Iterator[av.VideoFrame]:
        """The frames that a packet gives.

        Raises:
            MediaError: the packet is damaged, and that is to be refused.
        """
        self._packets += 1
        if not packet.size and (packet.pts is not None or packet.dts is not None):
            return  # Theora's way to show the frame before for longer; the packet that ends the stream has no time
        if self._is_theora and packet.size and memoryview(packet)[0] & THEORA_HEADER:
            return  # each of several joined recordings begins with its headers
        problem = ""
        try:
            frames = self._video.decode(packet)
        except (av.FFmpegError, ValueError) as error:  # the latter where the decoder cannot be opened
            problem, frames = getattr(error, "strerror", None) or str(error), []
        if self._entry is not None:
            frames = [frame for frame in frames if not self._leads(frame.dts if frame.pts is None else frame.pts)]
        leads = self._leads(packet.pts)
        if packet.size:
            self._cut = packet.is_corrupt or bool(problem)
        if leads:
            problem = ""
        if frames and self._early is not None:
            self._count_early(frames[0])
        if self._early is not None:
            self._keyed |= packet.is_keyframe
            if packet.size and not packet.is_discard and not leads:
                self._early.append(_Early(packet.pts, self._keyed, bool(problem)))
        elif problem:
            self._lose(packet, problem)
        elif self._one_each and packet.size and packet.pts is not None and not packet.is_discard:
            self._pending.append(packet.pts)
        if packet.is_corrupt and not problem and not any(frame.is_corrupt for frame in frames):
            self._repair(packet.pts, "a packet is incomplete")
        for frame in frames:
            self.frames += 1
            frame.pts = frame.dts if frame.pts is None else frame.pts
            self._settle(frame.pts)
            if frame.pts is not None:
                self._last = frame.pts * self._ticks
            if frame.is_corrupt:
                self._repair(frame.pts, "a frame is incomplete")
            yield frame

    def pass_joint(self) -> None:
        """The next packet is the first of another recording: what was marked just before was not damaged."""
        first = self._packets - MARKED_AT_JOINT
        self._repaired = {second: number for second, number in self._repaired.items() if number <= first}

    def _settle(self, pts: int | None) -> None:
        """A frame came, or None: no more will come. The packets before it gave none."""
        while self._pending and (pts is None or self._pending[0] < pts):
            self._drop(self._pending.popleft(), "no frame in a packet")
        if self._pending and self._pending[0] == pts:
            self._pending.popleft()

    def skip(self, problem: str) -> None:
        """The demuxer had to skip a part of the file that it cannot read.

        Raises:
            MediaError: that is to be refused.
        """
        if self._damaged == "stop":
            raise self._refuse(f"is damaged {self.place()} ({problem}). {ADVICE}")
        self._unreadable.append(float(self._last))
        log.info("unreadable near %.2f s: %s", self._last, problem)

    def finish(self, cut_off: bool, expected: int | None, at_end: bool = True) -> Damage:
        """What was found, after the last packet.

        Args:
            cut_off: the file is shorter than it says.
            expected: frames that it should have, if it tells.
            at_end: False if the last packets were not decoded, since nobody wants their frames.

        Raises:
            MediaError: nothing could be decoded, or the end is missing, and that is to be refused.
        """
        if at_end:
            self._settle(None)
        self._cut &= at_end
        if not self.frames:
            raise self._refuse("has a video stream, but no frame of it can be decoded")
        if self._repaired and self._damaged == "stop":
            raise self._refuse(f"is damaged at {min(self._repaired):.2f} s (a packet is incomplete). {ADVICE}")
        if self._cut and self._damaged == "auto" and not self._lenient:
            raise self._refuse(f"is damaged or cut off {self.place()} (its last packet is incomplete). {ADVICE}")
        cut_off |= self._cut and not self._lenient
        missing = max(expected - self.frames - self._undecodable - len(self._lost), 0) if cut_off and expected else None
        places = tuple(sorted({round(second, 3) for second in (*self._lost, *self._repaired, *self._unreadable)}))
        found = (len(self._lost), len(self._repaired), len(self._unreadable))
        return Damage(self._undecodable, *found, places, cut_off, missing)

    def place(self) -> str:
        """Where the decoder is, for an error."""
        return f"after {float(self._last):.2f} s" if self.frames else "at its start"

    def _count_early(self, first: av.VideoFrame) -> None:
        """Count the packets that come before the first frame and gave none: decoders drop them without a word."""
        for early in self._early or []:
            timed = early.pts is not None and first.pts is not None
            dropped = early.pts < first.pts if timed else not early.keyed  # type: ignore[operator]  # both are timed
            self._undecodable += early.failed or dropped
        self._early = None
        if self._undecodable and self._damaged == "stop":
            raise self._refuse(
                f"starts between two key frames: {_frames(self._undecodable)} cannot be decoded. {ADVICE}"
            )

    def _lose(self, packet: Packet[Any], problem: str) -> None:
        if self._damaged == "auto" and not self._lenient:
            raise self._refuse(f"is damaged {self.place()}: a frame cannot be decoded ({problem}). {ADVICE}")
        self._drop(packet.dts if packet.pts is None else packet.pts, problem)

    def _drop(self, pts: int | None, problem: str) -> None:
        if self._damaged == "stop":
            raise self._refuse(f"is damaged {self.place()} ({problem}). {ADVICE}")
        self._lost.append(self._seconds(pts))
        log.info("lost at %.2f s: %s", self._lost[-1], problem)

    def _repair(self, pts: int | None, problem: str) -> None:
        if self._damaged == "stop" and not self._lenient:  # else a joint may follow
            raise self._refuse(f"is damaged {self.place()} ({problem}). {ADVICE}")
        self._repaired[self._seconds(pts)] = self._packets
        log.info("repaired at %.2f s: %s", self._seconds(pts), problem)

    def _seconds(self, pts: int | None) -> float:
        return float(self._last if pts is None else pts * self._ticks)


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
