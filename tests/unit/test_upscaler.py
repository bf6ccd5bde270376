"""Arrays in, arrays out: shapes, dtypes, ranges, grey and alpha; pixels against the reference engine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vs_smsr import EngineError, MemoryBudgetError, OptionError, Upscaler, WeightsError
from vs_smsr.engine.picture import WHITE
from vs_smsr.jobs.arrays import upscale_array
from vs_smsr.tiling.tiler import Tiler


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """(height, width, channels) float32 0..1, smooth with edges."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.random((height, width, channels), np.float32), (0, 0), 1.5).reshape(
        height, width, channels
    )
    image = (image - image.min()) / (image.max() - image.min())
    return np.where(image > 0.6, np.float32(0.9), image)


def as_dtype(image: np.ndarray, dtype: str) -> np.ndarray:
    scaled = image * WHITE[dtype]
    return (np.rint(scaled) if dtype.startswith("uint") else scaled).astype(dtype)


@pytest.mark.parametrize("dtype", WHITE)
@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 1), (1, 1, 3), (5, 9, 3), (8, 3, 4)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shape_and_dtype_stay_and_values_survive(stand_in, dtype, shape, scale):
    """The stand-in repeats pixels, so every value must come back exactly, whatever the dtype."""
    image = as_dtype(np.random.default_rng(1).random(shape, np.float32), dtype)
    result = upscale_array(Tiler(stand_in(scale)), image)
    expected = image.repeat(scale, axis=0).repeat(scale, axis=1)
    assert result.pixels.dtype == image.dtype
    assert result.pixels.shape == expected.shape
    tolerance = {"float32": 2**-22, "float16": 2**-10}.get(dtype, 0)
    if image.ndim == 3 and image.shape[2] == 4:  # the colour of a clear pixel may change
        visible = expected[..., 3] > 0
        result_pixels, expected = result.pixels[visible], expected[visible]
    else:
        result_pixels = result.pixels
    np.testing.assert_allclose(result_pixels.astype(np.float64), expected.astype(np.float64), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4"])
def test_either_byte_order(stand_in, dtype):
    image = as_dtype(np.random.default_rng(1).random((6, 4, 3), np.float32), np.dtype(dtype).name).astype(dtype)
    result = upscale_array(Tiler(stand_in(2)), image).pixels
    assert result.dtype.isnative
    np.testing.assert_allclose(result, image.repeat(2, axis=0).repeat(2, axis=1), rtol=0, atol=2**-22)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_integer_value_comes_back(stand_in, dtype):
    values = np.arange(WHITE[dtype] + 1, dtype=dtype).reshape(16, -1)
    result = upscale_array(Tiler(stand_in()), values).pixels
    np.testing.assert_array_equal(result[::2, ::2], values)


def test_the_engine_sees_0_to_255(stand_in):
    for dtype, white in WHITE.items():
        engine = stand_in()
        upscale_array(Tiler(engine), np.array([[0, white]], dtype).repeat(2, 0))
        np.testing.assert_allclose(engine.frames[0][0, :, 0], [0, 255], rtol=1e-6)


def test_opaque_stays_opaque_and_clear_stays_clear():
    alpha = np.zeros((12, 16), np.float32)
    alpha[:, 8:] = 1
    alpha[3:6, 2:5] = 0.5
    image = np.dstack([picture(12, 16, 3), alpha])
    result = Upscaler(engine="reference").upscale(image)[..., 3]
    assert (result[:, 18:] == 1).all()
    assert (result[16:, :14] == 0).all()
    assert 0.3 < result[8, 6] < 0.7
    assert len(np.unique(result)) > 10, "edges must have values in between"


def test_flat_alpha_costs_no_second_pass(stand_in):
    engine = stand_in()
    image = as_dtype(picture(4, 4, 4), "uint8")
    image[..., 3] = 200
    assert (upscale_array(Tiler(engine), image).pixels[..., 3] == 200).all()
    assert len(engine.frames) == 1


def test_the_colour_of_clear_pixels_does_not_bleed(stand_in):
    """A red disc on clear black: no pixel that the network gets may be dark."""
    image = np.zeros((16, 16, 4), np.uint8)
    cv2.circle(image, (8, 8), 5, (255, 0, 0, 255), -1)
    engine = stand_in()
    upscale_array(Tiler(engine), image)
    np.testing.assert_array_equal(engine.frames[0], np.broadcast_to(np.float32([255, 0, 0]), (16, 16, 3)))


def test_clear_pixels_take_the_nearest_colour(stand_in):
    image = np.zeros((1, 8, 4), np.uint8)
    image[0, 0] = 10, 20, 30, 255
    image[0, 7] = 90, 80, 70, 1
    engine = stand_in()
    upscale_array(Tiler(engine), image)
    np.testing.assert_array_equal(engine.frames[0][0, :, 0], [10] * 4 + [90] * 4)


def test_rgb_alpha_and_grey_go_through_the_same_network():
    """Colours of an RGBA image equal those of its RGB image; grey is the mean of three equal channels."""
    upscaler = Upscaler(engine="reference")
    image = picture(9, 14, 4)
    image[..., 3] = np.maximum(image[..., 3], 0.1)
    rgb = upscaler.upscale(image[..., :3])
    np.testing.assert_array_equal(upscaler.upscale(image)[..., :3], rgb)
    grey = upscaler.upscale(image[..., 0])
    three = upscaler.upscale(np.repeat(image[..., :1], 3, axis=2))
    np.testing.assert_allclose(grey, three.mean(axis=2), rtol=0, atol=1e-6)


def test_a_real_picture_gets_sharper_than_bicubic(shared):
    """The shipped weights through the API must beat bicubic by 2.5 dB on a Set5 image (the network gives about 3)."""
    large = cv2.imread(str(shared / "data/set5/HR/bird.png"))[:160, :160, ::-1]
    small = cv2.imread(str(next((shared / "data/set5/LR_bicubic/X2").glob("bird*"))))[:80, :80, ::-1]

    def psnr(image: np.ndarray) -> float:
        inner = (slice(8, -8),) * 2  # the crop's border lacks its neighbours
        return float(-10 * np.log10(np.mean((image[inner].astype(np.float64) - large[inner]) ** 2) / 255**2))

    ours = Upscaler(device="cpu").upscale(small)
    assert psnr(ours) > psnr(cv2.resize(small, (160, 160), interpolation=cv2.INTER_CUBIC)) + 2.5


def test_info_and_attributes():
    upscaler = Upscaler(engine="reference")
    assert (upscaler.engine, upscaler.device, upscaler.precision, upscaler.scale) == ("reference", "cpu", "fp32", 2)
    result = upscaler.upscale_with_info(np.zeros((8, 8, 3), np.uint8))
    assert len(result.sparsity) == 5
    assert 0 <= result.skipped <= 1
    assert result.skipped == pytest.approx(np.mean(result.sparsity))


def test_frames_is_lazy_and_keeps_order(stand_in, monkeypatch):
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))
    taken = []

    def source():
        for n in range(5):
            taken.append(n)
            yield np.full((2, 2), n, np.uint8)

    frames = Upscaler().frames(source())
    assert taken == []
    assert next(frames)[0, 0] == 0
    assert taken == [0]
    assert [frame[0, 0] for frame in frames] == [1, 2, 3, 4]


