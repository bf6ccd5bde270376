"""The cpu engine against the reference: same masks tight, end to end by flips; every set of vector instructions."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from vs_smsr.engine.contract import Overrides, Upscaled
from vs_smsr.engine.cpu import CpuEngine, arena
from vs_smsr.engine.cpu.body import bands
from vs_smsr.engine.cpu.isa import choose, supported
from vs_smsr.engine.reference import ReferenceEngine
from vs_smsr.errors import EngineError
from vs_smsr.families import smsr
from vs_smsr.families.smsr import LAYERS, MODULES
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights, load, shipped

PRECISIONS = ["fp32", "bf16"] if choose().bf16 else ["fp32"]
MOST = 0.01  # of 0..255: largest difference allowed with the same masks


def random_weights(scale: int, seed: int, dense: float | None = None) -> Weights:
    """Weights whose features stay near 1, with random channel splits (or that share of dense channels)."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in smsr.spec(scale).shapes.items():
        if name.endswith("ch_mask"):
            logits = rng.standard_normal(shape)
            if dense is not None:
                logits[..., 0] = rng.random(shape[:-1]) < dense
                logits[..., 1] = 0.5
            tensors[name] = logits.astype(np.float32)
        else:
            fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
            gain = 1 / 80 if name == "head.0.weight" else 1.4
            tensors[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)
    return Weights(smsr.spec(scale), tensors)


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) float32 0..255: a gradient, edges and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 128 + 80 * np.sin(x / 5)[..., None] * np.cos(y / 7)[..., None] + rng.normal(0, 20, (height, width, 3))
    base[height // 3 :, width // 2 :] += 60
    return np.clip(base, 0, 255).astype(np.float32)


def masks_of(kind: str, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Five masks (height, width) of a kind."""
    rng = np.random.default_rng(len(kind))
    masks = np.zeros((MODULES, height, width), np.uint8)
    if kind == "full":
        masks[:] = 1
    elif kind == "random":
        masks[:] = rng.random(masks.shape) < 0.4
    elif kind == "sparse":
        masks[:] = rng.random(masks.shape) < 0.02
    elif kind == "single":
        masks[:, height // 2, width // 2] = 1
    elif kind == "corner":
        masks[:, -1, -1] = masks[:, 0, 0] = 1
    elif kind == "last row and column":
        masks[:, -1] = 1
        masks[:, :, -1] = 1
    return tuple(masks)


KINDS = ("empty", "full", "random", "sparse", "single", "corner", "last row and column")


@pytest.mark.parametrize("isa", supported())
@pytest.mark.parametrize("kind", KINDS)
def test_same_masks_same_pixels(isa: str, kind: str) -> None:
    weights = random_weights(2, seed=3)
    frame = image(22, 34)
    state = Overrides(masks=masks_of(kind, 22, 34))
    expected = ReferenceEngine(weights).upscale(frame, state)
    got = CpuEngine(weights, isa=isa).upscale(frame, state)
    assert np.abs(got.frame - expected.frame).max() < MOST
    assert np.abs(np.subtract(got.attention, expected.attention)).max() < 1e-4
    assert got.sparsity == expected.sparsity


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bands_change_no_bit(monkeypatch: pytest.MonkeyPatch, kind: str, precision: str) -> None:
    """A high frame, whose layers keep a few rows from band to band, against itself in one band."""
    weights = random_weights(2, seed=4)
    frame, state = image(102, 14), Overrides(masks=masks_of(kind, 102, 14))
    whole = CpuEngine(weights, precision=precision).upscale(frame, state)
    monkeypatch.setattr(arena, "BAND", 0)
    engine = CpuEngine(weights, precision=precision)
    assert len(list(bands(102, arena.band_rows(engine._network, 102, 14), LAYERS))) == 5
    for _ in range(2):  # the second time what lay in the buffers is there
        banded = engine.upscale(frame, state)
        assert np.array_equal(banded.frame, whole.frame)
        assert np.array_equal(banded.attention, whole.attention)


@pytest.mark.parametrize("isa", supported())
@pytest.mark.parametrize("dense", [0.0, 0.06, 0.5, 1.0])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_channel_splits_and_scales(isa: str, dense: float, scale: int) -> None:
    weights = random_weights(scale, seed=5, dense=dense)
    frame = image(14, 26, seed=scale)
    state = Overrides(masks=masks_of("random", 14, 26))
    expected = ReferenceEngine(weights).upscale(frame, state).frame
    assert expected.shape == (14 * scale, 26 * scale, 3)
    got = CpuEngine(weights, isa=isa).upscale(frame, state).frame
    assert np.abs(got - expected).max() < MOST
    assert expected.std() > 5  # the network did something


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (3, 2), (2, 31), (33, 17), (64, 50)])
def test_end_to_end_sizes(size: tuple[int, int]) -> None:
    weights = random_weights(2, seed=7)
    frame = image(*size, seed=1)
    expected = Tiler(ReferenceEngine(weights)).upscale(frame)
    got = Tiler(CpuEngine(weights)).upscale(frame)
    assert got.frame.shape == (2 * size[0], 2 * size[1], 3)
    assert flips(got, expected) <= 1
    assert np.abs(got.frame - expected.frame).max() < MOST or flips(got, expected)


def flips(a: Upscaled, b: Upscaled) -> int:
    return sum(int((x != y).sum()) for x, y in zip(a.masks, b.masks, strict=True))


def test_real_picture_flips_at_most_one_mask_pixel_in_10_000(shared: Path) -> None:
    import cv2

    frame = cv2.imread(str(shared / "data/bench/bunny.png"))[:180, :320, ::-1].astype(np.float32)
    weights = load(shipped(2))
    expected = ReferenceEngine(weights).upscale(np.ascontiguousarray(frame))
    got = CpuEngine(weights).upscale(np.ascontiguousarray(frame))
    assert flips(got, expected) <= 5 * 180 * 320 / 10_000
    given = CpuEngine(weights).upscale(np.ascontiguousarray(frame), Overrides(masks=expected.masks))
    assert np.abs(given.frame - expected.frame).max() < MOST


def test_given_attention_is_used() -> None:
    weights = random_weights(2, seed=9)
    frame = image(16, 16)
    attention = tuple(np.full(64, 0.1 * k, np.float32) for k in range(MODULES))
    state = Overrides(attention=attention)
    expected = ReferenceEngine(weights).upscale(frame, state)
    got = CpuEngine(weights).upscale(frame, state)
    assert np.array_equal(got.attention, attention)
    assert np.abs(got.frame - expected.frame).max() < MOST or flips(got, expected)
    assert np.abs(got.frame - CpuEngine(weights).upscale(frame).frame).max() > 0.1


def test_bits_do_not_depend_on_threads_or_on_earlier_frames() -> None:
    weights = random_weights(2, seed=11)
    frame = image(40, 62)
    expected = CpuEngine(weights, threads=1).upscale(frame).frame
    engine = CpuEngine(weights, threads=3)
    for size in ((62, 40), (8, 8), (40, 62)):
        engine.upscale(image(*size, seed=4))
    assert np.array_equal(engine.upscale(frame).frame, expected)
    assert np.array_equal(engine.upscale(frame).frame, expected)


def test_many_frames_at_once() -> None:
    engine = CpuEngine(random_weights(2, seed=13), threads=2)
    frames = [image(20, 24, seed) for seed in range(8)]
    expected = [engine.upscale(frame).frame for frame in frames]
    results: list[np.ndarray | None] = [None] * len(frames)

    def work(i: int) -> None:
        for _ in range(3):
            results[i] = engine.upscale(frames[i]).frame

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got, want) for got, want in zip(results, expected, strict=True))


def test_results_are_new_arrays() -> None:
    engine = CpuEngine(random_weights(2, seed=15))
    first = engine.upscale(image(8, 8))
    kept = first.frame.copy(), first.masks[0].copy()
    engine.upscale(image(8, 8, seed=2))
    assert np.array_equal(first.frame, kept[0])
    assert np.array_equal(first.masks[0], kept[1])


def test_a_dense_tie_counts_as_dense() -> None:
    weights = random_weights(2, seed=17)
    for module in range(MODULES):
        weights.tensors[f"body.{module}.body.ch_mask"][:, :, LAYERS - 2] = 0.25
    frame, state = image(12, 12), Overrides(masks=masks_of("empty", 12, 12))
    got = CpuEngine(weights).upscale(frame, state).frame
    assert np.abs(got - ReferenceEngine(weights).upscale(frame, state).frame).max() < MOST


def test_unknown_instruction_set() -> None:
    with pytest.raises(EngineError, match="instruction set must be one of"):
        CpuEngine(load(shipped(2)), isa="mmx")


def test_torch_is_not_imported_to_upscale() -> None:
    code = (
        "import sys, numpy as np; from vs_smsr import Upscaler;"
        "Upscaler(engine='cpu').upscale(np.zeros((4, 6, 3), np.uint8));"
        "heavy = {'torch', 'cupy', 'av', 'vapoursynth'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
