"""Names of NVIDIA's SPADE checkpoints -> ours.

Widths, depths, kernels and kinds of normalisation are read off names and shapes, and every tensor is accounted for. Weights with
spectral norm are stored under torch's old names: weight_orig, weight_u, weight_v. What no tensor tells is whether a generator
doubles the size 5 or 6 times ("normal" or "more"): that has to be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from itertools import product
from typing import Any

import torch

from gesso.errors import ModelFileError
from gesso.importers.naming import (
    STATISTICS,
    Modules,
    Official,
    Tensors,
    closest,
    conv_channels,
    fill,
    norm_of,
    numbers,
    without_weights,
)
from gesso.networks.spade import SPADE, MultiscaleDiscriminator, SpadeBlock, SpadeGenerator, StyleEncoder

BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")
BLOCK_CONVS = {"conv_0": "first", "conv_1": "second", "conv_s": "shortcut"}
BLOCK_NORMS = {"norm_0": "first_norm", "norm_1": "second_norm", "norm_s": "shortcut_norm"}
LAYER = {"param_free_norm": "norm", "mlp_shared.0": "shared", "mlp_gamma": "gamma", "mlp_beta": "beta"}
SPECTRAL_LEAVES = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"}


def kind_of(tensors: Tensors) -> str | None:
    """Which of "generator", "discriminator" and "encoder" names belong to; None if to none of them."""
    patterns = {
        "generator": rf"({'|'.join(BLOCKS)})\.(conv|norm)_[01s]\.",
        "discriminator": r"discriminator_\d+\.model\d+\.",
        "encoder": r"fc_(mu|var)\.|layer\d+\.(0\.)?weight_orig",
    }
    found = (kind for kind, pattern in patterns.items() if any(re.match(pattern, name) for name in tensors))
    return next(found, None)


def layer(tensors: Tensors) -> Official:
    """`SPADE`, one normalisation layer alone."""
    arguments = _layer_arguments(tensors, "") | {"channels": conv_channels(tensors, "mlp_gamma.weight")[0]}
    sources = ["mlp_shared.0.weight", "mlp_gamma.weight"]
    return fill(without_weights(SPADE, **arguments), _counted(tensors), LAYER, sources)


def block(tensors: Tensors) -> Official:
    """`SpadeBlock`, one residual block alone."""
    spectral = _spectral(tensors)
    last = f"conv_1.{_weight(spectral)}"
    empty = without_weights(
        SpadeBlock,
        in_channels=conv_channels(tensors, "norm_0.mlp_gamma.weight")[0],
        out_channels=conv_channels(tensors, last)[0],
        condition=partial(SPADE, **_layer_arguments(tensors, "norm_0.")),
        spectral=spectral,
    )
    modules = _block_modules("", "")
    sources = ["norm_0.mlp_shared.0.weight", "norm_0.mlp_gamma.weight", last]
    return _fill(empty, tensors, modules, sources, BLOCK_CONVS if spectral else ())


def generator(
    tensors: Tensors, *, upsampling: str | None = None, latent_grid: tuple[int, int] | None = None
) -> Official:
    """`SpadeGenerator` from latest_net_G.pth.

    Args:
        tensors: Under official names.
        upsampling: "normal", "more" or "most", the official --num_upsampling_layers; only "most" shows in the tensors.
        latent_grid: Of weights trained with --use_vae, the rows and columns that z was turned into: the height and width of
            the training size, halved 5, 6 or 7 times. When omitted, the first layout's shape decides.

    Raises:
        ModelFileError: A tensor is missing, left over or of another shape; the upsampling is not said or contradicts them.
    """
    upsampling = _upsampling(tensors, upsampling)
    names = BLOCKS if upsampling == "most" else BLOCKS[:-1]
    spectral = _spectral(tensors)
    widest, sources = f"head_0.conv_0.{_weight(spectral)}", ["head_0.norm_0.mlp_shared.0.weight", "conv_img.weight"]
    channels = conv_channels(tensors, widest)[0]
    if channels % 16:
        raise ModelFileError(
            f"{widest} has {channels} channels; the widest block has 16 times the width, a multiple of 16."
        )
    inside = _layer_arguments(tensors, "head_0.norm_0.")
    arguments = {
        "in_channels": inside.pop("semantic_channels"),
        "out_channels": conv_channels(tensors, "conv_img.weight")[0],
        "width": channels // 16,
        "upsampling": upsampling,
        **inside,
        "spectral": spectral,
        **_latent_arguments(tensors, channels, latent_grid),
    }
    modules = {"fc": "start.linear" if "latent" in arguments else "start", "conv_img": "head.1"}
    for i, name in enumerate(names):
        modules |= _block_modules(f"{name}.", f"blocks.{i}.")
    convs = [f"{name}.{conv}" for name, conv in product(names, BLOCK_CONVS)] if spectral else []
    return _fill(without_weights(SpadeGenerator, **arguments), tensors, modules, [widest, *sources], convs)


def discriminator(tensors: Tensors) -> Official:
    """`MultiscaleDiscriminator` from latest_net_D.pth."""
    pattern = r"discriminator_(\d+)\.model(\d+)\..+"
    bare = not any(re.match(r"discriminator_\d+\.model\d+\.0\.\d", name) for name in tensors)  # no norm beside the conv
    scales, layers = closest(
        [name for name in tensors if re.fullmatch(pattern, name)],
        {
            (s, j): _discriminator_modules(s, j, bare)
            for s in range(1, len(numbers(tensors, pattern)) + 1)
            for j in range(1, len(numbers(tensors, pattern, group=2)))
        },
        "a discriminator (discriminator_0.model0.*)",
    )
    modules = _discriminator_modules(scales, layers, bare)
    stem, spectral = "discriminator_0.model0.0.weight", _spectral(tensors)
    width, in_channels = conv_channels(tensors, stem)
    empty = without_weights(
        MultiscaleDiscriminator,
        in_channels=in_channels,
        width=width,
        layers=layers,
        scales=scales,
        norm="none" if bare else norm_of(tensors, modules),
        spectral=spectral,
    )
    middle = [m for m in modules if re.fullmatch(r".+model\d+\.0" if bare else r".+model\d+\.0\.0", m)]
    ends = [f"discriminator_{s}.model{j}.0" for s in range(scales) for j in (0, layers + 1)]
    return _fill(empty, tensors, modules, [stem], set(middle) - set(ends) if spectral else ())


def encoder(tensors: Tensors) -> Official:
    """`StyleEncoder` from latest_net_E.pth; one with 5 convolutions (--crop_size below 256) looks at 128x128."""
    bare = not any(re.match(r"layer\d+\.\d", name) for name in tensors)
    pattern, slot = r"layer(\d+)\..+", "" if bare else ".0"
    downs, _ = closest(
        [name for name in tensors if re.fullmatch(pattern, name)],
        {(d, 0): _encoder_modules(d, slot) for d in range(1, len(numbers(tensors, pattern)) + 1)},
        "an encoder (layer1.*)",
    )
    modules = _encoder_modules(downs, slot)
    stem = f"layer1{slot}.weight_orig"
    width, in_channels = conv_channels(tensors, stem)
    empty = without_weights(
        StyleEncoder,
        in_channels=in_channels,
        width=width,
        latent=len(tensors["fc_mu.bias"]) if "fc_mu.bias" in tensors else 256,
        downs=downs,
        norm="none" if bare else norm_of(tensors, modules),
    )
    return _fill(empty, tensors, modules, [stem, "fc_mu.bias"], [f"layer{i + 1}{slot}" for i in range(downs)])


def _upsampling(tensors: Tensors, given: str | None) -> str:
    """What was given, if the tensors do not contradict it; "most" has one block more."""
    if given not in (None, "normal", "more", "most"):
        raise ModelFileError(f"upsampling={given!r} is unknown; normal, more and most are possible.")
    most = next((name for name in tensors if name.startswith("up_4.")), None)
    if most and given in ("normal", "more"):
        raise ModelFileError(
            f"These weights were trained with --num_upsampling_layers most, as {most} shows, and cannot be loaded as {given!r}: "
            "give upsampling most, or leave it out."
        )
    if not most and given == "most":
        raise ModelFileError(
            "These weights have no block up_4 as --num_upsampling_layers most has: give upsampling normal or more, whichever "
            "they were trained with."
        )
    if not most and given is None:
        raise ModelFileError(
            "Weights trained with --num_upsampling_layers normal and more have the same tensors, so no file of weights tells "
            "them apart: give upsampling normal or more. The official models for ADE20K and COCO-Stuff are normal, that for "
            "Cityscapes is more; the options file beside the weights (opt.txt) says it too."
        )
    return given or "most"


def _layer_arguments(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """What a SPADE layer tells of the semantics and of all its kind."""
    name = f"{prefix}mlp_shared.0.weight"
    hidden, semantic_channels = conv_channels(tensors, name)
    kernel = tensors[name].shape[-1]
    return {"semantic_channels": semantic_channels, "norm": _norm_inside(tensors), "kernel": kernel, "hidden": hidden}


def _latent_arguments(tensors: Tensors, channels: int, grid: tuple[int, int] | None) -> dict[str, Any]:
    """Nothing for a generator that begins from the layout; else the size of z and the grid, as far as it is known."""
    weight = tensors.get("fc.weight")
    if weight is None or weight.dim() != 2:
        if grid and weight is not None:
            raise ModelFileError(
                "latent_grid was given, but these weights begin from the layout, not from z: leave it out."
            )
        return {}
    cells, rest = divmod(weight.shape[0], channels)
    if rest or not cells or (grid and grid[0] * grid[1] != cells):
        raise ModelFileError(
            f"fc.weight has shape {tuple(weight.shape)}: {channels} channels for each cell of a grid were expected"
            + (f", which is to have {grid[0]} rows and {grid[1]} columns." if grid else ".")
        )
    return {"latent": weight.shape[1], **({"latent_grid": tuple(grid)} if grid else {"latent_cells": cells})}


def _block_modules(official: str, ours: str) -> Modules:
    modules = {official + theirs: ours + name for theirs, name in BLOCK_CONVS.items()}
    for (theirs, name), (inside, leaf) in product(BLOCK_NORMS.items(), LAYER.items()):
        modules[f"{official}{theirs}.{inside}"] = f"{ours}{name}.{leaf}"
    return modules


def _discriminator_modules(scales: int, layers: int, bare: bool) -> Modules:
    """A convolution per layer, and a normalisation in all but the first and the last, where there is one."""
    modules: Modules = {}
    for s, j in product(range(scales), range(layers + 2)):
        official, ours = f"discriminator_{s}.model{j}.0", f"scales.{s}.layers.{j}"
        if bare or j in (0, layers + 1):
            modules[official] = f"{ours}.0"
        else:
            modules |= {f"{official}.0": f"{ours}.0", f"{official}.1": f"{ours}.1"}
    return modules


def _encoder_modules(downs: int, slot: str) -> Modules:
    modules = {f"layer{i + 1}{slot}": f"down.{3 * i}" for i in range(downs)}
    if slot:
        modules |= {f"layer{i + 1}.1": f"down.{3 * i + 1}" for i in range(downs)}
    return modules | {"fc_mu": "mean", "fc_var": "log_variance"}


def _norm_inside(tensors: Tensors) -> str:
    """Of SPADE layers: batch norms have running statistics; by its tensors the synchronised one is plain batch norm."""
    statistics = sum(name.rpartition(".")[2] in STATISTICS[:2] for name in tensors)
    return "batch" if statistics >= sum(name.endswith("mlp_shared.0.weight") for name in tensors) else "instance"


def _spectral(tensors: Tensors) -> bool:
    return any(name.endswith(".weight_orig") for name in tensors)


def _weight(spectral: bool) -> str:
    return SPECTRAL_LEAVES["weight"] if spectral else "weight"


def _counted(tensors: Tensors) -> Tensors:
    """With a count of batches beside all running statistics: official files may lack it, and nothing depends on it."""
    mean, _, count = STATISTICS
    owners = [name.removesuffix(mean) for name in tensors if name.endswith(f".{mean}")]
    return {f"{owner}{count}": torch.zeros((), dtype=torch.int64) for owner in owners} | dict(tensors)


def _fill(empty: Official, tensors: Tensors, modules: Modules, sources: list[str], spectral: Iterable[str]) -> Official:
    """As `naming.fill`, with the official modules that have spectral norm."""
    known = set(spectral)

    def leaf(module: str, name: str) -> str:
        return SPECTRAL_LEAVES.get(name, name) if module in known else name

    return fill(empty, _counted(tensors), modules, sources, leaf)
