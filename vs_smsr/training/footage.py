"""Pairs of HR crops and coded LR crops, from pictures that are made to move.

A picture becomes a short clip: still, panned, zoomed, turned or held by hand, now and then with a cut, film grain, a
soft lens or a slow shutter. The clip is reduced by one of the usual kernels and coded; of one frame in the middle,
where the encoder has long found its stride, several crops are taken. Frames are of a size at which blocks, motion
search and rate control behave as on real video, not of the crops' size. A tenth of the clips is not coded.

Grain is in HR too: what is coded of it may stay. What coding has thrown away cannot be told from LR, and a loss that
asks for the mean leaves it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from vs_smsr.evaluation.bicubic import imresize
from vs_smsr.training.coding import Coding, Image, code, draw_coding
from vs_smsr.training.data import recolour
from vs_smsr.training.teacher import NAME, RealEsrgan

SIZES = ((320, 180), (256, 192), (192, 192), (176, 144))  # LR frames: width, height
SIDE = 72  # of an LR crop
CROPS = 4  # of one frame
FRAMES = 13
CLEAN = 0.1  # share of the clips that are not coded
CUTS = 0.15
GRAIN = 0.3
SOFT = 0.2
SHUTTER = 0.25  # share of the moving clips with motion blur
SUBFRAMES = 5  # whose mean a blurred frame is
MOTIONS = {"still": 0.15, "pan": 0.35, "zoom": 0.15, "turn": 0.1, "handheld": 0.25}  # shares
KERNELS = {"matlab": 0.2, "bicubic": 0.3, "lanczos": 0.2, "area": 0.1, "spline": 0.1, "blurred": 0.1}  # shares


@dataclass(frozen=True)
class Pair:
    """One crop: (SIDE * scale, SIDE * scale, 3) HR, (SIDE, SIDE, 3) LR, and how LR was made, in words."""

    hr: Image
    lr: Image
    made: str


@dataclass(frozen=True)
class Motion:
    """Where the camera is, per frame; at time 0 it is where the clip was placed.

    Attributes:
        pan: HR pixels a frame, x and y.
        zoom: growth of the view a frame, in its logarithm.
        turn: radians a frame.
        shake: (FRAMES, 2) HR pixels.
        shutter: how long it is open, in frames.
    """

    pan: NDArray[np.float64]
    zoom: float
    turn: float
    shake: NDArray[np.float64]
    shutter: float

    def view(self, frame: int, time: float, left: int, top: int, size: tuple[int, int]) -> NDArray[np.float64]:
        """(2, 3) affine map from the pixels of a frame to those of the picture."""
        centre = (np.array(size) - 1) / 2
        grow, angle = np.exp(self.zoom * time), self.turn * time
        turned = grow * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([left, top]) + centre + self.pan * time + self.shake[frame] - turned @ centre
        return np.column_stack([turned, shift])


def draw_motion(rng: np.random.Generator, kind: str, taken: int) -> Motion:
    """A motion of a kind in `MOTIONS`; the frame that is taken does not shake."""
    speed, direction = rng.gamma(1.5, 2.0), rng.uniform(0, 2 * np.pi)  # 3 pixels a frame in the mean
    pan = speed * np.array([np.cos(direction), np.sin(direction)]) if kind in ("pan", "handheld") else np.zeros(2)
    zoom = rng.choice([-1, 1]) * rng.uniform(0.002, 0.02) if kind == "zoom" else 0.0
    turn = rng.choice([-1, 1]) * rng.uniform(0.002, 0.02) if kind == "turn" else 0.0
    shake = np.cumsum(rng.normal(0, 0.7, (FRAMES, 2)), axis=0) if kind == "handheld" else np.zeros((FRAMES, 2))
    if kind == "handheld":
        pan, zoom, turn = pan / 3, rng.normal(0, 0.002), rng.normal(0, 0.002)
    open_for = rng.uniform(0.3, 0.6) if kind != "still" and rng.random() < SHUTTER else 0.0
    return Motion(pan, zoom, turn, shake - shake[taken], open_for)


class Footage:
    """Makes the pairs of a set, and counts what it made.

    Args:
        scale: HR size over LR size.
        seed: with the pictures and their order it decides every pair.
        density: clips for a megapixel of picture; each picture that is large enough gets at least one.
        teacher: share of what a teacher makes of LR in HR, 0..1 (see teacher.py).
    """

    def __init__(self, scale: int, seed: int = 0, density: float = 4.0, teacher: float = 0.0) -> None:
        self.scale, self.seed, self.density, self.teacher = scale, seed, density, teacher
        self._teacher = RealEsrgan(scale) if teacher else None
        self.counts: dict[str, Counter[str]] = {}
        self._pictures = 0
        self._before: Image | None = None  # the last picture: the other side of a cut

    def pairs(self, picture: Image) -> Iterator[Pair]:
        """All crops that one picture gives; none if it is too small for a frame."""
        rng = np.random.default_rng((self.seed, self._pictures))
        self._pictures += 1
        height, width = picture.shape[:2]
        sizes = [(w * self.scale, h * self.scale) for w, h in SIZES]
        sizes = [(w, h) for w, h in sizes if w <= width and h <= height]
        if not sizes:
            return
        for _ in range(max(1, round(height * width / 1e6 * self.density))):
            yield from self._clip(rng, picture, sizes[rng.integers(len(sizes))])
        self._before = picture

    def record(self) -> dict[str, object]:
        """What the set is made of, as plain values."""
        counts = {what: dict(sorted(counter.items())) for what, counter in self.counts.items()}
        libraries = {"av": av.__version__, "ffmpeg": av.ffmpeg_version_info, "opencv": cv2.__version__}
        settings: dict[str, object] = {"scale": self.scale, "seed": self.seed, "clips_per_megapixel": self.density}
        settings |= {"teacher": f"{NAME}, {self.teacher:g} of HR"} if self.teacher else {}
        return {**settings, "crops_per_clip": CROPS, "clips": counts, "libraries": libraries}

    def _clip(self, rng: np.random.Generator, picture: Image, size: tuple[int, int]) -> Iterator[Pair]:
        taken = int(rng.integers(5, FRAMES - 4))
        kind = str(rng.choice(list(MOTIONS), p=list(MOTIONS.values())))
        frames = self._film(rng, picture, size, draw_motion(rng, kind, taken), taken)
        kernel = str(rng.choice(list(KERNELS), p=list(KERNELS.values())))
        blur = rng.uniform(0.3, 0.7) * self.scale if kernel == "blurred" else 0.0
        coding = None if rng.random() < CLEAN else draw_coding(rng)
        low, made = self._code(frames, taken, kernel, blur, coding)
        self._count("motion", kind)
        side, hr = SIDE * self.scale, frames[taken]
        if self._teacher:
            taught = self._teacher.upscale(low.astype(np.float32))
            hr = np.rint(hr + np.float32(self.teacher) * (taught - hr)).astype(np.uint8)
        rows, columns = low.shape[0] // SIDE, low.shape[1] // SIDE
        top, left = (int(rng.integers(free % SIDE + 1)) for free in low.shape[:2])
        for cell in rng.permutation(rows * columns)[:CROPS]:
            y, x = top + cell // columns * SIDE, left + cell % columns * SIDE
            large = hr[y * self.scale :, x * self.scale :][:side, :side]
            yield Pair(large, low[y : y + SIDE, x : x + SIDE], made)

    def _film(
        self, rng: np.random.Generator, picture: Image, size: tuple[int, int], motion: Motion, taken: int
    ) -> list[Image]:
        """The clip in HR."""
        here = there = self._place(rng, picture, size)
        at = int(rng.integers(taken - 3, taken + 4))  # a cut is before this frame
        cut = rng.random() < CUTS
        if cut:
            there = self._place(rng, picture[::-1, ::-1] if self._before is None else self._before, size)
        self._count("cut", "yes" if cut else "no")
        soft = rng.uniform(0.4, 1.0) if rng.random() < SOFT else 0.0
        grain, coarse = (rng.uniform(1, 7), rng.uniform(0.0, 1.2)) if rng.random() < GRAIN else (0.0, 0.0)
        self._count("grain", "yes" if grain else "no")
        frames = []
        for number in range(FRAMES):
            shot, left, top = here if (number < at) == (taken < at) else there
            times = number - taken + motion.shutter * np.linspace(-0.5, 0.5, SUBFRAMES if motion.shutter else 1)
            parts = [_warp(shot, motion.view(number, time, left, top, size), size) for time in times]
            frame = np.mean(parts, axis=0) if len(parts) > 1 else parts[0].astype(np.float32)
            frame = cv2.GaussianBlur(frame, (0, 0), soft) if soft else frame
            if grain:
                noise = rng.standard_normal((size[1], size[0], 1), np.float32)
                noise = cv2.GaussianBlur(noise, (0, 0), coarse)[..., None] if coarse > 0.3 else noise
                frame = frame + noise * np.float32(grain / noise.std())
            frames.append(np.rint(frame).clip(0, 255).astype(np.uint8))
        return frames

    def _place(self, rng: np.random.Generator, picture: Image, size: tuple[int, int]) -> tuple[Image, int, int]:
        """The picture in its colours, for half of the clips in others; and where in it the clip is placed."""
        left, top = (
            int(rng.integers(max(1, have - need + 1))) for have, need in zip(picture.shape[1::-1], size, strict=True)
        )
        if rng.integers(2):
            picture, _ = recolour(rng, picture, picture)
        return np.ascontiguousarray(picture), left, top

    def _code(
        self, frames: list[Image], taken: int, kernel: str, blur: float, coding: Coding | None
    ) -> tuple[Image, str]:
        """The taken frame as it comes in LR, and how it was made."""
        self._count("kernel", kernel)
        if coding is None:
            self._count("encoder", "none")
            return reduce(frames[taken], kernel, self.scale, blur), f"{kernel}, not coded"
        low, kind = code([reduce(frame, kernel, self.scale, blur) for frame in frames], coding, taken)
        self._count("encoder", coding.encoder)
        self._count("frame", kind)
        return low, f"{kernel}, {coding}, {kind}"

    def _count(self, what: str, value: str) -> None:
        self.counts.setdefault(what, Counter())[value] += 1


def reduce(frame: Image, kernel: str, scale: int, blur: float = 0.0) -> Image:
    """(H, W, 3) -> (H / scale, W / scale, 3), centred alike.

    Args:
        frame: HR; sides divide by the scale.
        kernel: a key of `KERNELS`: MATLAB's bicubic, libswscale's kernels, or its bicubic after a blur.
        scale: 2, 3 or 4.
        blur: standard deviation in HR pixels of the blur before; 0 = none.
    """
    if kernel == "matlab":
        return imresize(frame, 1 / scale)
    if blur:
        frame = cv2.GaussianBlur(frame, (0, 0), blur)
    flag = getattr(Interpolation, "BICUBIC" if kernel == "blurred" else kernel.upper())
    # Red, green and blue as if they were Y, Cb and Cr: three planes alike, where libswscale halves the chroma of RGB.
    planes = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.transpose(2, 0, 1)), format="yuv444p")
    height, width = frame.shape[0] // scale, frame.shape[1] // scale
    small = planes.reformat(width=width, height=height, interpolation=flag | Interpolation.ACCURATE_RND, threads=1)
    return np.ascontiguousarray(small.to_ndarray().transpose(1, 2, 0))


def _warp(picture: Image, view: NDArray[np.float64], size: tuple[int, int]) -> Image:
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    warped: Image = cv2.warpAffine(picture, view, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return warped
