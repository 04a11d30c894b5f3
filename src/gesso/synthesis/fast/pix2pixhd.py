"""pix2pixHD's generators for synthesis: the same photographs, with little of what the layout repeats computed twice.

    the first layers    once for every distinct neighbourhood of the layout, as long as those are few
    residual blocks     by Winograd's algorithm where channels are many
    transposed layers   as matrix products, and so is the last layer
    normalisation       in place, without the biases before it where it cancels them

Differences from the plain network are rounding. Where instance norm meets a channel that is constant over the picture, as all are
for a layout of a single object, the plain network itself divides rounding errors by 0.003 and shows noise; ours is other noise.

Photographs of a batch are computed one by one: each has its own layout and its own statistics. Layers are modules, though
they own no parameters: hooks on all modules of a thread see where it is, and can stop it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.networks.indexed import Indexed, Patterns
from gesso.networks.pix2pixhd import (
    CoarseToFineGenerator,
    GlobalGenerator,
    LocalEnhancer,
    ResidualBlock,
    Trunk,
    _refuse_size,
    shrink,
)
from gesso.networks.products import product
from gesso.synthesis.fast.convolutions import Convolution, Doubling, FewChannels, Resizing
from gesso.synthesis.fast.norms import Norm, pieces
from gesso.synthesis.fast.strips import SCRATCH, Lookup

WORTHWHILE = 0.3  # share of the pixels that distinct neighbourhoods may be, for them to pay
PATTERNS_AT_ONCE = 2**12
PIXELS_AT_ONCE = 2**14
SEED = 20171130
REUSED_FROM = 8 * 2**20  # bytes: memory of this size is used again
Features = Tensor | Indexed  # (1, C, H, W)
Generator = GlobalGenerator | CoarseToFineGenerator


class FastPix2pixHD:
    """What a generator of pix2pixHD gives in eval mode, to the rounding of float32; without gradients.

    Args:
        generator: Large weights are used where they are, small ones are copied: make another engine when they change.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._memory = _Memory()
        self.trunk = FastTrunk(generator.trunk, self._memory)
        enhancers = generator.enhancers if isinstance(generator, CoarseToFineGenerator) else ()
        self.enhancers = [FastEnhancer(cast(LocalEnhancer, enhancer), self._memory) for enhancer in enhancers]
        last = generator.head[1]
        assert isinstance(last, nn.Conv2d)
        self.head = FewChannels(last.weight, last.bias)

    @torch.inference_mode()
    def __call__(self, semantics: Indexed | Tensor, style: Tensor | None = None) -> Tensor:
        """Photographs (B, 3, H, W) in [-1, 1]; takes and refuses what the plain generator does, beside codes.

        Args:
            semantics: (B, C, H, W), or the same as codes.
            style: A map (B, F, H, W) to append to them, where the network has one.

        Raises:
            LabelError: As the plain generator raises it.
        """
        self.refuse(semantics)
        joined = join(semantics, style)
        try:
            return torch.cat([self._photograph(image) for image in _images(joined)])
        finally:
            self.forget()

    def refuse(self, semantics: Features) -> None:
        """See that a layout can be taken.

        Raises:
            LabelError: As the plain generator raises it.
        """
        _refuse_size(cast(Tensor, semantics), self.generator.multiple, self.generator.smallest)

    def forget(self) -> None:
        """Hand memory back to the system that is used again within a photograph."""
        self._memory.forget()

    def _photograph(self, x: Features) -> Tensor:
        pyramid = [x]
        for _ in self.enhancers:
            pyramid.append(shrunk(pyramid[-1]))
        features = self.trunk(pyramid.pop())
        for enhancer in self.enhancers:
            features = enhancer(pyramid.pop(), features)
        photograph = self.head(features).tanh_()
        self._memory.give(features)
        return photograph


