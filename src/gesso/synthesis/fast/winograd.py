"""3x3 convolutions by Winograd's algorithm, on CPUs in float32 (Lavin and Gray 2016, arXiv 1509.09308).

Tiles of m x m pixels are found from (m + 2) x (m + 2) pixels by as many multiplications per pair of channels, not 9 m x m,
as matrix products. How that rounds depends on the points where polynomials are evaluated; these were the best of a search (root
mean square of the rounding, as a multiple of that of a sum in blocks):

    m   multiplications   rounding   points, beside infinity
    2   4    per pixel    1.8        0, +-1
    3   2.8               3          +-0.45, +-1.3
    4   2.25              5          0, +-0.65, +-1.5; with the usual 0, +-1, +-2 it is 9
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.synthesis.fast.strips import SCRATCH, Mode, padded_rows

POINTS = {2: (0, 1, -1), 3: (0.45, -0.45, 1.3, -1.3), 4: (0, 0.65, -0.65, 1.5, -1.5)}  # for each tile
TILE = 2  # larger ones are faster by a tenth to a third, and round more than the plain network does
KEPT = 48 * 2**20  # bytes of transformed weights up to which they are kept; larger ones are made in slices, each time
SLICE = 36 * 2**20  # bytes of such a slice
TRANSFORMED = 2**20  # bytes of transformed input at once, where weights are kept
TRANSFORMED_WIDE = 48 * 2**20  # and where they are made each time


@functools.cache
def transforms(tile: int) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices for flattened tiles: of the output (m * m, n * n), weights (n * n, 9) and input (n * n, n * n); n = m + 2."""
    points = torch.tensor(POINTS[tile], dtype=torch.float64)
    others = [torch.cat([points[:i], points[i + 1 :]]) for i in range(len(points))]
    powers = points.unsqueeze(1) ** torch.arange(max(tile, 3))  # (n - 1, max(m, 3))
    scale = torch.stack([(point - other).prod() for point, other in zip(points, others, strict=True)])
    output = torch.cat([powers[:, :tile], _unit(tile)]).t()  # (m, n); the last point is infinity
    weights = torch.cat([powers[:, :3] / scale.unsqueeze(1), _unit(3)])  # (n, 3)
    entering = torch.zeros(tile + 2, tile + 2, dtype=torch.float64)
    for row, roots in enumerate([*others, points]):
        entering[row, : len(roots) + 1] = _polynomial(roots)
    output, weights, entering = (torch.kron(matrix, matrix).float() for matrix in (output, weights, entering))
    return output, weights, entering


def _unit(size: int) -> Tensor:
    """The row (1, size) that is 1 at its end."""
    return F.pad(torch.ones(1, 1, dtype=torch.float64), (size - 1, 0))


def _polynomial(roots: Tensor) -> Tensor:
    """Coefficients, lowest power first, of the polynomial with these roots and leading coefficient 1."""
    found = torch.ones(1, dtype=roots.dtype)
    for root in roots:
        higher, lower = F.pad(found, (1, 0)), F.pad(found, (0, 1))
        found = higher - root * lower
    return found


class Winograd:
    """A 3x3 convolution at stride 1 behind one pixel of padding, by Winograd's algorithm; on CPUs, in float32.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,) or None.
        mode: What is beyond the border.
        tile: Height and width of a tile of the output.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, mode: Mode, tile: int = TILE) -> None:
        self.bias, self.mode, self.tile, self.reach = bias, mode, tile, tile + 2
        self.out_channels, self.channels = weight.shape[:2]
        self._flat = weight.reshape(-1, 9)  # (O * C, 9)
        transformed = self.reach**2 * weight.numel() // 9 * 4
        self.kept = transformed <= KEPT
        self._whole = self._slice(0, self.out_channels).clone() if self.kept else None
        self._step = self.out_channels if self.kept else max(64, self.out_channels * SLICE // transformed // 64 * 64)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W); into `out`, if there is one."""
        pixels = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        if out is None:
            out = torch.empty_like(pixels[..., :1].expand(*pixels.shape[:3], self.out_channels)).permute(0, 3, 1, 2)
        whole = out.permute(0, 2, 3, 1)
        batch, down, across = len(pixels), *(-(-size // self.tile) for size in pixels.shape[1:3])
        for images, rows in self._strips(batch, down, across):
            self._strip(self._padded(pixels[images], rows, across), whole[images, rows.start * self.tile :])
        return out

    def _strips(self, batch: int, down: int, across: int) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles that are computed at once."""
        tile = self.reach**2 * self.channels * 4  # bytes
        tiles = max(across, (TRANSFORMED if self.kept else TRANSFORMED_WIDE) // tile)
        rows, images = min(down, tiles // across), max(1, tiles // (across * down))
        for image in range(0, batch, images):
            for top in range(0, down, rows):
                yield slice(image, image + images), slice(top, min(top + rows, down))

    def _padded(self, pixels: Tensor, rows: slice, across: int) -> Tensor:
        """What some rows of tiles depend on, (B, m rows + 2, m across + 2, C)."""
        right = across * self.tile + 1 - pixels.shape[2]
        return padded_rows(pixels, (rows.start * self.tile - 1, rows.stop * self.tile + 1), (1, right), self.mode, 1)

    def _strip(self, padded: Tensor, out: Tensor) -> None:
        """Fill the first rows of out (b, r, W, O) from (b, m rows + 2, m across + 2, C)."""
        (image, row, column, _), places, tile = padded.stride(), self.reach**2, self.tile
        batch, rows, across = (len(padded), *((size - 2) // tile for size in padded.shape[1:3]))
        shape, count = (self.reach, self.reach, batch, rows, across, self.channels), batch * rows * across
        tiles = SCRATCH.take("tiles", *shape)
        tiles.copy_(padded.as_strided(shape, (row, column, image, tile * row, tile * column, 1)))
        leaving, _, entering = transforms(tile)
        entered = SCRATCH.take("entered", places, count * self.channels)
        torch.mm(entering, tiles.view(places, -1), out=entered)
        for first in range(0, self.out_channels, self._step):
            last = min(first + self._step, self.out_channels)
            weights = self._slice(first, last) if self._whole is None else self._whole  # (n * n, o, C)
            product = SCRATCH.take("product", places, count, last - first)
            torch.bmm(entered.view(places, count, -1), weights.transpose(1, 2), out=product)
            left = SCRATCH.take("left", tile**2, count * (last - first))
            torch.mm(leaving, product.view(places, -1), out=left)
            if self.bias is not None:
                left.view(-1, last - first).add_(self.bias[first:last])
            _lay(left.view(tile, tile, batch, rows, across, -1), out[..., first:last])

    def _slice(self, first: int, last: int) -> Tensor:
        """Transformed weights of some output channels, (n * n, last - first, C)."""
        weight = self._flat[first * self.channels : last * self.channels]
        transformed = SCRATCH.take("weights", self.reach**2, len(weight))
        torch.mm(transforms(self.tile)[1], weight.t(), out=transformed)
        return transformed.view(self.reach**2, last - first, self.channels)


def _lay(tiles: Tensor, out: Tensor) -> None:
    """Lay tiles (m, m, b, r, w, O) side by side into the first rows of out (b, h, W, O), as far as they lie inside."""
    for down, rows in enumerate(tiles):
        for across, pixels in enumerate(rows):
            places = out[:, down :: len(tiles), across :: len(tiles)][:, : pixels.shape[1]]
            places.copy_(pixels[:, : places.shape[1], : places.shape[2]])
