"""What all tests share: where data lies, an engine that is quick, and the count of skipped tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import openvino  # noqa: F401  before VapourSynth loads mlrt-ov, which brings its own: a process holds one
import pytest

from vs_smsr.engine.contract import Capabilities, Frame, Overrides, Upscaled
from vs_smsr.engine.memory import HostMemory
from vs_smsr.families import smsr
from vs_smsr.families.smsr import MODULES
from vs_smsr.tiling.scheduler import WARM_UP
from vs_smsr.weights import Weights, load, shipped

SHARED = Path(__file__).parents[1].parent / "shared"
if "PYTEST_XDIST_WORKER" in os.environ:  # the other processes of this run have their own cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of PyTorch
PROCESSOR = "needs a processor with"  # the reason of skips that no installation can spare
EXPECTED_SKIPS = 0  # of a whole run on a machine that has ../shared and no GPU; CI fails above it


def pytest_configure() -> None:
    """Programs that run in the background inherit signals that are ignored; the tests of interrupts need them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_runtest_teardown() -> None:
    """SVT-AV1, run by root, makes a process real-time; whatever it starts then could stop the machine."""
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that is too large or not free enough for the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (test data beside the repository)")
    return SHARED


@pytest.fixture(scope="session")
def demo_clip() -> Path:
    """The bundled clip: a few seconds of H.264 with sound."""
    return Path(__file__).parent / "data" / "demo.mp4"


class StandInEngine:
    """Repeats each pixel scale x scale times; for tests in which the network's pixels do not matter."""

    name, device, precision, profile = "stand-in", "cpu", "fp32", None
    capabilities = Capabilities(windows=False)
    memory = HostMemory(256, lambda height, width: 12 * height * width)

    def __init__(self, scale: int = 2) -> None:
        self.weights = load(shipped(2)) if scale == 2 else zero_weights(scale)
        self.frames: list[Frame] = []  # what it was given

    def upscale(self, frame: Frame, overrides: Overrides | None = None) -> Upscaled:
        height, width, channels = frame.shape
        assert (height % 2, width % 2, channels) == (0, 0, 3), frame.shape
        assert frame.dtype == np.float32
        assert frame.flags.c_contiguous
        if frame.shape[:2] != WARM_UP or frame.any():  # else the scheduler gets the engine ready
            self.frames.append(frame)
        scale = self.weights.scale
        masks = (np.zeros((height, width), np.uint8),) * MODULES
        attention = (np.ones(64, np.float32),) * MODULES
        result = frame.repeat(scale, axis=0).repeat(scale, axis=1)
        return Upscaled(result, masks, attention, (0.5, 0.6, 0.7, 0.8, 0.9))


def zero_weights(scale: int) -> Weights:
    """Weights of the right names and shapes, all zero."""
    return Weights(
        smsr.spec(scale), {name: np.zeros(shape, np.float32) for name, shape in smsr.spec(scale).shapes.items()}
    )


@pytest.fixture
def stand_in() -> type[StandInEngine]:
    """The class: `stand_in(scale)` makes a quick engine."""
    return StandInEngine


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """`load_script("footage")` runs scripts/footage.py as a module; what lies beside it can be imported then."""
    folder = Path(__file__).parents[1] / "scripts"

    def load(name: str) -> ModuleType:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        spec = util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, where nothing needed is missing, a test that skips is a test that nobody runs any more.

    Those that ask for another processor do not count.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    skipped = sum(PROCESSOR not in str(report.longrepr) for report in reports)
    if os.environ.get("CI") == "true" and SHARED.is_dir() and skipped > EXPECTED_SKIPS:
        reporter.write_line("")
        reporter.write_line(f"{skipped} tests skipped, at most {EXPECTED_SKIPS} may (tests/conftest.py).", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
