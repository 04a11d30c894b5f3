"""Which parts of a picture changed: masks to few windows, and convolutions of some pixels alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.networks.products import product
from gesso.synthesis.fast.windows import Size, Window

DENSE = 0.4  # of the pixels: where more are wanted, a convolution of all is faster


def windows_of(mask: Tensor) -> list[Window]:
    """Windows that contain all places of a mask (H, W) bool, split where whole rows or columns of them are empty."""
    rows, columns = mask.any(dim=1).nonzero().view(-1), mask.any(dim=0).nonzero().view(-1)
    if not len(rows):
        return []
    box = Window(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    for axis, there in enumerate((rows, columns)):
        gaps = (there.diff() > 1).nonzero().view(-1)
        if len(gaps):
            middle = int(there[gaps[0]]) + 1
            first, second = mask.clone(), mask.clone()
            first.narrow(axis, middle, mask.shape[axis] - middle).zero_()
            second.narrow(axis, 0, middle).zero_()
            return [*windows_of(first), *windows_of(second)]
    return [box]


def merged(windows: list[Window]) -> list[Window]:
    """Those that overlap as one."""
    found: list[Window] = []
    for window in windows:
        while overlapping := next((other for other in found if _overlap(window, other)), None):
            found.remove(overlapping)
            window = window.joined(overlapping)
        found.append(window)
    return found


def _overlap(one: Window, other: Window) -> bool:
    rows = one.top < other.bottom and other.top < one.bottom
    return rows and one.left < other.right and other.left < one.right


def grown(mask: Tensor, by: int = 1) -> Tensor:
    """Places of (H, W) bool and those near to them."""
    return pooled(mask, 2 * by + 1, 1, by)


def pooled(mask: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Whether there is a place of (H, W) bool under a kernel, (H', W')."""
    values = mask[None, None].float()
    for vertical in (True, False):  # the maximum of a square is that of rows, of columns
        side = [(size, 1) if vertical else (1, size) for size in (kernel, stride)]
        values = F.max_pool2d(values, side[0], side[1], (padding, 0) if vertical else (0, padding))
    return values[0, 0] > 0


class Neighbours:
    """The 3x3 neighbours of the pixels of a picture behind one pixel of reflection.

    Args:
        size: Height and width, both at least 2.
    """

    def __init__(self, size: Size) -> None:
        rows, columns = (_around(length) for length in size)  # (3, H), (3, W)
        numbers = rows.view(3, 1, -1, 1) * size[1] + columns.view(1, 3, 1, -1)  # (3, 3, H, W)
        self.numbers = numbers.reshape(9, -1).t().contiguous()  # (H * W, 9)

    def convolved(self, pixels: Tensor, weight: Tensor, places: Tensor) -> Tensor:
        """A convolution of pixels (H * W, C) by a weight (O, C, 3, 3), at some places (n,): (n, O)."""
        seen = pixels.index_select(0, self.numbers.index_select(0, places).view(-1))
        columns = seen.view(len(places), 9, pixels.shape[1]).transpose(1, 2).flatten(1)  # (n, C * 9)
        return product(columns, weight.reshape(len(weight), -1))


def _around(length: int) -> Tensor:
    """For each place that before it, itself and that behind it, (3, length); reflected at the ends."""
    places = torch.arange(length) + torch.tensor([[-1], [0], [1]])
    return length - 1 - (length - 1 - places.abs()).abs()
