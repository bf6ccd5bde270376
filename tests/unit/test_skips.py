"""The guard in tests/conftest.py: in CI, more skipped tests than expected are a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.parametrize(
    ("ci", "shared", "skipping", "code"),
    [
        ("true", True, "no reason", 1),
        ("", True, "no reason", 0),
        ("true", False, "no reason", 0),
        ("true", True, "", 0),
        ("true", True, "needs a processor with AVX-512", 0),
    ],
)
def test_skips_fail_ci(tmp_path, ci, shared, skipping, code):
    tests = tmp_path / "project/tests"
    tests.mkdir(parents=True)
    if shared:
        (tmp_path / "shared").mkdir()
    text = CONFTEST.read_text()
    start = text.index("EXPECTED_SKIPS = ")
    (tests / "conftest.py").write_text(text[:start] + "EXPECTED_SKIPS = 0" + text[text.index("  #", start) :])
    body = f"pytest.skip({skipping!r})" if skipping else "pass"
    (tests / "test_it.py").write_text(f"import pytest\n\n\ndef test_it():\n    {body}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests)]
    run = subprocess.run(command, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stdout
    assert ("1 tests skipped, at most 0 may" in run.stdout) == (code == 1)
