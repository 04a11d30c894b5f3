"""SPADE's generator for synthesis: the same photographs, with everything that the layout repeats computed once.

What a SPADE layer does to its input depends on the layout alone, and does the same wherever neighbourhoods of the layout are
equal: scales and offsets are computed for each distinct neighbourhood and looked up for each pixel, while the pixel is
normalised and rectified in the same pass over memory. Those of the last layouts are kept, for other styles.

Photographs of a batch are computed one by one: each has its own layout and, with instance norm, its own statistics. Blocks and
convolutions are modules: hooks on all modules of a thread see where it is, and can stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.networks.indexed import Indexed, Patterns, dense
from gesso.networks.products import product
from gesso.networks.spade import SPADE, SpadeBlock, SpadeGenerator
from gesso.networks.spectral import SpectralConv2d
from gesso.synthesis.fast.convolutions import Convolution
from gesso.synthesis.fast.strips import SCRATCH

LAYOUTS = 8  # whose scales and offsets are kept
KEPT = 1024 * 2**20  # bytes of these
BLOCK = 64  # channels that are looked up at once: their tables stay in the cache
CHUNK = 2**18  # scales and offsets that are looked up at once
STATISTICS = 1024  # pixels whose statistics are taken at once: more round too much


def is_fast(generator: SpadeGenerator) -> bool:
    """Whether there is an engine: for SPADE with odd kernels, not for what it is compared with."""
    norms = [norm for block in generator.blocks if isinstance(block, SpadeBlock) for norm in _norms(block)]
    return all(isinstance(norm, SPADE) and norm.shared.kernel_size[0] % 2 == 1 for norm in norms)


def _norms(block: SpadeBlock) -> list[nn.Module]:
    return [block.first_norm, block.second_norm, *([block.shortcut_norm] if block.learned else [])]


class FastSpadeGenerator:
    """What a `SpadeGenerator` with SPADE gives in eval mode, to the rounding of float32; without gradients.

    Args:
        generator: Its weights are copied where they are prepared: make another engine when they change.
    """

    def __init__(self, generator: SpadeGenerator) -> None:
        self.generator = generator
        self.blocks = [Block(block) for block in generator.blocks if isinstance(block, SpadeBlock)]
        self.head = _Convolution(generator.head[1])
        self.layouts: list[_Layout] = []

    @torch.inference_mode()
    def __call__(self, semantics: Indexed | Tensor, style: Tensor | None = None) -> Tensor:
        """Photographs (B, 3, H, W) in [-1, 1]; takes and refuses what the plain generator does, beside codes."""
        if isinstance(semantics, Tensor) or self.generator.training:
            return self.generator(dense(semantics), style)
        x = self.generator.begin(semantics, style)  # (B, 16 * width, rows, columns)
        images = zip(x, torch.split(semantics.codes, 1), strict=True)
        try:
            return torch.stack([self._photograph(x, self._layout(codes, semantics.vectors)) for x, codes in images])
        finally:
            SCRATCH.clear()  # each thread has its own
            self._make_room()

    def _photograph(self, x: Tensor, layout: _Layout) -> Tensor:
        """(C, rows, columns) -> (3, H, W)."""
        x = x.permute(1, 2, 0).contiguous()  # channels last, here and everywhere
        for doubling, block in zip(self.generator.doublings, self.blocks, strict=True):
            x = block(Doubled(x, 1 + doubling), partial(self._table, layout))
        return self.head(F.leaky_relu_(x, 0.2)).tanh_().permute(2, 0, 1)

    def _layout(self, codes: Tensor, vectors: Tensor) -> _Layout:
        """What is known about a layout (1, H, W); those not seen for the longest time make room for it."""
        known = next((layout for layout in self.layouts if layout.shows(codes, vectors)), None)
        layout = known or _Layout(Indexed(codes.clone(), vectors.clone()))
        self.layouts = [*(other for other in self.layouts if other is not layout), layout][-LAYOUTS:]
        return layout

    def _table(self, layout: _Layout, modulation: Modulation, size: tuple[int, int]) -> Table:
        """Scales and offsets of one layer for a layout of that size."""
        if modulation in layout.tables:
            return layout.tables[modulation]
        table = modulation.table(layout.semantics.resized(size))
        if sum(known.table_bytes for known in self.layouts) + table.rows.nbytes > KEPT:
            self.layouts = [known for known in self.layouts if known is layout]
        if layout.table_bytes + table.rows.nbytes <= KEPT:
            layout.tables[modulation] = table
        return table

    def _make_room(self) -> None:
        """Forget the layouts that were not seen for the longest time; of the last one what was computed last."""
        while sum(layout.bytes for layout in self.layouts) > KEPT:
            if len(self.layouts) == 1 and self.layouts[0].tables:
                self.layouts[0].tables.popitem()
            else:
                del self.layouts[0]


class _Layout:
    """One layout and the scales and offsets that were computed for it."""

    def __init__(self, semantics: Indexed) -> None:
        self.semantics = semantics
        self.tables: dict[Modulation, Table] = {}

    @property
    def table_bytes(self) -> int:
        return sum(table.rows.nbytes for table in self.tables.values())

    @property
    def bytes(self) -> int:
        """Of the tables, and of what was found out about the codes."""
        return self.table_bytes + self.semantics.bytes

    def shows(self, codes: Tensor, vectors: Tensor) -> bool:
        return torch.equal(self.semantics.codes, codes) and torch.equal(self.semantics.vectors, vectors)


class Table(NamedTuple):
    """Rows (U, 2 * C), each 1 + gamma, then beta; which of them each pixel has, (H * W,), or None where each has its own."""

    rows: Tensor
    places: Tensor | None

    def of(self, pixels: slice) -> Tensor:
        """Those of some pixels, (pixels, 2 * C)."""
        return self.rows[pixels] if self.places is None else self.rows.index_select(0, self.places[pixels])


class Doubled(NamedTuple):
    """Features (h, w, C) of a picture that is `times` as large: each stands for times * times equal pixels."""

    features: Tensor
    times: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.features.shape[0] * self.times, self.features.shape[1] * self.times

    def onto(self, features: Tensor) -> Tensor:
        """Some rows of such features, as large as the picture and ready to be combined with (h, times, w, times, any)."""
        rows, columns, channels = features.shape
        return features.view(rows, 1, columns, 1, channels)


class Modulation:
    """A SPADE layer."""

    def __init__(self, spade: nn.Module) -> None:
        assert isinstance(spade, SPADE) and spade.gamma.bias is not None and spade.beta.bias is not None
        self.norm, self.shared, self.kernel = spade.norm, spade.shared, spade.shared.kernel_size[0]
        self.gamma, self.beta = spade.gamma, spade.beta
        weight = torch.cat([spade.gamma.weight, spade.beta.weight]).detach()  # (2 * C, hidden, k, k)
        blocks = torch.split(weight.permute(2, 3, 0, 1).flatten(0, 1), BLOCK, dim=1)  # (k * k, BLOCK, hidden)
        self.blocks = [block.contiguous() for block in blocks]
        self.bias = torch.cat([spade.gamma.bias + 1, spade.beta.bias]).detach()

    def table(self, semantics: Indexed | Tensor) -> Table:
        """Scales and offsets, for each distinct neighbourhood, or where there are too many of them, for each pixel."""
        padding = self.kernel // 2
        if isinstance(semantics, Tensor):
            return self._dense(self.shared(semantics).relu_())
        hidden = semantics.convolved(self.shared.weight, self.shared.bias, padding=padding)
        if hidden is None:
            return self._dense(self.shared(semantics.dense()).relu_())
        hidden = hidden.with_vectors(hidden.vectors.relu_())
        patterns = hidden.patterns(self.kernel, padding=padding)
        if patterns is None or not patterns.pay(hidden.vectors.shape[1]):
            return self._dense(hidden.dense())
        return Table(self._looked_up(hidden, patterns), patterns.index.view(-1))

    def _looked_up(self, hidden: Indexed, patterns: Patterns) -> Tensor:
        vectors = patterns.vectors_and_none(hidden.vectors)
        rows = vectors.new_empty(len(patterns), len(self.bias))
        for first, block in enumerate(self.blocks):
            columns = slice(first * BLOCK, first * BLOCK + block.shape[1])
            tables = product(vectors, block.flatten(0, 1)).view(len(vectors), *block.shape[:2])
            torch.add(patterns.summed(tables), self.bias[columns], out=rows[:, columns])
        return rows

    def _dense(self, hidden: Tensor) -> Table:
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        planes = [conv(hidden)[0].flatten(1) for conv in (self.gamma, self.beta)]  # (C, H * W) each
        planes[0] += 1
        return Table(torch.cat(planes).t().contiguous(), None)

    def chunks(self, x: Doubled, table: Table) -> Iterator[tuple[slice, Tensor]]:
        """Some pixels after the other, and what the layer makes of them, (pixels, C)."""
        height, width = x.size
        channels = x.features.shape[2]
        scale, shift = normalisation(self.norm, x.features)
        step = max(1, CHUNK // (2 * channels * width * x.times))  # rows of the features
        for top in range(0, height // x.times, step):
            features = x.features[top : top + step]
            normal = x.onto(torch.addcmul(shift, features, scale))
            pixels = slice(top * x.times * width, (top + len(features)) * x.times * width)
            around = (len(features), x.times, width // x.times, x.times, 2 * channels)
            gamma, beta = table.of(pixels).view(around).chunk(2, dim=-1)
            yield pixels, torch.addcmul(beta, normal, gamma).view(-1, channels)

    def __call__(self, x: Doubled, table: Table, slope: float) -> Tensor:
        """The layer with its activation, (H, W, C)."""
        height, width = x.size
        whole = x.features.new_empty(height, width, x.features.shape[2])
        for pixels, values in self.chunks(x, table):
            whole.view(height * width, -1)[pixels] = F.leaky_relu_(values, slope)
        return whole


def normalisation(norm: nn.Module, x: Tensor, found: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Factors and summands per channel, (C,) each, that normalise (h, w, C).

    Args:
        norm: The layer.
        x: (h, w, C).
        found: Mean and variance per channel, (C,) each, where those of x are not wanted.
    """
    if isinstance(norm, nn.InstanceNorm2d):
        mean, variance = found or _statistics(x)
    elif isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
        mean, variance = norm.running_mean, norm.running_var
    else:
        return x.new_ones(x.shape[2]), x.new_zeros(x.shape[2])
    scale = (variance + norm.eps).rsqrt()
    return scale, -mean * scale


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel, (C,) each, of (h, w, C): of equal parts, then of the whole (Chan et al. 1979)."""
    parts = torch.split(x.view(-1, x.shape[2]), STATISTICS)
    found = [torch.batch_norm_update_stats(part.t().unsqueeze(0).unsqueeze(3), None, None, 0.0) for part in parts]
    counts = torch.tensor([len(part) for part in parts], dtype=torch.float64, device=x.device).view(-1, 1) / (
        x.numel() // x.shape[2]
    )
    means, variances = (torch.stack(values).double() for values in zip(*found, strict=True))
    mean = (counts * means).sum(0)
    variance = (counts * (variances + (means - mean) ** 2)).sum(0)
    return mean.to(x.dtype), variance.to(x.dtype)


class Block(nn.Module):
    """A residual block."""

    def __init__(self, block: SpadeBlock) -> None:
        super().__init__()
        self.slope = block.activation.negative_slope
        self.first_norm, self.second_norm = Modulation(block.first_norm), Modulation(block.second_norm)
        self.first, self.second = _Convolution(block.first), _Convolution(block.second)
        self.learned = block.learned
        if block.learned:
            self.shortcut_norm = Modulation(block.shortcut_norm)
            self.shortcut = _folded(block.shortcut).flatten(1).contiguous()  # (out, in)

    def forward(self, x: Doubled, table: Callable[[Modulation, tuple[int, int]], Table]) -> Tensor:
        """Features of size (H, W) -> (H, W, out)."""
        y = self.first(self.first_norm(x, table(self.first_norm, x.size), self.slope))
        y = self.second(self.second_norm(Doubled(y, 1), table(self.second_norm, x.size), self.slope))
        if not self.learned:
            rows, columns, channels = x.features.shape
            y.view(rows, x.times, columns, x.times, channels).add_(x.onto(x.features))
            return y
        pixels_of_y = y.view(-1, y.shape[2])
        for pixels, values in self.shortcut_norm.chunks(x, table(self.shortcut_norm, x.size)):
            pixels_of_y[pixels] += product(values, self.shortcut)
        return y


def _folded(conv: nn.Conv2d) -> Tensor:
    weight = conv.normalised() if isinstance(conv, SpectralConv2d) else conv.weight
    return weight.detach()


class _Convolution(nn.Module):
    """A 3x3 convolution that keeps the size, (H, W, in) -> (H, W, out)."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        self.convolution = Convolution(_folded(conv), conv.bias, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        return self.convolution(x.permute(2, 0, 1).unsqueeze(0))[0].permute(1, 2, 0)
