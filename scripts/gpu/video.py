"""Frames per second of the whole command: decode, upscale, encode."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np

from gpu.checks import picture


def end_to_end(size: tuple[int, int], device: str, frames: int = 240) -> dict[str, Any]:
    """`vs-smsr upscale` of a panned picture, H.264 in and out, its attention held and each frame's own."""
    with tempfile.TemporaryDirectory() as folder:
        source, target, told = (Path(folder) / name for name in ("source.mkv", "large.mkv", "told.json"))
        _film(source, size, frames)
        command = [sys.executable, "-m", "vs_smsr", "upscale", str(source), "-o", str(target), "--device", device]
        command += ["--overwrite", "--no-progress", "--preset", "ultrafast", "--chunk-frames", "0", "--json", str(told)]
        found: dict[str, Any] = {"input": f"{size[1]}x{size[0]}", "frames": frames}
        for name, options in (("defaults", []), ("frame", ["--attention", "frame", "--reuse", "off"])):
            subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
            report = json.loads(told.read_text())[0]
            found[f"fps_{name}"] = report["frames"] / report["seconds"]
    return found


def _film(path: Path, size: tuple[int, int], frames: int) -> None:
    """Two pixels a frame to the right, so that nothing repeats."""
    height, width = size
    wide = np.rint(picture(height, width + 2 * frames)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            view = np.ascontiguousarray(wide[:, 2 * number : 2 * number + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, "rgb24")))
        container.mux(stream.encode())
