"""Windows of a frame: integers only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Span = tuple[int, int]  # first, end: half open
Reach = Callable[[Span], Span]


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

    def expand(self, reach: Reach, frame: Window) -> Window:
        """The window that `reach` leads to in both directions, cut at the frame, its sides moved out to even ones."""
        (top, bottom), (left, right) = reach((self.top, self.bottom)), reach((self.left, self.right))
        top, left, bottom, right = top & -2, left & -2, bottom + 1 & -2, right + 1 & -2
        return Window(top, left, bottom, right).intersect(frame)

    def intersect(self, other: Window) -> Window:
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
