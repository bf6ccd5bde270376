"""`contract.Ops` over the CUDA kernels: the buffers of one frame size and the launches between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels import Device, Kernels
from cupy_kernels.geometry import CHANNELS
from vs_smsr.engine.contract import Dense, Features, Frame, Map, Mask, Scales, Sums, Wanted
from vs_smsr.engine.conversion import unpack
from vs_smsr.engine.cuda.body import Array, Fuse, Room
from vs_smsr.engine.cuda.buffers import buffers
from vs_smsr.engine.cuda.network import Network
from vs_smsr.engine.cuda.pictures import Converter
from vs_smsr.engine.merging import update
from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.engine.window import Window, whole
from vs_smsr.families import GradientMask

LEFT_OUT = 2  # in a mask, beside 0 and 1: a pixel of neither list


@dataclass(frozen=True)
class Exact:
    """A map of 64 channels, (H, W, 64).

    With halves, f and fused features are two maps: `high`, which convolutions read, and `low`, what rounding left over,
    which only the mask branch and the residual read. There is one `low`, that of the newest f.
    """

    high: Array
    low: Array

    @property
    def parts(self) -> tuple[Array, ...]:
        """Those that have numbers."""
        return tuple(part for part in (self.high, self.low) if part.size)


@dataclass(frozen=True)
class Layer:
    """Outputs of a masked layer: dense (H, W, stored) and rows (H * W, 64 - stored)."""

    dense: Array
    rows: Array


@dataclass(frozen=True)
class Fused:
    """What `residual` makes the fused features of: the layers wait in their buffer, and it does the 1x1 itself.

    Each part is a 1x1 convolution over that buffer and the pixels (list, length) that it is for.
    """

    parts: tuple[tuple[Fuse, tuple[Array, Array]], ...]
    bias: Array


class Workspace:
    """See `contract.Ops`. One frame at a time; features on the host have 64 channels, with halves twice: high, low.

    Raises:
        MemoryError: the device or its limit has no room.
    """

    def __init__(self, network: Network, device: Device, half: bool, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.device = device
        self._network, self._half = network, half
        self._kernels = Kernels(device, half)
        sizes = buffers(network.spec, height, width, half)
        self._at = {name: device.empty(shape, dtype) for name, (shape, dtype) in sizes.items()}
        self._maps = {
            "head": Exact(self._at["head"], self._at["low"]),
            "features": Exact(self._at["high"], self._at["low"]),
            "collected": Exact(self._at["collected"], self._at["low"][:0]),
        }
        # Where fused features are read: in the place of f, which nothing needs after them but a tail without a collect.
        fused = Exact(self._at["collected"], self._at["fused low"])
        self._maps["fused"] = self._maps["features"] if network.collect else fused
        self._converter = Converter(device, self._kernels, self._at)
        self._bodies = list(network.bodies)
        self._dense: dict[int, Dense] = {}  # by which bodies were made
        if network.upsampling and not network.spec.upsampling_mask:
            device.upload(self._at[f"mask{len(network.blocks)}"], np.ones((height, width), np.uint8))
        self._layers = [self._split(block) for block in range(len(network.blocks))]
        self._no_rows = self._at["layers"][:0].reshape(height * width, 0)
        self._token = object()  # whose launches the device may have recorded: those with these buffers
        self._launches = ExitStack()  # open from the upload to the download of a frame
        self._begin()

    def _begin(self) -> None:
        self._frame: Frame | None = None  # the one that was uploaded
        self._replay = False
        self._only: Wanted | None = None  # pixels that lists are made of; None: all
        self._core = whole(self.height, self.width)
        self._sums = self._at["sums"][0]  # of the newest masked block
        self._fused: Fused | None = None
        self._collecting = False

    @contextmanager
    def launches(self, *, replay: bool) -> Iterator[None]:
        """One frame. With `replay` its launches are those of the frame before, and the device may replay them."""
        self._begin()
        self._replay = replay and self.device.properties.graphs
        with ExitStack() as self._launches:
            yield

    def _split(self, block: int) -> tuple[Layer, ...]:
        """The layers' views of their buffer: the maps of all layers, then the rows of all layers."""
        area = self.height * self.width
        stored = [layer.out.stored for layer in self._bodies[block].layers]
        widths = [*stored, *(CHANNELS - channels for channels in stored)]
        starts = [area * sum(widths[:i]) for i in range(len(widths) + 1)]
        views = [self._at["layers"][start:end] for start, end in pairwise(starts)]
        count = len(stored)
        maps = [view.reshape(self.height, self.width, n) for view, n in zip(views[:count], widths, strict=False)]
        rows = [view.reshape(area, n) for view, n in zip(views[count:], widths[count:], strict=True)]
        return tuple(Layer(*pair) for pair in zip(maps, rows, strict=True))

    def head(self, frame: Frame) -> None:
        at, network = self._at, self._network
        self._upload(frame)
        if self._replay:
            self._launches.enter_context(self.device.replayed(self._token))
        given, result = (at["frame"], network.mean, *network.head_first), (at["head"], at["low"])
        if network.head is None:
            self._kernels.head_alone(*given, *result)
        else:
            hidden = at["collected"]  # free until the first residual
            self._kernels.head_first(*given, hidden, slope=network.spec.slope)
            self._kernels.conv_head(hidden, *network.head, *result)

    def mask(self, block: int, source: Map) -> None:
        branch, features, upsampling = self._network.masks[block], self._maps[source], block == len(self._bodies)
        assert branch is not None, "a block without a mask is given one"
        self._kernels.mask_pool(features.high, features.low, *branch.pool, self._at["pooled"])
        self._kernels.mask_decide(self._at["pooled"], *branch.decide, self._at[f"mask{block}"], quads=upsampling)
        if upsampling:
            self._select(block)  # for its numbers of pixels

    def give_mask(self, block: int, mask: Mask) -> None:
        self._mark(self._at[f"mask{block}"], mask)

    def _mark(self, array: Array, mask: Mask | int) -> None:
        """Fill a mask; pixels that are not wanted go into neither list."""
        marked = np.broadcast_to(np.asarray(mask) != 0, array.shape).astype(np.uint8)
        if self._only is not None:
            marked[~self._only] = LEFT_OUT
        self.device.upload(array, marked)

    def _select(self, block: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """A block's active and inactive pixels as (list (H * W,), length (1,)); "inverse" is pixel -> 1 + row."""
        at, mask, counts = self._at, self._at[f"mask{block}"], self._at["counts"][block]
        self._kernels.count_pixels(mask, at["partial"])
        self._kernels.list_pixels(mask, at["partial"], at["active"], at["inactive"], at["inverse"], counts)
        return (at["active"], counts[:1]), (at["inactive"], counts[1:])

    def feature_sums(self, source: Map, core: Window) -> Sums:
        features, sums = self._maps[source], self._at["feature sums"]
        self.device.zero(sums)
        window = core.top, core.left, core.bottom, core.right
        self._kernels.sum_features(features.high, features.low, sums, window)
        host: Sums = self.device.download(sums)
        return host[: self._network.spec.width]

    def give_channels(self, block: int, dense: Dense) -> None:
        """Weights are ordered anew only where the masks are not those of the frame before."""
        if block in self._dense and np.array_equal(self._dense[block], dense):
            return
        self._bodies[block] = self._network.body_for(block, dense, Room(self.device, self._at[f"weights{block}"]))
        self._layers[block] = self._split(block)
        self._dense[block] = dense

    def masked_block(self, block: int, source: Map, core: Window) -> None:
        body = self._bodies[block]
        active, inactive = self._select(block)
        self._core, self._sums = core, self._at["sums"][block]
        self.device.zero(self._sums)
        window = (core.top, core.left, core.bottom, core.right)
        before = Layer(self._maps[source].high, self._no_rows)
        conv = self._kernels.conv_listed
        for number, (layer, out) in enumerate(zip(body.layers, self._layers[block], strict=True)):
            sums, result = self._sums[number], (out.dense, out.rows)
            given = before.dense, before.rows, self._at["inverse"]
            how: dict[str, Any] = {"slope": layer.slope, "window": window}
            if layer.dense is not None:
                some = sums[: layer.out.stored]
                conv(*given, layer.dense, *inactive, *result, some, everything=False, **how)
            elif layer.out.stored:  # dense outputs without dense inputs are 0 at inactive pixels
                self.device.zero(out.dense)
            conv(*given, layer.everything, *active, *result, sums, everything=True, **how)
            before = out
        self._fused = Fused(((body.active, active), (body.inactive, inactive)), self._network.blocks[block].bias)

    def sums(self) -> Sums:
        host: Sums = self.device.download(self._sums)
        return host

    def attention(self, block: int, pixels: int, sums: Sums | None = None) -> None:
        weights = self._network.blocks[block]
        assert weights.attention is not None, "a block without attention is given ones"
        on_device = self._at["sums"][block]
        if sums is not None:
            self.device.upload(on_device, sums)
        means = self._bodies[block].columns, weights.bias
        self._kernels.attention_scales(on_device, *means, *weights.attention, self._at[f"scales{block}"], pixels)

    def give_attention(self, block: int, scales: Scales) -> None:
        padded = np.zeros(CHANNELS, np.float32)
        padded[: len(scales)] = scales
        self.device.upload(self._at[f"scales{block}"], padded)

    def residual(self, block: int, source: Map, *, collect: bool) -> None:
        assert self._fused is not None, "a masked block comes before its residual"
        scales, last = self._at[f"scales{block}"], block == len(self._network.blocks) - 1
        self._residual(block, self._fused, source, "features", scales, last=last, shared=collect)

    def collect(self, block: int) -> None:
        """By the residual of fused features that are nothing."""
        self.device.zero(self._at["layers"][: self.height * self.width * CHANNELS * (2 if self._half else 1)])
        nothing = Fused(((self._network.given, self._everywhere()),), self._network.zeros)
        self._residual(block, nothing, "features", "features", self._network.zeros, last=False, shared=True)

    def _residual(
        self, block: int, fused: Fused, before: Map, after: Map, scales: Array, *, last: bool, shared: bool
    ) -> None:
        into, out = self._maps[before], self._maps[after]
        maps = (into.high, into.low), (out.high, out.low)
        share = self._network.blocks[block].share, self._network.share_bias, self._at["collected"]
        how: dict[str, Any] = {
            "first": not self._collecting,
            "last": last,
            "shared": shared,
            "slope": self._network.spec.slope,
        }
        for fuse, pixels in fused.parts:
            inputs = self._at["layers"], fuse.table, fuse.weights, fused.bias, scales
            self._kernels.residual(*inputs, *maps, *share, *pixels, **how)
        self._collecting = self._collecting or shared

    def tail(self, frame: Frame) -> Frame:
        self._upload(frame)
        self._tail()
        result: Frame = self.device.download(self._at["out"])
        return result

    def _tail(self) -> None:
        at, network = self._at, self._network
        spec, features = network.spec, at["high"]
        if network.collect:
            self._kernels.conv_add(at["collected"], *network.collect, at["head"], features)
        for level, weights in enumerate(network.upsampling):
            mask, larger = at[f"mask{len(self._bodies)}"], at[f"larger{level}"]
            self._kernels.conv_shuffle(features, *weights, mask, larger, level=level, slope=spec.slope)
            features = larger
        self._kernels.tail(features, *network.tail, at["frame"], at["out"], spec.tail_scale, network.up)
        self._launches.close()

    def put_picture(self, picture: Picture) -> Frame:
        """In place of the upload of a frame: upload a picture of these sides or one less, and convert it.

        Returns:
            What `head` takes for that frame: it has no memory, only the shape, unless masks follow from its pixels.
        """
        self._converter.unpack(picture, self._bytes("out"), self._at["frame"])  # "out" is free until the tail
        if any(isinstance(block.mask, GradientMask) for block in self._network.spec.blocks):
            self._frame = unpack(picture)
        else:
            self._frame = np.broadcast_to(np.float32(0), (self.height, self.width, 3))
        return self._frame

    def take_picture(self, layout: Layout, height: int, width: int) -> tuple[Picture, NDArray[np.int32]]:
        """In place of `tail`: the result's first rows and columns, and numbers of pixels (blocks, 2), active first.

        Both are undefined until the device is synchronized.
        """
        self._tail()
        layers = self._bytes("layers")  # free after the last residual
        picture = self._converter.pack(self._at["out"], layers, layout, height, width)
        return picture, self.device.start_download(self._at["counts"])

    def restrict(self, computed: Wanted, needed: Wanted | None = None) -> None:
        """Lists of pixels become shorter; what goes over the whole window (head, mask, collect, tail) still does."""
        self._only = computed

    def write(self, target: Map, values: Features) -> None:
        high, low = (np.ascontiguousarray(part) for part in (values[..., :CHANNELS], values[..., CHANNELS:]))
        if target == "fused":
            size = self.height * self.width * CHANNELS
            for number, part in enumerate((high, low)[: 2 if self._half else 1]):
                self.device.upload(self._at["layers"][number * size : (number + 1) * size], part.reshape(-1))
            self._fused = Fused(((self._network.given, self._everywhere()),), self._network.zeros)
            return
        self.device.upload(self._maps[target].high, high)
        self._collecting = self._collecting or target == "collected"
        if target == "features" and self._half:  # the low part of f_0 is that of the head, where it is newest
            self.device.upload(self._maps[target].low, low)

    def read(self, source: Map, window: Window, into: Features | None = None) -> Features:
        """Fused features are made now, as the residual of nothing."""
        features = self._maps[source]
        if source == "fused":
            assert self._fused is not None, "a masked block comes before its fused features"
            for array in (features.high, features.low):
                self.device.zero(array)
            self._residual(0, self._fused, source, source, self._network.ones, last=False, shared=False)
        rows = slice(window.top, window.bottom)
        parts = [self.device.download(array[rows])[:, window.left : window.right] for array in features.parts]
        return np.concatenate(parts, -1)

    def load(self, target: Map, fill: Callable[[Features], None]) -> None:
        words = CHANNELS * len(self._maps[target].parts)
        values = np.empty((self.height, self.width, words), self._at["high"].dtype)
        fill(values)
        self.write(target, values)

    def save(self, source: Map, window: Window, take: Callable[[Features], None]) -> None:
        take(self.read(source, window))

    def update(self, source: Map, window: Window, kept: Features, wanted: Wanted) -> Wanted:
        return update(self.read(source, window), kept, wanted)

    def read_mask(self, block: int) -> Mask:
        host: Mask = self.device.download(self._at[f"mask{block}"])
        return host

    def read_attention(self, block: int) -> Scales:
        host: Scales = self.device.download(self._at[f"scales{block}"])
        return host[: self._network.spec.width]

    def _everywhere(self) -> tuple[Array, Array]:
        """A list of all pixels that are wanted: the inactive ones of an empty mask."""
        self._mark(self._at["mask0"], 0)
        return self._select(0)[1]

    def _upload(self, frame: Frame) -> None:
        if frame is not self._frame:
            self._frame = frame
            self.device.upload(self._at["frame"], frame)

    def _bytes(self, name: str) -> Array:
        return self._at[name].reshape(-1).view(np.uint8)
