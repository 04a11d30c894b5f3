"""Training steps of the reference and of gesso, from the same weights, as functions of a layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from reference import hand_over, semantics_of, steps
from reference import pix2pixhd as plain_pix2pixhd
from reference import spade as plain_spade
from torch import Tensor, nn

from contest.cases import CLASSES, Case
from contest.contenders import CHANNELS, PLAIN, SEMANTICS, Compute, in_these_ways
from contest.layouts import Layout
from gesso.batches import with_semantics
from gesso.recipes import pix2pixhd, spade

RECIPES = {"spade": spade, "pix2pixhd": pix2pixhd}
JUDGES = {"spade": plain_spade.Discriminator, "pix2pixhd": plain_pix2pixhd.Discriminator}


def both(
    case: Case, wanted: list[str], device: str, equal: bool, dtype: torch.dtype = torch.float32
) -> dict[str, Compute]:
    """Contenders, each of which takes networks of its own through the same training.

    Args:
        case: What is measured.
        wanted: Names of contenders.
        device: Where to compute.
        equal: Whether all begin with the same weights, which takes memory.
        dtype: Of weights and data.
    """
    torch.manual_seed(0)
    weights = RECIPES[case.paper].build(_config(case), SEMANTICS).trained if equal else None
    found = {}
    for name in wanted:
        side, *ways = name.split()
        make = _reference_step if side == "reference" else _gesso_step
        found[name] = make(case, weights, device, dtype, ways)
    return found


def _config(case: Case, bf16: bool = False) -> Any:
    generator = {"width": "generator_width", "downs": "generator_downs", "blocks": "generator_blocks"}
    settings = {generator.get(name, name): value for name, value in case.generator.items()}
    settings |= {f"discriminator_{name}": value for name, value in case.discriminator.items()}
    return RECIPES[case.paper].Config(**settings, precision="bf16-mixed" if bf16 else "32-true")


def _image(layout: Layout, number: int) -> Tensor:
    drawn = torch.rand(1, 3, *layout.label.shape[1:], generator=torch.Generator().manual_seed(number))
    return (drawn * 2 - 1).to(layout.label.device)


def _reference_step(
    case: Case, weights: Mapping[str, nn.Module] | None, device: str, dtype: torch.dtype, ways: list[str]
) -> Compute:
    sides = {
        "generator": PLAIN[case.network](CHANNELS, **case.generator),
        "discriminator": JUDGES[case.paper](CHANNELS + 3, **case.discriminator),
    }
    for name, network in sides.items():
        if weights:
            hand_over(weights[name], network)
        network.to(device, dtype).train()
    generator, discriminator = sides.values()
    adams = getattr(steps, f"{case.paper}_adams")(generator, discriminator)
    _, precision = in_these_ways(generator, device, ways)

    def compute(layout: Layout, number: int) -> dict[str, Tensor]:
        semantics = semantics_of(*layout, CLASSES).to(dtype)
        with precision():
            step = getattr(steps, case.paper)
            return step(generator, discriminator, adams, semantics, _image(layout, number).to(dtype))

    return compute


def _gesso_step(
    case: Case, weights: Mapping[str, nn.Module] | None, device: str, dtype: torch.dtype, ways: list[str]
) -> Compute:
    """The recipe's own step with Fabric around its networks, as in `gesso.train.fit`."""
    recipe, config = RECIPES[case.paper], _config(case, "bf16" in ways)
    fabric = Fabric(accelerator="cuda" if device.startswith("cuda") else "cpu", devices=1, precision=config.precision)
    players = recipe.build(config, SEMANTICS)
    for name, network in players.trained.items():
        if weights:
            hand_over(weights[name], network)
        network.to(device, dtype).train()
    optimizers = recipe.optimizers(config, players)
    codes = device == "cpu" and recipe.reads_codes(config)
    players.trained = {name: fabric.setup_module(network) for name, network in players.trained.items()}

    def compute(layout: Layout, number: int) -> dict[str, Tensor]:
        batch = {"label": layout.label, "instance": layout.instance, "image": _image(layout, number)}
        batch = {name: _as(value, dtype) for name, value in with_semantics(batch, SEMANTICS, codes).items()}
        return recipe.train_step(config, players, optimizers, [batch], fabric)

    return compute


def _as(value: Any, dtype: torch.dtype) -> Any:
    """Numbers in this format, whether dense or behind codes."""
    if hasattr(value, "with_vectors"):
        return value.with_vectors(value.vectors.to(dtype))
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
