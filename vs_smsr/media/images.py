"""Reading still images: what the file is, its pixels with 8 or 16 bit, its metadata.

Pillow tells what a file is and decodes 8 bits; where a file has more, OpenCV, pillow-heif or imagecodecs does.
Pixels stay as they lie in the file: the EXIF orientation is not applied but kept, as is the rotation of a video.
(TIFF and HEIC are the exceptions: their libraries turn the picture upright.)
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from vs_smsr.errors import MediaError
from vs_smsr.media import jpeg
from vs_smsr.media import metadata as meta
from vs_smsr.media.metadata import EMPTY, Metadata
from vs_smsr.media.paths import is_file

# Endings -> what Pillow calls the format.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx"), "JPEG2000"),
    **{".pcx": "PCX", ".sgi": "SGI", ".qoi": "QOI", ".dds": "DDS", ".ico": "ICO"},
    **{".webp": "WEBP", ".gif": "GIF", ".tga": "TGA", ".avif": "AVIF", ".jxl": "JXL"},
}
SUFFIXES = frozenset(FORMATS)
# Stills that are not read; FFmpeg or Pillow would make a video, a preview or 8 bits of some.
UNREAD = frozenset(
    {".exr", ".hdr", ".dpx", ".pam", ".pfm", ".psd", ".xcf", ".svg", ".eps", ".fits"}
    | {".cur", ".icns", ".jls", ".jxr", ".pcd", ".pct", ".ras", ".sun", ".wdp", ".xbm", ".xpm", ".xwd"}
    | {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2"}
)
ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
# Where the file says that it is upright already or its sub-images are no pages.
_REDUCED, _DNG, _SUBFILE, _BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT, _EXTRA = 1, 50706, 254, 258, 262, 284, 339, 338
_UNMARKED = {"TGA", "PCX"}  # anything might be one, so their endings count too
_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
# Pillow's modes of 8 bits or less -> the one to take; the rest is not grey or RGB, or has more bits.
_MODES = {"1": "L", "L": "L", "LA": "RGBA", "La": "RGBA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB"} | {
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "YCbCr": "RGB",
}

_SIGNATURES = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"qoif", b"DDS "),
    *(b"\0\0\x01\0", b"\x0a", b"\x01\xda", b"\xff\x0a", b"\xff\x4f\xff\x51"),  # ICO, PCX, SGI, JPEG XL, JPEG 2000
    *(b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ", *(b"P%d" % n for n in range(1, 8))),
)
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # of HEIF
Kind = Literal["image", "animation", "video"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Image:
    """A still image.

    Attributes:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB with straight alpha; uint8 or uint16, full range.
        metadata: what the file says beside them.
        notes: what of the file is not here, one line each.
    """

    pixels: Pixels
    metadata: Metadata = EMPTY
    notes: tuple[str, ...] = ()


def is_image(path: Path) -> bool:
    """Is this an image by its ending (in either case)?"""
    return path.suffix.lower() in SUFFIXES


def kind_of(path: Path) -> Kind:
    """What a file is, by its content; one that is not there, or is no image, by its ending."""
    if path.suffix.lower() in UNREAD:
        return "image"
    if is_file(path) and (path.suffix.lower() in SUFFIXES or _has_signature(path)):
        with warnings.catch_warnings(action="ignore"):
            try:
                with opened(path, path.suffix) as picture:
                    moves = picture.format in ANIMATED and getattr(picture, "n_frames", 1) > 1
                    return "animation" if moves else "image"
            except Exception:  # Pillow raises whatever its decoders do; reading says what is wrong
                if _is_jxl(path):
                    return "image"
                if path.suffix.lower() not in SUFFIXES:
                    return "video"
    return "image" if is_image(path) else "video"


def _has_signature(path: Path) -> bool:
    """Does the file begin as an image does? Pillow's plug-ins take memory that a video has better uses for."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    webp, boxes = head[:4] == b"RIFF" and head[8:] == b"WEBP", head[4:8] == b"ftyp" and head[8:] in _STILL_BRANDS
    return webp or boxes or head.startswith(_SIGNATURES)


def natural_suffix(path: Path) -> str:
    """The usual ending of what the file is; its own where that cannot be told."""
    usual = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "PPM": ".ppm", "HEIF": ".heic"}
    with warnings.catch_warnings(action="ignore"):
        try:
            with opened(path, path.suffix) as picture:
                form = picture.format or ""
        except Exception:
            return path.suffix.lower()
    return usual.get(form, f".{form.lower()}")


