"""evaluation.metrics against scikit-image and hand-made cases; evaluation.flops against the paper's table."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vs_smsr.errors import OptionError
from vs_smsr.evaluation import flops
from vs_smsr.evaluation.metrics import luma, psnr, ssim
from vs_smsr.families import smsr


def pair(height: int, width: int, noise: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image with texture, and the same with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 127 + 80 * np.sin(x / 9)[..., None] * np.cos(y / 7)[..., None] * np.array([1, 0.8, -0.6])
    base = base + rng.normal(0, 6, base.shape)
    other = base + rng.normal(0, noise, base.shape)
    return base.clip(0, 255).round().astype(np.uint8), other.clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("rgb", "expected"), [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81.481), ((0, 0, 255), 40.966)]
)
def test_luma_is_bt601_with_limited_range(rgb: tuple[int, ...], expected: float) -> None:
    assert luma(np.array([[rgb]], np.uint8))[0, 0] == pytest.approx(expected, abs=1e-9)


def test_psnr_of_a_known_error() -> None:
    """A difference of 10 in every channel is one of 10 * 219 / 255 on Y."""
    first = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(first, first + 10, 0) == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-9)


def test_the_border_is_left_out_and_nothing_else() -> None:
    first, _ = pair(24, 26, 0)
    second = first.copy()
    second[:2], second[-2:], second[:, :2], second[:, -2:] = 0, 0, 0, 0
    assert psnr(first, second, 2) == float("inf")
    assert ssim(first, second, 2) == pytest.approx(1, abs=1e-12)
    for y, x in ((2, 2), (2, -3), (-3, 2), (-3, -3)):
        second = first.copy()
        second[y, x] ^= 255
        assert psnr(first, second, 2) < 60


@pytest.mark.parametrize("noise", [1, 8, 40])
@pytest.mark.parametrize(("height", "width"), [(11, 11), (33, 47), (120, 90)])
@pytest.mark.parametrize("border", [0, 2, 4])
def test_ssim_equals_scikit_image(height: int, width: int, noise: int, border: int) -> None:
    first, second = pair(height + 2 * border, width + 2 * border, noise)
    inner = (slice(border, border + height), slice(border, border + width))
    expected = structural_similarity(
        luma(first[inner]), luma(second[inner]), data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(first, second, border) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_wrong_input_is_named(metric) -> None:
    first = np.zeros((14, 14, 3), np.uint8)
    with pytest.raises(OptionError, match=f"{metric.__name__}: second must be of the shape"):
        metric(first, first[1:], 0)
    with pytest.raises(OptionError, match="without a border of 7"):
        metric(first, first, 7)
    with pytest.raises(OptionError, match=r"must be \(H, W, 3\) RGB"):
        metric(first[..., 0], first[..., 0], 0)


def test_ssim_refuses_what_its_window_does_not_fit_into() -> None:
    image = np.zeros((14, 20, 3), np.uint8)
    assert ssim(image, image, 1) == 1
    with pytest.raises(OptionError, match="at least 11x11"):
        ssim(image, image, 2)


@pytest.mark.parametrize(
    ("scale", "dense", "computed", "used"), [(2, 224.1, 0.51, 131.6), (3, 100.5, 0.61, 67.8), (4, 57.2, 0.67, 41.6)]
)
def test_flops_are_those_of_the_paper(scale: int, dense: float, computed: float, used: float) -> None:
    """Table of the paper; its shares have two digits, so `used` is known to within half a hundredth of the bodies."""
    assert flops.gflops_720p(smsr.spec(scale)) == pytest.approx(dense, abs=0.05)
    slack = 0.005 * 5 * smsr.spec(scale).masked_macs[0] * flops.HR_PIXELS / scale**2 / 1e9
    assert flops.gflops_720p(smsr.spec(scale), [1 - computed] * 5) == pytest.approx(used, abs=slack)


def test_flops_by_hand() -> None:
    """Kernel numbers, written out: head, 5 x (mask branch, body), collect, tail."""
    head = 3 * 64 * 9 + 64 * 64 * 9
    mask = 64 * 16 * 9 + 16 * 16 * 9 // 4 + 16 * 2 * 9
    body = 4 * 64 * 64 * 9 + 256 * 64
    collect = 320 * 64 + 64 * 64 * 9
    assert smsr.spec(2).masked_macs[0] == body
    assert smsr.spec(2).macs == head + 5 * (mask + body) + collect + 64 * 12 * 9
    assert flops.gflops_720p(smsr.spec(2), [1, 0, 0, 0, 0]) == pytest.approx(
        flops.gflops_720p(smsr.spec(2)) - body * 640 * 360 / 1e9
    )
