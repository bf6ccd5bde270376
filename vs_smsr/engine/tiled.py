"""The network over a frame window by window, with the features between its stages in a store.

`walk` needs the whole frame's features at once, for channel attention needs means of the whole frame. Here each of
the seven stages (head, five SMMs, end) goes over the frame by tiles, with that stage's own small halo, and leaves its
result in the store; an SMM's channel sums are added up over the tiles before anybody needs them. So the bits are those
of `walk`, and the engine's buffers are those of one tile. The store may lie in memory or on disk, and what is in it
after a frame lets the next one recompute only what changed (`tiling.reuse`).
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Engine, Frame, Mask, Scales, State, Upscaled, sparsity
from vs_smsr.engine.walk import Ops, walk
from vs_smsr.engine.window import Window, end_needs, head_needs, smm_needs, whole
from vs_smsr.errors import EngineError
from vs_smsr.weights import LAYERS, MODULES

Features = NDArray[Any]  # (h, w, n) of the engine's own type: 64 channels, exactly as its maps hold them
Wanted = NDArray[np.bool_]  # (h, w)
Sums = NDArray[np.int64]  # channel sums in a fixed unit, so that any order of adding gives the same bits
Slot = Literal["head", "features"]
STAGES = MODULES + 1  # f_0 ... f_4 and the total of the last SMM


class WindowOps[M, K, P, L, T, S](Ops[M, K, P, L, T, S], Protocol):
    """Ops bound to a window of a frame, and the way of features between its buffers and the host."""

    def write(self, slot: Slot, values: Features) -> M:
        """Fill one of the two maps that a stage reads from: f_0 ("head") or f_k ("features")."""
        ...

    def read(self, features: M, window: Window) -> Features:
        """A copy of part of a map."""
        ...

    def only(self, pixels: Wanted) -> None:
        """From now on results are wanted at these pixels of the window alone, elsewhere they are undefined.

        An op's inputs must be right one pixel further than its wanted results (a mask's: as `window.mask_needs` says).
        """
        ...

    def want(self, core: Window) -> None:
        """Of the totals to come, only this part will be looked at."""
        ...

    def finished(self, total: T) -> tuple[Features, Sums]:
        """An SMM's whole collect in the wanted part: a copy of its values, and the sums that its attention needs."""
        ...

    def given_total(self, values: Features) -> T:
        """A total from the values of `finished`."""
        ...

    def attention_of(self, module: int, sums: Sums, pixels: int) -> S:
        """Channel attention from the sums over that many pixels."""
        ...

    def advance(self, module: int, features: M, total: T, scales: S) -> M:
        """As `residual`, without the share of the network's collect."""
        ...

    def share(self, module: int, features: M, collected: M | None) -> M:
        """What `residual` adds to collected, from f_k itself; not for the last SMM, whose share ends with a relu."""
        ...


class WindowEngine(Engine, Protocol):
    """An engine that also works by stages on windows.

    Attributes:
        feature_bytes: of a pixel's 64 channels as `WindowOps.read` gives them.
    """

    feature_bytes: int

    def windowed(self, height: int, width: int) -> AbstractContextManager[WindowOps[Any, Any, Any, Any, Any, Any]]:
        """Ops for a window of that (even) size.

        Raises:
            MemoryBudgetError: an allocation failed.
        """
        ...


class Store(Protocol):
    """Features of a whole frame at one stage."""

    def read(self, window: Window) -> Features: ...

    def write(self, window: Window, values: Features) -> None: ...


