"""What a network is, as data: stages of convolutions, masks and global means. Everything else is derived from it.

A network of this kind enlarges an RGB frame x (0..255) by `scale`; act is a leaky relu, of slope 0 by default:

    f_0 = conv(act(conv(x - mean))), or conv(x - mean)                     the head
    f_k = g_k * attention_k + f_(k-1),  k = 1..K                           masked blocks
    g_k = fuse_k([what is kept of a_1 .. a_L]), or a_L                     their body
    a_l = act(mask_l(conv(dense part of what a_(l-1) passes on) + M * conv(its sparse part)))
    y   = conv(act(conv1x1([f_1 .. f_K]))) + f_0, or f_K                   the collect
    y   = act(pixel_shuffle(conv(y), 2)), any number of times              upsampling
    out = pixel_shuffle(conv(y)) + bicubic(x)                              the tail

M is the block's spatial mask (1 at active pixels); mask_l keeps a layer's dense channels everywhere and its sparse
channels at active pixels. The first layer's input counts as all dense. Head, mask branches, collect, upsampling and
tail are computed at every pixel. All 3x3 convolutions are padded with zeros.
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
class GradientMask:
    """Active where the frame's luma changes by more than `threshold` (of 255) from a pixel to one beside it."""

    threshold: float

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class ChannelAttention:
    """One scale per channel from all pixels of the frame: sigmoid(up(relu(down(mean)))).

    Attributes:
        contrast: of mean + standard deviation instead of the mean; engines then add up squares too.
    """

    down: Convolution
    up: Convolution
    contrast: bool = False

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        return self.down, self.up


@dataclass(frozen=True, kw_only=True)
class DynamicChannels:
    """Channel masks that follow from the frame: logits = up(relu(down(mean of f_(k-1)))), (dense, sparse) by layers.

    Output (channel * layers + layer) * 2 + kind is a logit.
    """

    down: Convolution
    up: Convolution

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        return self.down, self.up


