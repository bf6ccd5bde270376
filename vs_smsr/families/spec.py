"""What a network is, as data: stages of convolutions, masks and global means. Everything else is derived from it.

A network of this kind enlarges an RGB frame x (0..255) by `scale`:

    f_0 = conv(relu(conv(x - mean)))                                      the head
    f_k = fuse_k([a_1 .. a_L]) * attention_k + f_(k-1),  k = 1..K          masked blocks
    a_l = relu(mask_l(conv(dense part of a_(l-1)) + M * conv(sparse part of a_(l-1))))
    y   = conv(relu(conv1x1([f_1 .. f_K]))) + f_0                          the collect
    out = pixel_shuffle(conv(y)) + bicubic(x)                              the tail

M is the block's spatial mask (1 at active pixels); mask_l keeps a layer's dense channels everywhere and its sparse
channels at active pixels. The first layer's input counts as all dense. Head, mask branches, collect and tail are
computed at every pixel. All 3x3 convolutions are padded with zeros.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SUM_UNIT = 2.0**-20  # channel sums are integers of this unit, so that any order of adding gives the same bits
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One convolution and the names of its tensors: `<name>.weight` (outputs, inputs, size, size), `<name>.bias`.

    Attributes:
        size: side of the kernel, odd; the padding is size // 2.
        transposed: stride 2, twice the height and width (padding 1, output padding 1); weight (inputs, outputs, 3, 3).
    """

    name: str
    inputs: int
    outputs: int
    size: int = 3
    bias: bool = True
    transposed: bool = False

    @property
    def radius(self) -> int:
        """Pixels that it reads to every side."""
        return self.size // 2

    @property
    def macs(self) -> int:
        """Multiply-adds for a pixel: the numbers of its kernel, as papers count them."""
        return self.inputs * self.outputs * self.size**2

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of its tensors."""
        first, second = (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
        yield f"{self.name}.weight", (first, second, self.size, self.size)
        if self.bias:
            yield f"{self.name}.bias", (self.outputs,)


@dataclass(frozen=True, kw_only=True)
class LearnedMask:
    """A branch that decides per pixel: logits = decide(relu(second(mean2x2(relu(first(f)))))), active if [1] > [0]."""

    first: Convolution
    second: Convolution  # at half the height and width
    decide: Convolution  # transposed, two outputs

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        return self.first, self.second, self.decide


@dataclass(frozen=True, kw_only=True)
class ChannelAttention:
    """One scale per channel from the frame's mean of each: sigmoid(up(relu(down(mean))))."""

    down: Convolution
    up: Convolution

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        return self.down, self.up


