"""3x3 convolutions by Winograd's algorithm, on CPUs in float32 (Lavin and Gray 2016, arXiv 1509.09308).

Tiles of 2x2 pixels are found from 4x4 pixels by 16 multiplications per pair of channels, not 36, as matrix products. That rounds
1.6 to 1.9 times as much as PyTorch's convolutions, 2 to 2.6 times where oneDNN multiplies (root mean square, 256 to 1024
channels); larger tiles would need fewer multiplications and round several times more. With d a tile of the input, g a kernel
(section 4.1, equation 8):

    Y = A' [ (G g G') * (B' d B) ] A,  A' = 1  1  1  0    B' = 1  0 -1  0    G =  1    0    0
                                            0  1 -1 -1         0  1  1  0        1/2  1/2  1/2
                                                               0 -1  1  0        1/2 -1/2  1/2
                                                               0  1  0 -1         0    0    1
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gesso.networks.products import product
from gesso.synthesis.fast.strips import SCRATCH, Mode, padded_rows

TILE = 2  # height and width of a tile of the output
REACH = TILE + 2  # and of the input
PLACES = REACH**2  # products for each tile
KEPT = 48 * 2**20  # bytes of transformed weights up to which they are kept; larger ones are made in slices, each time
SLICE = 36 * 2**20  # bytes of such a slice
SUMMANDS = 256  # channels that are summed at once: sums of 1024 round 1.4 times as much
TRANSFORMED = 12 * 2**20  # bytes of transformed input at once, where weights are kept
TRANSFORMED_WIDE = 48 * 2**20  # and where they are made each time
KERNEL = torch.tensor([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], dtype=torch.float32, device="cpu") / 2  # G
KERNELS = torch.kron(KERNEL, KERNEL)  # of flattened kernels, (16, 9)


class Winograd:
    """A 3x3 convolution at stride 1 behind one pixel of padding, by Winograd's algorithm; on CPUs, in float32.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,) or None.
        mode: What is beyond the border.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, mode: Mode) -> None:
        self.bias, self.mode = bias, mode
        self.out_channels, self.channels = weight.shape[:2]
        self._weight = weight
        transformed = PLACES * weight.numel() // 9 * 4
        self.kept = transformed <= KEPT
        self._whole = [part.clone() for part in self._slice(0, self.out_channels)] if self.kept else None
        self._step = self.out_channels if self.kept else max(64, self.out_channels * SLICE // transformed // 64 * 64)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W); into `out`, if there is one."""
        pixels = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        if out is None:
            out = torch.empty_like(pixels[..., :1].expand(*pixels.shape[:3], self.out_channels)).permute(0, 3, 1, 2)
        whole = out.permute(0, 2, 3, 1)
        batch, down, across = len(pixels), *(-(-size // TILE) for size in pixels.shape[1:3])
        for images, rows in self._strips(batch, down, across):
            self._strip(self._padded(pixels[images], rows, across), whole[images, rows.start * TILE :])
        return out

    def _strips(self, batch: int, down: int, across: int) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles that are computed at once."""
        tile = PLACES * self.channels * 4  # bytes
        tiles = max(across, (TRANSFORMED if self.kept else TRANSFORMED_WIDE) // tile)
        rows, images = min(down, tiles // across), max(1, tiles // (across * down))
        for image in range(0, batch, images):
            for top in range(0, down, rows):
                yield slice(image, image + images), slice(top, min(top + rows, down))

    def _padded(self, pixels: Tensor, rows: slice, across: int) -> Tensor:
        """What some rows of tiles depend on, (B, 2 rows + 2, 2 across + 2, C)."""
        right = across * TILE + 1 - pixels.shape[2]
        return padded_rows(pixels, (rows.start * TILE - 1, rows.stop * TILE + 1), (1, right), self.mode, 1)

    def _strip(self, padded: Tensor, out: Tensor) -> None:
        """Fill the first rows of out (b, r, W, O) from (b, 2 rows + 2, 2 across + 2, C)."""
        batch, rows, across = (len(padded), *(size // TILE - 1 for size in padded.shape[1:3]))
        entered = [
            self._entered(part, f"tiles of channels {number}")
            for number, part in enumerate(torch.split(padded, SUMMANDS, dim=3))
        ]
        for first in range(0, self.out_channels, self._step):
            last = min(first + self._step, self.out_channels)
            weights = self._slice(first, last) if self._whole is None else self._whole
            products = [
                _summed(*place) for place in zip(zip(*entered, strict=True), zip(*weights, strict=True), strict=True)
            ]
            columns = [_leave(products[place::REACH]) for place in range(REACH)]
            tiles = [_leave(row) for row in zip(*columns, strict=True)]
            if self.bias is not None:
                for pixels in itertools.chain.from_iterable(tiles):
                    pixels.add_(self.bias[first:last])
            _lay([[pixels.view(batch, rows, across, -1) for pixels in row] for row in tiles], out[..., first:last])

    def _entered(self, padded: Tensor, name: str) -> Tensor:
        """Transformed tiles of some channels, (16, b * rows * across, c), in memory of that name."""
        batch, rows, across = (len(padded), *(size // TILE - 1 for size in padded.shape[1:3]))
        halfway = SCRATCH.take("product", REACH, batch, rows, *padded.shape[2:])
        _enter(padded, 1, list(halfway))
        entered = SCRATCH.take(name, REACH, REACH, batch, rows, across, padded.shape[3])
        _enter(halfway, 3, list(entered.unbind(1)))
        return entered.view(PLACES, -1, padded.shape[3])

    def _slice(self, first: int, last: int) -> list[Tensor]:
        """Transformed weights of some output channels, (16, last - first, c) for some of the input's channels after the other."""
        found = []
        for number, part in enumerate(torch.split(self._weight[first:last], SUMMANDS, dim=1)):
            transformed = SCRATCH.take(f"weights of channels {number}", PLACES, part[:, :, 0, 0].numel())
            torch.mm(KERNELS, part.reshape(-1, 9).t(), out=transformed)
            found.append(transformed.view(PLACES, *part.shape[:2]))
        return found


def _summed(matrices: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The sum of products (tiles, c) x (o, c), (tiles, o)."""
    found, *others = (product(*each) for each in zip(matrices, weights, strict=True))
    for other in others:
        found += other
    return found


def _enter(values: Tensor, axis: int, out: list[Tensor]) -> None:
    """B' along one axis, of length 2 n + 2: four times n values."""
    count = values.shape[axis] - TILE  # from the first to the last beginning of a tile
    first, second, third, fourth = (
        values[(slice(None),) * axis + (slice(begin, begin + count, TILE),)] for begin in range(REACH)
    )
    torch.sub(first, third, out=out[0])
    torch.add(second, third, out=out[1])
    torch.sub(third, second, out=out[2])
    torch.sub(second, fourth, out=out[3])


def _leave(values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """A' of four, in the memory of the first two."""
    first, second, third, fourth = values
    return first.add_(second).add_(third), second.sub_(third).sub_(fourth)


def _lay(tiles: list[list[Tensor]], out: Tensor) -> None:
    """Lay the pixels of tiles, (b, r, w, O) each, side by side into the first rows of out (b, h, W, O), where they are inside."""
    for down, rows in enumerate(tiles):
        for across, pixels in enumerate(rows):
            places = out[:, down::TILE, across::TILE][:, : pixels.shape[1]]
            places.copy_(pixels[:, : places.shape[1], : places.shape[2]])