def read_image(path: Path) -> Image:
    """Read an image file, whole or not at all.

    Raises:
        MediaError: it cannot be read, is damaged, moves, or has a layout that is not supported (CMYK, float ...).
    """
    if path.suffix.lower() in UNREAD:
        raise MediaError(f"{path}: stills of this kind are not read. Convert it to a PNG or TIFF of 16 bit.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot read: {error.strerror or error}.") from error
    if not data:
        raise MediaError(f"{path}: the file is empty.")
    try:
        with warnings.catch_warnings(action="ignore"):
            return _read_jxl(data) if data.startswith(_JXL) else _read(data, path.suffix)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        what = "not an image that can be decoded; the file is damaged or of another kind."
        if data[:2] in (b"II", b"MM"):
            what = "a TIFF that is damaged or has other samples than 8 or 16 bit unsigned. Save it with 16 bit."
        raise MediaError(f"{path}: {what}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error ...
        raise MediaError(f"{path}: cannot decode: {str(error).rstrip('.')}; the file is damaged.") from error


@contextmanager
def opened(source: Path | io.BytesIO, suffix: str) -> Iterator[Pillow.Image]:
    """Pillow's image, opened but not decoded; it knows the formats above and no other."""
    _set_up_libraries()
    formats = sorted(set(FORMATS.values()) - _UNMARKED - {"JXL"})
    if FORMATS.get(suffix.lower()) in _UNMARKED:
        formats.append(FORMATS[suffix.lower()])
    with Pillow.open(source, formats=formats) as picture:
        yield picture


@cache
def _set_up_libraries() -> None:
    import pillow_heif

    Pillow.init()
    pillow_heif.register_heif_opener()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own error is one line
    Pillow.MAX_IMAGE_PIXELS = 1 << 30  # a scan may be large; as OpenCV's own limit


def _read(data: bytes, suffix: str) -> Image:
    if data.startswith(meta.PNG):
        meta.check_png(data)
    with opened(io.BytesIO(data), suffix) as picture:
        notes = _refuse_or_note(picture)
        with _quiet() if picture.format in ("PNG", "TIFF") else nullcontext():
            pixels = _deep_pixels(picture, data)
            picture.load()
        metadata = meta.of_picture(picture, data)
        if pixels is None:
            pixels = _pixels(picture)
        if picture.format in ("JPEG", "MPO"):
            notes += jpeg.notes(data, one=picture.format == "JPEG")
        if picture.format == "AVIF":
            depth, colour = _avif_facts(data)
            metadata = replace(metadata, colour=colour, depth=depth)
        if picture.format == "HEIF":
            metadata = replace(metadata, depth=_heif_depth(data))
    return Image(pixels, metadata, tuple(notes))


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on stderr, where libtiff and libpng write what is wrong with a file; it is raised too."""
    try:
        kept = os.dup(2)
    except OSError:  # closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _refuse_or_note(picture: Pillow.Image) -> list[str]:
    """What is silently lost otherwise: refused where it is the picture, noted where it is beside it."""
    count = getattr(picture, "n_frames", 1)
    form = picture.format
    if form == "TIFF":
        count = _check_tiff(picture, count)
        if count > 1:
            raise MediaError(f"a TIFF with several pages ({count}) is not supported. Save the pages as single files.")
        return []
    if count > 1 and form in ANIMATED:
        name = {"PNG": "PNG", "WEBP": "WebP"}.get(form, form)
        raise MediaError(f"an animated {name} of {count} frames, but one still image is needed here.")
    if count > 1:
        return [f"the file holds {count} pictures ({form}); the first is upscaled, the others are not carried."]
    if form == "PNG" and picture.mode == "I;16" and "transparency" in picture.info:
        raise MediaError("a grey PNG of 16 bit with a transparent value (tRNS). Save it with an alpha channel.")
    return []


def _check_tiff(picture: Any, count: int) -> int:
    """The number of pages, without reduced copies.

    Raises:
        MediaError: a layout that would come out wrong.
    """
    tags = picture.tag_v2

    def refuse(what: str, advice: str) -> MediaError:
        return MediaError(f"a TIFF {what} is not supported. {advice}")

    if _DNG in tags or tags.get(_SUBFILE, 0) & _REDUCED:
        raise refuse("that holds a camera's raw data", "Develop it to a TIFF or PNG of 16 bit.")
    bits, photometric, extra = max(tags.get(_BITS, (1,))), tags.get(_PHOTOMETRIC, 1), tags.get(_EXTRA, ())
    if photometric not in (0, 1, 2, 3, 6):  # grey (2x), RGB, palette, YCbCr
        raise refuse("that is neither grey nor RGB (CMYK, Lab ...)", "Convert it to RGB first.")
    if bits > 16 or set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise refuse("with other than 8 or 16 bit unsigned samples", "Save it with 16 bit.")
    if len(extra) > 1 or (extra and photometric != 2):
        raise refuse("with extra channels besides RGB and alpha", "Save it as RGB with alpha.")
    if extra == (1,):
        raise refuse("with premultiplied alpha", "Save it with straight (unassociated) alpha.")
    if bits > 8 and photometric == 0:
        raise refuse("of 16 bit in which 0 is white", "Save it with 0 as black.")
    if bits > 8 and photometric == 2 and tags.get(_PLANAR, 1) != 1:
        raise refuse("of 16 bit with separate planes", "Save it with interleaved (chunky) samples.")
    pages = 1
    for number in range(1, count):
        picture.seek(number)
        pages += not picture.tag_v2.get(_SUBFILE, 0) & _REDUCED
    picture.seek(0)
    return pages


def _deep_pixels(picture: Any, data: bytes) -> Pixels | None:
    """The pixels of a file with more than 8 bits, on the scale of 16; None if it has 8, or Pillow gives all of them."""
    form = picture.format
    if form == "HEIF":
        return _heif_pixels(data)
    if form == "JPEG2000":
        return _decoded(data)
    if form == "AVIF":
        depth = _avif_facts(data)[0]
        return _scaled(_decoded(data), 2**depth - 1)
    described = picture.tile[0].args if picture.tile else ""  # raw mode, or a tuple that begins with it
    if form == "PPM":
        white = described[1] if isinstance(described, tuple) else 65535 if ";16" in described else 255
        return _scaled(_decoded(data), white) if white > 255 else None
    if ";16" in str(described) and form == "SGI":
        raise MediaError("an SGI file of 16 bit. Convert it to PNG.")
    return _decoded(data) if ";16" in str(described) and form in ("PNG", "TIFF") else None


def _decoded(data: bytes) -> Pixels:
    """Pixels by OpenCV, as they lie in the file."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MediaError(f"cannot decode: {error.err}.") from error
    if pixels is None:
        raise MediaError("cannot be decoded; the file is damaged.")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"samples must be 8 or 16 bit, got {pixels.dtype}. Save it with 16 bit.")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    made: Pixels = pixels
    return made


