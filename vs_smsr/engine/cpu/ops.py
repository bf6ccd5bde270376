"""`contract.Ops` in compiled CPU kernels: the buffers of one frame size, and a kernel launch or two per op."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vs_smsr.engine.contract import Dense, Features, Frame, Map, Mask, Scales, Sums, Wanted, statistic, whole_quads
from vs_smsr.engine.cpu.arena import Arena, grid_around, inside_grid, maps
from vs_smsr.engine.cpu.body import Body
from vs_smsr.engine.cpu.index_lists import ALL, AllPixels, IndexLists, Only, SomePixels
from vs_smsr.engine.cpu.launchers import Launchers
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Floats, Words
from vs_smsr.engine.cpu.pool import Pool
from vs_smsr.engine.cpu.upsampling import Upsampler
from vs_smsr.engine.profile import Profile
from vs_smsr.engine.window import Window, whole


class Workspace:
    """The ops of one frame size at a time, on buffers that are reused from frame to frame.

    Maps live on the grid, the frame with a border of one zero pixel: three of all channels (see `arena.maps`), then the
    body's own. "head" and "features" are one map: what is written to one, the other holds. What is read of a whole
    frame lies on such a grid too, so that rows of it, with the rows beside them, serve as maps: they are borrowed, and
    every op writes to a map of its own.

    An op adds to what the threads work on; only what gives something back, or needs it to go on, waits for them.
    """

    def __init__(self, network: PackedNetwork, pool: Pool, profile: Profile | None = None) -> None:
        self._network = network
        self._launch = Launchers(pool, network.channels, network.line, network.word, profile)
        self._arena = Arena(network)
        self._body = Body(network, self._launch, self._arena)
        self._upsampler = Upsampler(network, self._launch, self._arena)
        self._own: dict[str, Words] = {}
        self._maps: dict[str, Words] = {}  # where each is now: our own, or one that is borrowed
        self.size = 0, 0

    def begin(self, height: int, width: int) -> None:
        """Make ready for a frame of that size.

        Raises:
            MemoryError: a buffer cannot be allocated.
        """
        self._launch.finish()
        if (height, width) != self.size:
            self.size = 0, 0
            self._resize(height, width)
            self.size = height, width
        self.end()
        self._masks: dict[int, Mask] = {}
        self._scales: dict[int, Scales] = {}
        self._some: IndexLists | None = None
        self._results: IndexLists | None = None  # of some, those at which an op's last layer is needed
        self._body.only = ALL
        self._collecting = False
        self._frame: Frame | None = None  # of the head that is in its map
        self._result: Frame | None = None  # from when f_0 goes
        self._block, self._core = 0, whole(height, width)

    def end(self) -> None:
        """Borrow nothing any more."""
        self._launch.finish()
        self._maps = dict(self._own)

    def drop(self) -> None:
        """Leave the frame as it is, after an error; the workspace is of no use after that."""
        self._launch.drop()

    def _resize(self, height: int, width: int) -> None:
        self._arena.resize(height, width)
        self._launch.resize(height, width)
        self._pitch, self._half_pitch = width + 2, width // 2 + 2
        line = self._network.line
        self._own = {name: self._arena.take_map(name, height + 2, self._pitch, line) for name in maps(self._network)}
        self._own.setdefault("head", self._own["features"])
        self._every: IndexLists | None = None  # made when it is needed first
        self._body.resize(height, width)

    @property
    def _lists(self) -> IndexLists:
        if self._some:
            return self._some
        if not self._every:
            self._every = AllPixels(self._arena, *self.size)
        return self._every

    @property
    def _last_lists(self) -> IndexLists:
        return self._results or self._lists

    def head(self, frame: Frame) -> None:
        launch, (first, second), line = self._launch, self._network.head, self._network.line
        launch.block, self._frame = None, frame
        hidden = self._own["fused" if second else "head"]  # "fused" is free until the first masked block
        with self._arena.scratch("frame", 3 * self._grid_size) as scratch:
            centred = self._centre(frame, scratch)
            launch.then(launch.convolution(
                first, self._lists.pixels, self._pitch, centred, 3, hidden, line,
                slope=self._network.spec.slope if second else 1, outputs=self._network.channels,
            ))  # fmt: skip
        if second:
            launch.then(launch.winograd(second, self._last_lists.quads, hidden, self._own["head"]))
        self._maps["head"] = self._own["head"]

    def mask(self, block: int, source: Map) -> None:
        launch, branch, upsampling = self._launch, self._network.masks[block], block == len(self._network.blocks)
        assert branch is not None, "a block without a mask is given one"
        launch.block = None if upsampling else block
        (height, width), pitch, channels = self.size, self._half_pitch, branch.channels
        half = (height // 2 + 2) * pitch
        mask = np.zeros((height, width), np.uint8)
        with self._arena.scratch("mask branch", 2 * half * channels) as scratch:
            pooled, hidden = scratch.view(np.float32).reshape(2, -1)
            launch.then(*(launch.clear_border(lines, pitch, channels) for lines in (pooled, hidden)))
            launch.then(launch.pooled(
                branch.first, self._lists.pooled, self._maps[source], self._lists.means, pooled
            ))  # fmt: skip
            launch.then(launch.convolution(
                branch.second, self._lists.hidden, pitch, pooled, channels, hidden, channels, slope=0,
                outputs=channels,
            ))  # fmt: skip
            launch.then(launch.decide(hidden.reshape(-1, pitch, channels), *branch.decide, self._body.only, mask))
        if upsampling:
            launch.finish()
            mask = whole_quads(mask)
        self._masks[block] = mask

    def give_mask(self, block: int, mask: Mask) -> None:
        self._masks[block] = np.ascontiguousarray(mask, np.uint8)

    def feature_sums(self, source: Map, core: Window) -> Sums:
        sums = np.zeros(self._network.channels, np.int64)
        self._launch.run(self._launch.window_sums(self._maps[source], core, sums))
        return sums

    def give_channels(self, block: int, dense: Dense) -> None:
        self._body.blocks[block] = self._network.block_for(block, dense)

    def masked_block(self, block: int, source: Map, core: Window) -> None:
        self._launch.block = self._block = block
        self._core = core
        self._maps["fused"] = self._own["fused"]
        self._body.run(block, self._maps[source], self._body.select(self._masks[block]), self._maps["fused"])

    def sums(self) -> Sums:
        attention = self._network.spec.blocks[self._block].attention
        kinds = (False, True) if attention and attention.contrast else (False,)
        sums = np.zeros((len(kinds), self._network.channels), np.int64)
        for of_kind, squares in zip(sums, kinds, strict=True):
            self._launch.run(self._launch.window_sums(self._maps["fused"], self._core, of_kind, squares=squares))
        return sums

    def attention(self, block: int, pixels: int, sums: Sums | None = None) -> None:
        """In double precision, from exact sums; see `contract.Ops`."""
        weights = self._network.attention[block]
        assert weights is not None, "a block without attention is given ones"
        down, down_bias, up, up_bias = weights
        part = self._network.spec.blocks[block].attention
        self._launch.finish()
        if sums is None:
            sums = self.sums() if part and part.contrast else self._body.sums
        logits = up @ np.maximum(down @ statistic(sums, pixels) + down_bias, 0) + up_bias
        self._scales[block] = (1 / (1 + np.exp(-logits))).astype(np.float32)

    def give_attention(self, block: int, scales: Scales) -> None:
        self._scales[block] = np.ascontiguousarray(scales, np.float32)

    def residual(self, block: int, source: Map, *, collect: bool) -> None:
        """The first one overwrites f_0, so the result begins before it."""
        if source == "head" and self._frame is not None:
            self._result = self.begin_result(self._frame)
        last = collect and block == len(self._network.blocks) - 1
        result = None if last else self._own["features"]
        self._residual(block, self._maps[source], self._maps["fused"], self._scales[block], result, collect)
        self._maps["features"] = self._own["features"]

    def collect(self, block: int) -> None:
        """The share of f as the residual of nothing: f * 0 + f."""
        features = self._maps["features"]
        self._residual(block, features, features, np.zeros(self._network.channels, np.float32), None, True)

    def _residual(
        self, block: int, source: Words, fused: Words, scales: Scales, result: Words | None, collect: bool
    ) -> None:
        self._launch.block = block
        self._launch.then(self._launch.residual_collect(
            self._network.shares[block], self._last_lists.pixels, source, fused, scales, result,
            self._own["collected"], collect=collect, first=not self._collecting,
            last=block == len(self._network.blocks) - 1, slope=self._network.spec.slope,
        ))  # fmt: skip
        self._collecting = self._collecting or collect

    def tail(self, frame: Frame) -> Frame:
        launch, network, maps = self._launch, self._network, self._maps
        result, self._result = self.begin_result(frame) if self._result is None else self._result, None
        launch.block = None
        features = maps["features"]
        if network.collect:
            features = self._own["fused"]  # free after the last residual
            added = maps["head"] if network.upsampling else None
            launch.then(launch.winograd(network.collect, self._lists.quads, self._own["collected"], features, added))
        if network.upsampling:
            mask = self._masks[len(network.blocks)] if network.spec.upsampling_mask else None
            here = self._body.only
            wanted = here.pixels if here.some else np.ones(self.size, np.bool_)
            self._upsampler.run(features, wanted, mask, result)
        else:
            launch.then(
                launch.tail(network.tail, self._last_lists.quads, features, network.mean, network.scale, result)
            )
        launch.finish()
        return result

    def begin_result(self, frame: Frame) -> Frame:
        """The bicubic base, and what the tail makes of f_0 where it is added to the collect."""
        launch, network = self._launch, self._network
        launch.block = None
        height, width = self.size
        result = np.empty((height * network.scale, width * network.scale, 3), np.float32)
        with self._arena.scratch("frame", 3 * self._grid_size) as scratch:
            grid = self._centre(frame, scratch).reshape(-1, self._pitch, 3)
            launch.then(launch.bicubic(grid, *network.phases, self._body.only, result))
        if network.collect and not network.upsampling:
            head = self._maps["head"]
            launch.then(launch.part_of_tail(network.tail, self._lists.quads, head, network.scale, result))
        return result

    def restrict(self, computed: Wanted, needed: Wanted | None = None) -> None:
        pixels = np.ascontiguousarray(computed)
        results = pixels if needed is None else np.ascontiguousarray(needed)
        self._body.only = Only(pixels, True, results)
        self._some = SomePixels(pixels)
        self._results = None if needed is None else SomePixels(results)

    def write(self, target: Map, values: Features) -> None:
        borrowed = grid_around(values)
        self._maps[target] = self._own[target] if borrowed is None else borrowed
        if borrowed is None:
            self._launch.run(self._launch.copy(self._inner(target), values))

    def read(self, source: Map, window: Window, into: Features | None = None) -> Features:
        inner = self._inner(source)[window.slices]
        if into is not None and (into.shape, into.dtype) == (inner.shape, inner.dtype):
            values = into
        elif inner.shape[:2] == self.size:
            values = inside_grid(inner.shape, inner.dtype)
        else:
            values = np.empty_like(inner, order="C")
        self._launch.run(self._launch.copy(values, inner))
        return values

    def load(self, target: Map, fill: Callable[[Features], None]) -> None:
        self._maps[target] = self._own[target]
        self._collecting = self._collecting or target == "collected"
        self._launch.finish()
        fill(self._inner(target))

    def save(self, source: Map, window: Window, take: Callable[[Features], None]) -> None:
        self._launch.finish()
        take(self._inner(source)[window.slices])

    def update(self, source: Map, window: Window, kept: Features, wanted: Wanted) -> Wanted:
        differs = np.zeros(wanted.shape, np.bool_)
        self._launch.run(self._launch.merge(self._inner(source)[window.slices], kept, wanted, differs))
        return differs

    def read_mask(self, block: int) -> Mask:
        self._launch.finish()
        return self._masks[block]

    def read_attention(self, block: int) -> Scales:
        return self._scales[block]

    @property
    def _grid_size(self) -> int:
        return (self.size[0] + 2) * self._pitch

    def _centre(self, frame: Frame, scratch: Words) -> Floats:
        """The frame without its mean colour, as a map of 3 channels in scratch."""
        flat: Floats = scratch.view(np.float32)
        grid, launch = flat.reshape(-1, self._pitch, 3), self._launch
        launch.then(launch.clear_border(flat, self._pitch, 3), launch.centre(frame, self._network.mean, grid))
        return flat

    def _inner(self, name: Map) -> Words:
        """A map without its border, (H, W, words)."""
        return self._maps[name].reshape(-1, self._pitch, self._network.line)[1:-1, 1:-1]
