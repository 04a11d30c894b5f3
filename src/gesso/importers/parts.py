"""One file of pix2pixHD's official code, and what it turns out to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from gesso.errors import ModelFileError
from gesso.importers import import_official
from gesso.importers.clusters import Floats, read_clusters
from gesso.importers.files import is_npy, read_weights
from gesso.importers.pix2pixhd import kind_of
from gesso.model_info import NetworkDescription


@dataclass(frozen=True)
class Part:
    """What a file holds.

    Attributes:
        path: The file.
        kind: "global", "local", "encoder", "discriminator" or "clusters".
        network: The network, unless it is clusters.
        arguments: What the network was built with.
        centres: Clusters (K, F) by official class id.
    """

    path: Path
    kind: str
    network: nn.Module = field(default_factory=nn.Module)
    arguments: dict[str, Any] = field(default_factory=dict)
    centres: dict[int, Floats] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """What there can be one of: "generator", "encoder", "discriminator" or "clusters"."""
        return "generator" if self.kind in ("global", "local") else self.kind

    @property
    def takes(self) -> int:
        """Channels of the network's input."""
        return int(self.arguments["in_channels"])

    @property
    def description(self) -> NetworkDescription:
        """How to build the network again."""
        return NetworkDescription(name=f"pix2pixhd.{type(self.network).__name__}", arguments=self.arguments)


def read_part(path: Path) -> Part:
    """Read a file whose kind its content tells.

    Raises:
        ModelFileError: It is missing, damaged, would run code, or is no network of pix2pixHD with all its tensors.
    """
    if is_npy(path):
        return Part(path, "clusters", centres=read_clusters(path))
    tensors = read_weights(path)
    kind = kind_of(tensors)
    if kind is None:
        raise ModelFileError(
            f"{path} holds no network of pix2pixHD: its tensors are called {', '.join(list(tensors)[:3])}, ... gesso import "
            "takes the official latest_net_G.pth, latest_net_E.pth and latest_net_D.pth."
        )
    try:
        found = import_official(tensors, f"pix2pixhd.{kind}")
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    return Part(path, kind, found.network, found.arguments)


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
    return roles
