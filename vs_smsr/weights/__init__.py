"""Weights of SMSR: the shipped ones, and their file format (safetensors, the parameter names of the paper's authors).

NumPy only: engines read weights without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vs_smsr.errors import WeightsError

CHANNELS = 64
MODULES = 5  # sparse mask modules (SMM)
LAYERS = 4  # masked 3x3 convolutions in an SMM
MASK_CHANNELS = 16
ATTENTION_CHANNELS = 4
MEAN = np.array([0.4488, 0.4371, 0.4040], np.float32) * 255  # RGB mean of DIV2K, 0..255, subtracted before the network

Tensors = dict[str, NDArray[np.float32]]


def shapes(scale: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every learned tensor of SMSR at this scale; convolutions are (out, in, height, width)."""
    c, m, a = CHANNELS, MASK_CHANNELS, ATTENTION_CHANNELS

    def entries() -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from _convolution("head.0", c, 3, 3)
        yield from _convolution("head.2", c, c, 3)
        for k in range(MODULES):
            yield from _convolution(f"body.{k}.spa_mask.0", m, c, 3)
            yield from _convolution(f"body.{k}.spa_mask.3", m, m, 3)
            yield f"body.{k}.spa_mask.5.weight", (m, 2, 3, 3)  # transposed: (in, out, height, width)
            yield f"body.{k}.spa_mask.5.bias", (2,)
            yield f"body.{k}.body.ch_mask", (1, c, LAYERS, 2)
            for layer in range(LAYERS):
                yield f"body.{k}.body.body.{layer}.weight", (c, c, 3, 3)
            yield from _convolution(f"body.{k}.body.collect", c, LAYERS * c, 1)
            yield from _convolution(f"body.{k}.ca.conv_du.0", a, c, 1)
            yield from _convolution(f"body.{k}.ca.conv_du.2", c, a, 1)
        yield from _convolution("collect.0", c, MODULES * c, 1)
        yield from _convolution("collect.2", c, c, 3)
        yield from _convolution("tail.0", 3 * scale * scale, c, 3)

    return dict(entries())


def _convolution(name: str, out: int, into: int, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into, size, size)
    yield f"{name}.bias", (out,)


@dataclass(frozen=True)
class Weights:
    """The learned numbers of one SMSR network, checked for completeness.

    Attributes:
        scale: 2, 3 or 4.
        tensors: float32 arrays by the names of `shapes(scale)`.
        metadata: where they come from (steps, PSNR, licence ...).
    Raises:
        WeightsError: a tensor is missing, has another shape, or is not finite.
    """

    scale: int
    tensors: Tensors
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str = "weights"

    def __post_init__(self) -> None:
        for name, shape in shapes(self.scale).items():
            if name not in self.tensors:
                raise WeightsError(
                    f"{self.source}: the key {name!r} is missing; this is not an SMSR x{self.scale} checkpoint."
                )
            found = self.tensors[name]
            if found.shape != shape:
                raise WeightsError(f"{self.source}: {name!r} must have shape {shape}, got {found.shape}.")
            if not np.isfinite(found).all():
                raise WeightsError(f"{self.source}: {name!r} has values that are not finite.")

    def dense_channels(self, module: int, layer: int) -> NDArray[np.bool_]:
        """(64,) bool: True where the layer's output channel is dense (a tie counts as dense)."""
        logits = self.tensors[f"body.{module}.body.ch_mask"][0, :, layer]
        return logits[:, 0] >= logits[:, 1]


def scale_of(tensors: Mapping[str, NDArray[np.float32]], source: str) -> int:
    """The scale that the tail's shape tells: 2, 3 or 4.

    Raises:
        WeightsError: there is no tail, or not 3 * scale * scale output channels.
    """
    if "tail.0.weight" not in tensors:
        raise WeightsError(f"{source}: the key 'tail.0.weight' is missing; this is not an SMSR checkpoint.")
    outputs = tensors["tail.0.weight"].shape[0]
    for scale in (2, 3, 4):
        if outputs == 3 * scale * scale:
            return scale
    raise WeightsError(f"{source}: 'tail.0.weight' must have 12, 27 or 48 outputs (x2, x3, x4), got {outputs}.")


def load(path: Path | str) -> Weights:
    """Read a .safetensors file; half precision is widened to float32.

    Raises:
        WeightsError: no such file, not safetensors, or not SMSR (names the first wrong key).
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights: {path} does not exist.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        advice = "Convert a PyTorch checkpoint with scripts/convert_weights.py."
        raise WeightsError(f"weights: {path} is not a safetensors file ({error}). {advice}") from error
    return Weights(scale_of(tensors, str(path)), tensors, metadata, str(path))


def store(weights: Weights, path: Path | str, dtype: type[np.floating] = np.float16) -> None:
    """Write a .safetensors file that `load` reads; only the network's own tensors are kept.

    Channel masks stay float32: rounding could tie two logits and turn a sparse channel into a dense one.
    """
    from safetensors.numpy import save

    tensors = {}
    for name in shapes(weights.scale):
        kept = np.float32 if name.endswith("ch_mask") else dtype
        tensors[name] = np.ascontiguousarray(
            weights.tensors[name], kept
        )  # safetensors writes strided memory as it lies
    metadata = {**weights.metadata, "format": "smsr", "scale": str(weights.scale)}
    Path(path).write_bytes(save(tensors, metadata=metadata))


def shipped(scale: int, model: str = "smsr") -> Path:
    """Path of the weights that come with the package.

    Raises:
        WeightsError: there are none of that name and scale; the message lists those there are.
    """
    folder = Path(str(resources.files(__name__)))
    path = folder / f"{model}_x{scale}.safetensors"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.safetensors"))) or "none"
        raise WeightsError(
            f"weights: no shipped weights {path.stem!r}; there are: {there}. Give a file with weights= or --weights."
        )
    return path
