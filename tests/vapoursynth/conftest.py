"""What the tests of the filter share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import vapoursynth as vs

from vs_smsr import engine as engines
from vs_smsr.options import EngineOptions


@pytest.fixture
def threads() -> Iterator[None]:
    """VapourSynth with enough threads to show what can run side by side."""
    before = vs.core.num_threads
    vs.core.num_threads = 8
    yield
    vs.core.num_threads = before


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, stand_in: Any) -> list[Any]:
    """Engines that repeat pixels take the place of real ones; they are collected here."""
    created: list[Any] = []

    def create(options: EngineOptions) -> Any:
        created.append(stand_in(options.scale))
        created[-1].options = options
        return created[-1]

    monkeypatch.setattr(engines, "create", create)
    return created
