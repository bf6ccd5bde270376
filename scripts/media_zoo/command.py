"""`vs-smsr` run by a fork of this process: warmed up, with an engine that repeats pixels, within limits.

What is judged is the media work, so no network runs: the engine is replaced where all doors make theirs
(`engine.create`), and everything else is the program as users start it.
"""

from __future__ import annotations

import functools
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import typer

# All that a run needs, before the first fork: imports are most of what a run of a tiny file costs.
import vs_smsr.cli.upscale
import vs_smsr.jobs.image
import vs_smsr.jobs.video  # noqa: F401
from vs_smsr import engine
from vs_smsr.cli import app
from vs_smsr.engine.contract import Capabilities, Frame, Overrides, Upscaled
from vs_smsr.engine.memory import HostMemory
from vs_smsr.jobs.planes import layout_of
from vs_smsr.media.colour import BT709, Colour
from vs_smsr.options import EngineOptions
from vs_smsr.tiling import Sequence as Frames
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights, load, shipped

CRASHED = 70  # exit code of a child whose command line raised
cv2.setNumThreads(1)  # its pool would not live through a fork


class PixelRepeater:
    """An engine (see `vs_smsr.engine.contract`) that repeats each pixel scale x scale times."""

    name, device, precision, profile = "pixel-repeater", "cpu", "fp32", None
    capabilities = Capabilities(windows=False)
    memory = HostMemory(0, lambda height, width: 0)

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        blocks, width = len(self.weights.spec.blocks), self.weights.spec.width
        masks = (np.zeros(frame.shape[:2], np.uint8),) * blocks
        attention = (np.ones(width, np.float32),) * blocks
        larger = frame.repeat(self.weights.scale, axis=0).repeat(self.weights.scale, axis=1)
        return Upscaled(larger, masks, attention, (1.0,) * blocks)


@functools.cache
def _engine(scale: int) -> PixelRepeater:
    return PixelRepeater(load(shipped(scale)))


def _create(options: EngineOptions) -> PixelRepeater:
    return _engine(options.scale)


@dataclass(frozen=True)
class Limits:
    """What a run may take; the defaults are far above what any small file needs."""

    seconds: float = 60.0
    memory: int = 2 << 30


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        code: exit code; CRASHED if the command line raised; None if a signal ended it.
        signal: that ended it, or None; SIGKILL if it ran too long.
        seconds, peak: wall time and most resident bytes.
        stdout, stderr: what it printed.
    """

    code: int | None
    signal: int | None
    seconds: float
    peak: int
    stdout: bytes
    stderr: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]


def _warm_up() -> None:
    """Load what a run loads and compiles, in this process, so that its forks need not: most of their time."""
    typer.main.get_command(app.app)
    for pix_fmt in ("yuv420p", "yuv420p10le"):
        layout = layout_of(pix_fmt, Colour(BT709, full=False))
        assert layout is not None, "planes of whole codes"
        sequence = Frames(Tiler(_engine(2)))
        for _ in range(2):
            sequence.submit_picture(layout.empty(16, 16), layout)()
        sequence.upscale(np.zeros((16, 16, 3), np.float32))


_warm_up()


def run(arguments: Sequence[str], folder: Path, limits: Limits, stdin: Path | None = None) -> Outcome:
    """Run `vs-smsr ARGUMENTS` in a folder, its temporary files in the folder's "tmp"."""
    (folder / "tmp").mkdir(exist_ok=True)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _be_the_program(arguments, folder, limits, stdin, out.fileno(), err.fileno())
        status, usage = _wait(child, limits.seconds)
        seconds = time.monotonic() - start
        out.seek(0), err.seek(0)
        return Outcome(
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            seconds=seconds,
            peak=usage.ru_maxrss << 10,
            stdout=out.read(),
            stderr=err.read().decode(errors="replace"),
        )


def _wait(child: int, seconds: float) -> tuple[int, resource.struct_rusage]:
    """Wait for the child to end, and end it when its time is up."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return status, usage
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def _be_the_program(
    arguments: Sequence[str], folder: Path, limits: Limits, stdin: Path | None, out: int, err: int
) -> None:
    """Never returns."""
    code = CRASHED
    try:
        os.dup2(os.open(stdin or os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        os.chdir(folder)
        os.environ["TMPDIR"] = str(folder / "tmp")
        tempfile.tempdir = None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
        engine.create = _create
        sys.argv = ["vs-smsr", *arguments]
        code = _exit_code()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _exit_code() -> int:
    try:
        app.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