def join(semantics: Features, style: Tensor | None) -> Features:
    """Semantics with a style map (B, F, H, W) appended to them; codes if they came and the map is constant within objects."""
    if style is None:
        return semantics
    if isinstance(semantics, Tensor):
        return torch.cat([semantics, style], dim=1)
    style = style.float()
    return _joined(semantics, style) or torch.cat([semantics.dense(), style], dim=1)


def _joined(semantics: Indexed, style: Tensor) -> Indexed | None:
    """Codes for what differs in semantics or style; None if that is much or cannot be told apart."""
    codes, worn = semantics.codes.reshape(-1), style.movedim(1, -1).reshape(semantics.codes.numel(), -1)  # (N,), (N, F)
    generator = torch.Generator().manual_seed(SEED)
    factors = torch.randint(-(2**63), 2**63 - 1, (1 + worn.shape[1],), generator=generator).tolist()
    keys = codes * factors[0]
    for bits, factor in zip(worn.contiguous().view(torch.int32).unbind(dim=1), factors[1:], strict=True):
        keys.add_(bits.long(), alpha=factor)
    starts, run = torch.unique_consecutive(keys, return_inverse=True)
    if len(starts) > WORTHWHILE * len(keys):
        return None
    found, number = torch.unique(starts, return_inverse=True)
    joined = number.index_select(0, run)
    some = codes.new_empty(len(found)).scatter_(0, joined, torch.arange(len(joined), device=joined.device))
    chosen, vectors = codes[some], worn[some]
    if not (torch.equal(chosen[joined], codes) and torch.equal(vectors[joined], worn)):
        return None
    both = torch.cat([semantics.vectors[chosen], vectors], dim=1)
    return Indexed(joined.view_as(semantics.codes), both)


def _images(x: Features) -> list[Features]:
    """One by one; a single one remains what it is, with what is known about it."""
    if len(x) == 1:
        return [x]
    if isinstance(x, Tensor):
        return list(pieces(x, 1))
    return [Indexed(codes, x.vectors) for codes in pieces(x.codes, 1)]


def shrunk(x: Features) -> Features:
    """What `shrink` gives: where the codes of its windows are equal, so are their means."""
    if isinstance(x, Tensor):
        return shrink(x)
    patterns = x.patterns(3, stride=2, padding=1)
    if patterns is None:
        return shrink(x.dense())
    inside = (patterns.members < patterns.outside).sum(dim=1, keepdim=True)
    sums = F.embedding_bag(patterns.members, patterns.vectors_and_none(x.vectors), mode="sum")
    return Indexed(patterns.index, sums / inside, patterns.found)


# ------------------------------------------------------------------------------------------------------------- memory


class _Memory(threading.local):
    """Large pieces of memory that are used again: fresh ones cost the system as long as a normalisation."""

    def __init__(self) -> None:
        self._lent: dict[int, Tensor] = {}
        self._free: list[Tensor] = []

    def take(self, like: Tensor, channels: int, height: int, width: int) -> Tensor:
        """(1, channels, height, width), channels_last, of any content."""
        size = channels * height * width
        if size * like.element_size() < REUSED_FROM:
            return like.new_empty(1, height, width, channels).permute(0, 3, 1, 2)
        fitting = [piece for piece in self._free if size <= piece.numel() <= 2 * size]
        if not fitting:
            self.clear()  # what does not fit would only lie there
        piece = min(fitting, key=Tensor.numel) if fitting else like.new_empty(size)
        self._free = [other for other in self._free if other is not piece]
        self._lent[piece.data_ptr()] = piece
        return piece[:size].view(1, height, width, channels).permute(0, 3, 1, 2)

    def give(self, x: Tensor) -> None:
        """Hand back what nobody needs any more, if it came from here."""
        piece = self._lent.pop(x.data_ptr(), None)
        if piece is not None:
            self._free.append(piece)

    def forget(self) -> None:
        """Hand back everything to the system, also what a failure left lent."""
        self._lent.clear()
        self.clear()

    def clear(self) -> None:
        """Hand back to the system what is not lent."""
        self._free.clear()
        SCRATCH.clear()


