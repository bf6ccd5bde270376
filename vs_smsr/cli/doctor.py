"""What works on this machine."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from vs_smsr import __version__, engine
from vs_smsr.cli.report import say
from vs_smsr.cli.scripts import pieces
from vs_smsr.engine import kernel_cache
from vs_smsr.weights import shipped

PACKAGES = (
    *("numpy", "numba", "av", "opencv-python-headless", "vapoursynth", "safetensors", "typer", "rich"),
    *("cupy-cuda12x", "cupy-cuda13x", "torch"),
)


def list_devices() -> None:
    """Print a line for each device: its name as --device takes it, and what it is or lacks."""
    for name in ("cuda", "cpu"):
        ok, reason = _status(name)
        say(f"{name:5} {'ok ' if ok else 'no '} {reason}")


def examine() -> bool:
    """Print engines, what scripts need, weights and versions; is there an engine that works?"""
    say(f"vs-smsr {__version__}, Python {platform.python_version()}, {platform.platform()}")
    say("\nengines")
    states = {name: _status(name) for name in engine.ENGINES}
    for name, (ok, reason) in states.items():
        say(f"  {name:10} {'works' if ok else 'does not work'}: {reason}")
    say("\nVapourSynth scripts")
    for piece in pieces():
        state = "works" if piece.here else "MISSING" if piece.needed else "missing (not needed)"
        say(f"  {piece.name:14} {state}: {piece.found}")
        if piece.mend:
            say(f"  {'':14} -> {piece.mend}")
    say("\nshipped weights")
    for path in sorted(shipped(2).parent.glob("*.safetensors")):
        say(f"  {path.stem}")
    say(f"\ncompiled kernels\n  {kernel_cache.folder() or 'not kept: no folder can be written'}")
    say("\npackages")
    for package in PACKAGES:
        say(f"  {package:24} {_version(package)}")
    return any(ok for ok, _ in states.values())


def _status(name: str) -> tuple[bool, str]:
    """`engine.status`; who has no such GPU is not told to install its driver."""
    ok, reason = engine.status(name)
    return ok, reason if ok or name != "cuda" or may_have_nvidia_gpu() else "no GPU for it in this machine"


def may_have_nvidia_gpu(system: str = platform.system(), root: Path = Path("/")) -> bool:
    """False where there is certainly none: on a Mac, or where Linux lists its PCI devices and none is NVIDIA's."""
    if system == "Darwin":
        return False
    devices = list((root / "sys/bus/pci/devices").glob("*/vendor"))
    if system != "Linux" or (root / "dev/dxg").exists() or any((root / "dev").glob("nvidia*")):  # dxg: in WSL
        return True
    return any(vendor.read_text().strip() == "0x10de" for vendor in devices)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
