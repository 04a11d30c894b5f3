"""SPADE's generator some rows at a time; see `gesso.synthesis.fast.tiles`.

Scales and offsets are computed from the layout for the rows that are being computed, and never kept.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.networks.indexed import Indexed, resized
from gesso.networks.products import product
from gesso.synthesis.fast.sheets import Desk, Rows, Sheet, Sums
from gesso.synthesis.fast.spade import Block, FastSpadeGenerator, Modulation, normalisation
from gesso.synthesis.fast.windows import Plain


class Rectified:
    """A picture that is rectified with a slope when it is read."""

    def __init__(self, sheet: Rows, slope: float) -> None:
        self._sheet, self._slope, self.size = sheet, slope, sheet.size

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom - 1, (bottom - top, W, C)."""
        return F.leaky_relu_(self._sheet.read(top, bottom), self._slope)


class Doubled:
    """A picture whose every pixel stands for times * times."""

    def __init__(self, sheet: Rows, times: int) -> None:
        self._sheet, self._times = sheet, times
        self.size = sheet.size[0] * times, sheet.size[1] * times

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom - 1, (bottom - top, W, C)."""
        first = top // self._times
        found = self._sheet.read(first, -(-bottom // self._times))
        found = found.repeat_interleave(self._times, dim=0).repeat_interleave(self._times, dim=1)
        return found[top - first * self._times : bottom - first * self._times].contiguous()


class Modulated:
    """A picture that a SPADE layer normalises and modulates when it is read.

    Args:
        source: The picture.
        sums: Of all of it.
        layer: The layer.
        semantics: The layout, (1, S, H, W) of the picture's size.
        slope: With which it is rectified; 1 for not.
    """

    def __init__(
        self, source: Rows, sums: Sums, layer: Modulation, semantics: Indexed | Tensor, slope: float = 1.0
    ) -> None:
        self._source, self._sums, self._layer, self._semantics = source, sums, layer, semantics
        self._slope, self.size = slope, source.size

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom - 1, (bottom - top, W, C)."""
        x = self._source.read(top, bottom)
        (height, width), channels = self.size, x.shape[2]
        reach = 2 * (self._layer.kernel // 2)  # of two convolutions of the layout
        first, last = max(0, top - reach), min(height, bottom + reach)
        table = self._layer.table(_rows(self._semantics, first, last))
        found = (self._sums.mean.float(), self._sums.variance.float())
        scale, shift = normalisation(self._layer.norm, x, found)
        for row, pixels in enumerate(x, start=top - first):
            gamma, beta = table.of(slice(row * width, (row + 1) * width)).view(width, 2 * channels).chunk(2, dim=-1)
            torch.addcmul(beta, torch.addcmul(shift, pixels, scale), gamma, out=pixels)
        return x if self._slope == 1 else F.leaky_relu_(x, self._slope)


def _rows(semantics: Indexed | Tensor, first: int, last: int) -> Indexed | Tensor:
    if isinstance(semantics, Tensor):
        return semantics[:, :, first:last]
    return Indexed(semantics.codes[:, first:last], semantics.vectors)


def last_features(
    engine: FastSpadeGenerator, desk: Desk, semantics: Indexed | Tensor, style: Tensor | None
) -> tuple[Rows, Plain]:
    """What the last convolution sees, and that convolution; refuses what the network refuses."""
    start = engine.generator.begin(semantics, style)[0].permute(1, 2, 0).contiguous()
    x = desk.sheet((start.shape[0], start.shape[1]), start.shape[2])
    x.write(0, start)
    sums = Sums()
    sums.add(start)
    for doubling, block in zip(engine.generator.doublings, engine.blocks, strict=True):
        before = x
        x, sums = _computed(desk, block, Doubled(x, 1 + doubling), sums, semantics)
        before.close()
    return Rectified(x, 0.2), Plain(engine.head.convolution)


def _computed(desk: Desk, block: Block, x: Doubled, sums: Sums, semantics: Indexed | Tensor) -> tuple[Sheet, Sums]:
    """A residual block, and the sums of what it gives."""
    layout = resized(semantics, x.size)
    first, second = Plain(block.first.convolution), Plain(block.second.convolution)
    middle = Sums()
    entering = Modulated(x, sums, block.first_norm, layout, block.slope)
    y = desk.swept(first, entering, len(first.convolution.weight), middle)
    between = Modulated(y, middle, block.second_norm, layout, block.slope)
    beside: Rows = Modulated(x, sums, block.shortcut_norm, layout) if block.learned else x
    out, leaving = desk.sheet(x.size, len(second.convolution.weight)), Sums()
    for part in desk.strips(x.size):
        seen = second.needs(part, x.size)
        found = second(between.read(*seen.rows), seen, part).contiguous()
        rows = beside.read(*part.rows)
        if block.learned:
            found.view(-1, found.shape[2]).add_(product(rows.view(-1, rows.shape[2]), block.shortcut))
        else:
            found += rows
        out.write(part.top, found)
        leaving.add(found)
    y.close()
    return out, leaving
