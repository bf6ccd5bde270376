"""scripts/many_cores.py: that it measures and prints, and what its model says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("many_cores")


def test_it_measures_this_machine(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "ROUNDS", 1)
    monkeypatch.setattr(script, "EMPTY", 10)
    monkeypatch.setattr(sys, "argv", ["many_cores.py", "--size", "16", "24", "--cores", "4", "64"])
    assert script.main() == 0
    printed = capsys.readouterr().out
    assert re.search(r"one thread [\d.]+ ms, of it [\d.]+ ms outside of \d+ launches", printed)
    assert len(re.findall(r"^ +\d+ cores: ", printed, re.MULTILINE)) == 2


def test_the_model(script):
    assert script.model(4, 0.01, 0.4, 100, 1e-4) == pytest.approx(0.01 + 0.01 + 0.1)
