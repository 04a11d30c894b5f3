"""pix2pixHD's photographs of edited layouts: only what an edit reaches is computed again.

Of a whole picture are kept: what its normalisations did (`Affine` of every layer), what goes into each residual block of the
global network and what its first convolution gives. An edit is always compared with that picture, not with the edit before, so
errors do not add up over a stroke. What it reaches:

    convolutions of semantics   as far as their kernels reach; computed for that window of the layout, which is cheap
    residual blocks             each convolution adds a pixel on all sides, until nearly everything is reached; but what changes
                                there soon fades, so pixels that moved by less than `tolerance` count as unmoved
    doubling, enhancers, head   as far as their kernels reach, computed for that window

Normalisations see the whole picture, and so every edit moves everything a little. "cached" takes what they did in the remembered
picture. "renewed" computes all but the residual blocks as a whole. In these all pixels move with the statistics, which are
renewed, and where they move by more than the tolerance, the next convolution is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gesso.synthesis.fast.chains import Affines, Source, decoding, encoding
from gesso.synthesis.fast.convolutions import Convolution
from gesso.synthesis.fast.norms import Affine, Norm, noted
from gesso.synthesis.fast.pix2pixhd import Block, FastPix2pixHD, Features, join, rows_of, shrunk
from gesso.synthesis.fast.regions import DENSE, Neighbours, grown, merged, pooled, windows_of
from gesso.synthesis.fast.windows import Halved, Head, Size, Window

Mode = Literal["cached", "renewed"]
TOLERANCE = 0.05
MOST = (
    0.5  # of the pixels that the residual blocks see: where an edit reaches more by its layout alone, all is computed
)
HALF = 0.7  # root mean square of what is normalised and rectified


@dataclass
class Kept:
    """What is kept of a whole picture.

    Attributes:
        source: The layout and its style.
        affines: What normalisations did.
        streams: What goes into each residual block of the global network, and what leaves the last, (H * W, C).
        raws: What the first convolution of each gives, before it is normalised.
        picture: (3, H, W) in [-1, 1].
    """

    source: Source
    affines: dict[Norm, Affine]
    streams: list[Tensor]
    raws: list[Tensor]
    picture: Tensor

    @property
    def bytes(self) -> int:
        """How much memory that is."""
        return self.source.bytes + sum(tensor.nbytes for tensor in (*self.streams, *self.raws, self.picture))


@dataclass
class Edit:
    """A photograph of an edited layout.

    Attributes:
        picture: (1, 3, H, W) in [-1, 1].
        computed: Share of the work that was done: of the pixels, or, renewed, of the residual blocks.
        error: What the picture would move by, root mean square, if the features that leave the residual blocks moved as far as
            is known to be neglected: by a guess, that the picture answers to this as it answers to the edit.
    """

    picture: Tensor
    computed: float
    error: float = 0.0


@dataclass
class _Neglected:
    """How far features moved that were not computed anew, summed as if the movements were independent.

    Normalised features have a variance of one, so a share of movement in one layer means as much in any other.
    """

    total: float = 0.0  # the square

    def add(self, movement: Tensor) -> None:
        """Squares of movements, relative to what moves."""
        self.total += float(movement.double().mean()) if movement.numel() else 0.0

    def answered(self, picture: Tensor, was: Tensor, features: Tensor, were: Tensor) -> float:
        """What the picture does for it, as it did what it did for a movement of the features."""
        moved = float((features - were).square().mean().sqrt())
        if not moved or not picture.numel():
            return 0.0
        return float((picture - was).square().mean().sqrt()) / moved * self.total**0.5


class EditingPix2pixHD:
    """Computes photographs by an engine, and of edited layouts what edits reach.

    Args:
        engine: Its layers are used where they are.
    """

    def __init__(self, engine: FastPix2pixHD) -> None:
        self.engine = engine
        self.kept: Kept | None = None
        trunk, enhancers = engine.trunk, engine.enhancers
        self.encoder = encoding(trunk.firsts)
        self.downs = [encoding(enhancer.firsts) for enhancer in enhancers]
        self.tails = [decoding((), trunk.ups), *(decoding(enhancer.blocks, enhancer.ups) for enhancer in enhancers)]
        self.head = Head(engine.head)
        self.cell = 2 ** len(trunk.ups)
        self._neighbours: dict[Size, Neighbours] = {}

    # ------------------------------------------------------------------------------------------------------- whole

    @torch.inference_mode()
    def render(self, semantics: Features, style: Tensor | None = None) -> Tensor:
        """The photograph (1, 3, H, W) of a single layout, which is remembered; arguments and errors are those of the engine."""
        self.kept = None
        engine, kept = self.engine, list[Tensor]()
        engine.refuse(semantics)
        try:
            with noted() as affines:
                pyramid = [join(semantics, style)]
                for _ in engine.enhancers:
                    pyramid.append(shrunk(pyramid[-1]))
                x = engine.trunk.encoded(pyramid.pop())
                for block in engine.trunk.blocks:
                    x = block(x, kept)
                last = rows_of(x).clone()
                picture = self._decoded(x, pyramid)
        finally:
            engine.forget()
        source = Source(semantics, style).copied()
        self.kept = Kept(source, affines, [*kept[0::2], last], kept[1::2], picture[0].clone())
        return picture

    def _decoded(self, x: Tensor, pyramid: list[Features]) -> Tensor:
        """From what leaves the residual blocks."""
        engine = self.engine
        for up in engine.trunk.ups:
            x = up(x)
        for enhancer in engine.enhancers:
            x = enhancer(pyramid.pop(), x)
        return engine.head(x).tanh_()

    # ------------------------------------------------------------------------------------------------------- edited

    @torch.inference_mode()
    def edited(
        self, semantics: Features, style: Tensor | None = None, mode: Mode = "cached", tolerance: float = TOLERANCE
    ) -> Edit | None:
        """The photograph of a layout that differs from the remembered one.

        Args:
            semantics: (1, C, H, W), or the same as codes.
            style: A map (1, F, H, W), or None.
            mode: "cached" or "renewed".
            tolerance: Movements of features that do not count, relative to their root mean square.

        Returns:
            None where there is nothing to go by, or where most is reached.
        """
        source = Source(semantics, style)
        changed = source.differs(self.kept.source) if self.kept else None
        if self.kept is None or changed is None:
            return None
        if not changed.any():
            return Edit(self.kept.picture[None].clone(), 0.0)
        reached = self._encoder_reaches(changed)
        if reached.float().mean() > MOST:
            return None
        try:
            if mode == "renewed" and not all(norm.fixed for norm in self.kept.affines):
                return self._renewed_picture(self.kept, join(semantics, style), tolerance)
            return self._cached(self.kept, source, changed, reached, tolerance)
        finally:
            self.engine.forget()

    def _encoder_reaches(self, changed: Tensor) -> Tensor:
        """Which pixels of what the residual blocks see depend on changed pixels of the layout."""
        for _ in self.engine.enhancers:
            changed = pooled(changed, 3, 2, 1)
        around = self.cell + 2  # 3 of the first kernel, and 1, 2, 4, ... of the others
        return pooled(changed, 2 * around + 1, self.cell, around)

    def _cached(self, kept: Kept, source: Source, changed: Tensor, reached: Tensor, tolerance: float) -> Edit:
        size = (reached.shape[0], reached.shape[1])
        x = kept.streams[0].clone()
        level = len(self.engine.enhancers)
        for part in windows_of(reached):
            windows = self.encoder.windows(part, source.size(level))
            found = self.encoder(source.part(level, windows[0]), windows, kept.affines)
            part.of(x.view(*size, -1)).copy_(found)
        moves, neglected = reached.view(-1), _Neglected()
        for number, block in enumerate(self.engine.trunk.blocks):
            x, moves = self._block(kept, number, block, x, moves, size, tolerance, neglected)
        return self._patched(kept, source, changed, x, moves.view(size), neglected)

    def _block(
        self,
        kept: Kept,
        number: int,
        block: Block,
        x: Tensor,
        changed: Tensor,
        size: Size,
        tolerance: float,
        neglected: _Neglected,
    ) -> tuple[Tensor, Tensor]:
        """What leaves a residual block, (H * W, C), and where it moved, (H * W,), from the same that goes into it."""
        neighbours = self._neighbours.setdefault(size, Neighbours(size))
        before, after, raw = kept.streams[number], kept.streams[number + 1], kept.raws[number]
        first, second = (kept.affines[norm] for norm in block.norms)
        gaps = torch.zeros(len(x))
        gaps[changed] = moved_by(x[changed], before[changed]) / _size_of(before)
        near = grown((gaps > tolerance).view(size)).view(-1)
        neglected.add(gaps.square().masked_fill_(near, 0))
        places = near.nonzero().view(-1)
        h = first.apply_(raw.clone(), rectify=True)
        was = h.index_select(0, places)
        now = neighbours.convolved(x, block.first.weight, places)
        neglected.add(_statistics_moved(block.norms[0], first, raw[places], now, len(x)))
        first.apply_(now, rectify=True)
        h.index_copy_(0, places, now)
        gaps = torch.zeros(len(x))
        gaps[places] = moved_by(now, was) / HALF
        near = grown((gaps > tolerance).view(size)).view(-1)
        neglected.add(gaps.square().masked_fill_(near, 0))
        places = near.nonzero().view(-1)
        everywhere = changed.clone()
        everywhere[places] = True
        result = after.clone()
        some = changed.nonzero().view(-1)
        result[some] += x[some] - before[some]
        added = neighbours.convolved(h, block.second.weight, places)
        added_before = (after[places] - before[places]).sub_(second.shift).div_(second.scale)
        neglected.add(_statistics_moved(block.norms[1], second, added_before, added, len(x)))
        result[places] = second.add_to_(x[places], added)
        return result, everywhere

    def _renewed_picture(self, kept: Kept, joined: Features, tolerance: float) -> Edit:
        pyramid = [joined]
        for _ in self.engine.enhancers:
            pyramid.append(shrunk(pyramid[-1]))
        planes = self.engine.trunk.encoded(pyramid.pop())
        x, size = rows_of(planes), (planes.shape[2], planes.shape[3])
        computed, neglected = 0.0, _Neglected()
        for number, block in enumerate(self.engine.trunk.blocks):
            computed += self._renewed(kept, number, block, x, size, tolerance, neglected)
        left = x.clone()
        picture = self._decoded(planes, pyramid)
        error = neglected.answered(picture[0], kept.picture, left, kept.streams[-1])
        return Edit(picture, computed / max(1, len(self.engine.trunk.blocks)), error)

    def _renewed(
        self,
        kept: Kept,
        number: int,
        block: Block,
        x: Tensor,
        size: Size,
        tolerance: float,
        neglected: _Neglected,
    ) -> float:
        """A residual block of (H * W, C), in place, with statistics of its own; which share of it was computed."""
        before, after, raw = kept.streams[number], kept.streams[number + 1], kept.raws[number]
        first, second = (kept.affines[norm] for norm in block.norms)
        moved = moved_by(x, before).div_(_size_of(before))
        y, share = self._again(block.first, x, moved, tolerance, raw.clone(), size, neglected)
        was = first.apply_(raw.clone(), rectify=True)
        block.norms[0].of(y).apply_(y, rectify=True)
        z = (after - before).sub_(second.shift).div_(second.scale)
        z, second_share = self._again(block.second, y, moved_by(y, was).div_(HALF), tolerance, z, size, neglected)
        block.norms[1].of(z).add_to_(x, z)
        return (share + second_share) / 2

    def _again(
        self,
        layer: Convolution,
        x: Tensor,
        moved: Tensor,
        tolerance: float,
        found: Tensor,
        size: Size,
        neglected: _Neglected,
    ) -> tuple[Tensor, float]:
        """What a convolution of (H * W, C) gives, from what it gave before pixels moved; and the share that is computed."""
        near = grown((moved > tolerance).view(size)).view(-1)
        share = float(near.float().mean())
        if share > DENSE:
            planes = layer(x.view(1, *size, -1).permute(0, 3, 1, 2))
            return rows_of(planes), 1.0
        places = near.nonzero().view(-1)
        neglected.add(moved.square().masked_fill_(near, 0))
        neighbours = self._neighbours.setdefault(size, Neighbours(size))
        found[places] = neighbours.convolved(x, layer.weight, places)
        return found, share

    def _patched(
        self, kept: Kept, source: Source, changed: Tensor, x: Tensor, moves: Tensor, neglected: _Neglected
    ) -> Edit:
        picture = kept.picture.clone()
        size = (picture.shape[1], picture.shape[2])
        computed = 0
        for part in self._reached(windows_of(moves), windows_of(changed), source):
            seen = self.head.needs(part, size)
            features = self._features(len(self.tails) - 1, seen, x.view(*moves.shape, -1), source, kept.affines)
            found = self.head(features, seen, part)
            picture[:, part.top : part.bottom, part.left : part.right] = found.permute(2, 0, 1).tanh_()
            computed += part.size[0] * part.size[1]
        boxes = windows_of(moves)
        cell = size[0] // moves.shape[0]
        now, was = (torch.cat([_inside(part, whole, cell) for part in boxes]) for whole in (picture, kept.picture))
        some = moves.view(-1)
        error = neglected.answered(now, was, x[some], kept.streams[-1][some])
        return Edit(picture[None], computed / (size[0] * size[1]), error)

    def _reached(self, cells: list[Window], pixels: list[Window], source: Source) -> list[Window]:
        """Windows of the picture that depend on some windows of what leaves the residual blocks, and of the layout."""
        levels = len(self.engine.enhancers)
        cell = self.cell
        size = (source.size(levels)[0] // cell, source.size(levels)[1] // cell)
        found = merged([self.tails[0].reached(part, size) for part in cells])
        for stage, down in enumerate(self.downs, start=1):
            level = levels - stage
            found += [down.reached(self._shrunk(part, source, level), source.size(level)) for part in pixels]
            size = source.size(level + 1)
            found = merged([self.tails[stage].reached(part, size) for part in merged(found)])
        return merged([self.head.reached(part, source.size(0)) for part in found])

    @staticmethod
    def _shrunk(part: Window, source: Source, level: int) -> Window:
        for above in range(level):
            part = Halved().reached(part, source.size(above))
        return part

    def _features(self, stage: int, part: Window, x: Tensor, source: Source, affines: Affines) -> Tensor:
        """A part (h, w, C) of what the global network (stage 0) or an enhancer gives, before the last convolution."""
        level = len(self.engine.enhancers) - stage
        size = source.size(level) if stage else x.shape[:2]
        if stage:
            size = source.size(level + 1)
        windows = self.tails[stage].windows(part, (size[0], size[1]))
        if not stage:
            return self.tails[0](windows[0].of(x).contiguous(), windows, affines)
        below = self.downs[stage - 1].windows(windows[0], source.size(level))
        fine = self.downs[stage - 1](source.part(level, below[0]), below, affines)
        fine += self._features(stage - 1, windows[0], x, source, affines)
        return self.tails[stage](fine, windows, affines)


def moved_by(now: Tensor, before: Tensor) -> Tensor:
    """By how much pixels (N, C) differ, root mean square over channels, (N,)."""
    return (now - before).square_().mean(dim=1).sqrt_()


def _size_of(pixels: Tensor) -> float:
    return float(pixels.square().mean().sqrt())


def _inside(part: Window, picture: Tensor, cell: int) -> Tensor:
    """The pixels of (3, H, W) that stand for some pixels of smaller features, flat."""
    rows, columns = (slice(cell * first, cell * last) for first, last in (part.rows, part.columns))
    return picture[:, rows, columns].reshape(-1)


def _statistics_moved(norm: Norm, affine: Affine, was: Tensor, now: Tensor, count: int) -> Tensor:
    """How far a normalisation that sees changed pixels moves all others, squared, for each channel, (C,).

    Args:
        norm: The layer.
        affine: What it did before.
        was: The pixels (n, C) before.
        now: The same now.
        count: Pixels that it sees.
    """
    if norm.fixed:
        return affine.scale.new_zeros(0)
    was, now = (pixels.double().mul_(affine.scale).add_(affine.shift) for pixels in (was, now))  # mean 0, variance 1
    mean = (now.sum(dim=0) - was.sum(dim=0)) / count
    second = (now.square().sum(dim=0) - was.square().sum(dim=0)) / count
    scale = (1 + second - mean.square()).clamp_(min=1e-6).rsqrt()
    return (scale - 1).square_() + (mean * scale).square_()
