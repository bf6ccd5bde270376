"""One engine on one benchmark folder: PSNR, SSIM, sparsity and work."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Engine
from vs_smsr.errors import MediaError
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.evaluation.flops import gflops_720p
from vs_smsr.evaluation.metrics import WINDOW, Pixels, psnr, ssim
from vs_smsr.families import NetworkSpec
from vs_smsr.media.images import is_image, read_image
from vs_smsr.tiling import Tiler


@dataclass(frozen=True)
class ImageScore:
    """The result for one image: dB, 0..1, and sparsity of the 5 SMMs as the paper counts it, 0..1."""

    name: str
    psnr: float
    ssim: float
    sparsity: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """The results for a folder; the means are over images, each counting the same."""

    spec: NetworkSpec
    images: tuple[ImageScore, ...]

    @property
    def scale(self) -> int:
        return self.spec.scale

    @property
    def psnr(self) -> float:
        return float(np.mean([image.psnr for image in self.images]))

    @property
    def ssim(self) -> float:
        return float(np.mean([image.ssim for image in self.images]))

    @property
    def module_sparsity(self) -> tuple[float, ...]:
        """Sparsity of each block, 0..1."""
        return tuple(float(share) for share in np.mean([image.sparsity for image in self.images], axis=0))

    @property
    def sparsity(self) -> float:
        """Mean over the blocks: what the paper prints."""
        return float(np.mean(self.module_sparsity))

    @property
    def gflops_720p(self) -> float:
        """10^9 multiply-adds for an HR frame of 1280x720 at this sparsity; see `flops`."""
        return gflops_720p(self.spec, self.module_sparsity)

    def to_json(self) -> str:
        """The numbers as JSON; an infinite PSNR (equal images) is null."""
        images = [
            {"name": i.name, "psnr": _finite(i.psnr), "ssim": i.ssim, "sparsity": list(i.sparsity)} for i in self.images
        ]
        whole: dict[str, Any] = {
            "psnr": _finite(self.psnr),
            "ssim": self.ssim,
            "sparsity": self.sparsity,
            "gflops_720p": self.gflops_720p,
            "images": images,
        }
        return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)


def evaluate(
    engine: Engine, hr: Path, lr: Path | None = None, on_image: Callable[[ImageScore], None] | None = None
) -> Evaluation:
    """Upscale LR images and compare them with HR ones, as the benchmarks of the literature do.

    The result is rounded to 8 bits; PSNR and SSIM are those of Y with a border of `scale` pixels left out. HR images
    are cropped to multiples of the scale.

    Args:
        engine: the network; its weights tell the scale.
        hr: a folder of 8-bit images, grey or RGB (or one such image).
        lr: a folder of the same names, or with x2, x3, x4 added (0801.png -> 0801x2.png); None makes them by bicubic
            interpolation as MATLAB does.
        on_image: called with each score as it is there.
    Raises:
        MediaError: there are no images, one has no LR partner of the right size, or one cannot be used.
        EngineError: the engine failed.
    """
    tiler = Tiler(engine)
    scores = []
    for name, small, large in _pairs(hr, lr, tiler.scale):
        result = tiler.upscale(small.astype(np.float32))
        pixels = np.rint(result.frame).clip(0, 255).astype(np.uint8)
        border = tiler.scale
        score = ImageScore(name, psnr(pixels, large, border), ssim(pixels, large, border), result.sparsity)
        scores.append(score)
        if on_image is not None:
            on_image(score)
    return Evaluation(engine.weights.spec, tuple(scores))


def _pairs(hr: Path, lr: Path | None, scale: int) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Name, LR and HR image, by name."""
    least = scale * math.ceil((WINDOW + 2 * scale) / scale)
    for path in _images(hr):
        large = crop_to_multiple(_rgb(path), scale)
        if min(large.shape[:2]) < least:
            raise MediaError(f"evaluate: {path} must be at least {least}x{least} for x{scale}.")
        if lr is None:
            yield path.stem, imresize(large, 1 / scale), large
            continue
        partner = _partner(path, lr, scale)
        small = _rgb(partner)
        expected = large.shape[0] // scale, large.shape[1] // scale
        if small.shape[:2] != expected:
            raise MediaError(
                f"evaluate: {partner} must be {expected[1]}x{expected[0]}, the size of {path.name} over {scale}, "
                f"got {small.shape[1]}x{small.shape[0]}."
            )
        yield path.stem, small, large


def _images(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise MediaError(f"evaluate: {folder} does not exist.")
    found = sorted(path for path in folder.iterdir() if is_image(path))
    if not found:
        raise MediaError(f"evaluate: {folder} holds no images.")
    return found


def _partner(path: Path, lr: Path, scale: int) -> Path:
    names = (path.stem, f"{path.stem}x{scale}")
    for candidate in [lr] if lr.is_file() else _images(lr):
        if candidate.stem in names:
            return candidate
    raise MediaError(f"evaluate: {lr} has no LR image for {path.name}. Its name must be {names[0]} or {names[1]}.")


def _rgb(path: Path) -> Pixels:
    """(H, W, 3) uint8; a grey image counts as RGB with three equal channels."""
    pixels: NDArray[Any] = read_image(path).pixels
    if pixels.dtype != np.uint8:
        raise MediaError(f"evaluate: {path} must have 8 bits, got {pixels.dtype}.")
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise MediaError(f"evaluate: {path} must be grey or RGB, got an image with alpha.")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return pixels


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
