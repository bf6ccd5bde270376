"""Static HDR numbers (SMPTE ST 2086 mastering display, CTA-861.3 content light level): to the encoder and container.

Encoders take them as text and write them into the bitstream. Containers take them as side data of the stream, for which
PyAV has no setter; a Matroska header that holds nothing else is read, and its stream's parameters are copied.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO

import av
from av.bitstream import BitStreamFilterContext
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream

# Where the numbers go: FFmpeg's wrappers take them from the options of these encoders.
OPTIONS = {
    "libx264": ("x264-params", "mastering-display={}", "cll={},{}", ":"),
    "libx265": ("x265-params", "master-display={}", "max-cll={},{}", ":"),
    "libsvtav1": ("svtav1-params", "mastering-display={}", "content-light={},{}", ":"),
}
MATROSKA_NAMES = {
    "h264": "V_MPEG4/ISO/AVC",
    "hevc": "V_MPEGH/ISO/HEVC",
    "av1": "V_AV1",
    "vp8": "V_VP8",
    "vp9": "V_VP9",
    "ffv1": "V_FFV1",
    "prores": "V_PRORES",
    "mpeg2video": "V_MPEG2",
    "mpeg4": "V_MPEG4/ISO/ASP",
}


@dataclass(frozen=True)
class Hdr:
    """What a video says of the display that it was made on and of its brightest places; None where it does not.

    Attributes:
        primaries: x, y of red, green, blue and white (CIE 1931).
        luminance: of the display's black and white in cd/m2.
        light: MaxCLL and MaxFALL in cd/m2.
    """

    primaries: tuple[Fraction, ...] | None
    luminance: tuple[Fraction, ...] | None
    light: tuple[int, int] | None

    @classmethod
    def of(cls, side_data: dict[SideData, bytes]) -> Hdr:
        """Read FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
        primaries = luminance = light = None
        display = side_data.get(SideData.MASTERING_DISPLAY_METADATA)
        if display is not None:
            *pairs, has_primaries, has_luminance = struct.unpack_from("=22i", display)
            values = tuple(Fraction(n, d) if d else Fraction(0) for n, d in zip(pairs[::2], pairs[1::2], strict=True))
            primaries = values[:8] if has_primaries else None
            luminance = values[8:] if has_luminance else None
        level = side_data.get(SideData.CONTENT_LIGHT_LEVEL)
        if level is not None:
            light = struct.unpack_from("=2I", level)
        return cls(primaries, luminance, light)

    def __bool__(self) -> bool:
        return self != Hdr(None, None, None)


def encoder_options(codec: str, hdr: Hdr) -> dict[str, str]:
    """The option of an encoder that takes the numbers as text; empty for other encoders."""
    if codec not in OPTIONS:
        return {}
    key, mastering, light, separator = OPTIONS[codec]
    parts = []
    if hdr.primaries and hdr.luminance:  # they take both or none
        parts.append(mastering.format(_text(codec, hdr.primaries, hdr.luminance)))
    if hdr.light:
        parts.append(light.format(*hdr.light))
    return {key: separator.join(parts)} if parts else {}


def tell_container(stream: VideoStream, hdr: Hdr) -> None:
    """Let the container of a new stream hold the numbers, if it can. All else is to be set afterwards."""
    name = MATROSKA_NAMES.get(stream.codec_context.codec.canonical_name)
    if hdr and name:
        with av.open(BytesIO(_matroska(name, hdr)), format="matroska") as header:
            BitStreamFilterContext("null", header.streams.video[0], stream)


def _text(codec: str, primaries: tuple[Fraction, ...], luminance: tuple[Fraction, ...]) -> str:
    """The mastering display as the encoder spells it."""
    red, green, blue, white = (primaries[first : first + 2] for first in range(0, 8, 2))
    darkest, brightest = luminance
    if codec == "libsvtav1":
        point = "({:.5f},{:.5f})".format
        light = f"({float(brightest):.4f},{float(darkest):.4f})"
        pairs = [point(float(x), float(y)) for x, y in (green, blue, red, white)]
    else:  # units of SMPTE ST 2086: 0.00002 and 0.0001 cd/m2
        light = f"({round(brightest * 10_000)},{round(darkest * 10_000)})"
        pairs = [f"({round(x * 50_000)},{round(y * 50_000)})" for x, y in (green, blue, red, white)]
    return "".join(name + pair for name, pair in zip(("G", "B", "R", "WP", "L"), [*pairs, light], strict=True))


def _matroska(codec: str, hdr: Hdr) -> bytes:
    """A Matroska file with one video track and an empty block. Source: RFC 9559 section 5."""
    display = b"".join(_float(0x55D1 + number, value) for number, value in enumerate(hdr.primaries or ()))
    display += b"".join(_float(id, value) for id, value in zip((0x55DA, 0x55D9), hdr.luminance or (), strict=False))
    colour = b"".join(_integer(id, value) for id, value in zip((0x55BC, 0x55BD), hdr.light or (), strict=False))
    colour += _element(0x55D0, display) if display else b""
    video = _integer(0xB0, 64) + _integer(0xBA, 64) + _element(0x55B0, colour)
    named = _element(0x86, codec.encode())
    track = _integer(0xD7, 1) + _integer(0x73C5, 1) + _integer(0x83, 1) + named + _element(0xE0, video)
    cluster = _integer(0xE7, 0) + _element(0xA3, b"\x81\0\0\x80\0")
    info = _integer(0x2AD7B1, 1_000_000)  # ns per tick
    parts = (0x1549A966, info), (0x1654AE6B, _element(0xAE, track)), (0x1F43B675, cluster)
    segment = b"".join(_element(id, content) for id, content in parts)
    return _element(0x1A45DFA3, _element(0x4282, b"matroska")) + _element(0x18538067, segment)


def _element(id: int, content: bytes) -> bytes:
    size = len(content) | 1 << 56  # 8 bytes
    return id.to_bytes((id.bit_length() + 7) // 8) + size.to_bytes(8) + content


def _integer(id: int, value: int) -> bytes:
    return _element(id, value.to_bytes(8))


def _float(id: int, value: Fraction) -> bytes:
    return _element(id, struct.pack(">d", value))