def rows_of(x: Tensor) -> Tensor:
    """A picture (1, C, H, W) in channels_last as pixels (H * W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


# ------------------------------------------------------------------------------------------------------------- layers


class First(nn.Module):
    """A convolution of codes, with its normalisation and rectification, as long as neighbourhoods repeat themselves."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.Module, memory: _Memory, reflect: int = 0) -> None:
        super().__init__()
        self.norm, self._memory = Norm(norm, convolution.bias), memory
        (self._kernel, _), (self._stride, _) = convolution.kernel_size, convolution.stride
        self._mode: Literal["zeros", "reflect"] = "reflect" if reflect else "zeros"
        self._padding = reflect or int(convolution.padding[0])
        self._weight = convolution.weight.detach()
        self.dense = Convolution(self._weight, stride=self._stride, padding=self._padding, mode=self._mode)

    def forward(self, x: Features) -> Features:
        """(1, C, H, W) -> (1, O, H', W'); codes where they came and still repeat themselves."""
        height, width = (-(-size // self._stride) for size in x.shape[2:])
        if isinstance(x, Indexed):
            patterns = Patterns.find(x.codes, self._kernel, self._stride, self._padding, self._mode, WORTHWHILE)
            if patterns is not None:
                return self._by_pattern(x.vectors, patterns)
        out = self._memory.take(self._weight, len(self._weight), height, width)
        if isinstance(x, Indexed):
            self.dense.of_pixels(Lookup(x.vectors, x.codes), out)
        else:
            self.dense(x, out)
            self._memory.give(x)
        pixels = rows_of(out)
        self.norm.of(pixels).apply_(pixels, rectify=True)
        return out

    def _by_pattern(self, vectors: Tensor, patterns: Patterns) -> Indexed:
        if self._kernel == 7:
            rows = patterns.convolved(vectors, self._weight)
        else:
            rows = _convolved(patterns, vectors, self._weight)
        counts = torch.bincount(patterns.index.view(-1), minlength=len(rows))
        self.norm.of_rows(rows, counts).apply_(rows, rectify=True)
        return Indexed(patterns.index, rows, patterns.found)


def _convolved(patterns: Patterns, vectors: Tensor, weight: Tensor) -> Tensor:
    """What a convolution makes of patterns, (U, O), in little memory, where there are about as many vectors as patterns."""
    vectors = patterns.vectors_and_none(vectors)
    columns = weight.permute(0, 2, 3, 1).flatten(1)  # (O, k * k * C)
    rows = vectors.new_empty(len(patterns), len(columns))
    both = (pieces(each, PATTERNS_AT_ONCE) for each in (patterns.members, rows))
    for members, out in zip(*both, strict=True):
        out.copy_(product(vectors[members].flatten(1), columns))
    return rows


class Block(nn.Module):
    """A residual block."""

    def __init__(self, block: ResidualBlock, memory: _Memory) -> None:
        super().__init__()
        convolutions, norms = (block.first, block.second), (block.first_norm, block.second_norm)
        self.first, self.second = (Convolution(c.weight, padding=1, mode="reflect") for c in convolutions)
        self.norms = [Norm(norm, c.bias) for norm, c in zip(norms, convolutions, strict=True)]
        self._memory = memory

    def forward(self, x: Tensor, kept: list[Tensor] | None = None) -> Tensor:
        """(1, C, H, W) in place; copies (H * W, C) of it and of what the first convolution gives are appended to `kept`."""
        _, channels, height, width = x.shape
        y = self.first(x, self._memory.take(x, channels, height, width))
        pixels = rows_of(y)
        if kept is not None:
            kept += [rows_of(x).clone(), pixels.clone()]
        self.norms[0].of(pixels).apply_(pixels, rectify=True)
        z = self.second(y, self._memory.take(x, channels, height, width))
        self._memory.give(y)
        pixels = rows_of(z)
        self.norms[1].of(pixels).add_to_(rows_of(x), pixels)
        self._memory.give(z)
        return x


class Up(nn.Module):
    """A layer that doubles the size, with its normalisation and rectification."""

    def __init__(self, layer: nn.ConvTranspose2d | nn.Conv2d, norm: nn.Module, memory: _Memory) -> None:
        super().__init__()
        transposed = isinstance(layer, nn.ConvTranspose2d)
        self.layer = Doubling(layer.weight) if transposed else Resizing(layer.weight)
        self.norm, self._memory = Norm(norm, layer.bias), memory

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> (1, O, 2 H, 2 W)."""
        height, width = x.shape[2:]
        out = self.layer(x, self._memory.take(x, self.layer.out_channels, 2 * height, 2 * width))
        self._memory.give(x)
        pixels = rows_of(out)
        self.norm.of(pixels).apply_(pixels, rectify=True)
        return out


def _firsts(layers: nn.Sequential, memory: _Memory) -> list[First]:
    """Convolutions of a chain with what follows them."""
    found, reflect = [], 0
    for layer, after in pairwise(layers):
        if isinstance(layer, nn.ReflectionPad2d):
            reflect = layer.padding[0]
        if isinstance(layer, nn.Conv2d):
            found.append(First(layer, after, memory, reflect))
            reflect = 0
    return found


def _ups(layers: nn.Sequential, memory: _Memory) -> list[Up]:
    return [
        Up(layer, after, memory)
        for layer, after in pairwise(layers)
        if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d)
    ]


class FastTrunk:
    """The global generator without its last convolution."""

    def __init__(self, trunk: Trunk, memory: _Memory) -> None:
        self._memory = memory
        self.firsts = [*_firsts(trunk.stem, memory), *_firsts(trunk.down, memory)]
        self.blocks = [Block(block, memory) for block in trunk.blocks if isinstance(block, ResidualBlock)]
        self.ups = _ups(trunk.up, memory)

    def __call__(self, x: Features) -> Tensor:
        """(1, in_channels, H, W) -> (1, width, H, W)."""
        return _through(self.encoded(x), self.blocks, self.ups)

    def encoded(self, x: Features) -> Tensor:
        """What the residual blocks see, (1, width * 2^downs, H / 2^downs, W / 2^downs)."""
        for layer in self.firsts:
            x = layer(x)
        if isinstance(x, Tensor):
            return x
        channels, height, width = x.shape[1:]
        return add_lookup_(self._memory.take(x.vectors, channels, height, width).zero_(), x)


def _through(x: Tensor, *chains: Iterable[Block | Up]) -> Tensor:
    for layer in chain.from_iterable(chains):
        x = layer(x)
    return x


def add_lookup_(x: Tensor, looked_up: Indexed) -> Tensor:
    """Add features that are looked up to (1, C, H, W) in channels_last, in place."""
    both = (pieces(each, PIXELS_AT_ONCE) for each in (rows_of(x), looked_up.codes.view(-1)))
    for part, code in zip(*both, strict=True):
        part += looked_up.vectors.index_select(0, code)
    return x


class FastEnhancer:
    """A local enhancer without its last convolution."""

    def __init__(self, enhancer: LocalEnhancer, memory: _Memory) -> None:
        self._memory = memory
        self.firsts = _firsts(enhancer.down, memory)
        self.blocks = [Block(block, memory) for block in enhancer.blocks if isinstance(block, ResidualBlock)]
        self.ups = _ups(enhancer.up, memory)

    def __call__(self, x: Features, coarse: Tensor) -> Tensor:
        """(1, C, H, W) semantics, (1, 2 * width, H/2, W/2), which is lost -> (1, width, H, W)."""
        for layer in self.firsts:
            x = layer(x)
        if isinstance(x, Tensor):
            coarse += x
            self._memory.give(x)
        else:
            add_lookup_(coarse, x)
        return _through(coarse, self.blocks, self.ups)
