"""Photographs of layouts that are too large for memory: layer after layer, some rows at a time, what lies between on the disk.

Normalisations see the whole picture. So each layer is computed for the whole picture before the next one begins: its sums are
complete then, and the rows of the next one are normalised when they are read. The photograph is that of the whole network, to the
rounding of float32, wherever it is cut: there is no seam.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gesso.errors import ConfigError
from gesso.networks.pix2pixhd import CoarseToFineGenerator, GlobalGenerator
from gesso.networks.spade import SpadeGenerator
from gesso.pictures import Picture, to_uint8
from gesso.synthesis.fast.chains import Source
from gesso.synthesis.fast.pix2pixhd import Block, FastPix2pixHD, Features, First, Up
from gesso.synthesis.fast.sheets import Desk, Normalised, Rows, Sheet, temporary_bytes
from gesso.synthesis.fast.spade import FastSpadeGenerator, is_fast
from gesso.synthesis.fast.strips import SCRATCH
from gesso.synthesis.fast.tiled_spade import last_features
from gesso.synthesis.fast.windows import Head, Plain, Twice, Window

GIB = 2**30


class Tiles:
    """Computes photographs as a generator does, some rows at a time.

    Args:
        generator: In eval mode, on the CPU.
        rows: Of the photograph at once; fewer take less memory, and somewhat longer.

    Raises:
        ConfigError: There is no way to compute this network so.
    """

    def __init__(self, generator: nn.Module, rows: int) -> None:
        self.rows = rows
        self._engine: FastPix2pixHD | FastSpadeGenerator
        if isinstance(generator, GlobalGenerator | CoarseToFineGenerator):
            self._engine = FastPix2pixHD(generator)
        elif isinstance(generator, SpadeGenerator) and is_fast(generator):
            self._engine = FastSpadeGenerator(generator)
        else:
            raise ConfigError(
                f"Tiles are for pix2pixHD's and SPADE's generators; there is no way to compute {type(generator).__name__} so. "
                "Leave tiles out, or give smaller layouts."
            )

    @torch.inference_mode()
    def __call__(self, semantics: Features, style: Tensor | None = None) -> Tensor:
        """Photograph (1, O, H, W) in [-1, 1] of one layout (1, C, H, W); refuses what the network refuses.

        Raises:
            ConfigError: There is not enough room on the disk for what lies between the layers.
        """
        return torch.cat([values for _, values in self.strips(semantics, style)], dim=2)

    @torch.inference_mode()
    def photograph(self, semantics: Features, style: Tensor | None = None) -> Picture:
        """The same as (H, W, 3) uint8, which is never as a whole in memory otherwise."""
        picture = np.empty((*semantics.shape[2:], 3), dtype=np.uint8)
        for part, values in self.strips(semantics, style):
            picture[part.top : part.bottom] = to_uint8(values)[0]
        return picture

    def strips(self, semantics: Features, style: Tensor | None) -> Iterator[tuple[Window, Tensor]]:
        """Parts of the photograph, from the top to the bottom, (1, O, h, W) in [-1, 1]."""
        assert len(semantics) == 1
        try:
            with Desk(semantics.shape[2], self.rows) as desk:
                features, head = self._last(desk, semantics, style)
                for part in desk.strips(features.size):
                    seen = head.needs(part, features.size)
                    found = head(features.read(*seen.rows), seen, part).permute(2, 0, 1)
                    yield part, found.tanh()[None]
        finally:
            SCRATCH.clear()

    def _last(self, desk: Desk, semantics: Features, style: Tensor | None) -> tuple[Rows, Plain]:
        """What the last convolution sees, and that convolution."""
        if isinstance(self._engine, FastPix2pixHD):
            self._engine.refuse(semantics)
            refuse_small_disk(semantics.shape, self._engine.head.channels)
            return _pix2pixhd(self._engine, desk, Source(semantics, style)), Head(self._engine.head)
        refuse_small_disk(semantics.shape, self._engine.head.convolution.weight.shape[1])
        return last_features(self._engine, desk, semantics, style)


def refuse_small_disk(shape: torch.Size, channels: int) -> None:
    """See that what lies between the layers has room: at most three pictures of full size are there at once.

    Raises:
        ConfigError: It has not.
    """
    need, free = 3 * shape[2] * shape[3] * channels * 4, temporary_bytes()
    if need > free:
        raise ConfigError(
            f"Tiles of a layout of {shape[2]}x{shape[3]} need {need / GIB:.1f} GiB for temporary files, but only "
            f"{free / GIB:.1f} GiB are free: make room, or name another folder in the environment variable TMPDIR."
        )


# ----------------------------------------------------------------------------------------------------------- pix2pixHD


class _Level:
    """Semantics as rows, at a size that is halved so often."""

    def __init__(self, source: Source, level: int) -> None:
        self._source, self._level, self.size = source, level, source.size(level)

    def read(self, top: int, bottom: int) -> Tensor:
        return self._source.part(self._level, Window(top, bottom, 0, self.size[1]))

    def close(self) -> None:
        """There is nothing to give back."""


Open = _Level | Sheet | Normalised


def _pix2pixhd(engine: FastPix2pixHD, desk: Desk, source: Source) -> Open:
    """What the last convolution sees."""
    level = len(engine.enhancers)
    x = _encoded(desk, engine.trunk.firsts, _Level(source, level))
    x = _decoded(desk, x, engine.trunk.blocks, engine.trunk.ups)
    for enhancer in engine.enhancers:
        level -= 1
        fine = _encoded(desk, enhancer.firsts, _Level(source, level))
        x = _sum(desk, x, fine)
        x = _decoded(desk, x, enhancer.blocks, enhancer.ups)
    return x


def _encoded(desk: Desk, firsts: list[First], x: Open) -> Open:
    for first in firsts:
        x = _next(x, desk.normalised(Plain(first.dense), first.norm, x, len(first.dense.weight)))
    return x


def _decoded(desk: Desk, x: Open, blocks: list[Block], ups: list[Up]) -> Open:
    for block in blocks:
        channels = len(block.first.weight)
        y = desk.normalised(Plain(block.first), block.norms[0], x, channels)
        z = _next(y, desk.normalised(Plain(block.second), block.norms[1], y, channels, rectify=False))
        x = _sum(desk, x, z)
    for up in ups:
        x = _next(x, desk.normalised(Twice(up.layer), up.norm, x, up.layer.out_channels))
    return x


def _sum(desk: Desk, x: Open, y: Open) -> Sheet:
    some = cast(Sheet | Normalised, y)
    channels = some.channels if isinstance(some, Sheet) else some.sheet.channels
    found = desk.added((x, y), channels)
    x.close()
    y.close()
    return found


def _next(before: Open, after: Normalised) -> Normalised:
    """What was computed, without what it was computed from."""
    before.close()
    return after
