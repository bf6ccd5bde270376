"""SMSR: five sparse mask modules (SMM) of four masked layers, 64 channels wide; the only place that says so.

Source: Wang et al., "Exploring Sparsity in Image Super-Resolution for Efficient Inference", CVPR 2021. Tensor names are
those of the authors' checkpoints.
"""

from __future__ import annotations

from functools import cache

from vs_smsr.families.spec import ChannelAttention, Convolution, LearnedMask, MaskedBlock, NetworkSpec

FAMILY, VERSION = "smsr", 1
CHANNELS, MASK_CHANNELS, ATTENTION_CHANNELS = 64, 16, 4
MODULES, LAYERS = 5, 4
MEAN = (114.44400024414062, 111.46049499511719, 103.02000427246094)  # of DIV2K: 0.4488, 0.4371, 0.4040 in float32


@cache
def spec(scale: int) -> NetworkSpec:
    """SMSR for a scale of 2, 3 or 4."""
    c = CHANNELS
    return NetworkSpec(
        family=FAMILY,
        version=VERSION,
        scale=scale,
        mean=MEAN,
        head=(Convolution(name="head.0", inputs=3, outputs=c), Convolution(name="head.2", inputs=c, outputs=c)),
        blocks=tuple(_module(f"body.{k}") for k in range(MODULES)),
        collect=(
            Convolution(name="collect.0", inputs=MODULES * c, outputs=c, size=1),
            Convolution(name="collect.2", inputs=c, outputs=c),
        ),
        tail=Convolution(name="tail.0", inputs=c, outputs=3 * scale**2),
    )


def _module(name: str) -> MaskedBlock:
    c, m, a = CHANNELS, MASK_CHANNELS, ATTENTION_CHANNELS
    return MaskedBlock(
        mask=LearnedMask(
            first=Convolution(name=f"{name}.spa_mask.0", inputs=c, outputs=m),
            second=Convolution(name=f"{name}.spa_mask.3", inputs=m, outputs=m),
            decide=Convolution(name=f"{name}.spa_mask.5", inputs=m, outputs=2, transposed=True),
        ),
        layers=tuple(
            Convolution(name=f"{name}.body.body.{layer}", inputs=c, outputs=c, bias=False) for layer in range(LAYERS)
        ),
        channel_mask=f"{name}.body.ch_mask",
        fuse=Convolution(name=f"{name}.body.collect", inputs=LAYERS * c, outputs=c, size=1),
        attention=ChannelAttention(
            down=Convolution(name=f"{name}.ca.conv_du.0", inputs=c, outputs=a, size=1),
            up=Convolution(name=f"{name}.ca.conv_du.2", inputs=a, outputs=c, size=1),
        ),
    )
