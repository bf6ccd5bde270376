"""What the tests of the filter share."""

from collections.abc import Iterator

import pytest
import vapoursynth as vs


@pytest.fixture
def threads() -> Iterator[None]:
    """VapourSynth with enough threads to show what can run side by side."""
    before = vs.core.num_threads
    vs.core.num_threads = 8
    yield
    vs.core.num_threads = before
