"""From folders of images to a training set: reads, cleans, refuses what must not be in it, says why."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vs_smsr.errors import OptionError
from vs_smsr.options import SCALES
from vs_smsr.training import cleaning
from vs_smsr.training.cleaning import Image
from vs_smsr.training.data import Builder
from vs_smsr.training.footage import Footage

log = logging.getLogger(__name__)
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}
SOURCES = "SOURCES.tsv"  # optional table beside the images: file, source, licence


@dataclass
class Report:
    """What became of the images."""

    kept: int = 0
    megapixels: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)  # reason -> images

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common()) or "none"
        return f"kept {self.kept} images, {self.megapixels:.0f} megapixels; dropped: {reasons}"


class Cleaner:
    """Decides on one image after the other; remembers what it has let through."""

    def __init__(self, benchmarks: Iterable[int] = ()) -> None:
        self._benchmarks = [*cleaning.SET5_HASHES, *benchmarks]
        self._seen: list[int] = []

    def clean(self, path: Path, keep_size: bool = False) -> Image | str:
        """The image as it goes into the set, (H, W, 3) uint8 RGB, or the reason why it does not.

        Args:
            path: an image file.
            keep_size: it is known to be sharp and undamaged at this size.
        """
        if cleaning.is_benchmark_name(path):
            return "with a benchmark's name"
        image = read(path)
        if isinstance(image, str):
            return image
        hashes = cleaning.variants(image)
        if any(cleaning.nearest(value, self._benchmarks) <= cleaning.BENCHMARK_DISTANCE for value in hashes):
            return "like a benchmark's image"
        if any(cleaning.nearest(value, self._seen) <= cleaning.DUPLICATE_DISTANCE for value in hashes):
            return "seen before"
        sized = image if keep_size else cleaning.sharp_size(image, path.suffix.lower() in cleaning.LOSSY)
        if sized is None:
            return "blurred, upscaled or too small"
        if min(sized.shape[:2]) < cleaning.LEAST_SIDE:
            return "too small"
        self._seen.append(hashes[0])
        return sized


def read(path: Path) -> Image | str:
    """(H, W, 3) uint8 RGB, or the reason why the file is of no use."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        return "unreadable"
    if image.ndim == 3 and image.shape[2] == 4:
        return "with alpha"
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        return "of another number type"
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    rgb: Image = cv2.cvtColor(image, code)
    return rgb


def benchmark_hashes(folders: Iterable[Path]) -> list[int]:
    """Perceptual hashes of all images in folders that a user names as benchmarks."""
    images = (read(path) for path in images_in(folders))
    return [cleaning.perceptual_hash(image) for image in images if not isinstance(image, str)]


def images_in(folders: Iterable[Path]) -> Iterator[Path]:
    """All image files below the folders, sorted, so that a set is made the same way twice.

    Raises:
        OptionError: a folder is not there.
    """
    for folder in folders:
        if not folder.is_dir():
            raise OptionError(f"prepare: {folder} is not a folder.")
        yield from sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def prepare(
    folders: Iterable[Path],
    target: Path,
    cleaner: Cleaner,
    clean: Iterable[Path] = (),
    accept: Callable[[Path], bool] = lambda path: True,
    progress: Callable[[Path], None] = lambda path: None,
    footage: Footage | None = None,
) -> Report:
    """Build a training set in `target` from all images below the folders.

    Args:
        folders: their images are brought to a size at which they are sharp and undamaged.
        target: folder of the set.
        cleaner: decides what gets in.
        clean: more folders, whose images keep their size.
        accept: False for files that are no pictures.
        progress: called with each file.
        footage: makes clips of the images, which it reduces and codes; None = a set of stills.

    Raises:
        OptionError: a folder is missing, or no image is left.
    """
    report = Report()
    with Builder(target, [footage.scale] if footage else SCALES) as builder:
        roots = [*((folder, True) for folder in clean), *((folder, False) for folder in folders)]
        for (root, keep_size), path in ((given, path) for given in roots for path in images_in([given[0]])):
            progress(path)
            if not accept(path):
                report.dropped["left out by pattern"] += 1
                continue
            image = cleaner.clean(path, keep_size)
            if isinstance(image, str):
                report.dropped[image] += 1
                log.info("%s: %s", path, image)
                continue
            source, licence = _provenance(root, path)
            before = len(builder.entries)
            if footage:
                for pair in footage.pairs(image):
                    builder.add(path.name, pair.hr, source, licence, pair.lr, pair.made)
            else:
                builder.add(path.name, image, source, licence)
            added = builder.entries[before:]
            if not added:
                report.dropped["too small for a frame"] += 1
                continue
            report.kept += 1
            report.megapixels += sum(entry.height * entry.width for entry in added) / 1e6
        if footage:
            builder.footage = footage.record()
        if not report.kept:
            raise OptionError(f"prepare: no image is left. {report}")
    return report


def _provenance(root: Path, path: Path) -> tuple[str, str]:
    """Source and licence from a SOURCES.tsv beside the image, else its path from the name of the given folder on."""
    return _sources(path.parent).get(path.name, (f"{root.name}/{path.relative_to(root).as_posix()}", ""))


@lru_cache
def _sources(folder: Path) -> dict[str, tuple[str, str]]:
    table = folder / SOURCES
    if not table.is_file():
        return {}
    with table.open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["file"]: (row["source"], row["licence"]) for row in rows}
