"""Names of NVIDIA's pix2pixHD checkpoints -> ours.

Each builder reads widths and depths off the tensors, lists which official module becomes which of ours, and then accounts
for every tensor: one that is missing, left over or of another shape is an error that names it. Slots of the official
sequences also count layers without weights, hence the gaps in the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def global_generator(tensors: Tensors) -> nn.Module:
    """`GlobalGenerator` from latest_net_G.pth of a model trained with --netG global."""
    shape = _trunk_shape(tensors)
    head = 4 + 6 * shape["downs"] + shape["blocks"] + 1
    out_channels = _shape(tensors, f"model.{head}.weight")[0]
    network = _empty(GlobalGenerator, out_channels=out_channels, norm=_norm(tensors), **shape)
    return _fill(network, tensors, _trunk_modules(shape["downs"], shape["blocks"]) | {f"model.{head}": "head.1"})


def coarse_to_fine_generator(tensors: Tensors) -> nn.Module:
    """`CoarseToFineGenerator` from latest_net_G.pth of a model trained with --netG local."""
    shape = _trunk_shape(tensors)
    enhancers = len(_numbers(tensors, r"model(\d+)_1\.1\.weight"))
    if not enhancers:
        raise ModelFileError(
            "No tensor is named model1_1.1.weight: these are not weights of a local enhancer (--netG local)."
        )
    blocks = len(_numbers(tensors, r"model1_2\.(\d+)\.conv_block\.1\.weight"))
    head = f"model{enhancers}_2.{blocks + 4}"
    network = _empty(
        CoarseToFineGenerator,
        in_channels=shape["in_channels"],
        out_channels=_shape(tensors, f"{head}.weight")[0],
        width=shape["width"] // 2**enhancers,
        downs=shape["downs"],
        blocks=shape["blocks"],
        enhancers=enhancers,
        enhancer_blocks=blocks,
        norm=_norm(tensors),
    )
    modules = _trunk_modules(shape["downs"], shape["blocks"])
    for n in range(1, enhancers + 1):
        modules |= _enhancer_modules(n, blocks)
    return _fill(network, tensors, modules | {head: "head.1"})


def discriminator(tensors: Tensors) -> nn.Module:
    """`MultiscaleDiscriminator` from latest_net_D.pth, trained with or without feature matching."""
    with_features = any(name.startswith("scale") for name in tensors)
    pattern = r"scale(\d+)_layer0\.0\.weight" if with_features else r"layer(\d+)\.0\.weight"
    scales = len(_numbers(tensors, pattern))
    name = "scale{s}_layer{j}.{slot}" if with_features else "layer{s}.{place}"
    if with_features:
        places = _numbers(tensors, r"scale0_layer(\d+)\.0\.weight")
    else:
        places = [n for n in _numbers(tensors, r"layer0\.(\d+)\.weight") if tensors[f"layer0.{n}.weight"].dim() == 4]
    modules = {
        name.format(s=s, j=j, slot=slot, place=place + slot): f"scales.{s}.layers.{j}.{slot}"
        for s in range(scales)
        for j, place in enumerate(places)
        for slot in (0, 1)
    }
    first = _shape(tensors, "scale0_layer0.0.weight" if with_features else "layer0.0.weight")
    network = _empty(
        MultiscaleDiscriminator,
        in_channels=first[1],
        width=first[0],
        layers=len(places) - 2,
        scales=scales,
        norm=_norm(tensors),
    )
    return _fill(network, tensors, modules)


def encoder(tensors: Tensors) -> nn.Module:
    """`InstanceEncoder` from latest_net_E.pth."""
    shape = _trunk_shape(tensors)
    if shape.pop("blocks"):
        raise ModelFileError("These weights have residual blocks, which an encoder lacks: are they a generator's?")
    head = 4 + 6 * shape["downs"] + 1
    features = _shape(tensors, f"model.{head}.weight")[0]
    network = _empty(InstanceEncoder, features=features, norm=_norm(tensors), **shape)
    return _fill(network, tensors, _trunk_modules(shape["downs"], 0) | {f"model.{head}": "head.1"})


def _trunk_shape(tensors: Tensors) -> dict[str, int]:
    """Channels, width and depths of the official sequence `model`."""
    stem = _shape(tensors, "model.1.weight")
    slots = [n for n in _numbers(tensors, r"model\.(\d+)\.weight") if len(_shape(tensors, f"model.{n}.weight")) == 4]
    small = [n for n in slots if _shape(tensors, f"model.{n}.weight")[-1] == 3]
    blocks = len(_numbers(tensors, r"model\.(\d+)\.conv_block\.1\.weight"))
    return {"in_channels": stem[1], "width": stem[0], "downs": len(small) // 2, "blocks": blocks}


def _trunk_modules(downs: int, blocks: int) -> dict[str, str]:
    modules = {"model.1": "trunk.stem.1", "model.2": "trunk.stem.2"}
    ups = 4 + 3 * downs + blocks
    for i in range(downs):
        for slot in (3 * i, 3 * i + 1):
            modules |= {f"model.{4 + slot}": f"trunk.down.{slot}", f"model.{ups + slot}": f"trunk.up.{slot}"}
    for i in range(blocks):
        modules |= _block_modules(f"model.{4 + 3 * downs + i}", f"trunk.blocks.{i}")
    return modules


def _enhancer_modules(n: int, blocks: int) -> dict[str, str]:
    ours = f"enhancers.{n - 1}"
    modules = {f"model{n}_1.{slot}": f"{ours}.down.{slot}" for slot in (1, 2, 4, 5)}
    for i in range(blocks):
        modules |= _block_modules(f"model{n}_2.{i}", f"{ours}.blocks.{i}")
    return modules | {f"model{n}_2.{blocks + slot}": f"{ours}.up.{slot}" for slot in (0, 1)}


def _block_modules(official: str, ours: str) -> dict[str, str]:
    names = {1: "first", 2: "first_norm", 5: "second", 6: "second_norm"}
    return {f"{official}.conv_block.{slot}": f"{ours}.{name}" for slot, name in names.items()}


def _norm(tensors: Tensors) -> str:
    """Batch norm has running statistics with weights; instance norm none, or statistics alone (torch before 0.4)."""
    statistics = [name.removesuffix("running_mean") for name in tensors if name.endswith("running_mean")]
    return "batch" if any(f"{prefix}weight" in tensors for prefix in statistics) else "instance"


def _empty(network: type[nn.Module], **arguments: object) -> nn.Module:
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        return network(**arguments)


def _fill(network: nn.Module, tensors: Tensors, modules: Mapping[str, str]) -> nn.Module:
    """Move every tensor to the module of ours that its official module became."""
    wanted = network.state_dict()
    renamed: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        ours = f"{modules.get(module)}.{leaf}"
        if ours in wanted:
            renamed[ours] = tensor.float() if tensor.is_floating_point() else tensor
        elif not _is_old_statistic(name, leaf, tensors):
            unknown.append(name)
    official = {ours: theirs for theirs, ours in modules.items()}
    missing = [f"{official[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}" for n in wanted if n not in renamed]
    if unknown or missing:
        raise ModelFileError(
            f"These weights are not those of a {type(network).__name__} as their shapes suggest; "
            f"missing: {', '.join(missing[:5]) or 'none'}; left over: {', '.join(unknown[:5]) or 'none'}."
        )
    for name, tensor in renamed.items():
        if tensor.shape != wanted[name].shape:
            module, _, leaf = name.rpartition(".")
            raise ModelFileError(
                f"{official[module]}.{leaf} has shape {tuple(tensor.shape)}; {tuple(wanted[name].shape)} was expected of a "
                f"{type(network).__name__} as the other tensors suggest."
            )
    network.load_state_dict(renamed, strict=True, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def _is_old_statistic(name: str, leaf: str, tensors: Tensors) -> bool:
    """Running statistics that torch before 0.4 stored for instance norm and nobody uses."""
    prefix = name.removesuffix(leaf)
    return leaf in ("running_mean", "running_var", "num_batches_tracked") and f"{prefix}weight" not in tensors


def _numbers(tensors: Tensors, pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in tensors if (found := re.fullmatch(pattern, name))})


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ModelFileError(
            f"The weights lack {name}; the first of the {len(tensors)} names are {', '.join(list(tensors)[:3])}."
        )
    return tuple(tensors[name].shape)
