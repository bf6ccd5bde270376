"""The VapourSynth door: clip in, clip `scale` times as large out.

`filter` is what scripts call, and the graph of nodes; `formats` says what a clip's numbers mean, and lets zimg convert
what the engine does not take; `temporal` finds temporal tiles for frames that are asked for in any order.
"""

from __future__ import annotations

import logging

from vs_smsr.vapoursynth.filter import smsr

__all__ = ["smsr"]

logging.getLogger("numba").setLevel(logging.WARNING)  # vspipe prints every record, and numba's fill thousands of lines
