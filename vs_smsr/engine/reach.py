"""How far each stage of a network reaches, from the taps of its convolutions; nothing here is a guess with a margin.

For every stage there are two ways to ask: which inputs does a span of outputs need, and which outputs does a span of
inputs affect. Spans are of one direction; frames are even, and a mask branch works on whole 2x2 quads.
"""

from __future__ import annotations

from functools import cache

from vs_smsr.engine.window import Reach, Span
from vs_smsr.families import LearnedMask, MaskedBlock, NetworkSpec

BICUBIC = 2  # the bicubic base of an output pixel reads 2 input pixels to either side


def around(pixels: int) -> Reach:
    """What convolutions of that radius need, and what they affect."""
    return lambda span: _grown(span, pixels)


def _grown(span: Span, pixels: int) -> Span:
    return span[0] - pixels, span[1] + pixels


def _quads(span: Span) -> Span:
    """Moved out to whole 2x2."""
    return span[0] & -2, span[1] + 1 & -2


def _hull(a: Span, b: Span) -> Span:
    return min(a[0], b[0]), max(a[1], b[1])


class MaskReach:
    """A spatial mask and the features that it is decided by.

    The transposed convolution makes output 2j from half-size pixel j, output 2j + 1 from j and j + 1.
    """

    def __init__(self, mask: LearnedMask) -> None:
        self._first, self._second = mask.first.radius, mask.second.radius

    def needs(self, mask: Span) -> Span:
        half = mask[0] // 2, mask[1] // 2 + 1
        pooled = _grown(half, self._second)
        return _grown((2 * pooled[0], 2 * pooled[1]), self._first)

    def affects(self, features: Span) -> Span:
        """Half-size pixel j reaches outputs 2j - 1 to 2j + 1."""
        conv = _grown(features, self._first)
        half = _grown((conv[0] // 2, (conv[1] + 1) // 2), self._second)
        return 2 * half[0] - 1, 2 * half[1]


class BlockReach:
    """A masked block: f_k and f_(k-1).

    Attributes:
        mask: of its spatial mask; None where it does not follow from features.
        layers: radius of its masked layers, one after the other.
        masked: how far around a result the mask counts: all layers but the first, which the mask itself holds back.
    """

    def __init__(self, block: MaskedBlock) -> None:
        self.mask = MaskReach(block.mask) if isinstance(block.mask, LearnedMask) else None
        self.layers = block.radius
        self.masked = block.radius - block.layers[0].radius

    def needs(self, features: Span) -> Span:
        layers = _grown(features, self.layers)
        return _hull(layers, self.mask.needs(_grown(features, self.masked))) if self.mask else layers

    def affects(self, features: Span) -> Span:
        layers = _grown(features, self.layers)
        return _hull(layers, _grown(self.mask.affects(features), self.masked)) if self.mask else layers


class EndReach:
    """Collect, upsampling and tail: the result, counted in input pixels, and the last block's.

    Attributes:
        radius: of the convolutions; each step back through the upsampling halves it, rounded up, and adds its own.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self._mask = MaskReach(spec.upsampling_mask) if spec.upsampling_mask else None
        radius = self._masked = spec.tail.radius
        for convolution in reversed(spec.upsampling):
            self._masked = -(-radius // 2)  # how far around a result the upsampling's mask counts
            radius = self._masked + convolution.radius
        self.radius = sum(convolution.radius for convolution in spec.collect or ()) + radius

    def needs(self, output: Span) -> Span:
        layers = _grown(output, self.radius)
        return _hull(layers, self._mask.needs(_quads(_grown(output, self._masked)))) if self._mask else layers

    def affects(self, features: Span) -> Span:
        layers = _grown(features, self.radius)
        return _hull(layers, _grown(_quads(self._mask.affects(features)), self._masked)) if self._mask else layers


class NetworkReach:
    """All stages of a network.

    Attributes:
        head: radius of the head, whose needs and effects are the same.
        blocks: the masked blocks.
        end: what follows them.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self.head = sum(convolution.radius for convolution in spec.head)
        self.blocks = tuple(map(BlockReach, spec.blocks))
        self.end = EndReach(spec)

    @property
    def midway(self) -> int:
        """Pixels that a change has come half the way through the network, and that are computed around it."""
        return self.head + self.end.radius + sum(block.layers for block in self.blocks) // 2

    def stage_needs(self, features: Span) -> Span:
        """What the stage that reaches furthest needs."""
        needs = [around(self.head)(features), self.end.needs(features), *(b.needs(features) for b in self.blocks)]
        return min(first for first, _ in needs), max(end for _, end in needs)

    def needs(self, output: Span) -> Span:
        """Input pixels for output pixels (counted in input pixels), the attention being given."""
        features = self.end.needs(output)
        for block in reversed(self.blocks):
            features = block.needs(features)
        return _hull(_grown(features, self.head), _grown(output, BICUBIC))

    def affects(self, frame: Span) -> Span:
        """Output pixels (counted in input pixels) that change with input pixels, the attention being given."""
        features = _grown(frame, self.head)
        for block in self.blocks:
            features = block.affects(features)
        return _hull(self.end.affects(features), _grown(frame, BICUBIC))


@cache
def reach(spec: NetworkSpec) -> NetworkReach:
    """The reach of a network; made once."""
    return NetworkReach(spec)
