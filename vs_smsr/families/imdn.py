"""IMDN with masks: six modules that distil channels from four 3x3 convolutions, which become masked layers.

Source of the network: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network",
ACM MM 2019; the masks are SMSR's. Contrast attention follows the 1x1 of a module here, as in SMSR, where the authors
put it before: the sizes are the same, and the 1x1 can then be skipped with the rest of the module.
"""

from __future__ import annotations

from functools import cache

from vs_smsr.families.branches import DIV2K_MEAN, attention, learned_mask
from vs_smsr.families.parts import Convolution, MaskedBlock
from vs_smsr.families.spec import NetworkSpec

FAMILY, VERSION = "imdn", 1
CHANNELS, DISTILLED, MODULES, MASK_CHANNELS, ATTENTION_CHANNELS = 64, 16, 6, 12, 4
SLOPE = 0.05


@cache
def spec(scale: int, masked: bool = True) -> NetworkSpec:
    """IMDN for a scale of 2, 3 or 4; without masks all pixels are active and no channel is told from another."""
    c = CHANNELS
    return NetworkSpec(
        family=FAMILY,
        version=VERSION,
        scale=scale,
        mean=DIV2K_MEAN,
        head=(Convolution(name="fea_conv", inputs=3, outputs=c),),
        blocks=tuple(_module(f"IMDB{k}", masked) for k in range(1, MODULES + 1)),
        collect=(
            Convolution(name="c.0", inputs=MODULES * c, outputs=c, size=1),
            Convolution(name="LR_conv", inputs=c, outputs=c),
        ),
        tail=Convolution(name="upsampler.0", inputs=c, outputs=3 * scale**2),
        slope=SLOPE,
    )


def _module(name: str, masked: bool) -> MaskedBlock:
    c, d = CHANNELS, DISTILLED
    sizes = ((c, c), (c - d, c), (c - d, c), (c - d, d))
    return MaskedBlock(
        mask=learned_mask(f"{name}.spa_mask", c, MASK_CHANNELS) if masked else None,
        layers=tuple(
            Convolution(name=f"{name}.c{n}", inputs=inputs, outputs=outputs, bias=False)
            for n, (inputs, outputs) in enumerate(sizes, 1)
        ),
        channel_mask=f"{name}.ch_mask" if masked else None,
        fuse=Convolution(name=f"{name}.c5", inputs=4 * d, outputs=c, size=1),
        attention=attention(f"{name}.cca.conv_du", c, ATTENTION_CHANNELS, contrast=True),
        distilled=d,
        slope=SLOPE,
        linear=True,
    )
