"""The table of cases that the kernels and the engine are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from host import checked
from numpy.typing import NDArray

Mask = NDArray[np.uint8]

# Even sides. A block computes a window of 16x8 pixels or a list of 128, so: less than one, exactly one, one and a bit,
# several in both directions, and the thinnest frames.
SIZES = [(2, 2), (8, 16), (10, 18), (2, 40), (26, 6), (18, 36)]


def _some(share: float) -> Callable[[int, int], Mask]:
    def mask(height: int, width: int) -> Mask:
        return (np.random.default_rng(height * 1000 + width).random((height, width)) < share).astype(np.uint8)

    return mask


def _one(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    mask[-1, -1] = 1
    return mask


def _checkered(height: int, width: int) -> Mask:
    return (np.indices((height, width)).sum(0) % 2).astype(np.uint8)


def _part(height: int, width: int) -> Mask:
    """Values 0, 1 and 2: a third each; 2 is left out of the lists."""
    return np.random.default_rng(height * 1000 + width).integers(0, 3, (height, width)).astype(np.uint8)


MASKS: dict[str, Callable[[int, int], Mask]] = {
    "none": lambda height, width: np.zeros((height, width), np.uint8),
    "all": lambda height, width: np.ones((height, width), np.uint8),
    "one": _one,
    "checkered": _checkered,
    "third": _some(0.35),
}
LISTED = {**MASKS, "part": _part}  # masks for the lists alone


@dataclass(frozen=True)
class Kind:
    """How the kernels are built and run."""

    half: bool
    arch: int = 80
    races: bool = False

    def __str__(self) -> str:
        name = f"fp16-sm{self.arch}" if self.half else "fp32"
        return name + ("-races" if self.races else "")


# sm_75 has smaller tensor core products and no asynchronous copies: other code.
KINDS = [Kind(False), Kind(True, 80), Kind(True, 75), Kind(False, races=True), Kind(True, races=True)]
SEEDS = (1, 2)  # other orders of threads and blocks, other poison; the second for the sizes in TWICE
SCALES = (2, 3, 4)
PAIRS = ((64, 32), (32, 16), (64, 16))  # dense channels in, out
WATCHED_SIZE = (10, 18)  # the race finder is slow, and races do not depend on the size
TWICE = (WATCHED_SIZE, (18, 36), (130, 66))  # several blocks
OLD_SIZES = (WATCHED_SIZE, (26, 6))  # for sm_75, whose other products and copies do not depend on the size either

if checked.active():  # so are the sanitizers
    SIZES = [(2, 2), (10, 18), (26, 6)]
    KINDS = [Kind(False), Kind(True, 80)]
    SEEDS = (1,)
    SCALES = (3,)
    PAIRS = ((64, 32), (32, 16))


EITHER = [kind for kind in KINDS if kind.half and kind.arch == 80]  # for kernels that are the same in all kinds


def with_kinds(names: str, *cases: Any, kinds: list[Kind] = KINDS) -> pytest.MarkDecorator:
    """Parametrizes a test over kinds and cases; names begin with "size", a case is the size or begins with it.

    The race finder gets the cases of WATCHED_SIZE and those in which blocks take several tiles ("all" active); sm_75
    those of OLD_SIZES too.
    """
    rows = [case if isinstance(case[0], tuple) else (case,) for case in cases]
    return pytest.mark.parametrize(
        f"kind, {names}",
        [
            pytest.param(kind, *row, id="-".join([str(kind), *map(_name, row)]))
            for kind in kinds
            for row in rows
            if (not kind.races or row[0] == WATCHED_SIZE or "all" in row)
            and (kind.arch != 75 or row[0] in OLD_SIZES or "all" in row)
        ],
    )


def _name(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
