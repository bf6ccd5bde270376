"""A job is begun, or found to be the one that is already there."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vs_smsr.errors import JobError
from vs_smsr.jobs.folder import JobFolder, Manifest
from vs_smsr.jobs.pipeline import fit
from vs_smsr.jobs.sizing import Size, final_size
from vs_smsr.media import durable
from vs_smsr.media.chunk_writer import FORCED_KEYS, tail_of
from vs_smsr.media.encoding import encoder_threads
from vs_smsr.media.reader import Reader, VideoInfo
from vs_smsr.media.writer import Writer
from vs_smsr.options import EngineOptions, JobOptions, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

VERSIONS = ("vs-smsr", "av", "numba", "numpy")


def begin(
    folder: JobFolder,
    source: Path,
    target: Path,
    tiler: Tiler,
    engine: EngineOptions,
    options: VideoOptions,
    job: JobOptions,
    elsewhere: Mapping[str, str] | None = None,
) -> Manifest:
    """The job in the folder, begun now if there is none.

    Args:
        elsewhere: those of `made_with` that are others where the chunks are made; None: the tiler makes them.
    Raises:
        JobError: it is not the same job.
    """
    settings = _settings(source, tiler, options, job) | made_with(tiler) | dict(elsewhere or {})
    if folder.begun:
        manifest = folder.manifest()
        _compare(folder, manifest, settings, "Go on with what it was, or begin anew with --restart.")
        return manifest
    with Reader(source, options.damaged, options.deinterlace, options.range) as reader:
        chosen = _pinned(tiler, reader.info, options)
        size = _size(tiler, reader.info, chosen)
        trial = Writer(target, reader, size, chosen)  # what is wrong shows now
        trial.discard()
        manifest = Manifest(
            source=str(source.absolute()),
            target=str(target.absolute()),
            chunk=chunk_frames(job, tiler.options),
            expected=reader.info.frames,
            size=size,
            ticks=str(trial.preparation.ticks),
            settings=settings,
            engine={**_plain_fields(engine), "scale": tiler.scale, "profile": False},
            tiling=_plain_fields(tiler.options),
            video=_plain_fields(chosen),
        )
    folder.create(manifest)
    return manifest


def check_worker(folder: JobFolder, manifest: Manifest, tiler: Tiler) -> None:
    """Refuse to make chunks that would not fit the others.

    Raises:
        JobError: the engine, the weights or a library is another one than where the job was begun; names it.
    """
    _compare(folder, manifest, made_with(tiler), "Install the same here, or use the machine where it was begun.")


def _compare(folder: JobFolder, manifest: Manifest, settings: dict[str, str], advice: str) -> None:
    for name, now in settings.items():
        before = manifest.settings.get(name)
        if before != now:
            raise JobError(f"{folder.path}: this job was begun with {name} {before}, now it is {now}. {advice}")


def chunk_frames(job: JobOptions, tiling: TilingOptions) -> int:
    """Frames in a chunk: whole temporal tiles, at least as many as were asked for."""
    step = tiling.temporal_tile if tiling.has_temporal_tiles else 1
    return -(-job.chunk_frames // step) * step


def _pinned(tiler: Tiler, info: VideoInfo, options: VideoOptions) -> VideoOptions:
    """The options with all that a result's bytes depend on: nothing is left to this run's memory or processors."""
    ahead = tail_of(options.codec, options.encoder_options)
    level = fit(tiler, info, _size(tiler, info, options), options, ahead).level
    chosen = {"threads": str(encoder_threads()), **level.options}
    if options.codec in FORCED_KEYS:
        chosen["forced-idr"] = "1"
    return dataclasses.replace(options, encoder_options=chosen | options.encoder_options, overwrite=True)


def _size(tiler: Tiler, info: VideoInfo, options: VideoOptions) -> Size:
    return final_size(Size(info.width, info.height), tiler.scale, options, multiple=2)


def _settings(source: Path, tiler: Tiler, options: VideoOptions, job: JobOptions) -> dict[str, str]:
    """By name, everything of the user's that the result's bytes depend on."""
    chosen = tiler.options
    found = {
        "the source": durable.sample(source),
        "--attention": chosen.attention,
        "--reuse": chosen.reuse,
        "--temporal-tile": chosen.temporal_tile,
        "--chunk-frames": job.chunk_frames,
        "the range": options.range or "the whole",
    }
    for field in dataclasses.fields(options):
        if field.name not in ("overwrite", "range"):
            found[f"--{field.name.replace('_', '-')}"] = getattr(options, field.name)
    return {name: str(value) for name, value in found.items()}


def made_with(tiler: Tiler) -> dict[str, str]:
    """The part of it that is of the worker: all must have the same."""
    engine = tiler.engine
    found = {
        "the weights": _weights_digest(tiler),
        "--scale": str(tiler.scale),
        "--engine": engine.name,
        "--precision": engine.precision,
    }
    return found | versions()


def versions() -> dict[str, str]:
    """Of what the bytes of a chunk depend on."""
    ffmpeg = ", ".join(f"{name} {'.'.join(map(str, of))}" for name, of in sorted(av.library_versions.items()))
    return {f"version {name}": importlib.metadata.version(name) for name in VERSIONS} | {"version FFmpeg": ffmpeg}


def _weights_digest(tiler: Tiler) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tiler.engine.weights.tensors.items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensor).tobytes())
    return found.hexdigest()[:16]


def _plain_fields(options: EngineOptions | TilingOptions | VideoOptions) -> dict[str, Any]:
    """For JSON; see `Manifest`."""
    fields = {name: _plain(value) for name, value in dataclasses.asdict(options).items()}
    if isinstance(options, VideoOptions):
        fields["range"] = {name: _plain(value) for name, value in dataclasses.asdict(options.range).items()}
    return fields


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value.absolute())
    return str(value) if isinstance(value, Fraction) else value
