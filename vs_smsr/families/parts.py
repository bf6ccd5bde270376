"""The parts of a network as data: convolutions, what decides masks and attention, and the masked block they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]  # of learned tensors, by name


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

    @property
    def macs(self) -> int:
        """Multiply-adds for a pixel; see `NetworkSpec.macs`."""
        return self.first.macs + self.second.macs // 4 + self.decide.macs

    def widths(self, width: int) -> Iterator[tuple[Convolution, int, int]]:
        """Its convolutions, with the channels that each must take and give over features of that width."""
        yield self.first, width, self.second.inputs
        yield self.second, self.first.outputs, self.decide.inputs
        yield self.decide, self.second.outputs, 2


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
            yield from self.mask.widths(width)
        if isinstance(self.channel_mask, DynamicChannels):
            yield self.channel_mask.down, width, self.channel_mask.up.inputs
            yield self.channel_mask.up, self.channel_mask.down.outputs, 2 * len(self.layers) * width
        if self.attention:
            yield self.attention.down, width, self.attention.up.inputs
            yield self.attention.up, self.attention.down.outputs, width
