"""What hangs on frames beside their pixels, as far as a viewer would miss it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.sidedata.sidedata import Type as SideData

SEEN = {
    SideData.MASTERING_DISPLAY_METADATA: "HDR mastering display",
    SideData.CONTENT_LIGHT_LEVEL: "HDR content light level",
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ dynamic metadata",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid dynamic metadata",
    SideData.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "ambient viewing environment",
    SideData.A53_CC: "closed captions in the video",
    SideData.STEREO3D: "stereo 3D arrangement",
    SideData.SPHERICAL: "spherical (360 degree) projection",
    SideData.ICC_PROFILE: "ICC profile",
}


class LateSideData:
    """Kinds that the first frame lacks and a later one has. What goes to encoder and container is the first frame's.

    Args:
        ticks: seconds of a tick of the frames' pts.
    """

    def __init__(self, ticks: Fraction) -> None:
        self._ticks = ticks
        self._seen: dict[SideData, Fraction] = {}  # by kind: seconds of the first frame that has it
        self._first: frozenset[SideData] | None = None

    def run[T](self, items: Iterable[T | av.VideoFrame]) -> Iterator[T | av.VideoFrame]:
        """Yield every item, and look at the frames."""
        for item in items:
            if isinstance(item, av.VideoFrame):
                kinds = frozenset(item.side_data)
                if self._first is None:
                    self._first = kinds
                for kind in kinds - self._first:
                    self._seen.setdefault(kind, (item.pts or 0) * self._ticks)
            yield item

    def notes(self) -> list[str]:
        """A line if there are any."""
        found = [f"{SEEN[kind]} (from {float(time):.2f} s on)" for kind, time in self._seen.items() if kind in SEEN]
        return [f"video: not carried: {', '.join(found)}"] if found else []
