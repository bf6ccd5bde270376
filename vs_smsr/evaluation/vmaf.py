"""VMAF of pictures in memory."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import av

from vs_smsr.evaluation.metrics import Pixels
from vs_smsr.media.libvmaf import Meter, Shape

THREADS = 2


def vmaf(reference: Sequence[Pixels], distorted: Sequence[Pixels]) -> tuple[float, float]:
    """VMAF and VMAF-NEG, means over the frames, 0..100; on 4:2:0 in limited range.

    Args:
        reference, distorted: (H, W, 3) uint8 RGB, all of one size.
    Raises:
        MediaError: this build of FFmpeg has no libvmaf.
    """
    meter = Meter(Shape.of(_frame(reference[0])), THREADS)
    for pair in zip(reference, distorted, strict=True):
        meter.push(*map(_frame, pair))
    figures = meter.finish()
    return fmean(figures["VMAF"]), fmean(figures["VMAF-NEG"])


def _frame(pixels: Pixels) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
