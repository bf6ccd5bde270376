"""Do all dependencies have wheels, so that nobody needs a compiler? For Windows, macOS and Linux, with pip alone.

    scripts/check_wheels.py [--python 3.12,3.13] [--extra cuda13] [--platform win_amd64 ...]

Resolves what setup.cfg asks for as pip would on that machine, and downloads nothing but metadata.
"""

from __future__ import annotations

import argparse
import configparser
import subprocess
import sys
from pathlib import Path

GLIBC = (35, 34, 31, 28, 27, 17)  # 2.x
PLATFORMS = {  # a name -> pip's tags, the newest first: a machine takes wheels for older systems, too
    "windows": ["win_amd64"],
    "macos-arm64": [f"macosx_{major}_0_arm64" for major in range(15, 10, -1)],
    "linux-x86_64": [f"manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["manylinux2014_x86_64"],
    "linux-aarch64": [f"manylinux_2_{minor}_aarch64" for minor in GLIBC] + ["manylinux2014_aarch64"],
}
SETUP = Path(__file__).parents[1] / "setup.cfg"


def requirements(extra: str | None) -> list[str]:
    config = configparser.ConfigParser(interpolation=configparser.BasicInterpolation())
    config.read(SETUP)
    text = config["options"]["install_requires"]
    if extra:
        text += "\n" + config["options.extras_require"][extra]
    return [line.strip() for line in text.splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12,3.13")
    parser.add_argument("--extra")
    parser.add_argument("--platform", nargs="+", choices=list(PLATFORMS), default=list(PLATFORMS))
    arguments = parser.parse_args()
    wanted, failed = requirements(arguments.extra), 0
    for platform in arguments.platform:
        for version in arguments.python.split(","):
            tags = [part for tag in PLATFORMS[platform] for part in ("--platform", tag)]
            command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
            command += ["--only-binary=:all:", "--target", "unused", "--python-version", version, *tags, *wanted]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            failed += ended.returncode != 0
            print(f"{platform:13} Python {version}: {'ok' if ended.returncode == 0 else ended.stderr.strip()}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
