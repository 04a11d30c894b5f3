"""How pix2pix trains (arXiv 1611.07004, section 3; appendix 6.2; official code where the text is silent).

A conditional GAN loss and L1 (equation 4); the discriminator learns first, then the generator against the updated one. Other
objectives of the paper's section 4.2 (L1 alone, GAN without condition, ...) are a matter of `objective`, or of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from gesso import losses
from gesso.labels import Semantics
from gesso.networks import pix2pix as networks
from gesso.recipes import augment
from gesso.recipes.adam import adam
from gesso.recipes.monitors import monitors, saturation
from gesso.recipes.protocol import Batch, Engine, Phase, Players, TrainingConfig

NAME = "pix2pix"
ADVERSARIAL: dict[str, losses.Scores] = {"lsgan": losses.least_squares, "vanilla": losses.vanilla}
# Section 4.2: which terms an objective has; the weights are what they are if they are not given.
PUBLISHED_WEIGHTS = {"lambda_gan": 1.0, "lambda_l1": 100.0, "lambda_l2": 100.0}
TERMS: dict[str, set[str]] = {
    "L1": {"lambda_l1"},
    "L2": {"lambda_l2"},
    "GAN": {"lambda_gan"},
    "cGAN": {"lambda_gan"},
    "L1+GAN": {"lambda_gan", "lambda_l1"},
    "L1+cGAN": {"lambda_gan", "lambda_l1"},
}


class Config(TrainingConfig):
    """Settings of a pix2pix training run."""

    generator_width: int = Field(64, ge=1, description="channels of the generator's first layer")
    generator_downs: int = Field(8, ge=1, le=16, description="times the generator halves the size")
    skips: bool = Field(True, description="skip connections (U-Net); without them it is the paper's encoder-decoder")
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of values dropped in the generator's noisy layers, of which there are --generator-downs - 5",
    )
    noise_channels: int = Field(0, ge=0, description="channels of Gaussian noise beside the layout")
    norm: Literal["batch", "instance", "none"] = Field("batch", description="normalisation of all networks")
    statistics: Literal["picture", "running"] = Field(
        "picture",
        description="what batch norm takes at synthesis: statistics of each picture alone, as published, or running ones",
    )
    doubling: Literal["transposed", "resize"] = Field(
        "transposed",
        description='how the generator doubles the size; "resize" repeats pixels and convolves, which leaves no checkerboard and '
        "takes more arithmetic; not in the paper",
    )
    discriminator_width: int = Field(64, ge=1, description="channels of the discriminator's first layer")
    discriminator_layers: int = Field(
        3,
        ge=0,
        le=16,
        description="layers of stride 2 in the discriminator; it judges patches of 1, 16, 34, 70, 142, 286 pixels for 0 to 5",
    )
    objective: Literal["", "L1", "L2", "GAN", "cGAN", "L1+GAN", "L1+cGAN"] = Field(
        "",
        description="terms of the loss: sets weights that it does not name to 0, those that it names but are 0 to what is "
        "published, and --conditional; empty leaves them as they are",
    )
    conditional: bool = Field(True, description="let the discriminator see the layout beside the picture")
    gan: Literal["vanilla", "lsgan"] = Field("vanilla", description="adversarial loss")
    lambda_gan: float = Field(1.0, ge=0, description="weight of the adversarial loss; 0 trains without a discriminator")
    lambda_l1: float = Field(100.0, ge=0, description="weight of the mean absolute difference")
    lambda_l2: float = Field(0.0, ge=0, description="weight of the mean squared difference")
    schedule: Literal["even", "official"] = Field(
        "even",
        description="how the learning rate falls: over the --epochs-decay passes, the last of which still learns; or as in the "
        "official code, one pass earlier, so that the last one runs at 0",
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_objective(cls, values: Any) -> Any:
        objective = values.get("objective") if isinstance(values, dict) else None
        terms = TERMS.get(objective) if isinstance(objective, str) else None
        if not isinstance(objective, str) or terms is None:
            return values
        given = {name: values.get(name) for name in PUBLISHED_WEIGHTS}
        numbers = {name: value for name, value in given.items() if value is None or isinstance(value, int | float)}
        weights = {name: (value or PUBLISHED_WEIGHTS[name]) * (name in terms) for name, value in numbers.items()}
        conditional = {"conditional": "cGAN" in objective} if "lambda_gan" in terms else {}
        return {**values, **weights, **conditional}  # what is no number is left to be refused as what it is

    @model_validator(mode="after")
    def _check_networks(self) -> Config:
        if not self.lambda_gan + self.lambda_l1 + self.lambda_l2:
            raise ValueError(
                "--lambda-gan, --lambda-l1 and --lambda-l2 are all 0: the generator has nothing to learn from"
            )
        if self.checkpoint_activations:
            raise ValueError(
                "--checkpoint-activations is not offered by pix2pix, whose dropout would drop other values the second time; "
                "to save memory split the batch with --accumulate, or train at a smaller size"
            )
        if self.schedule == "official" and self.epochs + self.epochs_decay == 1:
            raise ValueError(
                "--schedule official trains the last pass at learning rate 0, so a single pass learns nothing; give more "
                "--epochs, or --schedule even"
            )
        return self

    @model_validator(mode="after")
    def _check_size(self) -> Config:
        """A patch of the discriminator must fit into the pictures, which are padded to what the generator takes."""
        fixed = (self.height, self.width) if self.resize == "fixed" else None
        size = self.crop or fixed
        needed, step = 3 * 2**self.discriminator_layers, 2**self.generator_downs
        if self.lambda_gan and size and any(-(-(side or 0) // step) * step < needed for side in size):
            raise ValueError(
                f"--discriminator-layers {self.discriminator_layers} takes pictures of {needed} pixels or more on each side, not "
                f"{size[0]}x{size[1]}; give fewer layers or larger pictures"
            )
        return self


# Appendix 6.2: 256x256 pictures; "random jitter" resizes them to 286x286 and crops 256x256. No boundary maps in this paper.
_SQUARE: dict[str, Any] = {"resize": "fixed", "height": 256, "width": 256, "boundary": False}
_JITTER: dict[str, Any] = {**_SQUARE, "height": 286, "width": 286, "crop": (256, 256), "flip": True}
# 200 epochs in the paper, which says nothing of a falling learning rate; that it falls over half of them is the official code's.
_LONG: dict[str, Any] = {"epochs": 100, "epochs_decay": 100, "schedule": "official"}

PRESETS: dict[str, Config] = {
    # Appendix 6.2: 400 photographs, 200 epochs, batch 1, jitter and mirroring. CMP Facades as label maps; as published A|B files,
    # where photographs are A: --direction BtoA.
    "pix2pix-facades": Config(preset="pix2pix-facades", **_JITTER, **_LONG, batch=1),
    # Appendix 6.2: 1096 pairs, 200 epochs, batch 1, jitter and mirroring. A|B files: aerial photograph to map as they are, the
    # other way with --direction BtoA.
    "pix2pix-maps": Config(preset="pix2pix-maps", **_JITTER, **_LONG, batch=1),
    # Appendix 6.2: 50 000 shoes, 15 epochs, batch 4; jitter and mirroring are mentioned for other data, not for these: none here.
    # A|B files, or a folder of edges with --input image.
    "pix2pix-edges2shoes": Config(
        preset="pix2pix-edges2shoes", **_SQUARE, flip=False, batch=4, epochs=15, epochs_decay=0
    ),
    # Appendix 6.2: ImageNet, about 6 epochs, batch 4, mirroring only. Photographs alone, with --input gray. (The paper works in
    # Lab colours; here gray to RGB.)
    "pix2pix-colourisation": Config(
        preset="pix2pix-colourisation", **_SQUARE, flip=True, batch=4, epochs=6, epochs_decay=0
    ),
    # Appendix 6.2: 17 823 pairs, 17 epochs, batch 4, jitter and mirroring. A|B files, or --sources and --images; --direction says
    # which is made of which.
    "pix2pix-day2night": Config(preset="pix2pix-day2night", **_JITTER, batch=4, epochs=17, epochs_decay=0),
    # Appendix 6.2: 2975 photographs, 200 epochs, jitter and mirroring; batch 1 in the comparison of objectives (10 where U-Net
    # and encoder-decoder are compared: --batch 10). Label maps one-hot; in colours as in the paper with --input colours.
    "pix2pix-cityscapes": Config(preset="pix2pix-cityscapes", **_JITTER, **_LONG, batch=1),
    # Section 4.6 (semantic segmentation): photograph to label map painted in its colours: --direction BtoA. The paper gives no
    # numbers of its own for this task: those of labels to photograph are taken.
    "pix2pix-cityscapes-photo2labels": Config(preset="pix2pix-cityscapes-photo2labels", **_JITTER, **_LONG, batch=1),
    # Ours: trains on 2 CPU cores at 128x256. Six halvings suffice there; instance norm, so that averaged weights need no
    # statistics of their own and no picture depends on others.
    "pix2pix-small": Config(
        preset="pix2pix-small",
        generator_width=22,
        generator_downs=6,
        discriminator_width=32,
        norm="instance",
        resize="fixed",
        height=128,
        width=256,
        boundary=False,
        epochs=10,
        epochs_decay=10,
        ema=0.999,
        sample_every=500,
        save_every=500,
    ),
}


def multiple(config: Config) -> int:
    """What the generator can halve as often as it does."""
    return int(2**config.generator_downs)


def phases(config: Config) -> list[Phase]:
    """One: everything is trained together."""
    return [Phase("training", config)]


def build(config: Config, semantics: Semantics) -> Players:
    """Generator and, where there is an adversarial loss, discriminator with their initial weights."""
    arguments: dict[str, Any] = {
        "in_channels": semantics.channels,
        "width": config.generator_width,
        "downs": config.generator_downs,
        "norm": config.norm,
        "dropout": config.dropout,
        "skips": config.skips,
        "noise_channels": config.noise_channels,
        "statistics": config.statistics,
    }
    if config.doubling != "transposed":  # files that were written before there was a choice keep their hashes
        arguments["doubling"] = config.doubling
    generator = networks.UNetGenerator(**arguments)
    trained = {"generator": networks.initialise(generator)}
    if config.lambda_gan:
        discriminator = networks.PatchDiscriminator(
            in_channels=3 + semantics.channels * config.conditional,
            width=config.discriminator_width,
            layers=config.discriminator_layers,
            norm=config.norm,
        )
        trained["discriminator"] = networks.initialise(discriminator)
    described = {"generator": {"class": "pix2pix.UNetGenerator", "arguments": arguments}}
    style = {"kind": "noise", "channels": config.noise_channels} if generator.noisy else None
    return Players(trained, {}, described, style)


def optimizers(config: Config, players: Players) -> dict[str, Optimizer]:
    """One Adam for each network (section 3.3)."""
    return {
        name: adam([p for p in network.parameters() if p.requires_grad], config.lr, (config.beta1, config.beta2))
        for name, network in players.trained.items()
    }


def learning_rates(config: Config, epoch: float) -> dict[str, float]:
    """Constant for `epochs`, then down in even steps, one per epoch; see `schedule` for where they begin.

    The official code steps its scheduler before the first epoch instead of after it, so that the learning rate falls one epoch
    early and is 0 in the last one: 3 + 4 epochs run at 1, 1, 0.8, 0.6, 0.4, 0.2, 0 of it; "even" has 1, 1, 1, 0.8, 0.6, 0.4, 0.2.
    """
    late = max(0, math.floor(epoch) + (2 if config.schedule == "official" else 1) - config.epochs)
    rate = config.lr * max(0.0, 1 - late / (config.epochs_decay + 1))
    return dict.fromkeys(("generator", "discriminator") if config.lambda_gan else ("generator",), rate)


def needs_instances(config: Config) -> bool:
    """Nothing here knows objects."""
    return False


def reads_codes(config: Config) -> bool:
    """No: one layer of many sees the layout."""
    return False


def synthesise(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
    """Photographs (B, 3, H, W) in [-1, 1]; in `eval()` without dropout; always of the same noise, so that they compare."""
    generator, semantics = players["generator"], batch["semantics"]
    if not config.noise_channels:
        return generator(semantics)
    source = torch.Generator().manual_seed(config.seed)
    noise = torch.randn(len(semantics), config.noise_channels, *semantics.shape[2:], generator=source)
    return generator(semantics, noise.to(semantics))


def generate(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
    """Photographs from new noise, and from bent layouts where there are any; dropout is as the generator's mode has it."""
    generator, semantics = players["generator"], batch.get("seen", batch["semantics"])
    if not config.noise_channels:
        return generator(semantics)
    noise = torch.randn(
        len(semantics), config.noise_channels, *semantics.shape[2:]
    )  # on the CPU: alike on every device
    return generator(semantics, noise.to(semantics))


