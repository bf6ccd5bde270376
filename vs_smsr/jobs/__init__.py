"""Whole jobs, below all doors: one file or one sequence of arrays in, the same larger out, and what became of it.

From Python, a long video is planned, made in chunks and joined by what is named here (docs/long_jobs.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vs_smsr.jobs.job import Job, plan
    from vs_smsr.jobs.report import Report

__all__ = ["Job", "Report", "plan"]

_LAZY = {"Job": "vs_smsr.jobs.job", "plan": "vs_smsr.jobs.job", "Report": "vs_smsr.jobs.report"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
