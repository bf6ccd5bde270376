"""How near a result is to its reference, frame by frame: PSNR, SSIM, VMAF and VMAF-NEG by libvmaf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vs_smsr.errors import MediaError, OptionError
from vs_smsr.media.images import kind_of, read_image
from vs_smsr.media.libvmaf import Meter, Shape
from vs_smsr.media.reader import Reader, reason

LEAST_SIDE = 16  # of what libvmaf measures


@dataclass(frozen=True)
class Timed:
    """A frame and its time in seconds from the start."""

    time: float
    frame: av.VideoFrame


@dataclass(frozen=True)
class Compared:
    """One result against the reference.

    Attributes:
        result: the file.
        times: seconds, one for each pair of frames.
        figures: name of a metric -> its value for each pair.
        unpaired: frames of the reference, and of the result, that the other has none for.
        resized: the result had another size.
    """

    result: Path
    times: tuple[float, ...]
    figures: dict[str, tuple[float, ...]]
    unpaired: tuple[int, int]
    resized: bool

    def pooled(self) -> dict[str, dict[str, float]]:
        """Mean, harmonic mean, least and 5th percentile of each metric."""
        return {name: _pooled(np.array(values)) for name, values in self.figures.items()}

    def worst(self, count: int, apart: float = 1.0) -> list[int]:
        """Pairs with the least VMAF, the worst first, at least so many seconds apart."""
        found: list[int] = []
        for index in np.argsort(self.figures["VMAF"], kind="stable"):
            if all(abs(self.times[index] - self.times[other]) >= apart for other in found):
                found.append(int(index))
            if len(found) == count:
                break
        return found

    def to_json(self) -> dict[str, object]:
        """Everything, for a file."""
        frames = [
            {"time": time, **{name: values[n] for name, values in self.figures.items()}}
            for n, time in enumerate(self.times)
        ]
        lost = dict(zip(("reference", "result"), self.unpaired, strict=True))
        return {
            "result": str(self.result),
            "resized": self.resized,
            "unpaired": lost,
            "pooled": self.pooled(),
            "frames": frames,
        }


def _pooled(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "harmonic_mean": float(1 / np.mean(1 / (values + 1)) - 1),
        "min": float(values.min()),
        "p5": float(np.percentile(values, 5)),
    }


@contextmanager
def opened(path: Path) -> Iterator[Iterator[Timed]]:
    """The frames of a video or an image.

    Raises:
        MediaError: it cannot be read.
    """
    if kind_of(path) == "image":
        pixels = read_image(path).pixels
        if pixels.dtype.name not in ("uint8", "uint16"):
            raise MediaError(f"{path}: must be an image of 8 or 16 bits to be compared, got {pixels.dtype}.")
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
        kind = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
        codes: NDArray[Any] = np.ascontiguousarray(colours)
        yield iter([Timed(0.0, av.VideoFrame.from_ndarray(codes, kind))])
        return
    with Reader(path) as reader:
        info = reader.info

        def frames() -> Iterator[Timed]:
            first = None
            for frame in reader:
                assert frame.pts is not None, "the reader gives each frame a time"
                time = frame.pts * info.time_base
                first = time if first is None else first
                frame.colorspace, frame.color_range = info.colour.matrix, 2 if info.colour.full else 1
                yield Timed(float(time - first), frame)

        yield frames()


def pairs(reference: Iterator[Timed], result: Iterator[Timed], lost: list[int]) -> Iterator[tuple[Timed, Timed]]:
    """Frames that are shown at the same time: of both, those which are nearest to each other.

    Frames pair if their times differ by less than half of the shorter distance to the next frame; `lost` counts those
    of the reference and of the result that pair with none.
    """
    ours, theirs = _spaced(reference), _spaced(result)
    a, b = next(ours, None), next(theirs, None)
    while a and b:
        apart = a[0].time - b[0].time
        if abs(apart) < min(a[1], b[1]) / 2:
            yield a[0], b[0]
            a, b = next(ours, None), next(theirs, None)
        elif apart < 0:
            lost[0] += 1
            a = next(ours, None)
        else:
            lost[1] += 1
            b = next(theirs, None)
    lost[0] += sum(1 for _ in ours) + bool(a)
    lost[1] += sum(1 for _ in theirs) + bool(b)


def _spaced(frames: Iterator[Timed]) -> Iterator[tuple[Timed, float]]:
    """Each frame and the seconds to the next; the last is as long as the one before it, a single one lasts for ever."""
    span, last = float("inf"), next(frames, None)
    for one in frames:
        assert last is not None, "there was one before"
        span = one.time - last.time
        yield last, span
        last = one
    if last is not None:
        yield last, span


def compare(
    reference: Path, result: Path, *, resize: bool = False, threads: int = 0, tell: Callable[[int], None] | None = None
) -> Compared:
    """Measure a result.

    Args:
        resize: bring a result of another size to the reference's (bicubic) instead of refusing it.
        threads: of libvmaf; 0: as many as it likes.
        tell: called with the number of pairs so far.

    Raises:
        OptionError: the sizes differ. MediaError: a file cannot be read, or no frames pair.
    """
    lost = [0, 0]
    times: list[float] = []
    with opened(reference) as ours, opened(result) as theirs:
        meter: Meter | None = None
        resized = False
        for one, other in pairs(ours, theirs, lost):
            if meter is None:
                resized = _check_sizes(reference, result, one.frame, other.frame, resize)
                meter = Meter(Shape.of(one.frame), threads)
            meter.push(one.frame, other.frame)
            times.append(one.time)
            if tell:
                tell(len(times))
        if meter is None:
            raise MediaError(f"{result}: no frame is shown at the time of one of {reference}. Are they the same video?")
        try:
            figures = meter.finish()
        except av.FFmpegError as error:
            raise MediaError(f"{result}: cannot be measured ({reason(error)}).") from error
    return Compared(result, tuple(times), figures, (lost[0], lost[1]), resized)


def _check_sizes(reference: Path, result: Path, one: av.VideoFrame, other: av.VideoFrame, resize: bool) -> bool:
    sizes = (one.width, one.height), (other.width, other.height)
    if min(sizes[0]) < LEAST_SIDE:
        raise OptionError(
            f"{reference}: must be at least {LEAST_SIDE} pixels high and wide, got {one.width}x{one.height}."
        )
    if sizes[0] != sizes[1] and not resize:
        raise OptionError(
            f"{result}: must have the size of {reference}, {one.width}x{one.height}, got {other.width}x{other.height}. "
            "Upscale with --width and --height, or compare with --resize, which brings the result to that size."
        )
    return sizes[0] != sizes[1]
