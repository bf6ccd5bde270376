"""The kernel tests once more, in a process with AddressSanitizer and UBSan: no access out of bounds, no undefined act.

Arrays and shared memory are blocks of exactly their size there, so one element too far is seen.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from host import checked

pytestmark = pytest.mark.usefixtures("gpp")


def test_kernels_under_the_sanitizers() -> None:
    names = "test_kernels.py", "test_late_kernels.py", "test_plane_kernels.py"
    tests = [str(Path(__file__).with_name(name)) for name in names]
    done = checked.run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], timeout=900)
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-6000:]
    assert int(passed[1]) > 120
    assert "skipped" not in done.stdout
    assert "runtime error" not in done.stdout
