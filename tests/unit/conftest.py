"""The program in the test's own process, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vs_smsr.cli.app import app


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


Program = Callable[..., Ended]


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Run `vs-smsr ARGUMENTS...` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments], prog_name="vs-smsr")
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture
def quick(program: Program, stand_in, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The same with an engine that repeats pixels."""
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: stand_in(options.scale))
    return program
