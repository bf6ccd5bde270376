"""Where the time of frames goes: seconds by kernel and block."""

from __future__ import annotations

import threading
from collections import defaultdict


class Profile:
    """Counts seconds of wall time; several frames may add to it at once.

    Attributes:
        seconds: by (kernel, block), the block None for what belongs to none; ("frame", None) is all that it took.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, int | None], float] = defaultdict(float)
        self._lock = threading.Lock()

    def add(self, kernel: str, block: int | None, seconds: float) -> None:
        """Count one launch."""
        with self._lock:
            self.seconds[kernel, block] += seconds

    def add_whole(self, seconds: float) -> None:
        """Count a frame, or a window of one; what its kernels do not explain is "other"."""
        self.add("frame", None, seconds)

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self.seconds.clear()

    def table(self, frames: int, blocks: int) -> list[tuple[str, list[float], float]]:
        """Lines (kernel, [ms a frame in each block, outside blocks], share of the whole), the costliest first.

        Args:
            frames: how many there were; some may have taken no time, or several windows.
            blocks: of the network.
        """
        whole = self.seconds["frame", None] or 1.0
        kernels = {name for name, _ in self.seconds} - {"frame"}
        columns = {name: [self.seconds[name, m] for m in (*range(blocks), None)] for name in kernels}
        columns["other"] = [0.0] * blocks + [whole - sum(map(sum, columns.values()))]
        lines = [
            (name, [1e3 * s / max(frames, 1) for s in times], sum(times) / whole) for name, times in columns.items()
        ]
        return sorted(lines, key=lambda line: -line[2])
