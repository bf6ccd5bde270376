"""Between FFmpeg's frames and `Picture`s: the planes themselves, no number changed.

Here and not in media/, which knows nothing of engines. Formats that are not planes of whole codes (packed YUV, NV12,
P010, alpha, floats, palettes, big endian, RGB in limited range) have no layout: they go through `media.colour`'s RGB.
"""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Any, Literal

import av
from av.video.format import VideoFormat
from numpy.typing import NDArray

from vs_smsr.engine.picture import Layout, Picture, Sampling
from vs_smsr.media.colour import RGB, Colour, colour_of, depth, encoding_matrix, plane, tag

PlanarKind = Literal["planar", "yuv", "grey"]
PLANES = re.compile(r"(yuvj?4(44|40|22|20|11|10)p|gray|gbrp)(9|10|12|14|16)?(le)?")
PACKED = ("rgb24", "rgb48le")
CENTRED_ACROSS, CENTRED_DOWN = (2, 4, 6), (1, 2)  # chroma locations of H.273, as FFmpeg numbers them


@cache
def layout_of(pix_fmt: str, colour: Colour) -> Layout | None:
    """What the planes of a frame of that format and colour are; None: it goes through RGB."""
    target = VideoFormat(pix_fmt)
    bits = depth(target)
    dtype, peak = "uint8" if bits <= 8 else "uint16", (1 << bits) - 1
    if pix_fmt in PACKED or (pix_fmt.startswith("gbrp") and PLANES.fullmatch(pix_fmt)):
        return Layout("packed" if pix_fmt in PACKED else "planar", dtype, peak) if colour.full else None
    if not PLANES.fullmatch(pix_fmt):
        return None
    across, down = (4 - n.bit_length() + 1 for n in (target.chroma_width(1 << 4), target.chroma_height(1 << 4)))
    return planar_layout("grey" if pix_fmt.startswith("gray") else "yuv", bits, colour, across, down)


@cache
def planar_layout(kind: PlanarKind, bits: int, colour: Colour, across: int = 0, down: int = 0) -> Layout:
    """Of planes of whole codes.

    Args:
        bits: per sample, 8 to 16.
        across, down: log2 of luma samples per chroma sample, 0..2.
    """
    dtype, peak = "uint8" if bits <= 8 else "uint16", (1 << bits) - 1
    if kind == "planar":
        return Layout("planar", dtype, peak)
    rows = tuple(tuple(map(float, row)) for row in encoding_matrix(colour, bits))
    if kind == "grey":
        return Layout("grey", dtype, peak, rows[:1])
    return Layout(
        "yuv",
        dtype,
        peak,
        rows,
        across=_sampling(across, colour.siting in CENTRED_ACROSS),
        down=_sampling(down, colour.siting in CENTRED_DOWN, bottom=colour.siting in (5, 6)),
    )


def picture_of(frame: av.VideoFrame) -> Picture | None:
    """The frame's own planes, which live as long as the picture; None: the format has no layout."""
    layout = layout_of(frame.format.name, colour_of(frame))
    upright = all(memory.line_size > 0 for memory in frame.planes)
    return Picture(_planes(frame, layout), layout) if layout and upright else None


def frame_of(picture: Picture, pix_fmt: str, colour: Colour) -> av.VideoFrame:
    """A tagged frame of that format, whose layout the picture has."""
    frame = av.VideoFrame(picture.width, picture.height, pix_fmt)
    for target, source in zip(_planes(frame, picture.layout), picture.planes, strict=True):
        target[...] = source
    return tag(frame, dataclasses.replace(colour, matrix=RGB) if picture.layout.is_rgb else colour)


def _planes(frame: av.VideoFrame, layout: Layout) -> tuple[NDArray[Any], ...]:
    """Views of the frame's memory, in the order of the layout."""
    if layout.kind == "packed":
        return (plane(frame, 0, 3).reshape(frame.height, frame.width, 3),)
    order = (2, 0, 1) if layout.kind == "planar" else range(len(layout.shapes(2, 2)))  # FFmpeg has green, blue, red
    return tuple(plane(frame, index) for index in order)


def _sampling(shift: int, centred: bool, bottom: bool = False) -> Sampling:
    """For 2 ** shift luma samples per chroma sample."""
    return Sampling(shift, ((1 << shift) - 1) * (2 if bottom else centred))
