"""Windows of a frame, and how far each part of the network reaches: integers only.

A span (first, end) is half open. For every op there are two ways to ask: which inputs does a span of outputs need, and
which outputs does a span of inputs affect. Both follow from the op's taps; nothing here is a guess with a margin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vs_smsr.weights import LAYERS, MODULES

Span = tuple[int, int]
BICUBIC = 2  # the bicubic base of an output pixel reads 2 input pixels to either side


@dataclass(frozen=True, order=True)
class Window:
    """Rows top <= y < bottom, columns left <= x < right of a frame."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the window in an array (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: Window) -> Window:
        """The same pixels in the coordinates of `outer`."""
        return Window(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def scaled(self, scale: int) -> Window:
        return Window(self.top * scale, self.left * scale, self.bottom * scale, self.right * scale)

    def spread(self, reach: Callable[[Span], Span], frame: Window) -> Window:
        """The window that `reach` leads to in both directions, cut at the frame, its sides moved out to even ones."""
        (top, bottom), (left, right) = reach((self.top, self.bottom)), reach((self.left, self.right))
        top, left, bottom, right = top & -2, left & -2, bottom + 1 & -2, right + 1 & -2
        return Window(top, left, bottom, right).cut(frame)

    def cut(self, other: Window) -> Window:
        """The pixels that both have; empty windows have an area of zero or less."""
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def hull(self, other: Window) -> Window:
        """The smallest window around both."""
        return Window(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


def whole(height: int, width: int) -> Window:
    return Window(0, 0, height, width)


def around(pixels: int) -> Callable[[Span], Span]:
    """What that many 3x3 convolutions need, and what they affect."""
    return lambda span: _conv(span, pixels)


def _conv(span: Span, times: int = 1) -> Span:
    return span[0] - times, span[1] + times


def _hull(a: Span, b: Span) -> Span:
    return min(a[0], b[0]), max(a[1], b[1])


def head_needs(features: Span) -> Span:
    """Input pixels for f_0."""
    return _conv(features, 2)


def mask_needs(mask: Span) -> Span:
    """Features for a spatial mask: 3x3, 2x2 mean, 3x3 at half size, transposed 3x3 with stride 2.

    The transposed convolution makes output 2j from half-size pixel j, output 2j + 1 from j and j + 1.
    """
    half = mask[0] // 2, mask[1] // 2 + 1
    pooled = _conv(half)
    return _conv((2 * pooled[0], 2 * pooled[1]))


def smm_needs(features: Span) -> Span:
    """f_(k-1) for f_k: four 3x3, the first of which needs the mask three pixels around."""
    return _hull(_conv(features, LAYERS), mask_needs(_conv(features, LAYERS - 1)))


def end_needs(output: Span) -> Span:
    """f_0 ... f_5 for the output: collect and tail, a 3x3 each."""
    return _conv(output, 2)


def network_needs(output: Span) -> Span:
    """Input pixels for output pixels (counted in input pixels), the attention being given."""
    features = end_needs(output)
    for _ in range(MODULES):
        features = smm_needs(features)
    return _hull(head_needs(features), (output[0] - BICUBIC, output[1] + BICUBIC))


def head_affects(frame: Span) -> Span:
    """Pixels of f_0 that change with input pixels."""
    return _conv(frame, 2)


def mask_affects(features: Span) -> Span:
    """Mask pixels that change with features; half-size pixel j reaches outputs 2j - 1 to 2j + 1."""
    conv = _conv(features)
    half = _conv((conv[0] // 2, (conv[1] + 1) // 2))
    return 2 * half[0] - 1, 2 * half[1]


def smm_affects(features: Span) -> Span:
    """Pixels of f_k that change with f_(k-1)."""
    return _hull(_conv(features, LAYERS), _conv(mask_affects(features), LAYERS - 1))


def end_affects(features: Span) -> Span:
    """Output pixels that change with f_0 ... f_5."""
    return _conv(features, 2)


def network_affects(frame: Span) -> Span:
    """Output pixels (counted in input pixels) that change with input pixels, the attention being given."""
    features = head_affects(frame)
    for _ in range(MODULES):
        features = smm_affects(features)
    return _hull(end_affects(features), (frame[0] - BICUBIC, frame[1] + BICUBIC))
