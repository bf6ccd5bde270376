"""scripts/convert_weights.py: PyTorch checkpoints in, our format out, and what is said of files that are no SMSR."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vs_smsr.errors import WeightsError
from vs_smsr.families import smsr
from vs_smsr.network import SMSR
from vs_smsr.network.checkpoint import load_weights
from vs_smsr.weights import load

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "convert_weights.py"
OFFICIAL = REPOSITORY.parent / "shared" / "weights" / "smsr_x2_official.pt"


def convert(*arguments: Any, **keywords: Any) -> None:
    """The script's function, as the script calls it."""
    specification = importlib.util.spec_from_file_location("convert_weights", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.convert(*arguments, **keywords)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "net.pt"
    torch.save(SMSR(3).state_dict(), path)
    return path


@pytest.mark.parametrize("wrapped", ["bare", "state_dict", "model", "module."])
def test_round_trip(tmp_path: Path, checkpoint: Path, wrapped: str) -> None:
    state = torch.load(checkpoint, weights_only=True)
    if wrapped == "module.":
        torch.save({f"module.{name}": value for name, value in state.items()}, checkpoint)
    elif wrapped != "bare":
        torch.save({wrapped: state, "epoch": 3}, checkpoint)
    convert(checkpoint, tmp_path / "net.safetensors", ["licence=MIT", "note=a=b"], full=True)
    weights = load(tmp_path / "net.safetensors")
    assert weights.scale == 3
    assert (weights.metadata["licence"], weights.metadata["note"]) == ("MIT", "a=b")
    assert all(np.array_equal(weights.tensors[name], state[name].numpy()) for name in smsr.spec(3).shapes)
    convert(checkpoint, tmp_path / "half.safetensors", [])
    assert (tmp_path / "half.safetensors").stat().st_size < 2.2e6


def test_open_masks_make_the_network_the_one_without_masks(tmp_path: Path, checkpoint: Path) -> None:
    convert(checkpoint, tmp_path / "open.safetensors", [], full=True, open_masks=True)
    network, opened = SMSR(3), SMSR(3)
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    load_weights(opened, load(tmp_path / "open.safetensors"))
    x = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        result = opened.hard_forward(x)
        assert all(mask.min() == 1 for mask in result.masks)
        torch.testing.assert_close(result.out, network(x)[0], rtol=1e-4, atol=1e-2)
        assert (network.hard_forward(x).out - result.out).abs().max() > 0.1  # its own masks leave something out


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs ../shared: the authors' weights")
def test_official_file_with_cuda_storages_converts_without_a_gpu(tmp_path: Path) -> None:
    convert(OFFICIAL, tmp_path / "official.safetensors", [])
    weights = load(tmp_path / "official.safetensors")
    dense = [[int(weights.dense_channels(k, layer).sum()) for layer in range(4)] for k in range(5)]
    assert dense == [[24, 9, 3, 0], [16, 4, 1, 0], [16, 7, 1, 0], [3, 0, 0, 0], [14, 5, 0, 0]]


def broken(state: dict[str, torch.Tensor], how: str) -> Any:
    if how == "missing":
        del state["body.2.body.collect.bias"]
    elif how == "misshapen":
        state["head.0.weight"] = torch.zeros(64, 4, 3, 3)
    elif how == "unknown":
        state["body.5.ca.weight"] = torch.zeros(1)
    elif how == "no tail":
        del state["tail.0.weight"]
    elif how == "other scale":
        state["tail.0.weight"] = torch.zeros(3 * 64, 64, 3, 3)
    elif how == "not finite":
        state["tail.0.bias"][3] = float("nan")
    elif how == "other range":
        state["sub_mean.bias"] /= 255
    elif how == "a list":
        return [1, 2]
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"the tensor 'body\.2\.body\.collect\.bias' is missing; this is not a smsr x3 network"),
        ("misshapen", r"'head\.0\.weight' must have shape \(64, 3, 3, 3\), got \(64, 4, 3, 3\)"),
        ("unknown", r"the key 'body\.5\.ca\.weight' is not part of SMSR x3"),
        ("no tail", r"must hold a network that this version knows \(smsr x2 by 'tail\.0\.weight' \(12, 64, 3, 3\)"),
        (
            "other scale",
            r"must hold a network that this version knows .* got other tensors \('tail\.0\.weight' \(192, 64, 3, 3\)",
        ),
        ("not finite", r"'tail\.0\.bias' has values that are not finite"),
        ("other range", r"'sub_mean\.bias' must hold the DIV2K colour mean for the range 0\.\.255"),
        ("a list", r"must hold a state dict \(names -> tensors\), got list"),
    ],
)
def test_the_wrong_key_is_named(tmp_path: Path, checkpoint: Path, how: str, message: str) -> None:
    torch.save(broken(torch.load(checkpoint, weights_only=True), how), checkpoint)
    with pytest.raises(WeightsError, match=message) as caught:
        convert(checkpoint, tmp_path / "out.safetensors", [])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


class Payload:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, ("1 / 0",)


@pytest.mark.parametrize("content", [b"", b"GIF89a", pickle.dumps(Payload()), pickle.dumps({"a": 1})])
def test_other_files_are_refused_and_no_code_in_them_runs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"other\.pt must") as caught:
        convert(path, tmp_path / "out.safetensors", [])
    assert "\n" not in str(caught.value)


def test_targets_and_entries_are_checked(tmp_path: Path, checkpoint: Path) -> None:
    existing = tmp_path / "there.safetensors"
    existing.write_bytes(b"x")
    for target, entries, message in (
        (existing, [], r"exists\. Give --overwrite"),
        (tmp_path / "out.pt", [], r"must end in \.safetensors"),
        (tmp_path / "out.safetensors", ["psnr"], "must be KEY=VALUE, got 'psnr'"),
    ):
        with pytest.raises(WeightsError, match=message):
            convert(checkpoint, target, entries)
    with pytest.raises(WeightsError, match="does not exist"):
        convert(tmp_path / "none.pt", tmp_path / "out.safetensors", [])
    convert(checkpoint, existing, [], overwrite=True)
    assert load(existing).scale == 3


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"bad")
    command = [sys.executable, SCRIPT, tmp_path / "bad.pt", tmp_path / "out.safetensors"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("convert_weights: weights: ")
    assert result.stderr.count("\n") == 1
