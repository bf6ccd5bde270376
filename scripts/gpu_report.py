"""Run the cuda engine on a real GPU and write what was found: correctness, memory, speed.

    python scripts/gpu_report.py                 writes gpu_report.json and gpu_report.md
    python scripts/gpu_report.py -o my_gpu       writes my_gpu.json and my_gpu.md

Correctness is against the cpu engine; speed beside PyTorch (dense, fp16, channels_last), if it is installed with CUDA.
Paste the page into an issue: the project has no GPU of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vs_smsr
from cupy_kernels import cost
from vs_smsr.engine import Overrides, cuda
from vs_smsr.engine.contract import Upscaled
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.cuda.network import stored_channels
from vs_smsr.errors import MemoryBudgetError
from vs_smsr.families.smsr import LAYERS, MODULES
from vs_smsr.options import EngineOptions
from vs_smsr.weights import Weights, load, shipped

SIZES = ((360, 640), (720, 1280), (1080, 1920))  # inputs
REPEATS = 20
Frame = NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", "--device", default="cuda:0", help="cuda or cuda:N")
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu_report"), help="where to, without an ending")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="frames per timing; the median is reported")
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
    engines = {
        precision: cuda.create(weights, EngineOptions(device=options.device, engine="cuda", precision=precision))
        for precision in ("fp16", "fp32")
    }
    report["compile_seconds"] = round(time.perf_counter() - started, 2)
    report["correctness"] = [correctness(weights, engine, picture(270, 480)) for engine in engines.values()]
    report["memory"] = [memory(engine, size) for size in SIZES for engine in engines.values()]
    report["speed"] = [
        measured
        for size in SIZES
        for engine in engines.values()
        for measured in [speed(engine, weights, size, options.repeats)]
    ]
    report["torch"] = [dense_torch(weights, size, options.repeats, ordinal) for size in SIZES]
    options.output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(page(report))
    print(page(report))
    return 0 if all(found["passed"] for found in report["correctness"] + report["memory"]) else 1


def picture(height: int, width: int, seed: int = 0) -> Frame:
    """(height, width, 3) 0..255: smooth ground, edges, and texture in a third of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = (
        128 + 60 * np.sin(x / 97)[..., None] * np.cos(y / 71)[..., None] + 40 * ((x // 160 + y // 120) % 2)[..., None]
    )
    texture = rng.normal(0, 25, (height, width, 3)) * (y > height * 2 / 3)[..., None]
    return np.clip(base + texture, 0, 255).astype(np.float32)


def correctness(weights: Weights, engine: cuda.CudaEngine, frame: Frame) -> dict[str, Any]:
    """Against the cpu engine: masks, and pixels with the masks given; the same bits twice."""
    wanted = CpuEngine(weights).upscale(frame)
    got, again = engine.upscale(frame), engine.upscale(frame)
    given = engine.upscale(frame, Overrides(masks=wanted.masks))
    flips = sum(int((a != b).sum()) for a, b in zip(got.masks, wanted.masks, strict=True))
    error = float(np.abs(given.frame - wanted.frame).max())
    same = np.array_equal(got.frame, again.frame)
    quality = psnr(got, wanted)
    share = flips / (len(engine.weights.spec.blocks) * frame.shape[0] * frame.shape[1])
    limit = 1e-5 if engine.precision == "fp32" else 1e-3
    close = error < 0.02 if engine.precision == "fp32" else quality > 50
    return {
        "precision": engine.precision,
        "largest_difference_same_masks": error,
        "psnr": quality,
        "flipped_share": share,
        "same_bits_twice": same,
        "passed": bool(close and share <= limit and same),
    }


def memory(engine: cuda.CudaEngine, size: tuple[int, int]) -> dict[str, Any]:
    """What the weights and one frame take, as allocated, beside what was counted for the planner: as a hard limit."""
    counted = engine.memory.in_use() + engine.memory.workspace(*size)
    engine.memory.limit(counted)
    try:
        engine.upscale(picture(*size))
        held = engine.memory.held()
    except MemoryBudgetError:
        held = counted + 1
    finally:
        engine.memory.limit(0)
    return {
        "input": f"{size[1]}x{size[0]}",
        "precision": engine.precision,
        "counted_mb": counted / 2**20,
        "held_mb": held / 2**20,
        "passed": held <= counted,
    }


def psnr(a: Upscaled, b: Upscaled) -> float:
    error = float(np.mean((a.frame.astype(np.float64) - b.frame) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time after three warm-up runs."""
    times = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def speed(engine: cuda.CudaEngine, weights: Weights, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """One frame alone, host to host, and three in flight; beside the floor that counting gives."""
    frame = picture(*size)
    active = float(np.mean(engine.upscale(frame).active))
    alone = median_seconds(lambda: engine.upscale(frame), repeats)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(engine.upscale, [frame] * 9))  # every thread's buffers, and their graphs
        started = time.perf_counter()
        list(pool.map(engine.upscale, [frame] * (3 * repeats)))
        together = (time.perf_counter() - started) / (3 * repeats)
    stored = stored_channels(weights)
    counted = cost.frame(cost.Shape(*size, active, stored, 2, engine.precision == "fp16"))
    return {
        "input": f"{size[1]}x{size[0]}",
        "precision": engine.precision,
        "active": round(active, 4),
        "milliseconds_alone": alone * 1e3,
        "milliseconds_three_in_flight": together * 1e3,
        "fps_three_in_flight": 1 / together,
        "gflop": sum(item.operations for item in counted) / 1e9,
        "compulsory_mb": sum(item.bytes for item in counted) / 1e6,
        "device_mb_per_frame_in_flight": engine.memory.workspace(*size) / 2**20,
    }


def dense_torch(weights: Weights, size: tuple[int, int], repeats: int, ordinal: int) -> dict[str, Any]:
    """The same network in PyTorch without its sparsity: every layer dense, fp16, channels_last."""
    try:
        import torch
    except ImportError:
        return {"input": f"{size[1]}x{size[0]}", "skipped": "PyTorch is not installed"}
    if not torch.cuda.is_available():
        return {"input": f"{size[1]}x{size[0]}", "skipped": "this PyTorch has no CUDA"}
    from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, pixel_shuffle

    device = torch.device("cuda", ordinal)
    tensors = {name: torch.from_numpy(t).to(device, torch.float16) for name, t in weights.tensors.items()}
    tensors = {
        name: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for name, t in tensors.items()
    }
    host = torch.from_numpy(picture(*size)).pin_memory()

    def conv(name: str, x: Any) -> Any:
        weight = tensors[f"{name}.weight"]
        return conv2d(x, weight, tensors.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def run() -> Any:
        frame = host.to(device, non_blocking=True).permute(2, 0, 1)[None].half()
        f = head = conv("head.2", conv("head.0", frame - 110).relu())
        features = []
        for module in range(MODULES):
            mask, body = f"body.{module}.spa_mask", f"body.{module}.body"
            hidden = conv(f"{mask}.3", avg_pool2d(conv(f"{mask}.0", f).relu(), 2)).relu()
            logits = conv_transpose2d(
                hidden, tensors[f"{mask}.5.weight"], tensors[f"{mask}.5.bias"], stride=2, padding=1, output_padding=1
            )
            active = (logits[:, 1:] > logits[:, :1]).half()
            x, layers = f, []
            for layer in range(LAYERS):
                x = (conv(f"{body}.body.{layer}", x) * active).relu()
                layers.append(x)
            total = conv(f"{body}.collect", torch.cat(layers, 1))
            attention = f"body.{module}.ca.conv_du"
            scales = conv(f"{attention}.2", conv(f"{attention}.0", total.mean((2, 3), keepdim=True)).relu()).sigmoid()
            f = total * scales + f
            features.append(f)
        y = conv("collect.2", conv("collect.0", torch.cat(features, 1)).relu()) + head
        out = pixel_shuffle(conv("tail.0", y), weights.scale)
        out = out + interpolate(frame, scale_factor=weights.scale, mode="bicubic", align_corners=False)
        return out.clamp(0, 255).float().permute(0, 2, 3, 1).contiguous().cpu()

    with torch.inference_mode():
        seconds = median_seconds(run, repeats)
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    return {"input": f"{size[1]}x{size[0]}", "milliseconds": seconds * 1e3, "device_mb": peak}


def page(report: dict[str, Any]) -> str:
    """The report as a page of Markdown."""
    lines = [
        f"# {report['gpu']}\n",
        f"vs-smsr {report['vs_smsr']}, {report['system']}; kernels compiled in {report['compile_seconds']} s.\n",
        "| precision | largest difference, same masks | PSNR | flipped mask pixels | same bits twice | |",
        "|---|---|---|---|---|---|",
    ]
    for c in report["correctness"]:
        lines.append(
            f"| {c['precision']} | {c['largest_difference_same_masks']:.2g} | {c['psnr']:.1f} dB "
            f"| {c['flipped_share']:.2g} | {c['same_bits_twice']} | {'passed' if c['passed'] else '**FAILED**'} |"
        )
    lines += ["\n| input | precision | memory counted | held, with that as the limit | |", "|---|---|---|---|---|"]
    for m in report["memory"]:
        lines.append(
            f"| {m['input']} | {m['precision']} | {m['counted_mb']:.1f} MiB | {m['held_mb']:.1f} MiB "
            f"| {'passed' if m['passed'] else '**FAILED**'} |"
        )
    lines += [
        "\n| input | precision | active | one frame | three in flight | device memory per frame |",
        "|---|---|---|---|---|---|",
    ]
    for s in report["speed"]:
        lines.append(
            f"| {s['input']} | {s['precision']} | {s['active']:.0%} | {s['milliseconds_alone']:.2f} ms "
            f"| {s['milliseconds_three_in_flight']:.2f} ms, {s['fps_three_in_flight']:.1f} fps "
            f"| {s['device_mb_per_frame_in_flight']:.0f} MiB |"
        )
    lines += ["\n| input | PyTorch fp16 channels_last, dense, one frame | device memory |", "|---|---|---|"]
    for t in report["torch"]:
        result = t.get("skipped") or f"{t['milliseconds']:.2f} ms"
        lines.append(f"| {t['input']} | {result} | {t.get('device_mb', 0):.0f} MiB |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
