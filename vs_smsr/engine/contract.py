"""What every engine promises; the only engine types that the rest of the package knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vs_smsr.weights import LAYERS, MODULES, Weights

Frame = NDArray[np.float32]  # (H, W, 3) RGB, gamma as coded, 0..255
Mask = NDArray[np.uint8]  # (H, W), 1 where a pixel is active
Scales = NDArray[np.float32]  # (64,) channel attention of one SMM, 0..1


@dataclass(frozen=True)
class State:
    """What is given to a frame instead of being computed from it; None = compute it.

    Attributes:
        masks: 5 masks (H, W), one per SMM.
        attention: 5 x (64,) channel attention, one per SMM.
    """

    masks: tuple[Mask, ...] | None = None
    attention: tuple[Scales, ...] | None = None


@dataclass(frozen=True)
class Upscaled:
    """The result for one frame.

    Attributes:
        frame: (scale * H, scale * W, 3) float32 RGB, 0..255; a new array.
        masks: 5 masks (H, W) as they were used.
        attention: 5 x (64,) channel attention as it was used.
        sparsity: 5 shares of skipped (pixel, channel) positions, as the paper counts them, 0..1.
    """

    frame: Frame
    masks: tuple[Mask, ...]
    attention: tuple[Scales, ...]
    sparsity: tuple[float, ...]

    @property
    def active(self) -> tuple[float, ...]:
        """5 shares of active pixels, 0..1."""
        return tuple(float(mask.mean()) for mask in self.masks)

    @property
    def skipped(self) -> float:
        """Mean sparsity over the SMMs, 0..1."""
        return sum(self.sparsity) / len(self.sparsity)


class Engine(Protocol):
    """One network on one device, ready to run; safe to call from several threads, one frame at a time each.

    Attributes:
        name: "cpu", "cuda" or "reference".
        device: "cpu" or "cuda:N".
        precision: "fp32", "bf16" or "fp16": the type that convolutions multiply in.
        weights: the network's numbers; `weights.scale` is the factor.
    """

    name: str
    device: str
    precision: str
    weights: Weights

    def upscale(self, frame: Frame, state: State | None = None) -> Upscaled:
        """Upscale one frame.

        Args:
            frame: (H, W, 3) float32 RGB 0..255, C-contiguous, H and W even (the caller pads).
            state: masks or attention to use instead of the frame's own.
        Raises:
            EngineError: the device failed. MemoryBudgetError: an allocation failed.
        """
        ...


def sparsity(weights: Weights, masks: tuple[Mask, ...]) -> tuple[float, ...]:
    """5 shares of skipped (pixel, channel) positions: sparse channels at inactive pixels, mean over an SMM's layers."""
    shares = []
    for module in range(MODULES):
        sparse = np.mean([1 - weights.dense_channels(module, layer).mean() for layer in range(LAYERS)])
        active = np.count_nonzero(masks[module]) / masks[module].size
        shares.append(float((1 - active) * sparse))
    return tuple(shares)
