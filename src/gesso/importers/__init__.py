"""Weights trained with the official code of each paper, one file a repository: its names to ours, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from gesso.errors import ModelFileError
from gesso.importers import pix2pix, pix2pixhd, spade
from gesso.importers.naming import Official

__all__ = ["KINDS", "load_official"]

KINDS: dict[str, Callable[..., Official]] = {
    "pix2pix.unet": pix2pix.unet,
    "pix2pix.patchgan": pix2pix.patchgan,
    "pix2pix.pixelgan": pix2pix.pixelgan,
    "pix2pixhd.global": pix2pixhd.global_generator,
    "pix2pixhd.local": pix2pixhd.coarse_to_fine_generator,
    "pix2pixhd.discriminator": pix2pixhd.discriminator,
    "pix2pixhd.encoder": pix2pixhd.encoder,
    "spade.layer": spade.layer,
    "spade.block": spade.block,
    "spade.generator": spade.generator,
    "spade.discriminator": spade.discriminator,
    "spade.encoder": spade.encoder,
}


def load_official(tensors: Mapping[str, Tensor], kind: str, **config: object) -> nn.Module:
    """Our network with official weights; its architecture is inferred from their names and shapes.

    Args:
        tensors: A state dict under the official names.
        kind: One of `KINDS`, such as "pix2pixhd.global".
        config: What the tensors cannot tell, for kinds that need it.

    Returns:
        The network, in float32.

    Raises:
        ModelFileError: The kind is unknown, a tensor is missing or left over, or a shape does not fit.
    """
    return import_official(tensors, kind, **config).network


def import_official(tensors: Mapping[str, Tensor], kind: str, **config: object) -> Official:
    """As `load_official`, with the arguments that the network was built with.

    Raises:
        ModelFileError: The kind is unknown, a tensor is missing or left over, or a shape does not fit.
    """
    if kind not in KINDS:
        raise ModelFileError(f"There is no importer for {kind!r}; known kinds are {', '.join(KINDS)}.")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ModelFileError(
                f"{name} is a {type(tensor).__name__} instead of a tensor: give the state dict itself, as the official "
                "*_net_G.pth, *_net_D.pth and *_net_E.pth hold it."
            )
    return KINDS[kind](tensors, **config)
