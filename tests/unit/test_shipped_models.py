"""The shipped models on coded drawings that they were not trained on: better than Lanczos, and no SMM without use."""

from __future__ import annotations

from pathlib import Path

import pytest

from vs_smsr import Upscaler
from vs_smsr.evaluation.footage import CONDITIONS, classical, judge, make_footage, read_clip
from vs_smsr.weights.catalogue import PURPOSES, models

CLIP = Path(__file__).parents[1] / "data" / "drawings" / "lecture.mkv"
CODED = next(one for one in CONDITIONS if one.name == "area, x264 crf 28")
LEARNED_CODING = [(model.name, model.scale) for model in models() if model.name != "smsr"]
GAIN = 0.3  # dB of Y over the better of bicubic and Lanczos, at least: `smsr` has -0.3 to 0.0 there


def test_every_model_says_what_it_is_for() -> None:
    found = models()
    assert {model.name for model in found} == set(PURPOSES)
    assert [(model.name, model.scale) for model in found if model.name in ("smsr", "video")] == [
        (name, scale) for name in ("smsr", "video") for scale in (2, 3, 4)
    ]
    for model in found:
        assert model.purpose
        assert model.size <= 3.2e6
        assert model.psnr is not None
        assert model.sparsity is not None


@pytest.mark.parametrize(("name", "scale"), LEARNED_CODING)
def test_models_for_coded_video(name: str, scale: int) -> None:
    clip = read_clip(CLIP, 2, scale)
    low = make_footage(clip, scale, CODED)
    upscaler = Upscaler(scale=scale, model=name, device="cpu")
    results = [upscaler.upscale_with_info(frame) for frame in low]
    others = [judge(clip, [enlarge(frame) for frame in low], with_vmaf=False) for enlarge in classical(scale).values()]
    gain = judge(clip, [result.pixels for result in results], with_vmaf=False).over(others)
    assert gain.psnr > GAIN
    assert gain.ssim > 0.01
    for result in results:
        assert all(0.05 < share < 0.97 for share in result.sparsity), result.sparsity
