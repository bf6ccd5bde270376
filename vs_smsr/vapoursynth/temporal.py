"""Temporal tiles of a VapourSynth clip, for frames that are asked for in any order.

A filter function may not ask for frames; it gets those that its node names. So where frame n's temporal tile starts is
worked out by nodes of one pixel, and a node made for that tile then names its first two frames.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import vapoursynth as vs

from vs_smsr.engine.contract import Frame
from vs_smsr.errors import SmsrError
from vs_smsr.tiling import TiledFrame, Tiler, TileState, open_tile
from vs_smsr.tiling.temporal import StartRule, luma

TILES = 2  # that are kept: frames in flight may lie on both sides of a border
Read = Callable[[int, vs.VideoFrame], Frame]  # number and frame to (H, W, 3) float32 RGB 0..255
Finish = Callable[[int, vs.VideoFrame, vs.VideoFrame, TiledFrame], vs.VideoFrame]  # fill the large frame; the small one


def tiled(
    small: vs.VideoNode,
    source: vs.VideoNode,
    blank: vs.VideoNode,
    tiler: Tiler,
    read: Read,
    finish: Finish,
    *,
    num_streams: int,
    overhead: int,
) -> vs.VideoNode:
    """The clip upscaled by temporal tiles.

    Args:
        small: what `read` can read.
        source: whose `_SceneChangePrev` counts, where it is set.
        blank: of the result's size, with the result's props.
        num_streams: frames that are computed at the same time, where the tiler's plan allows for it.
        overhead: see `Tiler`.
    """
    core = vs.core
    rule = StartRule(tiler.options.temporal_tile)
    tiles = _Tiles(tiler, rule, overhead)
    last = len(small) - 1

    @lru_cache(maxsize=TILES + 1)
    def first_two(start: int) -> tuple[vs.VideoNode, vs.VideoNode]:
        return _kept(small[start], len(small)), _kept(small[min(start + 1, last)], len(small))

    @lru_cache(maxsize=(TILES + 1) * num_streams)
    def node(start: int, stream: int) -> vs.VideoNode:  # each computes one frame at a time, so there are several
        def run(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
            frames = {start: f[2], start + 1: f[3], n: f[1]}
            with errors_of_frame(n):
                result = tiles.upscale(start, n, lambda number: read(number, frames[number]))
            return finish(n, f[0].copy(), f[1], result)

        made = core.std.ModifyFrame(blank, [blank, small, *first_two(start)], run)
        core.std.SetVideoCache(made, mode=0)
        return made

    turns = itertools.count()

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        return node(f.props["SMSRStart"], next(turns) % num_streams)

    begins = starts(small, source, rule, read)
    return core.std.FrameEval(blank, choose, prop_src=[begins], clip_src=[blank, small])


def starts(small: vs.VideoNode, source: vs.VideoNode, rule: StartRule, read: Read) -> vs.VideoNode:
    """A clip of one pixel whose prop SMSRStart is the number of the frame that begins the frame's temporal tile.

    Without going through the clip in order: each node looks back twice as far as the one before.
    """
    core = vs.core
    point = core.std.BlankClip(format=vs.GRAY8, width=1, height=1, length=len(small), keep=True)

    def measure(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frame = f[0].copy()
        before, now = luma(read(max(n - 1, 0), f[2])), luma(read(n, f[1]))
        frame.props["SMSRDifference"] = rule.difference(n, before, now)
        return frame

    differences = core.std.ModifyFrame(point, [point, small, _later(small, 1)], measure)

    def begin(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frame = f[0].copy()
        told = f[3].props.get("_SceneChangePrev")
        cut = None if told is None else bool(told)
        begins = rule.starts(n, f[2].props["SMSRDifference"], f[1].props["SMSRDifference"], cut)
        frame.props["SMSRStart"] = n if begins else -1
        return frame

    found = core.std.ModifyFrame(point, [point, differences, _later(differences, 1), source], begin)

    def look_back(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        return f[1 if f[0].props["SMSRStart"] < 0 else 0].copy()

    step = 1
    while step < rule.length:
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

    def __init__(self, tiler: Tiler, rule: StartRule, overhead: int) -> None:
        self._tiler, self._rule, self._overhead = tiler, rule, overhead
        self._lock = threading.Lock()
        self._tiles: OrderedDict[int, TileState] = OrderedDict()

    def upscale(self, start: int, number: int, read: Callable[[int], Frame]) -> TiledFrame:
        """Upscale a frame of the tile that begins at `start`; `read` gives that frame, and the tile's first two."""
        with self._lock:
            tile = self._open(start)
            while (first := tile.awaits) is not None:
                result = tile.upscale(first, read(first))
                if first == number:
                    return result
        return tile.upscale(number, read(number))

    def _open(self, start: int) -> TileState:
        if start not in self._tiles:
            while len(self._tiles) >= TILES:
                self._tiles.popitem(last=False)
            self._tiles[start] = open_tile(self._tiler, self._rule.tile(start), self._overhead)
        self._tiles.move_to_end(start)
        return self._tiles[start]
