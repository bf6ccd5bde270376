"""Writing still images: the format that a name's ending asks for, and what it cannot hold, said."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow

from vs_smsr.errors import MediaError
from vs_smsr.media.images import FORMATS, Image, Pixels
from vs_smsr.media.metadata import INCH, NAMES, TIFF_TEXT, Metadata, with_metadata
from vs_smsr.media.targets import whole_or_nothing

QUALITY = 97  # of what is not lossless: nothing that the network adds is lost to the eye
GIF_NOTE = "GIF holds 256 colours a frame and no half-clear pixels; .png and .webp keep all."
_SEGMENT = 65533  # bytes that fit into one JPEG segment
_SEEN = ("gamma", "chromaticity", "colour")  # without which the picture looks different
_SEVERAL = ("exif", "icc", "xmp")


@dataclass(frozen=True)
class _Format:
    """What a format can hold, and how a file of it is made."""

    name: str
    write: Callable[[Pixels, Metadata, str], bytes]
    holds: tuple[str, ...] = ()
    alpha: bool = True
    deep: bool = False  # 16 bit


def write_image(path: Path, image: Image, overwrite: bool = False) -> tuple[str, ...]:
    """Write an image in the format of the path's ending; the file is there whole or not at all.

    PNG, WebP, TIFF, AVIF, BMP, PPM and TGA lose nothing; JPEG and HEIC have quality 97.

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
        MediaError: the ending is unknown, or its format cannot hold alpha or colour.
    """
    suffix, channels = path.suffix.lower(), 1 if image.pixels.ndim == 2 else image.pixels.shape[2]
    if suffix not in WRITABLE:
        raise MediaError(f"{path}: the ending must be one of {', '.join(sorted(WRITABLE))}, got {path.suffix!r}.")
    form = _WRITERS[FORMATS[suffix]]
    if channels == 4 and not form.alpha:
        raise MediaError(f"{path}: {form.name} cannot hold the image's alpha channel. Choose .png, .webp or .tif.")
    if channels > 1 and suffix == ".pgm":
        raise MediaError(f"{path}: .pgm holds grey only, and the image has colours. Choose .ppm.")


def encode(image: Image, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of `image` in the format of the path's ending, and what the format could not hold.

    Raises:
        MediaError: see `write_image`.
    """
    check(image, path)
    suffix, pixels = path.suffix.lower(), image.pixels
    form = _WRITERS[FORMATS[suffix]]
    metadata, notes = _kept(image, form)
    if pixels.dtype == np.uint16 and not form.deep:
        pixels = np.rint(pixels / np.float32(257)).astype(np.uint8)
        notes.append(f"{metadata.depth or 16} bit became 8 bit, as {suffix} holds no more.")
    elif pixels.dtype == np.uint16 and (metadata.depth or 16) > (most := _BITS.get(form.name, 16)):
        notes.append(f"{metadata.depth or 16} bit became {most} bit, as {suffix} holds no more.")
    if form.name == "GIF":
        notes.append(GIF_NOTE)
    try:
        with warnings.catch_warnings(action="ignore"):
            return form.write(pixels, metadata, suffix), tuple(notes)
    except MemoryError:
        raise
    except Exception as error:  # what encoders raise, such as a side that is too long for the format
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise MediaError(f"{path}: cannot encode {size} pixels as {suffix}: {str(error).rstrip('.')}.") from error


def _kept(image: Image, form: _Format) -> tuple[Metadata, list[str]]:
    """The metadata that fits the format; what does not is noted."""
    metadata = image.metadata
    dropped = dict.fromkeys(metadata.dropped_by(form.holds), f"it cannot be written into {form.name}")
    if metadata.icc and (metadata.icc[16:20] == b"GRAY") != (image.pixels.ndim == 2):
        # A grey profile on RGB pixels (or the reverse) makes a file that readers refuse.
        dropped["icc"] = "it is for another number of channels"
    if form.name == "JPEG":
        dropped |= {name: "it is too long for JPEG" for name in ("exif", "xmp") if len(getattr(metadata, name)) > 65500}
    comment = tuple(pair for pair in metadata.text if pair[0] == "Comment") if form.name == "JPEG" else ()
    if comment == metadata.text:
        dropped.pop("text", None)
    notes = [
        f"the {NAMES[name]} is not kept: {reason}.{' A .png keeps it.' if name in _SEEN else ''}"
        for name, reason in dropped.items()
    ]
    notes += [f"the {name} is not kept." for name in metadata.other]
    return replace(metadata.without(*dropped), text=comment or metadata.without(*dropped).text), notes


def _picture(pixels: Pixels, spread: bool = False) -> Pillow.Image:
    return Pillow.fromarray(np.dstack([pixels] * 3) if spread and pixels.ndim == 2 else pixels)


