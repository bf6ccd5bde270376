"""The masked 3x3 convolution alone, as a share of what the best dense matrix product of the same run makes."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch

from bench.contenders import Ours
from bench.profile import SPARSE, seconds
from bench.work import masked_macs
from vs_smsr.engine.contract import Frame, Mask, Overrides

SIDE = 2048  # of the matrices
SHARES = (0.1, 0.2, 0.4, 0.6)
BLOB = 6.0  # pixels: blur of the noise that makes contiguous masks
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Rate:
    """Rate at one share of active pixels, over all masked layers of the network.

    Attributes:
        gflops: 10^9 operations a second, 2 * 9 * 64 * 64 per active pixel and layer.
        of_gemm: the same as a share of the matrix product's rate.
    """

    pattern: str
    active: float
    gflops: float
    of_gemm: float


def measure(contender: Ours, frame: Frame, rounds: int, side: int = SIDE) -> dict[str, Any]:
    """Rates in alternation with the matrix product; that one counts with its best time, ours with the median.

    Returns:
        gemm_gflops, the rates, and the least share of the matrix product's rate over the contiguous masks.
    """
    height, width = frame.shape[:2]
    spec = contender.spec
    cases = {(kind, share): mask(kind, share, height, width) for kind in ("blobs", "random") for share in SHARES}
    left, right = (torch.rand(side, side).to(DTYPES[contender.precision]) for _ in range(2))
    torch.mm(left, right)
    best = np.inf
    times: dict[tuple[str, float], list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, active in cases.items():
            profile = contender.profiled(frame, 1, Overrides(masks=(active,) * len(spec.blocks)))
            times[case].append(seconds(profile, SPARSE))
        for _ in range(3):
            start = time.perf_counter()
            torch.mm(left, right)
            best = min(best, time.perf_counter() - start)
    gemm = 2 * side**3 / best / 1e9
    rates = []
    for (kind, share), active in cases.items():
        operations = 2 * masked_macs(spec) * int(active.sum())
        gflops = operations / statistics.median(times[kind, share]) / 1e9
        rates.append(asdict(Rate(kind, share, gflops, gflops / gemm)))
    least = min(rate["of_gemm"] for rate in rates if rate["pattern"] == "blobs")
    return {"gemm_gflops": gemm, "rates": rates, "least_of_gemm": least}


def mask(kind: str, share: float, height: int, width: int) -> Mask:
    """A mask with this share of active pixels: "blobs" as edges and texture make them, or "random" single pixels."""
    noise = np.random.default_rng(0).standard_normal((height, width)).astype(np.float32)
    if kind == "blobs":
        noise = cv2.GaussianBlur(noise, (0, 0), BLOB)
    return (noise > np.quantile(noise, 1 - share)).astype(np.uint8)
