"""What an image file says beside its pixels, in one form for all formats."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image as Pillow

PNG = b"\x89PNG\r\n\x1a\n"
INCH = 0.0254  # metres
_EXIF_HEAD = b"Exif\0\0"
_COLOUR_CHUNKS = (b"cICP", b"mDCV", b"cLLI", b"sRGB")
_SRGB = (b"sRGB", 0.45455, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06))  # what viewers assume anyway
# TIFF tag -> keyword of PNG's text.
TIFF_TEXT = {270: "Description", 305: "Software", 306: "Creation Time", 315: "Author", 33432: "Copyright"}
NAMES = {
    "exif": "EXIF",
    "icc": "ICC profile",
    "xmp": "XMP",
    "density": "density (dpi)",
    "gamma": "gamma",
    "chromaticity": "chromaticities",
    "colour": "colour tags (CICP, HDR)",
    "text": "text",
}


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Metadata of a still image; what is empty is not there.

    Attributes:
        exif: from its byte order mark on.
        icc: the profile, whole.
        xmp: the XML packet.
        density: pixels per inch across and down.
        gamma: exponent of the file, such as 0.45455.
        chromaticity: x and y of white, red, green and blue.
        colour: PNG's cICP, mDCV, cLLI and sRGB chunks by name, or what another format says in their form.
        text: (keyword, text).
        other: names of what the file has besides, which is not kept.
        depth: bits of a sample, where they may be other than those of the pixels read; 0: the same.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    density: tuple[float, float] | tuple[()] = ()
    gamma: float = 0.0
    chromaticity: tuple[float, ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    text: tuple[tuple[str, str], ...] = ()
    other: tuple[str, ...] = ()
    depth: int = 0

    def without(self, *dropped: str) -> Metadata:
        """The same with these fields empty."""
        return replace(self, **{name: getattr(EMPTY, name) for name in dropped})

    def dropped_by(self, kept: Collection[str]) -> list[str]:
        """The fields that hold something and are not among the kept ones, but for what viewers assume anyway."""
        names = [name for name in NAMES if getattr(self, name) and name not in kept]
        usual = {
            "gamma": abs(self.gamma - _SRGB[1]) < 1e-4,
            "chromaticity": bool(self.chromaticity) and self.chromaticity == _SRGB[2],
            "colour": all(kind == _SRGB[0] for kind, _ in self.colour),
        }
        return [name for name in names if not usual.get(name)]


EMPTY = Metadata()
_OTHER = {
    "photoshop": "IPTC and Photoshop data",
    "aspect": "pixel aspect ratio",
    "depth_images": "depth map",
    "aux": "auxiliary picture (such as a gain map)",
    "incomplete": "ICC profile, of which a part is missing,",
}
_MAKE, _MODEL, _IPTC, _PHOTOSHOP, _EXIF_IFD, _GPS_IFD = 271, 272, 33723, 34377, 34665, 34853  # TIFF tags


def of_picture(picture: Pillow.Image, data: bytes) -> Metadata:
    """The metadata of a file that Pillow has loaded; `data` are its bytes."""
    info: dict[Any, Any] = dict(picture.info)
    if picture.format == "TIFF":
        info["exif"] = _exif_of_tiff(picture)
        info["photoshop"] = {_IPTC, _PHOTOSHOP} & set(picture.tag_v2)  # type: ignore[attr-defined]
    if info.get("jfif_unit") == 0 and len(set(info.get("jfif_density", ()))) == 2:
        info["aspect"] = info["jfif_density"]
    if picture.format in ("JPEG", "MPO") and info.get("icc_profile", b"") is None:
        info["incomplete"] = True
    xmp = info.get("xmp") or b""
    return Metadata(
        exif=(info.get("exif") or b"").removeprefix(_EXIF_HEAD),
        icc=info.get("icc_profile") or b"",
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        density=_density(picture),
        gamma=float(info.get("gamma") or 0),
        chromaticity=tuple(info.get("chromaticity") or ()),
        colour=_colour_chunks(data) if data.startswith(PNG) else _nclx(info),
        text=tuple(_text(picture)),
        other=tuple(name for key, name in _OTHER.items() if info.get(key)),
    )


def _colour_chunks(png: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(chunk for chunk in _chunks(png) if chunk[0] in _COLOUR_CHUNKS)


def _exif_of_tiff(picture: Pillow.Image) -> bytes:
    """A block of what a TIFF has in its directories, where it has more than text."""
    tags = picture.getexif()
    block = Pillow.Exif()
    for ifd in (_EXIF_IFD, _GPS_IFD):
        if found := dict(tags.get_ifd(ifd)):
            block[ifd] = found
    for tag in (_MAKE, _MODEL, *TIFF_TEXT) if block or _MAKE in tags else ():
        if tag in tags:
            block[tag] = tags[tag]
    return block.tobytes() if block else b""


def _density(picture: Pillow.Image) -> tuple[float, float] | tuple[()]:
    density: tuple[Any, ...] = tuple(picture.info.get("dpi") or ())
    if len(density) != 2 or min(density) <= 0 or (picture.format == "TIFF" and picture.tag_v2.get(296, 2) == 1):  # type: ignore[attr-defined]
        return ()
    return float(density[0]), float(density[1])


def _nclx(info: dict[Any, Any]) -> tuple[tuple[bytes, bytes], ...]:
    """HEIF's colour tags as a cICP chunk of RGB; nothing if they are those that everybody assumes."""
    tags = info.get("nclx_profile")
    if not tags:
        return ()
    return cicp(tags["color_primaries"], tags["transfer_characteristics"])


