"""VMAF by FFmpeg's own filter (libvmaf with its built-in models)."""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph, filters_available

from vs_smsr.errors import MediaError
from vs_smsr.evaluation.metrics import Pixels

TICK = Fraction(1, 25)
MODELS = r"version=vmaf_v0.6.1\:name=vmaf|version=vmaf_v0.6.1neg\:name=neg"


def vmaf(reference: Sequence[Pixels], distorted: Sequence[Pixels]) -> tuple[float, float]:
    """VMAF and VMAF-NEG, means over the frames, 0..100; on 4:2:0 in limited range.

    Args:
        reference, distorted: (H, W, 3) uint8 RGB, all of one size.
    Raises:
        MediaError: this build of FFmpeg has no libvmaf.
    """
    if "libvmaf" not in filters_available:
        raise MediaError("vmaf: must have FFmpeg's filter libvmaf, which this build of PyAV lacks. Take PyPI's wheel.")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.json")
        _filter(reference, distorted, log)
        gc.collect()  # the filter writes its log when the graph is freed, and PyAV's graphs are circles
        pooled = json.loads(log.read_text())["pooled_metrics"]
    return float(pooled["vmaf"]["mean"]), float(pooled["neg"]["mean"])


def _filter(reference: Sequence[Pixels], distorted: Sequence[Pixels], log: Path) -> None:
    height, width = reference[0].shape[:2]
    graph = Graph()
    sources = [graph.add_buffer(width=width, height=height, format="yuv420p", time_base=TICK) for _ in range(2)]
    judge = graph.add("libvmaf", f"log_fmt=json:log_path={log}:n_threads=2:model={MODELS}")
    sink = graph.add("buffersink")
    for number, source in enumerate(sources):
        source.link_to(judge, 0, number)
    judge.link_to(sink, 0, 0)
    graph.configure()
    for index, pair in enumerate(zip(distorted, reference, strict=True)):
        for source, pixels in zip(sources, pair, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, TICK
            source.push(frame)
    for source in sources:
        source.push(None)
    try:
        while True:
            sink.pull()
    except (av.EOFError, av.BlockingIOError):
        pass
