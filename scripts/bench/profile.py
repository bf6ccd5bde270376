"""Time per op and per kernel of our cpu engine, taken from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vs_smsr.engine.cpu.ops import Workspace
from vs_smsr.engine.cpu.pool import Pool
from vs_smsr.engine.walk import Ops

MULTIPLYING = {  # kernels that are convolutions; their loads, stores, relu and sums are counted with them
    "convolution",
    "pooled_convolution",
    "active_layer",
    "active_total",
    "inactive_total",
    "residual_collect",
    "tail_convolution",
}
SPARSE = "active_layer"  # the masked 3x3 convolution at active pixels
OPS = tuple(name for name in vars(Ops) if not name.startswith("_"))


class Profile:
    """Seconds of one or more frames.

    Attributes:
        ops: seconds by op of `walk.Ops`, Python included.
        kernels: seconds by (op, kernel).
    """

    def __init__(self) -> None:
        self.ops: dict[str, float] = {}
        self.kernels: dict[tuple[str, str], float] = {}
        self._op = ""

    def shares(self) -> dict[str, float]:
        """Share of the time by "op/kernel"; "op" alone is what is left of the op: Python, lists, buffers."""
        total = sum(self.ops.values())
        found = {}
        for op, seconds in self.ops.items():
            inside = {kernel: spent for (owner, kernel), spent in self.kernels.items() if owner == op}
            found |= {f"{op}/{kernel}": spent / total for kernel, spent in inside.items()}
            found[op] = (seconds - sum(inside.values())) / total
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def outside_convolutions(self) -> float:
        """Share of the time that is not spent in kernels that multiply."""
        inside = sum(spent for (_, kernel), spent in self.kernels.items() if kernel in MULTIPLYING)
        return 1 - inside / sum(self.ops.values())

    def seconds(self, kernel: str) -> float:
        """Of all launches of a kernel.

        Raises:
            KeyError: it was never launched.
        """
        found = [spent for (_, name), spent in self.kernels.items() if name == kernel]
        if not found:
            raise KeyError(f"the engine has launched no kernel {kernel!r}; adapt bench/profile.py")
        return sum(found)

    def add_kernel(self, kernel: Any, seconds: float) -> None:
        """Count a launch for the op that runs."""
        key = (self._op, _name(kernel))
        self.kernels[key] = self.kernels.get(key, 0.0) + seconds

    @contextmanager
    def op(self, name: str) -> Iterator[None]:
        """Count what happens in the block for this op."""
        self._op = name
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ops[name] = self.ops.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def recorded() -> Iterator[Profile]:
    """Record frames that are upscaled in the block, one at a time."""
    profile = Profile()
    launch = Pool.run
    originals = {name: getattr(Workspace, name) for name in OPS}

    def run(pool: Pool, kernel: Callable[..., object], *args: Any) -> None:
        start = time.perf_counter()
        launch(pool, kernel, *args)
        profile.add_kernel(kernel, time.perf_counter() - start)

    def timed(name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with profile.op(name):
                return originals[name](*args)

        return call

    Pool.run = run
    for name in OPS:
        setattr(Workspace, name, timed(name))
    try:
        yield profile
    finally:
        Pool.run = launch
        for name, original in originals.items():
            setattr(Workspace, name, original)


def _name(kernel: Any) -> str:
    """The function that makes the kernel, or the kernel itself."""
    return str(kernel.py_func.__qualname__).split(".")[0]
