"""Names of NVIDIA's pix2pixHD checkpoints -> ours.

Each builder finds the depths for which the official names are explained best, reads widths off a few tensors, and then
accounts for every tensor: one that is missing, left over or of another shape is an error that names it. Slots of the
official sequences also count layers without weights, hence the gaps in the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from gesso.errors import ModelFileError
from gesso.networks.pix2pixhd import (
    CoarseToFineGenerator,
    GlobalGenerator,
    InstanceEncoder,
    MultiscaleDiscriminator,
)

Tensors = Mapping[str, Tensor]
Modules = dict[str, str]  # official module -> ours
PHOTOGRAPH_CHANNELS = 3
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Official:
    """Our network with official weights, and the arguments that it was built with."""

    network: nn.Module
    arguments: dict[str, Any]


def kind_of(tensors: Tensors) -> str | None:
    """Which of "global", "local", "discriminator" and "encoder" names and shapes belong to; None if to none of them."""
    if any(name.startswith("model1_1.") for name in tensors):
        return "local"
    if any(re.match(r"(scale\d+_layer\d+\.\d+|layer\d+\.\d+)\.", name) for name in tensors):
        return "discriminator"
    if not any(re.match(r"model\.\d+\.", name) for name in tensors):
        return None
    stem = tensors.get("model.1.weight")
    photograph = stem is None or stem.dim() != 4 or stem.shape[1] == PHOTOGRAPH_CHANNELS
    return "global" if any(".conv_block." in name for name in tensors) or not photograph else "encoder"


def global_generator(tensors: Tensors) -> Official:
    """`GlobalGenerator` from latest_net_G.pth of a model trained with --netG global."""
    if local := [name for name in tensors if name.startswith("model1_1.")]:
        raise ModelFileError(f"These weights have local enhancers ({local[0]}): import them as pix2pixhd.local.")
    downs, blocks = _trunk_depths(tensors)
    stem, head = "model.1.weight", f"model.{5 + 6 * downs + blocks}"
    width, in_channels = _conv(tensors, stem)
    if not blocks and in_channels == PHOTOGRAPH_CHANNELS:
        raise ModelFileError(
            "These weights take a photograph and have no residual blocks: import an encoder (latest_net_E.pth) as "
            "pix2pixhd.encoder."
        )
    modules = _trunk_modules(downs, blocks) | {head: "head.1"}
    empty = _empty(
        GlobalGenerator,
        in_channels=in_channels,
        out_channels=_conv(tensors, f"{head}.weight")[0],
        width=width,
        downs=downs,
        blocks=blocks,
        norm=_norm(tensors, modules),
    )
    return _fill(empty, tensors, modules, [stem, f"{head}.weight"])


def coarse_to_fine_generator(tensors: Tensors) -> Official:
    """`CoarseToFineGenerator` from latest_net_G.pth of a model trained with --netG local."""
    if not any(name.startswith("model1_1.") for name in tensors):
        raise ModelFileError(
            "No tensor is named model1_1.*: these are not weights with local enhancers (--netG local). Import a global "
            "generator as pix2pixhd.global."
        )
    downs, blocks = _trunk_depths(tensors)
    enhancers, enhancer_blocks = _enhancer_depths(tensors)
    # The outermost enhancer says how wide everything is.
    stem, head = f"model{enhancers}_1.1.weight", f"model{enhancers}_2.{enhancer_blocks + 4}"
    width, in_channels = _conv(tensors, stem)
    modules = _trunk_modules(downs, blocks) | _enhancers_modules(enhancers, enhancer_blocks) | {head: "head.1"}
    empty = _empty(
        CoarseToFineGenerator,
        in_channels=in_channels,
        out_channels=_conv(tensors, f"{head}.weight")[0],
        width=width,
        downs=downs,
        blocks=blocks,
        enhancers=enhancers,
        enhancer_blocks=enhancer_blocks,
        norm=_norm(tensors, modules),
    )
    return _fill(empty, tensors, modules, [stem, f"{head}.weight"])


def discriminator(tensors: Tensors) -> Official:
    """`MultiscaleDiscriminator` from latest_net_D.pth, trained with or without feature matching."""
    with_features = 2 * sum(name.startswith("scale") for name in tensors) > len(tensors)
    pattern = r"scale(\d+)_layer(\d+)\..+" if with_features else r"layer(\d+)\.(\d+)\..+"
    scales, layers = _closest(
        [name for name in tensors if re.fullmatch(pattern, name)],
        {
            (s, j): _discriminator_modules(s, j, with_features)
            for s in range(1, len(_numbers(tensors, pattern)) + 1)
            for j in range(1, len(_numbers(tensors, pattern, group=2)))
        },
        "a discriminator (scale0_layer0.* or layer0.*)",
    )
    modules = _discriminator_modules(scales, layers, with_features)
    stem = "scale0_layer0.0.weight" if with_features else "layer0.0.weight"
    width, in_channels = _conv(tensors, stem)
    empty = _empty(
        MultiscaleDiscriminator,
        in_channels=in_channels,
        width=width,
        layers=layers,
        scales=scales,
        norm=_norm(tensors, modules),
    )
    return _fill(empty, tensors, modules, [stem])


def encoder(tensors: Tensors) -> Official:
    """`InstanceEncoder` from latest_net_E.pth."""
    downs, blocks = _trunk_depths(tensors)
    if blocks:
        raise ModelFileError(
            "These weights have residual blocks, which an encoder lacks: import a generator (latest_net_G.pth) as "
            "pix2pixhd.global or pix2pixhd.local."
        )
    stem, head = "model.1.weight", f"model.{5 + 6 * downs}"
    width, in_channels = _conv(tensors, stem)
    modules = _trunk_modules(downs, 0) | {head: "head.1"}
    empty = _empty(
        InstanceEncoder,
        in_channels=in_channels,
        features=_conv(tensors, f"{head}.weight")[0],
        width=width,
        downs=downs,
        norm=_norm(tensors, modules),
    )
    return _fill(empty, tensors, modules, [stem, f"{head}.weight"])


def _trunk_depths(tensors: Tensors) -> tuple[int, int]:
    """How often the official sequence `model` halves the size, and its residual blocks."""
    names = [name for name in tensors if name.startswith("model.")]
    most_downs = len(_numbers(names, r"model\.(\d+)\..+")) // 2
    most_blocks = len(_numbers(names, r"model\.(\d+)\.conv_block\..+"))
    depths = product(range(most_downs + 1), range(most_blocks + 1)) if names else ()
    return _closest(names, {d: _trunk_modules(*d) for d in depths}, "a generator or encoder (model.*)")


def _enhancer_depths(tensors: Tensors) -> tuple[int, int]:
    """How many local enhancers, and residual blocks of each."""
    names = [name for name in tensors if re.match(r"model\d+_[12]\.", name)]
    most = len(_numbers(names, r"model(\d+)_[12]\..+"))
    most_blocks = len(_numbers(names, r"model\d+_2\.(\d+)\.conv_block\..+"))
    depths = product(range(1, most + 1), range(most_blocks + 1))
    return _closest(names, {d: _enhancers_modules(*d) for d in depths}, "local enhancers (model1_1.*)")


def _closest(names: Iterable[str], candidates: Mapping[tuple[int, int], Modules], described: str) -> tuple[int, int]:
    """The depths that leave fewest tensors unexplained and fewest modules empty; one tensor too few cannot mislead."""
    owners = [name.rpartition(".")[0] for name in names]
    if not candidates:
        raise ModelFileError(f"None of the tensors is named as in {described}: these are other weights, or damaged.")

    def misfit(depths: tuple[int, int]) -> int:
        modules = candidates[depths]
        return sum(owner not in modules for owner in owners) + len(modules.keys() - set(owners))

    return min(candidates, key=misfit)


def _trunk_modules(downs: int, blocks: int) -> Modules:
    modules = {"model.1": "trunk.stem.1", "model.2": "trunk.stem.2"}
    ups = 4 + 3 * downs + blocks
    for i in range(downs):
        for slot in (3 * i, 3 * i + 1):
            modules |= {f"model.{4 + slot}": f"trunk.down.{slot}", f"model.{ups + slot}": f"trunk.up.{slot}"}
    for i in range(blocks):
        modules |= _block_modules(f"model.{4 + 3 * downs + i}", f"trunk.blocks.{i}")
    return modules


def _enhancers_modules(enhancers: int, blocks: int) -> Modules:
    modules: Modules = {}
    for n in range(1, enhancers + 1):
        ours = f"enhancers.{n - 1}"
        modules |= {f"model{n}_1.{slot}": f"{ours}.down.{slot}" for slot in (1, 2, 4, 5)}
        modules |= {f"model{n}_2.{blocks + slot}": f"{ours}.up.{slot}" for slot in (0, 1)}
        for i in range(blocks):
            modules |= _block_modules(f"model{n}_2.{i}", f"{ours}.blocks.{i}")
    return modules


def _block_modules(official: str, ours: str) -> Modules:
    names = {1: "first", 2: "first_norm", 5: "second", 6: "second_norm"}
    return {f"{official}.conv_block.{slot}": f"{ours}.{name}" for slot, name in names.items()}


def _discriminator_modules(scales: int, layers: int, with_features: bool) -> Modules:
    """A convolution per layer, and a normalisation in all but the first and the last."""
    modules: Modules = {}
    for s, j in product(range(scales), range(layers + 2)):
        for slot in (0, 1) if 0 < j <= layers else (0,):
            place = max(3 * j - 1, 0) + slot  # in the flat sequence: convolution, (normalisation,) activation
            official = f"scale{s}_layer{j}.{slot}" if with_features else f"layer{s}.{place}"
            modules[official] = f"scales.{s}.layers.{j}.{slot}"
    return modules


def _norm(tensors: Tensors, modules: Modules) -> str:
    """Batch norm has running statistics with weights; instance norm none, or statistics alone (torch before 0.4)."""
    batch = any(
        f"{m}.running_mean" in tensors and f"{m}.weight" in tensors and tensors[f"{m}.weight"].dim() == 1
        for m in modules
    )
    return "batch" if batch else "instance"


def _empty(network: type[nn.Module], **arguments: Any) -> Official:
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        return Official(network(**arguments), arguments)


def _fill(found: Official, tensors: Tensors, modules: Modules, sources: list[str]) -> Official:
    """Copy every tensor to the module of ours that its official module became.

    Args:
        found: Its network is without weights yet.
        tensors: Under official names.
        modules: Official modules to ours.
        sources: The tensors that the widths of the network were read from.
    """
    network = found.network
    wanted = network.state_dict()
    official = {ours: theirs for theirs, ours in modules.items()}
    names = {ours: f"{official[ours.rpartition('.')[0]]}.{ours.rpartition('.')[2]}" for ours in wanted}
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


def _is_old_statistic(name: str, tensors: Tensors, modules: Modules) -> bool:
    """Running mean and variance that torch before 0.4 stored for instance norm and nobody uses."""
    module, _, leaf = name.rpartition(".")
    complete = all(f"{module}.{statistic}" in tensors for statistic in STATISTICS[:2])
    return module in modules and leaf in STATISTICS and complete and f"{module}.weight" not in tensors


def _numbers(names: Iterable[str], pattern: str, group: int = 1) -> set[int]:
    return {int(found[group]) for name in names if (found := re.fullmatch(pattern, name))}


def _conv(tensors: Tensors, name: str) -> tuple[int, int]:
    """Channels out and in of a convolution's weight."""
    if name not in tensors:
        raise ModelFileError(
            f"The weights lack {name}; the first of the {len(tensors)} names are {', '.join(list(tensors)[:3])}."
        )
    shape = tuple(tensors[name].shape)
    if len(shape) != 4 or 0 in shape:
        raise ModelFileError(f"{name} has shape {shape}; the weight of a convolution has four sides, none of them 0.")
    return shape[0], shape[1]
