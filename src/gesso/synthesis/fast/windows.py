"""Layers on parts of a picture: which part of its input a part of the output needs, and what becomes of it.

    Window      some rows and columns of a picture
    Plain       a convolution, at stride 1 or 2
    Twice       a layer that doubles the size
    Head        the last convolution, to a few channels
    Halved      the mean of 3x3 pixels at stride 2

All take and give pixels (h, w, C) with their channels side by side, of float32, and give what they give within the whole picture:
what lies beyond the border of the picture is padded, what lies beyond a part has to come with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from gesso.networks.pix2pixhd import shrink
from gesso.synthesis.fast.convolutions import Convolution, Doubling, FewChannels

Span = tuple[int, int]  # the first row or column, and the one behind the last
Size = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Rows top..bottom - 1 and columns left..right - 1 of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    @staticmethod
    def whole(size: Size) -> Window:
        """All of a picture of that height and width."""
        return Window(0, size[0], 0, size[1])

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def rows(self) -> Span:
        """The first row, and the one behind the last."""
        return self.top, self.bottom

    @property
    def columns(self) -> Span:
        """The first column, and the one behind the last."""
        return self.left, self.right

    def of(self, pixels: Tensor) -> Tensor:
        """This part of a picture (H, W, C)."""
        return pixels[self.top : self.bottom, self.left : self.right]

    def within(self, other: Window, pixels: Tensor) -> Tensor:
        """This part of a picture of which only another part (h, w, C) is there, which contains it."""
        rows, columns = (self.top - other.top, self.left - other.left)
        return pixels[rows : rows + self.size[0], columns : columns + self.size[1]]

    def joined(self, other: Window) -> Window:
        """The smallest that contains both."""
        return Window(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


class Step(Protocol):
    """A layer on parts of pictures."""

    def size(self, size: Size) -> Size:
        """Height and width of what it gives for a picture of that size."""
        ...

    def needs(self, part: Window, size: Size) -> Window:
        """Of the input, whose size is given, what a part of the output depends on."""
        ...

    def reached(self, part: Window, size: Size) -> Window:
        """Of the output what a part of the input, whose size is given, can change."""
        ...

    def __call__(self, pixels: Tensor, seen: Window, part: Window) -> Tensor:
        """A part of the output, from the part of the input that it needs, or a larger one whose corner is at even places."""
        ...


class _Separable(ABC):
    """A layer that treats rows and columns alike."""

    def size(self, size: Size) -> Size:
        """Height and width of the output."""
        return self._length(size[0]), self._length(size[1])

    def needs(self, part: Window, size: Size) -> Window:
        """Of the input."""
        return Window(*self._needs(part.rows, size[0]), *self._needs(part.columns, size[1]))

    def reached(self, part: Window, size: Size) -> Window:
        """Of the output."""
        return Window(*self._reached(part.rows, size[0]), *self._reached(part.columns, size[1]))

    @abstractmethod
    def _length(self, length: int) -> int: ...

    @abstractmethod
    def _needs(self, span: Span, length: int) -> Span: ...

    @abstractmethod
    def _reached(self, span: Span, length: int) -> Span: ...


def _planes(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1).unsqueeze(0)


def _pixels(planes: Tensor) -> Tensor:
    return planes[0].permute(1, 2, 0)


class Plain(_Separable):
    """A convolution that keeps the size, or halves it.

    What is padded at the borders of a part, as if they were the picture's, is cut off again.
    """

    def __init__(self, convolution: Convolution) -> None:
        self.convolution = convolution
        self.kernel, self.stride, self.padding = (
            convolution.weight.shape[-1],
            convolution.stride,
            convolution.padding,
        )

    def _length(self, length: int) -> int:
        return (length + 2 * self.padding - self.kernel) // self.stride + 1

    def _needs(self, span: Span, length: int) -> Span:
        first, last = span[0] * self.stride - self.padding, (span[1] - 1) * self.stride - self.padding + self.kernel
        return max(0, first // self.stride * self.stride), min(length, last)

    def _reached(self, span: Span, length: int) -> Span:
        first, last = span[0] + self.padding - self.kernel + 1, span[1] - 1 + self.padding
        return max(0, -(-first // self.stride)), min(self._length(length), last // self.stride + 1)

    def __call__(self, pixels: Tensor, seen: Window, part: Window) -> Tensor:
        """(h, w, C) -> (h', w', O)."""
        found = _pixels(self.convolution(_planes(pixels)))
        return _cut(found, part, seen.top // self.stride, seen.left // self.stride)


class Twice(_Separable):
    """A layer that doubles the size."""

    def __init__(self, layer: Doubling) -> None:
        self.layer = layer

    def _length(self, length: int) -> int:
        return 2 * length

    def _needs(self, span: Span, length: int) -> Span:
        return max(0, (span[0] - 1) // 2), min(length, span[1] // 2 + 1)

    def _reached(self, span: Span, length: int) -> Span:
        return max(0, 2 * span[0] - 1), min(2 * length, 2 * span[1] + 1)

    def __call__(self, pixels: Tensor, seen: Window, part: Window) -> Tensor:
        """(h, w, C) -> (h', w', O)."""
        return _cut(_pixels(self.layer(_planes(pixels))), part, 2 * seen.top, 2 * seen.left)


class Head(Plain):
    """The last convolution, behind reflection."""

    def __init__(self, layer: FewChannels) -> None:
        self.layer = layer
        self.kernel, self.stride, self.padding = layer.kernel, 1, layer.kernel // 2

    def __call__(self, pixels: Tensor, seen: Window, part: Window) -> Tensor:
        """(h, w, C) -> (h', w', O)."""
        return _cut(_pixels(self.layer(_planes(pixels))), part, seen.top, seen.left)


class Halved(Plain):
    """The mean of 3x3 pixels at stride 2; those beyond the border do not count."""

    def __init__(self) -> None:
        self.kernel, self.stride, self.padding = 3, 2, 1

    def __call__(self, pixels: Tensor, seen: Window, part: Window) -> Tensor:
        """(h, w, C) -> (h', w', C)."""
        return _cut(_pixels(shrink(_planes(pixels))), part, seen.top // 2, seen.left // 2)


def _cut(found: Tensor, part: Window, top: int, left: int) -> Tensor:
    """A part of what was found, whose corner is at a place of the picture."""
    (height, width), top, left = part.size, part.top - top, part.left - left
    return found[top : top + height, left : left + width]