def test_views_lists_and_the_input_itself(stand_in):
    tiler = Tiler(stand_in())
    image = as_dtype(picture(6, 8, 3), "uint8")
    before = image.copy()
    flipped = upscale_array(tiler, image[::-1, :, ::-1]).pixels
    np.testing.assert_array_equal(flipped[::-1, :, ::-1], upscale_array(tiler, image).pixels)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 2), np.uint8), "array.shape must be (H, W)"),
        (np.zeros((3, 4, 4, 3), np.uint8), "frames()"),
        (np.zeros((0, 4, 3), np.uint8), "at least 1x1"),
        (np.zeros((4, 4), np.int32), "array.dtype must be one of"),
        (np.zeros((4, 4), np.float64), "got 'float64'"),
        (np.full((4, 4), np.nan, np.float32), "finite"),
    ],
)
def test_wrong_arrays(stand_in, array, said):
    with pytest.raises(OptionError) as caught:
        upscale_array(Tiler(stand_in()), array)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"scale": 5}, OptionError, "scale must be 2, 3 or 4, got 5"),
        ({"device": "gpu"}, OptionError, "device must be"),
        ({"engine": "magic"}, OptionError, "engine must be"),
        ({"model": "other"}, WeightsError, "there are: anime_x2, smsr_x2"),
        ({"weights": "nowhere.safetensors"}, WeightsError, "nowhere.safetensors does not exist"),
        ({"engine": "cpu", "device": "cuda"}, EngineError, "cannot run on device 'cuda'"),
    ],
)
def test_wrong_options(arguments, error, said):
    with pytest.raises(error) as caught:
        Upscaler(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_scale(tmp_path: Path):
    from vs_smsr.weights import shipped

    with pytest.raises(EngineError, match="are for x2, but scale is 3"):
        Upscaler(scale=3, weights=shipped(2))


def test_memory_and_tiles_change_no_pixel():
    image = as_dtype(picture(60, 70, 3), "uint8")
    expected = Upscaler(engine="cpu").upscale(image)
    assert np.array_equal(Upscaler(engine="cpu", tile=20, memory="8G").upscale(image), expected)
    with pytest.raises(MemoryBudgetError, match="the budget must be at least"):
        Upscaler(engine="cpu", memory="1M").upscale(image)
    with pytest.raises(OptionError, match="a size must be"):
        Upscaler(engine="cpu", memory="plenty")
