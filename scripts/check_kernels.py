"""Compile every CUDA kernel for every GPU generation, without a GPU, and say what came out.

    python scripts/check_kernels.py                      everything
    python scripts/check_kernels.py --arch 86,89         some generations
    python scripts/check_kernels.py --json kernels.json  the same as JSON

Exit code 1 if a kernel spills registers or has a stack frame.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cupy_kernels import compilation, cost, geometry
from vs_smsr.engine.cuda.network import stored_channels
from vs_smsr.weights import load, shipped

# Per multiprocessor: registers, shared bytes, threads, blocks; a block's shared memory costs 1 KiB more from sm_80 on.
LIMITS = {
    75: (65536, 64 << 10, 1024, 16),
    80: (65536, 164 << 10, 2048, 32),
    86: (65536, 100 << 10, 1536, 16),
    89: (65536, 100 << 10, 1536, 24),
    90: (65536, 228 << 10, 2048, 32),
    100: (65536, 228 << 10, 2048, 32),
    120: (65536, 100 << 10, 1536, 24),
}
FRAME = (720, 1280)
ACTIVE = 0.35
Job = tuple[str, dict[str, int], int, bool]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default=",".join(map(str, compilation.ARCHS)), help="compute capabilities, 86,89")
    parser.add_argument("--pairs", choices=("all", "some"), default="all", help="channel pairs of the inactive pixels")
    parser.add_argument("--no-disassembly", action="store_true", help="registers and spills alone")
    parser.add_argument("--json", type=Path, metavar="F", help="write everything to a file")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    problem = compilation.missing()
    if problem:
        print(problem, file=sys.stderr)
        return 2
    archs = [int(arch) for arch in options.arch.split(",")]
    disassemble = not options.no_disassembly
    if disassemble and compilation.disassembler() is None:
        print("no instruction counts: nvdisasm is not installed (pip install nvidia-cuda-nvdisasm)\n")
    jobs = [(file, macros, arch, disassemble) for arch in archs for file, macros in variants(options.pairs)]
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        rows = [row for rows in pool.map(compile_job, jobs, chunksize=4) for row in rows]
    print_kernels(rows)
    estimates = [estimate(gpu, half) for gpu in cost.GPUS for half in (True, False)]
    if options.json:
        options.json.write_text(json.dumps({"kernels": rows, "frames": estimates}, indent=1) + "\n")
    bad = [row for row in rows if row["spill_bytes"] or row["stack_bytes"]]
    for row in bad:
        print(f"FAILED: {row['name']} {row['macros']} on sm_{row['arch']} spills or has a stack frame", file=sys.stderr)
    print(f"\n{len(rows)} kernels, {len(bad)} with spills or stack frames")
    return int(bool(bad))


def variants(pairs: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Every (file, macros) of every network; with "some", the channel pairs that trained networks have."""
    wide = {(a, b) for a in (16, 32, 48, 64) for b in (16, 32, 48, 64)} if pairs == "all" else {(64, 32), (16, 16)}
    found = {
        (file, *sorted(macros.items()))
        for half in (True, False)
        for scale, up in ((2, 1), (3, 1), (4, 1), (1, 4))
        for file, macros in geometry.variants(half, scale, wide, up)
    }
    for file, *macros in sorted(found):
        yield file, dict(macros)


def compile_job(job: Job) -> list[dict[str, Any]]:
    """Compile in a process of its own; a row per kernel."""
    file, macros, arch, disassemble = job
    own = {name: value for name, value in macros.items() if name not in geometry.TILES}
    rows = []
    for kernel in compilation.compile_file(file, macros, arch, disassemble):
        shared, threads = launch_of(kernel.name, macros)
        rows.append(
            {
                "name": kernel.name,
                "file": file,
                "arch": arch,
                "macros": own,
                "registers": kernel.registers,
                "shared_bytes": shared,
                "stack_bytes": kernel.stack_bytes,
                "spill_bytes": kernel.spill_bytes,
                "threads": threads,
                "resident_blocks": resident(arch, kernel.registers, shared, threads),
                "instructions": dict(kernel.instructions),
            }
        )
    return rows


