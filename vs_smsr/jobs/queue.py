"""What waits between the steps of a job: a bounded queue between two threads, results in flight."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator


def in_order[T](started: Iterable[Callable[[], T]], in_flight: int) -> Iterator[T]:
    """The results of what the iterable starts, each of which is waited for by calling it.

    Args:
        in_flight: so many are started before the first one is waited for; at least 1.
    """
    waiting: deque[Callable[[], T]] = deque()
    for result in started:
        waiting.append(result)
        if len(waiting) >= in_flight:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


class Closed(Exception):
    """The consumer closed the queue."""


class BoundedQueue[T]:
    """Between two threads, in order, bounded by the size of what waits; an error at one end is raised at the other."""

    def __init__(self, room: int) -> None:
        self._room, self._load = room, 0
        self._items: deque[tuple[T, int]] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, size: int) -> None:
        """Wait for room; raises the consumer's error if the queue was closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or not self._items or self._load + size <= self._room)
            if self._closed:
                raise self._error or Closed()
            self._items.append((item, size))
            self._load += size
            self._change.notify_all()

    def close(self, error: BaseException | None = None, discard: bool = False) -> None:
        """No more items; those that wait still come out, unless they are discarded; then the error, if any."""
        with self._change:
            self._closed = True
            self._error = self._error or error
            if discard:
                self._items.clear()
            self._change.notify_all()

    def raise_error(self) -> None:
        """Raise what the consumer failed with, if it did after the last put."""
        if self._error:
            raise self._error

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._items)
                if not self._items:
                    if self._error:
                        raise self._error
                    return
                item, size = self._items.popleft()
                self._load -= size
                self._change.notify_all()
            yield item
