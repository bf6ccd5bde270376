"""evaluation.evaluate: the published figure, the pairing of files, the JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vs_smsr.engine.contract import Capabilities, Overrides, Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cpu.isa import choose
from vs_smsr.engine.memory import HostMemory
from vs_smsr.errors import MediaError
from vs_smsr.evaluation import Evaluation, ImageScore, evaluate
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.evaluation.metrics import luma
from vs_smsr.families import smsr
from vs_smsr.media.images import read_image
from vs_smsr.weights import Weights, load, shipped

SHARED = Path(__file__).parents[2].parent / "shared"
SET5 = SHARED / "data" / "set5"
OFFICIAL = SHARED / "weights" / "smsr_x2_official.pt"
needs_set5 = pytest.mark.skipif(not SET5.is_dir(), reason="needs ../shared/data/set5")
needs_official = pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs ../shared/weights/smsr_x2_official.pt")


class Bicubic:
    """An engine without a network: bicubic interpolation, a mask whose share of active pixels is known."""

    name, device, precision, profile = "cpu", "cpu", "fp32", None
    capabilities = Capabilities(windows=False)
    memory = HostMemory(0, lambda height, width: 0)

    def __init__(self, scale: int = 2) -> None:
        self.weights = Weights(
            smsr.spec(scale), {name: np.zeros(shape, np.float32) for name, shape in smsr.spec(scale).shapes.items()}
        )

    def upscale(self, frame: np.ndarray, overrides: Overrides | None = None) -> Upscaled:
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
        masks = (np.ones(frame.shape[:2], np.uint8),) * 5
        large = imresize(frame.astype(np.uint8), self.weights.scale)
        return Upscaled(large.astype(np.float32), masks, (np.ones(64, np.float32),) * 5, (0.1, 0.2, 0.3, 0.4, 0.5))


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), (0, 0), 1.5)


@needs_set5
@needs_official
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_official_weights_give_the_published_figure(name: str) -> None:
    pytest.importorskip("torch", reason="reads a .pt checkpoint")
    from importlib import import_module

    from vs_smsr.network.checkpoint import read_checkpoint
    from vs_smsr.options import EngineOptions

    weights = read_checkpoint(OFFICIAL)
    engine = import_module(f"vs_smsr.engine.{name}").create(weights, EngineOptions(precision="fp32"))
    result = evaluate(engine, SET5 / "HR", SET5 / "LR_bicubic" / "X2")
    assert result.psnr == pytest.approx(37.991, abs=0.003)
    assert result.ssim == pytest.approx(0.96023, abs=0.00005)
    each = {"baby": 38.888, "bird": 43.282, "butterfly": 35.382, "head": 35.988, "woman": 36.415}
    assert {image.name: image.psnr for image in result.images} == pytest.approx(each, abs=0.003)
    assert result.sparsity == pytest.approx(0.58, abs=0.005)  # the paper's supplement


@needs_set5
@pytest.mark.parametrize(("scale", "psnr"), [(2, 37.60), (3, 33.80), (4, 31.50)])
def test_the_shipped_weights_are_as_good_as_they_say_and_have_to_be(scale: int, psnr: float) -> None:
    weights = load(shipped(scale))
    result = evaluate(CpuEngine(weights, precision="fp32"), SET5 / "HR", SET5 / "LR_bicubic" / f"X{scale}")
    assert result.psnr >= psnr
    assert result.sparsity >= 0.65
    assert float(weights.metadata["psnr_set5"]) == pytest.approx(result.psnr, abs=0.01)
    assert float(weights.metadata["sparsity_set5"]) == pytest.approx(result.sparsity, abs=0.001)
    assert shipped(scale).stat().st_size <= 2.2e6


@needs_set5
@needs_official
def test_bf16_is_as_good_as_fp32_with_the_official_weights() -> None:
    """bf16, where the processor has it."""
    pytest.importorskip("torch", reason="reads a .pt checkpoint")
    from vs_smsr.network.checkpoint import read_checkpoint

    weights = read_checkpoint(OFFICIAL)
    best = "bf16" if choose().bf16 else "fp32"
    single, fastest = (CpuEngine(weights, precision=precision) for precision in ("fp32", best))
    for path in sorted((SHARED / "data" / "bench").iterdir()):
        pixels = read_image(path).pixels[:180, :320].astype(np.float32)
        error = np.square(single.upscale(pixels).frame - fastest.upscale(pixels).frame).mean(dtype=np.float64)
        assert error <= 255**2 / 10**4.8, path.name  # 48 dB
    scores = [evaluate(engine, SET5 / "HR", SET5 / "LR_bicubic" / "X2").psnr for engine in (single, fastest)]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)


@needs_set5
@pytest.mark.parametrize(("scale", "expected", "rounded"), [(2, 33.673, 33.64), (3, 30.404, 30.39), (4, 28.429, 28.42)])
def test_bicubic_baseline(scale: int, expected: float, rounded: float) -> None:
    """Bicubic on Set5, and LR images made here serve as well as the published ones.

    The figures that most papers print for bicubic come from MATLAB's rgb2ycbcr, which rounds Y to 8 bits; BasicSR and
    this project do not, and find a few hundredths more.
    """
    engine = Bicubic(scale)
    with_files = evaluate(engine, SET5 / "HR", SET5 / "LR_bicubic" / f"X{scale}")
    assert with_files.psnr == pytest.approx(expected, abs=0.001)
    assert evaluate(engine, SET5 / "HR") == with_files

    inner = (slice(scale, -scale), slice(scale, -scale))
    figures = []
    for path in sorted((SET5 / "HR").iterdir()):
        hr = crop_to_multiple(read_image(path).pixels, scale)
        lr = read_image(SET5 / "LR_bicubic" / f"X{scale}" / path.name).pixels
        difference = np.rint(luma(imresize(lr, scale))) - np.rint(luma(hr))
        figures.append(10 * np.log10(255**2 / np.mean(difference[inner] ** 2)))
    assert np.mean(figures) == pytest.approx(rounded, abs=0.0055)


def test_shipped_weights_beat_bicubic_on_the_cpu(tmp_path: Path) -> None:
    """End to end with the real engine on a small picture with odd LR sides."""
    from vs_smsr import engine as engines
    from vs_smsr.options import EngineOptions

    y, x = np.mgrid[:62, :78]
    disc = ((x - 40) ** 2 + (y - 30) ** 2 < 400) * 180 + ((x // 9 + y // 7) % 2) * 40
    save(tmp_path / "disc.png", np.repeat(cv2.GaussianBlur(disc.astype(np.uint8), (0, 0), 0.8)[..., None], 3, 2))
    ours = evaluate(engines.create(EngineOptions(device="cpu")), tmp_path)
    assert ours.psnr > evaluate(Bicubic(), tmp_path).psnr + 1
    assert ours.sparsity == pytest.approx(np.mean(ours.images[0].sparsity))


def test_json_has_exactly_the_promised_keys(tmp_path: Path) -> None:
    save(tmp_path / "b.png", picture(40, 44, 1))
    save(tmp_path / "a.png", picture(36, 50, 2))
    seen: list[ImageScore] = []
    result = evaluate(Bicubic(), tmp_path, on_image=seen.append)
    found = json.loads(result.to_json())
    assert list(found) == ["psnr", "ssim", "sparsity", "gflops_720p", "images"]
    assert [list(image) for image in found["images"]] == [["name", "psnr", "ssim", "sparsity"]] * 2
    assert [image["name"] for image in found["images"]] == ["a", "b"]
    assert tuple(seen) == result.images
    assert found["psnr"] == pytest.approx(np.mean([image["psnr"] for image in found["images"]]))
    assert found["ssim"] == pytest.approx(np.mean([image["ssim"] for image in found["images"]]))
    assert found["images"][0]["sparsity"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert found["sparsity"] == pytest.approx(0.3)
    assert found["gflops_720p"] == pytest.approx(224.052 - 1.5 * 163840 * 0.2304 / 1000, abs=0.01)


def test_equal_images_are_null_not_broken_json() -> None:
    result = Evaluation(smsr.spec(2), (ImageScore("same", float("inf"), 1.0, (0.0,) * 5),))
    assert json.loads(result.to_json())["psnr"] is None


@pytest.mark.parametrize("lr_name", ["0801.png", "0801x2.png", "0801.tif"])
def test_finds_lr_by_either_name(tmp_path: Path, lr_name: str) -> None:
    hr = picture(40, 44)
    save(tmp_path / "hr" / "0801.png", hr)
    save(tmp_path / "lr" / lr_name, imresize(hr, 0.5))
    save(tmp_path / "lr" / "0801x3.png", imresize(hr, 1 / 3))
    assert evaluate(Bicubic(), tmp_path / "hr", tmp_path / "lr") == evaluate(Bicubic(), tmp_path / "hr")


def test_single_files_and_grey_images(tmp_path: Path) -> None:
    grey = picture(40, 45)[..., 0]
    save(tmp_path / "hr" / "grey.png", grey)
    save(tmp_path / "lr" / "grey.png", imresize(grey[:, :44], 0.5))
    save(tmp_path / "rgb" / "grey.png", np.repeat(grey[..., None], 3, 2))
    files = evaluate(Bicubic(), tmp_path / "hr" / "grey.png", tmp_path / "lr" / "grey.png")
    assert files == evaluate(Bicubic(), tmp_path / "hr") == evaluate(Bicubic(), tmp_path / "rgb")


def test_the_result_is_rounded_to_8_bits(tmp_path: Path) -> None:
    """An engine that is 0.4 too bright everywhere scores as one that is right."""

    class Bright(Bicubic):
        def upscale(self, frame: np.ndarray, overrides: Overrides | None = None) -> Upscaled:
            result = super().upscale(frame, overrides)
            result.frame[...] += 0.4
            return result

    save(tmp_path / "a.png", picture(40, 44).clip(20, 230))
    assert evaluate(Bright(), tmp_path) == evaluate(Bicubic(), tmp_path)


def test_bad_folders_are_named(tmp_path: Path) -> None:
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    with pytest.raises(MediaError, match="hr does not exist"):
        evaluate(Bicubic(), hr)
    hr.mkdir()
    (hr / "notes.txt").write_text("no image")
    with pytest.raises(MediaError, match="hr holds no images"):
        evaluate(Bicubic(), hr)
    save(hr / "a.png", picture(40, 44))
    lr.mkdir()
    save(lr / "b.png", picture(20, 22))
    with pytest.raises(MediaError, match=r"no LR image for a\.png\. Its name must be a or ax2"):
        evaluate(Bicubic(), hr, lr)
    save(lr / "a.png", picture(20, 21))
    with pytest.raises(MediaError, match=r"must be 22x20, the size of a\.png over 2, got 21x20"):
        evaluate(Bicubic(), hr, lr)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((40, 40, 3), np.uint16), "must have 8 bits"),
        (np.zeros((40, 40, 4), np.uint8), "must be grey or RGB"),
        (np.zeros((40, 13, 3), np.uint8), "must be at least 16x16 for x2"),
    ],
)
def test_bad_images_are_named(tmp_path: Path, image: np.ndarray, message: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), image)
    with pytest.raises(MediaError, match=rf"a\.png {message}"):
        evaluate(Bicubic(), tmp_path)
