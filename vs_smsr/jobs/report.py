"""How far a job is, and what was made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import av

from vs_smsr.media.damage import Damage
from vs_smsr.media.filters import Crop

type Pair = tuple[av.VideoFrame, av.VideoFrame]  # as decoded, and as it goes to the encoder


@dataclass
class Tally:
    """What became of frames.

    Attributes:
        frames: how many were upscaled.
        skipped: sum over them of the share of the masked work that was skipped.
        reused: sum over them of the share of the pixels that were copied from the frame before.
        held: those that went with the attention of their temporal tile's first frame.
        alike: as in `Report`.
    """

    frames: int = 0
    skipped: float = 0.0
    reused: float = 0.0
    held: int = 0
    alike: float | None = None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.frames + other.frames,
            self.skipped + other.skipped,
            self.reused + other.reused,
            self.held + other.held,
            min((one for one in (self.alike, other.alike) if one is not None), default=None),
        )


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        frames: upscaled so far.
        total: expected number of frames, or None if the file does not tell.
        fps: frames per second since the start.
        skipped: mean share of the masked work that was skipped, 0..1.
        reused: mean share of the pixels that were copied from the frame before, 0..1.
        pair: of videos, the latest frame; it must not be changed.
        workers: processes or machines that are at work; 0: this process alone.
    """

    frames: int
    total: int | None
    fps: float
    skipped: float
    reused: float = 0.0
    pair: Pair | None = None
    workers: int = 0

    @classmethod
    def of(
        cls,
        tally: Tally,
        pair: Pair | None,
        total: int | None,
        start: float,
        before: Tally | None = None,
        workers: int = 0,
    ) -> Progress:
        """From what became of the frames since `start` (`time.perf_counter`), and of those made in an earlier run."""
        whole = tally if before is None else before + tally
        fps, count = tally.frames / (time.perf_counter() - start), max(whole.frames, 1)
        return cls(whole.frames, total, fps, whole.skipped / count, whole.reused / count, pair, workers)


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
