"""How large a result is, and what follows from it; decided here for videos and images alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vs_smsr.options import VideoOptions


class Size(NamedTuple):
    """Of a picture, in pixels."""

    width: int
    height: int


def final_size(source: Size, scale: int, options: VideoOptions, multiple: int = 1) -> Size:
    """Scale times the source, or what the options ask for; giving one side preserves the aspect ratio.

    Args:
        multiple: that the side which is not given is rounded to (2 for video: most encoders take even sides only).
    """
    if options.width is None and options.height is None:
        return Size(source.width * scale, source.height * scale)
    width = options.width or _rounded((options.height or 0) * source.width / source.height, multiple)
    height = options.height or _rounded(width * source.height / source.width, multiple)
    return Size(width, height)


def _rounded(side: float, multiple: int) -> int:
    return max(multiple, multiple * round(side / multiple))


def sufficient_scale(scales: Sequence[int], source: Size, options: VideoOptions) -> int:
    """The smallest of the (rising) scales that reaches the final size without a resize to larger; else the largest."""
    needed = max((options.width or 0) / source.width, (options.height or 0) / source.height)
    return next((scale for scale in scales if scale >= needed), scales[-1])


def label(scale: int, options: VideoOptions) -> str:
    """What is added to the name of a result: x2, or the size that was asked for."""
    if options.width and options.height:
        return f"{options.width}x{options.height}"
    if options.width or options.height:
        return f"{options.width}w" if options.width else f"{options.height}p"
    return f"x{scale}"
