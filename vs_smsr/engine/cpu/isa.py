"""Which vector instructions to use: from the host's features, or a lower set by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from vs_smsr.errors import EngineError


@dataclass(frozen=True)
class Isa:
    """Shapes of the register block (`block.contract`) for one vector width.

    Attributes:
        lanes: float32 lanes of a vector.
        bf16: it has dot products of bf16 pairs.
        shapes: output channels of a block -> pixels of a block, all dividing BLOCK; the widest first.
    """

    name: str
    lanes: int
    bf16: bool
    shapes: dict[int, int]

    def width(self, outputs: int) -> int:
        """Output channels per block for a convolution with that many: the fewest wasted, then the widest."""
        return min(self.shapes, key=lambda width: (-(-outputs // width) * width, -width))


BLOCK = 12  # pixels that a kernel handles at a time

ISAS = {
    isa.name: isa
    for isa in (
        Isa("avx512bf16", 16, True, {64: 6, 32: 12, 16: 12}),
        Isa("avx512", 16, False, {64: 6, 32: 12, 16: 12}),
        Isa("avx2", 8, False, {16: 6, 8: 12}),
        Isa("neon", 4, False, {16: 6, 8: 12}),
        Isa("generic", 4, False, {8: 4}),
    )
}


@cache
def supported() -> tuple[str, ...]:
    """Names of the sets that this machine runs, the fastest first."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    names = []
    if features.get("avx512f") and features.get("avx512vl") and features.get("fma"):
        if features.get("avx512bf16"):
            names.append("avx512bf16")
        names.append("avx512")
    if features.get("avx2") and features.get("fma"):
        names.append("avx2")
    if features.get("neon"):
        names.append("neon")
    return (*names, "generic")


def choose(name: str = "auto") -> Isa:
    """The best set of this machine, or the named one.

    Raises:
        EngineError: the machine does not have it.
    """
    if name == "auto":
        return ISAS[supported()[0]]
    if name not in supported():
        raise EngineError(
            f"cpu: instruction set must be one of {', '.join(supported())} on this machine, got {name!r}."
        )
    return ISAS[name]
