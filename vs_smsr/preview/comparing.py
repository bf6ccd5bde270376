"""How near a result is to its reference, frame by frame: PSNR, SSIM, VMAF and VMAF-NEG by libvmaf."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from numpy.typing import NDArray

from vs_smsr.errors import MediaError, OptionError
from vs_smsr.media.colour import depth
from vs_smsr.media.images import kind_of, read_image
from vs_smsr.media.reader import Reader, reason

METRICS = {"VMAF": "vmaf", "VMAF-NEG": "vmaf_neg", "PSNR": "psnr_y", "SSIM": "float_ssim"}  # our name: libvmaf's
MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
MATRICES = {4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # of H.273: libswscale's number; others count as BT.709, its 1
TICK = Fraction(1, 25)  # libvmaf pairs by time: each pair gets a tick
LEAST_SIDE = 16  # of what libvmaf measures


@dataclass(frozen=True)
class Timed:
    """A frame and its time in seconds from the start."""

    time: float
    frame: av.VideoFrame


@dataclass(frozen=True)
class Shape:
    """What is measured in: size, pixel format, matrix."""

    width: int
    height: int
    pix_fmt: str
    matrix: int


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
    with tempfile.TemporaryDirectory(prefix="vs-smsr-") as folder, opened(reference) as ours, opened(result) as theirs:
        log = Path(folder) / "figures.json"
        meter: _Meter | None = None
        resized = False
        for one, other in pairs(ours, theirs, lost):
            if meter is None:
                resized = _check_sizes(reference, result, one.frame, other.frame, resize)
                meter = _Meter(_shape(one.frame), log, threads)
            meter.push(one.frame, other.frame)
            times.append(one.time)
            if tell:
                tell(len(times))
        if meter is None:
            raise MediaError(f"{result}: no frame is shown at the time of one of {reference}. Are they the same video?")
        try:
            meter.close()
        except av.FFmpegError as error:
            raise MediaError(f"{result}: cannot be measured ({reason(error)}).") from error
        rows = [frame["metrics"] for frame in json.loads(log.read_text())["frames"]]
    assert len(rows) == len(times), "libvmaf measures every pair"
    figures = {name: tuple(float(row[key]) for row in rows) for name, key in METRICS.items()}
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


def _shape(frame: av.VideoFrame) -> Shape:
    """4:2:0 as most codecs have it, in the reference's depth and matrix."""
    bits = depth(VideoFormat(frame.format.name))
    pix_fmt = "yuv420p" if bits <= 8 else "yuv420p10le" if bits <= 10 else "yuv420p12le"
    return Shape(frame.width, frame.height, pix_fmt, MATRICES.get(int(frame.colorspace), 1))


class _Meter:
    """A filter graph with libvmaf at its end; both inputs are brought to one shape."""

    def __init__(self, shape: Shape, log: Path, threads: int) -> None:
        self._shape, self._count = shape, 0
        graph = Graph()
        self._sources = [
            graph.add_buffer(width=shape.width, height=shape.height, format=shape.pix_fmt, time_base=TICK, name=name)
            for name in ("result", "reference")  # in libvmaf's order
        ]
        models = "|".join(f"version={version}:name={name}" for name, version in MODELS.items())
        options = {"model": models, "feature": "name=psnr|name=float_ssim", "log_fmt": "json", "log_path": str(log)}
        meter = graph.add("libvmaf", n_threads=str(threads or os.cpu_count() or 1), **options)
        self._sink = graph.add("buffersink")
        for number, source in enumerate(self._sources):
            source.link_to(meter, 0, number)
        meter.link_to(self._sink)
        graph.configure(auto_buffer=False)

    def push(self, reference: av.VideoFrame, result: av.VideoFrame) -> None:
        for source, frame in zip(self._sources, (result, reference), strict=True):
            same = self._in_shape(frame)
            same.pts, same.time_base = self._count, TICK
            source.push(same)
        self._count += 1
        self._drain()

    def close(self) -> None:
        """Finish; libvmaf writes its log when the graph is freed, which refers to itself."""
        for source in self._sources:
            source.push(None)
        self._drain()
        self._sources.clear()
        del source, self._sink
        gc.collect()

    def _drain(self) -> None:
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                self._sink.pull()

    def _in_shape(self, frame: av.VideoFrame) -> av.VideoFrame:
        shape = self._shape
        return frame.reformat(
            shape.width,
            shape.height,
            shape.pix_fmt,
            src_colorspace=MATRICES.get(int(frame.colorspace), 1),
            dst_colorspace=shape.matrix,
            src_color_range=frame.color_range,
            dst_color_range=1,
            interpolation="BICUBIC",
        )
