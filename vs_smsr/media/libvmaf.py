"""How near frames are to their reference: PSNR, SSIM, VMAF and VMAF-NEG, by FFmpeg's filter of libvmaf."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
from av.filter import Graph, filters_available
from av.video.format import VideoFormat

from vs_smsr.errors import MediaError
from vs_smsr.media.colour import depth

METRICS = {"VMAF": "vmaf", "VMAF-NEG": "vmaf_neg", "PSNR": "psnr_y", "SSIM": "float_ssim"}  # our name: libvmaf's
MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
MATRICES = {4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # of H.273: libswscale's number; others count as BT.709, its 1
TICK = Fraction(1, 25)  # libvmaf pairs by time: each pair gets a tick


@dataclass(frozen=True)
class Shape:
    """What is measured in: size, pixel format, matrix."""

    width: int
    height: int
    pix_fmt: str
    matrix: int

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """4:2:0 as most codecs have it, in a frame's size, depth and matrix."""
        bits = depth(VideoFormat(frame.format.name))
        pix_fmt = "yuv420p" if bits <= 8 else "yuv420p10le" if bits <= 10 else "yuv420p12le"
        return cls(frame.width, frame.height, pix_fmt, MATRICES.get(int(frame.colorspace), 1))


class Meter:
    """A filter graph with libvmaf at its end; both inputs are brought to one shape.

    Args:
        threads: of libvmaf; 0: as many as there are processors.

    Raises:
        MediaError: this build of FFmpeg has no libvmaf.
    """

    def __init__(self, shape: Shape, threads: int = 0) -> None:
        if "libvmaf" not in filters_available:
            raise MediaError(
                "vmaf: must have FFmpeg's filter libvmaf, which this build of PyAV lacks. Take PyPI's wheel."
            )
        self._shape, self._count = shape, 0
        self._folder = tempfile.TemporaryDirectory(prefix="vs-smsr-")
        self._log = Path(self._folder.name) / "figures.json"
        graph = Graph()
        self._sources = [
            graph.add_buffer(width=shape.width, height=shape.height, format=shape.pix_fmt, time_base=TICK, name=name)
            for name in ("result", "reference")  # in libvmaf's order
        ]
        models = "|".join(f"version={version}:name={name}" for name, version in MODELS.items())
        options = {"model": models, "feature": "name=psnr|name=float_ssim", "log_fmt": "json"}
        options |= {"log_path": str(self._log), "n_threads": str(threads or os.cpu_count() or 1)}
        meter = graph.add("libvmaf", **options)
        self._sink = graph.add("buffersink")
        for number, source in enumerate(self._sources):
            source.link_to(meter, 0, number)
        meter.link_to(self._sink)
        graph.configure(auto_buffer=False)

    def push(self, reference: av.VideoFrame, result: av.VideoFrame) -> None:
        """Measure a pair; a frame of another shape is brought to the meter's."""
        for source, frame in zip(self._sources, (result, reference), strict=True):
            same = self._in_shape(frame)
            same.pts, same.time_base = self._count, TICK
            source.push(same)
        self._count += 1
        self._drain()

    def finish(self) -> dict[str, tuple[float, ...]]:
        """Name of a metric -> its value for each pair.

        Raises:
            av.FFmpegError: libvmaf cannot measure them.
        """
        for source in self._sources:
            source.push(None)
        self._drain()
        self._sources.clear()
        del source, self._sink
        gc.collect()  # libvmaf writes its log when the graph is freed, which refers to itself
        rows = [frame["metrics"] for frame in json.loads(self._log.read_text())["frames"]]
        self._folder.cleanup()
        assert len(rows) == self._count, "libvmaf measures every pair"
        return {name: tuple(float(row[key]) for row in rows) for name, key in METRICS.items()}

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