@dataclass(frozen=True, kw_only=True)
class MaskedBlock:
    """Masked 3x3 convolutions one after the other, and what becomes of their outputs.

    Attributes:
        mask: where pixels are active; None: everywhere.
        layers: the masked convolutions, without bias.
        channel_mask: name of the tensor (1, width, layers, 2) of logits (dense, sparse), or how they are predicted;
            None: all channels are sparse.
        fuse: a 1x1 from what is kept of all layers to width channels; None: the last layer's output is the result.
        attention: None: the result is added as it is.
        distilled: the first so many outputs of each layer go to the fuse and no further, the others to the next layer
            alone; the last layer has no others. 0: all outputs go both ways.
        slope: of the leaky relu after each layer.
        linear: there is none after the last layer.
    """

    mask: LearnedMask | GradientMask | None
    layers: tuple[Convolution, ...]
    channel_mask: str | DynamicChannels | None
    fuse: Convolution | None
    attention: ChannelAttention | None
    distilled: int = 0
    slope: float = 0.0
    linear: bool = False

    @property
    def body(self) -> tuple[Convolution, ...]:
        """What the masks save work in."""
        return (*self.layers, self.fuse) if self.fuse else self.layers

    @property
    def radius(self) -> int:
        """Pixels that its layers read to every side, one after the other."""
        return sum(layer.radius for layer in self.layers)

    def slope_of(self, layer: int) -> float:
        """What a layer's negative outputs are multiplied by: 0 is a relu, 1 no activation at all."""
        return 1.0 if self.linear and layer == len(self.layers) - 1 else self.slope

    def kept(self, layer: int) -> int:
        """How many outputs of a layer, the first ones, go to the fuse (without one: are the result)."""
        last = layer == len(self.layers) - 1
        if not self.fuse:
            return self.layers[layer].outputs if last else 0
        return self.distilled if self.distilled and not last else self.layers[layer].outputs

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of its tensors."""
        for convolution in self.mask.convolutions if self.mask else ():
            yield from convolution.shapes()
        if isinstance(self.channel_mask, str):
            yield self.channel_mask, (1, self.layers[0].outputs, len(self.layers), 2)
        elif self.channel_mask:
            for convolution in self.channel_mask.convolutions:
                yield from convolution.shapes()
        for convolution in (*self.body, *(self.attention.convolutions if self.attention else ())):
            yield from convolution.shapes()

    def widths(self, width: int) -> Iterator[tuple[Convolution, int, int]]:
        """Its convolutions, with the channels that each must take and give in a network of that width."""
        inputs, last = width, len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            narrow = self.distilled > 0 and number == last
            yield layer, inputs, layer.outputs if narrow else width
            inputs = width - self.distilled
        if self.fuse:
            yield self.fuse, sum(map(self.kept, range(len(self.layers)))), width
        if isinstance(self.mask, LearnedMask):
            yield self.mask.first, width, self.mask.second.inputs
            yield self.mask.decide, self.mask.second.outputs, 2
        if isinstance(self.channel_mask, DynamicChannels):
            yield self.channel_mask.down, width, self.channel_mask.up.inputs
            yield self.channel_mask.up, self.channel_mask.down.outputs, 2 * len(self.layers) * width
        if self.attention:
            yield self.attention.down, width, self.attention.up.inputs
            yield self.attention.up, self.attention.down.outputs, width


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """One network.

    Attributes:
        family: the name under which `families` knows it, and the version of its layout.
        mean: RGB 0..255, subtracted before the head.
        head: one or two convolutions, 3 -> width (-> width).
        collect: a 1x1 from len(blocks) * width to width channels, and a 3x3; None: the last block's result goes on.
        upsampling: convolutions from width to 4 * width channels, each at twice the size of the one before.
        tail: to 3 * (scale / 2**len(upsampling))**2 channels.
        slope: of the leaky relu in head, collect and upsampling.
    Raises:
        ValueError: the widths of two stages do not fit, or it is a network that no engine runs.
    """

    family: str
    version: int
    scale: int
    mean: tuple[float, float, float]
    head: tuple[Convolution, ...]
    blocks: tuple[MaskedBlock, ...]
    collect: tuple[Convolution, Convolution] | None
    tail: Convolution
    upsampling: tuple[Convolution, ...] = ()
    slope: float = 0.0

    def __post_init__(self) -> None:
        _require(len(self.head) in (1, 2), f"a head must have one or two convolutions, got {len(self.head)}")
        _require(bool(self.blocks), "a network must have at least one masked block")
        steps = 1 << len(self.upsampling)
        _require(
            self.scale % steps == 0, f"the scale must be a multiple of {steps} for its upsampling, got {self.scale}"
        )
        for convolution, inputs, outputs in self._widths():
            _require(
                (convolution.inputs, convolution.outputs) == (inputs, outputs),
                f"{convolution.name} must map {inputs} to {outputs} channels, got "
                f"{convolution.inputs} to {convolution.outputs}",
            )
        for block in self.blocks:
            _require(block.fuse is not None or not block.distilled, "distilled channels must have a fuse to go to")
            for layer in block.layers:
                _require(layer.size == 3, f"{layer.name} is masked and must be 3x3, got {layer.size}x{layer.size}")
                _require(not layer.bias, f"{layer.name} is masked and must have no bias")

    def _widths(self) -> Iterator[tuple[Convolution, int, int]]:
        """Every convolution between stages, with the channels that it must take and give."""
        c, inputs = self.width, 3
        for convolution in self.head:
            yield convolution, inputs, c
            inputs = c
        for block in self.blocks:
            yield from block.widths(c)
        if self.collect:
            yield self.collect[0], len(self.blocks) * c, c
            yield self.collect[1], c, c
        for convolution in self.upsampling:
            yield convolution, c, 4 * c
        yield self.tail, c, 3 * self.tail_scale**2

    @property
    def width(self) -> int:
        """Channels of the features f_0 .. f_K."""
        return self.head[-1].outputs

    @property
    def tail_scale(self) -> int:
        """What is left to the tail's own pixel shuffle."""
        return self.scale >> len(self.upsampling)

    @property
    def stages(self) -> int:
        """Stages whose result is kept when a frame goes stage by stage: the head and the K blocks."""
        return len(self.blocks) + 1

    @property
    def dynamic(self) -> bool:
        """Do the channel masks of a block follow from the frame?"""
        return any(isinstance(block.channel_mask, DynamicChannels) for block in self.blocks)

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """Those outside blocks, in the order in which data passes them."""
        return *self.head, *(self.collect or ()), *self.upsampling, self.tail

    @cached_property
    def shapes(self) -> Shapes:
        """Name and shape of every learned tensor, in the order in which data passes them."""
        table: Shapes = {}
        for convolution in self.head:
            table |= convolution.shapes()
        for block in self.blocks:
            table |= block.shapes()
        for convolution in self.convolutions[len(self.head) :]:
            table |= convolution.shapes()
        return table

    @property
    def macs(self) -> int:
        """Multiply-adds of a source pixel when nothing is skipped, as papers count them.

        Not counted: biases, means, attention, predicted channel masks, the bicubic base. The second convolution of a
        mask works at a quarter of the pixels, each upsampling makes four of one; a transposed convolution is counted
        by the numbers of its kernel too.
        """
        plain: int = sum(convolution.macs for convolution in (*self.head, *(self.collect or ())))
        larger: int = sum(
            convolution.macs * (1 << 2 * n) for n, convolution in enumerate((*self.upsampling, self.tail))
        )
        masks = [block.mask for block in self.blocks if isinstance(block.mask, LearnedMask)]
        branches = sum(mask.first.macs + mask.second.macs // 4 + mask.decide.macs for mask in masks)
        return plain + larger + branches + sum(self.body_macs(block) for block in range(len(self.blocks)))

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


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(f"spec: {rule}.")


def _spec(fields: Mapping[str, Any]) -> NetworkSpec:
    def convolutions(name: str) -> tuple[Convolution, ...]:
        return tuple(Convolution(**one) for one in fields.get(name) or ())

    red, green, blue = fields["mean"]
    first, second = convolutions("collect") or (None, None)
    return NetworkSpec(
        **{
            **fields,
            "mean": (red, green, blue),
            "head": convolutions("head"),
            "blocks": tuple(map(_block, fields["blocks"])),
            "collect": (first, second) if first else None,
            "upsampling": convolutions("upsampling"),
            "tail": Convolution(**fields["tail"]),
        }
    )


def _block(fields: Mapping[str, Any]) -> MaskedBlock:
    def parts(name: str) -> dict[str, Any]:
        """The record's fields, convolutions among them."""
        return {k: Convolution(**v) if isinstance(v, Mapping) else v for k, v in fields[name].items()}

    mask, channels = fields["mask"], fields["channel_mask"]
    return MaskedBlock(
        **{
            **fields,
            "mask": mask and (GradientMask if "threshold" in mask else LearnedMask)(**parts("mask")),
            "layers": tuple(Convolution(**layer) for layer in fields["layers"]),
            "channel_mask": DynamicChannels(**parts("channel_mask")) if isinstance(channels, Mapping) else channels,
            "fuse": fields["fuse"] and Convolution(**fields["fuse"]),
            "attention": fields["attention"] and ChannelAttention(**parts("attention")),
        }
    )
