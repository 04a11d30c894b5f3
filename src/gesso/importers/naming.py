"""What every importer needs: depths found by names, an empty network, and every tensor accounted for.

An importer maps official modules to ours, {official: ours}; the names of their tensors follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gesso.errors import ModelFileError

Tensors = Mapping[str, Tensor]
Modules = dict[str, str]  # official module -> ours
Shapes = Mapping[str, torch.Size]
Choice = TypeVar("Choice", bound=Hashable)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Official:
    """Our network with official weights, and the arguments that it was built with."""

    network: nn.Module
    arguments: dict[str, Any]


def closest(names: Iterable[str], candidates: Mapping[tuple[int, int], Modules], described: str) -> tuple[int, int]:
    """The depths that leave fewest tensors unexplained and fewest modules empty; one tensor too few cannot mislead."""
    owners = [name.rpartition(".")[0] for name in names]
    if not candidates:
        raise ModelFileError(f"None of the tensors is named as in {described}: these are other weights, or damaged.")

    def misfit(depths: tuple[int, int]) -> int:
        modules = candidates[depths]
        return sum(owner not in modules for owner in owners) + len(modules.keys() - set(owners))

    return min(candidates, key=misfit)


def best(tensors: Tensors, candidates: Mapping[Choice, tuple[Modules, Shapes]]) -> Choice:
    """The choice whose tensors are closest to the official ones: in names first, in shapes then; the first of equals.

    Args:
        tensors: Under official names.
        candidates: For each choice official modules to ours, and the shapes of our tensors.
    """

    def misfit(choice: Choice) -> tuple[int, int]:
        modules, ours = candidates[choice]
        official = {ours: theirs for theirs, ours in modules.items()}
        shapes = {_official_name(name, official, same_leaf): shape for name, shape in ours.items()}
        given = {name for name in tensors if name in shapes or not _is_old_statistic(name, tensors, modules)}
        both = shapes.keys() & given
        return len(shapes.keys() ^ given), sum(shapes[name] != tensors[name].shape for name in both)

    return min(candidates, key=misfit)


@lru_cache(maxsize=512)
def shapes_of(network: type[nn.Module], **arguments: Any) -> Shapes:
    """The shape of every tensor of a network, by our names."""
    return {name: tensor.shape for name, tensor in without_weights(network, **arguments).network.state_dict().items()}


def norm_of(tensors: Tensors, modules: Modules) -> str:
    """Batch norm has running statistics with weights; instance norm none, or statistics alone (torch before 0.4)."""
    batch = any(
        f"{m}.running_mean" in tensors and f"{m}.weight" in tensors and tensors[f"{m}.weight"].dim() == 1
        for m in modules
    )
    return "batch" if batch else "instance"


def without_weights(network: type[nn.Module], **arguments: Any) -> Official:
    """A network of ours for `fill` to fill."""
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        return Official(network(**arguments), arguments)


def same_leaf(module: str, leaf: str) -> str:
    """The last part of an official tensor's name where it is that of ours."""
    return leaf


def fill(
    found: Official,
    tensors: Tensors,
    modules: Modules,
    sources: list[str],
    official_leaf: Callable[[str, str], str] = same_leaf,
) -> Official:
    """Copy every tensor to the module of ours that its official module became.

    Args:
        found: Its network is without weights yet.
        tensors: Under official names.
        modules: Official modules to ours.
        sources: The tensors that the widths of the network were read from.
        official_leaf: From an official module and the last part of our tensor's name to the last part of the official one.

    Raises:
        ModelFileError: A tensor is missing or left over, or has another shape.
    """
    network = found.network
    wanted = network.state_dict()
    official = {ours: theirs for theirs, ours in modules.items()}
    names = {ours: _official_name(ours, official, official_leaf) for ours in wanted}
    missing = [name for name in names.values() if name not in tensors]
    known = set(names.values())
    unknown = [name for name in tensors if name not in known and not _is_old_statistic(name, tensors, modules)]
    if unknown or missing:
        raise ModelFileError(
            f"These weights are not those of a {type(network).__name__} as their names suggest; "
            f"missing: {', '.join(missing[:5]) or 'none'}; left over: {', '.join(unknown[:5]) or 'none'}."
        )
    for ours, theirs in names.items():
        if tensors[theirs].shape != wanted[ours].shape:
            read = " and ".join(f"{s} of shape {tuple(tensors[s].shape)}" for s in sources)
            raise ModelFileError(
                f"{theirs} has shape {tuple(tensors[theirs].shape)}; {tuple(wanted[ours].shape)} was expected in a "
                f"{type(network).__name__} with {read}. One of these tensors is not from the same network."
            )
    # Copies: training the network must not change the caller's tensors.
    filled = {o: tensors[t].detach().to(wanted[o].dtype, copy=True) for o, t in names.items()}
    network.load_state_dict(filled, strict=True, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return found


def _official_name(ours: str, official: Modules, official_leaf: Callable[[str, str], str]) -> str:
    module, _, leaf = ours.rpartition(".")
    return f"{official[module]}.{official_leaf(official[module], leaf)}"


def _is_old_statistic(name: str, tensors: Tensors, modules: Modules) -> bool:
    """Running mean and variance that torch before 0.4 stored for instance norm and nobody uses."""
    module, _, leaf = name.rpartition(".")
    complete = all(f"{module}.{statistic}" in tensors for statistic in STATISTICS[:2])
    return module in modules and leaf in STATISTICS and complete and f"{module}.weight" not in tensors


def numbers(names: Iterable[str], pattern: str, group: int = 1) -> set[int]:
    """The numbers that a group of a pattern stands for in the names that match it as a whole."""
    return {int(found[group]) for name in names if (found := re.fullmatch(pattern, name))}


def conv_channels(tensors: Tensors, name: str) -> tuple[int, int]:
    """Channels out and in of a convolution's weight."""
    if name not in tensors:
        raise ModelFileError(
            f"The weights lack {name}; the first of the {len(tensors)} names are {', '.join(list(tensors)[:3])}."
        )
    shape = tuple(tensors[name].shape)
    if len(shape) != 4 or 0 in shape:
        raise ModelFileError(f"{name} has shape {shape}; the weight of a convolution has four sides, none of them 0.")
    return shape[0], shape[1]
