"""Speed of our cpu engine against the best dense runtimes; docs/speed.md says what is measured and how.

It needs an otherwise idle machine and warns where it is not. A process that must stay can be held with --pause.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import psutil
from bench import contenders, convolution, end_to_end, filters, machine, processes, race, report, rivals
from rich.console import Console

from vs_smsr import weights as weight_files
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.cpu.isa import choose
from vs_smsr.engine.cpu.pool import available_cpus
from vs_smsr.errors import SmsrError
from vs_smsr.media.images import is_image, read_image
from vs_smsr.network import read_checkpoint, to_network
from vs_smsr.weights import Weights

SHARED = Path(__file__).parents[1].parent / "shared"
DEMO = Path(__file__).parents[1] / "tests" / "data" / "demo.mp4"
PARTS = ("race", "convolution", "processes", "filters", "end_to_end", "rivals")
PACKAGES = ("vs-smsr", "numba", "numpy", "openvino", "onnxruntime", "torch", "vapoursynth", "vapoursynth-mlrt-ov")
WIDTH = 140  # of tables that go into a file
log = logging.getLogger("benchmark")


def main(command: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(command)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        weights = _read_weights(arguments.weights)
        frames = read_frames(arguments.frames)
        threads = arguments.threads or available_cpus()
        with machine.paused(arguments.pause):
            result, heats = run(arguments, weights, frames, threads)
    except (SmsrError, OSError, RuntimeError, psutil.Error) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    console = Console()
    report.show(result, heats, console if console.is_terminal else Console(width=WIDTH))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if arguments.plot and heats:
        report.plot(heats, arguments.plot)
    return 0


def run(
    arguments: argparse.Namespace, weights: Weights, frames: dict[str, Frame], threads: int
) -> tuple[dict[str, Any], list[race.Heat]]:
    """Every part that was asked for: the figures as they go into the JSON, and what the tables are made of."""
    busy = machine.busy_processes()
    for pid, name, cpus in busy:
        log.warning("process %d (%s) uses %.1f CPUs: stop it, or hold it with --pause %d", pid, name, cpus, pid)
    watch = machine.Watch()
    network = to_network(weights)
    field = contenders.make(weights, network, arguments.precision, arguments.against, threads)
    ours = [one for one in field if isinstance(one, contenders.Ours) and one.name == "ours"]
    heats: list[race.Heat] = []
    if "race" in arguments.parts:
        heats = race.race(frames, field, weights, network, arguments.rounds, log.info)
    more: dict[str, dict[str, Any]] = {"sparse_convolution": {}, "processes": {}, "filters": {}, "end_to_end": {}}
    smallest, largest = (pick(frames.values(), key=lambda frame: frame.size) for pick in (min, max))
    busiest = frames[max(heats, key=lambda heat: sum(heat.active)).name] if heats else largest
    for engine in ours:
        precision = engine.precision
        if "convolution" in arguments.parts:
            log.info("masked convolution, %s", precision)
            more["sparse_convolution"][precision] = convolution.measure(engine, largest, arguments.rounds)
        if "processes" in arguments.parts:
            log.info("fresh processes, %s", precision)
            large = processes.filled(busiest, *arguments.memory_frame)
            more["processes"][precision] = processes.measure(
                weights, smallest, large, precision, threads, arguments.rounds
            )
        if "filters" in arguments.parts:
            log.info("VapourSynth filters, %s", precision)
            more["filters"][precision] = filters.measure(
                weights, network, arguments.clip, precision, threads, arguments.clip_frames, arguments.rounds
            )
        if "end_to_end" in arguments.parts:
            log.info("whole jobs, %s", precision)
            more["end_to_end"][precision] = end_to_end.measure(
                weights, network, arguments.clip, precision, threads, arguments.clip_frames, arguments.rounds
            )
    beside: dict[str, dict[str, float]] = {}
    if "rivals" in arguments.parts:
        if absent := rivals.missing():
            log.warning("rivals: left out, since %s are not installed; see scripts/bench/rivals.py", ", ".join(absent))
        else:
            beside = rivals.measure(weights, network, frames, ours, threads, arguments.rounds, log.info)
    help_seconds = processes.help_seconds(arguments.rounds) if "processes" in arguments.parts else None
    others = watch.others()
    result: dict[str, Any] = race.summary(heats) if heats else {"ratios": {}, "worst": {}}
    result |= {
        "frames": [heat.to_json() for heat in heats],
        "outside_convolutions": _means(heats, "outside"),
        "time_shares": {one.precision: race.mean_shares(h.shares[one.precision] for h in heats) for one in ours}
        if heats
        else {},
        "thread_scaling": race.thread_scaling(heats) if heats else {},
        **more,
        "rivals": beside,
        "help_seconds": help_seconds,
        "refused": _refused(heats) + [line for found in more["filters"].values() for line in found["refused"]],
        "machine": {
            "processor": _processor(),
            "instructions": choose().name,
            "threads": threads,
            "others_cpus": round(others, 3),
            "quiet": others <= machine.QUIET,
            "paused": len(arguments.pause),
        },
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rounds": arguments.rounds,
        "weights": arguments.weights.name,
    }
    return result, heats


def read_frames(folder: Path) -> dict[str, Frame]:
    """The images of a folder by name, float32 RGB 0..255, cut to even sizes."""
    frames = {}
    for path in sorted(folder.iterdir()):
        if is_image(path):
            pixels = read_image(path).pixels
            if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
                raise ValueError(f"{path}: must be 8-bit RGB, got {pixels.dtype} {pixels.shape}.")
            height, width = (side // 2 * 2 for side in pixels.shape[:2])
            frames[path.stem] = np.ascontiguousarray(pixels[:height, :width], np.float32)
    if not frames:
        raise FileNotFoundError(f"{folder}: there are no images.")
    return frames


def _means(heats: Sequence[race.Heat], attribute: str) -> dict[str, float]:
    found = [getattr(heat, attribute) for heat in heats]
    return {precision: fmean(one[precision] for one in found) for precision in (found[0] if found else ())}


def _refused(heats: Sequence[race.Heat]) -> list[str]:
    return [
        f"{name} {precision} on {heat.name}: {lap.refused}"
        for heat in heats
        for (name, precision), lap in heat.laps.items()
        if lap.refused
    ]


def _read_weights(path: Path) -> Weights:
    return read_checkpoint(path) if path.suffix == ".pt" else weight_files.load(path)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--frames", type=Path, default=SHARED / "data" / "bench", help="folder of images")
    parser.add_argument("--weights", type=Path, default=weight_files.shipped(2), help=".safetensors or .pt")
    parser.add_argument("--precision", type=_list_of("fp32", "bf16"), default=["fp32"], help="fp32,bf16")
    parser.add_argument(
        "--against",
        type=_list_of(*contenders.AGAINST),
        default=list(contenders.AGAINST),
        help=",".join(contenders.AGAINST),
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of everybody; 0 = all")
    parser.add_argument("--rounds", type=int, default=7, help="times that everything is run; medians are shown")
    parser.add_argument("--parts", type=_list_of(*PARTS), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--clip", type=Path, default=DEMO, help="video for the filters and whole jobs")
    parser.add_argument("--clip-frames", type=int, default=12, help="how many of its frames")
    parser.add_argument(
        "--memory-frame",
        type=int,
        nargs=2,
        default=(720, 1280),
        metavar=("HEIGHT", "WIDTH"),
        help="frame for the peak of memory",
    )
    parser.add_argument("--pause", type=int, action="append", default=[], metavar="PID", help="hold this process")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="write the plot here")
    return parser


def _list_of(*known: str) -> Any:
    """A parser of names with commas between."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"must be some of {','.join(known)}, got {name!r}.")
        return list(dict.fromkeys(names))

    return parse


if __name__ == "__main__":
    sys.exit(main())
