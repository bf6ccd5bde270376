"""Two VapourSynth filters on the same decoded clip: ours and core.ov.Model; run by `bench.filters` as a process.

It is a process of its own because the filter brings an OpenVINO of its own.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import vapoursynth as vs

from vs_smsr import smsr


def main() -> None:
    job = json.loads(sys.argv[1])
    core = vs.core
    core.num_threads = job["threads"]
    source = core.bs.VideoSource(job["clip"], cachemode=0, threads=1)[: job["frames"]]
    rgb = core.resize.Bicubic(source, format=vs.RGBS, matrix_in=1)
    core.std.SetVideoCache(rgb, mode=1, fixedsize=1, maxsize=len(rgb) + 1)
    for _ in rgb.frames(close=False):
        pass  # decoded and kept: only the filters are timed
    nodes = {
        "ours": smsr(
            rgb,
            job["scale"],
            weights=job["weights"],
            engine="cpu",
            precision=job["precision"],
            threads=job["threads"],
            num_streams=2,
        )
    }
    for streams in (1, 2):
        nodes[f"openvino, {streams} streams"] = core.ov.Model(
            rgb, job["onnx"], num_streams=streams, config=lambda: _config(job)
        )
    for node in nodes.values():
        core.std.SetVideoCache(node, mode=0)  # every round computes
    first = {name: _pixels(node.get_frame(0)) for name, node in nodes.items()}
    np.savez(job["pixels"], rgb=_pixels(rgb.get_frame(0)), **first)
    seconds: dict[str, list[float]] = {name: [] for name in nodes}
    for _ in range(job["rounds"]):
        for name, node in nodes.items():
            start = time.perf_counter()
            for _frame in node.frames(prefetch=2 * job["threads"], close=True):
                pass
            seconds[name].append((time.perf_counter() - start) / len(rgb))
    print(json.dumps(seconds))


def _config(job: dict[str, Any]) -> dict[str, Any]:
    precision = {"fp32": "f32", "bf16": "bf16"}[job["precision"]]
    return {"INFERENCE_NUM_THREADS": job["threads"], "INFERENCE_PRECISION_HINT": precision}


def _pixels(frame: vs.VideoFrame) -> Any:
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], 2) * np.float32(255)


if __name__ == "__main__":
    main()
