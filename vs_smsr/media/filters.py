"""What is done to decoded frames before they are upscaled: deinterlacing and the container's crop, by libavfilter."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.filter import Graph
from av.video.stream import VideoStream


@dataclass(frozen=True)
class Crop:
    """Columns and rows at the edges that the container says are not to be shown."""

    top: int
    bottom: int
    left: int
    right: int

    def __str__(self) -> str:
        sides = {"top": self.top, "bottom": self.bottom, "left": self.left, "right": self.right}
        return ", ".join(f"{pixels} {side}" for side, pixels in sides.items() if pixels)


def crop_of(video: VideoStream) -> Crop | None:
    """Matroska's PixelCrop or the clean aperture of MP4 and MOV; None if all is shown or nothing would be left."""
    told = video.codec_context.coded_side_data.get("frame_cropping")
    if told is None:
        return None
    crop = Crop(*struct.unpack_from("<4I", told))
    context = video.codec_context
    is_left = crop.left + crop.right < context.width and crop.top + crop.bottom < context.height
    return crop if is_left and any((crop.top, crop.bottom, crop.left, crop.right)) else None


class Filters:
    """Frames on their way from the decoder; other items pass.

    A frame for a frame: of two fields the first is kept, and the lines between are made anew (bwdif). Times stay.

    Attributes:
        crop: see `crop_of`.
        deinterlace: whether frames that are marked as interlaced are deinterlaced.
        interlaced: frames that were so marked.
    """

    def __init__(self, video: VideoStream, deinterlace: bool) -> None:
        self.crop = crop_of(video)
        self.deinterlace = deinterlace
        self.interlaced = 0
        self._ticks = Fraction(video.time_base.numerator, video.time_base.denominator)
        self._graph: Graph | None = None
        self._made_for: tuple[object, ...] = ()

    def run[T](self, items: Iterable[T | av.VideoFrame]) -> Iterator[T | av.VideoFrame]:
        """Yield every item; frames may come later than those that came after them."""
        for item in items:
            if not isinstance(item, av.VideoFrame):
                yield item
                continue
            self.interlaced += item.interlaced_frame
            if not (self.crop or self.deinterlace):
                yield item
                continue
            shape = (item.width, item.height, item.format.name, item.colorspace, item.color_range)
            if shape != self._made_for:
                yield from self._flush()
                self._graph, self._made_for = self._build(item), shape
            assert self._graph is not None, "made for this shape of frame"
            self._graph.vpush(item)
            yield from self._pull()
        yield from self._flush()

    def _build(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(frame.time_base),
            colorspace=str(frame.colorspace),
            range=str(frame.color_range),
        )
        nodes = [source]
        if self.deinterlace:  # before the crop, which may take an odd number of rows
            nodes.append(graph.add("bwdif", mode="send_frame", deint="interlaced"))
        if self.crop:
            width = frame.width - self.crop.left - self.crop.right
            height = frame.height - self.crop.top - self.crop.bottom
            nodes.append(graph.add("crop", f"{width}:{height}:{self.crop.left}:{self.crop.top}:exact=1"))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph

    def _pull(self) -> Iterator[av.VideoFrame]:
        while self._graph:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            ticks = Fraction(frame.time_base.numerator, frame.time_base.denominator) / self._ticks  # bwdif halves them
            assert frame.pts is not None, "every frame went in with a time"
            frame.pts, frame.duration = round(frame.pts * ticks), round(frame.duration * ticks)
            frame.time_base = self._ticks
            yield frame

    def _flush(self) -> Iterator[av.VideoFrame]:
        if self._graph:
            self._graph.vpush(None)
            yield from self._pull()
        self._graph = None
