"""Names of NVIDIA's pix2pixHD checkpoints -> ours.

Each builder finds the depths for which the official names are explained best, reads widths off a few tensors, and then
accounts for every tensor: one that is missing, left over or of another shape is an error that names it. Slots of the
official sequences also count layers without weights, hence the gaps in the numbers.
"""

from __future__ import annotations

import re
from itertools import product

from gesso.errors import ModelFileError
from gesso.importers.naming import (
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
from gesso.networks.pix2pixhd import (
    CoarseToFineGenerator,
    GlobalGenerator,
    InstanceEncoder,
    MultiscaleDiscriminator,
)

PHOTOGRAPH_CHANNELS = 3


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
    width, in_channels = conv_channels(tensors, stem)
    if not blocks and in_channels == PHOTOGRAPH_CHANNELS:
        raise ModelFileError(
            "These weights take a photograph and have no residual blocks: import an encoder (latest_net_E.pth) as "
            "pix2pixhd.encoder."
        )
    modules = _trunk_modules(downs, blocks) | {head: "head.1"}
    empty = without_weights(
        GlobalGenerator,
        in_channels=in_channels,
        out_channels=conv_channels(tensors, f"{head}.weight")[0],
        width=width,
        downs=downs,
        blocks=blocks,
        norm=norm_of(tensors, modules),
    )
    return fill(empty, tensors, modules, [stem, f"{head}.weight"])


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
    width, in_channels = conv_channels(tensors, stem)
    modules = _trunk_modules(downs, blocks) | _enhancers_modules(enhancers, enhancer_blocks) | {head: "head.1"}
    empty = without_weights(
        CoarseToFineGenerator,
        in_channels=in_channels,
        out_channels=conv_channels(tensors, f"{head}.weight")[0],
        width=width,
        downs=downs,
        blocks=blocks,
        enhancers=enhancers,
        enhancer_blocks=enhancer_blocks,
        norm=norm_of(tensors, modules),
    )
    return fill(empty, tensors, modules, [stem, f"{head}.weight"])


def discriminator(tensors: Tensors) -> Official:
    """`MultiscaleDiscriminator` from latest_net_D.pth, trained with or without feature matching."""
    with_features = 2 * sum(name.startswith("scale") for name in tensors) > len(tensors)
    pattern = r"scale(\d+)_layer(\d+)\..+" if with_features else r"layer(\d+)\.(\d+)\..+"
    scales, layers = closest(
        [name for name in tensors if re.fullmatch(pattern, name)],
        {
            (s, j): _discriminator_modules(s, j, with_features)
            for s in range(1, len(numbers(tensors, pattern)) + 1)
            for j in range(1, len(numbers(tensors, pattern, group=2)))
        },
        "a discriminator (scale0_layer0.* or layer0.*)",
    )
    modules = _discriminator_modules(scales, layers, with_features)
    stem = "scale0_layer0.0.weight" if with_features else "layer0.0.weight"
    width, in_channels = conv_channels(tensors, stem)
    empty = without_weights(
        MultiscaleDiscriminator,
        in_channels=in_channels,
        width=width,
        layers=layers,
        scales=scales,
        norm=norm_of(tensors, modules),
    )
    return fill(empty, tensors, modules, [stem])


def encoder(tensors: Tensors) -> Official:
    """`InstanceEncoder` from latest_net_E.pth."""
    downs, blocks = _trunk_depths(tensors)
    if blocks:
        raise ModelFileError(
            "These weights have residual blocks, which an encoder lacks: import a generator (latest_net_G.pth) as "
            "pix2pixhd.global or pix2pixhd.local."
        )
    stem, head = "model.1.weight", f"model.{5 + 6 * downs}"
    width, in_channels = conv_channels(tensors, stem)
    modules = _trunk_modules(downs, 0) | {head: "head.1"}
    empty = without_weights(
        InstanceEncoder,
        in_channels=in_channels,
        features=conv_channels(tensors, f"{head}.weight")[0],
        width=width,
        downs=downs,
        norm=norm_of(tensors, modules),
    )
    return fill(empty, tensors, modules, [stem, f"{head}.weight"])


def _trunk_depths(tensors: Tensors) -> tuple[int, int]:
    """How often the official sequence `model` halves the size, and its residual blocks."""
    names = [name for name in tensors if name.startswith("model.")]
    most_downs = len(numbers(names, r"model\.(\d+)\..+")) // 2
    most_blocks = len(numbers(names, r"model\.(\d+)\.conv_block\..+"))
    depths = product(range(most_downs + 1), range(most_blocks + 1)) if names else ()
    return closest(names, {d: _trunk_modules(*d) for d in depths}, "a generator or encoder (model.*)")


def _enhancer_depths(tensors: Tensors) -> tuple[int, int]:
    """How many local enhancers, and residual blocks of each."""
    names = [name for name in tensors if re.match(r"model\d+_[12]\.", name)]
    most = len(numbers(names, r"model(\d+)_[12]\..+"))
    most_blocks = len(numbers(names, r"model\d+_2\.(\d+)\.conv_block\..+"))
    depths = product(range(1, most + 1), range(most_blocks + 1))
    return closest(names, {d: _enhancers_modules(*d) for d in depths}, "local enhancers (model1_1.*)")


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
