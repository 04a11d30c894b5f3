"""Semantics as codes: what layers make of a label map that repeats itself, computed once for every distinct neighbourhood.

A label map is piecewise constant, and a convolution of it gives equal pixels wherever the neighbourhood under its kernel is
equal. `Indexed` holds a code per pixel and a vector per code; `Patterns` are the distinct neighbourhoods of such codes. Results
are those of the dense semantics but for the order in which numbers are summed, for every layout, and so are gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gesso.labels import Semantics, boundaries, instance_keys, one_hot
from gesso.networks.products import product

ATTEMPTS = 40  # tables tried before distinct keys count as inseparable; each settles most of what the last one left
SUM = 16.0  # multiplications in a matrix product that take as long as adding one number of a looked-up row
GATHER = 100.0  # multiplications that take as long as bringing one number of a neighbourhood to its place
DENSE = 0.6  # time of a convolution, as a share of what its multiplications take in a matrix product
SEED = 20190318
Found = TypeVar("Found")


class Indexed:
    """Semantics whose pixels repeat a few vectors: channels of a pixel = vectors[code of the pixel].

    Not a dataclass: what trains on several devices rebuilds those it meets, and what was found would be lost.

    Args:
        codes: (B, H, W) int64, each in 0..K-1; not to be changed afterwards.
        vectors: (K, C) floats.
        found: What was already found out about the same codes; for semantics with other vectors.

    Attributes:
        found: Sizes, patterns and the like, which depend on the codes alone, each kept once it is known.
    """

    def __init__(self, codes: Tensor, vectors: Tensor, found: dict[Hashable, Any] | None = None) -> None:
        self.codes = codes
        self.vectors = vectors
        self.found: dict[Hashable, Any] = {} if found is None else found

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shape(self) -> torch.Size:
        """(B, C, H, W), as of the dense semantics."""
        return torch.Size((len(self.codes), self.vectors.shape[1], *self.codes.shape[1:]))

    def dense(self) -> Tensor:
        """The semantics themselves, (B, C, H, W)."""
        return self.channels_last().contiguous()

    def channels_last(self) -> Tensor:
        """The semantics themselves, (B, C, H, W), with the channels of a pixel side by side in memory."""
        names = self._once("names", lambda: _Names(self.codes.reshape(-1, 1), len(self.vectors)))
        return names.sums(self.vectors).view(*self.codes.shape, -1).permute(0, 3, 1, 2)

    @property
    def bytes(self) -> int:
        """Memory of the codes and of what was found out about them."""
        return self.codes.nbytes + self.vectors.nbytes + _bytes_of(self.found)

    def with_vectors(self, vectors: Tensor) -> Indexed:
        """The same codes with other vectors (K, any); what was found out about the codes is shared."""
        return Indexed(self.codes, vectors, self.found)

    def resized(self, size: tuple[int, int]) -> Indexed:
        """At another height and width by nearest neighbour, as `F.interpolate(mode="nearest")` chooses it."""
        if self.codes.shape[1:] == size:
            return self
        other = self._once(("resized", *size), lambda: Indexed(_resized(self.codes, size), self.vectors))
        return other.with_vectors(self.vectors)

    def patterns(self, kernel: int, stride: int = 1, padding: int = 0, mode: str = "zeros") -> Patterns | None:
        """The distinct neighbourhoods under a kernel; see `Patterns.find`. Found once, also for other vectors."""
        key = ("patterns", kernel, stride, padding, mode)
        return self._once(key, lambda: Patterns.find(self.codes, kernel, stride, padding, mode))

    def convolved(
        self, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0, mode: str = "zeros"
    ) -> Indexed | None:
        """A convolution of the semantics: a code per distinct neighbourhood, or None where those cannot be told apart.

        Args:
            weight: (O, C, k, k).
            bias: (O,), or none.
            stride: Of the kernel.
            padding: Pixels on each side.
            mode: "zeros" or "reflect".

        Returns:
            Of shape (B, O, H', W').
        """
        patterns = self.patterns(weight.shape[-1], stride, padding, mode)
        if patterns is None:
            return None
        return Indexed(patterns.index, patterns.convolved(self.vectors, weight, bias), patterns.found)

    def _once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        if key not in self.found:
            self.found[key] = find()
        result: Found = self.found[key]
        return result


def _bytes_of(found: Mapping[Hashable, Any]) -> int:
    return sum(one.bytes for one in found.values() if isinstance(one, Indexed | Patterns | _Names))


def indexed(semantics: Semantics, batch: Mapping[str, Any]) -> Indexed | None:
    """What `semantics.encode(batch)` gives, as codes; None where the network sees a picture instead of a label map."""
    if semantics.source_channels:
        return None
    label, classes = batch["label"].long(), semantics.classes + 1  # ignored pixels have a code, channel or not
    every = torch.arange(classes, device=label.device).view(1, 1, -1)
    if semantics.colours:
        vectors = semantics.model_copy(update={"boundary": False}).encode({"label": every})  # (1, 3, 1, classes)
    else:
        vectors = one_hot(every, semantics.classes, semantics.dont_care)  # (1, C, 1, classes)
    vectors = vectors[0, :, 0].t()  # (classes, C)
    if not semantics.boundary:
        return Indexed(label, vectors)
    edge = boundaries(instance_keys(label, batch["instance"]))[:, 0].long()
    inside, outlined = (F.pad(vectors, (0, 1), value=float(bit)) for bit in (0, 1))
    return Indexed(label + classes * edge, torch.cat([inside, outlined]))


def dense(semantics: Tensor | Indexed) -> Tensor:
    """The semantics themselves, (B, C, H, W)."""
    return semantics.dense() if isinstance(semantics, Indexed) else semantics


def resized(semantics: Tensor | Indexed, size: Sequence[int]) -> Tensor | Indexed:
    """Semantics (B, C, any, any) at another size, by nearest neighbour, so that one-hot labels stay one-hot."""
    if isinstance(semantics, Indexed):
        return semantics.resized((size[0], size[1]))
    return semantics if semantics.shape[2:] == size else F.interpolate(semantics, tuple(size), mode="nearest")


def modulation(semantics: Indexed, shared: nn.Conv2d, *convs: nn.Conv2d) -> list[Tensor]:
    """What convolutions make of a first one, rectified, for each distinct neighbourhood of the semantics where that pays.

    Args:
        semantics: (B, C, H, W).
        shared: The first convolution, which keeps the size, as the others do.
        convs: Alike in their kernels.

    Returns:
        (B, O, H, W) of each.
    """
    padding, first = (
        int(shared.padding[0]),
        semantics.convolved(shared.weight, shared.bias, padding=int(shared.padding[0])),
    )
    if first is None:
        hidden = shared(semantics.dense()).relu()
        return [conv(hidden) for conv in convs]
    first = first.with_vectors(first.vectors.relu())
    patterns = first.patterns(shared.kernel_size[0], padding=padding)
    if patterns is None or not patterns.pay(first.vectors.shape[1]):
        hidden = first.dense()
        return [conv(hidden) for conv in convs]
    weight = torch.cat([conv.weight for conv in convs])
    bias = torch.cat([conv.bias for conv in convs if conv.bias is not None])
    both = Indexed(patterns.index, patterns.convolved(first.vectors, weight, bias), patterns.found)
    return list(both.channels_last().chunk(len(convs), dim=1))


def _resized(codes: Tensor, size: tuple[int, int]) -> Tensor:
    """Rows and columns are chosen by the function that is to be matched."""
    for axis, length in enumerate(size, start=1):
        numbers = torch.arange(codes.shape[axis], dtype=torch.float32, device=codes.device)
        chosen = F.interpolate(numbers.view(1, 1, -1), length, mode="nearest").view(-1).long()
        codes = codes.index_select(axis, chosen)
    return codes


# ------------------------------------------------------------------------------------------------------------ patterns


class Patterns:
    """The distinct neighbourhoods of a map of codes.

    Attributes:
        index: (B, H', W') int64, the pattern of each output pixel.
        members: (U, kernel * kernel) int64, the codes of each pattern in reading order; `outside` where the kernel hangs over
            a border that is padded with zeros.
        outside: A number greater than every code.
        found: What was found out about `index` as codes.
    """

    def __init__(self, index: Tensor, members: Tensor, outside: int) -> None:
        self.index = index
        self.members = members
        self.outside = outside
        self.found: dict[Hashable, Any] = {}
        self._names: _Names | None = None

    def __len__(self) -> int:
        return len(self.members)

    @property
    def bytes(self) -> int:
        """Memory of all that, and of what was found out about it."""
        names = self._names.bytes if self._names else 0
        return self.index.nbytes + self.members.nbytes + names + _bytes_of(self.found)

    @staticmethod
    def find(
        codes: Tensor, kernel: int, stride: int = 1, padding: int = 0, mode: str = "zeros", at_most: float = 1.0
    ) -> Patterns | None:
        """Tell neighbourhoods apart by their hash values, then make sure that no two shared one.

        Args:
            codes: (B, H, W) integers from 0.
            kernel: Height and width of a neighbourhood.
            stride: From one to the next.
            padding: Pixels on each side.
            mode: What is there: "zeros" for a code of its own, or "reflect".
            at_most: Patterns that are worth it, as a share of the output pixels.

        Returns:
            None if there are more, or if neighbourhoods differ that their hash values do not tell apart.
        """
        outside = int(codes.max()) + 1
        windows = _Windows(_padded(codes, padding, mode, outside), kernel, stride)
        owner = _first_of_equals(windows.hashed(), at_most * windows.pixels)
        if owner is None or not windows.equal(owner):
            return None
        chosen = owner == torch.arange(len(owner), device=owner.device)
        number = chosen.cumsum(0) - 1  # of the patterns, in the order of the picture
        members = windows.members(chosen.nonzero().squeeze(1))
        return Patterns(windows.everywhere(number.index_select(0, owner)), members.long(), outside)

    def pay(self, channels: int) -> bool:
        """Whether a convolution of codes with so many channels is faster by patterns than pixel by pixel."""
        by_patterns = self.outside * channels + len(self) * SUM
        return by_patterns < DENSE * channels * self.index.numel()

    def convolved(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """What a convolution makes of each pattern, (U, O), when codes stand for vectors (K, C).

        Differentiable with respect to all three.

        Args:
            vectors: (K, C).
            weight: (O, C, kernel, kernel).
            bias: (O,).
        """
        vectors = self.vectors_and_none(vectors.to(weight.dtype))
        channels, taps = vectors.shape[1], self.members.shape[1]
        gathered = channels * (1 + GATHER / len(weight))
        if len(vectors) * channels + SUM * len(self) < len(self) * gathered:
            rows = weight.permute(2, 3, 0, 1).reshape(-1, channels)  # (taps * O, C)
            sums = self.summed(product(vectors, rows).view(len(vectors), taps, -1))
        else:
            sums = product(vectors[self.members].flatten(1), weight.permute(0, 2, 3, 1).flatten(1))
        return sums if bias is None else sums + bias

    def vectors_and_none(self, vectors: Tensor) -> Tensor:
        """The vectors of the codes, (K, C), and the zeros that stand outside, (outside + 1, C)."""
        return F.pad(vectors[: self.outside], (0, 0, 0, 1))

    def summed(self, tables: Tensor) -> Tensor:
        """For each pattern the sum of what its members give at their places, (U, O).

        Args:
            tables: (outside + 1, kernel * kernel, O): for each code what it gives at each place.
        """
        codes, taps = tables.shape[:2]
        if self._names is None:
            self._names = _Names(self.members * taps + torch.arange(taps, device=tables.device), codes * taps)
        return self._names.sums(tables.flatten(0, 1))


class _Names:
    """For each of N sums the rows of a table that it adds: a matrix of zeros and ones, by which tables are multiplied.

    Args:
        rows: (N, k), each in 0..rows of the table - 1.
        count: Rows of the table.
    """

    def __init__(self, rows: Tensor, count: int) -> None:
        self.rows, self.count = rows, count
        self._transposed: tuple[Tensor, Tensor] | None = None

    @property
    def bytes(self) -> int:
        """Memory of it."""
        return self.rows.nbytes + sum(tensor.nbytes for tensor in self._transposed or ())

    def sums(self, table: Tensor) -> Tensor:
        """(count, O) -> (N, O)."""
        if table.requires_grad and torch.is_grad_enabled():
            return _Sums.apply(table, self)  # type: ignore[no-untyped-call]
        return self.added(table)

    def added(self, table: Tensor) -> Tensor:
        """The same without gradients."""
        if self.rows.shape[1] == 1:
            return table.index_select(0, self.rows.view(-1))
        return F.embedding_bag(self.rows, table, mode="sum")

    def spread(self, sums: Tensor) -> Tensor:
        """The transposed product, (N, O) -> (count, O): it gathers as well, from the sums that each row is part of."""
        if self._transposed is None:
            flat = self.rows.reshape(-1)
            counts = torch.bincount(flat, minlength=self.count)
            self._transposed = flat.argsort(stable=True) // self.rows.shape[1], counts.cumsum(0) - counts
        return F.embedding_bag(self._transposed[0], sums, self._transposed[1], mode="sum")


class _Sums(torch.autograd.Function):
    """PyTorch's own gradients of lookups add row after row; these take as long as the lookups."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, names: _Names) -> Tensor:
        ctx.names = names
        return names.added(table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.names.spread(gradients[0].contiguous()), None


def _padded(codes: Tensor, padding: int, mode: str, outside: int) -> Tensor:
    """In as few bytes as the codes need: memory is what finding patterns waits for."""
    codes = codes.to(torch.uint8 if outside < 256 else torch.int32)
    if mode != "reflect":
        return F.pad(codes, (padding,) * 4, value=outside)
    for axis in (1, 2):
        last = codes.shape[axis] - 1
        rows = torch.arange(-padding, last + 1 + padding, device=codes.device)
        codes = codes.index_select(axis, last - (last - rows.abs()).abs())
    return codes.contiguous()


class _Windows:
    """The windows of a padded map, without those that equal their left neighbour: runs are looked at once."""

    def __init__(self, padded: Tensor, kernel: int, stride: int) -> None:
        self.padded, self.kernel = padded, kernel
        self.size = tuple((length - kernel) // stride + 1 for length in padded.shape[1:])
        heads = _begins_run(padded, kernel, stride, *self.size).view(-1)
        self.pixels, self.heads = len(heads), heads
        width = padded.shape[2]
        corners = torch.arange(padded.numel(), dtype=torch.int32, device=padded.device).view(padded.shape)
        rows, columns = ((length - 1) * stride + 1 for length in self.size)
        self.starts = corners[:, :rows:stride, :columns:stride].reshape(-1)[heads].long()
        self.offsets = [row * width + column for row in range(kernel) for column in range(kernel)]

    def column(self, offset: int) -> Tensor:
        """The codes of all windows at one place of the kernel, (N,)."""
        return self.padded.view(-1)[offset:].index_select(0, self.starts)

    def hashed(self) -> Tensor:
        """A number for each window, (N,): its codes times random factors, modulo 2^64."""
        generator = torch.Generator().manual_seed(SEED)
        factors = torch.randint(-(2**63), 2**63 - 1, (len(self.offsets),), generator=generator).tolist()
        total = torch.zeros_like(self.starts)
        for offset, factor in zip(self.offsets, factors, strict=True):
            total.add_(self.column(offset).long(), alpha=factor)
        return total

    def equal(self, others: Tensor) -> bool:
        """Whether each window is equal to another one, whose number is given."""
        columns = map(self.column, self.offsets)
        return all(torch.equal(column, column.index_select(0, others)) for column in columns)

    def members(self, numbers: Tensor) -> Tensor:
        """The codes of some windows, (numbers, kernel * kernel)."""
        starts = self.starts.index_select(0, numbers)
        flat = self.padded.view(-1)
        return torch.stack([flat[offset:].index_select(0, starts) for offset in self.offsets], dim=1)

    def everywhere(self, values: Tensor) -> Tensor:
        """From a value for each window to one for each output pixel, (B, H', W')."""
        values = values.index_select(0, self.heads.cumsum(0).sub_(1))
        return values.view(len(self.padded), *self.size)


def _begins_run(padded: Tensor, kernel: int, stride: int, height: int, width: int) -> Tensor:
    """Whether the window of an output pixel differs from that on its left, (B, H', W')."""
    begins = torch.ones(len(padded), height, width, dtype=torch.bool, device=padded.device)
    differs = padded[:, :, stride:] != padded[:, :, :-stride]
    columns, rows = stride * (width - 2) + 1, stride * (height - 1) + 1
    if width > 1:
        across = differs[:, :, 0:columns:stride].clone()
        for column in range(1, kernel):
            across |= differs[:, :, column : column + columns : stride]
        down = begins[:, :, 1:].copy_(across[:, 0:rows:stride])
        for row in range(1, kernel):
            down |= across[:, row : row + rows : stride]
    return begins


def _first_of_equals(keys: Tensor, at_most: float) -> Tensor | None:
    """For each key the position of one that stands for all equal keys; None if there are more than `at_most`.

    Not by sorting: keys throw their positions into a table, and those who find a stranger in their place try another table.
    """
    bits = max(8, min(22, len(keys).bit_length()))
    stands = torch.empty_like(keys)
    table = keys.new_empty(2**bits)
    left = torch.arange(len(keys), device=keys.device)
    for attempt in range(ATTEMPTS):
        mine = keys.index_select(0, left)
        places = (mine * (2 * attempt + 0x9E3779B97F4A7C1)) >> (64 - bits) & (2**bits - 1)
        table.scatter_(0, places, left)
        winner = table.index_select(0, places)
        at_most -= int((winner == left).sum())
        if at_most < 0:
            return None
        settled = keys.index_select(0, winner) == mine
        stands[left[settled]] = winner[settled]
        left = left[~settled]
        if not len(left):
            return stands
    return None