def discriminator_losses(
    config: Config,
    discriminator: nn.Module,
    fake: Tensor,
    batch: Batch,
    changed: augment.Augmentation,
    parts: int,
    last: bool,
    engine: Engine,
) -> dict[str, Tensor]:
    """Losses of the discriminator for one of `parts` parts (equation 1), their gradients taken; halved (section 3.3)."""
    adversarial = ADVERSARIAL[config.gan]
    with engine.no_backward_sync(discriminator):  # those of the photograph take this gradient along
        fake_scores = judge(config, discriminator, fake, batch, changed)
        fake_loss = adversarial(fake_scores, False)
        engine.backward(0.5 * fake_loss / parts)
    with engine.no_backward_sync(discriminator, enabled=not last):
        real_scores = judge(config, discriminator, batch["image"], batch, changed)
        real_loss = adversarial(real_scores, True)
        engine.backward(0.5 * real_loss / parts)
    watched = monitors(real_scores, fake_scores, config.gan, fake, batch["image"])
    return {"D_real": real_loss, "D_fake": fake_loss, **watched}


def judge(
    config: Config, discriminator: nn.Module, image: Tensor, batch: Batch, changed: augment.Augmentation
) -> Tensor:
    """Scores of pictures beside their layouts, or of pictures alone without `conditional` (equations 1 and 2)."""
    return discriminator(changed(torch.cat([batch["semantics"], image], dim=1) if config.conditional else image))


