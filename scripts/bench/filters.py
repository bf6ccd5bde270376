"""Filter against filter inside VapourSynth: ours and `core.ov.Model` of the wheel vapoursynth-mlrt-ov."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.check import LEAST_PSNR, Reference
from bench.dense import export
from vs_smsr.network import SMSR
from vs_smsr.weights import Weights, store

RACE = Path(__file__).with_name("filter_race.py")
LEAST_END_TO_END = {"fp32": 60.0, "bf16": 48.0}  # dB; the filter does not tell its masks, so flipped ones count too


def measure(
    weights: Weights, network: SMSR, clip: Path, precision: str, threads: int, frames: int, rounds: int
) -> dict[str, Any]:
    """Frames per second of both filters and their ratio; None where an output is off."""
    with av.open(str(clip)) as container:
        height, width = container.streams.video[0].height, container.streams.video[0].width
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = place / "weights.safetensors"
        store(weights, path, np.float32)
        job = {
            "clip": str(clip.resolve()),
            "frames": frames,
            "weights": str(path),
            "scale": weights.scale,
            "precision": precision,
            "threads": threads,
            "rounds": rounds,
            "onnx": str(export(network, height, width, place / "dense.onnx", planar=True)),
            "pixels": str(place / "pixels.npz"),
        }
        done = subprocess.run([sys.executable, str(RACE), json.dumps(job)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the filters failed: {done.stderr.strip().splitlines()[-1:]}")
        seconds = json.loads(done.stdout)
        with np.load(place / "pixels.npz") as saved:
            pixels = dict(saved)
    reference = Reference(network, pixels.pop("rgb"))
    off = []
    for name, frame in pixels.items():
        ours = name == "ours"
        psnr = reference.end_to_end(frame.clip(0, 255), masked=ours)
        if not psnr >= (LEAST_END_TO_END if ours else LEAST_PSNR)[precision]:
            off.append(f"{name}: {psnr:.1f} dB to PyTorch")
    fps = {name: 1 / statistics.median(times) for name, times in seconds.items()}
    best = max(rate for name, rate in fps.items() if name != "ours")
    return {
        "clip": f"{clip.name} {width}x{height}",
        "frames_per_second": fps,
        "ratio": None if off else fps["ours"] / best,
        "refused": off,
    }
