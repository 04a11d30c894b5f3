"""pix2pixHD's engine as chains of layers that can be computed for a part of the picture.

Link        a layer with its normalisation and rectification, or a residual block
Chain       links in a row
Source      semantics and the smaller copies of them that enhancers' inner networks see
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from gesso.networks.indexed import Indexed
from gesso.synthesis.fast.norms import Affine, Norm
from gesso.synthesis.fast.pix2pixhd import Block, Features, First, Up
from gesso.synthesis.fast.windows import Halved, Plain, Size, Step, Twice, Window

Affines = Mapping[Norm, Affine]


class Link(Protocol):
    """A part of a chain; sizes and windows as `Step` has them."""

    def size(self, size: Size) -> Size:
        """Height and width of what it gives."""
        ...

    def needs(self, part: Window, size: Size) -> Window:
        """Of the input."""
        ...

    def reached(self, part: Window, size: Size) -> Window:
        """Of the output."""
        ...

    def __call__(self, pixels: Tensor, seen: Window, part: Window, affines: Affines) -> Tensor:
        """A part of the output (h', w', O), from the part (h, w, C) of the input that was seen."""
        ...


class Rectified:
    """A layer, normalised and rectified."""

    def __init__(self, step: Step, norm: Norm) -> None:
        self.step, self.norm = step, norm
        self.size, self.needs, self.reached = step.size, step.needs, step.reached

    def __call__(self, pixels: Tensor, seen: Window, part: Window, affines: Affines) -> Tensor:
        """(h, w, C) -> (h', w', O)."""
        found = self.step(pixels, seen, part).contiguous()
        affines[self.norm].apply_(found.view(-1, found.shape[2]), rectify=True)
        return found


class Residual:
    """A residual block."""

    def __init__(self, block: Block) -> None:
        self.first = Rectified(Plain(block.first), block.norms[0])
        self.second, self.norm = Plain(block.second), block.norms[1]

    def size(self, size: Size) -> Size:
        """It stays."""
        return size

    def needs(self, part: Window, size: Size) -> Window:
        """Two pixels more on each side."""
        return self.first.needs(self.second.needs(part, size), size)

    def reached(self, part: Window, size: Size) -> Window:
        """Two pixels more on each side."""
        return self.second.reached(self.first.reached(part, size), size)

    def __call__(self, pixels: Tensor, seen: Window, part: Window, affines: Affines) -> Tensor:
        """(h, w, C) -> (h', w', C)."""
        # Around what is wanted the first convolution is padded as if the part were the picture; the second one cuts that off.
        between = self.first(pixels, seen, seen, affines)
        added = self.second(between, seen, part).contiguous()
        found = part.within(seen, pixels).contiguous().clone()
        affines[self.norm].add_to_(found.view(-1, found.shape[2]), added.view(-1, added.shape[2]))
        return found


class Chain:
    """Links in a row."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = links

    def sizes(self, size: Size) -> list[Size]:
        """Heights and widths of the input, between the links, and of the output."""
        found = [size]
        for link in self.links:
            found.append(link.size(found[-1]))
        return found

    def windows(self, part: Window, size: Size) -> list[Window]:
        """What a part of the output needs of the input (whose size is given), between the links, and the part itself."""
        found = [part]
        for link, before in zip(reversed(self.links), self.sizes(size)[-2::-1], strict=True):
            found.append(link.needs(found[-1], before))
        return found[::-1]

    def reached(self, part: Window, size: Size) -> Window:
        """What a part of the input can change of the output."""
        for link, before in zip(self.links, self.sizes(size), strict=False):
            part = link.reached(part, before)
        return part

    def __call__(self, pixels: Tensor, windows: Sequence[Window], affines: Affines) -> Tensor:
        """From the first of such windows, (h, w, C), to the last, (h', w', O)."""
        for link, seen, part in zip(self.links, windows, windows[1:], strict=False):
            pixels = link(pixels, seen, part, affines)
        return pixels


def encoding(firsts: Sequence[First]) -> Chain:
    """The convolutions that see the semantics."""
    return Chain([Rectified(Plain(first.dense), first.norm) for first in firsts])


def decoding(blocks: Sequence[Block], ups: Sequence[Up]) -> Chain:
    """Residual blocks, and layers that double the size."""
    return Chain([*map(Residual, blocks), *(Rectified(Twice(up.layer), up.norm) for up in ups)])


class Source:
    """Semantics with their style, at all sizes of the pyramid.

    Args:
        semantics: (1, C, H, W), or the same as codes.
        style: A map (1, F, H, W) to append to them, or None.
    """

    def __init__(self, semantics: Features, style: Tensor | None) -> None:
        self.semantics, self.style = semantics, style

    def size(self, level: int) -> Size:
        """Height and width, halved so often."""
        height, width = self.semantics.shape[2:]
        return height >> level, width >> level

    def part(self, level: int, window: Window) -> Tensor:
        """Pixels (h, w, C + F), at a size that is halved so often."""
        if level:
            seen = Halved().needs(window, self.size(level - 1))
            return Halved()(self.part(level - 1, seen), seen, window).contiguous()
        if isinstance(self.semantics, Indexed):
            codes = window.of(self.semantics.codes[0])
            pixels = self.semantics.vectors.index_select(0, codes.reshape(-1)).view(*codes.shape, -1)
        else:
            pixels = window.of(self.semantics[0].permute(1, 2, 0))
        if self.style is None:
            return pixels.contiguous()
        return torch.cat([pixels, window.of(self.style[0].permute(1, 2, 0))], dim=2)

    @property
    def bytes(self) -> int:
        """Memory."""
        semantics = self.semantics
        mine = semantics.codes.nbytes + semantics.vectors.nbytes if isinstance(semantics, Indexed) else semantics.nbytes
        return mine + (0 if self.style is None else self.style.nbytes)

    def copied(self) -> Source:
        """The same, which stays what it is when tensors of the caller change."""
        style = None if self.style is None else self.style.clone()
        if isinstance(self.semantics, Indexed):
            return Source(Indexed(self.semantics.codes.clone(), self.semantics.vectors.clone()), style)
        return Source(self.semantics.clone(), style)

    def differs(self, other: Source) -> Tensor | None:
        """Which pixels differ, (H, W) bool; None where the two cannot be compared: other sizes, or another kind."""
        mine, theirs = self.semantics, other.semantics
        if mine.shape != theirs.shape or (self.style is None) != (other.style is None):
            return None
        if isinstance(mine, Indexed) and isinstance(theirs, Indexed):
            if not torch.equal(mine.vectors, theirs.vectors):
                return None
            found = (mine.codes != theirs.codes)[0]
        elif isinstance(mine, Tensor) and isinstance(theirs, Tensor):
            found = (mine != theirs)[0].any(dim=0)
        else:
            return None
        if self.style is not None and other.style is not None:
            found = found | (self.style != other.style)[0].any(dim=0)
        return found
