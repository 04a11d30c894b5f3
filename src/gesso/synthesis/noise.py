"""The style of pix2pix: noise, as dropout (section 3.2.1, at test time too) and, for models that take one, a Gaussian map.

Each layout has the random numbers of its own seed. The map is the same on every device; dropout draws on the device where it
computes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gesso.checkpoints import Model
from gesso.errors import ConfigError
from gesso.networks.pix2pix import Normalise
from gesso.synthesis.inputs import Batch, refuse_seed
from gesso.synthesis.kinds import Layout, StyleKind, Styles, Worn, one_each
from gesso.synthesis.refusals import refuse_foreign
from gesso.synthesis.style import Style

STATISTICS = ("picture", "running")
_MAP = 1  # keeps the map's random numbers apart from all others of the same seed


class NoiseStyles(StyleKind):
    """Chance decides; it can be chosen whether, and by which seed."""

    def dress(self, layouts: Batch, style: Styles, seed: int) -> list[Worn]:
        """Each layout's seed and its noise map (1, channels, H, W), which is zero without noise."""
        about = self._model.info.style
        assert about is not None, "a kind of style belongs to a style"
        count, *_, height, width = next(iter(layouts.values())).shape
        worn = []
        for one in one_each(style, count):
            refuse_foreign(one, about)
            own, noise = seed if one.seed is None else one.seed, one.noise is not False
            refuse_seed(own)
            size = (1, about.channels, height, width)
            tensor = _noise_map(size, own if noise else None) if about.channels else None
            worn.append(Worn(tensor, own, noise))
        return worn

    def prepare(self, generator: nn.Module, worn: Worn) -> None:
        """Turn the generator's dropout on or off."""
        generator.noise = worn.noise  # type: ignore[assignment]

    def encode(self, photograph: Tensor, layout: Layout | None, seed: int | None) -> Style:
        """A photograph says nothing about noise.

        Raises:
            StyleError: Always.
        """
        raise self.refusal()

    def require_encoder(self) -> None:
        """A photograph says nothing about noise.

        Raises:
            StyleError: Always.
        """
        raise self.refusal()


def _noise_map(size: tuple[int, ...], seed: int | None) -> Tensor:
    if seed is None:
        return torch.zeros(size)
    return torch.from_numpy(np.random.default_rng((seed, _MAP)).standard_normal(size, dtype=np.float32))


def override_statistics(model: Model, statistics: str | None) -> str | None:
    """Let batch norm of a model's generator take other statistics than its file says; the generator is changed.

    Returns:
        What it takes now, if that is not what the file says; else None.

    Raises:
        ConfigError: There are no such statistics, or the model has no batch norm that takes them.
    """
    if statistics is None:
        return None
    layers = [m for m in model.networks["generator"].modules() if isinstance(m, Normalise)]
    if statistics not in STATISTICS or not layers:
        raise ConfigError(
            f"The statistics {statistics!r} were asked for. Those of batch norm in pix2pix are picture (each picture's own, as "
            f"published) or running (of training){'' if layers else '; this model has no such batch norm, so leave them out'}."
        )
    for layer in layers:
        layer.of_picture = statistics == "picture"
    said = model.info.networks["generator"].arguments.get("statistics", "running")
    return None if statistics == said else statistics
