"""SMSR as a sequence of ops, written once; every engine brings its own ops.

The order of the ops is chosen so that few feature maps live at once: both 1x1 collects (over an SMM's four layers,
over the network's five SMMs) are sums that grow as their inputs appear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame, Mask, Scales, State, Upscaled, sparsity
from vs_smsr.weights import LAYERS, MODULES, Weights


class Ops[Map, DeviceMask, Pixels, Layer, Total, DeviceScales](Protocol):
    """The ops of one engine, bound to the buffers of one frame. Types are the engine's own; all stay on its device.

    Map: features at every pixel, 64 channels. Layer: one masked layer's output, dense channels at every pixel and
    sparse channels at active ones. Total: an SMM's 1x1 collect as far as it has got (an engine may put it off). Pixels:
    active and inactive pixels and the way from a pixel to its row.
    """

    def head(self, frame: Frame) -> Map:
        """f_0 = conv3(relu(conv3(frame - mean)))."""
        ...

    def mask(self, module: int, features: Map) -> DeviceMask:
        """The spatial mask: conv3, relu, 2x2 mean, conv3, relu, transposed conv3, logits[1] > logits[0]; all fp32."""
        ...

    def given_mask(self, mask: Mask) -> DeviceMask:
        """Take a mask from the host instead."""
        ...

    def select(self, mask: DeviceMask) -> Pixels:
        """Mask to lists of pixels, in order of rows."""
        ...

    def conv3x3(
        self, module: int, layer: int, source: Map | Layer, pixels: Pixels, total: Total | None
    ) -> tuple[Layer, Total]:
        """One masked convolution and relu; adds the layer's share of the SMM's 1x1 collect to total (None: bias)."""
        ...

    def attention(self, module: int, total: Total) -> DeviceScales:
        """Channel attention from the frame's mean of the finished total."""
        ...

    def given_attention(self, scales: Scales) -> DeviceScales:
        """Take channel attention from the host instead."""
        ...

    def residual(
        self, module: int, features: Map, total: Total, scales: DeviceScales, collected: Map | None
    ) -> tuple[Map, Map]:
        """f_k = total * scales + f_(k-1); adds f_k's share of the network's 1x1 collect to collected (None: bias)."""
        ...

    def collect(self, collected: Map, head: Map) -> Map:
        """conv3(relu(collected)) + head."""
        ...

    def tail(self, features: Map, frame: Frame) -> NDArray[np.float32]:
        """pixelshuffle(conv3(features)) + bicubic(frame), clamped to 0..255, on the host."""
        ...

    def host_mask(self, mask: DeviceMask) -> Mask:
        """A copy of the mask on the host."""
        ...

    def host_attention(self, scales: DeviceScales) -> Scales:
        """A copy of the channel attention on the host."""
        ...


def walk[M, K, P, L, T, S](
    ops: Ops[M, K, P, L, T, S],
    weights: Weights,
    frame: Frame,
    state: State,
    seen: Callable[[int, M, T | None], None] | None = None,
) -> Upscaled:
    """Run SMSR over one frame (H, W, 3), H and W even.

    `seen` is shown each stage while its maps are there: (0, f_0, None), then (k, f_k, the SMM's total).
    """
    features = head = ops.head(frame)
    if seen:
        seen(0, head, None)
    collected: M | None = None
    masks, attention = [], []
    for module in range(MODULES):
        mask = ops.mask(module, features) if state.masks is None else ops.given_mask(state.masks[module])
        pixels = ops.select(mask)
        source: M | L = features
        total: T | None = None
        for layer in range(LAYERS):
            source, total = ops.conv3x3(module, layer, source, pixels, total)
        assert total is not None, "an SMM has at least one layer"
        scales = (
            ops.attention(module, total) if state.attention is None else ops.given_attention(state.attention[module])
        )
        features, collected = ops.residual(module, features, total, scales, collected)
        if seen:
            seen(module + 1, features, total)
        masks.append(mask)
        attention.append(scales)
    assert collected is not None, "SMSR has at least one SMM"
    result = ops.tail(ops.collect(collected, head), frame)
    host_masks = tuple(ops.host_mask(mask) for mask in masks)
    host_attention = tuple(ops.host_attention(scales) for scales in attention)
    return Upscaled(result, host_masks, host_attention, sparsity(weights, host_masks))
