"""Signals that stop a training run after the step at hand."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def stopping_signals() -> Iterator[Callable[[], str | None]]:
    """While open, signals only leave a note; the callable returns the first one's name. Ignored signals stay so."""
    caught: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(signal.Signals(number).name)

    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield lambda: caught[0] if caught else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
