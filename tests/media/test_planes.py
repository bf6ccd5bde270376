"""Planes of decoders and encoders: what the compiled conversions make of them, against formulas and libswscale."""

from __future__ import annotations

import av
import numpy as np
import pytest

from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.picture import Picture
from vs_smsr.jobs.planes import frame_of, layout_of, picture_of
from vs_smsr.media.colour import Colour, colour_of, from_rgb, plane, to_rgb

EXACT = [
    "yuv444p",
    "yuv444p10le",
    "yuv444p16le",
    "gray",
    "gray10le",
    "gray16le",
    "gbrp",
    "gbrp12le",
    "rgb24",
    "rgb48le",
]
SUBSAMPLED = ["yuv420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv420p10le", "yuv422p12le", "yuv420p16le"]
INNER = (slice(12, -12), slice(12, -12))  # libswscale folds what is beyond an edge otherwise


def scene(height: int = 64, width: int = 96) -> np.ndarray:
    """(height, width, 3) float32 RGB: waves, texture, and saturated colours at the ends."""
    y, x = np.mgrid[:height, :width]
    waves = 128 + 60 * np.sin(x / 9) * np.cos(y / 8)
    noise = np.random.default_rng(0).normal(0, 15, (height, width, 3)) * [1, 0.6, 0.8]
    rgb = waves[..., None] + noise + 30 * np.sin(x / 4 + y / 5)[..., None] * [1, -1, 0.5]
    return np.clip(rgb, 0, 255).astype(np.float32)


def colour(pix_fmt: str, siting: int = 1) -> Colour:
    rgb = pix_fmt.startswith(("gbr", "rgb"))
    return Colour(0 if rgb else 1, rgb, siting)


def decoded(pix_fmt: str, siting: int = 1, size: tuple[int, int] = (64, 96)) -> tuple[av.VideoFrame, Picture]:
    frame = from_rgb(scene(*size), pix_fmt, colour(pix_fmt, siting))
    picture = picture_of(frame)
    assert picture is not None
    return frame, picture


def alike(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> bool:
    """No code differs by more than one, and of up to 12 bits hardly any differs: float32 tells ties otherwise."""
    errors = [np.abs(one.astype(int) - other) for one, other in zip(a, b, strict=True)]
    return all(
        error.max() <= 1 and (one.max() > 4095 or error.mean() < 1e-3) for error, one in zip(errors, a, strict=True)
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.mark.parametrize("pix_fmt", EXACT)
def test_without_resampling_pixels_are_those_of_the_formula(pix_fmt: str) -> None:
    """In: what media.colour makes, which tests/media/test_colour.py holds to the formulas. Out: its codes."""
    frame, picture = decoded(pix_fmt)
    assert np.abs(unpack(picture) - to_rgb(frame)).max() < 0.001
    assert alike(pack(scene(), picture.layout, 64, 96).planes, picture.planes)


@pytest.mark.parametrize("siting", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("pix_fmt", SUBSAMPLED)
def test_chroma_is_resampled_as_libswscale_does(pix_fmt: str, siting: int) -> None:
    """In: 100 dB alike (it rounds to 16 bits on the way); out: luma the same, chroma within one code."""
    frame, picture = decoded(pix_fmt, siting)
    assert psnr(unpack(picture)[INNER], to_rgb(frame)[INNER]) > 100
    packed = pack(scene(), picture.layout, 64, 96)
    deep = 2 if pix_fmt.endswith("16le") else 1
    assert alike(packed.planes[:1], picture.planes[:1])
    for got, expected in zip(packed.planes[1:], picture.planes[1:], strict=True):
        across, down = 96 // got.shape[1], 64 // got.shape[0]
        inner = slice(12 // down, -(12 // down)), slice(12 // across, -(12 // across))
        assert np.abs(got.astype(int) - expected)[inner].max() <= deep


@pytest.mark.parametrize("siting", [1, 2, 3, 4, 5, 6])
def test_a_ramp_of_chroma_stays_where_it_is(siting: int) -> None:
    """Not against another program but against the place of each sample."""
    frame = av.VideoFrame(64, 64, "yuv420p16le")
    frame.colorspace, frame.color_range, frame.chroma_location = 1, 2, siting
    right = 0.5 if siting in (2, 4, 6) else 0
    below = {1: 0.5, 2: 0.5, 3: 0, 4: 0, 5: 1, 6: 1}[siting]
    y, x = np.mgrid[:32, :32].astype(np.float64)
    plane(frame, 0)[:] = 32768
    plane(frame, 1)[:] = np.round(32768 + 100 * (2 * x + right) + 50 * (2 * y + below) - 4000)
    plane(frame, 2)[:] = 32768
    picture = picture_of(frame)
    assert picture is not None
    blue = unpack(picture)[..., 2]
    rows, columns = np.mgrid[:64, :64].astype(np.float64)
    code = 100 * columns + 50 * rows - 4000
    expected = 255 * (32768 / 65535 + 2 * (1 - 0.0722) * code / 65535)
    # The cubic bends a ramp by 0.04 between samples; half a luma sample beside its place would be 0.18.
    assert np.abs(blue - expected)[8:-8, 8:-8].max() < 0.06


@pytest.mark.parametrize("size", [(17, 33), (1, 1), (2, 3), (5, 2)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv411p", "gray", "rgb24", "gbrp10le"])
def test_odd_sides_are_padded_and_cropped(pix_fmt: str, size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), (200, 100, 50), np.float32)
    frame = from_rgb(flat, pix_fmt, colour(pix_fmt))
    picture = picture_of(frame)
    assert picture is not None
    unpacked = unpack(picture)
    assert unpacked.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    np.testing.assert_array_equal(unpacked[-1], unpacked[size[0] - 1])
    np.testing.assert_array_equal(unpacked[:, -1], unpacked[:, size[1] - 1])
    assert pack(unpacked, picture.layout, *size).same(picture)


@pytest.mark.parametrize("pix_fmt", [*EXACT, *SUBSAMPLED, "yuvj420p"])
def test_planes_go_to_the_encoder_as_they_are(pix_fmt: str) -> None:
    """Judged by PyAV's own arrays of the planes."""
    frame, picture = decoded(pix_fmt, size=(18, 34))
    again = frame_of(picture, pix_fmt, colour_of(frame))
    assert colour_of(again) == colour_of(frame)
    for index in range(len(frame.planes)):
        np.testing.assert_array_equal(plane(again, index), plane(frame, index))


def test_one_network_does_not_see_who_converted() -> None:
    """The decoder's planes are the picture's: nothing is copied before the engine reads them."""
    frame, picture = decoded("yuv420p")
    plane(frame, 0)[3, 5] = 77
    assert picture.planes[0][3, 5] == 77


@pytest.mark.parametrize(
    "pix_fmt", ["nv12", "p010le", "yuyv422", "yuva420p", "yuv420p10be", "gbrpf32le", "rgba", "ya8"]
)
def test_other_formats_have_no_layout(pix_fmt: str) -> None:
    assert layout_of(pix_fmt, Colour(1, False)) is None


def test_rgb_is_tagged_as_rgb() -> None:
    """Whatever matrix the YUV source of the result had."""
    _, picture = decoded("gbrp")
    assert frame_of(picture, "gbrp", Colour(1, True)).colorspace == 0


def test_limited_rgb_has_no_layout() -> None:
    assert layout_of("rgb24", Colour(0, False)) is None
