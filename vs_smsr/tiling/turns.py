"""Who may compute when frames of several sizes come from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turns:
    """Frames of one size run at the same time; those of another size wait until it is their turn.

    For a plan counts on nothing of another size being there.

    Args:
        switched: called before the first frame of another size, when no frame is being computed.
    """

    def __init__(self, switched: Callable[[], None]) -> None:
        self._switched = switched
        self._entry = threading.Lock()
        self._change = threading.Condition()
        self._size: tuple[int, int] | None = None
        self._inside = 0

    @contextmanager
    def of(self, size: tuple[int, int] | None) -> Iterator[None]:
        """Wait for the turn of frames of that (height, width), and keep it for the block; None: be alone.

        Not to be nested in one thread: it could wait for itself.
        """
        with self._entry:  # whoever comes later waits behind, whatever the size
            with self._change:
                self._change.wait_for(lambda: not self._inside or (size is not None and size == self._size))
            if size != self._size:
                self._switched()
                self._size = size
            with self._change:
                self._inside += 1
        try:
            yield
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()
