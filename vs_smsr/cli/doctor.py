"""What works on this machine."""

from __future__ import annotations

import platform
from importlib import metadata

from vs_smsr import __version__, engine
from vs_smsr.cli.report import say
from vs_smsr.weights import shipped

PACKAGES = (
    *("numpy", "numba", "av", "opencv-python-headless", "vapoursynth", "safetensors", "typer", "rich"),
    *("cupy-cuda12x", "cupy-cuda13x", "torch"),
)


def list_devices() -> None:
    """Print a line for each device: its name as --device takes it, and what it is or lacks."""
    for name in ("cuda", "cpu"):
        ok, reason = engine.status(name)
        say(f"{name:5} {'ok ' if ok else 'no '} {reason}")


def examine() -> bool:
    """Print engines, weights and versions; is there an engine that works?"""
    say(f"vs-smsr {__version__}, Python {platform.python_version()}, {platform.platform()}")
    say("\nengines")
    states = {name: engine.status(name) for name in engine.ENGINES}
    for name, (ok, reason) in states.items():
        say(f"  {name:10} {'works' if ok else 'does not work'}: {reason}")
    say("\nshipped weights")
    for path in sorted(shipped(2).parent.glob("*.safetensors")):
        say(f"  {path.stem}")
    say("\npackages")
    for package in PACKAGES:
        say(f"  {package:24} {_version(package)}")
    return any(ok for ok, _ in states.values())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
