"""Encoding a video in chunks, each by an encoder of its own, so that their packets can be joined.

A chunk begins with a key frame and refers to nothing outside of it. An encoder that looks ahead gets a tail: enlarged
source frames that follow the chunk, the first of them forced to be a key frame. Without it, quality sags before a
join, for an encoder that knows the end is near spends nothing on what would come. The tail's packets are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.frame import PictureType

from vs_smsr.errors import MediaError
from vs_smsr.media import durable, encoding
from vs_smsr.media.colour import Array
from vs_smsr.media.paths import url
from vs_smsr.media.preparation import Preparation, Prepared
from vs_smsr.media.reader import Packet, VideoInfo, fraction, reason
from vs_smsr.options import VideoOptions

# Frames that an encoder looks ahead by default; those that are not here look at one frame at a time.
LOOK_AHEAD = {"libx264": 40, "libx265": 40, "libsvtav1": 40, "libvpx-vp9": 25}
JOINED = {*LOOK_AHEAD, "ffv1", "prores_ks", "prores", "prores_aw"}  # encoders whose chunks are known to join
BY_RATE = ("b", "minrate", "maxrate", "bufsize", "pass", "flags")  # options that speak of the whole video
START = 60  # seconds at which a chunk's file begins, about: NUT takes no time below 0
FORCED_KEYS = ("libx264", "libx265")  # encoders that need to be told that a forced key frame is a real one


@dataclass(frozen=True)
class Encoded:
    """A chunk that was encoded.

    Attributes:
        frames: (pts, duration) of each in ticks of the encoder, in the order in which they are shown.
        decoded: pts of its packets, in the order in which they are decoded.
        sha256: of the file, in hexadecimal digits.
    """

    frames: tuple[tuple[int, int], ...]
    decoded: tuple[int, ...]
    sha256: str


def tail_of(codec: str, options: dict[str, str]) -> int:
    """How many frames a chunk's encoder is shown after its end."""
    if "zerolatency" in options.get("tune", ""):
        return 0
    for name in ("rc-lookahead", "lag-in-frames"):
        if options.get(name, "").isdecimal():
            return int(options[name])
    return LOOK_AHEAD.get(codec, 0)


class ChunkWriter(Prepared):
    """Takes the place of a `Writer` while chunks are made; one thread may prepare while another writes.

    Args:
        size: (width, height) of the result.
        ticks: seconds per tick in the container that the chunks will be joined in.
    """

    def __init__(self, info: VideoInfo, size: tuple[int, int], ticks: Fraction, options: VideoOptions) -> None:
        self._codec, self._info, self._options = encoding.find_encoder(options), info, options
        self.preparation = Preparation(info, self._codec, size, options)
        self.preparation.time_base, self.preparation.ticks = info.time_base, ticks
        self._container: OutputContainer | None = None
        self._frames: list[tuple[int, int]] = []
        self._decoded: list[int] = []

    def prepare(
        self, pixels: Array | av.VideoFrame, source: av.VideoFrame, alpha: Array | None = None
    ) -> av.VideoFrame:
        """See `Writer.prepare`."""
        return self.preparation.frame(pixels, source, alpha)

    def begin(self, path: Path) -> None:
        """Start a chunk, which will lie at that path."""
        self._path, self._aside = path, path.with_name(f"{path.name}.part")
        with self._explained():
            # NUT keeps any clock and needs no table at its end; for codecs that it does not know there is MOV.
            form = "mov" if self._codec.canonical_name == "prores" else "nut"
            settings = {"avoid_negative_ts": "disabled"}
            self._container = av.open(url(self._aside), "w", format=form, container_options=settings)
            self._stream = encoding.add_video(
                self._container, self._codec, self._info, self.size, self.pix_fmt, self._options
            )
        assert fraction(self._stream.codec_context.time_base) == self.preparation.time_base, (
            "NUT and MOV take any clock"
        )
        self._frames, self._decoded = [], []

    def write(self, frame: av.VideoFrame) -> None:
        """Encode a prepared frame."""
        assert frame.pts is not None, "prepare gives every frame a time"
        self._frames.append((frame.pts, frame.duration))
        with self._explained():
            self._mux(frame, None)

    def end(self, following: Sequence[av.VideoFrame]) -> Encoded:
        """End the chunk and put it in place.

        Args:
            following: source frames that come after it, for the encoder to look ahead.
        """
        assert self._container is not None, "begin comes first"
        stop = None
        with self._explained():
            for frame in self.preparation.enlarged(following, self._frames[-1][0]):
                if stop is None:
                    stop, frame.pict_type = frame.pts, PictureType.I
                self._mux(frame, stop)
            self._mux(None, stop)
            self._container.close()
            self._container = None
            durable.settle(self._aside, self._path)
        return Encoded(tuple(self._frames), tuple(self._decoded), digest(self._path))

    def abandon(self) -> None:
        """Leave an unfinished chunk; nothing of it stays."""
        if self._container is not None:
            with suppress(av.FFmpegError, ValueError):
                self._container.close()
            self._aside.unlink(missing_ok=True)

    def _mux(self, frame: av.VideoFrame | None, stop: int | None) -> None:
        assert self._container is not None, "begin comes first"
        for packet in encoding.encoded(self._stream, frame):
            assert packet.pts is not None, "encoders of videos give every packet a time"
            if stop is None or packet.pts < stop:
                self._decoded.append(packet.pts)
                start = START - round(self._frames[0][0] * self.preparation.time_base)
                moved = round(start / self.preparation.time_base)
                packet.pts, packet.dts = packet.pts + moved, None if packet.dts is None else packet.dts + moved
                self._container.mux(packet)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise MediaError(f"{self._path}: a chunk cannot be written ({reason(error)}).") from error
        except OSError as error:
            raise MediaError(f"{self._path}: a chunk cannot be written: {error.strerror or error}.") from error


def packets(path: Path, times: Sequence[int]) -> list[Packet]:
    """A chunk's packets in the order in which they are decoded.

    Args:
        times: `Encoded.decoded`: the pts that they get.

    Raises:
        MediaError: it cannot be read, or holds other packets.
    """
    try:
        with av.open(url(path)) as container:
            found = [packet for packet in container.demux(video=0) if packet.size]
    except (av.FFmpegError, IndexError) as error:
        raise MediaError(f"{path}: the chunk cannot be read.") from error
    if len(found) != len(times):
        raise MediaError(f"{path}: must hold {len(times)} packets, got {len(found)}.")
    for packet, pts in zip(found, times, strict=True):
        packet.pts = pts
    return found


def decoding_times(times: Sequence[int], frames: Sequence[int]) -> list[int]:
    """When each packet of a whole stream is decoded: strictly rising, and none later than it is shown.

    Args:
        times: pts of the packets in the order in which they are decoded.
        frames: the same pts, rising.
    """
    place = {pts: number for number, pts in enumerate(frames)}
    delay = max(number - place[pts] for number, pts in enumerate(times))
    step = frames[1] - frames[0] if len(frames) > 1 else 1
    before = [frames[0] - step * (delay - number) for number in range(delay)]
    return [*before, *frames[: len(frames) - delay]]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