class InMemory:
    """A store in an array."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._array: Features | None = None

    def read(self, window: Window) -> Features:
        assert self._array is not None, "a stage is written before it is read"
        return self._array[window.slices]

    def write(self, window: Window, values: Features) -> None:
        if values.shape[:2] == self._size:
            self._array = values
            return
        if self._array is None:
            self._array = np.empty((*self._size, *values.shape[2:]), values.dtype)
        self._array[window.slices] = values


def _folder() -> str | None:
    """Where stores on disk lie: where TMPDIR says, else /var/tmp, since /tmp is in memory on many systems."""
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return None if asked or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


class OnDisk:
    """A store in an unnamed temporary file; EngineError if it finds no room.

    Read and written row by row, not mapped: pages of a mapped file count as this process's memory.
    """

    def __init__(self, height: int, width: int) -> None:
        self._width = width
        self._file = tempfile.TemporaryFile(buffering=0, prefix="vs-smsr-", dir=_folder())  # noqa: SIM115  # closed with the store
        weakref.finalize(self, self._file.close)
        self._pixel: tuple[np.dtype[Any], tuple[int, ...]] = np.dtype(np.uint8), ()

    def read(self, window: Window) -> Features:
        dtype, channels = self._pixel
        values = np.empty((window.height, window.width, *channels), dtype)
        for y, row in enumerate(values, window.top):
            self._file.seek((y * self._width + window.left) * row[0].nbytes)
            view = memoryview(row).cast("B")
            while view:
                view = view[self._file.readinto(view) or len(view) :]
        return values

    def write(self, window: Window, values: Features) -> None:
        self._pixel = values.dtype, values.shape[2:]
        for y, row in enumerate(np.ascontiguousarray(values), window.top):
            self._file.seek((y * self._width + window.left) * row[0].nbytes)
            view = memoryview(row).cast("B")
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError as error:
                raise EngineError(
                    f"tiling: features that do not fit into the memory could not be written to "
                    f"{_folder() or tempfile.gettempdir()}: {error.strerror}. Make room there, set TMPDIR to another "
                    "folder, or allow more memory."
                ) from error


class TiledWalk:
    """The stages of one network over windows of frames of one size.

    The store of the last stage holds the total of the last SMM, not f_5: no later stage needs f_5 around a pixel.

    Attributes:
        frame: (H, W, 3) the input that the stores belong to.
        attention: what was used for it.
        masks: its 5 masks.
        output: (scale * H, scale * W, 3) its result.
    """

    frame: Frame
    output: Frame

    def __init__(self, engine: WindowEngine, stores: Sequence[Store], height: int, width: int) -> None:
        self.engine = engine
        self.scale = engine.weights.scale
        self.bounds = whole(height, width)
        self.stores = stores
        self.masks: tuple[Mask, ...] = tuple(np.zeros((height, width), np.uint8) for _ in range(MODULES))
        self.attention: list[Scales] = []
        self._given_masks = False

    def upscale(self, frame: Frame, state: State, cores: Sequence[Window]) -> Upscaled:
        """As `Engine.upscale`, tile by tile; the cores cover every pixel once. The result shares this walk's arrays."""
        self.frame = frame
        self.output = np.empty((self.scale * frame.shape[0], self.scale * frame.shape[1], 3), np.float32)
        self._given_masks = state.masks is not None
        if state.masks is not None:
            self.masks = tuple(mask.astype(np.uint8) for mask in state.masks)
        self.attention = []
        for core in cores:
            self.stores[0].write(core, self.head(core))
        for module in range(MODULES):
            if state.attention is None:
                self._attend(module, cores)
                continue
            self.attention.append(state.attention[module])
            for core in cores:
                self.stores[module + 1].write(core, self.module(module, core))
        for core in cores:
            self.output[core.scaled(self.scale).slices] = self.end(core)
        return Upscaled(self.output, self.masks, tuple(self.attention), sparsity(self.engine.weights, self.masks))

    def keep(self, frame: Frame, state: State) -> Upscaled:
        """As `upscale`, for a frame that the engine can hold whole; quicker."""
        with self.engine.windowed(self.bounds.height, self.bounds.width) as ops:

            def seen(stage: int, features: Any, total: Any) -> None:
                if stage < STAGES - 1:
                    values = ops.read(features, self.bounds)
                else:
                    ops.want(self.bounds)
                    values, _ = ops.finished(total)
                self.stores[stage].write(self.bounds, values)

            result = walk(ops, self.engine.weights, frame, state, seen)
        self.frame, self.output, self.masks = frame, result.frame, result.masks
        self.attention = list(result.attention)
        return result

    def head(self, core: Window) -> Features:
        """Stage 0 in a window of the frame."""
        window = core.spread(head_needs, self.bounds)
        with self.engine.windowed(window.height, window.width) as ops:
            return ops.read(ops.head(self._input(window)), core.within(window))

    def module(self, module: int, core: Window) -> Features:
        """Stage module + 1 in a window, the SMM's attention being known; its mask goes to `masks`."""
        window = core.spread(smm_needs, self.bounds)
        with self.engine.windowed(window.height, window.width) as ops:
            features, pixels = self._select(ops, module, core, window)
            return self.masked(ops, module, features, pixels, core.within(window))

    def masked(self, ops: Any, module: int, features: Any, pixels: Any, inner: Window) -> Features:
        """Part of stage module + 1 from the features of a window and its selected pixels."""
        total = _layers(ops, module, features, pixels, inner)
        if module == MODULES - 1:
            values: Features = ops.finished(total)[0]
            return values
        result = ops.advance(module, features, total, ops.given_attention(self.attention[module]))
        values = ops.read(result, inner)
        return values

    def end(self, core: Window, only: Wanted | None = None) -> Frame:
        """The result for a window, (scale * h, scale * w, 3), from the features of all stages.

        Args:
            only: (H, W) of the frame; the result is undefined but for pixels around which two are set.
        """
        window = core.spread(end_needs, self.bounds)
        with self.engine.windowed(window.height, window.width) as ops:
            if only is not None:
                ops.only(only[window.slices])
            collected = None
            for module in range(MODULES - 1):
                features = ops.write("features", self.stores[module + 1].read(window))
                collected = ops.share(module, features, collected)
            total = ops.given_total(self.stores[-1].read(window))
            scales = ops.given_attention(self.attention[-1])
            _, collected = ops.residual(MODULES - 1, features, total, scales, collected)
            head = ops.write("head", self.stores[0].read(window))
            result = ops.tail(ops.collect(collected, head), self._input(window))
        return result[core.within(window).scaled(self.scale).slices]

    def _attend(self, module: int, cores: Sequence[Window]) -> None:
        """A stage whose attention is not known: totals and sums of all tiles, then attention, then the residual."""
        sums: Sums = np.zeros(1, np.int64)
        for core in cores:
            sums, scales = self._total(module, core, sums)
        self.attention.append(scales)
        for core in cores if module < MODULES - 1 else ():
            self._residual(module, core)

    # A window's maps are let go when its method returns: the next one may have no room beside them.

    def _total(self, module: int, core: Window, sums: Sums) -> tuple[Sums, Scales]:
        """Store an SMM's total; its sums added to those of the tiles before, and the attention that these give."""
        window = core.spread(smm_needs, self.bounds)
        with self.engine.windowed(window.height, window.width) as ops:
            inner = core.within(window)
            values, share = ops.finished(_layers(ops, module, *self._select(ops, module, core, window), inner))
            self.stores[module + 1].write(core, values)
            sums = sums + share
            return sums, ops.host_attention(ops.attention_of(module, sums, self.bounds.area))

    def _residual(self, module: int, core: Window) -> None:
        """Put f_(module + 1) in the place of the total."""
        store = self.stores[module + 1]
        with self.engine.windowed(core.height, core.width) as ops:
            features, total = ops.write("features", self.stores[module].read(core)), ops.given_total(store.read(core))
            result = ops.advance(module, features, total, ops.given_attention(self.attention[module]))
            store.write(core, ops.read(result, whole(core.height, core.width)))

    def _select(self, ops: Any, module: int, core: Window, window: Window) -> tuple[Any, Any]:
        """An SMM's features in a window and the pixels that its mask selects."""
        features = ops.write("features", self.stores[module].read(window))
        if self._given_masks:
            return features, ops.select(ops.given_mask(self.masks[module][window.slices]))
        mask = ops.mask(module, features)
        self.masks[module][core.slices] = ops.host_mask(mask)[core.within(window).slices]
        return features, ops.select(mask)

    def _input(self, window: Window) -> Frame:
        return np.ascontiguousarray(self.frame[window.slices])


def _layers(ops: Any, module: int, features: Any, pixels: Any, inner: Window) -> Any:
    """The masked layers of an SMM: its total, of which `inner` is wanted."""
    ops.want(inner)
    source, total = features, None
    for layer in range(LAYERS):
        source, total = ops.conv3x3(module, layer, source, pixels, total)
    return total
