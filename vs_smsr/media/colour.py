"""Video frames to RGB and back, by the frame's own matrix, range, bit depth and chroma siting.

libswscale unpacks the pixel formats and resamples chroma (it honours the siting); the matrix and the range are applied
here, because libswscale's own are off by up to one 8-bit code value (measured: 0.98). YUV passes through 16-bit 4:4:4
planes that hold code * 2 ** (16 - depth), so 8, 10 and 12 bit go in and come out without a loss.

What a frame does not say is taken as players take it: BT.709 from 1280 columns or 577 rows up, else BT.601; limited
range for YUV, full for RGB and grey; chroma on the left. Matrices that are not linear (BT.2020 constant luminance,
ICtCp ...) are taken as BT.2020, both ways. RGB outside 0..255 (super-white, xvYCC) is clipped: the network has no more.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from itertools import product
from typing import Any

import av
import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from vs_smsr.errors import MediaError

Array = NDArray[np.float32]
Plane = NDArray[Any]  # a view of one plane's memory: (rows, columns) uint8 or uint16

# Code points of ITU-T H.273, which FFmpeg uses as they are.
RGB, BT709, UNSPECIFIED, RESERVED, BT470BG, SMPTE170M, YCGCO, BT2020, DERIVED = 0, 1, 2, 3, 5, 6, 8, 9, 12
LIMITED, FULL = 1, 2
LEFT, CENTRE = 1, 2

# Luma weights (red, blue) by matrix code point. Source: ITU-T H.273 table 4.
WEIGHTS = {
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),  # FCC
    BT470BG: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    7: (0.212, 0.087),  # SMPTE 240M
    BT2020: (0.2627, 0.0593),
}
RESAMPLE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
RESIZE = Interpolation.LANCZOS | Interpolation.ACCURATE_RND
WORK = "yuv444p16le"
BAND = 128  # rows that are converted at a time
PLAIN_444 = re.compile(r"yuva?j?444p(9|10|12|14|16)?(le)?")  # planes that are read without libswscale
PLAIN_RGB = re.compile(r"(gbra?p|gray)(9|10|12|14|16|f32)?(le|be)?|rgbaf16(le|be)|rgba?f32(le|be)|rgb24|rgb48le")


@dataclass(frozen=True)
class Colour:
    """What the numbers of a frame mean; H.273 code points, resolved: only transfer and primaries may be unspecified.

    Attributes:
        matrix: YUV matrix (FFmpeg: colorspace); 0 for RGB.
        full: full range; False is limited ("TV").
        siting: chroma location, 1 = left.
        transfer: as tagged; nothing here computes with it.
        primaries: as tagged; only the "derived from primaries" matrix looks at it.
    """

    matrix: int
    full: bool
    siting: int = LEFT
    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED

    @property
    def weights(self) -> tuple[float, float]:
        """Luma weights of red and blue; those of BT.2020 where the matrix is not linear."""
        matrix = self.matrix
        if matrix == DERIVED:
            matrix = {1: BT709, 5: BT470BG, 6: SMPTE170M, 7: 7}.get(self.primaries, BT2020)
        return WEIGHTS.get(matrix, WEIGHTS[BT2020])


def usual_matrix(width: int, height: int) -> int:
    """The matrix that players assume for an untagged YUV frame of this size."""
    return BT709 if width >= 1280 or height > 576 else SMPTE170M


def depth(pix_fmt: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in pix_fmt.components)


def has_alpha(pix_fmt: VideoFormat) -> bool:
    """True if the format has an alpha channel (a palette has)."""
    return pix_fmt.has_palette or any(component.is_alpha for component in pix_fmt.components)


def is_rgb(pix_fmt: VideoFormat) -> bool:
    """True if the numbers are red, green and blue: packed, planar, a palette's or a sensor's."""
    return pix_fmt.is_rgb or pix_fmt.has_palette or pix_fmt.is_bayer


def is_grey(pix_fmt: VideoFormat) -> bool:
    """True if the format has luma alone, or luma and alpha."""
    return len(pix_fmt.components) <= 2 and not is_rgb(pix_fmt)


def colour_of(frame: av.VideoFrame) -> Colour:
    """The frame's colour, with what it does not say filled in as the module's first lines tell."""
    pix_fmt = frame.format
    matrix = frame.colorspace
    if is_rgb(pix_fmt):
        matrix = RGB
    elif matrix in (RGB, UNSPECIFIED, RESERVED):  # RGB is a wrong tag on a YUV frame
        matrix = usual_matrix(frame.width, frame.height)
    usually_full = is_rgb(pix_fmt) or is_grey(pix_fmt) or pix_fmt.name.startswith("yuvj")
    return Colour(
        matrix=matrix,
        full=frame.color_range == FULL if frame.color_range in (LIMITED, FULL) else usually_full,
        siting=frame.chroma_location or LEFT,
        transfer=frame.color_trc,
        primaries=frame.color_primaries,
    )


def to_rgb(frame: av.VideoFrame) -> Array:
    """A decoded frame of any pixel format as (H, W, 3) float32 RGB 0..255, gamma as coded; alpha is left out.

    Raises:
        MediaError: libswscale cannot read the pixel format.
    """
    pix_fmt, colour = frame.format, colour_of(frame)
    if is_rgb(pix_fmt):
        return np.ascontiguousarray(_levels(frame, colour.full)[:, :, :3])
    if is_grey(pix_fmt):
        return np.repeat(_levels(frame, colour.full)[:, :, :1], 3, axis=2)
    bits = depth(pix_fmt)
    shift = 0
    if not PLAIN_444.fullmatch(pix_fmt.name):
        frame.chroma_location = colour.siting  # libswscale takes an untagged frame as centred
        frame = _reformat(frame, WORK)
        shift = 16 - bits
    codes = cv2.merge([plane(frame, index) for index in range(3)]).astype(np.float32)
    rgb: Array = cv2.transform(codes, _decoding(colour, bits, shift))
    return np.clip(rgb, 0, 255, out=rgb)


def alpha_of(frame: av.VideoFrame) -> Array | None:
    """The frame's alpha as (H, W) float32 0..255, or None if its format has none."""
    if not has_alpha(frame.format):
        return None
    if is_rgb(frame.format) or is_grey(frame.format):
        return np.ascontiguousarray(_levels(frame, full=True)[:, :, -1])
    if not frame.format.is_planar or frame.format.is_big_endian:
        frame = _reformat(frame, "yuva444p16le")
    return plane(frame, 3) * np.float32(255 / (2 ** depth(frame.format) - 1))


