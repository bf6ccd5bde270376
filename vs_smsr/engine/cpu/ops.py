"""`walk.Ops` in compiled CPU kernels: the buffers of one frame size, and a kernel launch or two per op."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Mask, Scales
from vs_smsr.engine.cpu import kernels, pixels, places
from vs_smsr.engine.cpu import quads as quad_kernels
from vs_smsr.engine.cpu.body import Body, Layer, Pixels
from vs_smsr.engine.cpu.buffers import MAPS, Buffers, zero_border
from vs_smsr.engine.cpu.claims import copy_rows
from vs_smsr.engine.cpu.network import PackedNetwork
from vs_smsr.engine.cpu.packing import Floats, Packed, Words
from vs_smsr.engine.cpu.pool import Call, Pool
from vs_smsr.engine.cpu.profile import Profile
from vs_smsr.engine.tiled import Slot, Wanted
from vs_smsr.engine.window import Window
from vs_smsr.weights import CHANNELS, LAYERS, MASK_CHANNELS, MEAN, MODULES


class Launcher:
    """Launches kernels on the pool; each launch claims its work from a counter of its own."""

    def __init__(self, pool: Pool, profile: Profile | None) -> None:
        self.module: int | None = None  # the SMM that launches belong to
        self._profile = profile
        self._pool = pool

    def __call__(self, kernel: Any, *args: Any) -> None:
        """Launch one kernel."""
        self.together(self.call(kernel, *args))

    def call(self, kernel: Any, *args: Any) -> Call:
        """A launch for `together`."""
        return kernel, args

    def together(self, *calls: Call) -> None:
        """Launch kernels that do not need each other's results; no thread waits between them."""
        if self._profile is None:
            if calls:
                self._pool.run(calls)
            return
        for call in calls:
            start = time.perf_counter()
            self._pool.run([call])
            function: Any = getattr(call[0], "py_func", call[0])  # compiled, or plain Python
            name = str(function.__qualname__).partition(".")[0]
            self._profile.add(name, self.module, time.perf_counter() - start)

    def convolution(
        self, packed: Packed, list_: NDArray[np.int32], width: int, source: Words, source_stride: int, target: Words,
        target_stride: int, *, rectify: bool = False, added: Words | None = None, outputs: int = CHANNELS,
        source_shift: int = 0, target_shift: int = 0,
    ) -> Call:  # fmt: skip
        """A 3x3, map to map over a list, for `together`; strides in words, shifts in grid positions."""
        return self.call(
            kernels.convolution(*packed.literals), list_, width, source, packed.words, source_stride, source_shift,
            packed.data, packed.group_stride, packed.tap_starts, packed.groups, packed.bias, rectify,
            target if added is None else added, added is not None, target, target_stride, target_shift, outputs,
        )  # fmt: skip

    def convolve(self, packed: Packed, *args: Any, **options: Any) -> None:
        """Launch a `convolution`."""
        self.together(self.convolution(packed, *args, **options))


