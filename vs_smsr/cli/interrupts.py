"""Ctrl-C, SIGTERM and a closed terminal end a run cleanly: what is unfinished is removed, the exit code is 130.

KeyboardInterrupt alone does not do, since Python raises it in whatever runs at that moment. In a finaliser it is
reported and dropped: here it is not reported, and the signal comes again. LLVM, which compiles the kernels, asks Python
for what it has in its cache; an exception there leaves it with an answer that was never written, and it crashes: there
nothing is raised, and the signal comes again too. Against whoever else drops it, it is noted and looked for after every
frame.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

AGAIN = 0.05  # seconds until a signal that came at a bad moment comes again
_caught: int | None = None
_replay: threading.Timer | None = None


class Resumable(KeyboardInterrupt):
    """An interrupt of what can go on later; the message says so."""


def listen() -> None:
    """Take over SIGINT, SIGTERM and SIGHUP, unless the shell (or nohup) had them ignored; none has come yet."""
    global _caught
    _caught = None
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _dropped


def check() -> None:
    """Raise the KeyboardInterrupt that was lost, if one was."""
    if _caught:
        _raise()


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _caught
    _caught = number
    if _called_by_llvm(frame):
        _come_again(number)
    else:
        _raise()


def _raise() -> NoReturn:
    if _replay:  # it would disturb the removal of what is unfinished
        _replay.cancel()
    raise KeyboardInterrupt


def _dropped(report: sys.UnraisableHookArgs) -> None:
    """Python cannot raise this: it came in a finaliser, or in a callback of C code."""
    if _caught and issubclass(report.exc_type, KeyboardInterrupt):
        if not sys.is_finalizing():
            _come_again(_caught)
    else:
        sys.__unraisablehook__(report)


def _come_again(number: int) -> None:
    global _replay
    if _replay is None:
        _replay = threading.Timer(AGAIN, _send, [number])
        _replay.daemon = True
        _replay.start()


def _send(number: int) -> None:
    global _replay
    _replay = None
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)  # wakes it, if it waits
    else:
        signal.raise_signal(number)  # Windows


def _called_by_llvm(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "llvmlite.binding.executionengine":
            return True
        frame = frame.f_back
    return False
