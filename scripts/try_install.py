"""Install each wheel or sdist into a fresh environment and use it there: scripts/try_install.py dist/* [--python EXE]

What is used: the three doors, the shipped weights and kernels, the extras' names. The checkout is out of reach.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

USE = """
import numpy as np, vapoursynth as vs
from vs_smsr import Upscaler, smsr
import cupy_kernels, vs_smsr
from pathlib import Path
assert Upscaler(device="cpu").upscale(np.zeros((8, 10, 3), np.uint8)).shape == (16, 20, 3)
assert smsr(vs.core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=1)).get_frame(0).width == 32
folder = Path(cupy_kernels.__file__).parent
assert list(folder.glob("*.cu")) and list(folder.glob("*.cuh"))
assert (Path(vs_smsr.__file__).parent / "py.typed").is_file()
print(vs_smsr.__file__)
"""


def try_one(archive: Path, python: str) -> None:
    """Raises CalledProcessError where a step fails; its output has been shown."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

        def run(*command: object) -> None:
            subprocess.run([str(part) for part in command], cwd=folder, env=environment, check=True)

        home = Path(folder) / "env"
        run(python, "-m", "venv", home)
        programs = home / ("Scripts" if sys.platform == "win32" else "bin")
        run(programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", archive.resolve())
        run(programs / "vs-smsr", "--version")
        run(programs / "vs-smsr", "doctor")
        run(programs / "python", "-c", USE)
    print(f"{archive.name}: works with {python}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the Python to try it with")
    arguments = parser.parse_args()
    for archive in arguments.archives:
        try_one(archive, arguments.python)


if __name__ == "__main__":
    main()
