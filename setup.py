"""What setup.cfg cannot say: wheels and sdists carry the commit that they were built from, see vs_smsr/version.py."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
FILE = Path("vs_smsr/COMMIT")


def commit() -> str:
    """Of the checkout; of the sdist, where this is one; empty where neither says."""
    if (ROOT / FILE).is_file():
        return (ROOT / FILE).read_text(encoding="ascii").strip()
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def put(folder: str) -> None:
    target = Path(folder) / FILE
    target.unlink(missing_ok=True)
    target.write_text(f"{commit()}\n", encoding="ascii")


class Build(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            put(self.build_lib)


class Source(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        put(base_dir)


setup(cmdclass={"build_py": Build, "sdist": Source})
