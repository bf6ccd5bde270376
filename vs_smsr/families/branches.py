"""Parts that masked networks share: the branch that decides a block's spatial mask, attention, the mean colour."""

from __future__ import annotations

from vs_smsr.families.parts import ChannelAttention, Convolution, LearnedMask

DIV2K_MEAN = (114.44400024414062, 111.46049499511719, 103.02000427246094)  # 0.4488, 0.4371, 0.4040 in float32


def learned_mask(name: str, width: int, inside: int) -> LearnedMask:
    """SMSR's branch over features of that width, `inside` channels wide; tensors `<name>.0`, `.3` and `.5`."""
    return LearnedMask(
        first=Convolution(name=f"{name}.0", inputs=width, outputs=inside),
        second=Convolution(name=f"{name}.3", inputs=inside, outputs=inside),
        decide=Convolution(name=f"{name}.5", inputs=inside, outputs=2, transposed=True),
    )


def attention(name: str, width: int, inside: int, *, contrast: bool = False) -> ChannelAttention:
    """Attention over features of that width; tensors `<name>.0` and `<name>.2`."""
    return ChannelAttention(
        down=Convolution(name=f"{name}.0", inputs=width, outputs=inside, size=1),
        up=Convolution(name=f"{name}.2", inputs=inside, outputs=width, size=1),
        contrast=contrast,
    )