class Workspace:
    """The ops of one frame size at a time, on buffers that are reused from frame to frame.

    Maps live on the grid, the frame with a border of one zero pixel: four of 64 channels, then the body's own.
    """

    def __init__(self, network: PackedNetwork, pool: Pool, profile: Profile | None = None) -> None:
        self._network = network
        self._launch = Launcher(pool, profile)
        self._buffers = Buffers(network)
        self._body = Body(network, self._launch, self._buffers)
        self.size = 0, 0

    def begin(self, height: int, width: int) -> None:
        """Make ready for a frame of that size.

        Raises:
            MemoryError: a buffer cannot be allocated.
        """
        if (height, width) != self.size:
            self.size = 0, 0
            self._resize(height, width)
            self.size = height, width
        self._some: places.Places | None = None
        self._body.only = None

    def _resize(self, height: int, width: int) -> None:
        buffers, network = self._buffers, self._network
        buffers.resize(height, width)
        self._pitch, self._half_pitch = width + 2, width // 2 + 2
        self._head, self._features, self._total, self._collected = (
            buffers.take_map(name, height + 2, self._pitch, network.line) for name in MAPS
        )
        self._every: places.Places | None = None  # made when it is needed first
        self._body.resize(height, width)

    @property
    def _places(self) -> places.Places:
        if self._some:
            return self._some
        if not self._every:
            self._every = places.Everywhere(self._buffers, *self.size)
        return self._every

    def head(self, frame: Frame) -> Words:
        self._launch.module = None
        first, second = self._network.head
        line = self._network.line
        centred = self._centre(frame)
        self._launch.convolve(first, self._places.pixels, self._pitch, centred, 3, self._total, line, rectify=True)
        self._by_quads(second, self._total, self._head)
        return self._head

    def mask(self, module: int, features: Words) -> Mask:
        self._launch.module = module
        first, second = self._network.masks[module]
        (height, width), pitch, channels = self.size, self._half_pitch, MASK_CHANNELS
        pooled, hidden = (
            self._buffers.take("scratch", 2 * (height // 2 + 2) * pitch * channels).view(np.float32).reshape(2, -1)
        )
        for half in pooled, hidden:
            zero_border(half.reshape(-1, pitch, channels))
        self._launch(
            quad_kernels.pooled_convolution(*first.literals[:3], self._network.line), self._places.pooled, self._pitch,
            features, first.data, first.group_stride, first.tap_starts, first.groups, first.bias, self._places.means,
            pooled,
        )  # fmt: skip
        self._launch.convolve(
            second, self._places.hidden, pitch, pooled, channels, hidden, channels, rectify=True, outputs=channels
        )
        mask = np.empty((height, width), np.uint8)
        self._launch(pixels.decide, hidden.reshape(-1, pitch, channels), *self._network.decisions[module], mask)
        return mask

    def given_mask(self, mask: Mask) -> Mask:
        return np.ascontiguousarray(mask, np.uint8)

    def select(self, mask: Mask) -> Pixels:
        return self._body.select(mask)

    def conv3x3(
        self, module: int, layer: int, source: Words | Layer, pixels: Pixels, total: Words | None
    ) -> tuple[Layer, Words]:
        """Layers wait for the last one: all four then run band by band, so that their buffers stay small."""
        features = source.features if isinstance(source, Layer) else source
        if layer == LAYERS - 1:
            self._launch.module = module
            self._body.run(module, features, pixels, self._total)
        return Layer(features), self._total

    def attention(self, module: int, total: Words) -> Scales:
        height, width = self.size
        return self.attention_of(module, self._body.sums, height * width)

    def attention_of(self, module: int, sums: NDArray[np.int64], pixels: int) -> Scales:
        """Channel attention from exact channel sums over that many pixels."""
        down, down_bias, up, up_bias = self._network.attention[module]
        mean = sums / (kernels.SUM_SCALE * pixels)
        logits = up @ np.maximum(down @ mean + down_bias, 0) + up_bias
        scales: Scales = (1 / (1 + np.exp(-logits))).astype(np.float32)
        return scales

    def given_attention(self, scales: Scales) -> Scales:
        return np.ascontiguousarray(scales, np.float32)

    def residual(
        self, module: int, features: Words, total: Words, scales: Scales, collected: Words | None
    ) -> tuple[Words, Words]:
        self._residual(module, features, total, scales, first=collected is None, shared=True)
        return self._features, self._collected

    def _residual(
        self, module: int, features: Words, total: Words, scales: Scales, *, first: bool, shared: bool
    ) -> None:
        self._launch.module = module
        share = self._network.shares[module]
        self._launch(
            kernels.residual_collect(*share.literals), self._places.pixels, features, total, scales, self._features,
            self._network.line, share.data, share.group_stride, share.bias, self._collected,
            first, module == MODULES - 1, shared,
        )  # fmt: skip

    def collect(self, collected: Words, head: Words) -> Words:
        self._launch.module = None
        self._by_quads(self._network.collect, collected, self._total, added=head)
        return self._total

    def tail(self, features: Words, frame: Frame) -> Floats:
        packed, scale = self._network.tail, self._network.scale
        height, width = self.size
        result = np.empty((height * scale, width * scale, 3), np.float32)
        self._launch(pixels.bicubic, self._grid(self._centre(frame), 3), *self._network.phases, result)
        self._launch(
            quad_kernels.tail_convolution(*packed.literals), self._places.quads, self._pitch, features, packed.data,
            packed.group_stride, packed.tap_starts, packed.groups, packed.bias, MEAN, scale, result,
        )  # fmt: skip
        return result

    def host_mask(self, mask: Mask) -> Mask:
        return mask

    def host_attention(self, scales: Scales) -> Scales:
        return scales

    def write(self, slot: Slot, values: Words) -> Words:
        """Fill the map of f_0 ("head") or f_k ("features") from (H, W, words of 64 channels)."""
        return self._fill(self._head if slot == "head" else self._features, values)

    def given_total(self, values: Words) -> Words:
        """Fill the map of an SMM's total."""
        return self._fill(self._total, values)

    def read(self, features: Words, window: Window) -> Words:
        """A copy (h, w, words of 64 channels) of part of a map."""
        inner = self._grid(features, self._network.line)[1:-1, 1:-1][window.slices]
        values = np.empty_like(inner, order="C")
        self._launch(copy_rows, values, inner)
        return values

    def only(self, pixels: Wanted) -> None:
        """From now on compute these pixels (H, W) alone; see `tiled.WindowOps`."""
        self._some = places.Only(pixels)
        self._body.only = np.ascontiguousarray(pixels)

    def want(self, core: Window) -> None:
        """Name the part of the window that `finished` is to give."""
        self._core = core

    def finished(self, total: Words) -> tuple[Words, NDArray[np.int64]]:
        """The wanted part of an SMM's total and its channel sums."""
        core, sums = self._core, np.zeros(CHANNELS, np.int64)
        self._launch(
            kernels.window_sums, total, self._pitch, self._network.line,
            core.top, core.left, core.bottom, core.right, sums,
        )  # fmt: skip
        return self.read(total, core), sums

    def _by_quads(self, packed: Packed, source: Words, target: Words, added: Words | None = None) -> None:
        """A 3x3 of 64 to 64 channels, map to map."""
        self._launch(
            quad_kernels.quad_convolution(*packed.literals), self._places.quads, self._pitch, source, packed.data,
            packed.group_stride, packed.tap_starts, packed.bias, target if added is None else added,
            added is not None, target,
        )  # fmt: skip

    def advance(self, module: int, features: Words, total: Words, scales: Scales) -> Words:
        """See `tiled.WindowOps`."""
        self._residual(module, features, total, scales, first=True, shared=False)
        return self._features

    def share(self, module: int, features: Words, collected: Words | None) -> Words:
        """See `tiled.WindowOps`; f_k as f_k * 0 + f_k."""
        nothing = np.zeros(CHANNELS, np.float32)
        self._residual(module, features, features, nothing, first=collected is None, shared=True)
        return self._collected

    def _centre(self, frame: Frame) -> Floats:
        """A map of the frame without its mean colour."""
        rows, pitch = self.size[0] + 2, self._pitch
        flat: Floats = self._buffers.take("scratch", rows * pitch * 3).view(np.float32)
        zero_border(self._grid(flat, 3))
        self._launch(pixels.centre, frame, MEAN, self._grid(flat, 3))
        return flat

    def _fill(self, flat: Words, values: Words) -> Words:
        self._launch(copy_rows, self._grid(flat, self._network.line)[1:-1, 1:-1], values)
        return flat

    def _grid(self, flat: Words, line: int) -> Words:
        return flat.reshape(-1, self._pitch, line)
