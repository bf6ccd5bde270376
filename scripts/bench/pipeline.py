"""One video through decoder, network and encoder, as a process of its own; run by `bench.end_to_end`.

The same pipeline for everybody: threads, colours and encoder are those of `vs-smsr upscale`; only the network differs.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vs_smsr import weights as weight_files
from vs_smsr.engine import cpu, interpreter
from vs_smsr.engine.contract import Capabilities, Engine, Frame, Ops, Overrides, Upscaled, UpscaledPicture
from vs_smsr.engine.memory import HostMemory, Memory
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.profile import Profile
from vs_smsr.jobs.video import upscale_video
from vs_smsr.options import IN_ORDER, EngineOptions, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights


class OpenVinoEngine:
    """`contract.Engine` around the dense network in OpenVINO: whole frames, our conversions."""

    name, device = "openvino", "cpu"
    capabilities = Capabilities(windows=False, pictures=True)
    profile: Profile | None = None

    def __init__(self, weights: Weights, onnx: Path, precision: str, threads: int) -> None:
        import openvino

        self.weights, self.precision = weights, precision
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        }
        self._core, self._model, self._settings = openvino.Core(), openvino.Core().read_model(onnx), settings
        self._size: tuple[int, ...] = ()
        self.memory: Memory = HostMemory(4 * weights.spec.width, lambda height, width: 2000 * height * width)

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        if frame.shape != self._size:
            self._model.reshape(list(frame.shape))
            self._request = self._core.compile_model(self._model, "CPU", self._settings).create_infer_request()
            self._size = frame.shape
        self._request.infer([frame], share_inputs=True)
        blocks = len(self.weights.spec.blocks)
        masks = tuple(np.ones(frame.shape[:2], np.uint8) for _ in range(blocks))
        return Upscaled(self._request.get_output_tensor().data.copy(), masks, (), (0.0,) * blocks)

    def upscale_picture(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> UpscaledPicture:
        return interpreter.upscale_picture(self, picture, like, overrides)

    def submit(
        self, picture: Picture, like: Layout | None = None, overrides: Overrides | None = None
    ) -> Future[UpscaledPicture]:
        return interpreter.at_once(self.upscale_picture(picture, like, overrides))

    def open(self, height: int, width: int) -> AbstractContextManager[Ops]:
        raise NotImplementedError("dense runtimes take whole frames")


def main() -> None:
    job = json.loads(sys.argv[1])
    threads, precision = job["threads"], job["precision"]
    weights = weight_files.load(Path(job["weights"]))
    tiling = TilingOptions(attention="frame", reuse="off")
    options = EngineOptions(scale=weights.scale, engine="cpu", precision=precision, threads=threads)
    engine: Engine
    if job["runs"] == "openvino":
        engine = OpenVinoEngine(weights, Path(job["onnx"]), precision, threads)
    else:
        engine = cpu.create(weights, options)
        if job["runs"] == "ours":
            tiling = TilingOptions(attention=IN_ORDER)
    found = _run(job, engine, tiling)
    if job["runs"] == "ours":
        watched = cpu.create(weights, replace(options, profile=True))
        seconds = _run(job, watched, tiling)["seconds"]
        assert watched.profile, "asked for"
        found["network"] = watched.profile.seconds["frame", None] / seconds
    print(json.dumps(found))


def _run(job: dict[str, Any], engine: Engine, tiling: TilingOptions) -> dict[str, float]:
    """Seconds, frames and the share reused of the second run: the first one warms up."""
    tiler, found = Tiler(engine, tiling), dict[str, float]()
    for _ in range(2):
        if engine.profile:
            engine.profile.clear()
        start = time.perf_counter()
        report = upscale_video(Path(job["clip"]), Path(job["target"]), tiler, VideoOptions(overwrite=True))
        found = {"seconds": time.perf_counter() - start, "frames": report.frames, "reused": report.reused}
    return found


if __name__ == "__main__":
    main()
