"""Strips of pictures that lie with their channels side by side, what is beyond the border, and memory that is used again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Mode = Literal["zeros", "reflect", "replicate"]
STRIP = 4 * 2**20  # bytes of input and output together of a strip


class _Scratch(threading.local):
    """Memory for what is soon forgotten, used again by the next strip and the next layer."""

    def __init__(self) -> None:
        self._pieces: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A float32 tensor of any content, valid until the same name is asked for again."""
        size = math.prod(shape)
        if name not in self._pieces or self._pieces[name].numel() < size:
            self._pieces.pop(name, None)
            with torch.inference_mode(False):  # so that it may be filled in either mode
                self._pieces[name] = torch.empty(size)
        return self._pieces[name][:size].view(shape)

    def clear(self) -> None:
        """Give it back to the system."""
        self._pieces.clear()


SCRATCH = _Scratch()


class Lookup:
    """Pixels (B, H, W, C) that are looked up when they are asked for, some rows of the picture at a time.

    Args:
        table: (U, C).
        index: (B, H, W) rows of the table.
    """

    def __init__(self, table: Tensor, index: Tensor) -> None:
        self.table, self.index = table, index
        self.shape = torch.Size((*index.shape, table.shape[1]))

    def __getitem__(self, where: tuple[slice, slice | int]) -> Tensor:
        index = self.index[where]
        return self.table.index_select(0, index.reshape(-1)).view(*index.shape, -1)


def channels_of(pixels: Tensor | Lookup, first: int, last: int) -> Tensor | Lookup:
    """Some channels of a picture (B, H, W, C)."""
    if isinstance(pixels, Lookup):
        return Lookup(pixels.table[:, first:last], pixels.index)
    return pixels[..., first:last]


def padded_rows(
    pixels: Tensor | Lookup, rows: tuple[int, int], beside: tuple[int, int], mode: Mode, padding: int
) -> Tensor:
    """Some rows of a picture (B, H, W, C) and what is beyond its border.

    Args:
        pixels: (B, H, W, C), or what looks them up.
        rows: The first, and the one behind the last; those outside 0..H-1 are beyond the border.
        beside: How many columns on the left and on the right are wanted.
        mode: What is up to `padding` pixels beyond the border; farther away all is zero.
        padding: How far `mode` reaches.
    """
    batch, height, width, channels = pixels.shape
    first, last = rows
    source = pixels.table if isinstance(pixels, Lookup) else pixels
    padded = source.new_empty(batch, last - first, sum((width, *beside)), channels)
    inside = padded[:, :, beside[0] : beside[0] + width]
    top, bottom = max(0, first), min(last, height)
    if top < bottom:
        inside[:, top - first : bottom - first] = pixels[:, top:bottom]
    for row in (*range(first, min(0, last)), *range(max(height, first), last)):
        seen = _seen(row, height, mode, padding)
        inside[:, row - first] = 0 if seen is None else pixels[:, seen]
    for column in (*range(-beside[0], 0), *range(width, width + beside[1])):
        seen = _seen(column, width, mode, padding)
        padded[:, :, column + beside[0]] = 0 if seen is None else inside[:, :, seen]
    return padded


def _seen(place: int, size: int, mode: Mode, padding: int) -> int | None:
    """Which row or column is seen beyond the border at a place; None for zeros."""
    inner = min(max(place, 0), size - 1)
    distance = abs(place - inner)
    if mode == "zeros" or distance > padding:
        return None
    if mode == "replicate":
        return inner
    return distance if place < 0 else size - 1 - distance


def strips(height: int, total: int) -> Iterator[tuple[int, int]]:
    """First row and the one behind the last of each strip of an output; `total` bytes are read and written."""
    rows = max(1, height * STRIP // max(total, 1))
    for top in range(0, height, rows):
        yield top, min(top + rows, height)
