"""Run the cuda engine on a real GPU and write what was found: correctness, memory, speed, each kernel, rivals, video.

    python scripts/gpu_report.py                 writes gpu_report.json and gpu_report.md
    python scripts/gpu_report.py -o my_gpu       writes my_gpu.json and my_gpu.md

Correctness is against the cpu engine. What is left when `--minutes` are over is left out and named, and both files are
written anew after each part. scripts/gpu_check.sh does this on a machine without a network. Paste the page into an
issue: the project has no GPU of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gpu.checks import correctness, memory, picture, tiled
from gpu.rivals import rivals
from gpu.timing import kernels, speed
from gpu.video import end_to_end

import vs_smsr
from vs_smsr.engine import cuda
from vs_smsr.options import EngineOptions
from vs_smsr.weights import load, shipped

SIZES = ((360, 640), (720, 1280), (1080, 1920))  # inputs
HD = (720, 1280)
REPEATS = 20
CHECKS = ("correctness", "tiled", "memory")
type Part = Callable[[], list[dict[str, Any]]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", "--device", default="cuda:0", help="cuda or cuda:N")
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu_report"), help="where to, without an ending")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="frames per timing; the median is reported")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing after them (60)")
    options = parser.parse_args()
    ordinal = int(options.device.partition(":")[2] or 0)
    ok, reason = cuda.status(ordinal)
    if not ok:
        print(f"{options.device} does not work here: {reason}", file=sys.stderr)
        return 2
    weights = load(shipped(2))
    report: dict[str, Any] = {"gpu": reason, "system": platform.platform(), "vs_smsr": vs_smsr.__version__}
    print(f"{reason}\ncompiling ...", flush=True)
    started = time.perf_counter()
    engines = [
        cuda.create(weights, EngineOptions(device=options.device, engine="cuda", precision=precision))
        for precision in ("fp16", "fp32")
    ]
    report["compile_seconds"] = round(time.perf_counter() - started, 2)

    def timed(size: tuple[int, int]) -> list[tuple[str, Part]]:
        return [
            ("speed", lambda: [speed(engine, weights, size, options.repeats) for engine in engines]),
            ("rivals", lambda: list(rivals(weights, size, options.repeats, ordinal))),
        ]

    parts: list[tuple[str, Part]] = [
        ("correctness", lambda: [correctness(weights, engine, picture(270, 480)) for engine in engines]),
        ("tiled", lambda: [tiled(engine, picture(270, 480)) for engine in engines]),
        ("memory", lambda: [memory(engine, size) for size in SIZES for engine in engines]),
        *timed(HD),
        ("kernels", lambda: _kernels(weights, ordinal, reason)),
        ("video", lambda: [end_to_end(HD, options.device)]),
        *(part for size in SIZES if size != HD for part in timed(size)),
    ]
    for name, part in parts:
        if time.perf_counter() - started > 60 * options.minutes:
            report.setdefault("left_out", []).append(name)
            _store(report, options.output)
            continue
        print(f"{name} ...", flush=True)
        report.setdefault(name, []).extend(part())
        _store(report, options.output)
    print(page(report))
    passed = all(name in report and all(found["passed"] for found in report[name]) for name in CHECKS)
    return 0 if passed else 1


def _store(report: dict[str, Any], output: Path) -> None:
    output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    output.with_suffix(".md").write_text(page(report))


def _kernels(weights: Any, ordinal: int, name: str) -> list[dict[str, Any]]:
    from cupy_kernels.cuda import CudaDevice, new_pool

    pool = new_pool()
    device = partial(CudaDevice, ordinal, pool)
    return [row for half in (True, False) for row in kernels(weights, device, HD, half, name)]


def page(report: dict[str, Any]) -> str:
    """The report as a page of Markdown; a part that is not there yet is left out."""
    lines = [
        f"# {report['gpu']}\n",
        f"vs-smsr {report['vs_smsr']}, {report['system']}; kernels compiled in {report['compile_seconds']} s.",
    ]
    if report.get("left_out"):
        lines.append(f"Left out, for time: {', '.join(report['left_out'])}.")
    for name, heads, cells in TABLES:
        if report.get(name):
            lines += [f"\n| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
            lines += [f"| {' | '.join(cells(row))} |" for row in report[name]]
    return "\n".join(lines) + "\n"


def _verdict(row: dict[str, Any]) -> str:
    return "passed" if row["passed"] else "**FAILED**"


def _milliseconds(row: dict[str, Any]) -> str:
    return row["skipped"] if "skipped" in row else f"{row['milliseconds']:.2f} ms"


type Cells = Callable[[dict[str, Any]], list[str]]
TABLES: tuple[tuple[str, tuple[str, ...], Cells], ...] = (
    (
        "correctness",
        ("precision", "largest difference, same masks", "PSNR", "flipped mask pixels", "same bits twice", ""),
        lambda c: [
            c["precision"],
            f"{c['largest_difference_same_masks']:.2g}",
            f"{c['psnr']:.1f} dB",
            f"{c['flipped_share']:.2g}",
            str(c["same_bits_twice"]),
            _verdict(c),
        ],
    ),
    (
        "tiled",
        ("precision", "values that tiles change", "mask pixels", ""),
        lambda t: [t["precision"], str(t["different_values"]), str(t["flips"]), _verdict(t)],
    ),
    (
        "memory",
        ("input", "precision", "memory counted", "held, with that as the limit", ""),
        lambda m: [
            m["input"],
            m["precision"],
            f"{m['counted_mb']:.1f} MiB",
            f"{m['held_mb']:.1f} MiB",
            _verdict(m),
        ],
    ),
    (
        "speed",
        ("input", "precision", "active", "one frame", "three in flight", "device memory per frame"),
        lambda s: [
            s["input"],
            s["precision"],
            f"{s['active']:.0%}",
            f"{s['milliseconds_alone']:.2f} ms",
            f"{s['milliseconds_three_in_flight']:.2f} ms, {s['fps_three_in_flight']:.1f} fps",
            f"{s['device_mb_per_frame_in_flight']:.0f} MiB",
        ],
    ),
    (
        "rivals",
        ("input", "the network without masks, fp16", "one frame"),
        lambda r: [r["input"], r["runtime"], _milliseconds(r)],
    ),
    (
        "video",
        ("input", "vs-smsr upscale, defaults", "--attention frame --reuse off"),
        lambda v: [v["input"], f"{v['fps_defaults']:.1f} fps", f"{v['fps_frame']:.1f} fps"],
    ),
    (
        "kernels",
        ("kernel", "precision", "in a frame of 1280x720", "GB/s", "TFLOP/s", "of the floor"),
        lambda k: [
            k["kernel"],
            k["precision"],
            f"{k['milliseconds']:.3f} ms",
            f"{k['gigabytes_per_second']:.0f}",
            f"{k['teraflops']:.1f}",
            "-" if k["share_of_floor"] is None else f"{k['share_of_floor']:.0%}",
        ],
    ),
)


if __name__ == "__main__":
    sys.exit(main())
