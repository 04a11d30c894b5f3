"""Names of the official pix2pix checkpoints (latest_net_G.pth, latest_net_D.pth) -> ours.

The official U-Net is a block inside a block inside a block, hence names such as model.model.1.model.3.model.1.weight; slots
count activations, too. Its weights do not tell whether there was dropout, nor what batch norm takes at test time: these are
arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import Any

from gesso.errors import ModelFileError
from gesso.importers.naming import Modules, Official, Tensors, best, conv_channels, fill, shapes_of, without_weights
from gesso.networks.pix2pix import PatchDiscriminator, UNetGenerator

OUTERMOST = "model.model"
NORMS = ("batch", "instance", "none")
DEEPEST = 16  # levels that are looked for; 2^16 pixels on a side


def kind_of(tensors: Tensors) -> str | None:
    """Which of "unet", "patchgan" and "pixelgan" names belong to; None if to none of them."""
    if any(re.match(r"model\.model\.[013]\.", name) for name in tensors):
        return "unet"
    if any(re.match(r"net\.[0235]\.", name) for name in tensors):
        return "pixelgan"
    # pix2pixHD's generators begin behind a padding, with model.1, and its discriminators have other names.
    return "patchgan" if any(re.match(r"model\.0\.(weight|bias)$", name) for name in tensors) else None


def unet(tensors: Tensors, *, dropout: float = 0.0, statistics: str = "running", noise_channels: int = 0) -> Official:
    """`UNetGenerator` from latest_net_G.pth of a model trained with --netG unet_128, unet_256 or of any other depth.

    Args:
        tensors: Under official names.
        dropout: Of the network; 0.5 where the model was trained without --no_dropout and is to be noisy at test time.
        statistics: What batch norm takes in `eval()`: "running" (official --eval) or "picture" (official without it).
        noise_channels: How many of the first convolution's channels are noise; 0 in official models.

    Raises:
        ModelFileError: A tensor is missing or left over, or has another shape.
    """
    pattern = r"model\.model\.((?:1\.model\.(?:3\.model\.)*)?)\d+\.[a-z_]+"
    levels = [len(nested[1].split(".")) // 2 + 1 for name in tensors if (nested := re.fullmatch(pattern, name))]
    if not levels:
        raise ModelFileError(
            "None of the tensors is named as in a U-Net (model.model.0.*): these are other weights, or damaged."
        )
    first, last = f"{OUTERMOST}.0.weight", f"{OUTERMOST}.3.weight"
    width, in_channels = conv_channels(tensors, first)
    if noise_channels >= in_channels:
        raise ModelFileError(
            f"{first} takes {in_channels} channels, which cannot be {noise_channels} of noise and a layout."
        )
    arguments: dict[str, Any] = {
        "in_channels": in_channels - noise_channels,
        "out_channels": conv_channels(tensors, last)[1],
        "width": width,
        "dropout": float(dropout),
        "noise_channels": noise_channels,
        "statistics": statistics,
    }
    most = min(max(2, *levels), DEEPEST)
    candidates = {
        (downs, norm, skips): (
            _unet_modules(downs),
            shapes_of(UNetGenerator, **arguments, downs=downs, norm=norm, skips=skips),
        )
        for downs, norm, skips in product(range(2, most + 1), NORMS, (True, False))
    }
    downs, norm, skips = best(tensors, candidates)
    empty = without_weights(UNetGenerator, **arguments, downs=downs, norm=norm, skips=skips)
    return fill(empty, tensors, _unet_modules(downs), [first, last])


def patchgan(tensors: Tensors) -> Official:
    """`PatchDiscriminator` from latest_net_D.pth of a model trained with --netD basic or n_layers.

    Raises:
        ModelFileError: A tensor is missing or left over, or has another shape.
    """
    slots = {int(found[1]) for name in tensors if (found := re.fullmatch(r"model\.(\d+)\.[a-z_]+", name))}
    if not slots:
        raise ModelFileError(
            "None of the tensors is named as in a PatchGAN (model.0.*): these are other weights, or damaged."
        )
    return _discriminator(tensors, "model", range(1, min(len(slots), DEEPEST) + 1))


def pixelgan(tensors: Tensors) -> Official:
    """`PatchDiscriminator` of 0 layers, from latest_net_D.pth of a model trained with --netD pixel.

    Raises:
        ModelFileError: A tensor is missing or left over, or has another shape.
    """
    if not any(name.startswith("net.") for name in tensors):
        raise ModelFileError(
            "None of the tensors is named as in a PixelGAN (net.0.*): these are other weights, or damaged."
        )
    return _discriminator(tensors, "net", [0])


def _discriminator(tensors: Tensors, sequence: str, depths: Sequence[int]) -> Official:
    stem = f"{sequence}.0.weight"
    width, in_channels = conv_channels(tensors, stem)
    arguments = {"in_channels": in_channels, "width": width}
    candidates = {
        (layers, norm): (
            # Our slots are the official ones: convolution, normalisation, activation in turn.
            {f"{sequence}.{slot}": f"layers.{slot}" for slot in range(3 * layers + 6)},
            shapes_of(PatchDiscriminator, **arguments, layers=layers, norm=norm),
        )
        for layers, norm in product(depths, NORMS)
    }
    layers, norm = best(tensors, candidates)
    empty = without_weights(PatchDiscriminator, **arguments, layers=layers, norm=norm)
    return fill(empty, tensors, candidates[layers, norm][0], [stem])


def _unet_modules(downs: int) -> Modules:
    """Block by block from the outermost; each is the third slot of the one around it, but the second of the outermost."""
    modules = {f"{OUTERMOST}.0": "down.0.conv", f"{OUTERMOST}.3": f"up.{downs - 1}.conv"}
    block = f"{OUTERMOST}.1.model"
    for level in range(1, downs):
        up = f"up.{downs - 1 - level}"
        modules |= {f"{block}.1": f"down.{level}.conv"}
        if level < downs - 1:
            modules |= {f"{block}.2": f"down.{level}.norm", f"{block}.5": f"{up}.conv", f"{block}.6": f"{up}.norm"}
        else:  # the innermost has neither a normalisation on its way down nor a block inside
            modules |= {f"{block}.3": f"{up}.conv", f"{block}.4": f"{up}.norm"}
        block = f"{block}.3.model"
    return modules
