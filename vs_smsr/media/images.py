"""Image files: PNG, JPEG, WebP and TIFF, with 8 or 16 bit, grey or RGB, with or without alpha.

Pixels stay as they lie in the file: the EXIF orientation is not applied but kept, as is the rotation of a video.
(TIFF is the exception: its orientation cannot be written, so it is turned upright when it is read.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.errors import MediaError
from vs_smsr.media import image_checks, tiff
from vs_smsr.media.targets import whole_or_nothing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
JPEG_QUALITY = 97  # nothing that the network adds is lost to the eye
_JPEG_SUFFIXES = (".jpg", ".jpeg")
_EXIF, _ICC, _CICP = cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_ICCP, cv2.IMAGE_METADATA_CICP
_NAMES = {_EXIF: "EXIF", _ICC: "ICC profile", _CICP: "CICP colour tags"}
_ICC_PART = 65535 - 2 - 14  # bytes of a profile that fit into one JPEG segment

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Image:
    """A still image.

    Attributes:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB with straight alpha; uint8 or uint16, full range.
        metadata: EXIF, ICC profile and CICP as they lie in the file, by OpenCV's numbers.
    """

    pixels: Pixels
    metadata: Mapping[int, bytes] = field(default_factory=dict)


def is_image(path: Path) -> bool:
    """Is this an image by its suffix (in either case)?"""
    return path.suffix.lower() in SUFFIXES


def read_image(path: Path) -> Image:
    """Read an image file, whole or not at all.

    Raises:
        MediaError: it cannot be read, is damaged, moves, or has a layout that is not supported (CMYK, float ...).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot read: {error.strerror or error}.") from error
    data = image_checks.checked(data, str(path))
    buffer = np.frombuffer(data, np.uint8)
    try:
        pixels, kinds, blocks = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # such as more pixels than OpenCV allows
        raise MediaError(f"{path}: cannot decode: {error.err}.") from error
    if pixels is None:
        raise MediaError(f"{path}: not an image that can be decoded; the file is damaged or of another kind.")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"{path}: samples must be 8 or 16 bit, got {pixels.dtype}. Save it with 16 bit.")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    metadata = {int(kind): np.asarray(block, np.uint8).tobytes() for kind, block in zip(kinds, blocks, strict=True)}
    metadata = {kind: block for kind, block in metadata.items() if kind in _NAMES}
    if data[:2] in (b"II", b"MM") and tiff.ICC in (tags := tiff.parse(data).tags):
        metadata[_ICC] = tags[tiff.ICC].raw
    return Image(pixels, metadata)


def write_image(path: Path, image: Image, overwrite: bool = False) -> tuple[str, ...]:
    """Write an image in the format of the path's suffix; the file is there whole or not at all.

    PNG, WebP and TIFF lose nothing; JPEG has quality 97 without chroma subsampling.

    Returns:
        What the format could not hold, one sentence each.
    Raises:
        OutputExistsError: the file exists and overwrite is False.
        MediaError: the format is unknown or cannot hold the image, or the file cannot be written.
    """
    data, notes = encode(image, path)
    with whole_or_nothing(path, overwrite) as temporary:
        temporary.write_bytes(data)
    return notes


def check(image: Image, path: Path) -> None:
    """Can an image of these channels be written under this name?

    Raises:
        MediaError: the suffix is unknown, or JPEG is to hold alpha.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MediaError(f"{path}: the suffix must be one of {', '.join(sorted(SUFFIXES))}, got {path.suffix!r}.")
    if suffix in _JPEG_SUFFIXES and image.pixels.ndim == 3 and image.pixels.shape[2] == 4:
        raise MediaError(f"{path}: JPEG cannot hold the image's alpha channel. Choose .png, .webp or .tif.")


def encode(image: Image, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of `image` in the format of the path's suffix, and what the format could not hold.

    Raises:
        MediaError: see `write_image`.
    """
    check(image, path)
    suffix, pixels = path.suffix.lower(), image.pixels
    notes: list[str] = []
    metadata = _kept(image, suffix, notes)
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    if pixels.dtype == np.uint16 and suffix in (*_JPEG_SUFFIXES, ".webp"):
        pixels = np.rint(pixels / np.float32(257)).astype(np.uint8)
        notes.append(f"16 bit became 8 bit, as {suffix} holds no more.")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGR)
    beside = metadata.pop(_ICC, None) if suffix not in (".png", ".webp") else None  # not written by OpenCV there
    blocks = [np.frombuffer(block, np.uint8) for block in metadata.values()]
    try:
        ok, encoded = cv2.imencodeWithMetadata(suffix, pixels, list(metadata), blocks, _parameters(suffix))
    except cv2.error as error:
        raise MediaError(f"{path}: cannot encode: {error.err}.") from error
    if not ok:
        raise MediaError(f"{path}: cannot encode {pixels.shape[1]}x{pixels.shape[0]} pixels as {suffix}.")
    data = bytes(encoded.tobytes())
    if suffix in _JPEG_SUFFIXES and beside:
        data = _with_profile(data, beside)
    if suffix in (".tif", ".tiff"):
        data = tiff.add_tags(data, beside, has_alpha)
    return data, tuple(notes)


def _kept(image: Image, suffix: str, notes: list[str]) -> dict[int, bytes]:
    """The metadata that fits the format; what does not is noted."""
    holds = {".png": (_EXIF, _ICC, _CICP), ".tif": (_ICC,), ".tiff": (_ICC,)}.get(suffix, (_EXIF, _ICC))
    kept = {}
    for kind, block in image.metadata.items():
        # A grey profile on RGB pixels (or the reverse) makes a file that readers refuse.
        wrong = kind == _ICC and (block[16:20] == b"GRAY") != (image.pixels.ndim == 2)
        if kind in holds and not wrong:
            kept[kind] = block
        else:
            reason = "it is for another number of channels" if wrong else f"{suffix} cannot hold it"
            notes.append(f"the {_NAMES[kind]} is not kept: {reason}.")
    return kept


def _parameters(suffix: str) -> list[Any]:
    if suffix in _JPEG_SUFFIXES:
        chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        return [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *chroma]
    if suffix == ".webp":  # the colour of fully transparent pixels is kept too
        return [cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR]
    if suffix in (".tif", ".tiff"):
        return [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE]
    return []


def _with_profile(jpeg: bytes, profile: bytes) -> bytes:
    """The JPEG file with an ICC profile after its JFIF and EXIF segments; OpenCV writes none above 64 KiB.

    Source: ICC.1:2022, annex B.4: numbered APP2 segments.
    """
    parts = [profile[at : at + _ICC_PART] for at in range(0, len(profile), _ICC_PART)]
    segments = b""
    for number, part in enumerate(parts, 1):
        body = b"ICC_PROFILE\0" + bytes((number, len(parts))) + part
        segments += b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body
    at = 2
    for marker, _, end in image_checks.jpeg_segments(jpeg):
        if marker not in (0xE0, 0xE1):
            break
        at = end
    return jpeg[:at] + segments + jpeg[at:]
