"""Frames per second of a whole job: decode, network, encode; and what the command as a user types it takes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.dense import export
from vs_smsr.network import SMSR
from vs_smsr.weights import Weights, store

PIPELINE = Path(__file__).with_name("pipeline.py")
SIDES = {
    "ours": "vs-smsr upscale, its defaults",
    "ours, frame": "vs-smsr upscale --attention frame --reuse off",
    "openvino": "decode, OpenVINO dense, encode",
}


def measure(
    weights: Weights, network: SMSR, clip: Path, precision: str, threads: int, frames: int, rounds: int
) -> dict[str, Any]:
    """Frames per second of each of `SIDES` on the clip's first frames, kernels loaded, in turn; medians.

    Returns:
        {"clip", "frames_per_second": by side, "reused": share in "ours", "command_seconds": a process of the whole
        command, kernels compiled before; "command_frames_per_second"; "command_spent": its seconds by what they go
        for: "start" of the process until kernels are loaded, "network", and "media": decoding, comparing, encoding and
        writing as far as the network's turns do not hide them}
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        start = first_frames(clip, place / "clip.mkv", frames)
        with av.open(str(start)) as container:
            height, width = container.streams.video[0].height, container.streams.video[0].width
        store(weights, place / "weights.safetensors", np.float32)
        job = {
            "clip": str(start),
            "target": str(place / "large.mkv"),
            "weights": str(place / "weights.safetensors"),
            "onnx": str(export(network, height, width, place / "dense.onnx")),
            "precision": precision,
            "threads": threads,
        }
        fps: dict[str, list[float]] = {side: [] for side in SIDES}
        commands, networks, reused, counted = [], [], 0.0, frames
        command = [sys.executable, "-m", "vs_smsr", "upscale", str(start), "-o", str(place / "command.mkv")]
        command += ["--overwrite", "--engine", "cpu", "--precision", precision, "--threads", str(threads)]
        command += ["--weights", job["weights"], "--scale", str(weights.scale)]
        for _ in range(rounds):
            for side in SIDES:
                made = json.loads(_run([sys.executable, str(PIPELINE), json.dumps(job | {"runs": side})]))
                fps[side].append(made["frames"] / made["seconds"])
                if side == "ours":
                    reused = made["reused"]
                    networks.append(made["network"])
                counted = made["frames"]
            began = time.perf_counter()
            _run(command)
            commands.append(time.perf_counter() - began)
    seconds = statistics.median(commands)
    job_seconds, network = counted / statistics.median(fps["ours"]), statistics.median(networks)
    spent = {"start": seconds - job_seconds, "network": network * job_seconds, "media": (1 - network) * job_seconds}
    return {
        "clip": f"{clip.name} {width}x{height}, {counted} frames",
        "frames_per_second": {side: statistics.median(found) for side, found in fps.items()},
        "reused": reused,
        "command_seconds": seconds,
        "command_frames_per_second": counted / seconds,
        "command_spent": spent,
    }


def first_frames(clip: Path, target: Path, frames: int) -> Path:
    """The first frames of a clip's picture in a file of their own, not coded anew."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as result:
        stream = source.streams.video[0]
        copied = result.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        for packet in packets[:frames]:
            packet.stream = copied
            result.mux(packet)
    return target


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
