"""SMSR: five sparse mask modules (SMM) of four masked layers, 64 channels wide; the only place that says so.

Source: Wang et al., "Exploring Sparsity in Image Super-Resolution for Efficient Inference", CVPR 2021. Tensor names are
those of the authors' checkpoints. `variant` gives the networks of the supplement's ablation.
"""

from __future__ import annotations

from functools import cache

from vs_smsr.families.branches import DIV2K_MEAN, attention, learned_mask
from vs_smsr.families.parts import Convolution, DynamicChannels, GradientMask, MaskedBlock
from vs_smsr.families.spec import NetworkSpec

FAMILY, VERSION = "smsr", 1
CHANNELS, MASK_CHANNELS, ATTENTION_CHANNELS = 64, 16, 4
DYNAMIC_CHANNELS = 8  # inside the prediction of channel masks; gives the supplement's 1012K parameters
MODULES, LAYERS = 5, 4
MEAN = DIV2K_MEAN


@cache
def spec(scale: int) -> NetworkSpec:
    """SMSR for a scale of 2, 3 or 4."""
    return variant(scale)


@cache
def variant(scale: int, channels: str = "static", gradient: float | None = None) -> NetworkSpec:
    """SMSR with other masks.

    Args:
        channels: kind of the channel masks: "none", "static" or "dynamic".
        gradient: threshold (of 255) of spatial masks from the frame's gradient; None: learned ones.
    """
    c = CHANNELS
    return NetworkSpec(
        family=FAMILY,
        version=VERSION,
        scale=scale,
        mean=MEAN,
        head=(Convolution(name="head.0", inputs=3, outputs=c), Convolution(name="head.2", inputs=c, outputs=c)),
        blocks=tuple(_module(f"body.{k}", channels, gradient) for k in range(MODULES)),
        collect=(
            Convolution(name="collect.0", inputs=MODULES * c, outputs=c, size=1),
            Convolution(name="collect.2", inputs=c, outputs=c),
        ),
        tail=Convolution(name="tail.0", inputs=c, outputs=3 * scale**2),
    )


def _module(name: str, channels: str, gradient: float | None) -> MaskedBlock:
    c = CHANNELS
    return MaskedBlock(
        mask=learned_mask(f"{name}.spa_mask", c, MASK_CHANNELS)
        if gradient is None
        else GradientMask(threshold=gradient),
        layers=tuple(
            Convolution(name=f"{name}.body.body.{layer}", inputs=c, outputs=c, bias=False) for layer in range(LAYERS)
        ),
        channel_mask={"none": None, "static": f"{name}.body.ch_mask", "dynamic": _predicted(name)}[channels],
        fuse=Convolution(name=f"{name}.body.collect", inputs=LAYERS * c, outputs=c, size=1),
        attention=attention(f"{name}.ca.conv_du", c, ATTENTION_CHANNELS),
    )


def _predicted(name: str) -> DynamicChannels:
    c, inside = CHANNELS, DYNAMIC_CHANNELS
    return DynamicChannels(
        down=Convolution(name=f"{name}.predict.0", inputs=c, outputs=inside, size=1),
        up=Convolution(name=f"{name}.predict.2", inputs=inside, outputs=2 * LAYERS * c, size=1),
    )
