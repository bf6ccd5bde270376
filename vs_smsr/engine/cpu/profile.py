"""Where the time of frames goes: seconds by kernel and SMM."""

from __future__ import annotations

import threading
from collections import defaultdict


class Profile:
    """Counts seconds of wall time; several frames may add to it at once.

    Attributes:
        seconds: by (kernel, SMM), the SMM None for what belongs to none.
        frames: how many frames were counted.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, int | None], float] = defaultdict(float)
        self.frames = 0
        self._lock = threading.Lock()

    def add(self, kernel: str, module: int | None, seconds: float) -> None:
        """Count one launch."""
        with self._lock:
            self.seconds[kernel, module] += seconds

    def count_frame(self, seconds: float) -> None:
        """Count a frame; what its kernels do not explain is "other"."""
        with self._lock:
            self.frames += 1
            self.seconds["frame", None] += seconds

    def table(self) -> list[tuple[str, list[float], float]]:
        """Lines (kernel, [ms a frame in SMM 1..5, outside SMMs], share of the whole), the costliest first."""
        whole = self.seconds["frame", None] or 1.0
        frames = self.frames or 1
        kernels = {name for name, _ in self.seconds} - {"frame"}
        columns = {name: [self.seconds[name, m] for m in (0, 1, 2, 3, 4, None)] for name in kernels}
        columns["other"] = [0.0] * 5 + [whole - sum(map(sum, columns.values()))]
        lines = [(name, [1e3 * s / frames for s in times], sum(times) / whole) for name, times in columns.items()]
        return sorted(lines, key=lambda line: -line[2])
