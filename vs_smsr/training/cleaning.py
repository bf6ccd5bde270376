"""Which images are worth training on, and at what size: sharp, undamaged, not twice, and in no benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize

Image = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255

LOSSY = {".jpg", ".jpeg", ".webp"}
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0)  # downscales that are tried, in this order
LEAST_DETAIL = 2.0  # standard deviation of the band above half of Nyquist, 8-bit luma
LEAST_SIDE = 192  # pixels, after the downscale
DUPLICATE_DISTANCE = 6  # bits of 64
BENCHMARK_DISTANCE = 10

# Perceptual hashes of Set5 (baby, bird, butterfly, head, woman): a benchmark's image may not be trained on.
SET5_HASHES = (
    0xEAEC2DB230E831CB,
    0xB8C0C63ECD41F595,
    0x86087B157CDE266B,
    0x8C726AE56D98A56A,
    0xD5D2780F139661B9,
)
# Benchmark images that common collections carry under these names, and the source of Set5 "woman" (BSDS500 302003).
BENCHMARK_NAMES = {
    *("baby_gt", "bird_gt", "butterfly_gt", "head_gt", "woman_gt", "butterfly", "302003"),
    *("baboon", "barbara", "bridge", "coastguard", "comic", "foreman", "lena", "lenna", "monarch", "pepper"),
    *("peppers", "ppt3", "zebra"),
}


def perceptual_hash(image: Image) -> int:
    """64 bits that survive scaling, compression and small changes of brightness: signs of the lowest DCT terms.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])  # the mean is left out of the threshold
    return int(np.packbits(bits).view(">u8")[0])


def distance(first: int, second: int) -> int:
    """Bits in which two hashes differ, 0..64."""
    return (first ^ second).bit_count()


def nearest(value: int, others: Iterable[int]) -> int:
    """The smallest distance to any of the others; 64 if there are none."""
    return min((distance(value, other) for other in others), default=64)


def variants(image: Image) -> list[int]:
    """Hashes of an image and of its mirror image: a flipped copy is a copy."""
    return [perceptual_hash(image), perceptual_hash(np.ascontiguousarray(image[:, ::-1]))]


def detail(image: Image) -> float:
    """Standard deviation, in 8-bit steps of luma, of what halving the image would lose. Upscaled images have little."""
    luma = crop_to_multiple(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 2).astype(np.float32)
    lost = luma - imresize(imresize(luma, 0.5), 2)
    return float(lost.std())


def sharp_size(image: Image, lossy: bool) -> Image | None:
    """The image at the largest size at which it is sharp; lossy files at half size or less. None: it never is.

    Args:
        image: (H, W, 3) uint8 RGB.
        lossy: it was decoded from a format that damages fine detail.
    """
    for factor in FACTORS:
        if lossy and factor < 2:
            continue
        if min(image.shape[:2]) / factor < LEAST_SIDE:
            return None
        smaller = image if factor == 1 else imresize(image, 1 / factor)
        if detail(smaller) >= LEAST_DETAIL:
            return smaller
    return None


def is_benchmark_name(path: Path) -> bool:
    """Is this the usual file name of a benchmark's image?"""
    return path.stem.lower() in BENCHMARK_NAMES
