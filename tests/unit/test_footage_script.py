"""scripts/footage.py: what is made is footage, what is measured is what the parts say, and files hold it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from skimage.metrics import peak_signal_noise_ratio

from vs_smsr import Upscaler
from vs_smsr.errors import MediaError
from vs_smsr.evaluation.footage import CONDITIONS, Condition, classical, judge, make_footage, read_clip
from vs_smsr.evaluation.metrics import luma
from vs_smsr.evaluation.vmaf import vmaf


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("footage")


@pytest.fixture(scope="module")
def clip(demo_clip: Path) -> list[Any]:
    return read_clip(demo_clip, 2, 2)


def test_a_run_from_end_to_end(script, clip, demo_clip, tmp_path, monkeypatch, capsys):
    """Two conditions of two frames; every figure of one row again from its parts."""
    arguments = [str(demo_clip), "--frames", "2", "--condition", "clean", "--condition", "crf 28"]
    arguments += ["--json", f"{tmp_path}/gains.json", "--plot", f"{tmp_path}/gains.png", "--pictures", f"{tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["footage.py", *arguments])
    assert script.main() == 0
    shown = capsys.readouterr()
    assert "clean bicubic" in shown.out
    assert "all coded" in shown.out
    assert "MPEG-2" not in shown.out
    clean, coded = json.loads((tmp_path / "gains.json").read_text())["rows"]
    assert (clean["coded"], coded["coded"]) == (False, True)
    low = make_footage(clip, 2, next(one for one in CONDITIONS if one.name == coded["condition"]))
    results = [Upscaler(scale=2, model="smsr").upscale_with_info(frame) for frame in low]
    ours = judge(clip, [result.pixels for result in results])
    assert coded["ours"] == {"psnr": ours.psnr, "ssim": ours.ssim, "vmaf": ours.vmaf, "neg": ours.neg}
    assert coded["skipped"] == pytest.approx(np.mean([result.skipped for result in results]))
    for measure in ("psnr", "ssim", "vmaf", "neg"):
        best = max(coded["bicubic"][measure], coded["lanczos"][measure])
        assert coded["gain"][measure] == pytest.approx(coded["ours"][measure] - best)
    assert clean["gain"]["psnr"] > 1, "the shipped weights know clean bicubic"
    with Pillow.open(tmp_path / "demo.mp4.png") as sheet, Pillow.open(tmp_path / "gains.png") as plot:
        assert sheet.size == (4 * 192, 2 * (192 + 26))
        assert plot.width > 500


def test_a_rival_is_measured_too(script, demo_clip, tmp_path, monkeypatch, capsys):
    """By a stand-in, which enlarges as bicubic does: ours over it is no less than the gain."""

    class Rival:
        def __init__(self, scale: int) -> None:
            self._scale = scale

        def upscale(self, frame: Any) -> Any:
            return classical(self._scale)["bicubic"](frame).clip(0, 255)

    monkeypatch.setattr(script, "RealEsrgan", Rival)
    arguments = [str(demo_clip), "--frames", "1", "--condition", "crf 23", "--no-vmaf", "--rival"]
    monkeypatch.setattr(sys, "argv", ["footage.py", *arguments, "--json", f"{tmp_path}/gains.json"])
    assert script.main() == 0
    assert "gain over realesr-animevideov3" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "gains.json").read_text())["rows"]
    assert row["realesr-animevideov3"]["psnr"] == pytest.approx(row["bicubic"]["psnr"], abs=0.05)
    assert row["over_rival"]["psnr"] == pytest.approx(row["ours"]["psnr"] - row["realesr-animevideov3"]["psnr"])
    assert row["over_rival"]["psnr"] > row["gain"]["psnr"] - 0.05


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("scale", [2, 3])
def test_footage_is_the_clip_in_small(clip, scale, condition):
    """Of each encoder as many frames, aligned, and worse than what is not coded; twice the same."""
    height, width = (side // (2 * scale) * 2 * scale for side in clip[0].shape[:2])
    frames = [frame[:height, :width] for frame in clip]
    made = make_footage(frames, scale, condition)
    plain = make_footage(frames, scale, Condition("", condition.kernel))
    for frame, again, uncoded, whole in zip(made, make_footage(frames, scale, condition), plain, frames, strict=True):
        assert frame.shape == (height // scale, width // scale, 3)
        assert np.array_equal(frame, again)
        area = cv2.resize(whole, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
        assert np.abs(luma(area) - luma(uncoded)).mean() < 4
        if condition.encoder:
            assert 24 < peak_signal_noise_ratio(luma(uncoded), luma(frame), data_range=255) < 50
        else:
            assert np.array_equal(uncoded, frame)


def test_scores_know_what_is_better(clip):
    blurred = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in clip]
    equal, worse = judge(clip, clip), judge(clip, blurred)
    assert (equal.psnr, equal.ssim) == (100, pytest.approx(1))
    assert equal.neg > 90 > worse.neg
    inner = [luma(frame)[8:-8, 8:-8] for frame in (clip[0], blurred[0], clip[1], blurred[1])]
    reference = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in (inner[:2], inner[2:])]
    assert worse.psnr == pytest.approx(np.mean(reference))
    assert np.isnan(judge(clip, blurred, with_vmaf=False).vmaf)


def test_neg_does_not_reward_sharpening(clip):
    sharp = [cv2.addWeighted(frame, 1.6, cv2.GaussianBlur(frame, (0, 0), 1.5), -0.6, 0) for frame in clip]
    usual, neg = (after - before for after, before in zip(vmaf(clip, sharp), vmaf(clip, clip), strict=True))
    assert neg < usual


def test_frames_before_and_sides(demo_clip):
    frames = read_clip(demo_clip, 3, 4, skip=5)
    with av.open(str(demo_clip)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][5:8]
    assert all(np.array_equal(mine, its[:176, :320]) for mine, its in zip(frames, decoded, strict=True))


def test_what_is_no_clip(script, tmp_path, demo_clip, monkeypatch, capsys):
    (tmp_path / "text.mkv").write_text("no video")
    with pytest.raises(MediaError, match=r"text\.mkv: must be a video"):
        read_clip(tmp_path / "text.mkv", 1, 2)
    with pytest.raises(MediaError, match="must have more than 1000 frames"):
        read_clip(demo_clip, 1, 2, skip=1000)
    monkeypatch.setattr(sys, "argv", ["footage.py", str(tmp_path / "none.mkv")])
    assert script.main() == 1
    assert "none.mkv" in capsys.readouterr().err
