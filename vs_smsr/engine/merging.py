"""New features in the place of kept ones: where pixels are wanted and their bits differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.compiled import compiled
from vs_smsr.engine.contract import Features, Wanted


def update(values: Features, kept: Features, wanted: Wanted) -> Wanted:
    """What `contract.Ops.update` does, from values (h, w, n) on the host."""
    differs = np.zeros(wanted.shape, np.bool_)
    merge(0, len(wanted), bits(values), bits(kept), wanted, differs)
    return differs


def bits(features: Features) -> NDArray[np.unsignedinteger[Any]]:
    """(h, w, n) as the largest words that fill a pixel's channels: bits are compared, so 0 and -0 differ."""
    channel_bytes = features.shape[2] * features.itemsize
    size = next(size for size in (8, 4, 2, 1) if channel_bytes % size == 0)
    return features.view(np.dtype(f"u{size}"))


@compiled
def merge(start, stop, values, kept, wanted, differs):  # type: ignore[no-untyped-def]
    """Rows start .. stop of `update`; differs is False before."""
    words = values.shape[2]
    for y in range(start, stop):
        for x in range(values.shape[1]):
            if wanted[y, x]:
                for i in range(words):
                    if values[y, x, i] != kept[y, x, i]:
                        differs[y, x] = True
                        break
                if differs[y, x]:
                    for i in range(words):
                        kept[y, x, i] = values[y, x, i]
