"""Other ways to enlarge video on a CPU, with their quality beside their speed: int8, and Real-ESRGAN's video model.

They do not compute what our network computes, so their output is not held to PyTorch's but to the picture itself:
frames are reduced by the scale and enlarged again. What they need is installed apart: pip install nncf, and what
vs_smsr/training/teacher.py names.
"""

from __future__ import annotations

import importlib.util
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.contenders import OpenVino, Ours, Output
from bench.dense import export
from bench.processes import filled
from bench.race import REST
from vs_smsr.engine.contract import Frame
from vs_smsr.evaluation.bicubic import imresize
from vs_smsr.evaluation.metrics import psnr, ssim
from vs_smsr.network import SMSR
from vs_smsr.training import teacher
from vs_smsr.weights import Weights

SAMPLE = 180, 320  # height and width of the parts of frames that int8 is calibrated on
BORDER = 4  # pixels of the enlarged frame's sides that are not compared


class Rival(Protocol):
    """See `contenders.Contender`."""

    def prepare(self, height: int, width: int) -> None: ...

    def run(self, frame: Frame) -> Output: ...


class Int8:
    """The dense network in OpenVINO, its convolutions in int8 by NNCF's quantization after training.

    Args:
        samples: frames to calibrate on, float32 RGB 0..255.
    """

    def __init__(self, network: SMSR, threads: int, samples: Sequence[Frame]) -> None:
        import nncf
        import openvino

        logging.getLogger("nncf").setLevel(logging.ERROR)
        self._settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        with tempfile.TemporaryDirectory() as folder:
            model = openvino.Core().read_model(export(network, *SAMPLE, Path(folder) / "dense.onnx"))
            given = nncf.Dataset([filled(sample, *SAMPLE) for sample in samples])
            self._model = nncf.quantize(model, given, subset_size=len(samples))

    def prepare(self, height: int, width: int) -> None:
        import openvino

        self._model.reshape([height, width, 3])
        self._request = openvino.Core().compile_model(self._model, "CPU", self._settings).create_infer_request()

    def run(self, frame: Frame) -> Output:
        self._request.infer([frame], share_inputs=True)
        return Output(self._request.get_output_tensor().data.copy())


class Teacher:
    """realesr-animevideov3 as a contender."""

    def __init__(self, scale: int, threads: int) -> None:
        self._network = teacher.RealEsrgan(scale, threads)

    def prepare(self, height: int, width: int) -> None:
        pass

    def run(self, frame: Frame) -> Output:
        return Output(self._network.upscale(frame))


def missing() -> list[str]:
    """The packages that are not installed."""
    return [name for name in ("nncf", *teacher.PACKAGES) if importlib.util.find_spec(name) is None]


def measure(
    weights: Weights,
    network: SMSR,
    frames: Mapping[str, Frame],
    ours: Sequence[Ours],
    threads: int,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """By name: seconds a frame, its ratio to our fp32 (geometric means), PSNR and SSIM on Y of enlarged reductions.

    All run in turn on the same frames. PSNR and SSIM are means over the frames.
    """
    samples = list(frames.values())
    field: dict[str, Rival] = {f"ours, {one.precision}": one for one in ours}
    field |= {f"openvino, {one.precision}": OpenVino(network, one.precision, threads) for one in ours}
    field["openvino, int8"] = Int8(network, threads, samples)
    field[f"{teacher.NAME}, ncnn"] = Teacher(weights.scale, threads)
    seconds: dict[str, list[float]] = {name: [] for name in field}
    quality: dict[str, list[tuple[float, float]]] = {name: [] for name in field}
    shuffle = random.Random(0).shuffle
    for title, frame in frames.items():
        say(f"rivals: {title}")
        even = 2 * weights.scale
        large = frame[: frame.shape[0] // even * even, : frame.shape[1] // even * even]
        small = imresize(np.rint(large).astype(np.uint8), 1 / weights.scale).astype(np.float32)
        for name, rival in field.items():
            rival.prepare(*small.shape[:2])
            made = np.rint(rival.run(small).frame)
            quality[name].append((psnr(made, large, BORDER), ssim(made, large, BORDER)))
        times: dict[str, list[float]] = {name: [] for name in field}
        for rival in field.values():
            rival.prepare(*frame.shape[:2])
            rival.run(frame)
        order = list(field)
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                time.sleep(REST)
                start = time.perf_counter()
                field[name].run(frame)
                times[name].append(time.perf_counter() - start)
        for name, found in times.items():
            seconds[name].append(statistics.median(found))
    return {name: _row(name, seconds, quality) for name in field}


def _row(
    name: str, seconds: Mapping[str, list[float]], quality: Mapping[str, list[tuple[float, float]]]
) -> dict[str, float]:
    mean: dict[str, Any] = {other: statistics.geometric_mean(found) for other, found in seconds.items()}
    first = next(iter(seconds))
    sharp, alike = (statistics.fmean(column) for column in zip(*quality[name], strict=True))
    return {"seconds": mean[name], "over_ours": mean[name] / mean[first], "psnr_y": sharp, "ssim_y": alike}
