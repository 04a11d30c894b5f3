"""Engines for synthesis: they take the weights of a plain network and give the same photographs, sooner.

    spade.py            scales and offsets once for every distinct neighbourhood of the layout
    pix2pixhd.py        first convolutions likewise; doubling, normalisation and activation with fewer passes over memory
    convolutions.py     what both convolve with
    norms.py            normalisation of pixels that have their channels side by side
    edits.py            of an edited layout only what the edit reaches, pix2pixHD (with chains.py and regions.py)
    tiles.py            layouts that do not fit into memory, some rows at a time (with sheets.py and tiled_spade.py)
    windows.py          layers on parts of pictures, for both

They compute on CPUs in float32, without gradients, and agree with the plain networks to the rounding of float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gesso.networks.indexed import Indexed
from gesso.networks.pix2pixhd import CoarseToFineGenerator, GlobalGenerator
from gesso.networks.spade import SpadeGenerator
from gesso.synthesis.fast.pix2pixhd import FastPix2pixHD
from gesso.synthesis.fast.spade import FastSpadeGenerator, is_fast


class FastGenerator(Protocol):
    """What every engine is: called like its network, with codes or with dense semantics."""

    def __call__(self, semantics: Indexed | Tensor, style: Tensor | None = None) -> Tensor:
        """Photographs (B, 3, H, W) in [-1, 1] of semantics (B, C, H, W) and of what style the network takes."""
        ...


def fast(generator: nn.Module) -> FastGenerator | None:
    """The engine for a network as it stands; None where there is none, and the network computes itself.

    Args:
        generator: In eval mode. Its weights are prepared now: make another engine when they change.
    """
    weights = [*generator.parameters(), *generator.buffers()]
    if generator.training or any(
        w.device.type != "cpu" or w.dtype not in (torch.float32, torch.int64) for w in weights
    ):
        return None
    if isinstance(generator, SpadeGenerator):
        return FastSpadeGenerator(generator) if is_fast(generator) else None
    if isinstance(generator, GlobalGenerator | CoarseToFineGenerator):
        return FastPix2pixHD(generator)
    return None
