"""`vs-smsr doctor` on the pieces of a VapourSynth set-up: each one that is missing, and a command that mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vs_smsr.cli import scripts
from vs_smsr.cli.scripts import Piece, pieces

BIN = Path(sys.executable).parent


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account in which VapourSynth was never configured, and no environment is activated."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    outside = [part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "vspipe").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(outside))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return tmp_path


def found(name: str) -> Piece:
    return next(piece for piece in pieces() if piece.name == name)


def test_everything_is_here(fresh: Path) -> None:
    subprocess.run([BIN / "vapoursynth", "config"], capture_output=True, check=True)
    needed = [piece for piece in pieces() if piece.needed]
    assert [piece.name for piece in needed] == ["VapourSynth", "vspipe"]
    assert all(piece.here and not piece.mend for piece in needed)


def test_the_command_for_vspipe_without_a_python_mends_it(fresh: Path) -> None:
    before = found("vspipe")
    assert not before.here
    assert before.found == "it has not been told which Python runs scripts"
    subprocess.run(before.mend, shell=True, capture_output=True, check=True)
    assert found("vspipe").here


def test_another_python_is_told(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([BIN / "vapoursynth", "config"], capture_output=True, check=True)
    monkeypatch.setattr(scripts, "SCRIPT", "raise ModuleNotFoundError(\"No module named 'vs_smsr'\")")
    piece = found("vspipe")
    assert (piece.here, piece.found) == (False, "it runs scripts in another Python, without vs-smsr")
    assert piece.mend.endswith("vapoursynth config")


def test_packages_that_are_missing_have_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"vapoursynth": "80"}
    monkeypatch.setattr(scripts, "_version", versions.get)
    monkeypatch.setattr(scripts, "_vspipe", lambda: Piece("vspipe", True, "here"))
    missing = {piece.name: piece.mend for piece in pieces() if not piece.here}
    assert set(missing) == {"source filter", "previewer", "vs-jetpack"}
    assert missing["source filter"].endswith("install vapoursynth-bestsource")
    assert missing["previewer"].endswith("install vsview")
    assert missing["vs-jetpack"].endswith("install 'vs-smsr[jetpack]'")


@pytest.mark.parametrize(("version", "text"), [(None, "not installed"), ("73", "R73, at least R74 is needed")])
def test_vapoursynth_itself(version: str | None, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "_version", lambda package: version)
    (piece,) = pieces()
    assert (piece.here, piece.needed, piece.found) == (False, True, text)
    assert piece.mend.endswith("install vapoursynth")


def test_no_vspipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts.shutil, "which", lambda name, path: None)
    piece = found("vspipe")
    assert (piece.here, piece.found) == (False, "not found")
    assert piece.mend.endswith("--force-reinstall vapoursynth")
