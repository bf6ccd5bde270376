"""Ctrl-C, SIGTERM and a closed terminal end a run cleanly: what is unfinished is removed, the exit code is 130.

KeyboardInterrupt alone does not do: Python raises it in whatever runs at that moment, and in a callback of LLVM (which
compiles the kernels) or in a finaliser it is reported and dropped. So the signal is noted too, and looked for after
every frame.
"""

from __future__ import annotations

import signal
from types import FrameType

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
    raise KeyboardInterrupt
