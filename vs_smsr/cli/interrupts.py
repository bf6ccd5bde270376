"""Ctrl-C, SIGTERM and a closed terminal end a run cleanly: what is unfinished is removed, the exit code is 130.

KeyboardInterrupt alone does not do: Python raises it in whatever runs at that moment, and in a finaliser it is reported
and dropped. So the signal is noted too, and looked for after every frame. LLVM, which compiles the kernels, asks Python
for what it has in its cache; an exception there leaves it with an answer that was never written, and it crashes. So
nothing is raised there: the signal comes again.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

AGAIN = 0.05  # seconds until a signal that came at a bad moment comes again
_caught = False


def listen() -> None:
    """Take over SIGINT, SIGTERM and SIGHUP, unless the shell (or nohup) had them ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def check() -> None:
    """Raise the KeyboardInterrupt that was lost, if one was."""
    if _caught:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _caught
    _caught = True
    if not _called_by_llvm(frame):
        raise KeyboardInterrupt
    again = threading.Timer(AGAIN, signal.raise_signal, [number])
    again.daemon = True
    again.start()


def _called_by_llvm(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "llvmlite.binding.executionengine":
            return True
        frame = frame.f_back
    return False
