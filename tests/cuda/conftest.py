"""Lets the tests here import the emulator as the package `host`; without g++ they are skipped."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def gpp() -> None:
    """Skips where the emulator cannot run."""
    from host import emulator

    reason = emulator.missing()
    if reason:
        pytest.skip(reason)
