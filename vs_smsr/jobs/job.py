"""A long video from Python, step by step: plan it, make its chunks wherever its folder can be seen, join them."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Self

from vs_smsr import engine as engines
from vs_smsr.errors import OptionError
from vs_smsr.jobs.beginning import begin
from vs_smsr.jobs.choosing import choose
from vs_smsr.jobs.chunks import Maker
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.jobs.joining import finish
from vs_smsr.jobs.long import in_chunks
from vs_smsr.jobs.report import Report
from vs_smsr.jobs.video import check_target
from vs_smsr.options import IN_ORDER, IN_ORDER_REUSE, EngineOptions, JobOptions, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

TILING = TilingOptions(attention=IN_ORDER, reuse=IN_ORDER_REUSE)


def plan(
    source: Path | str,
    target: Path | str,
    *,
    engine: EngineOptions = EngineOptions(),  # noqa: B008  # frozen, as those below
    tiling: TilingOptions = TILING,
    video: VideoOptions = VideoOptions(),  # noqa: B008
    chunk_frames: int = JobOptions.chunk_frames,
    folder: Path | str | None = None,
) -> Job:
    """Write a job down, or find the same one where it was left.

    Args:
        source: a video file. target: MKV, MP4, MOV or WebM.
        chunk_frames: frames in a chunk, rounded up to whole temporal tiles.
        folder: of the job; None: beside the target.

    Raises:
        OptionError: the video is not made in chunks: it is too short, or its container or encoder do not allow it.
        JobError: the folder holds another job, or somebody is working on it.
        MediaError, EngineError, WeightsError: the source cannot be read, or the engine does not work here.
    """
    source, target = Path(source), Path(target)
    options = JobOptions(chunk_frames=chunk_frames, folder=None if folder is None else Path(folder))
    if not in_chunks(source, target, video, options):
        raise OptionError(f"plan: {source} is not made in chunks as {target.name}. Use Upscaler or the CLI for it.")
    there = JobFolder(options.folder or JobFolder.of(target))
    there.clear_rest()
    if not there.begun:
        check_target(source, target, video)
    engine = choose(engine, source, video)
    tiler = Tiler(engines.create(engine), tiling)
    with there:
        begin(there, source, target, tiler, engine, video, options)
    return Job(there.path)


class Job:
    """A job in its folder. As a context manager it closes the source at the end.

    Several processes may make chunks of one job at the same time, each another one.

    Args:
        folder: that `plan` has made, or `vs-smsr upscale --prepare-job`.
        device, threads, memory: for the work here, see `EngineOptions` and `TilingOptions`; None: as it was planned.

    Raises:
        JobError: it is no job's folder, or damaged.
    """

    def __init__(
        self, folder: Path | str, *, device: str | None = None, threads: int | None = None, memory: int | None = None
    ) -> None:
        self.folder = Path(folder)
        self._folder = JobFolder(self.folder)
        self._manifest = self._folder.manifest()
        self._engine = self._manifest.engine_options(device, threads)
        self._tiling = self._manifest.tiling_options(memory or self._manifest.tiling["memory"])
        self._maker: Maker | None = None

    @property
    def network(self) -> str:
        """Name of the weights: a shipped model's, or of a file."""
        return self._engine.network

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source, if it is open."""
        if self._maker:
            self._maker.close()

    def missing(self) -> list[int]:
        """Numbers of the chunks to make, rising; none: they can be joined.

        Where a file does not tell how long it is, more may be missing once these are made.
        """
        done, ending = self._folder.chunks(), self._folder.ending()
        frames = ending.frames if ending else self._manifest.expected or 0
        found = [number for number in range(-(-frames // self._manifest.chunk)) if number not in done]
        return found if found or ending else [max(done, default=-1) + 1]

    def make(self, number: int) -> int:
        """Make a chunk unless it is there.

        Chunks are best made in order, for then the source is decoded once.

        Args:
            number: counted from 0.

        Returns:
            Its frames; 0: the source ends before it.
        Raises:
            JobError: the engine, the weights or a library is another one than where the job was planned; names it.
            SmsrError: the source cannot be read, or the engine failed.
        """
        if self._folder.chunk(number) is None:
            if not self._maker:
                self._maker = Maker(self._folder, self._manifest, Tiler(engines.create(self._engine), self._tiling))
            self._maker.make_one(number)
        done = self._folder.chunk(number)
        return done.tally.frames if done else 0

    def join(self) -> Report:
        """Put the chunks together under the target's name, with all else of the source, and remove the folder.

        Raises:
            JobError: chunks are missing, names them; or somebody else is working on it.
            MediaError: the target cannot be written.
        """
        self.close()
        start = perf_counter()
        with self._folder as folder:
            return finish(folder, start)