def from_rgb(
    rgb: Array, pix_fmt: str, colour: Colour, size: tuple[int, int] | None = None, alpha: Array | None = None
) -> av.VideoFrame:
    """Make a tagged frame of any pixel format that libswscale can write.

    Args:
        rgb: (H, W, 3) float32 RGB 0..255.
        pix_fmt: FFmpeg's name of the target format.
        colour: matrix, range and siting of the target. RGB is always written in full range.
        size: (width, height) of the frame if not rgb's: resized by Lanczos; one column or row less is cropped.
        alpha: (H, W) float32 0..255, of rgb's size; used if the target has alpha. None is opaque.

    Raises:
        MediaError: libswscale cannot write the pixel format.
    """
    target = VideoFormat(pix_fmt)
    height, width = rgb.shape[:2]
    size = size or (width, height)
    if width - 1 <= size[0] <= width and height - 1 <= size[1] <= height:
        rgb = rgb[: size[1], : size[0]]
        alpha = None if alpha is None else alpha[: size[1], : size[0]]
    else:
        rgb = _resize(rgb, size)
        alpha = None if alpha is None else cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    if is_rgb(target):
        colour = dataclasses.replace(colour, matrix=RGB, full=True)
        frame = _write_rgb(rgb, target, alpha)
    elif is_grey(target):
        frame = _write_grey(rgb, target, colour)
    else:
        frame = _write_yuv(rgb, target, colour)
        if alpha is not None and has_alpha(target):
            _round(alpha * np.float32((2 ** depth(target) - 1) / 255), 2 ** depth(target) - 1, plane(frame, 3))
    return tag(frame, colour)


