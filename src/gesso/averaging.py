"""Averaged weights: how they follow the trained ones, and what has to be made anew for them before they are used.

Exponential moving averages of weights make steadier photographs than the weights of any one step (Karras et al. 2018, arXiv
1710.10196, section C). What a network measures of its own activations does not average along: running statistics of batch norm
and the vectors of spectral norm belong to the weights that they were measured with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gesso.errors import ConfigError
from gesso.networks.spectral import SpectralConv2d
from gesso.networks.sync_norm import SyncBatchNorm2d

Networks = Mapping[str, nn.Module]


def follow(averaged: nn.Module, trained: nn.Module, weight: float) -> None:
    """Move averaged parameters by a share of the way to the trained ones; take buffers over as they are.

    Args:
        averaged: Changed in place.
        trained: A network of the same form.
        weight: The share, 0..1.
    """
    with torch.no_grad():
        for parameter, current in zip(averaged.parameters(), trained.parameters(), strict=True):
            parameter.lerp_(current, weight)
        for measured, now in zip(averaged.buffers(), trained.buffers(), strict=True):
            measured.copy_(now)


def settled(
    networks: Networks, batches: Callable[[], Iterable[Any]], synthesise: Callable[[Any, Any], Tensor]
) -> Networks:
    """The networks with measurements of their own; the very same networks where they measure nothing.

    Running statistics of batch norm become means over the batches, and spectral norm goes on until its vectors fit. A channel
    that never varies, such as at a grid of 1x1 for one photograph that is always the same, gets variance 1: behind the norm it is
    0, as in training, and what another layout brings is not blown up.

    Args:
        networks: Averaged ones; not changed.
        batches: Gives what to measure on; asked only if there is something to measure.
        synthesise: Runs all networks on one batch.

    Raises:
        ConfigError: Batch norm meets a single value per channel, of which there is nothing to measure.
    """
    if not any(_measures(m) for network in networks.values() for m in network.modules()):
        return networks
    copies = {name: copy.deepcopy(network).eval() for name, network in networks.items()}
    layers = [m for network in copies.values() for m in network.modules() if _measures(m)]
    with torch.no_grad(), _measuring(layers):
        for batch in batches():
            synthesise(copies, batch)
        for layer in layers:
            if isinstance(layer, _BatchNorm) and layer.running_var is not None:
                layer.running_var[layer.running_var == 0] = 1.0
    return copies


def _measures(module: nn.Module) -> bool:
    return isinstance(module, SpectralConv2d) or (isinstance(module, _BatchNorm) and module.track_running_stats)


@contextmanager
def _measuring(layers: list[nn.Module]) -> Any:
    """The layers measure: batch norm a plain mean over all batches; one process alone, the others do not take part."""
    momenta = {id(layer): layer.momentum for layer in layers if isinstance(layer, _BatchNorm)}
    watched = []
    for layer in layers:
        layer.train()
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None
            watched.append(layer.register_forward_pre_hook(_refuse_single_values))
        if isinstance(layer, SyncBatchNorm2d):
            layer.alone = True
    yield
    for handle in watched:
        handle.remove()
    for layer in layers:
        layer.eval()
        if isinstance(layer, _BatchNorm):
            layer.momentum = momenta[id(layer)]
        if isinstance(layer, SyncBatchNorm2d):
            layer.alone = False


def _refuse_single_values(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    if inputs[0].numel() == inputs[0].shape[1]:
        raise ConfigError(
            "Batch norm has a single value per channel to normalise: these networks shrink a picture of the data to 1x1, and see "
            "one at a time. Train at a larger size, halve it less often (--generator-downs, --encoder-downs, --upsampling), take "
            "more photographs at once (--batch above --accumulate)."
        )
