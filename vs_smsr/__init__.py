"""vs-smsr: upscale video and images with SMSR, a network that skips the pixels that need no work."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vs_smsr.errors import EngineError, MediaError, MemoryBudgetError, OptionError, SmsrError, WeightsError
from vs_smsr.options import EngineOptions, VideoOptions

if TYPE_CHECKING:
    from vs_smsr.upscaler import Upscaler
    from vs_smsr.vapoursynth import smsr

__version__ = "0.2.0"
__all__ = [
    "EngineError",
    "EngineOptions",
    "MediaError",
    "MemoryBudgetError",
    "OptionError",
    "SmsrError",
    "Upscaler",
    "VideoOptions",
    "WeightsError",
    "smsr",
]

_LAZY = {"Upscaler": "vs_smsr.upscaler", "smsr": "vs_smsr.vapoursynth"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
