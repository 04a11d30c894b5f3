"""One file of an official code, and what it turns out to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from gesso.errors import ModelFileError
from gesso.importers import import_official, pix2pix, pix2pixhd, spade
from gesso.importers.clusters import Floats, read_clusters
from gesso.importers.files import is_npy, read_weights
from gesso.importers.naming import Tensors
from gesso.importers.options import DOUBLINGS, NO_RESNET, Options, Untold
from gesso.model_info import NetworkDescription

GENERATORS = ("global", "local", "unet", "generator")
DISCRIMINATORS = ("discriminator", "patchgan", "pixelgan")
DROPOUT = 0.5  # of the official pix2pix, where it has any


@dataclass(frozen=True)
class Part:
    """What a file holds.

    Attributes:
        path: The file.
        paper: "pix2pix", "pix2pixhd" or "spade".
        kind: As the importers call it: "global", "local", "encoder", "discriminator" (pix2pixHD), "unet", "patchgan", "pixelgan"
            (pix2pix), "generator", "encoder", "discriminator" (SPADE); or "clusters".
        network: The network, unless it is clusters.
        arguments: What the network was built with.
        centres: Clusters (K, F) by official class id.
    """

    path: Path
    paper: str
    kind: str
    network: nn.Module = field(default_factory=nn.Module)
    arguments: dict[str, Any] = field(default_factory=dict)
    centres: dict[int, Floats] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """What there can be one of: "generator", "encoder", "discriminator" or "clusters"."""
        if self.kind in GENERATORS:
            return "generator"
        return "discriminator" if self.kind in DISCRIMINATORS else self.kind

    @property
    def takes(self) -> int:
        """Channels of the network's input."""
        return int(self.arguments["in_channels"])

    @property
    def description(self) -> NetworkDescription:
        """How to build the network again."""
        return NetworkDescription(name=f"{self.paper}.{type(self.network).__name__}", arguments=self.arguments)


def read_part(path: Path, untold: Untold, options: Options) -> Part:
    """Read a file whose kind its content tells.

    Args:
        path: The file.
        untold: What the caller says of what weights leave open.
        options: What the options file of the training says of it.

    Raises:
        ModelFileError: It is missing, damaged, would run code, is no network of a known kind with all its tensors, or of one of
            which more has to be said.
    """
    if is_npy(path):
        return Part(path, "pix2pixhd", "clusters", centres=read_clusters(path))
    tensors = read_weights(path)
    try:
        paper, kind = _kind_of(tensors)
        asked = _asked(paper, kind, tensors, untold.completed(paper, options))
        found = import_official(tensors, f"{paper}.{kind}", **asked)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    return Part(path, paper, kind, found.network, found.arguments)


def _kind_of(tensors: Tensors) -> tuple[str, str]:
    """Paper and kind; pix2pixHD's patterns are the widest, so they come last."""
    for paper, importer in (("pix2pix", pix2pix), ("spade", spade), ("pix2pixhd", pix2pixhd)):
        kind: str | None = importer.kind_of(tensors)
        if kind == "global" and _is_resnet(tensors):
            raise ModelFileError(f"these are weights of a ResNet generator. {NO_RESNET}")
        if kind:
            return paper, kind
    raise ModelFileError(
        f"it holds no network of pix2pix, pix2pixHD or SPADE: its tensors are called {', '.join(list(tensors)[:3])}, ... gesso "
        "import takes the official latest_net_G.pth, latest_net_E.pth and latest_net_D.pth."
    )


def _is_resnet(tensors: Tensors) -> bool:
    """Whether a generator as pix2pixHD's is CycleGAN's after all: batch norm instead of biases, or dropout inside the blocks."""
    bare = "model.1.weight" in tensors and "model.1.bias" not in tensors and "model.2.running_mean" in tensors
    return bare or any(name.endswith(".conv_block.6.weight") and tensors[name].dim() == 4 for name in tensors)


def _asked(paper: str, kind: str, tensors: Tensors, untold: Untold) -> dict[str, Any]:
    """What an importer wants to know beside the weights.

    Raises:
        ModelFileError: It is not known.
    """
    if kind == "unet":
        dropout = 0.0 if untold.dropout is False else DROPOUT  # the official code has it unless told otherwise
        return {"dropout": dropout, "statistics": untold.statistics or "picture"}
    if (paper, kind) != ("spade", "generator"):
        return {}
    start, most = tensors.get("fc.weight"), any(name.startswith("up_4.") for name in tensors)
    doublings = DOUBLINGS.get(untold.upsampling or ("most" if most else ""))
    if (
        start is None or start.dim() != 2 or doublings is None
    ):  # it begins from the layout, or the importer will refuse it
        return {"upsampling": untold.upsampling}
    if untold.size is None:
        raise ModelFileError(
            "this generator begins from a latent vector, which it spreads over the coarsest grid of the training size: give that "
            "size with --size HEIGHTxWIDTH, such as 256x256, or the opt.txt of the training with --options."
        )
    step = 2**doublings
    if any(side % step for side in untold.size):
        raise ModelFileError(
            f"--size {untold.size[0]}x{untold.size[1]} is no multiple of {step} (upsampling {untold.upsampling or 'most'}), so "
            "it was not the size of this training."
        )
    return {"upsampling": untold.upsampling, "latent_grid": (untold.size[0] // step, untold.size[1] // step)}


def by_role(parts: Sequence[Part]) -> dict[str, Part]:
    """Generator and, where given, encoder and clusters.

    Raises:
        ModelFileError: There is no generator, two of a kind, or a discriminator.
    """
    roles: dict[str, Part] = {}
    for part in parts:
        if (role := part.role) == "discriminator":
            raise ModelFileError(
                f"{part.path} is a discriminator: give it with --discriminator, and --run for the folder that training goes on "
                "from. Synthesis does not need it."
            )
        if role in roles:
            raise ModelFileError(
                f"{roles[role].path} and {part.path} are both {role}s: a model has one. Leave one out."
            )
        roles[role] = part
    if "generator" not in roles:
        given = ", ".join(f"{part.path} ({part.kind})" for part in parts) or "nothing"
        raise ModelFileError(f"There is no generator among {given}: give latest_net_G.pth too.")
    generator = roles["generator"]
    for part in roles.values():
        refuse_other_paper(generator, part)
    return roles


def refuse_other_paper(generator: Part, part: Part) -> None:
    """See that a file is of the same code as the generator.

    Raises:
        ModelFileError: It is of another paper's.
    """
    if part.paper != generator.paper:
        raise ModelFileError(
            f"{part.path} ({part.role}) is of {part.paper}, {generator.path} of {generator.paper}: give files of one training."
        )
