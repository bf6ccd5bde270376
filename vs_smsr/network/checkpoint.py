"""PyTorch checkpoints (.pt) and networks <-> `vs_smsr.weights.Weights`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vs_smsr.errors import WeightsError
from vs_smsr.families import smsr
from vs_smsr.network.smsr import SMSR
from vs_smsr.weights import Weights, recognise

MEAN_KEYS = {f"{name}.{part}" for name in ("sub_mean", "add_mean") for part in ("weight", "bias")}


def read_checkpoint(path: Path | str) -> Weights:
    """Read a .pt file that holds an SMSR state dict (the authors' key names), bare or under "model" or "state_dict".

    The file is unpickled with weights_only: no code in it can run.

    Raises:
        WeightsError: no such file, not a PyTorch file of tensors, or not SMSR (names the missing, misshapen or unknown
            key, or the colour mean that differs).
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights: {path} does not exist.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: the error says what matters
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle make the unpickler raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"weights: {path} must be a PyTorch file of plain tensors, got: {reason}") from error
    state = _state_dict(found, path)
    tensors = {name: value.float().numpy() for name, value in state.items()}
    spec = recognise(tensors, str(path))
    scale, expected = spec.scale, spec.shapes
    for name in tensors:
        if name not in expected and name not in MEAN_KEYS:
            raise WeightsError(f"{path}: the key {name!r} is not part of SMSR x{scale}.")
    for name, fixed in SMSR(scale).state_dict().items():
        if name in MEAN_KEYS & tensors.keys() and not np.allclose(tensors[name], fixed.numpy(), atol=1e-3):
            raise WeightsError(
                f"{path}: {name!r} must hold the DIV2K colour mean for the range 0..255, got "
                f"{tensors[name].ravel().tolist()}. Weights for another range or mean cannot be converted."
            )
    return Weights(spec, {name: tensors[name] for name in expected if name in tensors}, {}, str(path))


def _state_dict(found: object, path: Path) -> Mapping[str, Tensor]:
    """The mapping from names to tensors in what torch.load returned; "module." of DataParallel is cut off."""
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"weights: {path} must hold a state dict (names -> tensors), got {type(found).__name__}.")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def to_network(weights: Weights) -> SMSR:
    """A network in evaluation mode with these weights, float32 on the CPU."""
    network = SMSR(weights.scale)
    load_weights(network, weights)
    return network.eval()


def load_weights(network: SMSR, weights: Weights) -> None:
    """Copy weights into a network. Those of another scale give all but the tail, which is resampled to begin with."""
    state = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in weights.tensors.items()}
    if weights.scale != network.scale:
        state |= {name: _resample_tail(value, weights.scale, network.scale) for name, value in state.items()
                  if name.startswith("tail.")}  # fmt: skip
    missing, unexpected = network.load_state_dict(state, strict=False)
    left = [name for name in missing if name not in MEAN_KEYS]
    assert not left + unexpected, f"weights of a spec must fill the network: {left}, {unexpected}"


def _resample_tail(value: Tensor, scale: int, target: int) -> Tensor:
    """The tail's (3 * scale**2, ...) filters, each for a place within an enlarged pixel, at another scale's places."""
    places = value.reshape(3, scale, scale, -1).permute(0, 3, 1, 2)
    resampled = F.interpolate(places, size=(target, target), mode="bilinear", align_corners=False)
    return resampled.permute(0, 2, 3, 1).reshape(3 * target**2, *value.shape[1:])


def to_weights(
    network: nn.Module, scale: int, metadata: Mapping[str, str] | None = None, source: str = "network"
) -> Weights:
    """The learned tensors of a network, without its fixed colour means, as float32 arrays."""
    state = network.state_dict()
    tensors = {name: state[name].detach().float().cpu().numpy().copy() for name in smsr.spec(scale).shapes}
    return Weights(smsr.spec(scale), tensors, dict(metadata or {}), source)
