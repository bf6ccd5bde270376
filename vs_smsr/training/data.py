"""The training set on disk: all images in a few flat files that are memory-mapped, and random crops from them.

Beside the pixels lies what the shipped x2 network makes of them: the mean square error of each square, next to that of
bicubic. A crop's worth is how much the network gains there.
"""

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
from vs_smsr.training.options import FLAT
from vs_smsr.upscaler import Upscaler

Image = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255
SIDE_MULTIPLE = 12  # sides divide by 2, 3 and 4; also the side of the squares whose errors are kept
CANDIDATES = 8  # at most so many crops of which the worthiest is taken
FILES = ("index.json", "hr.u8", "errors.f32")


@dataclass(frozen=True)
class Entry:
    """One image of the set: where its pixels lie (`offset` counts HR pixels), and where it comes from."""

    name: str
    height: int
    width: int
    offset: int
    source: str = ""
    licence: str = ""
    made: str = ""  # footage: how LR was made


class Builder:
    """Writes a training set; use as a context manager. The set is complete when the index is there."""

    def __init__(self, folder: Path, scales: Iterable[int] = SCALES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.scales = tuple(scales)
        self.entries: list[Entry] = []
        self.footage: dict[str, object] | None = None  # what a set of footage is made of, for its index
        self._pixels = 0
        (folder / "index.json").unlink(missing_ok=True)
        self._hr = (folder / "hr.u8").open("wb")
        self._lr = {scale: (folder / f"lr_x{scale}.u8").open("wb") for scale in self.scales}
        self._errors = (folder / "errors.f32").open("wb")
        self._judge = Upscaler(scale=2)

    def add(
        self, name: str, image: Image, source: str = "", licence: str = "", lr: Image | None = None, made: str = ""
    ) -> None:
        """Append one HR image and its LR versions; sides are cropped to multiples of 12.

        Args:
            name: of the picture.
            image: (H, W, 3) HR.
            source: where it comes from.
            licence: its licence.
            lr: of the set's one scale; None = MATLAB-equal bicubic for each scale.
            made: how `lr` was made.
        """
        image = np.ascontiguousarray(crop_to_multiple(image, SIDE_MULTIPLE))
        height, width = image.shape[:2]
        self._hr.write(image.tobytes())
        for scale, file in self._lr.items():
            small = imresize(image, 1 / scale) if lr is None else lr[: height // scale, : width // scale]
            file.write(small.tobytes())
        half = imresize(image, 1 / 2)
        errors = [_square_errors(guess, image) for guess in (imresize(half, 2), self._judge.upscale(half))]
        self._errors.write(np.stack(errors, -1).tobytes())
        self.entries.append(Entry(name, height, width, self._pixels, source, licence, made))
        self._pixels += height * width

    def __enter__(self) -> Builder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._hr, self._errors, *self._lr.values()):
            file.close()
        if kind is None:
            index: dict[str, object] = {"footage": self.footage} if self.footage else {}
            index |= {"scales": self.scales, "images": [asdict(entry) for entry in self.entries]}
            (self.folder / "index.json").write_text(json.dumps(index, indent=1))


def _square_errors(guess: Image, image: Image) -> NDArray[np.float32]:
    """(H, W, 3) twice -> (H / 12, W / 12) mean square errors, 0..255."""
    squares = (guess.astype(np.float32) - image) ** 2
    height, width = image.shape[:2]
    split = squares.reshape(height // SIDE_MULTIPLE, SIDE_MULTIPLE, width // SIDE_MULTIPLE, -1)
    errors: NDArray[np.float32] = split.mean((1, 3), dtype=np.float32)
    return errors


class TrainingSet:
    """A prepared folder, memory-mapped.

    Raises:
        OptionError: the folder is not a prepared training set, or lacks this scale.
    """

    def __init__(self, folder: Path, scale: int) -> None:
        for name in FILES:
            if not (folder / name).is_file():
                raise OptionError(f"data: {folder} has no {name}. Make a training set with scripts/prepare_data.py.")
        content = json.loads((folder / "index.json").read_text())
        if scale not in content["scales"]:
            raise OptionError(f"data: {folder} was prepared for scales {content['scales']}, not for {scale}.")
        self.scale = scale
        self.coded = "footage" in content
        self.entries = [Entry(**entry) for entry in content["images"]]
        self._hr = np.memmap(folder / "hr.u8", np.uint8, "r")
        self._lr = np.memmap(folder / f"lr_x{scale}.u8", np.uint8, "r")
        self._errors = np.memmap(folder / "errors.f32", np.float32, "r").reshape(-1, 2)
        areas = np.array([entry.height * entry.width for entry in self.entries], np.float64)
        self._chance = areas / areas.sum()
        self._mates: dict[tuple[str, str], list[int]] = {}  # of one picture
        for index, entry in enumerate(self.entries):
            self._mates.setdefault((entry.source, entry.name), []).append(index)

    def pair(self, index: int) -> tuple[Image, Image]:
        """(LR, HR) of one image, views of the mapped files."""
        entry, s = self.entries[index], self.scale
        size = entry.height * entry.width * 3
        hr = self._hr[entry.offset * 3 : entry.offset * 3 + size].reshape(entry.height, entry.width, 3)
        start = entry.offset * 3 // (s * s)
        lr = self._lr[start : start + size // (s * s)].reshape(entry.height // s, entry.width // s, 3)
        return lr, hr

    def errors(self, index: int) -> NDArray[np.float32]:
        """(H / 12, W / 12, 2) mean square errors of one image's squares: bicubic's and the shipped network's."""
        entry, cell = self.entries[index], SIDE_MULTIPLE
        start = entry.offset // cell**2
        rows, columns = entry.height // cell, entry.width // cell
        return self._errors[start : start + rows * columns].reshape(rows, columns, 2)

    def crops(self, rng: np.random.Generator, count: int, patch: int) -> tuple[Image, Image]:
        """Random crops, flipped and turned at random. Of one to eight candidates the one is taken where the shipped
        network gains the most dB over bicubic: edges and patterns, rather than noise and foliage that nothing restores.
        Candidates of a set of footage are of one picture, else drawings would push out photographs.
        Colours are exchanged and enhanced at random, unless they have been coded.

        Returns:
            (count, patch, patch, 3) LR and (count, s * patch, s * patch, 3) HR, uint8.
        """
        pairs = [self._crop(rng, patch) for _ in range(count)]
        return np.stack([lr for lr, _ in pairs]), np.stack([hr for _, hr in pairs])

    def _crop(self, rng: np.random.Generator, patch: int) -> tuple[Image, Image]:
        s = self.scale
        candidates: list[tuple[float, int, int, int]] = []
        mates: list[int] = []
        for _ in range(rng.integers(1, CANDIDATES + 1)):
            index = int(rng.choice(mates) if mates else rng.choice(len(self.entries), p=self._chance))
            entry = self.entries[index]
            if self.coded:
                mates = self._mates[entry.source, entry.name]
            top, left = (int(rng.integers(side // s - patch + 1)) for side in (entry.height, entry.width))
            rows, columns = (slice(s * at // SIDE_MULTIPLE, s * (at + patch) // SIDE_MULTIPLE) for at in (top, left))
            bicubic, network = self.errors(index)[rows, columns].mean((0, 1)) + FLAT
            candidates.append((bicubic / network, index, top, left))
        _, index, top, left = max(candidates)
        lr, hr = self.pair(index)
        small = lr[top : top + patch, left : left + patch]
        large = hr[s * top : s * (top + patch), s * left : s * (left + patch)]
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        if flip:
            small, large = small[:, ::-1], large[:, ::-1]
        if not self.coded:
            small, large = recolour(rng, small, large)
        return np.rot90(small, turns), np.rot90(large, turns)


def recolour(rng: np.random.Generator, small: Image, large: Image) -> tuple[Image, Image]:
    """Exchange the channels, and for every other crop enhance the saturation, up to twice: photographs have few strong
    colours, whose edges luma hardly shows. Both are linear: LR stays what HR gives, but for rounding and the 2 % of the
    values that may be clipped."""
    order = rng.permutation(3)
    small, large = small[..., order], large[..., order]
    strength = 1 + rng.random()
    if rng.integers(2):
        grey = large.mean(-1, keepdims=True, dtype=np.float32)
        colour = large - grey
        room = np.where(colour > 0, 255 - grey, grey) / np.maximum(np.abs(colour), 1)
        room[np.abs(colour) < 1] = np.inf  # nearly grey: white and black stay in range
        strength = max(1.0, min(strength, float(np.quantile(room, 0.02, method="higher"))))
        small, large = (_saturate(image, strength) for image in (small, large))
    return small, large


def _saturate(image: Image, strength: float) -> Image:
    grey = image.mean(-1, keepdims=True, dtype=np.float32)
    return (grey + strength * (image - grey)).round().clip(0, 255).astype(np.uint8)