def _scaled(pixels: Pixels, white: int) -> Pixels:
    if white in (255, 65535):
        return pixels
    return np.rint(np.minimum(pixels, white) * (65535 / white)).astype(np.uint16)


def _heif_pixels(data: bytes) -> Pixels:
    import pillow_heif

    picture = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    pixels = np.asarray(picture)
    depth = _heif_depth(data)
    if depth > 8:  # they lie in the upper bits
        pixels = _scaled(np.right_shift(pixels, 16 - depth), 2**depth - 1)
    if picture.mode.startswith("LA"):
        pixels = pixels[..., [0, 0, 0, 1]]
    return np.ascontiguousarray(pixels)


def _heif_depth(data: bytes) -> int:
    import pillow_heif

    depth: int = pillow_heif.open_heif(io.BytesIO(data)).info["bit_depth"]
    return depth


def _avif_facts(data: bytes) -> tuple[int, tuple[tuple[bytes, bytes], ...]]:
    """Bits of a sample, and the colour tags."""
    with av.open(io.BytesIO(data)) as file:
        context = file.streams.video[0].codec_context
        depth = max(component.bits for component in av.VideoFormat(context.pix_fmt or "yuv420p").components)
        return depth, meta.cicp(context.color_primaries, context.color_trc)


def _pixels(picture: Pillow.Image) -> Pixels:
    """8-bit pixels and 16-bit grey, by Pillow."""
    if picture.mode.startswith("I;16"):
        return np.array(picture, np.uint16)
    mode = _MODES.get(picture.mode)
    if mode is None:
        name = {"CMYK": "CMYK", "F": "float samples", "I": "samples of 32 bit"}.get(picture.mode, picture.mode)
        raise MediaError(f"a {picture.format} with {name}; only grey and RGB of 8 or 16 bit are supported. Convert it.")
    if "transparency" in picture.info:
        mode = "RGBA"
    return np.array(picture if picture.mode == mode else picture.convert(mode))


def _is_jxl(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(12).startswith(_JXL)
    except OSError:
        return False


def _read_jxl(data: bytes) -> Image:
    """JPEG XL: pixels by imagecodecs, which gives all bits and frames; profile and EXIF by Pillow's plug-in."""
    try:
        import imagecodecs
        import pillow_jxl
    except ImportError as error:
        raise MediaError("JPEG XL needs two more packages: pip install 'vs-smsr[jxl]'.") from error
    assert pillow_jxl  # it registers itself
    pixels = imagecodecs.jpegxl_decode(data)
    if pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[2] > 4):
        raise MediaError(
            f"an animated JPEG XL of {len(pixels)} frames, but one still image is needed. Save it as WebP."
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"samples must be 8 or 16 bit, got {pixels.dtype}. Save it with 16 bit.")
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., [0, 0, 0, 1]]
    with Pillow.open(io.BytesIO(data), formats=["JXL"]) as picture:
        return Image(np.ascontiguousarray(pixels), meta.of_picture(picture, data))
