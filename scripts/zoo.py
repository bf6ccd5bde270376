"""Every file of a folder through `vs-smsr upscale`, judged by ffprobe against its source.

    scripts/zoo.py DIR [--json FILE] [--keep DIR] [-- OPTIONS OF vs-smsr upscale]

The engine repeats pixels, so that the media work is judged and no network runs. What differs is a fault unless a note
of the program names it; a refused file is a fault too. Exit code 1 on faults. docs/media.md says more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from media_zoo.command import Limits, run
from media_zoo.judging import faults
from media_zoo.probe import Probed, Unreadable

SCALE = 2


@dataclass
class Verdict:
    """What became of one file.

    Attributes:
        faults: what is wrong, a line each.
        named: what differs and is named in the notes.
        notes: of the program.
    """

    name: str
    frames: int = 0
    faults: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.faults:
            return f"FAULT {self.name}: {'; '.join(self.faults)}"
        named = f", {len(self.named)} named: {'; '.join(self.named)}" if self.named else ""
        return f"ok    {self.name}: {self.frames} frames{named}"


def main(command: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if command is None else command)
    options = words[words.index("--") + 1 :] if "--" in words else []
    arguments = _parser().parse_args(words[: len(words) - len(options) - ("--" in words)])
    sources = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    verdicts = []
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            verdict = judge(source, Path(folder), options, arguments.keep)
        verdicts.append(verdict)
        print(verdict, flush=True)
        if arguments.notes:
            print(*(f"        note: {note}" for note in verdict.notes), sep="\n")
    faulty = sum(bool(verdict.faults) for verdict in verdicts)
    print(f"{len(verdicts)} files, {sum(verdict.frames for verdict in verdicts)} frames, {faulty} files with faults")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
    return 1 if faulty else 0


def judge(source: Path, folder: Path, options: Sequence[str] = (), keep: Path | None = None) -> Verdict:
    """Upscale one file into the folder, which is empty, and look at what came."""
    verdict = Verdict(source.name)
    report = folder / "report.json"
    done = folder / "results"
    done.mkdir()
    command = ["upscale", str(source.resolve()), "-o", str(done), "--json", str(report), *options]
    outcome = run(command, folder, Limits())
    said = outcome.stderr.strip().splitlines()
    entry = json.loads(report.read_text())[0] if report.exists() and outcome.code in (0, 1) else {}
    verdict.notes = list(entry.get("notes", []))
    made = sorted(done.iterdir())
    if outcome.code != 0 or len(made) != 1:
        verdict.faults.append(f"exit code {outcome.code}, signal {outcome.signal}: {said[-1] if said else ''}")
        return verdict
    verdict.faults += [f"printed: {line}" for line in said if not line.startswith("note: ")]
    if leftovers := sorted(path.name for path in (folder / "tmp").iterdir()):
        verdict.faults.append(f"left behind: {', '.join(leftovers)}")
    try:
        old, new = Probed(source), Probed(made[0])
        verdict.frames = new.frames
        unsaid, verdict.named = faults(old, new, SCALE, verdict.notes)
        verdict.faults += unsaid
    except Unreadable as error:
        verdict.faults.append(f"ffprobe: {error}")
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        made[0].replace(keep / made[0].name)
    return verdict


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="every file of it is upscaled")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the results there")
    parser.add_argument("--notes", action="store_true", help="print the program's notes too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
