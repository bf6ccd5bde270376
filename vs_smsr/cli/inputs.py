"""What the user named -> which file becomes which file."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vs_smsr.errors import OptionError
from vs_smsr.media.image_files import WRITABLE
from vs_smsr.media.images import ANIMATED, FORMATS, SUFFIXES, UNREAD, Kind, is_image, kind_of, natural_suffix
from vs_smsr.media.paths import STANDARD, is_pipe
from vs_smsr.options import VideoOptions

log = logging.getLogger(__name__)

# What a search through folders and globs takes for a video; a file that is named may have any suffix.
VIDEOS = frozenset(
    {".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
KEPT_CONTAINERS = frozenset({".mp4", ".m4v", ".mov", ".mkv"})  # results keep these; others become .mkv, which holds all
WEBM_CODECS = ("vp8", "vp9", "av1")
ANIMATIONS = frozenset(suffix for suffix, form in FORMATS.items() if form in ANIMATED)


@dataclass(frozen=True)
class Job:
    """One file to make; a source or target "-" is standard input or output."""

    source: Path
    target: Path
    kind: Kind


@dataclass(frozen=True)
class _Found:
    source: Path
    folder: Path  # of the source below the folder that the user named; "." for a file
    alone: bool  # named as a file, not found by a search
    kind: Kind


def plan(inputs: Sequence[str], output: str | None, recursive: bool, label: str, options: VideoOptions) -> list[Job]:
    """Every file to make, in order.

    Without `output`, a result lies beside its source as name_<label>.ext. `output` is a file (for one input file) or
    a folder; a folder that is searched keeps its shape there. Results that would have one name are named apart. The
    result of an earlier run, told by its name, is not taken as an input beside its original: `*.png` means the same
    the second time.

    Raises:
        OptionError: a search found nothing, a target is an input, or is of the wrong kind.
    """
    once: dict[Path, _Found] = {}
    for text in inputs:
        for entry in _search(text, recursive):
            once.setdefault(entry.source, entry)
    found = [entry for entry in once.values() if not _is_result(entry, once, label)]
    out = None if output is None else _path(output)
    if out is not None and output is not None and not _is_folder(output):
        if len(found) > 1 or not found[0].alone:
            raise OptionError(f"--output: must be a folder for several inputs, got {output!r}.")
        jobs = [Job(found[0].source, out, found[0].kind)]
    else:
        jobs = _jobs(found, out, label, options)
    _check(jobs)
    return jobs


def _path(text: str) -> Path:
    """ "-" is standard input or output; a file of that name is "./-", which Path alone makes the same."""
    return Path.cwd() / "-" if text != "-" and Path(text) == STANDARD else Path(text)


def _search(text: str, recursive: bool) -> Iterable[_Found]:
    path = _path(text)
    if path == STANDARD:
        return [_Found(path, Path(), True, "video")]
    if path.is_dir():
        below = list(path.rglob("*") if recursive else path.iterdir())
        files = [(entry, entry.parent.relative_to(path)) for entry in below if _is_known(entry)]
        if unread := sorted(entry.name for entry in below if entry.suffix.lower() in UNREAD):
            log.warning("%s: %s stills of kinds that are not read are left out: %s", path, len(unread), _some(unread))
    elif glob.has_magic(text) and not os.path.lexists(path):
        matches = map(Path, glob.iglob(text, recursive=True))  # noqa: PTH207  # takes absolute patterns too
        files = [(entry, Path()) for entry in matches if _is_known(entry)]
    else:  # a file; one that is not there is reported when its turn comes, so that the others go on
        return [_Found(path, Path(), True, kind_of(path))]
    if not files:
        advice = " Search its folders too with --recursive." if path.is_dir() and not recursive else ""
        raise OptionError(f"{text}: no image or video found here.{advice}")
    return [_Found(entry, folder, False, kind_of(entry)) for entry, folder in sorted(files)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES | VIDEOS and not path.name.startswith(".") and path.is_file()


def _is_result(entry: _Found, found: Iterable[Path], label: str) -> bool:
    source = entry.source
    original = source.stem.removesuffix(f"_{label}")
    names = ((path.stem, path.name) for path in found if path.parent == source.parent)
    if original == source.stem or not any(original in pair for pair in names):
        return False
    log.log(logging.WARNING if entry.alone else logging.INFO, "%s is left out, the result of an earlier run", source)
    return True


def _is_folder(output: str) -> bool:
    path = _path(output)
    if path == STANDARD or is_pipe(path):
        return False
    return path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix


def _jobs(found: Sequence[_Found], out: Path | None, label: str, options: VideoOptions) -> list[Job]:
    """Results under names of their own: a.avi and a.mkv become a.avi_x2.mkv and a_x2.mkv."""
    suffixes = {entry.source: _suffix(entry, options) for entry in found}
    taken = {os.path.realpath(entry.source) for entry in found}
    targets: dict[Path, Path] = {}
    for entry in sorted(found, key=lambda entry: entry.source.suffix != suffixes[entry.source]):
        source = entry.source
        if out is None and (source == STANDARD or source.is_relative_to("/dev") or source.is_relative_to("/proc")):
            raise OptionError(f"--output: must be given for the input {source}, which lies in no folder.")
        folder = source.parent if out is None else out / entry.folder
        stem = "stdin" if source == STANDARD else source.stem
        stems = [
            f"{stem}_{label}",
            f"{source.name}_{label}",
            *(f"{stem}_{label}_{n}" for n in range(2, len(found) + 2)),
        ]
        names = (folder / f"{stem}{suffixes[source]}" for stem in stems)
        targets[source] = next(name for name in names if os.path.realpath(name) not in taken)
        taken.add(os.path.realpath(targets[source]))
    return [Job(entry.source, targets[entry.source], entry.kind) for entry in found]


def _suffix(entry: _Found, options: VideoOptions) -> str:
    """The ending of a result: the source's, or that of the nearest format that can be written."""
    suffix = entry.source.suffix
    if entry.kind == "image":
        if suffix.lower() in WRITABLE:
            return suffix
        if suffix.lower() == ".pbm":  # black and white become grey
            return ".pgm"
        natural = natural_suffix(entry.source)
        return natural if natural in WRITABLE else ".png"
    if entry.kind == "animation":
        return suffix if suffix.lower() in ANIMATIONS else natural_suffix(entry.source)
    webm = suffix.lower() == ".webm" and any(name in options.codec for name in WEBM_CODECS)
    return suffix if webm or suffix.lower() in KEPT_CONTAINERS else ".mkv"


def _check(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source): job.source for job in jobs if not is_pipe(job.source)}
    for job in jobs:
        real = os.path.realpath(job.target)
        if real in sources:
            raise OptionError(f"{job.target}: the result would replace the input {sources[real]}. Choose another name.")
        still = is_image(job.target) and job.target.suffix.lower() not in ANIMATIONS
        fits = {
            "image": is_image(job.target),
            "animation": not still,
            "video": not is_image(job.target) or job.target.suffix.lower() == ".gif",
        }
        if is_pipe(job.target):
            fits = {"image": False, "animation": True, "video": True}
        if job.kind == "animation" and not is_image(job.target) and natural_suffix(job.source) == ".avif":
            # FFmpeg takes its first picture for a video stream of its own, and alpha for another.
            raise OptionError(
                f"{job.target}: an animated AVIF cannot become a video. Choose .avif, .png, .webp or .gif."
            )
        if not fits[job.kind]:
            kind = {"image": "an image", "animation": "an animation", "video": "a video"}[job.kind]
            ending = "video to a pipe" if is_pipe(job.target) else job.target.suffix
            raise OptionError(f"{job.target}: {job.source} is {kind}, which cannot be written as {ending}.")
