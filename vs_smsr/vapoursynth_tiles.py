"""Temporal tiles of a VapourSynth clip, for frames that are asked for in any order.

A filter function may not ask for frames; it gets those that its node names. So where frame n's temporal tile starts is
worked out by nodes of one pixel, and a node made for that tile then names its first two frames.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import vapoursynth as vs

from vs_smsr.engine.contract import Frame
from vs_smsr.errors import SmsrError
from vs_smsr.tiling import TemporalTile, TiledFrame, Tiler
from vs_smsr.tiling.temporal import difference, is_cut, luma

TILES = 2  # that are kept: frames in flight may lie on both sides of a border
Read = Callable[[int, vs.VideoFrame], Frame]  # number and frame to (H, W, 3) float32 RGB 0..255
Finish = Callable[[int, vs.VideoFrame, TiledFrame], vs.VideoFrame]  # fill a copy of the large blank frame


def tiled(
    rgb: vs.VideoNode, source: vs.VideoNode, blank: vs.VideoNode, tiler: Tiler, read: Read, finish: Finish
) -> vs.VideoNode:
    """The clip upscaled by temporal tiles.

    Args:
        rgb: RGBS or RGBH.
        source: whose `_SceneChangePrev` counts, where it is set.
        blank: of the result's size, with the result's props.
    """
    core = vs.core
    tiles = _Tiles(tiler)
    last = len(rgb) - 1

    @lru_cache(maxsize=TILES + 1)
    def node(start: int) -> vs.VideoNode:
        first, second = (_kept(rgb[min(n, last)], len(rgb)) for n in (start, start + 1))

        def run(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
            with errors_of_frame(n):
                tile = tiles.get(start, lambda: read(start, f[2]), lambda: read(start + 1, f[3]))
                result = tile.upscale(read(n, f[1]))
            return finish(n, f[0].copy(), result)

        made = core.std.ModifyFrame(blank, [blank, rgb, first, second], run)
        core.std.SetVideoCache(made, mode=0)
        return made

    begins = starts(rgb, source, tiler.options.temporal_tile, read)
    return core.std.FrameEval(blank, lambda n, f: node(f.props["SMSRStart"]), prop_src=[begins], clip_src=[blank, rgb])


def starts(rgb: vs.VideoNode, source: vs.VideoNode, length: int, read: Read) -> vs.VideoNode:
    """A clip of one pixel whose prop SMSRStart is the number of the frame that begins the frame's temporal tile.

    The same as `tiling.temporal.Starts` says, without going through the clip in order: each node looks back twice as
    far as the one before.
    """
    core = vs.core
    point = core.std.BlankClip(format=vs.GRAY8, width=1, height=1, length=len(rgb), keep=True)

    def measure(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frame = f[0].copy()
        frame.props["SMSRDifference"] = difference(luma(read(n, f[1])), luma(read(n - 1, f[2]))) if n % length else 0.0
        return frame

    differences = core.std.ModifyFrame(point, [point, rgb, _later(rgb, 1)], measure)

    def begin(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frame = f[0].copy()
        told = f[3].props.get("_SceneChangePrev")
        cut = is_cut(f[2].props["SMSRDifference"], f[1].props["SMSRDifference"]) if told is None else bool(told)
        frame.props["SMSRStart"] = n if cut or n % length == 0 else -1
        return frame

    found = core.std.ModifyFrame(point, [point, differences, _later(differences, 1), source], begin)

    def look_back(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        return f[1 if f[0].props["SMSRStart"] < 0 else 0].copy()

    step = 1
    while step < length:
        found = core.std.ModifyFrame(point, [found, _later(found, step)], look_back)
        step *= 2
    return found


def _later(clip: vs.VideoNode, count: int) -> vs.VideoNode:
    """Frame n is the clip's frame n - count, or its first."""
    shifted = vs.core.std.Splice([vs.core.std.Loop(clip[0], count), clip])
    return shifted[: len(clip)]


def _kept(frame: vs.VideoNode, length: int) -> vs.VideoNode:
    """A clip of one frame, held in memory, as long as another."""
    vs.core.std.SetVideoCache(frame, mode=1, fixedsize=1, maxsize=1)
    return vs.core.std.Loop(frame, length)


@contextmanager
def errors_of_frame(n: int) -> Iterator[None]:
    """Our errors as VapourSynth's, with the frame's number.

    Raises:
        vs.Error: in place of a SmsrError.
    """
    try:
        yield
    except SmsrError as error:
        raise vs.Error(f"smsr: frame {n}: {error}") from None


class _Tiles:
    """The temporal tiles that were used last."""

    def __init__(self, tiler: Tiler) -> None:
        self._tiler = tiler
        self._lock = threading.Lock()
        self._tiles: OrderedDict[int, TemporalTile] = OrderedDict()

    def get(self, start: int, first: Callable[[], Frame], second: Callable[[], Frame]) -> TemporalTile:
        """The tile that begins at that frame; made from its first two frames if it is not there."""
        with self._lock:
            if start not in self._tiles:
                while len(self._tiles) >= TILES:
                    self._tiles.popitem(last=False)
                tile = TemporalTile(self._tiler, first())
                tile.take_result()
                if tile.held is None:
                    tile.decide(second())
                self._tiles[start] = tile
            self._tiles.move_to_end(start)
            return self._tiles[start]
