"""Settings of SPADE that do not go together, or not with the size that is trained at."""

from __future__ import annotations

import math
from typing import Any

from gesso.networks.spade import ENCODER_GRID
from gesso.networks.spade_sizes import Size, coarsest_grid, padded, refuse_single_pixels

LARGEST_ENCODER = 4  # times the longer side of what is trained at: beyond it the encoder looks at its own interpolation


def check(config: Any) -> None:
    """Refuse what cannot work, before anything is built.

    Args:
        config: The `Config` of `gesso.recipes.spade`, which calls this.

    Raises:
        ValueError: The message names the flags, and what to give instead.
    """
    if config.kernel % 2 == 0:
        raise ValueError(
            f"--kernel {config.kernel} is even: the layout would shift by half a pixel; give an odd number"
        )
    if config.upsampling == "most" and config.generator_width < 2:
        raise ValueError(
            "--upsampling most halves the channels once more: --generator-width 1 is too little, give 2 or more"
        )
    if config.latent_size and config.latent_grid is None:
        raise ValueError(
            f"{'--style-encoder' if config.style_encoder else '--latent'} needs the training size to be known beforehand: "
            "give --crop, or --resize fixed with --height and --width"
        )
    if config.latent_size and config.conditioning == "input":
        raise ValueError(
            "--conditioning input shows the layout where the generator begins, which would begin with random numbers: leave out "
            f"{'--style-encoder' if config.style_encoder else '--latent'}"
        )
    if config.training_size:
        _check_size(config, config.training_size)


def _check_size(config: Any, size: Size) -> None:
    if math.prod(coarsest_grid(size, config.upsampling)) == 1:
        _check_one_by_one(config, size)
    if config.style_encoder:
        _check_encoder(config, size)
    refuse_single_pixels(
        config.discriminator_kind,
        config.discriminator_layers,
        config.discriminator_scales,
        config.discriminator_norm,
        padded(size, config.upsampling),
    )


def _check_one_by_one(config: Any, size: Size) -> None:
    """A normalisation needs more than one value per channel."""
    if config.norm == "instance" or config.batch == config.accumulate:
        several = "" if config.norm == "instance" else ", or more photographs at once by --batch"
        raise ValueError(
            f"--norm {config.norm} has a single value per channel to normalise at {size[0]}x{size[1]} with --upsampling "
            f"{config.upsampling}, whose coarsest grid is then 1x1: train at a larger size, with less --upsampling{several}"
        )


def _check_encoder(config: Any, size: Size) -> None:
    side, largest = ENCODER_GRID * 2**config.encoder_downs, LARGEST_ENCODER * max(size)
    if side > largest:
        fitting = max(1, (largest // ENCODER_GRID).bit_length() - 1)
        raise ValueError(
            f"--encoder-downs {config.encoder_downs} lets the encoder look at squares of {side}x{side} pixels, more than "
            f"{LARGEST_ENCODER} times as long as the photographs of {size[0]}x{size[1]}: give {fitting} or less"
        )
