"""evaluation.bicubic against the published Set5 files (made by MATLAB) and against the definition."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vs_smsr.errors import OptionError
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize

SET5 = Path(__file__).parents[2].parent / "shared" / "data" / "set5"
NAMES = ("baby", "bird", "butterfly", "head", "woman")
needs_set5 = pytest.mark.skipif(not SET5.is_dir(), reason="needs ../shared/data/set5")


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


@needs_set5
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_set5_low_resolution_is_bit_equal_to_matlab(name: str, scale: int) -> None:
    hr = crop_to_multiple(read(SET5 / "HR" / f"{name}.png"), scale)
    expected = read(SET5 / "LR_bicubic" / f"X{scale}" / f"{name}.png")
    np.testing.assert_array_equal(imresize(hr, 1 / scale), expected)


def plain(line: np.ndarray, scale: float) -> np.ndarray:
    """The definition, pixel by pixel: weight every source pixel (mirrored far enough) by the widened kernel."""
    widen = max(1 / scale, 1)
    size = len(line)
    result = []
    for output in range(int(np.ceil(round(scale * size, 9)))):
        centre = (output + 0.5) / scale - 0.5
        total = weights = 0.0
        for source in range(int(centre - 4 * widen) - 4, int(centre + 4 * widen) + 4):
            x = abs(centre - source) / widen
            if x >= 2:
                continue
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            mirrored = source % (2 * size)
            total += weight * line[min(mirrored, 2 * size - 1 - mirrored)]
            weights += weight
        result.append(total / weights)
    return np.array(result)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 0.7, 1, 1.3, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 12, 31])
def test_equals_the_definition_for_floats(scale: float, size: int) -> None:
    rng = np.random.default_rng(size)
    image = rng.uniform(0, 255, (size, size + 2))
    rows = np.stack([plain(column, scale) for column in image.T], axis=1)
    expected = np.stack([plain(row, scale) for row in rows])
    np.testing.assert_allclose(imresize(image, scale), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_keeps_dtype_channels_and_constants(dtype: type) -> None:
    image = np.full((6, 9, 3), 200, dtype)
    small = imresize(image, 1 / 3)
    assert small.shape == (2, 3, 3)
    assert small.dtype == dtype
    np.testing.assert_allclose(small, 200, rtol=1e-6)
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(dtype)
    np.testing.assert_array_equal(imresize(noise, 0.5)[..., 1], imresize(noise[..., 1], 0.5))


def test_overshoot_is_clipped_not_wrapped() -> None:
    image = np.zeros((8, 8), np.uint8)
    image[:, 4:] = 255
    large = imresize(image, 2)
    assert set(np.unique(large[:, :6])) <= {0}
    assert set(np.unique(large[:, 10:])) <= {255}


def test_does_not_change_its_input() -> None:
    image = np.random.default_rng(1).uniform(0, 1, (5, 5))
    copy = image.copy()
    imresize(image, 2)
    np.testing.assert_array_equal(image, copy)


@pytest.mark.parametrize(
    ("image", "scale", "word"),
    [
        (np.zeros((4, 4), np.int32), 0.5, "dtype"),
        (np.zeros(4, np.uint8), 0.5, "shape"),
        (np.zeros((0, 4), np.uint8), 0.5, "shape"),
        (np.zeros((4, 4), np.uint8), 0.0, "scale"),
        (np.zeros((4, 4), np.uint8), float("nan"), "scale"),
    ],
)
def test_wrong_input_is_named(image: np.ndarray, scale: float, word: str) -> None:
    with pytest.raises(OptionError, match=f"imresize: {word} must be"):
        imresize(image, scale)


@pytest.mark.parametrize(("shape", "multiple", "expected"), [((7, 9, 3), 2, (6, 8, 3)), ((9, 12), 3, (9, 12))])
def test_crop_to_multiple(shape: tuple[int, ...], multiple: int, expected: tuple[int, ...]) -> None:
    assert crop_to_multiple(np.zeros(shape, np.uint8), multiple).shape == expected
