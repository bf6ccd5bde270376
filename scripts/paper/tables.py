"""Tables I and II: what the paper prints, and what our rows reach; and the speed of masks against a dense runtime."""

from __future__ import annotations

import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from torch import nn

from paper.counts import MODULES, SPECS
from paper.rows import ROWS, state_file, weights_file
from vs_smsr.engine.contract import Frame, Overrides
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.evaluation.flops import gflops_720p
from vs_smsr.evaluation.metrics import Pixels, psnr
from vs_smsr.families import NetworkSpec
from vs_smsr.network.masked import HARD, MaskedNetwork
from vs_smsr.weights import Weights, load

TABLE_1 = {  # PSNR on Set5 and Set14, sparsity on both
    "smsr_x2_none": (37.97, 33.60, 0.51, 0.42),
    "smsr_x2_dynamic": (37.98, 33.62, 0.56, 0.46),
    "smsr_x2_static": (38.00, 33.64, 0.58, 0.46),
}
TABLE_2 = ("srresnet_x4", "srresnet_x4_masked_35", "srresnet_x4_long", "srresnet_x4_masked_52")
TABLE_2 += ("imdn_x4", "imdn_x4_masked_22", "imdn_x4_masked_42", *MODULES)


@dataclass(frozen=True)
class Score:
    """Means over a set: dB of Y, share skipped per block, 0..1."""

    psnr: float
    skipped: tuple[float, ...]

    @property
    def sparsity(self) -> float:
        return float(np.mean(self.skipped))


def images(folder: Path) -> dict[str, Pixels]:
    """(H, W, 3) RGB of every picture of a folder, by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            found[path.stem] = np.ascontiguousarray(picture[..., ::-1])
    return found


def score(network: nn.Module, scale: int, folder: Path) -> Score:
    """Of the network with hard masks, in PyTorch; LR is bicubic as MATLAB makes it."""
    found, skipped = [], []
    for picture in images(folder).values():
        large = crop_to_multiple(picture, 2 * scale)
        small = torch.from_numpy(imresize(large, 1 / scale)).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            out, shares = network(small, HARD)
        made = out[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
        found.append(psnr(made, large, scale))
        skipped.append((1 - shares).numpy())
    return Score(float(np.mean(found)), tuple(np.mean(skipped, axis=0).tolist()))


def module(weights: Weights) -> MaskedNetwork:
    """The network in PyTorch."""
    network = MaskedNetwork(weights.spec).eval()
    network.load_state_dict({name: torch.from_numpy(weights.tensors[name]) for name in weights.spec.shapes})
    return network


def table_1(folder: Path, sets: list[Path]) -> dict[str, dict[str, float]]:
    """SMSR x2 with three kinds of channel masks, from one trunk."""
    return {name: _row(name, folder, sets) for name in TABLE_1 if weights_file(folder, name).exists()}


def table_2(folder: Path, sets: list[Path]) -> dict[str, dict[str, float]]:
    """SRResNet and IMDN x4: dense and masked, from one trunk each, on filter bases, and pruned."""
    return {name: _row(name, folder, sets) for name in TABLE_2 if _trained(folder, name)}


def _trained(folder: Path, name: str) -> bool:
    return (state_file(folder, name) if name in MODULES else weights_file(folder, name)).exists()


def _row(name: str, folder: Path, sets: list[Path]) -> dict[str, float]:
    row: dict[str, float] = {"steps": ROWS[name].recipe.steps}
    if name in MODULES:
        network = MODULES[name][0]().eval()
        network.load_state_dict(torch.load(state_file(folder, name), weights_only=True))
        row["paper_gflops"] = MODULES[name][1].gflops
        return row | {f"psnr {one.name}": score(network, 4, one).psnr for one in sets}
    weights = load(weights_file(folder, name))
    if name in SPECS:
        row["paper_gflops"] = SPECS[name][1].gflops
    for one in sets:
        found = score(module(weights), weights.scale, one)
        row |= {f"psnr {one.name}": found.psnr, f"sparsity {one.name}": found.sparsity}
        row[f"gflops {one.name}"] = gflops_720p(weights.spec, found.skipped)
    return row


def speed(
    weights: Weights, dense: NetworkSpec, frames: Path, rounds: int, threads: int, share: float | None = None
) -> dict[str, float]:
    """By frame, how many times slower than our cpu engine OpenVINO's dense network is; fp32, in alternation.

    Args:
        share: active pixels, 0..1, where the gradient is steepest, given to every block; None: the network's own masks.
    """
    import openvino

    engine, factors = CpuEngine(weights, threads=threads), {}
    for name, picture in images(frames).items():
        frame = np.ascontiguousarray(picture[: len(picture) & -2, : picture.shape[1] & -2]).astype(np.float32)
        with TemporaryDirectory() as folder:
            path = export(dense, frame.shape[0], frame.shape[1], Path(folder) / "dense.onnx")
            hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            request = openvino.Core().compile_model(str(path), "CPU", hints).create_infer_request()
        ours, theirs = [], []
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            engine.upscale(frame, None if share is None else steepest(frame, share, len(weights.spec.blocks)))
            between = time.perf_counter()
            request.infer([frame], share_inputs=True)
            ours.append(between - begun)
            theirs.append(time.perf_counter() - between)
        factors[name] = statistics.median(theirs[1:]) / statistics.median(ours[1:])
        print(f"{name}: ours {1e3 * statistics.median(ours[1:]):.0f} ms, {factors[name]:.2f} times", flush=True)
    return factors


def steepest(frame: Frame, share: float, blocks: int) -> Overrides:
    """The same mask for all blocks: that share of the pixels, where luma changes most."""
    luma = cv2.GaussianBlur(frame.mean(2), (3, 3), 0)
    slope = np.abs(np.gradient(luma)[0]) + np.abs(np.gradient(luma)[1])
    mask = (slope > np.quantile(slope, 1 - share)).astype(np.uint8)
    return Overrides(masks=(mask,) * blocks)


def untrained(spec: NetworkSpec) -> Weights:
    """Random numbers and no dense channels: all that time depends on is the masks."""
    tensors = {name: value.detach().numpy().copy() for name, value in MaskedNetwork(spec).named_parameters()}
    for name in tensors:
        if name.endswith("ch_mask"):
            tensors[name][..., 0] = -1
    return Weights(spec, tensors)


class _Dense(nn.Module):
    """(H, W, 3) 0..255 in, (sH, sW, 3) out, nothing skipped."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.network = MaskedNetwork(spec)

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(frame.permute(2, 0, 1)[None], None)[0]
        return out.clamp(0, 255)[0].permute(1, 2, 0)


def export(spec: NetworkSpec, height: int, width: int, path: Path) -> Path:
    """Write the network of that shape as ONNX, with random numbers: a dense runtime's time does not depend on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = torch.zeros(height, width, 3)
        torch.onnx.export(
            _Dense(spec).eval(), (frame,), str(path), dynamo=False, input_names=["frame"], opset_version=18
        )
    return path