def generator_losses(
    config: Config, players: Players, fake: Tensor, batch: Batch, changed: augment.Augmentation, engine: Engine
) -> dict[str, Tensor]:
    """Weighted terms of the generator's loss (equation 4)."""
    found: dict[str, Tensor] = {}
    if config.lambda_gan:
        discriminator = players.trained["discriminator"]
        with engine.no_backward_sync(discriminator):  # no gradient is left there
            scores = judge(config, discriminator, fake, batch, changed)
        found["G_gan"] = config.lambda_gan * ADVERSARIAL[config.gan](scores, True)
    if config.lambda_l1:
        found["G_l1"] = config.lambda_l1 * losses.l1(fake, batch["image"])
    if config.lambda_l2:
        found["G_l2"] = config.lambda_l2 * losses.l2(fake, batch["image"])
    return found


def train_step(
    config: Config, players: Players, optimizers: Mapping[str, Optimizer], parts: Sequence[Batch], engine: Engine
) -> dict[str, Tensor]:
    """One update of the discriminator, then one of the generator against the updated discriminator (official code).

    Both use the same forward of the generator. A batch in several parts would have to keep them all; there each part is generated
    once more for the generator's update, with new dropout and noise, so that memory holds one part at a time.

    Args:
        config: Weights of the losses.
        players: All networks.
        optimizers: "generator" and, where there is an adversarial loss, "discriminator".
        parts: The batch of this step, in one or more equal parts, each with `semantics` and `image`.
        engine: Fabric, or anything that offers backward and no_backward_sync.

    Returns:
        Detached means over the parts: G_gan, G_l1, G_l2 (weighted, those in use), D_real, D_fake; monitors.
    """
    generator, totals = players.trained["generator"], dict[str, Tensor]()
    images = [batch["image"] for batch in parts]
    changes = [augment.draw(config.diffaugment, len(x), x.shape[2], x.shape[3], x.device) for x in images]
    whole = generate(config, players.trained, parts[0]) if len(parts) == 1 else None  # (B, 3, H, W)

    if config.lambda_gan:
        discriminator = players.trained["discriminator"]
        optimizers["discriminator"].zero_grad()
        for number, (batch, changed) in enumerate(zip(parts, changes, strict=True), start=1):
            with torch.no_grad():
                fake = whole.detach() if whole is not None else generate(config, players.trained, batch)
            last = number == len(parts)
            found = discriminator_losses(config, discriminator, fake, batch, changed, len(parts), last, engine)
            _add(totals, found, len(parts))
        optimizers["discriminator"].step()
        discriminator.requires_grad_(False)  # the generator's loss leaves no gradient in D

    optimizers["generator"].zero_grad()
    for number, (batch, changed) in enumerate(zip(parts, changes, strict=True), start=1):
        with engine.no_backward_sync(generator, enabled=number < len(parts)):
            fake = whole if whole is not None else generate(config, players.trained, batch)
            found = generator_losses(config, players, fake, batch, changed, engine)
            engine.backward(torch.stack(list(found.values())).sum() / len(parts))
        watched = {} if config.lambda_gan else {"saturation": saturation(fake, batch["image"])}
        _add(totals, found | watched, len(parts))
    optimizers["generator"].step()
    if config.lambda_gan:
        discriminator.requires_grad_(True)
    return totals


def _add(totals: dict[str, Tensor], found: Mapping[str, Tensor], parts: int) -> None:
    for name, value in found.items():
        totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach() / parts
