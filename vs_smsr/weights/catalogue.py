"""What comes with the package: the shipped weights, and what their files tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

PURPOSES = {  # of models by name; weights/README.md has more
    "smsr": "images, lossless video",
    "video": "lossy video",
    "anime": "drawn animation, line art",
}
LICENCE = "MIT"  # of all that are shipped, unless a file tells another


@dataclass(frozen=True)
class Model:
    """One shipped file.

    Attributes:
        name: as `--model` takes it.
        scale: 2, 3 or 4.
        size: of the file, in bytes.
        metadata: what the file tells: steps, scores, licence ...
    """

    name: str
    scale: int
    size: int
    metadata: Mapping[str, str]

    @property
    def purpose(self) -> str:
        """What it is for, in words; empty if nobody has said."""
        return self.metadata.get("purpose", PURPOSES.get(self.name, ""))

    @property
    def licence(self) -> str:
        return self.metadata.get("licence", LICENCE)

    @property
    def psnr(self) -> float | None:
        """On Set5, dB of Y; None if the file does not tell."""
        return _number(self.metadata.get("psnr_set5"))

    @property
    def sparsity(self) -> float | None:
        """On Set5: the share of the masked work that is skipped, 0..1; None if the file does not tell."""
        return _number(self.metadata.get("sparsity_set5"))


def models(folder: Path | None = None) -> list[Model]:
    """The shipped weights by name and scale; only the heads of the files are read.

    Args:
        folder: where they lie; None: those of the package.
    """
    from safetensors import safe_open

    found = []
    for path in sorted((folder or Path(str(resources.files("vs_smsr.weights")))).glob("*_x[234].safetensors")):
        name, _, scale = path.stem.rpartition("_x")
        with safe_open(path, framework="numpy") as file:
            found.append(Model(name, int(scale), path.stat().st_size, dict(file.metadata() or {})))
    return found


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
