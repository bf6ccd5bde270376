"""A second process compiles kernels while this one compiles others: LLVM serves one thread of a process at a time.

Only where none are cached. It takes the parts of a network in about the other order, so the two meet in the middle, and
what one has compiled the other one loads. It says nothing, and what becomes of it matters to nobody: this process
compiles whatever it does not find.
"""

from __future__ import annotations

import atexit
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from vs_smsr.engine import kernel_cache
from vs_smsr.engine.cpu import CpuEngine, pixel_kernels
from vs_smsr.engine.cpu.pool import available_cpus
from vs_smsr.engine.window import whole
from vs_smsr.weights import Weights

log = logging.getLogger(__name__)
SIDE = 16  # of the frame that it computes


def start(weights: Weights, precision: str) -> subprocess.Popen[bytes] | None:
    """Begin, where that helps: no kernels are cached, there is a second core, and Python can be started.

    Returns:
        The process, which ends by itself, or with this one; None if there is none.
    """
    python = Path(sys.executable or "")
    if available_cpus() < 2 or not python.name.startswith("python") or not _cold():
        return None
    try:
        process = subprocess.Popen(
            [python, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        log.info("cpu: no second process to compile kernels: %s", error)
        return None
    atexit.register(process.kill)
    given = pickle.dumps((weights, precision))
    threading.Thread(target=_serve, args=(process, given), daemon=True, name="smsr kernels").start()
    return process


def _serve(process: subprocess.Popen[bytes], given: bytes) -> None:
    process.communicate(given)
    atexit.unregister(process.kill)


def _cold() -> bool:
    """Are none of a frame's kernels kept, though they could be?"""
    return kernel_cache.folder() is not None and not kernel_cache.is_kept(pixel_kernels.bicubic)


def compile_backwards(weights: Weights, precision: str) -> None:
    """Have the kernels of a frame compiled, from the result to the inactive pixels of the masked blocks, and those that
    look at features and compare them."""
    spec, engine, every = weights.spec, CpuEngine(weights, threads=1, precision=precision), whole(SIDE, SIDE)
    frame, mask = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE), np.uint8)
    with engine.open(SIDE, SIDE) as ops:
        for number in range(len(spec.masks)):
            ops.give_mask(number, mask)
        ops.give_attention(0, np.ones(spec.width, np.float32))
        ops.residual(0, "head", collect=spec.collect is not None)
        ops.begin_result(frame)
        if not spec.collect:
            ops.tail(frame)
        for block in range(len(spec.blocks)):
            ops.masked_block(block, "features", every)
        ops.sums()
        ops.restrict(mask.astype(np.bool_))
        ops.update("fused", every, ops.read("fused", every), mask.astype(np.bool_))
        ops.collect(0)


if __name__ == "__main__":
    compile_backwards(*pickle.load(sys.stdin.buffer))
