"""Processes of a dask cluster for tests: a scheduler, workers and clients, whose engine repeats pixels."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FRAMES, CHUNK = 64, 4
ENGINE = "--resources", "ENGINE=1"
LIMIT = 180  # seconds for anything
# What workers and client run: pixels are repeated, slowly, and each frame leaves a letter in $COMPUTED.
PROGRAM = """
import os, time
from media_zoo import command
from vs_smsr import cli, engine

class Counting(command.PixelRepeater):
    def upscale(self, frame, overrides=None):
        if frame.any():
            if os.path.exists(os.environ["COMPUTED"] + ".deadly"):
                os._exit(1)
            time.sleep(0.1)
            with open(os.environ["COMPUTED"], "a") as log:
                log.write("x")
        return super().upscale(frame, overrides)

engine.create = lambda options: Counting(command.load(options.weights or command.shipped(options.scale)))
if __name__ == "__main__":
    cli.main()
"""
OTHER = (
    "import importlib.metadata as m; real = m.version; m.version = lambda name: '1.0' if name == 'av' else real(name)"
)


@dataclass
class Site:
    """A folder in which a client, a scheduler and workers run, all in processes of their own."""

    path: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.path / "program.py").write_text(PROGRAM)
        (self.path / "other.py").write_text(OTHER)
        places = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), str(self.path)])
        self.environment = os.environ | {"PYTHONPATH": places, "COMPUTED": str(self.computed)}

    @property
    def computed(self) -> Path:
        return self.path / "computed"

    def start(self, *command: object, folder: str = ".") -> subprocess.Popen[str]:
        log = (self.path / f"log-{len(self.running)}.txt").open("w")
        with log:
            process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                cwd=self.path / folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        """All that it has printed so far."""
        return (self.path / f"log-{self.running.index(process)}.txt").read_text()

    def upscale(self, *arguments: object, source: str = "source.mkv") -> subprocess.Popen[str]:
        small = "--chunk-frames", CHUNK, "--temporal-tile", CHUNK, "--preset", "ultrafast"
        return self.start("program.py", "upscale", source, *small, *arguments)

    def scheduler(self, protocol: str = "tcp") -> tuple[subprocess.Popen[str], str]:
        """A scheduler and its address."""
        process = self.start(
            "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", 0, "--dashboard-address", ":0",
            "--protocol", protocol,
        )  # fmt: skip
        found: list[str] = []
        told = rf"Scheduler at: +({protocol}://\S+)"
        until(lambda: found.extend(re.findall(told, self.said(process))) or found, process)
        return process, found[0]

    def worker(
        self, address: str, *options: object, preload: str = "program", nanny: bool = False
    ) -> subprocess.Popen[str]:
        """A worker that is registered; with a nanny the process that is returned is that one's."""
        (self.path / "workers").mkdir(exist_ok=True)
        process = self.start(
            "-m", "distributed.cli.dask_worker", address, "--nthreads", 1, "--no-dashboard",
            "--nanny" if nanny else "--no-nanny", "--preload", preload,
            "--local-directory", self.path / "workers", *options, folder="workers",
        )  # fmt: skip
        until(lambda: "Registered to" in self.said(process), process)
        return process

    def stop(self) -> None:
        for process in self.running:
            with_group(process, signal.SIGKILL)
            process.wait(LIMIT)


def with_group(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def until(happened: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Wait for it, while the process runs."""
    end = time.monotonic() + LIMIT
    while not happened():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
