"""What OpenCV would decode without a word but wrongly or in part, found in the file's structure beforehand."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from vs_smsr.errors import MediaError
from vs_smsr.media import tiff

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_START_OF_SCAN = 0xDA
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15 without DHT, JPG, DAC


def checked(data: bytes, name: str) -> bytes:
    """The file's bytes, ready for OpenCV.

    Raises:
        MediaError: it ends too early, moves, has several pages, or has a layout that would come out wrong.
    """
    if not data:
        raise MediaError(f"{name}: the file is empty.")
    if data.startswith(PNG):
        _check_png(data, name)
    elif data.startswith(JPEG):
        _check_jpeg(data, name)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _check_webp(data, name)
    elif data[:2] in (b"II", b"MM"):
        return _check_tiff(data, name)
    return data


def _check_png(data: bytes, name: str) -> None:
    """Source: PNG specification (third edition), chunk layout."""
    position, colour = len(PNG), None
    while True:
        length, kind = struct.unpack_from(">I4s", data.ljust(position + 8, b"\0"), position)
        if position + 12 + length > len(data):
            raise MediaError(f"{name}: the PNG file ends too early; it is damaged.")
        if kind == b"IEND":
            return
        if kind == b"IHDR":
            colour = data[position + 17]
        if kind == b"acTL":
            raise MediaError(f"{name}: an animated PNG, but only still images can be upscaled. Convert it to a video.")
        if kind == b"tRNS" and colour == 0:
            raise MediaError(f"{name}: a grey PNG with a transparent value (tRNS). Save it with an alpha channel.")
        position += length + 12


def _check_jpeg(data: bytes, name: str) -> None:
    for marker, start, _ in jpeg_segments(data):
        if marker in _START_OF_FRAME:
            components = data[start + 9] if start + 9 < len(data) else 0
            if components == 4:
                raise MediaError(f"{name}: a CMYK JPEG; only grey and RGB are supported. Convert it to RGB first.")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first and last + 1 position of every segment before the first scan (ITU-T T.81, annex B)."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield marker, position, position + 2 + length
        if marker == _START_OF_SCAN:
            return
        position += 2 + length


def _check_webp(data: bytes, name: str) -> None:
    """Source: RFC 9649, section 2.7 (the VP8X chunk's animation flag)."""
    if data[12:16] == b"VP8X" and len(data) > 20 and data[20] & 0b10:
        raise MediaError(f"{name}: an animated WebP, but only still images can be upscaled. Convert it to a video.")


def _check_tiff(data: bytes, name: str) -> bytes:
    try:
        directory = tiff.parse(data)
    except ValueError as error:
        raise MediaError(f"{name}: cannot read this TIFF: {error}.") from error

    def refuse(what: str, advice: str) -> MediaError:
        return MediaError(f"{name}: a TIFF {what} is not supported. {advice}")

    bits = directory.shorts(tiff.BITS, 1)
    (samples,) = directory.shorts(tiff.SAMPLES, 1)
    (photometric,) = directory.shorts(tiff.PHOTOMETRIC, 1)
    grey = photometric in (0, 1)
    if directory.following:
        raise refuse("with several pages", "Save the pages as single files.")
    if photometric not in (0, 1, 2, 3, 6):  # grey (2x), RGB, palette, YCbCr
        raise refuse("that is neither grey nor RGB (CMYK, Lab ...)", "Convert it to RGB first.")
    if max(bits) > 16 or set(directory.shorts(tiff.SAMPLE_FORMAT, 1)) != {1}:
        raise refuse("with other than 8 or 16 bit unsigned samples", "Save it with 16 bit.")
    if max(bits) > 8 and photometric == 0:
        raise refuse("of 16 bit in which 0 is white", "Save it with 0 as black.")
    if max(bits) > 8 and samples > 1 and directory.shorts(tiff.PLANAR, 1) != (1,):
        raise refuse("of 16 bit with separate planes", "Save it with interleaved (chunky) samples.")
    if tiff.EXTRA_SAMPLES not in directory.tags:
        return data
    kinds = directory.shorts(tiff.EXTRA_SAMPLES, 0)
    if grey or len(kinds) > 1:
        raise refuse("with extra channels besides RGB and alpha", "Save it as RGB with alpha.")
    if kinds == (tiff.PREMULTIPLIED,):
        raise refuse("with premultiplied alpha", "Save it with straight (unassociated) alpha.")
    # libtiff multiplies 8-bit colours by straight alpha when it makes RGBA; called premultiplied, they stay as is.
    return tiff.patch_short(data, directory.tags[tiff.EXTRA_SAMPLES], directory.order, tiff.PREMULTIPLIED)
