"""Counterparts of the paper's figures: what is zero after relu, masks and channel masks, sparsities, results."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from paper.rows import ROWS, state_file, weights_file
from paper.tables import images, module, score
from vs_smsr.cli.charts import channel_chart, mask_overlay
from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.engine.interpreter import gradient_mask
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.families import GradientMask
from vs_smsr.network.baselines import AttentionBlock, Residual
from vs_smsr.tiling import Tiler
from vs_smsr.weights import load, shipped

Pixels = NDArray[np.uint8]
FRAMES = (0, 65)  # of the demo clip: two pictures that may be shown
GAP = 6


def draw(clip: Path, weights: Path, sets: list[Path], out: Path) -> list[Path]:
    """Write all figures that there are weights for; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    frames = _frames(clip)
    written = [_sparsities(sets[0], out / "sparsities.png"), *_masks(frames, out)]
    for name in ("edsr_x2", "rcan_x2"):
        if state_file(weights, name).exists():
            network = ROWS[name].module().eval()
            network.load_state_dict(torch.load(state_file(weights, name), weights_only=True))
            written += [_zeros(network, name, frames, sets[0], out), _features(network, name, frames[0], out)]
    results = {"bicubic": _enlarged(frames[0], None)} | {
        name: _enlarged(frames[0], path)
        for name in ("imdn_x4", "imdn_x4_masked_42", "srresnet_x4", "srresnet_x4_masked_52")
        if (path := weights_file(weights, name)).exists()
    }
    written.append(_write(out / "comparison.jpg", [_pane(part, name) for name, part in results.items()]))
    return written


def _frames(clip: Path) -> list[Pixels]:
    with av.open(str(clip)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), max(FRAMES) + 1)]
    return [decoded[number] for number in FRAMES]


def _sparsities(folder: Path, target: Path) -> Path:
    """Fig. VI: sparsity by SMM for x2, x3 and x4, the shipped weights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for place, scale in enumerate((2, 3, 4)):
        found = score(module(load(shipped(scale))), scale, folder)
        axes.bar(np.arange(1, 6) + 0.25 * (place - 1), found.skipped, 0.25, label=f"x{scale}")
    axes.set(xlabel="SMM", ylabel="share skipped", ylim=(0, 1), title="Sparsity by SMM, shipped weights")
    axes.legend()
    figure.savefig(target, dpi=110)
    return target


def _masks(frames: list[Pixels], out: Path) -> Iterable[Path]:
    """Fig. V and VII: masks of all SMMs on two pictures, channel masks; learned masks beside those by gradient."""
    weights = load(shipped(2))
    tiler, rows = Tiler(CpuEngine(weights)), []
    for frame in frames:
        result = tiler.upscale(frame.astype(np.float32))
        found = [mask_overlay(frame, mask) for mask in result.masks]
        rows.append(np.hstack([_pane(part, f"SMM {k}", large=1) for k, part in enumerate(found, 1)]))
    yield _write(out / "masks.jpg", [np.vstack(rows)])
    cv2.imwrite(str(out / "channel_masks.png"), channel_chart(weights)[..., ::-1])
    yield out / "channel_masks.png"
    result = tiler.upscale(frames[0].astype(np.float32))
    panes = [_pane(mask_overlay(frames[0], result.masks[1]), "learned, SMM 2")]
    by_gradient = gradient_mask(frames[0].astype(np.float32), GradientMask(threshold=8.0))
    panes.append(_pane(mask_overlay(frames[0], by_gradient), "by gradient, all SMMs"))
    yield _write(out / "learned_and_gradient.jpg", panes)


def _active(network: nn.Module, picture: Pixels) -> list[NDArray[np.float32]]:
    """(width, H, W) features after the relu of each block."""
    found: list[NDArray[np.float32]] = []

    def hook(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        found.append(output[0].relu().numpy())

    hooks = [
        block.get_submodule("conv1").register_forward_hook(hook)
        for block in network.modules()
        if isinstance(block, Residual | AttentionBlock)
    ]
    with torch.inference_mode():
        network(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float())
    for one in hooks:
        one.remove()
    return found


def _zeros(network: nn.Module, name: str, frames: list[Pixels], folder: Path, out: Path) -> Path:
    """Fig. I and II: share of zeros by channel over a set, and on two pictures."""
    from matplotlib.figure import Figure

    pictures = [imresize(crop_to_multiple(picture, 2), 1 / 2) for picture in images(folder).values()]
    shares = np.mean([[(part == 0).mean((1, 2)) for part in _active(network, one)] for one in pictures], axis=0)
    two = [(_active(network, frame)[len(shares) // 2] == 0).mean((1, 2)) for frame in frames]
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.bar(np.arange(1, len(shares) + 1), shares.mean(1))
    left.set(xlabel="block", ylabel="share of zeros", ylim=(0, 1), title=f"{name}: zeros after relu")
    order = np.argsort(two[0])
    for number, share in zip(FRAMES, two, strict=True):
        right.plot(share[order], ".-", label=f"frame {number}")
    likeness = np.corrcoef(*two)[0, 1]
    right.set(xlabel="channel, in order of the first", title=f"middle block, two pictures (correlation {likeness:.2f})")
    right.legend()
    figure.savefig(out / f"{name}_zeros.png", dpi=110)
    return out / f"{name}_zeros.png"


def _features(network: nn.Module, name: str, frame: Pixels, out: Path) -> Path:
    """Fig. IV: eight channels of the middle block, from sparse to dense."""
    middle = _active(network, frame)
    part = middle[len(middle) // 2]
    order = np.argsort((part == 0).mean((1, 2)))[:: -(len(part) // 8)][:8]
    panes = []
    for channel in order:
        values = part[channel] / max(float(np.quantile(part[channel], 0.99)), 1e-6)
        grey = (255 * values.clip(0, 1)).astype(np.uint8)[..., None].repeat(3, 2)
        panes.append(_pane(grey, f"zeros: {(part[channel] == 0).mean():.2f}"))
    return _write(out / f"{name}_features.jpg", [np.vstack([np.hstack(panes[:4]), np.hstack(panes[4:])])])


def _enlarged(frame: Pixels, weights: Path | None) -> Pixels:
    """Fig. VIII: a detail at x4, from the clip at half its size."""
    small = imresize(frame, 1 / 2)[20:76, 50:116]
    if weights is None:
        return imresize(small, 4)
    result = Tiler(CpuEngine(load(weights))).upscale(small.astype(np.float32))
    return np.rint(result.frame).clip(0, 255).astype(np.uint8)


def _pane(picture: Pixels, text: str, large: int = 1) -> Pixels:
    """With its name above and a border."""
    picture = picture.repeat(large, 0).repeat(large, 1)
    bar = np.full((22, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (3, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return np.pad(np.vstack([bar, picture]), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _write(target: Path, panes: list[Pixels]) -> Path:
    cv2.imwrite(str(target), np.hstack(panes)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return target
