"""Colour in and out, against the formulas of ITU-R BT.601, BT.709 and BT.2020 written down once more here."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.format import VideoFormat

from vs_smsr.media.colour import Colour, alpha_of, colour_of, depth, from_rgb, is_rgb, plane, to_rgb

KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
PLANAR_444 = {"yuv444p": 8, "yuv444p10le": 10, "yuv444p12le": 12, "yuv444p16le": 16}
RESAMPLED = {
    "yuv420p": 8,
    "yuv422p": 8,
    "yuv420p10le": 10,
    "yuv422p10le": 10,
    "yuv420p12le": 12,
    "yuv440p": 8,
    "yuv411p": 8,
}
PACKED = {"nv12": 8, "nv21": 8, "nv16": 8, "yuyv422": 8, "uyvy422": 8, "p010le": 10, "p210le": 10, "y210le": 10}
BIG_ENDIAN = {"yuv420p10be": 10, "yuv444p12be": 12}


def reference_rgb(y, u, v, bits: int, full: bool, matrix: int) -> np.ndarray:
    """Codes (float64) to unclipped RGB 0..255."""
    kr, kb = KR_KB[matrix]
    unit, half = 2.0 ** (bits - 8), 2.0 ** (bits - 1)
    if full:
        luma, blue, red = y / (2**bits - 1), (u - half) / (2**bits - 1), (v - half) / (2**bits - 1)
    else:
        luma, blue, red = (y - 16 * unit) / (219 * unit), (u - half) / (224 * unit), (v - half) / (224 * unit)
    r = luma + 2 * (1 - kr) * red
    b = luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    return 255 * np.stack([r, g, b], axis=-1)


def random_frame(pix_fmt: str, bits: int, shape=(18, 34), seed=0) -> tuple[av.VideoFrame, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    frame = av.VideoFrame(shape[1], shape[0], pix_fmt)
    codes = []
    for index in range(3):
        view = plane(frame, index)
        view[:] = random.integers(0, 2**bits, view.shape)
        codes.append(view.astype(np.float64))
    return frame, codes


def tag(frame: av.VideoFrame, matrix: int = 1, full: bool = False, siting: int = 1) -> av.VideoFrame:
    frame.colorspace, frame.color_range, frame.chroma_location = matrix, 2 if full else 1, siting
    return frame


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", sorted(KR_KB))
@pytest.mark.parametrize("pix_fmt", PLANAR_444)
def test_decoding_equals_the_formula(pix_fmt: str, matrix: int, full: bool) -> None:
    bits = PLANAR_444[pix_fmt]
    frame, codes = random_frame(pix_fmt, bits)
    expected = np.clip(reference_rgb(*codes, bits, full, matrix), 0, 255)
    found = to_rgb(tag(frame, matrix, full))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.abs(found - expected).max() < 0.001


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", PLANAR_444)
def test_round_trip_is_exact_inside_the_gamut(pix_fmt: str, full: bool) -> None:
    bits = PLANAR_444[pix_fmt]
    frame, codes = random_frame(pix_fmt, bits)
    back = from_rgb(to_rgb(tag(frame, 9, full)), pix_fmt, colour_of(frame))
    unclipped = reference_rgb(*codes, bits, full, 9)
    inside = ((unclipped >= 0) & (unclipped <= 255)).all(axis=-1)
    assert inside.mean() > 0.1
    for index, code in enumerate(codes):
        assert (plane(back, index)[inside] == code[inside]).all()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", [*PLANAR_444, *RESAMPLED, *PACKED, *BIG_ENDIAN, "gray", "gray10le", "gray16le"])
def test_grey_stays_grey_and_keeps_its_codes(pix_fmt: str, full: bool) -> None:
    """Every level of grey, through every format: R = G = B, and back to the same luma and neutral chroma."""
    bits = depth(VideoFormat(pix_fmt))
    first, last = (0, 2**bits - 1) if full else (16 << bits - 8, 235 << bits - 8)
    ramp = np.linspace(first, last, 256).round().reshape(8, 32)
    colour = Colour(1, full)
    grey = np.clip((ramp - first) / (last - first) * 255, 0, 255).astype(np.float32)
    frame = from_rgb(np.repeat(grey[:, :, None], 3, axis=2), pix_fmt, colour)
    assert (frame.color_range, frame.width, frame.height) == (2 if full else 1, 32, 8)
    found = to_rgb(frame)
    assert np.ptp(found, axis=2).max() < 0.001
    assert np.abs(found[:, :, 0] - grey).max() < 0.001


@pytest.mark.parametrize("siting", [1, 2, 3])
@pytest.mark.parametrize("pix_fmt", [*RESAMPLED, "nv12", "p010le"])
def test_chroma_is_where_its_siting_says(pix_fmt: str, siting: int) -> None:
    """A linear ramp of chroma stays that ramp when it is taken to full resolution and back."""
    bits = depth(VideoFormat(pix_fmt))
    rows, columns = np.mgrid[:64, :64].astype(np.float64)
    blue = 80 + columns + 0.5 * rows  # in 8-bit codes, at the luma samples
    yuv = np.stack([np.full_like(blue, 110), blue, np.full_like(blue, 128)])
    rgb = reference_rgb(*yuv, 8, False, 1).astype(np.float32)
    frame = from_rgb(rgb, pix_fmt, Colour(1, False, siting))
    inner = (slice(8, -8), slice(8, -8))
    if pix_fmt not in ("nv12", "p010le"):
        stored = plane(frame, 1) / 2.0 ** (bits - 8)
        across, down = 64 // stored.shape[1], 64 // stored.shape[0]
        right = (across - 1) / 2 if siting == 2 else 0
        below = 0 if siting == 3 else (down - 1) / 2
        y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
        expected = 80 + (x * across + right) + 0.5 * (y * down + below)
        edge = (slice(4, -4), slice(4, -4))
        assert np.abs(stored - expected)[edge].max() <= (1.01 if bits == 8 else 0.26)
    back = to_rgb(frame)
    in_gamut = ((rgb >= 0) & (rgb <= 255)).all(axis=2)[inner]
    worst = np.abs(back - rgb)[inner][in_gamut].max()
    assert worst < (3.0 if bits == 8 else 0.8)  # a chroma code is up to 2.1 levels of blue


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"])
def test_the_old_full_range_formats_are_full_range(pix_fmt: str) -> None:
    frame, _ = random_frame(pix_fmt, 8)
    for index, value in enumerate((255, 128, 128)):
        plane(frame, index)[:] = value
    frame.color_range = 0
    assert np.abs(to_rgb(frame) - 255).max() < 0.001


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_the_old_full_range_formats_are_written_in_full_range(pix_fmt: str) -> None:
    rgb = np.full((8, 12, 3), (250, 120, 10), np.float32)
    frame = from_rgb(rgb, pix_fmt, Colour(1, True))
    assert abs(int(plane(frame, 0)[0, 0]) - (0.2126 * 250 + 0.7152 * 120 + 0.0722 * 10)) < 1
    assert np.abs(to_rgb(frame) - rgb).max() < 2


@pytest.mark.parametrize(
    "pix_fmt",
    ["rgb24", "bgr24", "bgr0", "0rgb", "rgba", "argb", "gbrp", "gbrap", "gbrp10le", "gbrp12le", "rgb48le", "gbrap16le"],
)
def test_rgb_formats_are_exact_both_ways(pix_fmt: str) -> None:
    bits = depth(VideoFormat(pix_fmt))
    codes = np.random.default_rng(1).integers(0, 2**bits, (6, 10, 3))
    rgb = (codes * (255 / (2**bits - 1))).astype(np.float32)
    frame = from_rgb(rgb, pix_fmt, Colour(1, False))
    assert (frame.colorspace, frame.color_range) == (0, 2)
    assert np.abs(to_rgb(frame) - rgb).max() < 0.001


def test_limited_range_rgb_is_expanded() -> None:
    frame = av.VideoFrame.from_ndarray(np.full((2, 2, 3), (16, 235, 126), np.uint8), "rgb24")
    frame.color_range = 1
    assert np.abs(to_rgb(frame)[0, 0] - [0, 255, 110 * 255 / 219]).max() < 0.001


@pytest.mark.parametrize("pix_fmt", ["yuva420p", "yuva444p10le", "yuva422p", "rgba", "gbrap12le", "ya8", "ayuv64le"])
def test_alpha_comes_out_and_goes_in(pix_fmt: str) -> None:
    alpha = np.linspace(0, 255, 96).round().astype(np.float32).reshape(8, 12)
    rgb = np.full((8, 12, 3), 77, np.float32)
    target = VideoFormat(pix_fmt)
    if pix_fmt in ("ya8", "ayuv64le"):  # formats of sources only: made by libswscale
        frame = from_rgb(rgb, "rgba64le", Colour(1, False), alpha=alpha).reformat(format=pix_fmt)
    else:
        frame = from_rgb(rgb, pix_fmt, Colour(1, False), alpha=alpha)
    found = alpha_of(frame)
    assert found is not None
    assert np.abs(found - alpha).max() <= (0.5 if is_rgb(target) or target.is_planar else 1.1)


def test_no_alpha_is_none_and_opaque() -> None:
    rgb = np.zeros((4, 6, 3), np.float32)
    assert alpha_of(from_rgb(rgb, "yuv420p", Colour(1, False))) is None
    for pix_fmt in ("yuva444p", "yuva420p", "rgba", "yuva420p10le"):
        found = alpha_of(from_rgb(rgb, pix_fmt, Colour(1, False)))
        assert found is not None
        assert (found == 255).all()


def test_a_palette_is_looked_up() -> None:
    palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    palette[7], palette[200] = (255, 250, 120, 3), (0, 1, 2, 3)
    indices = np.array([[7, 200], [200, 7]], np.uint8)
    frame = av.VideoFrame.from_ndarray((indices, palette), "pal8")
    assert (to_rgb(frame) == palette[indices][:, :, 1:]).all()
    assert (alpha_of(frame) == palette[indices][:, :, 0]).all()


def test_what_a_frame_does_not_say() -> None:
    small, large = av.VideoFrame(720, 576, "yuv420p"), av.VideoFrame(1280, 720, "yuv420p")
    assert (colour_of(small).matrix, colour_of(large).matrix) == (6, 1)
    assert colour_of(av.VideoFrame(1024, 578, "yuv420p")).matrix == 1
    assert not colour_of(small).full
    assert colour_of(av.VideoFrame(8, 8, "gray")).full
    assert colour_of(av.VideoFrame(8, 8, "rgb24")) == Colour(0, True)
    small.colorspace = 0  # "RGB" on a YUV frame cannot be
    assert colour_of(small).matrix == 6


@pytest.mark.parametrize("matrix", [8, 10, 12, 14])
def test_unusual_matrices_return_what_came(matrix: int) -> None:
    frame, _ = random_frame("yuv444p10le", 10)
    for index, (low, high) in enumerate(((400, 600), (480, 540), (480, 540))):
        plane(frame, index)[:] = np.random.default_rng(index).integers(low, high, (18, 34))
    tag(frame, matrix)
    back = from_rgb(to_rgb(frame), "yuv444p10le", colour_of(frame))
    assert back.colorspace == matrix
    assert all((plane(back, index) == plane(frame, index)).all() for index in range(3))


@pytest.mark.parametrize("shape", [(17, 33), (1, 1), (2, 3), (5, 2)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "nv12", "yuv444p", "rgb24", "yuyv422"])
def test_odd_sizes(pix_fmt: str, shape: tuple[int, int]) -> None:
    rgb = np.full((*shape, 3), (200, 100, 50), np.float32)
    frame = from_rgb(rgb, pix_fmt, Colour(1, False))
    assert (frame.height, frame.width) == shape
    assert np.abs(to_rgb(frame) - rgb).max() < 2.5


def test_resizing_keeps_a_ramp_and_cropping_keeps_the_pixels() -> None:
    ramp = np.repeat(np.linspace(20, 230, 64, dtype=np.float32)[None, :, None], 48, axis=0).repeat(3, axis=2)
    smaller = to_rgb(from_rgb(ramp, "gbrp16le", Colour(0, True), size=(32, 24)))
    assert smaller.shape == (24, 32, 3)
    expected = np.interp(np.arange(32) * 2 + 0.5, np.arange(64), ramp[0, :, 0])
    assert np.abs(smaller[:, 3:-3, 0] - expected[3:-3]).max() < 0.2
    cropped = to_rgb(from_rgb(ramp[:47, :63], "gbrp16le", Colour(0, True), size=(62, 46)))
    assert np.abs(cropped - ramp[:46, :62]).max() < 0.01
