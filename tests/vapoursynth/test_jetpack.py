"""SMSR among the scalers of vs-jetpack: found by name, any size and shift, doubling in Rescale."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from vskernels import Bilinear, Catrom, Lanczos, Scaler
from vsscale import Rescale

from vs_smsr import smsr
from vs_smsr.jetpack import SMSR
from vs_smsr.weights import shipped

core = vs.core
OPTIONS: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


def waves(format: int = vs.GRAYS, width: int = 48, height: int = 32) -> vs.VideoNode:
    """A still of waves."""
    blank = core.std.BlankClip(format=vs.GRAYS, width=width, height=height, length=2)
    y, x = np.mgrid[:height, :width]

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        result = f.copy()
        np.asarray(result[0])[...] = 0.5 + 0.3 * np.sin(x / 5) * np.cos(y / 4)
        return result

    grey = core.std.ModifyFrame(blank, blank, fill).std.SetFrameProps(_Matrix=1, _Range=0)
    return grey if format == vs.GRAYS else grey.resize.Bicubic(format=format)


def pixels(clip: vs.VideoNode) -> np.ndarray:
    return np.asarray(clip.get_frame(0)[0]).astype(np.float64)


@pytest.mark.parametrize("spelling", ["smsr", "SMSR", SMSR, SMSR(**OPTIONS)], ids=["lower", "upper", "class", "object"])
def test_it_is_found_wherever_a_scaler_is_taken(spelling: Any) -> None:
    assert type(Scaler.ensure_obj(spelling)) is SMSR


@pytest.mark.parametrize("format", [vs.GRAYS, vs.YUV420P8, vs.YUV444P16, vs.RGBS], ids=lambda f: f.name)
@pytest.mark.parametrize(("factor", "scale"), [(2, 2), (2.5, 3), (3, 3), (3.5, 4)])
def test_the_network_reaches_the_size_and_the_scaler_does_the_rest(format: Any, factor: float, scale: int) -> None:
    clip = core.resize.Bicubic(waves(vs.YUV444PS), format=format)
    large = smsr(clip, scale, **OPTIONS)
    size = int(48 * factor), int(32 * factor)
    expected = large if factor == scale else Lanczos().scale(large, *size)
    found = SMSR(scaler=Lanczos, **OPTIONS).supersample(clip, factor)
    assert (found.width, found.height, found.format.id) == (*size, format)
    np.testing.assert_array_equal(pixels(found), pixels(expected))


def test_sizes_up_to_the_clips_own_are_the_scalers() -> None:
    clip = waves()
    np.testing.assert_array_equal(pixels(SMSR().scale(clip, 24, 20)), pixels(Catrom().scale(clip, 24, 20)))
    np.testing.assert_array_equal(pixels(SMSR().scale(clip)), pixels(clip))


def test_beyond_the_largest_scale() -> None:
    found = SMSR(**OPTIONS).scale(waves(width=10, height=8), 60, 48)
    assert (found.width, found.height) == (60, 48)


def test_shift_is_in_pixels_of_the_result() -> None:
    clip = waves()
    still, moved = (pixels(SMSR(**OPTIONS).scale(clip, 96, 64, shift)) for shift in ((0, 0), (2, 4)))
    np.testing.assert_allclose(moved[8:-8, 8:-8], still[10:-6, 12:-4], atol=1e-6)


def test_weights_decide_the_scale() -> None:
    found = SMSR(weights=shipped(3), **OPTIONS).scale(waves(), 96, 64)
    expected = Catrom().scale(smsr(waves(), 3, **OPTIONS), 96, 64)
    np.testing.assert_array_equal(pixels(found), pixels(expected))


def test_rescale_doubles_with_it() -> None:
    native = waves(width=64, height=48)
    rescaled = Rescale(Bilinear().scale(native, 96, 72), 48, Bilinear, upscaler=SMSR(**OPTIONS))
    np.testing.assert_allclose(pixels(rescaled.descale), pixels(native), atol=1e-3)
    np.testing.assert_array_equal(pixels(rescaled.doubled), pixels(smsr(rescaled.descale, 2, **OPTIONS)))
    assert (rescaled.upscale.width, rescaled.upscale.height) == (96, 72)


def test_without_vs_jetpack_one_line_says_what_is_missing() -> None:
    code = "import sys; sys.modules['vskernels'] = None; import vs_smsr.jetpack"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].startswith("ImportError: vs_smsr.jetpack needs vs-jetpack 2 (")
    assert "pip install 'vs-smsr[jetpack]'" in run.stderr


def test_radius_is_that_of_the_network() -> None:
    assert SMSR(**OPTIONS).kernel_radius == 43
