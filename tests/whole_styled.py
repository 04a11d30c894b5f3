"""Tiny models whose style is one of the whole picture (SPADE, pix2pix): what the tests of these styles share.

Layouts and photographs are those of `styled`; both models were trained at 32x64, as they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gesso.checkpoints import save_model
from gesso.data.preprocessing import Preprocessing
from gesso.labels import Semantics
from gesso.model_info import ModelInfo, NetworkDescription, StyleDescription
from gesso.networks import pix2pix, spade
from styled import SIZE, SPACE

LATENT = 8


def write_spade_model(
    path: Path, encoder: bool = True, grid: tuple[int, int] | None = (1, 2), norm: str = "instance"
) -> Path:
    """SPADE from 8 numbers, sizes in multiples of 32; without a grid it knows only that there are two cells."""
    arguments: dict[str, dict[str, Any]] = {
        "generator": {
            "in_channels": len(SPACE) + 1,
            "width": 2,
            "hidden": 4,
            "latent": LATENT,
            "norm": norm,
            **({"latent_grid": grid} if grid else {"latent_cells": 2}),
        },
        "encoder": {"width": 2, "latent": LATENT, "downs": 3},
    }
    classes = {"generator": spade.SpadeGenerator, "encoder": spade.StyleEncoder}
    names = ["generator", "encoder"] if encoder else ["generator"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        networks = {name: spade.initialise(classes[name](**arguments[name]), gain=1.0) for name in names}
    return _write(path, "spade", networks, arguments, StyleDescription(kind="z", channels=LATENT))


def write_pix2pix_model(
    path: Path, noise_channels: int = 0, dropout: float = 0.5, norm: str = "batch", pictures: bool = False
) -> Path:
    """A U-Net with dropout, sizes in multiples of 64; batch norm by each picture's own statistics."""
    arguments = {
        "in_channels": 3 if pictures else len(SPACE) + 1,
        "width": 4,
        "downs": 6,
        "norm": norm,
        "dropout": dropout,
        "noise_channels": noise_channels,
        "statistics": "picture",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        generator = pix2pix.UNetGenerator(**arguments)  # type: ignore[arg-type]
        for parameter in generator.parameters():
            nn.init.normal_(parameter, 0.0, 0.3)
    style = StyleDescription(kind="noise", channels=noise_channels)
    return _write(path, "pix2pix", {"generator": generator}, {"generator": arguments}, style, pictures)


def _write(
    path: Path,
    recipe: str,
    networks: Mapping[str, nn.Module],
    arguments: Mapping[str, dict[str, Any]],
    style: StyleDescription,
    pictures: bool = False,
) -> Path:
    info = ModelInfo(
        recipe=recipe,
        networks={
            name: NetworkDescription(name=f"{recipe}.{type(network).__name__}", arguments=arguments[name])
            for name, network in networks.items()
        },
        label_space=None if pictures else SPACE,
        semantics=Semantics(source_channels=3) if pictures else Semantics(classes=len(SPACE), dont_care=True),
        preprocessing=Preprocessing(resize="fixed", height=SIZE[0], width=SIZE[1]).model_dump(mode="json"),
        style=style,
    )
    save_model(path, networks, info)
    return path