def tag(frame: av.VideoFrame, colour: Colour) -> av.VideoFrame:
    """Say what the frame's numbers mean; returns the frame."""
    frame.colorspace, frame.color_range = colour.matrix, FULL if colour.full else LIMITED
    frame.color_trc, frame.color_primaries = colour.transfer, colour.primaries
    frame.chroma_location = colour.siting
    return frame


def plane(frame: av.VideoFrame, index: int, components: int = 1) -> Plane:
    """A writable view (rows, columns * components) of a plane: uint8, or uint16 above 8 bits."""
    memory = frame.planes[index]
    rows = np.frombuffer(memory, np.uint8, memory.height * memory.line_size).reshape(memory.height, memory.line_size)
    return rows.view(np.uint8 if depth(frame.format) <= 8 else np.uint16)[:, : memory.width * components]


def _reformat(
    frame: av.VideoFrame, pix_fmt: str, size: tuple[int, int] | None = None, full: bool = False
) -> av.VideoFrame:
    """Change format, subsampling or size by libswscale, not the range: both ends are declared to have the same."""
    full = full or "yuvj" in frame.format.name or "yuvj" in pix_fmt  # whose range libswscale would change
    range_ = FULL if full else LIMITED
    try:
        return frame.reformat(
            width=size[0] if size else None,
            height=size[1] if size else None,
            format=pix_fmt,
            interpolation=RESIZE if size else RESAMPLE,
            src_color_range=range_,
            dst_color_range=range_,
            threads=1,
        )
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"colour: {frame.format.name} cannot be converted to {pix_fmt}: {error}.") from error


def _levels(frame: av.VideoFrame, full: bool) -> Array:
    """RGB or grey frame as (H, W, channels) float32 0..255; channels are red, green, blue, alpha or grey alone."""
    layout = frame.format.name
    if not PLAIN_RGB.fullmatch(layout):
        wide = depth(frame.format) > 8
        if is_grey(frame.format) and not has_alpha(frame.format):
            layout = "gray16le" if wide else "gray"
        elif has_alpha(frame.format):
            layout = "rgba64le" if wide else "rgba"
        else:
            layout = "rgb48le" if wide else "rgb24"
        frame = _reformat(frame, layout, full=True)
    codes = frame.to_ndarray()
    codes = codes.reshape(*codes.shape[:2], -1)
    levels: Array
    if codes.dtype.kind == "f":
        levels = codes.astype(np.float32) * np.float32(255)
        return np.clip(levels, 0, 255, out=levels)
    bits = depth(VideoFormat(layout))
    gain, offset = (255 / (2**bits - 1), 0.0) if full else (255 / 219 / 2 ** (bits - 8), -16 * 255 / 219)
    levels = codes * np.float32(gain) + np.float32(offset)
    return np.clip(levels, 0, 255, out=levels)


def encoding_matrix(colour: Colour, bits: int) -> NDArray[np.float64]:
    """(3, 4) float64: RGB 0..255 and 1 to the codes Y, Cb, Cr of this depth. Source: ITU-T H.273 section 8.3."""
    if colour.matrix == YCGCO:
        yuv = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]])
    else:
        red, blue = colour.weights
        luma = np.array([red, 1 - red - blue, blue])
        yuv = np.stack([luma, ([0, 0, 1] - luma) / (2 - 2 * blue), ([1, 0, 0] - luma) / (2 - 2 * red)])
    unit = 2.0 ** (bits - 8)
    black, middle = (0.0, 2.0 ** (bits - 1)) if colour.full else (16 * unit, 128 * unit)
    spans = np.full(3, 2.0**bits - 1) if colour.full else np.array([219, 224, 224]) * unit
    return np.column_stack([yuv * spans[:, None] / 255, [black, middle, middle]])


