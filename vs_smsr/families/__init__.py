"""The networks that this package knows, by family: as a weights file names them, or as its tensors tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from vs_smsr.families import imdn, smsr, srresnet
from vs_smsr.families.parts import (
    ChannelAttention,
    Convolution,
    DynamicChannels,
    GradientMask,
    LearnedMask,
    MaskedBlock,
    Shapes,
)
from vs_smsr.families.spec import SUM_UNIT, NetworkSpec

__all__ = [
    "SUM_UNIT",
    "ChannelAttention",
    "Convolution",
    "DynamicChannels",
    "Family",
    "GradientMask",
    "LearnedMask",
    "MaskedBlock",
    "NetworkSpec",
    "Shapes",
    "family",
    "guess",
    "register",
    "tails",
]
SCALES = (2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks of one kind.

    Attributes:
        name: what weights files call it.
        version: of its layout, the newest that this package reads; older ones are read too.
        spec: the network for a scale; raises ValueError for a scale that it has none for.
    """

    name: str
    version: int
    spec: Callable[[int], NetworkSpec]


_families: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a family known to `weights.load`; one of the same name is replaced."""
    _families[family.name] = family


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in _families:
        raise ValueError(f"the family must be one of {', '.join(sorted(_families))}, got {name!r}")
    return _families[name]


def guess(shapes: Mapping[str, tuple[int, ...]]) -> NetworkSpec | None:
    """The network whose tensors have these shapes, for files that do not name it; None if it is none of ours."""
    for spec in _specs():
        if all(shapes.get(name) == shape for name, shape in spec.tail.shapes()):
            return spec
    return None


def tails() -> str:
    """How `guess` tells the known networks, for messages: "smsr x2 by 'tail.0.weight' (12, 64, 3, 3), ..."."""
    lines = []
    for spec in _specs():
        name, shape = next(spec.tail.shapes())
        lines.append(f"{spec.family} x{spec.scale} by {name!r} {shape}")
    return ", ".join(lines)


def _specs() -> Iterator[NetworkSpec]:
    """The network of every family and scale that there is."""
    for known in _families.values():
        for scale in SCALES:
            with suppress(ValueError):
                yield known.spec(scale)


for _module in (smsr, srresnet, imdn):
    register(Family(name=_module.FAMILY, version=_module.VERSION, spec=_module.spec))
