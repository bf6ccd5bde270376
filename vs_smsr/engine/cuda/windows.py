"""`tiled.WindowOps` over the CUDA kernels: a frame stage by stage and window by window, its features on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels.geometry import TILES
from vs_smsr.engine.cuda.network import Array
from vs_smsr.engine.cuda.ops import Features, Total, Workspace
from vs_smsr.engine.window import Window
from vs_smsr.weights import CHANNELS, Weights

Host = NDArray[Any]  # (h, w, 64) float32, or (h, w, 128) float16: high, then low parts


class WindowWorkspace(Workspace):
    """See `tiled.WindowOps`."""

    _core: Window

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
        """All pixels are computed: a GPU finishes a window sooner than the host could list its pixels."""

    def want(self, core: Window) -> None:
        self._core = core

    def finished(self, total: Total) -> tuple[Host, NDArray[np.int64]]:
        """The total takes the place of f, which no stage needs after its total."""
        for array in (self._features.high, self._features.low):
            self.device.zero(array)
        self._residual(0, self._features, total, self._network.ones, first=True, shared=False)
        values = self.read(self._features, self._core)
        exact = values.astype(np.float64)
        if self._half:
            exact = exact[..., :CHANNELS] + exact[..., CHANNELS:]
        return values, np.rint(exact * TILES["SUM_SCALE"]).astype(np.int64).sum((0, 1))

    def given_total(self, values: Host) -> Total:
        size = self.height * self.width * CHANNELS
        for number, part in enumerate(self._parts(values)[: 2 if self._half else 1]):
            self.device.upload(self._at["layers"][number * size : (number + 1) * size], part.reshape(-1))
        return Total(((self._network.given, self._everywhere()),), self._network.zeros)

    def attention_of(self, module: int, sums: NDArray[np.int64], pixels: int) -> Array:
        tensors, part = self._weights.tensors, f"body.{module}.ca.conv_du"
        mean = sums / (TILES["SUM_SCALE"] * pixels)
        hidden = tensors[f"{part}.0.weight"][:, :, 0, 0].astype(np.float64) @ mean + tensors[f"{part}.0.bias"]
        logits = tensors[f"{part}.2.weight"][:, :, 0, 0] @ np.maximum(hidden, 0) + tensors[f"{part}.2.bias"]
        return self.given_attention((1 / (1 + np.exp(-logits))).astype(np.float32))

    @property
    def _half(self) -> bool:
        return self._kernels.half

    @property
    def _weights(self) -> Weights:
        return self._network.source

    def _parts(self, values: Host) -> tuple[Host, Host]:
        """High and low part; with floats the low part is empty."""
        high, low = values[..., :CHANNELS], values[..., CHANNELS:]
        return np.ascontiguousarray(high), np.ascontiguousarray(low)

    def _everywhere(self) -> tuple[Array, Array]:
        """A list of all pixels: the inactive ones of an empty mask."""
        mask = self._at["mask0"]
        self.device.zero(mask)
        return self.select(mask).inactive
