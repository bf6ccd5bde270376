"""How good an upscaler is on what people have: clips that were reduced and coded as footage is.

A clip in full resolution is reduced, coded by a real encoder, decoded, enlarged, and compared with itself. Encoders run
on one thread: the same clip is coded the same way on every machine with the same libraries.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from vs_smsr.errors import MediaError
from vs_smsr.evaluation.metrics import Pixels, psnr, ssim
from vs_smsr.evaluation.vmaf import vmaf

type Clip = Sequence[Pixels]
type Enlarge = Callable[[Pixels], Pixels]

BORDER = 8  # pixels at each side that PSNR leaves out
MOST = 100.0  # dB: what counts for frames that are equal
RATE = 25
ENOUGH = 50_000_000  # bit/s for MPEG-2, so that its quantiser alone decides
LEAST = 32  # HR pixels a side: what encoders and VMAF take at every scale


@dataclass(frozen=True)
class Condition:
    """How a clip becomes footage.

    Attributes:
        name: for tables.
        kernel: "BICUBIC" or "LANCZOS" of libswscale, or "AREA".
        encoder: FFmpeg's name; None: not coded.
        options: the encoder's own.
    """

    name: str
    kernel: str
    encoder: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


X265 = {"crf": "26", "x265-params": "log-level=none:pools=none:frame-threads=1"}
CONDITIONS = (
    Condition("clean bicubic", "BICUBIC"),
    Condition("lanczos, x264 crf 18", "LANCZOS", "libx264", {"crf": "18"}),
    Condition("bicubic, x264 crf 23", "BICUBIC", "libx264", {"crf": "23"}),
    Condition("area, x264 crf 28", "AREA", "libx264", {"crf": "28"}),
    Condition("bicubic, x265 crf 26", "BICUBIC", "libx265", X265),
    Condition("lanczos, MPEG-2 q 6", "LANCZOS", "mpeg2video", {"qmin": "6", "qmax": "6"}),
)


@dataclass(frozen=True)
class Score:
    """Means over a clip's frames.

    Attributes:
        psnr: dB on Y, without 8 pixels at each side.
        ssim: on Y, 0..1.
        vmaf, neg: VMAF and VMAF-NEG, 0..100; NaN where they were not measured. VMAF rewards sharpening as such, NEG
            hardly.
    """

    psnr: float
    ssim: float
    vmaf: float
    neg: float

    def over(self, others: Sequence[Score]) -> Score:
        """The gain over the best of others, for each measure by itself."""
        names = "psnr", "ssim", "vmaf", "neg"
        return Score(*(getattr(self, name) - max(getattr(other, name) for other in others) for name in names))


def read_clip(path: Path, frames: int, scale: int, skip: int = 0) -> list[Pixels]:
    """(H, W, 3) uint8 RGB of the first frames after `skip`, cut to sides that are multiples of twice the scale.

    Raises:
        MediaError: the clip cannot be read, has no frame there, or is smaller than 32x32.
    """
    try:
        with av.open(str(path)) as container:
            decoded = islice(container.decode(video=0), skip, skip + frames)
            clip = [_rgb(frame) for frame in decoded]
    except (av.FFmpegError, IndexError) as error:
        raise MediaError(f"{path}: must be a video, and cannot be read as one ({error}).") from error
    if not clip:
        raise MediaError(f"{path}: must have more than {skip} frames.")
    height, width = (side // (2 * scale) * 2 * scale for side in clip[0].shape[:2])
    if min(height, width) < LEAST * scale:
        raise MediaError(
            f"{path}: must be at least {LEAST * scale}x{LEAST * scale} for x{scale}, got {width}x{height}."
        )
    return [np.ascontiguousarray(frame[:height, :width]) for frame in clip]


def make_footage(clip: Clip, scale: int, condition: Condition) -> list[Pixels]:
    """What a viewer gets: 1 / scale of the size, coded as 4:2:0 in limited range, decoded to RGB."""
    small = [_reduce(frame, scale, condition.kernel) for frame in clip]
    if condition.encoder is None:
        return small
    store = io.BytesIO()
    with av.open(store, "w", format="matroska") as container:
        stream = container.add_stream(condition.encoder, rate=RATE, options=dict(condition.options))
        assert isinstance(stream, VideoStream), condition
        stream.height, stream.width = small[0].shape[:2]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        if condition.encoder == "mpeg2video":
            stream.bit_rate = ENOUGH
        for picture in small:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    store.seek(0)
    with av.open(store, "r") as source:
        made = [_rgb(frame) for frame in source.decode(video=0)]
    assert len(made) == len(small), f"{condition.name}: {len(made)} of {len(small)} frames came back"
    return made


def _reduce(frame: Pixels, scale: int, kernel: str) -> Pixels:
    height, width = (side // scale for side in frame.shape[:2])
    if kernel == "AREA":
        reduced: Pixels = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        return reduced
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    return _rgb(picture.reformat(width=width, height=height, interpolation=Interpolation[kernel]))


def _rgb(frame: av.VideoFrame) -> Pixels:
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def classical(scale: int) -> dict[str, Enlarge]:
    """Bicubic and Lanczos (OpenCV's, 8 taps): what an upscaler has to beat."""

    def by(kernel: int) -> Enlarge:
        return lambda frame: cv2.resize(frame, None, fx=scale, fy=scale, interpolation=kernel)

    return {"bicubic": by(cv2.INTER_CUBIC), "lanczos": by(cv2.INTER_LANCZOS4)}


def judge(clip: Clip, made: Clip, with_vmaf: bool = True) -> Score:
    """How near `made` is to the clip that it was made from."""
    pairs = list(zip(clip, made, strict=True))
    fused = vmaf(clip, made) if with_vmaf else (math.nan, math.nan)
    signal = [min(MOST, psnr(*pair, BORDER)) for pair in pairs]
    return Score(float(np.mean(signal)), float(np.mean([ssim(*pair, 0) for pair in pairs])), *fused)