def _save(pixels: Pixels, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    _picture(pixels, spread=form == "WEBP").save(file, form, **options)
    return file.getvalue()


def _several(metadata: Metadata) -> dict[str, bytes]:
    """EXIF, profile and XMP as Pillow takes them."""
    options = {"exif": b"Exif\0\0" + metadata.exif if metadata.exif else b"", "icc_profile": metadata.icc}
    return {name: block for name, block in {**options, "xmp": metadata.xmp}.items() if block}


def _bgr(pixels: Pixels) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    made: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return made


def _by_opencv(suffix: str, pixels: Pixels, *parameters: int, blocks: dict[int, bytes] | None = None) -> bytes:
    kinds = {kind: np.frombuffer(block, np.uint8) for kind, block in (blocks or {}).items() if block}
    ok, data = cv2.imencodeWithMetadata(suffix, _bgr(pixels), list(kinds), list(kinds.values()), list(parameters))
    if not ok:
        raise ValueError("the encoder refuses it")
    return bytes(data.tobytes())


def _png(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    return with_metadata(_by_opencv(".png", pixels), metadata)


def _jpeg(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    options: dict[str, Any] = _several(metadata)
    if metadata.density:
        options["dpi"] = tuple(round(value) for value in metadata.density)
    if comment := dict(metadata.text).get("Comment"):
        options["comment"] = comment.encode()[:_SEGMENT]
    return _save(pixels, "JPEG", quality=QUALITY, subsampling="4:4:4", **options)


def _webp(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    # The colour of fully transparent pixels is kept too.
    return _save(pixels, "WEBP", lossless=True, exact=True, **_several(metadata))


def _tiff(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    options: dict[str, Any] = {}
    if metadata.density:
        options |= {"resolution": metadata.density, "resolutionunit": "inch"}
    text, extra = dict(metadata.text), []
    for tag, keyword in TIFF_TEXT.items():
        if keyword in text:
            value = text[keyword].encode() + b"\0"
            extra.append((tag, 2, len(value), value, True))
    if metadata.xmp:
        extra.append((700, 1, len(metadata.xmp), metadata.xmp, True))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        options["extrasamples"] = ["unassalpha"]
    file = io.BytesIO()
    import tifffile  # here, for it takes memory that a video has better uses for

    tifffile.imwrite(
        file,
        pixels,
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        compression="zlib",
        predictor=True,
        metadata=None,
        software=False,
        iccprofile=metadata.icc or None,
        extratags=extra,
        **options,
    )
    return file.getvalue()


def _avif(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    depth = 8
    if pixels.dtype == np.uint16:
        depth = 10 if metadata.depth == 10 else 12
        pixels = np.rint(pixels * ((2**depth - 1) / 65535)).astype(np.uint16)
    lossless = (cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_SPEED, 8)
    blocks = {
        cv2.IMAGE_METADATA_EXIF: metadata.exif,
        cv2.IMAGE_METADATA_ICCP: metadata.icc,
        cv2.IMAGE_METADATA_XMP: metadata.xmp,
    }
    return _by_opencv(".avif", pixels, *lossless, blocks=blocks)


def _heif(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    import pillow_heif

    mode = {2: "L", 3: {3: "RGB", 4: "RGBA"}.get(pixels.shape[-1])}[pixels.ndim] or "RGB"
    if pixels.dtype == np.uint16:
        mode = "I;16" if mode == "L" else f"{mode};16"
    picture = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    if metadata.icc:
        picture.info.update(icc_profile=metadata.icc, icc_profile_type="prof")
    options: dict[str, Any] = {name: block for name, block in _several(metadata).items() if name != "icc_profile"}
    for kind, body in metadata.colour:
        if kind == b"cICP":
            options |= {"color_primaries": body[0], "transfer_characteristic": body[1]}
    file = io.BytesIO()
    # 4:2:0, as readers of HEIC want it: from twice the size on, it has all chroma samples of such a source.
    picture.save(file, quality=QUALITY, chroma=420, **options)
    return file.getvalue()


def _pnm(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    if pixels.ndim == 2 and suffix == ".ppm":
        pixels = cv2.merge([pixels] * 3)
    white = np.iinfo(pixels.dtype).max
    header = f"P{5 if pixels.ndim == 2 else 6}\n{pixels.shape[1]} {pixels.shape[0]}\n{white}\n"
    return header.encode() + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


def _bmp(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    if pixels.ndim == 3 and pixels.shape[2] == 4:  # by OpenCV: Pillow's has no mark that there is alpha
        data = _by_opencv(".bmp", pixels)
        density = struct.pack("<2i", *(round(value / INCH) for value in metadata.density or (72, 72)))
        return data[:38] + density + data[46:]  # biXPelsPerMeter, biYPelsPerMeter
    return _save(pixels, "BMP", **({"dpi": metadata.density} if metadata.density else {}))


def _tga(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    return _save(pixels, "TGA")


def _gif(pixels: Pixels, metadata: Metadata, suffix: str) -> bytes:
    return _save(pixels, "GIF")


_BITS = {"AVIF": 12, "HEIC": 10}  # most that we write
_WRITERS = {
    "PNG": _Format("PNG", _png, tuple(NAMES), deep=True),
    "JPEG": _Format("JPEG", _jpeg, (*_SEVERAL, "density"), alpha=False),
    "WEBP": _Format("WebP", _webp, _SEVERAL),
    "TIFF": _Format("TIFF", _tiff, ("icc", "xmp", "density", "text"), deep=True),
    "AVIF": _Format("AVIF", _avif, _SEVERAL, deep=True),
    "HEIF": _Format("HEIC", _heif, (*_SEVERAL, "colour"), deep=True),
    "BMP": _Format("BMP", _bmp, ("density",)),
    "PPM": _Format("PPM", _pnm, alpha=False, deep=True),
    "TGA": _Format("TGA", _tga),
    "GIF": _Format("GIF", _gif),
}
WRITABLE = frozenset(suffix for suffix, form in FORMATS.items() if form in _WRITERS) - {".pbm"}  # endings