@dataclass(frozen=True, kw_only=True)
class MaskedBlock:
    """Masked 3x3 convolutions, each followed by relu, and the 1x1 that fuses the outputs of all of them.

    Attributes:
        mask: where pixels are active; None: everywhere.
        layers: the masked convolutions, without bias.
        channel_mask: name of the tensor (1, width, layers, 2) of logits (dense, sparse); None: all channels are sparse.
        fuse: from len(layers) * width to width channels.
        attention: None: the fused features are added as they are.
    """

    mask: LearnedMask | None
    layers: tuple[Convolution, ...]
    channel_mask: str | None
    fuse: Convolution
    attention: ChannelAttention | None

    @property
    def body(self) -> tuple[Convolution, ...]:
        """What the masks save work in."""
        return *self.layers, self.fuse

    @property
    def radius(self) -> int:
        """Pixels that its layers read to every side, one after the other."""
        return sum(layer.radius for layer in self.layers)

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of its tensors."""
        for convolution in self.mask.convolutions if self.mask else ():
            yield from convolution.shapes()
        if self.channel_mask:
            yield self.channel_mask, (1, self.fuse.outputs, len(self.layers), 2)
        for convolution in (*self.body, *(self.attention.convolutions if self.attention else ())):
            yield from convolution.shapes()


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """One network.

    Attributes:
        family: the name under which `families` knows it, and the version of its layout.
        mean: RGB 0..255, subtracted before the head.
        head: two convolutions, 3 -> width -> width.
        collect: a 1x1 from len(blocks) * width to width channels, and a 3x3.
        tail: to 3 * scale**2 channels.
    Raises:
        ValueError: the widths of two stages do not fit.
    """

    family: str
    version: int
    scale: int
    mean: tuple[float, float, float]
    head: tuple[Convolution, Convolution]
    blocks: tuple[MaskedBlock, ...]
    collect: tuple[Convolution, Convolution]
    tail: Convolution

    def __post_init__(self) -> None:
        for convolution, inputs, outputs in self._widths():
            if (convolution.inputs, convolution.outputs) != (inputs, outputs):
                raise ValueError(
                    f"spec: {convolution.name} must map {inputs} to {outputs} channels, got "
                    f"{convolution.inputs} to {convolution.outputs}."
                )
        if not self.blocks:
            raise ValueError("spec: a network must have at least one masked block.")

    def _widths(self) -> Iterator[tuple[Convolution, int, int]]:
        """Every convolution between stages, with the channels that it must take and give."""
        c = self.width
        yield self.head[0], 3, c
        yield self.head[1], c, c
        for block in self.blocks:
            for layer in block.layers:
                yield layer, c, c
            yield block.fuse, len(block.layers) * c, c
            if block.mask:
                yield block.mask.first, c, block.mask.first.outputs
                yield block.mask.decide, block.mask.second.outputs, 2
            if block.attention:
                yield block.attention.down, c, block.attention.up.inputs
                yield block.attention.up, block.attention.down.outputs, c
        yield self.collect[0], len(self.blocks) * c, c
        yield self.collect[1], c, c
        yield self.tail, c, 3 * self.scale**2

    @property
    def width(self) -> int:
        """Channels of the features f_0 .. f_K."""
        return self.head[1].outputs

    @property
    def stages(self) -> int:
        """Stages whose features are kept when a frame goes stage by stage: f_0 .. f_(K-1), and the last fuse."""
        return len(self.blocks) + 1

    @cached_property
    def shapes(self) -> Shapes:
        """Name and shape of every learned tensor, in the order in which data passes them."""
        table: Shapes = {}
        for convolution in self.head:
            table |= convolution.shapes()
        for block in self.blocks:
            table |= block.shapes()
        for convolution in (*self.collect, self.tail):
            table |= convolution.shapes()
        return table

    @property
    def macs(self) -> int:
        """Multiply-adds of a source pixel when nothing is skipped, as papers count them.

        Not counted: biases, means, attention, the bicubic base. The second convolution of a mask works at a quarter of
        the pixels; a transposed convolution is counted by the numbers of its kernel too.
        """
        plain = sum(convolution.macs for convolution in (*self.head, *self.collect, self.tail))
        masks = [block.mask for block in self.blocks if block.mask]
        branches = sum(mask.first.macs + mask.second.macs // 4 + mask.decide.macs for mask in masks)
        return plain + branches + sum(self.body_macs(block) for block in range(len(self.blocks)))

    def body_macs(self, block: int) -> int:
        """Multiply-adds of a block's masked body for a source pixel when nothing is skipped."""
        return sum(convolution.macs for convolution in self.blocks[block].body)

    def to_json(self) -> str:
        """The spec as text, for a weights file."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> NetworkSpec:
        """The way back.

        Raises:
            ValueError: it is not the text of a spec.
        """
        try:
            return _spec(json.loads(text))
        except (KeyError, TypeError) as error:
            raise ValueError(f"spec: must be the JSON of a network spec, got {text[:60]!r}.") from error


def _spec(fields: Mapping[str, Any]) -> NetworkSpec:
    def pair(items: list[Any]) -> tuple[Convolution, Convolution]:
        first, second = items
        return Convolution(**first), Convolution(**second)

    red, green, blue = fields["mean"]
    return NetworkSpec(
        **{
            **fields,
            "mean": (red, green, blue),
            "head": pair(fields["head"]),
            "blocks": tuple(map(_block, fields["blocks"])),
            "collect": pair(fields["collect"]),
            "tail": Convolution(**fields["tail"]),
        }
    )


def _block(fields: Mapping[str, Any]) -> MaskedBlock:
    def parts(name: str) -> dict[str, Convolution]:
        return {key: Convolution(**value) for key, value in fields[name].items()}

    return MaskedBlock(
        mask=LearnedMask(**parts("mask")) if fields["mask"] else None,
        layers=tuple(Convolution(**layer) for layer in fields["layers"]),
        channel_mask=fields["channel_mask"],
        fuse=Convolution(**fields["fuse"]),
        attention=ChannelAttention(**parts("attention")) if fields["attention"] else None,
    )
