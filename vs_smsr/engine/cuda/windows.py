"""`tiled.WindowOps` over the CUDA kernels: a frame stage by stage and window by window, its features on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.cuda.network import Array
from vs_smsr.engine.cuda.ops import Features, Layer, Pixels, Total, Workspace
from vs_smsr.engine.window import Window
from vs_smsr.weights import CHANNELS

Host = NDArray[Any]  # (h, w, 64) float32, or (h, w, 128) float16: high, then low parts


class WindowWorkspace(Workspace):
    """See `tiled.WindowOps`."""

    _core: Window
    _sums: Array  # channel sums of the SMM that was computed last, over the core

    def write(self, slot: str, values: Host) -> Features:
        features = Features(self._at["head" if slot == "head" else "high"], self._at["low"])
        high, low = self._parts(values)
        self.device.upload(features.high, high)
        if slot == "features" and self._half:
            self.device.upload(features.low, low)
        return features

    def read(self, features: Features, window: Window) -> Host:
        rows = slice(window.top, window.bottom)
        maps = (features.high, features.low) if self._half else (features.high,)
        parts = [self.device.download(array[rows])[:, window.left : window.right] for array in maps]
        return np.concatenate(parts, -1)

    def only(self, pixels: NDArray[np.bool_]) -> None:
        """Lists of pixels become shorter; what goes over the whole window (head, mask, collect, tail) still does."""
        self._only = pixels

    def want(self, core: Window) -> None:
        self._core = core
        self._counted = (core.top, core.left, core.bottom, core.right)

    def conv3x3(
        self, module: int, layer: int, source: Features | Layer, pixels: Pixels, total: Total | None
    ) -> tuple[Layer, Total]:
        if layer == 0:
            self._sums = self._at["sums"][module]
            self.device.zero(self._sums)
        return super().conv3x3(module, layer, source, pixels, total)

    def finished(self, total: Total) -> tuple[Host, NDArray[np.int64]]:
        """The total takes the place of f, which no stage needs after its total; the sums are those of its layers."""
        for array in (self._features.high, self._features.low):
            self.device.zero(array)
        self._residual(0, self._features, total, self._network.ones, first=True, shared=False)
        return self.read(self._features, self._core), self.device.download(self._sums)

    def given_total(self, values: Host) -> Total:
        size = self.height * self.width * CHANNELS
        for number, part in enumerate(self._parts(values)[: 2 if self._half else 1]):
            self.device.upload(self._at["layers"][number * size : (number + 1) * size], part.reshape(-1))
        return Total(((self._network.given, self._everywhere()),), self._network.zeros)

    def attention_of(self, module: int, sums: NDArray[np.int64], pixels: int) -> Array:
        self.device.upload(self._at["sums"][module], sums)
        return self._attention(module, pixels)

    def advance(self, module: int, features: Features, total: Total, scales: Array) -> Features:
        self._residual(module, features, total, scales, first=True, shared=False)
        return self._features

    def share(self, module: int, features: Features, collected: Array | None) -> Array:
        """By the residual of a total that is nothing."""
        self.device.zero(self._at["layers"][: self.height * self.width * CHANNELS * (2 if self._half else 1)])
        nothing = Total(((self._network.given, self._everywhere()),), self._network.zeros)
        _, collected = self.residual(module, features, nothing, self._network.zeros, collected)
        return collected

    @property
    def _half(self) -> bool:
        return self._kernels.half

    def _parts(self, values: Host) -> tuple[Host, Host]:
        """High and low part; with floats the low part is empty."""
        high, low = values[..., :CHANNELS], values[..., CHANNELS:]
        return np.ascontiguousarray(high), np.ascontiguousarray(low)

    def _everywhere(self) -> tuple[Array, Array]:
        """A list of all pixels that are wanted: the inactive ones of an empty mask."""
        mask = self._at["mask0"]
        self._mark(mask, 0)
        return self.select(mask).inactive
