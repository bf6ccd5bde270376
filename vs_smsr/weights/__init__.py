"""Weights: the shipped ones, and their file format.

A file is safetensors. Its metadata name the family, the version of the family's layout, and the network's spec as JSON;
a file without them is told by its tensors. NumPy only: engines read weights without PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vs_smsr.errors import WeightsError
from vs_smsr.families import NetworkSpec, family, guess, tails
from vs_smsr.options import AUTO

Tensors = dict[str, NDArray[np.float32]]
CLEAN, CODED = "smsr", "video"  # names of the models that "auto" takes
KINDS = "family", "version", "spec"  # of a file's metadata, beside what training wrote


@dataclass(frozen=True)
class Weights:
    """The learned numbers of one network, checked for completeness.

    Attributes:
        spec: the network that they are for.
        tensors: float32 arrays by the names of `spec.shapes`.
        metadata: where they come from (steps, PSNR, licence ...).
    Raises:
        WeightsError: a tensor is missing, has another shape, or is not finite.
    """

    spec: NetworkSpec
    tensors: Tensors
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str = "weights"

    def __post_init__(self) -> None:
        for name, shape in self.spec.shapes.items():
            if name not in self.tensors:
                raise WeightsError(
                    f"{self.source}: the tensor {name!r} is missing; this is not a {self.spec.family} x{self.scale} "
                    "network."
                )
            found = self.tensors[name]
            if found.shape != shape:
                raise WeightsError(f"{self.source}: {name!r} must have shape {shape}, got {found.shape}.")
            if not np.isfinite(found).all():
                raise WeightsError(f"{self.source}: {name!r} has values that are not finite.")

    @property
    def scale(self) -> int:
        return self.spec.scale

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """(3,) RGB 0..255, subtracted before the network."""
        return np.array(self.spec.mean, np.float32)

    def dense_channels(self, block: int, layer: int) -> NDArray[np.bool_]:
        """(outputs,) bool: True where the layer's output channel is dense (a tie counts as dense).

        Without a tensor of channel masks none is; predicted ones are the frame's, not the weights'.
        """
        part = self.spec.blocks[block]
        outputs = part.layers[layer].outputs
        if not isinstance(part.channel_mask, str):
            return np.zeros(outputs, np.bool_)
        logits = self.tensors[part.channel_mask][0, :outputs, layer]
        return logits[:, 0] >= logits[:, 1]


def load(path: Path | str) -> Weights:
    """Read a .safetensors file; half precision is widened to float32.

    Raises:
        WeightsError: no such file, not safetensors, of a family or version that this package does not know, or its
            tensors are not those of the network that it names.
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
    spec = _named(metadata, str(path)) if "family" in metadata else recognise(tensors, str(path))
    return Weights(spec, tensors, {k: v for k, v in metadata.items() if k not in KINDS}, str(path))


def _named(metadata: Mapping[str, str], source: str) -> NetworkSpec:
    """The network that a file's metadata name."""
    try:
        known, version = family(metadata["family"]), int(metadata.get("version", ""))
        if not 1 <= version <= known.version:
            raise ValueError(f"the version of {known.name} must be 1 to {known.version}, got {version}")
        spec = NetworkSpec.from_json(metadata.get("spec", ""))
    except ValueError as error:
        raise WeightsError(f"weights: {source}: {error}. A newer version of vs-smsr may read it.") from error
    return spec


def recognise(tensors: Mapping[str, NDArray[np.float32]], source: str) -> NetworkSpec:
    """The network that tensors are of.

    Raises:
        WeightsError: none that this package knows.
    """
    spec = guess({name: tensor.shape for name, tensor in tensors.items()})
    if spec is None:
        found = ", ".join(f"{name!r} {tensor.shape}" for name, tensor in list(tensors.items())[-2:]) or "none"
        raise WeightsError(
            f"weights: {source} must hold a network that this version knows ({tails()}), "
            f"got other tensors ({found} ...)."
        )
    return spec


def store(weights: Weights, path: Path | str, dtype: type[np.floating] = np.float16) -> None:
    """Write a .safetensors file that `load` reads; only the network's own tensors are kept.

    Channel masks stay float32: rounding could tie two logits and turn a sparse channel into a dense one.
    """
    from safetensors.numpy import save

    tensors = {}
    masks = {block.channel_mask for block in weights.spec.blocks}
    for name in weights.spec.shapes:
        kept = np.float32 if name in masks else dtype
        tensors[name] = np.ascontiguousarray(
            weights.tensors[name], kept
        )  # safetensors writes strided memory as it lies
    spec = weights.spec
    kinds = {"family": spec.family, "version": str(spec.version), "spec": spec.to_json(), "scale": str(spec.scale)}
    metadata = {**weights.metadata, **kinds}
    Path(path).write_bytes(save(tensors, metadata=metadata))


def suited(scale: int, lossy: bool = False) -> str:
    """Name of the shipped model that "auto" stands for.

    Args:
        scale: 2, 3 or 4.
        lossy: the source is video that was coded with loss; its damage is then undone, as far as weights for it are
            shipped at this scale.
    """
    return CODED if lossy and _path(scale, CODED).is_file() else CLEAN


def shipped(scale: int, model: str = AUTO) -> Path:
    """Path of the weights that come with the package; "auto" is what suits clean pictures.

    Raises:
        WeightsError: there are none of that name and scale; the message lists those there are.
    """
    path = _path(scale, suited(scale) if model == AUTO else model)
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise WeightsError(
            f"weights: no shipped weights {path.stem!r}; there are: {there}. Give a file with weights= or --weights."
        )
    return path


def _path(scale: int, model: str) -> Path:
    return Path(str(resources.files(__name__))) / f"{model}_x{scale}.safetensors"
