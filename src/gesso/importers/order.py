"""Channels of official networks in the order of a label space.

The official codes take values in label files as channels: value 7 is channel 7. Gesso's channels are classes in the order of the
label space, then ignored pixels. They differ where files count from 1, as those of ADE20K: there channel 0 of the official
weights is "unknown", and the last one is the last class. (The official code means to shift these labels by one and does not:
weights that it trained have channels as the files have values.)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from gesso.labels import LabelSpace
from gesso.networks import pix2pixhd, spade


def file_order(space: LabelSpace, dont_care: bool) -> list[int] | None:
    """The official channel of each class, and last of ignored pixels; None where file values are no such channels.

    Args:
        space: Its classes' file values.
        dont_care: Whether ignored pixels have a channel.
    """
    count = len(space) + dont_care
    first = [label_class.values[0] for label_class in space.classes]
    if any(len(c.values) > 1 for c in space.classes) or not all(0 <= value < count for value in first):
        return None
    left = sorted(set(range(count)) - set(first))
    return first + left if not left or left[0] in space.ignore or left[0] == len(space) else None


def reorder(network: nn.Module, order: list[int]) -> None:
    """Let a network take channels in another order: its channel `order[i]` becomes channel i; channels after them stay."""
    index = torch.tensor(order)
    with torch.no_grad():
        for conv in _first_layers(network):
            conv.weight[:, : len(order)] = conv.weight[:, index]


def _first_layers(network: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions that see the semantics."""
    if isinstance(network, spade.SpadeGenerator):
        yield from (module.shared for module in network.modules() if isinstance(module, spade.SPADE))
        found = [network.start]
    elif isinstance(network, spade.MultiscaleDiscriminator | pix2pixhd.MultiscaleDiscriminator):
        found = [_first(scale) for scale in network.scales]
    elif isinstance(network, pix2pixhd.CoarseToFineGenerator):
        found = [_first(network.trunk), *map(_first, network.enhancers)]
    else:
        found = [_first(network)]
    yield from (conv for conv in found if isinstance(conv, nn.Conv2d))


def _first(network: nn.Module) -> nn.Module:
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))
