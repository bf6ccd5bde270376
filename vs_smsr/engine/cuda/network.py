"""The weights of one network on a device, in the order in which the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels import Device, Kernels, geometry, packing
from vs_smsr.weights import CHANNELS, LAYERS, MEAN, MODULES, Weights

Array = Any  # an array of the device


@dataclass(frozen=True)
class Channels:
    """How the 64 outputs of a masked layer lie in memory: dense ones first.

    Attributes:
        order: (64,) channel of the network at each place.
        dense: how many places hold dense channels.
        stored: how many places are in the full map: dense, rounded up. The channels between are sparse and 0 at
            inactive pixels, and no weight of the inactive pixels' convolution touches them.
    """

    order: NDArray[np.intp]
    dense: int
    stored: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Channels:
        """From (64,) bool, True = dense."""
        dense = int(mask.sum())
        return cls(np.argsort(~mask, kind="stable"), dense, -(-dense // geometry.STEP) * geometry.STEP)


ALL = Channels(np.arange(CHANNELS), CHANNELS, CHANNELS)  # features: a full map of all channels


@dataclass(frozen=True)
class MaskedLayer:
    """One masked 3x3 convolution.

    Attributes:
        out: its output channels.
        everything: weights at active pixels, from all to all channels.
        dense: weights at inactive pixels, from dense to dense; None where that is nothing or all zeros.
    """

    out: Channels
    everything: Array
    dense: Array | None


@dataclass(frozen=True)
class Collect:
    """The 1x1 convolution over an SMM's layers, for one of the two lists of pixels."""

    table: Array
    weights: Array


@dataclass(frozen=True)
class Module:
    """One sparse mask module; the tuples are in the order of the launchers' arguments."""

    pool: tuple[Array, Array]
    decide: tuple[Array, Array, Array, Array]
    layers: tuple[MaskedLayer, ...]
    active: Collect
    inactive: Collect
    bias: Array
    attention: tuple[Array, Array, Array, Array, Array, Array]
    share: Array