def launch_of(kernel: str, macros: dict[str, int]) -> tuple[int, int]:
    """Shared bytes and threads of a block."""
    tiles, select = geometry.TILES["TILE_PIXELS"], geometry.TILES["SELECT_THREADS"]
    return {
        "unpack_picture": (0, 256),
        "pack_picture": (0, 256),
        "unpack_planes": (0, 256),
        "pack_planes": (0, 256),
        "head_first": (27 * 64 * 4, 128),
        "conv_frame": (geometry.window_bytes(64), tiles),
        "mask_pool": (geometry.window_bytes(16), tiles),
        "mask_decide": (geometry.mask_bytes(), geometry.TILES["MASK_SIDE"] ** 2),
        "count_pixels": (select // 32 * 4, select),
        "list_pixels": (select // 32 * 12, select),
        "conv_listed": (geometry.list_bytes(macros.get("OUT", 64)), tiles),
        "attention_scales": ((256 + 64 + 4) * 4, 256),
        "sum_features": (16 * 64 * 8, 256),
        "residual": (geometry.residual_bytes(bool(macros.get("HALF"))), tiles),
        "conv_shuffle": (geometry.window_bytes(64), tiles),
        "tail": (geometry.tail_bytes(macros.get("SCALE", 2), macros.get("UP", 1)), tiles),
    }[kernel]


def resident(arch: int, registers: int, shared: int, threads: int) -> int:
    """Blocks that a multiprocessor holds at once."""
    all_registers, all_shared, all_threads, blocks = LIMITS[arch]
    of_warp = -(-registers * 32 // 256) * 256
    by_registers = all_registers // of_warp // (threads // 32)
    by_shared = all_shared // max(shared + (1024 if arch >= 80 else 0), 1)
    return min(blocks, all_threads // threads, by_registers, by_shared)


def print_kernels(rows: list[dict[str, Any]]) -> None:
    """One line per kernel and specialisation, the architectures side by side."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        shown = " ".join(f"{name}={value}" for name, value in row["macros"].items())
        groups.setdefault((row["name"], shown), []).append(row)
    print(
        f"{'kernel':17}{'macros':22}{'shared':>7}  registers/resident blocks per architecture; instructions on the last"
    )
    for (name, shown), group in sorted(groups.items()):
        cells = " ".join(f"{row['arch']}:{row['registers']}/{row['resident_blocks']}" for row in group)
        counts = " ".join(f"{what}={count}" for what, count in group[-1]["instructions"].items() if count)
        print(f"{name:17}{shown:22}{group[0]['shared_bytes']:>7}  {cells}  {counts}")


def estimate(gpu: cost.Gpu, half: bool) -> dict[str, Any]:
    """Print and return the floor of a frame on a GPU."""
    weights = load(shipped(2))
    stored = stored_channels(weights)
    shape = cost.Shape(*FRAME, ACTIVE, stored, 2, half)
    costs = cost.frame(shape)
    total = sum(item.seconds(gpu) for item in costs)
    precision = "fp16" if half else "fp32"
    print(f"\n{gpu.name}, {precision}, {FRAME[1]}x{FRAME[0]} x2, {ACTIVE:.0%} active: floor by counting, not measured")
    for item in costs:
        print(
            f"  {item.kernel:24}{item.launches:3} times {item.bytes / 1e6:9.1f} MB {item.operations / 1e9:9.2f} GFLOP"
            f"  {item.limit(gpu):11}{item.seconds(gpu) * 1e3:9.3f} ms"
        )
    copies = cost.copies_seconds(shape, gpu)
    print(f"  {'sum':24}{total * 1e3:57.2f} ms, at most {1 / total:.0f} fps; copies {copies * 1e3:.1f} ms, overlapped")
    return {
        "gpu": gpu.name,
        "precision": precision,
        "milliseconds": total * 1e3,
        "frames_per_second": 1 / total,
        "copy_milliseconds": copies * 1e3,
        "kernels": [
            {
                "name": item.kernel,
                "launches": item.launches,
                "bytes": item.bytes,
                "operations": item.operations,
                "limit": item.limit(gpu),
                "milliseconds": item.seconds(gpu) * 1e3,
            }
            for item in costs
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
