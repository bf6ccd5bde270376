"""Signals end the program cleanly, whatever it does at that moment; each test runs it as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .test_cli import image, names, start, video

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("kind", "frames"), [("image", 1), ("video", 200), ("video", 500)])
def test_an_interrupt_leaves_nothing(tmp_path, number, kind, frames):
    """Signalled while it works, told by the temporary file or the job's; exit code 130 and the folder as it was.

    So for a video of several chunks while none is done.
    """
    source = image(tmp_path / "a.png", 1500, 1500) if kind == "image" else video(tmp_path / "a.mp4", frames, 256, 256)
    run = start("upscale", str(source), "-d", "cpu", "--threads", "1")
    end = time.monotonic() + 120
    while not any(".part" in path.name or path.name == "manifest.json" for path in tmp_path.rglob("*")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end, "it did not begin to work"
        time.sleep(0.05)
    time.sleep(0.5)
    run.send_signal(number)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130, err
    assert out == ""
    assert err.splitlines() == ["interrupted; nothing unfinished is left"]
    assert names(tmp_path) == [source.name]


SIGNALLED = """
import os, signal, time

def signalled():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass

class Finalised:
    def __del__(self):
        signalled()
"""

DROPPED = """
from tests.conftest import StandInEngine
from vs_smsr import engine
from vs_smsr.cli.app import main

def swallow():
    try:
        signalled()
    except BaseException:
        pass

class Engine(StandInEngine):
    def upscale(self, frame, state=None):
        {how}()
        return super().upscale(frame, state)

engine.create = lambda options: Engine(options.scale)
main()
"""


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("how", ["Finalised", "swallow"])
def test_an_interrupt_that_is_dropped_counts_all_the_same(tmp_path, kind, how):
    """Python drops KeyboardInterrupt in finalisers and callbacks, and a library may swallow it."""
    source = image(tmp_path / "a.png") if kind == "image" else video(tmp_path / "a.mp4", 30)
    command = [sys.executable, "-c", SIGNALLED + DROPPED.format(how=how), "upscale", str(source)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (130, "interrupted; nothing unfinished is left\n")
    assert names(tmp_path) == [source.name]


FINALISING = """
from vs_smsr.cli import interrupts

interrupts.listen()
Finalised()
try:
    time.sleep(1000)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_in_a_finaliser_comes_again_and_is_not_reported():
    """CI met one in the finaliser of an llvmlite object; outside the loop over frames nobody calls `check`."""
    command = [sys.executable, "-c", SIGNALLED + FINALISING]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "interrupted\n", "")


COMPILING = """
import llvmlite.binding as llvm
from vs_smsr.cli import interrupts

interrupts.listen()
llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
module = llvm.parse_assembly("define i64 @answer() { ret i64 42 }")
machine = llvm.Target.from_default_triple().create_target_machine()
engine = llvm.create_mcjit_compiler(module, machine)
asked = False

def cached(module):
    global asked
    asked = True
    signalled()

engine.set_object_cache(getbuffer_func=cached)
engine.finalize_object()
assert asked
try:
    time.sleep(1000)
except KeyboardInterrupt:
    print(engine.get_function_address("answer") > 0)
"""


def test_an_interrupt_while_llvm_compiles_comes_when_it_has():
    """LLVM would go on with what an interrupted callback left it, and crash."""
    command = [sys.executable, "-c", SIGNALLED + COMPILING]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "True\n", "")
