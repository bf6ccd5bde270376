"""`walk.Ops` over the CUDA kernels: the buffers of one frame size and the launches between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cupy_kernels import Device, Kernels, geometry
from vs_smsr.engine.contract import Frame, Mask, Scales
from vs_smsr.engine.cuda.network import Array, Collect, Network
from vs_smsr.engine.picture import WHITE, Picture
from vs_smsr.weights import CHANNELS, LAYERS, MODULES


@dataclass(frozen=True)
class Features:
    """A full map of 64 channels, (H, W, 64).

    With halves, f is two maps: `high`, which convolutions read, and `low`, what rounding left over, which only the mask
    branch and the residual read. There is one `low`, that of the newest f.
    """

    high: Array
    low: Array


@dataclass(frozen=True)
class Layer:
    """Outputs of a masked layer: dense (H, W, stored) and rows (H * W, 64 - stored)."""

    dense: Array
    rows: Array


@dataclass(frozen=True)
class Pixels:
    """Active and inactive pixels as (list (H * W,), its length (1,)), and pixel -> 1 + row, 0 where inactive."""

    active: tuple[Array, Array]
    inactive: tuple[Array, Array]
    inverse: Array


@dataclass(frozen=True)
class Total:
    """What `residual` needs for a total: the layers wait in their buffer, and it does the collect itself.

    Each part is a 1x1 convolution over that buffer and the pixels (list, length) that it is for.
    """

    parts: tuple[tuple[Collect, tuple[Array, Array]], ...]
    bias: Array


LEFT_OUT = 2  # in a mask, beside 0 and 1: a pixel of neither list
Buffers = dict[str, tuple[tuple[int, ...], DTypeLike]]


def buffers(height: int, width: int, scale: int, half: bool) -> Buffers:
    """Name -> shape and dtype of everything that a frame of this size needs; the engine allocates exactly this."""
    element = np.float16 if half else np.float32
    area, features = height * width, (height, width, CHANNELS)
    return {
        "frame": ((height, width, 3), np.float32),
        "head": (features, element),
        "high": (features, element),
        "low": (features if half else (0, 0, 0), element),
        "collected": (features, element),
        "layers": ((LAYERS * area * CHANNELS,), element),
        "pooled": ((height // 2, width // 2, 16), np.float32),
        "partial": ((geometry.select_blocks(area),), np.int32),
        "active": ((area,), np.uint32),
        "inactive": ((area,), np.uint32),
        "inverse": ((height, width), np.int32),
        "counts": ((2,), np.int32),
        "sums": ((MODULES, LAYERS, CHANNELS), np.int64),
        "out": ((scale * height, scale * width, 3), np.float32),
        **{f"mask{module}": ((height, width), np.uint8) for module in range(MODULES)},
        **{f"scales{module}": ((CHANNELS,), np.float32) for module in range(MODULES)},
    }


def bytes_for(height: int, width: int, scale: int, half: bool) -> int:
    """Device memory for a frame of this size."""
    sizes = (
        math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in buffers(height, width, scale, half).values()
    )
    return sum(map(geometry.allocated, sizes))


class Workspace:
    """See `walk.Ops`. One frame at a time; what an op returns lives until the op that replaces it.

    Raises:
        MemoryError: the device or its limit has no room.
    """

    def __init__(self, network: Network, device: Device, half: bool, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.device = device
        self._network = network
        self._kernels = Kernels(device, half)
        sizes = buffers(height, width, network.scale, half)
        self._at = {name: device.empty(shape, dtype) for name, (shape, dtype) in sizes.items()}
        self._features = Features(self._at["high"], self._at["low"])
        self._layers = [self._split(module) for module in range(MODULES)]
        self._no_rows = self._at["layers"][:0].reshape(height * width, 0)
        self._frame: Frame | None = None  # the one that was uploaded
        self._counted = (0, 0, height, width)  # the part of the window that channel sums are over
        self._only: NDArray[np.bool_] | None = None  # pixels that lists are made of; None: all
        self._is_picture = False  # the frame is of the caller's type, and so is the result
        self._masks = self._scales = 0  # used in this frame
        self._token = object()  # whose launches the device may have recorded: those with these buffers
        self._launches = ExitStack()  # open from the upload to the download of a frame
        self._replay = False

    @contextmanager
    def launches(self, *, replay: bool, picture: bool = False) -> Iterator[None]:
        """One frame. With `replay` its launches are those of the frame before, and the device may replay them.

        With `picture` the frame that comes is not float32 0..255 but as `engine.picture` says, and so is the result.
        """
        self._replay = replay and self.device.properties.graphs
        self._is_picture = picture
        self._counted, self._only = (0, 0, self.height, self.width), None
        self._frame = None
        self._masks = self._scales = 0
        with ExitStack() as self._launches:
            yield

    def _split(self, module: int) -> tuple[Layer, ...]:
        """The layers' views of their buffer: the maps of all layers, then the rows of all layers."""
        area = self.height * self.width
        stored = [layer.out.stored for layer in self._network.modules[module].layers]
        widths = [*stored, *(CHANNELS - channels for channels in stored)]
        starts = [area * sum(widths[:i]) for i in range(len(widths) + 1)]
        views = [self._at["layers"][start:end] for start, end in pairwise(starts)]
        maps = [view.reshape(self.height, self.width, n) for view, n in zip(views[:LAYERS], widths, strict=False)]
        rows = [view.reshape(area, n) for view, n in zip(views[LAYERS:], widths[LAYERS:], strict=True)]
        return tuple(Layer(*pair) for pair in zip(maps, rows, strict=True))

    def head(self, frame: Frame) -> Features:
        at, network = self._at, self._network
        self._upload(frame)
        if self._replay:
            self._launches.enter_context(self.device.replayed(self._token))
        self.device.zero(at["sums"])
        hidden = at["collected"]  # free until the first residual
        self._kernels.head_first(at["frame"], network.mean, *network.head_first, hidden)
        head = Features(at["head"], at["low"])
        self._kernels.conv_head(hidden, *network.head, head.high, head.low)
        return head

    def mask(self, module: int, features: Features) -> Array:
        weights = self._network.modules[module]
        mask = self._next_mask()
        self._kernels.mask_pool(features.high, features.low, *weights.pool, self._at["pooled"])
        self._kernels.mask_decide(self._at["pooled"], *weights.decide, mask)
        return mask

    def given_mask(self, mask: Mask) -> Array:
        array = self._next_mask()
        self._mark(array, mask)
        return array

    def _mark(self, array: Array, mask: Mask | int) -> None:
        """Fill a mask; pixels that are not wanted go into neither list."""
        marked = np.broadcast_to(np.asarray(mask) != 0, array.shape).astype(np.uint8)
        if self._only is not None:
            marked[~self._only] = LEFT_OUT
        self.device.upload(array, marked)

    def select(self, mask: Array) -> Pixels:
        at = self._at
        counts = at["counts"]
        self._kernels.count_pixels(mask, at["partial"])
        self._kernels.list_pixels(mask, at["partial"], at["active"], at["inactive"], at["inverse"], counts)
        return Pixels((at["active"], counts[:1]), (at["inactive"], counts[1:]), at["inverse"])

    def conv3x3(
        self, module: int, layer: int, source: Features | Layer, pixels: Pixels, total: Total | None
    ) -> tuple[Layer, Total]:
        if isinstance(source, Features):
            source = Layer(source.high, self._no_rows)
        weights = self._network.modules[module].layers[layer]
        out = self._layers[module][layer]
        sums = self._at["sums"][module, layer]
        given = source.dense, source.rows, pixels.inverse
        result = out.dense, out.rows
        conv = self._kernels.conv_listed
        if weights.dense is not None:
            some = sums[: weights.out.stored]
            conv(*given, weights.dense, *pixels.inactive, *result, some, everything=False, window=self._counted)
        elif weights.out.stored:  # dense outputs without dense inputs are 0 at inactive pixels
            self.device.zero(out.dense)
        conv(*given, weights.everything, *pixels.active, *result, sums, everything=True, window=self._counted)
        whole = self._network.modules[module]
        return out, Total(((whole.active, pixels.active), (whole.inactive, pixels.inactive)), whole.bias)

    def attention(self, module: int, total: Total) -> Array:
        return self._attention(module, self.height * self.width)

    def _attention(self, module: int, pixels: int) -> Array:
        scales = self._next_scales()
        weights = self._network.modules[module].attention
        self._kernels.attention_scales(self._at["sums"][module], *weights, scales, pixels)
        return scales

    def given_attention(self, scales: Scales) -> Array:
        array = self._next_scales()
        self.device.upload(array, np.ascontiguousarray(scales, np.float32))
        return array

    def residual(
        self, module: int, features: Features, total: Total, scales: Array, collected: Array | None
    ) -> tuple[Features, Array]:
        self._residual(module, features, total, scales, first=collected is None, shared=True)
        return self._features, self._at["collected"]

    def _residual(
        self, module: int, features: Features, total: Total, scales: Array, *, first: bool, shared: bool
    ) -> None:
        before, after = (features.high, features.low), (self._features.high, self._features.low)
        share = self._network.modules[module].share, self._network.share_bias, self._at["collected"]
        ends = {"first": first, "last": module == MODULES - 1, "shared": shared}
        for collect, pixels in total.parts:
            inputs = self._at["layers"], collect.table, collect.weights, total.bias, scales
            self._kernels.residual(*inputs, before, after, *share, *pixels, **ends)

    def collect(self, collected: Array, head: Features) -> Features:
        weights = self._network.collect
        self._kernels.conv_add(collected, *weights, head.high, self._features.high)
        return self._features

    def tail(self, features: Features, frame: Frame) -> NDArray[np.float32]:
        at, network = self._at, self._network
        self._upload(frame)
        self._kernels.tail(features.high, *network.tail, at["frame"], at["out"], network.scale)
        self._launches.close()
        return self._packed(frame) if self._is_picture else self.device.download(at["out"])

    def host_mask(self, mask: Array) -> Mask:
        host: Mask = self.device.download(mask)
        return host

    def host_attention(self, scales: Array) -> Scales:
        host: Scales = self.device.download(scales)
        return host

    def _upload(self, frame: Frame) -> None:
        if frame is self._frame:
            return
        self._frame = frame
        if not self._is_picture:
            self.device.upload(self._at["frame"], frame)
            return
        host, planar = _in_memory(frame)
        staged = self._room("out", host.shape, host.dtype)  # free until the tail
        self.device.upload(staged, host)
        self._kernels.unpack_picture(staged, self._at["frame"], white=WHITE[host.dtype.name], planar=planar)

    def _packed(self, like: Picture) -> Picture:
        """The result in the type and memory order of `like`, on the host; (sH, sW, 3)."""
        out, dtype = self._at["out"], like.dtype
        height, width = out.shape[:2]
        planar = _in_memory(like)[1]
        shape = (3, height, width) if planar else (height, width, 3)
        staged = self._room("layers", shape, dtype)  # free after the last residual
        self._kernels.pack_picture(out, staged, white=WHITE[dtype.name], planar=planar)
        host: Picture = self.device.download(staged)
        return host.transpose(1, 2, 0) if planar else host

    def _room(self, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """An array at the start of a larger buffer."""
        flat = self._at[name].reshape(-1)
        count = math.prod(shape)
        return flat[: -(-count * dtype.itemsize // flat.itemsize)].view(dtype)[:count].reshape(shape)

    def _next_mask(self) -> Array:
        self._masks += 1
        return self._at[f"mask{self._masks - 1}"]

    def _next_scales(self) -> Array:
        self._scales += 1
        return self._at[f"scales{self._scales - 1}"]


def _in_memory(picture: Picture) -> tuple[Picture, bool]:
    """(H, W, 3) as it lies in memory, and whether it is planar: then (3, H, W), else (H, W, 3); else a packed copy."""
    planes = picture.transpose(2, 0, 1)
    if planes.flags.c_contiguous:
        return planes, True
    return np.ascontiguousarray(picture), False
