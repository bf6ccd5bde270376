"""Damaged files through `vs-smsr upscale`: each must give a result or one line that says why not.

    scripts/fuzz.py DIR [--first NUMBER] [--count N] [--seed S] [--only NUMBER] [--save DIR] [-- OPTIONS]

DIR holds whole files, as scripts/make_zoo.py makes them. Each run is a process of its own within limits of time and
memory; the engine repeats pixels. A number and a seed name a damaged file for good: `--only` runs it again, `--save`
keeps it. Exit code 1 on faults. docs/media.md says more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from media_zoo.command import CRASHED, Limits, Outcome, run
from media_zoo.mutation import mutate
from media_zoo.probe import Unreadable, decodable

UNFORESEEN = "--log-level debug shows where"  # what the command line says with an exception that is not one of ours
PIPED = 0.5  # share of the y4m files that come through a pipe
PIPED_OUT = 0.15  # share of all files whose result goes into a pipe


@dataclass(frozen=True)
class Case:
    """A damaged file; `piped` if it comes through standard input, `piped_out` if its result is wanted there."""

    number: int
    name: str
    data: bytes
    mutation: str
    piped: bool
    piped_out: bool


@dataclass(frozen=True)
class Found:
    """How a damaged file ended: "upscaled", "upscaled with notes" or "refused", and what was wrong with that."""

    case: str
    end: str
    faults: tuple[str, ...]
    seconds: float
    peak: int


def main(command: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if command is None else command)
    options = words[words.index("--") + 1 :] if "--" in words else []
    arguments = _parser().parse_args(words[: len(words) - len(options) - ("--" in words)])
    sources = read_sources(arguments.folder)
    numbers = range(arguments.first, arguments.first + arguments.count) if arguments.only is None else [arguments.only]
    start = time.monotonic()
    ends: Counter[str] = Counter()
    slowest, largest, faulty = 0.0, 0, 0
    one = partial(_judge, sources, arguments.seed, Limits(arguments.seconds), options, arguments.save)
    with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
        for found in pool.imap_unordered(one, numbers):
            ends[found.end] += 1
            slowest, largest = max(slowest, found.seconds), max(largest, found.peak)
            faulty += bool(found.faults)
            for fault in found.faults:
                print(f"FAULT {found.case}: {fault}", flush=True)
    counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    print(f"seed {arguments.seed}: {sum(ends.values())} files: {counts}; {faulty} with faults")
    print(f"{time.monotonic() - start:.0f} s; the slowest took {slowest:.1f} s, the largest {largest / 2**20:.0f} MiB")
    return 1 if faulty else 0


def read_sources(folder: Path) -> dict[str, bytes]:
    """The whole files, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def make_case(sources: dict[str, bytes], seed: int, number: int) -> Case:
    """The same for the same arguments."""
    random = Random(f"{seed}/{number}")
    name = random.choice(list(sources))
    data, mutation = mutate(sources[name], list(sources.values()), random)
    piped = name.endswith(".y4m") and random.random() < PIPED
    return Case(number, name, data, mutation, piped, random.random() < PIPED_OUT)


def judge(case: Case, folder: Path, limits: Limits, options: Sequence[str] = ()) -> tuple[str, list[str], Outcome]:
    """Run one case in an empty folder; returns how it ended, what is wrong with that, and the outcome."""
    source, done, report = folder / "in" / case.name, folder / "results", folder / "report.json"
    source.parent.mkdir()
    done.mkdir()
    source.write_bytes(case.data)
    target = "-" if case.piped_out else str(done / "piped.mkv" if case.piped else done)
    command = ["upscale", "-" if case.piped else str(source), "-o", target, "--json", str(report), *options]
    outcome = run(command, folder, limits, source if case.piped else None)
    if outcome.code == 0 and case.piped_out:
        (done / "piped.y4m").write_bytes(outcome.stdout)
    left = sorted(path.name for path in (folder / "tmp").iterdir())
    faults = [f"left behind: {', '.join(left)}"] if left else []
    if source.read_bytes() != case.data:
        faults.append("the source was changed")
    made = sorted(done.iterdir())
    ours = ("error: ", "note: ", *["-: "] * case.piped_out)  # what else is said of a result then goes to stderr too
    other = [line for line in outcome.stderr.splitlines() if not line.startswith(ours)]
    if outcome.signal is not None:
        ran_out = outcome.signal == signal.SIGKILL and outcome.seconds >= limits.seconds
        name = f"more than {limits.seconds:.0f} s" if ran_out else signal.Signals(outcome.signal).name
        return "crashed", [*faults, f"ended by {name}"], outcome
    if outcome.code == CRASHED:
        return "crashed", [*faults, f"traceback: {other[-1] if other else ''}"], outcome
    if other:
        faults.append(f"printed: {other[0]}")
    if outcome.code == 0:
        notes = json.loads(report.read_text())[0].get("notes", [])
        faults += _of_a_result(source, made, notes, outcome)
        return "upscaled with notes" if notes else "upscaled", faults, outcome
    if len(outcome.errors) != 1:
        faults.append(f"exit code {outcome.code} with {len(outcome.errors)} error lines")
    faults += [f"unforeseen: {line}" for line in outcome.errors if UNFORESEEN in line]
    faults += [f"exit code {outcome.code}, but there is {path.name}" for path in made]
    return "refused", faults, outcome


def _of_a_result(source: Path, made: Sequence[Path], notes: Sequence[str], outcome: Outcome) -> list[str]:
    """What is wrong with a run that says it went well."""
    faults = [f"exit code 0, but: {line}" for line in outcome.errors]
    if len(made) != 1:
        return [*faults, f"exit code 0 and {len(made)} results"]
    try:
        frames = decodable(made[0])
    except Unreadable as error:
        return [*faults, f"the result cannot be read: {error}"]
    if frames == 0:
        faults.append("the result has no frame")
    if not notes:  # then it must be all of it
        try:
            there = decodable(source)
        except Unreadable:
            there = 0
        if there > frames:
            faults.append(f"{there} frames can be decoded, the result has {frames}, and no note says so")
    return faults


def _judge(
    sources: dict[str, bytes], seed: int, limits: Limits, options: Sequence[str], save: Path | None, number: int
) -> Found:
    case = make_case(sources, seed, number)
    with tempfile.TemporaryDirectory() as folder:
        end, faults, outcome = judge(case, Path(folder), limits, options)
    if save and faults:
        save.mkdir(parents=True, exist_ok=True)
        (save / f"{seed}_{number}_{case.name}").write_bytes(case.data)
    pipes = f"{', piped' if case.piped else ''}{', into a pipe' if case.piped_out else ''}"
    told = f"--seed {seed} --only {number} ({case.name}{pipes}: {case.mutation})"
    return Found(told, end, tuple(faults), outcome.seconds, outcome.peak)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="whole files, which are damaged in memory")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="how many damaged files")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="go on from there")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this one alone, as a fault names it")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the damaged files of faults there")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long one may take")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
