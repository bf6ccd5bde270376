"""What the user named -> which file becomes which file."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vs_smsr.errors import OptionError
from vs_smsr.media.images import SUFFIXES, is_image
from vs_smsr.options import VideoOptions

log = logging.getLogger(__name__)

# What a search through folders and globs takes for a video; a file that is named may have any suffix.
VIDEOS = frozenset(
    {".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
KEPT_CONTAINERS = frozenset({".mp4", ".m4v", ".mov", ".mkv"})  # results keep these; others become .mkv, which holds all
WEBM_CODECS = ("vp8", "vp9", "av1")


@dataclass(frozen=True)
class Job:
    """One file to make."""

    source: Path
    target: Path

    @property
    def is_image(self) -> bool:
        return is_image(self.source)


@dataclass(frozen=True)
class _Found:
    source: Path
    folder: Path  # of the source below the folder that the user named; "." for a file
    alone: bool  # named as a file, not found by a search


def plan(inputs: Sequence[str], out: Path | None, recursive: bool, label: str, options: VideoOptions) -> list[Job]:
    """Every file to make, in order.

    Without `out`, a result lies beside its source as name_<label>.ext. `out` is a file (for one input file) or a
    folder; a folder that is searched keeps its shape there. The result of an earlier run, told by its name, is not
    taken as an input beside its original: `*.png` means the same the second time.

    Raises:
        OptionError: a search found nothing, a target is used twice or is an input, or is of the wrong kind.
    """
    once: dict[Path, _Found] = {}
    for text in inputs:
        for entry in _search(text, recursive):
            once.setdefault(entry.source, entry)
    found = [entry for entry in once.values() if not _is_result(entry, once, label)]
    if out is not None and not _is_folder(out):
        if len(found) > 1 or not found[0].alone:
            raise OptionError(f"--output: must be a folder for several inputs, got {str(out)!r}.")
        jobs = [Job(found[0].source, out)]
    else:
        jobs = [Job(entry.source, _target(entry, out, label, options)) for entry in found]
    _check(jobs)
    return jobs


def _search(text: str, recursive: bool) -> Iterable[_Found]:
    path = Path(text)
    if path.is_dir():
        below = path.rglob("*") if recursive else path.iterdir()
        files = [_Found(entry, entry.parent.relative_to(path), False) for entry in below if _is_known(entry)]
    elif glob.has_magic(text) and not path.exists():
        matches = map(Path, glob.iglob(text, recursive=True))  # noqa: PTH207  # takes absolute patterns too
        files = [_Found(entry, Path(), False) for entry in matches if _is_known(entry)]
    else:  # a file; one that is not there is reported when its turn comes, so that the others go on
        return [_Found(path, Path(), True)]
    if not files:
        advice = " Search its folders too with --recursive." if path.is_dir() and not recursive else ""
        raise OptionError(f"{text}: no image or video found here.{advice}")
    return sorted(files, key=lambda entry: entry.source)


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES | VIDEOS and not path.name.startswith(".") and path.is_file()


def _is_result(entry: _Found, found: Iterable[Path], label: str) -> bool:
    source = entry.source
    original = source.stem.removesuffix(f"_{label}")
    if original == source.stem or not any(path.parent == source.parent and path.stem == original for path in found):
        return False
    log.log(logging.WARNING if entry.alone else logging.INFO, "%s is left out, the result of an earlier run", source)
    return True


def _is_folder(out: Path) -> bool:
    return out.is_dir() or not out.suffix


def _target(entry: _Found, out: Path | None, label: str, options: VideoOptions) -> Path:
    folder = entry.source.parent if out is None else out / entry.folder
    suffix = entry.source.suffix
    if suffix.lower() not in SUFFIXES | KEPT_CONTAINERS:
        webm = suffix.lower() == ".webm" and any(name in options.codec for name in WEBM_CODECS)
        suffix = suffix if webm else ".mkv"
    return folder / f"{entry.source.stem}_{label}{suffix}"


def _check(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    targets: dict[str, Job] = {}
    for job in jobs:
        real = os.path.realpath(job.target)
        if real in sources:
            raise OptionError(f"{job.target}: the result would replace the input {sources[real]}. Choose another name.")
        if real in targets:
            both = f"{targets[real].source} and {job.source}"
            raise OptionError(f"{job.target}: would be the result of both {both}. Upscale them into different folders.")
        if job.is_image != is_image(job.target):
            kind = "an image" if job.is_image else "a video"
            raise OptionError(f"{job.target}: {job.source} is {kind}, which cannot be written as {job.target.suffix}.")
        targets[real] = job
