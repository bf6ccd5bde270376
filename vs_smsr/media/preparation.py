"""From results to frames that an encoder takes: format, colour, side data, and the time of the source frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.codec.codec import Codec
from av.sidedata.sidedata import Type as SideData

from vs_smsr.media import encoding, streams
from vs_smsr.media.colour import Array, Colour, from_rgb, has_alpha
from vs_smsr.media.reader import VideoInfo
from vs_smsr.options import VideoOptions

# What encoders take from each frame; only a frame that libswscale made from the source's has it.
PER_FRAME = {SideData.A53_CC, SideData.DYNAMIC_HDR_PLUS, SideData.S12M_TIMECODE, SideData.AFD}


@dataclass
class Changed:
    """Frames that could not be written as they are.

    Attributes:
        late: shown early or late, since the container counts time too coarsely.
        transparent: whose transparency the format has no place for.
        resized: that had another size than the first one.
    """

    late: int = 0
    transparent: int = 0
    resized: int = 0

    def __add__(self, other: Changed) -> Changed:
        return Changed(self.late + other.late, self.transparent + other.transparent, self.resized + other.resized)


class Preparation:
    """Frames of one result, in order.

    Attributes:
        size: (width, height) of the frames.
        pix_fmt, colour: of the frames.
        time_base: seconds per tick of the frames' times; the encoder's.
        ticks: seconds per tick in the container.
        changed: since it was last set to `Changed()`.
        first: seconds at which the first frame is shown.

    Raises:
        OptionError: the encoder does not take the format or size.
    """

    time_base: Fraction
    ticks: Fraction

    def __init__(self, info: VideoInfo, codec: Codec, size: tuple[int, int], options: VideoOptions) -> None:
        self._info = info
        self.pix_fmt = encoding.choose_pix_fmt(codec, info, size, options.pix_fmt)
        self.size = encoding.even_size(codec, self.pix_fmt, size, options)
        self.colour = encoding.output_colour(info, codec, self.pix_fmt)
        self.changed = Changed()
        self.first = Fraction(0)
        self._last_pts: int | None = None

    def frame(self, pixels: Array | av.VideoFrame, source: av.VideoFrame, alpha: Array | None = None) -> av.VideoFrame:
        """The next frame; see `Writer.prepare`."""
        ready = pixels if isinstance(pixels, av.VideoFrame) else self._converted(pixels, alpha)
        if PER_FRAME & set(source.side_data):
            ready = self._with_side_data(ready, source)
        self.changed.transparent += alpha is not None and bool(alpha.min() < 254.5) and not self._has_alpha
        self.changed.resized += (source.width, source.height) != (self._info.width, self._info.height)
        return self._timed(ready, source)

    def enlarged(self, sources: Iterable[av.VideoFrame], last: int) -> Iterator[av.VideoFrame]:
        """Source frames in the result's size and format, by bicubic interpolation, with the times they will have.

        It may run while another thread prepares frames.

        Args:
            last: pts of the frame before them.
        """
        for source in sources:
            frame = source.reformat(*self.size, format=self.pix_fmt, interpolation="BICUBIC", threads=1)
            last = self._time_after(last, source)
            yield self._at(frame, source, last)

    def _converted(self, pixels: Array, alpha: Array | None) -> av.VideoFrame:
        return from_rgb(pixels, self.pix_fmt, self.colour, self.size, alpha)

    @property
    def _has_alpha(self) -> bool:
        return has_alpha(av.VideoFormat(self.pix_fmt))

    def _with_side_data(self, frame: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
        carrier = source.reformat(*self.size, format=self.pix_fmt, interpolation="FAST_BILINEAR", threads=1)
        for old, new in zip(carrier.planes, frame.planes, strict=True):
            old.update(bytes(new))
        return carrier

    def _next_time(self, source: av.VideoFrame) -> int:
        pts = self._time_after(self._last_pts, source)
        if self._last_pts is None:
            self.first = pts * self.time_base
        self._last_pts = pts
        return pts

    def _time_after(self, last: int | None, source: av.VideoFrame) -> int:
        assert source.pts is not None, "the reader gives every frame a time"
        pts = round(source.pts * self._info.time_base / self.time_base)
        return pts if last is None else max(pts, last + 1)

    def _timed(self, frame: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
        pts = self._next_time(source)
        assert source.pts is not None, "the reader gives every frame a time"
        shown = round(pts * self.time_base / self.ticks) * self.ticks
        self.changed.late += abs(shown - source.pts * self._info.time_base) > streams.SEEN_LATE
        return self._at(frame, source, pts)

    def _at(self, frame: av.VideoFrame, source: av.VideoFrame, pts: int) -> av.VideoFrame:
        frame.pts, frame.time_base = pts, self.time_base
        frame.duration = round(source.duration * self._info.time_base / self.time_base)
        frame.pict_type = 0  # the encoder's choice, not the source's
        return frame


class Prepared:
    """A writer of frames that a `Preparation` makes.

    Attributes:
        preparation: makes the frames.
        size: (width, height) of the frames.
        pix_fmt, colour: of the frames.
    """

    preparation: Preparation

    @property
    def size(self) -> tuple[int, int]:
        return self.preparation.size

    @property
    def pix_fmt(self) -> str:
        return self.preparation.pix_fmt

    @property
    def colour(self) -> Colour:
        return self.preparation.colour
