"""What VapourSynth scripts need: is each piece here, and what command brings it?"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

LEAST = 74  # VapourSynth release that comes as a wheel with plugins
SCRIPT = "import vapoursynth as vs\nimport vs_smsr\nvs.core.std.BlankClip(length=1).set_output()\n"
PATIENCE = 60  # seconds for a script that does nothing


@dataclass(frozen=True)
class Piece:
    """One piece of the set-up.

    Attributes:
        name: of the piece.
        here: it is there and works.
        found: which one it is, or what is wrong.
        mend: command that brings or mends it; empty where it is here.
        needed: scripts do not run without it.
    """

    name: str
    here: bool
    found: str
    mend: str = ""
    needed: bool = True


def pieces() -> Iterator[Piece]:
    """All of them; each is looked at when it is asked for."""
    version = _version("vapoursynth")
    if version is None or not version.split(".")[0].isdecimal() or int(version.split(".")[0]) < LEAST:
        found = f"R{version}, at least R{LEAST} is needed" if version else "not installed"
        yield Piece("VapourSynth", False, found, _pip("vapoursynth"))
        return
    yield Piece("VapourSynth", True, f"R{version}")
    yield _vspipe()
    yield _plugin("source filter", "vapoursynth-bestsource", "bestsource")
    yield _plugin("previewer", "vsview", "vsview", "vspreview")
    yield _plugin("vs-jetpack", "vs-smsr[jetpack]", "vsjetpack")


def _vspipe() -> Piece:
    """vspipe is a program of its own, which must be told once in which Python scripts run."""
    folder = Path(sys.executable).parent
    program = shutil.which("vspipe", path=os.pathsep.join([str(folder), os.environ.get("PATH", "")]))
    if program is None:
        return Piece("vspipe", False, "not found", _pip("--force-reinstall", "vapoursynth"))
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "check.vpy"
        script.write_text(SCRIPT, encoding="utf-8")
        command = [program, "--info", str(script), "-"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Piece("vspipe", False, f"{program} does not run: {error}", _pip("--force-reinstall", "vapoursynth"))
    if run.returncode == 0:
        return Piece("vspipe", True, program)
    said = run.stderr.strip().splitlines() or ["it says nothing"]
    if "No module named 'vs_smsr'" in run.stderr:
        return Piece("vspipe", False, "it runs scripts in another Python, without vs-smsr", _config(folder))
    if "VSScript" in run.stderr:
        return Piece("vspipe", False, "it has not been told which Python runs scripts", _config(folder))
    return Piece("vspipe", False, said[-1], _config(folder))


def _plugin(name: str, wanted: str, *packages: str) -> Piece:
    """A piece that is good to have: any of the packages, by the name of a module or of a VapourSynth plugin."""
    for package in packages:
        version = _version(package) or _version(f"vapoursynth-{package}")
        if version is not None:
            return Piece(name, True, f"{package} {version}", needed=False)
    return Piece(name, False, "none", _pip(wanted), needed=False)


def _config(folder: Path) -> str:
    name = "vapoursynth.exe" if sys.platform == "win32" else "vapoursynth"
    return f"{shlex.quote(str(folder / name))} config"


def _pip(*arguments: str) -> str:
    """The command that installs into this environment, with uv where pip is not part of it."""
    if util.find_spec("pip"):
        return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, *arguments])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