class Network:
    """All weights on the device.

    Attributes:
        scale: 2, 3 or 4.
        pairs: (channels in, channels out) of the inactive pixels' convolutions.
        bytes: device memory that all of it takes.
    """

    def __init__(self, device: Device, kernels: Kernels, weights: Weights) -> None:
        self._device = device
        self._half = kernels.half
        self._tensors = weights.tensors
        self.scale = weights.scale
        self.pairs: set[tuple[int, int]] = set()
        self.bytes = 0

        tap_major = self._tensors["head.0.weight"].transpose(2, 3, 1, 0).reshape(27, CHANNELS)
        self.mean = self._upload(MEAN)
        self.head_first = self._upload(tap_major), self._bias("head.0")
        self.head = self._windowed("head.2"), self._bias("head.2")
        self.modules = tuple(self._module(weights, module) for module in range(MODULES))
        self.share_bias = self._bias("collect.0")
        self.collect = self._windowed("collect.2"), self._bias("collect.2")
        self.tail = self._tail()
        self.given, self.ones, self.zeros = self._given_total()
        device.synchronize()

    def variants(self) -> list[tuple[str, Any]]:
        """Every (file, macros) that a frame needs."""
        return list(geometry.variants(self._half, self.scale, self.pairs))

    def _upload(self, host: NDArray[Any], dtype: type[np.generic] = np.float32) -> Array:
        host = np.ascontiguousarray(host, dtype)
        array = self._device.empty(host.shape, host.dtype)
        self._device.upload(array, host)
        self.bytes += geometry.allocated(host.nbytes)
        return array

    def _packed(self, packed: NDArray[Any]) -> Array:
        return self._upload(packed, packed.dtype.type)

    def _bias(self, name: str) -> Array:
        return self._upload(self._tensors[f"{name}.bias"])

    def _windowed(self, name: str) -> Array:
        return self._packed(packing.windowed(self._tensors[f"{name}.weight"], self._half))

    def _module(self, weights: Weights, module: int) -> Module:
        mask, body, attention = (f"body.{module}.{part}" for part in ("spa_mask", "body", "ca.conv_du"))
        tensors = self._tensors
        channels = [Channels.of(weights.dense_channels(module, layer)) for layer in range(LAYERS)]
        before = [ALL, *channels[:-1]]
        layers = [
            self._layer(tensors[f"{body}.body.{layer}.weight"], before[layer], channels[layer])
            for layer in range(LAYERS)
        ]
        collect = tensors[f"{body}.collect.weight"][:, :, 0, 0]
        parts = [collect[:, i * CHANNELS : (i + 1) * CHANNELS][:, out.order] for i, out in enumerate(channels)]
        share = tensors["collect.0.weight"][:, module * CHANNELS : (module + 1) * CHANNELS, 0, 0]
        return Module(
            pool=(
                self._packed(packing.windowed(tensors[f"{mask}.0.weight"], self._half, split=self._half)),
                self._bias(f"{mask}.0"),
            ),
            decide=(
                self._upload(tensors[f"{mask}.3.weight"].transpose(2, 3, 1, 0).reshape(9, 16, 16)),
                self._bias(f"{mask}.3"),
                self._upload(tensors[f"{mask}.5.weight"].transpose(2, 3, 0, 1).reshape(9, 16, 2)),
                self._bias(f"{mask}.5"),
            ),
            layers=tuple(layers),
            active=self._collect(channels, np.concatenate(parts, 1), active=True),
            inactive=self._collect(
                channels,
                np.concatenate([part[:, : out.stored] for part, out in zip(parts, channels, strict=True)], 1),
                active=False,
            ),
            bias=self._bias(f"{body}.collect"),
            attention=(
                self._upload(np.concatenate(parts, 1).T),
                self._bias(f"{body}.collect"),
                self._upload(tensors[f"{attention}.0.weight"][:, :, 0, 0].T),
                self._bias(f"{attention}.0"),
                self._upload(tensors[f"{attention}.2.weight"][:, :, 0, 0].T),
                self._bias(f"{attention}.2"),
            ),
            share=self._packed(packing.product(share, self._half)),
        )

    def _layer(self, weight: NDArray[np.float32], into: Channels, out: Channels) -> MaskedLayer:
        weight = weight[out.order][:, into.order]
        dense = None
        if out.dense and into.dense:
            kept = weight[: out.stored, : into.stored].copy()
            kept[out.dense :] = 0
            kept[:, into.dense :] = 0
            dense = self._packed(packing.listed(kept, self._half))
            self.pairs.add((into.stored, out.stored))
        return MaskedLayer(out, self._packed(packing.listed(weight, self._half)), dense)

    def _collect(self, channels: list[Channels], matrix: NDArray[np.float32], *, active: bool) -> Collect:
        table = packing.chunk_table(tuple(out.stored for out in channels), active, self._half)
        return Collect(self._packed(table), self._packed(packing.product(matrix, self._half)))

    def _given_total(self) -> tuple[Collect, Array, Array]:
        """A `Collect` that reads a total as it was stored, exactly, in place of the layers; factors and bias for it."""
        maps = 2 if self._half else 1
        table = packing.chunk_table((CHANNELS,) * maps, False, self._half)
        same = np.concatenate([np.eye(CHANNELS, dtype=np.float32)] * maps, 1)
        collect = Collect(self._packed(table), self._packed(packing.product(same, self._half)))
        return collect, self._upload(np.ones(CHANNELS)), self._upload(np.zeros(CHANNELS))

    def _tail(self) -> tuple[Array, Array]:
        outputs = geometry.tail_outputs(self.scale)
        weight = np.zeros((outputs, CHANNELS, 3, 3), np.float32)
        bias = np.zeros(outputs, np.float32)
        real = self._tensors["tail.0.weight"]
        weight[: len(real)], bias[: len(real)] = real, self._tensors["tail.0.bias"]
        return self._packed(packing.windowed(weight, self._half)), self._upload(bias)
