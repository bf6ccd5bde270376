"""SRResNet with masks, x4: sixteen residual blocks of two 3x3 convolutions, which become masked layers.

Source of the network: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, without batch normalisation; the masks are SMSR's. The published multiply-adds (112.11 G for
1280x720) are those of 3x3 convolutions at both ends and none after the blocks, so that is what is here; see
docs/reproduction.md.
"""

from __future__ import annotations

from functools import cache

from vs_smsr.families.branches import DIV2K_MEAN, learned_mask
from vs_smsr.families.parts import Convolution, MaskedBlock
from vs_smsr.families.spec import NetworkSpec

FAMILY, VERSION = "srresnet", 1
CHANNELS, BLOCKS, MASK_CHANNELS = 64, 16, 8
SLOPE = 0.1  # of the leaky relu in the upsampling


@cache
def spec(scale: int, masked: bool = True) -> NetworkSpec:
    """SRResNet for a scale of 4; without masks all pixels are active and no channel is told from another.

    Raises:
        ValueError: another scale.
    """
    if scale != 4:
        raise ValueError(f"{FAMILY}: scale must be 4, got {scale}")
    c = CHANNELS
    return NetworkSpec(
        family=FAMILY,
        version=VERSION,
        scale=scale,
        mean=DIV2K_MEAN,
        head=(Convolution(name="conv_first", inputs=3, outputs=c),),
        blocks=tuple(_block(f"body.{k}", masked) for k in range(BLOCKS)),
        collect=None,
        upsampling=tuple(Convolution(name=f"upconv{n}", inputs=c, outputs=4 * c) for n in (1, 2)),
        upsampling_mask=learned_mask("upconv.spa_mask", c, MASK_CHANNELS) if masked else None,
        tail=Convolution(name="conv_last", inputs=c, outputs=3),
        slope=SLOPE,
    )


def _block(name: str, masked: bool) -> MaskedBlock:
    c = CHANNELS
    return MaskedBlock(
        mask=learned_mask(f"{name}.spa_mask", c, MASK_CHANNELS) if masked else None,
        layers=tuple(Convolution(name=f"{name}.conv{n}", inputs=c, outputs=c, bias=False) for n in (1, 2)),
        channel_mask=f"{name}.ch_mask" if masked else None,
        fuse=None,
        attention=None,
        linear=True,
    )
