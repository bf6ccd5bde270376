"""Which vector instructions to use: from the host's features, or a lower set by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from vs_smsr.errors import EngineError

BLOCK = 12  # pixels that a kernel handles at a time


@dataclass(frozen=True)
class RegisterTile:
    """A register block: pixels x (vectors of lanes) sums; pixels divides BLOCK."""

    lanes: int
    vectors: int
    pixels: int

    @property
    def width(self) -> int:
        """Output channels."""
        return self.lanes * self.vectors


@dataclass(frozen=True)
class Isa:
    """One vector width and the register blocks that fill its registers.

    Attributes:
        shapes: one of them has the width that divides any multiple of 8.
        quick: those that are worth wasted sums; none: all.
        pairs: the same as shapes, for products of bf16 pairs; none: it has no such products.
    """

    name: str
    shapes: tuple[RegisterTile, ...]
    quick: tuple[RegisterTile, ...] = ()
    pairs: tuple[RegisterTile, ...] = ()

    @property
    def bf16(self) -> bool:
        """It multiplies bf16 pairs."""
        return bool(self.pairs)

    def shape(self, outputs: int, *, loose: bool = False, pairs: bool = False) -> RegisterTile:
        """The register block that wastes the fewest sums on so many outputs; the widest of those.

        Args:
            loose: sums may be wasted where that is faster.
            pairs: for products of bf16 pairs.
        """
        shapes = self.pairs if pairs else self.quick if loose and self.quick else self.shapes
        return min(shapes, key=lambda shape: (-(-outputs // shape.width) * shape.width, -shape.width))


# More than 16 sums of 512 bits would fit, but leave too few registers to load ahead: the sums would go to memory.
AVX512 = (
    RegisterTile(16, 4, 4),
    RegisterTile(16, 3, 4),
    RegisterTile(8, 5, 4),
    RegisterTile(16, 2, 6),
    RegisterTile(8, 3, 6),
    RegisterTile(16, 1, 6),
    RegisterTile(8, 1, 12),
)
# A product of pairs takes longer to come: it needs more sums that do not wait for each other.
PAIRS = tuple(RegisterTile(8, 2, 6) if shape.width == 16 else shape for shape in AVX512)
# The last one loads more often than it multiplies, and takes a third longer a sum.
AVX2 = RegisterTile(8, 3, 4), RegisterTile(8, 2, 6), RegisterTile(8, 1, 12)
ISAS = {
    isa.name: isa
    for isa in (
        Isa("avx512bf16", AVX512, pairs=PAIRS),
        Isa("avx512", AVX512),
        Isa("avx2", AVX2, quick=AVX2[:2]),
        Isa("neon", (RegisterTile(4, 4, 4), RegisterTile(4, 2, 6))),
        Isa("generic", (RegisterTile(4, 2, 4),)),
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


def fastest_precision(isa: Isa) -> str:
    """What "auto" means with these instructions on this machine: "bf16" or "fp32".

    A product of two pairs of bf16 does twice the work of an fp32 multiply-add. On AMD's Zen 4 and 5 it takes no longer;
    on Intel's processors (measured on Emerald Rapids: 0.76 ns, not 0.18) it takes as long as four, so fp32 is faster.
    """
    import llvmlite.binding as llvm

    return "bf16" if isa.bf16 and llvm.get_host_cpu_name().startswith("znver") else "fp32"


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
