"""Which vs-smsr this is: the version, and the commit that it was built from or that the checkout is at."""

from __future__ import annotations

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent
BUILT = "COMMIT"  # a file that setup.py puts into what it builds


def commit() -> str | None:
    """The commit's first twelve digits; None where nobody knows."""
    built = PACKAGE / BUILT
    if built.is_file():
        return built.read_text(encoding="ascii").strip() or None
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