def _decoding(colour: Colour, bits: int, shift: int) -> Array:
    """(3, 4) float32: the codes Y, Cb, Cr << shift and 1 to RGB 0..255; the inverse of `encoding_matrix`."""
    square = np.vstack([encoding_matrix(colour, bits), [0, 0, 0, 1]])
    decoding = np.linalg.inv(square)[:3]
    decoding[:, :3] /= 1 << shift
    return decoding.astype(np.float32)


def _write_yuv(rgb: Array, target: VideoFormat, colour: Colour) -> av.VideoFrame:
    height, width = rgb.shape[:2]
    bits = min(depth(target), 16)
    plain = PLAIN_444.fullmatch(target.name)
    frame = av.VideoFrame(width, height, target.name if plain else WORK)
    shift = 0 if plain else 16 - bits
    encoding = encoding_matrix(colour, bits).astype(np.float32)
    subsampled = target.chroma_width(2) == 1 or target.chroma_height(2) == 1
    for index, top in product(range(3), range(0, height, BAND)):  # by bands: a large frame is large in floats
        codes = cv2.transform(rgb[top : top + BAND], encoding[index : index + 1])
        out = plane(frame, index)[top : top + BAND]
        if subsampled and index:  # rounded after resampling, by libswscale
            codes *= np.float32(1 << shift)
            _round(codes, (1 << 16) - 1, out)
        else:  # rounded here: libswscale would dither 8 bits
            _round(codes, (1 << bits) - 1, out, shift)
    if has_alpha(target) and plain:
        plane(frame, 3)[:] = (1 << bits) - 1
    frame.chroma_location = colour.siting
    return frame if plain else _reformat(frame, target.name)


def _write_grey(rgb: Array, target: VideoFormat, colour: Colour) -> av.VideoFrame:
    layout = target if PLAIN_RGB.fullmatch(target.name) else VideoFormat("gray" if depth(target) <= 8 else "gray16le")
    bits = depth(layout)
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], layout.name)
    luma = encoding_matrix(colour, bits)[:1].astype(np.float32)
    _round(cv2.transform(rgb, luma), (1 << bits) - 1, plane(frame, 0))
    return frame if layout.name == target.name else _reformat(frame, target.name, full=True)


def _write_rgb(rgb: Array, target: VideoFormat, alpha: Array | None) -> av.VideoFrame:
    wide = depth(target) > 8
    if has_alpha(target):
        layout = "rgba64le" if wide else "rgba"
        opaque = np.full(rgb.shape[:2], 255, np.float32) if alpha is None else alpha
        rgb = cv2.merge([*cv2.split(rgb), opaque])
    else:
        layout = "rgb48le" if wide else "rgb24"
    if re.fullmatch(r"gbra?p(9|10|12|14|16)?(le)?", target.name):  # by libswscale their low bits would be lost
        layout = target.name
    bits = depth(VideoFormat(layout))
    codes = np.empty(rgb.shape, np.uint8 if bits <= 8 else np.uint16)
    _round(rgb * np.float32((2**bits - 1) / 255), 2**bits - 1, codes)
    frame = av.VideoFrame.from_ndarray(codes, format=layout)
    return frame if layout == target.name else _reformat(frame, target.name, full=True)


def _resize(rgb: Array, size: tuple[int, int]) -> Array:
    """RGB of another size, by libswscale's Lanczos on 16-bit planes (OpenCV's does not filter when it shrinks)."""
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], WORK)  # holds R, G, B: to libswscale they are three planes
    for index, channel in enumerate(cv2.split(rgb)):
        _round(channel * np.float32(257), 65535, plane(frame, index))
    frame = _reformat(frame, WORK, size)
    resized: Array = cv2.merge([plane(frame, index) for index in range(3)]) * np.float32(1 / 257)
    return resized


def _round(values: Array, peak: int, out: Plane, shift: int = 0) -> None:
    """out = clip(round(values), 0, peak) << shift."""
    np.rint(values, out=values)
    np.clip(values, 0, peak, out=values)
    np.copyto(out, values, casting="unsafe")
    if shift:
        np.left_shift(out, shift, out=out)
