"""Convolutions for inference, prepared once from a network's weights: channels_last, float32, without gradients.

    Convolution         any ordinary one behind zeros or reflection; 3x3 at stride 1 by Winograd's algorithm where that is faster
    Doubling            the transposed convolution that doubles the size, as matrix products
    Resizing            every pixel four times and a convolution, as smaller ones
    FewChannels         7x7 behind reflection to a few channels, as one matrix product and shifted sums

All take (B, C, H, W) tensors and give them, channels_last, in memory that may be handed in: where tensors are large, the system
takes as long to hand out fresh memory as a convolution takes to fill it. For the same reason they work in strips. They keep the
network's own weights, not copies, where those would be large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.networks.products import product
from gesso.synthesis.fast.strips import SCRATCH, Lookup, Mode, channels_of, padded_rows, strips
from gesso.synthesis.fast.winograd import TILE, Winograd

WINOGRAD_FROM = 192  # channels, in and out: with fewer, transforms cost more than they save
TILES_FROM = 16  # tiles of the whole batch: with fewer, transformed weights cost more than they save
FEW_PIXELS = 192  # up to which weights too large to be kept transformed are not transformed
SUMMANDS_FROM = 1024  # of a sum, from which oneDNN's plain order of summation rounds too much
SUMMANDS = 576  # that it may sum at once then; the sums of such groups are added
GROUPED = 2304  # summands up to which groups are faster than matrix products
FEW_ROWS = 4  # rows of the input at once, in FewChannels


class Convolution:
    """A convolution behind zeros or reflection.

    Args:
        weight: (O, C, k, k).
        bias: (O,) or None.
        stride: Of both directions.
        padding: Pixels beyond each border.
        mode: What is there.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0, mode: Mode = "zeros"
    ) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.stride, self.padding, self.mode = stride, padding, mode
        fits = self.weight.shape[2:] == (3, 3) and stride == padding == 1 and weight.device.type == "cpu"
        wide = min(self.weight.shape[:2]) >= WINOGRAD_FROM and weight.dtype == torch.float32
        self.winograd = Winograd(self.weight, self.bias, mode) if fits and wide else None
        summands, place = self.weight[0].numel(), self.weight[0, 0].numel()
        self._large = self.winograd is not None or summands > GROUPED
        self._groups: tuple[Tensor, ...] = (self.weight,)  # of some channels each, (O, c, k, k)
        if not self._large and summands >= SUMMANDS_FROM:
            groups = torch.split(self.weight, max(1, SUMMANDS // place), dim=1)
            self._groups = tuple(group.contiguous(memory_format=torch.channels_last) for group in groups)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W'), channels_last; into `out`, if there is one."""
        if self.winograd is None or self._is_small(x):
            return self.of_pixels(x.permute(0, 2, 3, 1), out)
        return self.winograd(x, out)

    def _is_small(self, x: Tensor) -> bool:
        """Whether Winograd's algorithm would spend most of its time on weights."""
        if self.winograd is not None and self.winograd.kept:
            return len(x) * math.prod(-(-size // TILE) for size in x.shape[2:]) < TILES_FROM
        return len(x) * x[0, 0].numel() <= FEW_PIXELS

    def of_pixels(self, pixels: Tensor | Lookup, out: Tensor | None = None) -> Tensor:
        """The same for (B, H, W, C) pixels, directly."""
        batch, *size, channels = pixels.shape
        kernel = self.weight.shape[-1]
        height, width = ((length + 2 * self.padding - kernel) // self.stride + 1 for length in size)
        if out is None:
            out = self.weight.new_empty(batch, height, width, len(self.weight)).permute(0, 3, 1, 2)
        for top, bottom in strips(height, batch * size[0] * size[1] * channels * 4 + out.nbytes):
            rows = top * self.stride - self.padding, (bottom - 1) * self.stride - self.padding + kernel
            out[:, :, top:bottom] = (self._multiplied if self._large else self._convolved)(pixels, rows)
        return out

    def _padded(self, pixels: Tensor | Lookup, rows: tuple[int, int]) -> Tensor:
        return padded_rows(pixels, rows, (self.padding,) * 2, self.mode, self.padding)

    def _convolved(self, pixels: Tensor | Lookup, rows: tuple[int, int]) -> Tensor:
        """Some rows of pixels (B, H, W, C) -> (B, O, h, W'), a group of channels at a time."""
        found, begin = None, 0
        for group in self._groups:
            part = self._padded(channels_of(pixels, begin, begin + group.shape[1]), rows)
            sums = F.conv2d(part.permute(0, 3, 1, 2), group, self.bias if found is None else None, self.stride)
            found, begin = sums if found is None else found.add_(sums), begin + group.shape[1]
        assert found is not None  # there is always a group
        return found

    def _multiplied(self, pixels: Tensor | Lookup, rows: tuple[int, int]) -> Tensor:
        """The same as one matrix product, for weights so large that they are best read as they are, and once.

        Rounds up to 2.1 times as much as PyTorch's convolutions, root mean square: about as much as Winograd's algorithm.
        """
        part = self._padded(pixels, rows).permute(3, 0, 1, 2).contiguous()  # (C, B, h, w)
        (channels, batch, *size), (plane, image, row, column) = part.shape, part.stride()
        kernel, stride = self.weight.shape[-1], self.stride
        size = [(length - kernel) // stride + 1 for length in size]
        windows = SCRATCH.take("tiles", channels, kernel, kernel, batch, *size)
        windows.copy_(part.as_strided(windows.shape, (plane, row, column, image, stride * row, stride * column)))
        columns = windows.view(-1, batch * math.prod(size))
        found = product(self.weight.reshape(len(self.weight), -1), columns.t())  # (O, B * h * w)
        found = found if self.bias is None else found.add_(self.bias.unsqueeze(1))
        return found.view(-1, batch, *size).transpose(0, 1)


@dataclass(frozen=True)
class _Tap:
    """What the pixel that is `down` and `across` from the first one means for the phases `first` to `last` - 1 of the output.

    The four pixels of the output that stand for one of the input are its phases, round about: (0, 0), (1, 0), (1, 1), (0, 1).
    """

    down: int
    across: int
    first: int
    matrix: Tensor  # ((last - first) * O, C)


PHASES = ((0, 0), (1, 0), (1, 1), (0, 1))


class Doubling:
    """The transposed convolution that doubles the size (kernel 3, stride 2, padding 1, output padding 1).

    An even row of the output sees one row of the input through one row of the kernel, an odd one two rows through two; likewise
    columns. Each pixel of the input is multiplied with all that it means to its neighbourhood at once.

    Args:
        weight: (C, O, 3, 3), as transposed convolutions have it.
        bias: (O,) or None.
    """

    mode: Mode = "zeros"
    before = 0  # rows and columns of the input before the first one that are seen

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._prepare(weight.detach().transpose(0, 1).flip(2, 3), bias)  # (O, C, 3, 3), as a convolution has it

    def _prepare(self, weight: Tensor, bias: Tensor | None) -> None:
        self.bias = None if bias is None else bias.detach()
        self.out_channels = len(weight)
        seen = [(row, column, phase) for phase in range(4) for row, column in self._seen(phase)]
        places = sorted({(row, column) for row, column, _ in seen}, key=lambda place: place != (self.before,) * 2)
        self._taps: list[_Tap] = []  # first the pixel itself, which all phases see
        for row, column in places:
            phases = [phase for down, across, phase in seen if (down, across) == (row, column)]
            matrices = [self._kernel(weight, phase, row, column).contiguous() for phase in phases]  # (O, C)
            if phases[-1] - phases[0] == len(phases) - 1:
                self._taps.append(_Tap(row, column, phases[0], torch.cat(matrices)))
            else:
                self._taps += [_Tap(row, column, *each) for each in zip(phases, matrices, strict=True)]

    def _seen(self, phase: int) -> list[tuple[int, int]]:
        """The pixels of the input that a phase sees."""
        down, across = PHASES[phase]
        return [(row, column) for row in range(down + 1) for column in range(across + 1)]

    def _kernel(self, weight: Tensor, phase: int, row: int, column: int) -> Tensor:
        """What a phase does with such a pixel, (O, C)."""
        down, across = PHASES[phase]
        return weight[:, :, 2 * row if down else 1, 2 * column if across else 1]

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, O, 2 H, 2 W), channels_last; into `out`, if there is one."""
        batch, _, height, width = x.shape
        if out is None:
            out = x.new_empty(batch, 2 * height, 2 * width, self.out_channels).permute(0, 3, 1, 2)
        pixels, whole = x.permute(0, 2, 3, 1), out.permute(0, 2, 3, 1)
        whole = whole.view(batch, height, 2, width, 2, self.out_channels)
        for top, bottom in strips(height, x.nbytes + out.nbytes):
            part = padded_rows(pixels, (top - self.before, bottom + 1), (self.before, 1), self.mode, 1)
            phases = self._phases(part)[:, : bottom - top, :width]
            for phase, (down, across) in enumerate(PHASES):
                whole[:, top:bottom, down, :, across] = phases[..., phase, :]
        return out

    @torch.no_grad()  # what is written into SCRATCH has no history
    def _phases(self, part: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, 4, O); rows and columns at the end, whose neighbours are missing, mean nothing."""
        width, channels = part.shape[2:]
        flat = part.reshape(-1, channels)
        count = len(flat) - max(tap.down * width + tap.across for tap in self._taps)
        found = SCRATCH.take("product", len(flat), 4 * self.out_channels)
        for number, tap in enumerate(self._taps):
            shift, first = tap.down * width + tap.across, tap.first * self.out_channels
            seen = flat[shift : shift + count]
            sums = found[:count, first : first + len(tap.matrix)]
            (sums.add_ if number else sums.copy_)(product(seen, tap.matrix))
        phases = found.view(*part.shape[:3], 4, self.out_channels)
        return phases if self.bias is None else phases.add_(self.bias)


class Resizing(Doubling):
    """Every pixel four times, one pixel of reflection, and a 3x3 convolution.

    Two of the three rows that a row of the output sees are copies of one row of the input, and so are columns: kernels of 2x2,
    whose rows and columns are sums, do the same. The reflection sees the outermost row of the input once more.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,) or None.
    """

    mode: Mode = "replicate"
    before = 1

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._prepare(weight.detach(), bias)

    def _seen(self, phase: int) -> list[tuple[int, int]]:
        down, across = PHASES[phase]
        return [(row, column) for row in (down, down + 1) for column in (across, across + 1)]

    def _kernel(self, weight: Tensor, phase: int, row: int, column: int) -> Tensor:
        rows, columns = (_summed(*both) for both in zip(PHASES[phase], (row, column), strict=True))
        return weight[:, :, rows, columns].sum(dim=(2, 3))


def _summed(odd: int, place: int) -> slice:
    """The rows of the kernel that meet one row of the input: an even row sees the last two on one, an odd one the first two."""
    if odd:
        return slice(0, 2) if place == 1 else slice(2, 3)
    return slice(0, 1) if place == 0 else slice(1, 3)


class FewChannels:
    """A convolution behind reflection to so few channels that one product with all of its kernel's places at once is faster.

    Args:
        weight: (O, C, k, k) with odd k.
        bias: (O,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.out_channels, self.channels, self.kernel, _ = weight.shape
        self.bias = None if bias is None else bias.detach()
        self._places = weight.detach().permute(2, 3, 0, 1).reshape(-1, self.channels)  # (k * k * O, C)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W), contiguous."""
        batch, _, height, width = x.shape
        whole, padding = x.new_zeros(batch, self.out_channels, height, width), self.kernel // 2
        if self.bias is not None:
            whole += self.bias.view(-1, 1, 1)
        for image, found in zip(x.permute(0, 2, 3, 1), whole, strict=True):
            for top in range(-padding, height + padding, FEW_ROWS):
                rows = top, min(top + FEW_ROWS, height + padding)
                padded = padded_rows(image[None], rows, (padding, padding), "reflect", padding)[0]  # (r, W + k - 1, C)
                self._add(padded, top + padding, found)
        return whole

    def _add(self, rows: Tensor, top: int, found: Tensor) -> None:
        """Add what rows (r, W + k - 1, C) of the padded input, from `top` on, mean for the output (O, H, W)."""
        size, (height, width) = len(rows), found.shape[1:]
        planes = product(self._places, rows.view(-1, self.channels)).view(
            self.kernel, self.kernel, self.out_channels, size, -1
        )
        sums = planes[:, 0, ..., :width]  # over columns of the kernel, (k, O, r, W)
        for across in range(1, self.kernel):
            sums += planes[:, across, ..., across : across + width]
        for down in range(self.kernel):
            first, last = max(0, top - down), min(height, top - down + size)
            if first < last:
                found[:, first:last] += sums[down, :, first + down - top : last + down - top]
