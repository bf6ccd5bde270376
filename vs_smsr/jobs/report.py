"""How far a job is, and what was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vs_smsr.media.damage import Damage
from vs_smsr.media.filters import Crop


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        frames: upscaled so far.
        total: expected number of frames, or None if the file does not tell.
        fps: frames per second since the start.
        skipped: mean share of the masked work that was skipped, 0..1.
        reused: mean share of the pixels that were copied from the frame before, 0..1.
    """

    frames: int
    total: int | None
    fps: float
    skipped: float
    reused: float = 0.0


@dataclass(frozen=True)
class Report:
    """What was made.

    Attributes:
        output: the written file.
        frames: number of frames.
        seconds: time it took.
        skipped: mean share of the masked work that was skipped, 0..1.
        notes: a line for each stream or tag that could not be carried, and why.
        reused: mean share of the pixels that were copied from the frame before, 0..1.
        held: frames that went with the attention of their temporal tile's first frame.
        cropped: what was cropped before, as the container asks for; None if nothing.
        deinterlaced: frames that were deinterlaced.
        damage: what of the source was lost or repaired; None if nothing.
        alike: dB between results with forward reuse and without, the least that was measured at the start of a temporal
            tile; None: it was not used.
    """

    output: Path
    frames: int
    seconds: float
    skipped: float
    notes: tuple[str, ...]
    reused: float = 0.0
    held: int = 0
    cropped: Crop | None = None
    deinterlaced: int = 0
    damage: Damage | None = None
    alike: float | None = None
