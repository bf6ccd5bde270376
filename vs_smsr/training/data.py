"""The training set on disk: all images in a few flat files that are memory-mapped, and random crops from them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vs_smsr.errors import OptionError
from vs_smsr.evaluation.bicubic import crop_to_multiple, imresize
from vs_smsr.options import SCALES

Image = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255
SIDE_MULTIPLE = 12  # sides divide by 2, 3 and 4


@dataclass(frozen=True)
class Entry:
    """One image of the set: where its pixels lie (`offset` counts HR pixels), and where it comes from."""

    name: str
    height: int
    width: int
    offset: int
    source: str = ""
    licence: str = ""


class Builder:
    """Writes a training set; use as a context manager. The set is complete when the index is there."""

    def __init__(self, folder: Path, scales: Iterable[int] = SCALES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.scales = tuple(scales)
        self.entries: list[Entry] = []
        self._pixels = 0
        (folder / "index.json").unlink(missing_ok=True)
        self._hr = (folder / "hr.u8").open("wb")
        self._lr = {scale: (folder / f"lr_x{scale}.u8").open("wb") for scale in self.scales}

    def add(self, name: str, image: Image, source: str = "", licence: str = "") -> None:
        """Append one HR image and its bicubic LR versions; sides are cropped to multiples of 12."""
        image = np.ascontiguousarray(crop_to_multiple(image, SIDE_MULTIPLE))
        height, width = image.shape[:2]
        self._hr.write(image.tobytes())
        for scale, file in self._lr.items():
            file.write(imresize(image, 1 / scale).tobytes())
        self.entries.append(Entry(name, height, width, self._pixels, source, licence))
        self._pixels += height * width

    def __enter__(self) -> Builder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._hr, *self._lr.values()):
            file.close()
        if kind is None:
            index = {"scales": self.scales, "images": [asdict(entry) for entry in self.entries]}
            (self.folder / "index.json").write_text(json.dumps(index, indent=1))


class TrainingSet:
    """A prepared folder, memory-mapped.

    Raises:
        OptionError: the folder is not a prepared training set, or lacks this scale.
    """

    def __init__(self, folder: Path, scale: int) -> None:
        index = folder / "index.json"
        if not index.is_file():
            raise OptionError(f"data: {folder} has no index.json. Make a training set with scripts/prepare_data.py.")
        content = json.loads(index.read_text())
        if scale not in content["scales"]:
            raise OptionError(f"data: {folder} was prepared for scales {content['scales']}, not for {scale}.")
        self.scale = scale
        self.entries = [Entry(**entry) for entry in content["images"]]
        self._hr = np.memmap(folder / "hr.u8", np.uint8, "r")
        self._lr = np.memmap(folder / f"lr_x{scale}.u8", np.uint8, "r")
        areas = np.array([entry.height * entry.width for entry in self.entries], np.float64)
        self._chance = areas / areas.sum()

    def pair(self, index: int) -> tuple[Image, Image]:
        """(LR, HR) of one image, views of the mapped files."""
        entry, s = self.entries[index], self.scale
        size = entry.height * entry.width * 3
        hr = self._hr[entry.offset * 3 : entry.offset * 3 + size].reshape(entry.height, entry.width, 3)
        start = entry.offset * 3 // (s * s)
        lr = self._lr[start : start + size // (s * s)].reshape(entry.height // s, entry.width // s, 3)
        return lr, hr

    def crops(self, rng: np.random.Generator, count: int, patch: int) -> tuple[Image, Image]:
        """Random crops, flipped and turned at random; of two candidates the one with more contrast is taken.

        Returns:
            (count, patch, patch, 3) LR and (count, s * patch, s * patch, 3) HR, uint8.
        """
        pairs = [self._crop(rng, patch) for _ in range(count)]
        return np.stack([lr for lr, _ in pairs]), np.stack([hr for _, hr in pairs])

    def _crop(self, rng: np.random.Generator, patch: int) -> tuple[Image, Image]:
        s = self.scale
        candidates = []
        for _ in range(2):
            index = int(rng.choice(len(self.entries), p=self._chance))
            lr, hr = self.pair(index)
            top, left = (int(rng.integers(side - patch + 1)) for side in lr.shape[:2])
            small = lr[top : top + patch, left : left + patch]
            large = hr[s * top : s * (top + patch), s * left : s * (left + patch)]
            candidates.append((float(small.std()), small, large))
        _, small, large = max(candidates, key=lambda candidate: candidate[0])
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        if flip:
            small, large = small[:, ::-1], large[:, ::-1]
        return np.rot90(small, turns), np.rot90(large, turns)