def cicp(primaries: int, transfer: int) -> tuple[tuple[bytes, bytes], ...]:
    """Code points of ITU-T H.273 as a cICP chunk of RGB in full range; nothing for BT.709 primaries with sRGB's,
    BT.709's or an unnamed curve, which viewers assume anyway."""
    usual = primaries in (1, 2) and transfer in (1, 2, 6, 13)
    return () if usual else ((b"cICP", bytes((primaries, transfer, 0, 1))),)


def _text(picture: Pillow.Image) -> Iterator[tuple[str, str]]:
    if picture.format == "PNG":
        for keyword, text in picture.text.items():  # type: ignore[attr-defined]
            if keyword != "XML:com.adobe.xmp":
                yield str(keyword), str(text)
    elif picture.format == "TIFF":
        for tag, keyword in TIFF_TEXT.items():
            if text := picture.tag_v2.get(tag):  # type: ignore[attr-defined]
                yield keyword, str(text)
    elif comment := picture.info.get("comment"):
        yield "Comment", comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)


# ---- PNG's chunks: no library writes all of them beside 16-bit pixels. Source: PNG specification, third edition.


def check_png(data: bytes) -> None:
    """Is the file there to its last chunk?

    Raises:
        ValueError: it ends too early.
    """
    for _ in _chunks(data):
        pass


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of every chunk before IEND."""
    position = len(PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", data.ljust(position + 8, b"\0"), position)
        if position + 12 + length > len(data):
            raise ValueError("the PNG file ends too early; it is damaged")
        if kind == b"IEND":
            return
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def with_metadata(png: bytes, metadata: Metadata) -> bytes:
    """The PNG file with chunks for everything in `metadata`, after its header."""
    bodies = list(metadata.colour)
    if metadata.icc:
        bodies.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.gamma:
        bodies.append((b"gAMA", struct.pack(">I", round(metadata.gamma * 100_000))))
    if len(metadata.chromaticity) == 8:
        bodies.append((b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in metadata.chromaticity))))
    if metadata.density:
        bodies.append((b"pHYs", struct.pack(">2IB", *(round(value / INCH) for value in metadata.density), 1)))
    if metadata.exif:
        bodies.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        bodies.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    bodies += [_text_chunk(keyword, text) for keyword, text in metadata.text]
    after_header = len(PNG) + 25
    return png[:after_header] + b"".join(_chunk(*body) for body in bodies) + png[after_header:]


def _text_chunk(keyword: str, text: str) -> tuple[bytes, bytes]:
    name = keyword.encode("latin-1", "replace")[:79]
    try:
        return b"tEXt", name + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", name + b"\0\0\0\0\0" + text.encode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
