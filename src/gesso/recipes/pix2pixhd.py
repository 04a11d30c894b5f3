"""How pix2pixHD trains (arXiv 1711.11585, section 3; appendix A; official code where the text is silent).

Least-squares GAN on several scales, feature matching, optionally a perceptual loss; generator and encoder share one Adam,
the discriminators have another. One forward of the generator serves both updates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from gesso import losses
from gesso.data.warp import lay
from gesso.labels import Semantics, instance_keys
from gesso.networks import pix2pixhd as networks
from gesso.networks.frugal import checkpoint_activations
from gesso.networks.vgg import load_vgg19
from gesso.recipes import augment
from gesso.recipes.adam import adam
from gesso.recipes.monitors import monitors
from gesso.recipes.protocol import Batch, Engine, Phase, Players, TrainingConfig

NAME = "pix2pixhd"
HEAD = ("generator.head.",)  # the last convolution: another one for each width
ADVERSARIAL: dict[str, losses.Scores] = {"lsgan": losses.least_squares, "vanilla": losses.vanilla}


class Config(TrainingConfig):
    """Settings of a pix2pixHD training run."""

    generator_width: int = Field(64, ge=1, description="channels of the generator at full size")
    generator_downs: int = Field(4, ge=1, description="times the generator halves the size")
    generator_blocks: int = Field(9, ge=0, description="residual blocks of the generator")
    enhancers: int = Field(
        0, ge=0, description="local enhancers around the global generator, each of which doubles the size"
    )
    enhancer_blocks: int = Field(3, ge=0, description="residual blocks of each local enhancer")
    coarse_epochs: int = Field(
        100,
        ge=0,
        description="passes over the data at the full learning rate in which the global generator is trained alone",
    )
    coarse_epochs_decay: int = Field(
        100, ge=0, description="further passes of the global generator alone, while the learning rate falls to zero"
    )
    frozen_epochs: int = Field(
        10, ge=0, description="passes in which a new enhancer is trained alone, before all are trained together"
    )
    discriminator_width: int = Field(64, ge=1, description="channels of each discriminator's first layer")
    discriminator_layers: int = Field(3, ge=1, description="layers of stride 2 in each discriminator")
    discriminator_scales: int = Field(2, ge=1, description="discriminators over the image pyramid")
    instance_features: bool = Field(
        False, description="train an encoder of each object's style together with the generator"
    )
    label_features: bool = Field(False, description="train an encoder of each class's style instead of each object's")
    feature_channels: int = Field(3, ge=1, description="numbers that describe the style of an object")
    encoder_width: int = Field(16, ge=1, description="channels of the encoder at full size")
    encoder_downs: int = Field(4, ge=1, description="times the encoder halves the size")
    norm: Literal["instance", "batch"] = Field("instance", description="normalisation of all networks")
    doubling: Literal["transposed", "resize"] = Field(
        "transposed",
        description='how the generator doubles the size; "resize" repeats pixels and convolves, which leaves no checkerboard and '
        "takes more arithmetic; not in the paper",
    )
    gan: Literal["lsgan", "vanilla"] = Field("lsgan", description="adversarial loss")
    lambda_features: float = Field(10.0, ge=0, description="weight of feature matching")
    lambda_l1: float = Field(0.0, ge=0, description="weight of the mean absolute difference; not in the paper")
    vgg: bool = Field(False, description="perceptual loss on VGG-19")
    lambda_vgg: float = Field(10.0, ge=0, description="weight of the perceptual loss")
    vgg_weights: str | None = Field(None, description="local copy of the published VGG-19 weights")

    @model_validator(mode="after")
    def _check_networks(self) -> Config:
        if self.enhancers >= self.discriminator_scales:
            raise ValueError(
                f"--enhancers {self.enhancers} needs --discriminator-scales {self.enhancers + 1} or more: before an enhancer is "
                "added, there is one discriminator less"
            )
        if self.instance_features and self.label_features:
            raise ValueError("--instance-features and --label-features exclude each other: choose one")
        return self

    @property
    def features(self) -> int:
        """Channels that the encoder adds to the generator's input; 0 without an encoder."""
        return self.feature_channels if self.instance_features or self.label_features else 0


_CITYSCAPES_512P: dict[str, Any] = {"resize": "fixed", "height": 512, "width": 1024, "vgg": True}
_CITYSCAPES_1024P: dict[str, Any] = {
    **_CITYSCAPES_512P,
    "height": 1024,
    "width": 2048,
    "generator_width": 32,
    "enhancers": 1,
    "discriminator_scales": 3,
    "frozen_epochs": 10,
    "epochs": 40,
    "epochs_decay": 50,
}
_SMALL: dict[str, Any] = {
    "generator_width": 24,
    "generator_downs": 3,
    "generator_blocks": 4,
    "discriminator_width": 32,
    "encoder_width": 8,
    "encoder_downs": 3,
    "enhancer_blocks": 2,
}

PRESETS: dict[str, Config] = {
    # Official code, scripts of the 512p model: width 1024, batch 1, 100 + 100 epochs, all losses at their defaults.
    "pix2pixhd-cityscapes-512p": Config(preset="pix2pixhd-cityscapes-512p", **_CITYSCAPES_512P),
    # Official code, scripts of the 1024p model as remembered, not checked against them: 10 + 40 + 50 epochs after 512p.
    "pix2pixhd-cityscapes-1024p": Config(preset="pix2pixhd-cityscapes-1024p", **_CITYSCAPES_1024P),
    # Ours: trains on 2 CPU cores at 128x256. The L1 term, as in pix2pix, steadies training on little data.
    "pix2pixhd-small": Config(
        preset="pix2pixhd-small",
        **_SMALL,
        resize="fixed",
        height=128,
        width=256,
        epochs=10,
        epochs_decay=10,
        lambda_l1=10.0,
        ema=0.999,
        sample_every=500,
        save_every=500,
    ),
    # Ours, for tens of photographs: the small one with two thirds of its channels, what discriminators and layouts are changed by
    # (docs/small-data.md), and as many more passes as there are fewer photographs.
    "pix2pixhd-few": Config(
        preset="pix2pixhd-few",
        **_SMALL | {"generator_width": 16, "generator_blocks": 3, "discriminator_width": 16},
        resize="fixed",
        height=128,
        width=256,
        epochs=100,
        epochs_decay=100,
        lambda_l1=10.0,
        diffaugment="color,translation,cutout",
        warp=1.0,
        ema=0.999,
        sample_every=100,
        save_every=500,
    ),
}


def multiple(config: Config) -> int:
    """What the generator, and the encoder if there is one, can halve as often as they do."""
    return int(2 ** max(config.generator_downs + config.enhancers, config.encoder_downs if config.features else 0))


def phases(config: Config) -> list[Phase]:
    """Coarse to fine (section 3.2): the global generator at 1/2^n of the size, then one more enhancer after the other.

    A new enhancer first learns alone, for `frozen_epochs`; then all that is there is trained together. For each enhancer there
    is one more discriminator, the finest, so that all others stay at the resolution that they know (official code).
    """
    if not config.enhancers:
        return [Phase("G1", config)]
    found: list[Phase] = []
    coarse = _at(config, 0, config.coarse_epochs, config.coarse_epochs_decay)
    if coarse.epochs + coarse.epochs_decay:
        found.append(Phase("G1", coarse, 2**config.enhancers))
    for count in range(1, config.enhancers + 1):
        shrink = 2 ** (config.enhancers - count)
        together = _at(config, count, config.epochs, config.epochs_decay)
        earlier = ("generator.trunk.", *(f"generator.enhancers.{i}." for i in range(count - 1)))
        scale = f"discriminator.scales.{together.discriminator_scales - 1}."
        new: tuple[str, ...] = (f"generator.enhancers.{count - 1}.", *HEAD, scale)
        if config.frozen_epochs:
            alone = _at(config, count, config.frozen_epochs, 0)
            found.append(Phase(f"G{count + 1} alone", alone, shrink, earlier, new, HEAD))
            new = ()
        name = "+".join(f"G{i}" for i in range(1, count + 2))
        found.append(Phase(name, together, shrink, (), new, HEAD if new else ()))
    return found


def _at(config: Config, count: int, epochs: int, epochs_decay: int) -> Config:
    """The settings with so many enhancers."""
    left = config.enhancers - count
    changes = {
        "enhancers": count,
        "generator_width": config.generator_width * 2**left,
        "discriminator_scales": config.discriminator_scales - left,
        "epochs": epochs,
        "epochs_decay": epochs_decay,
    }
    return config.model_copy(update=changes)


def build(config: Config, semantics: Semantics) -> Players:
    """Generator and discriminator with their initial weights, and VGG-19 where the perceptual loss is on.

    Raises:
        WeightsError: The perceptual loss is on and its weights cannot be had.
    """
    arguments: dict[str, dict[str, Any]] = {
        "generator": {
            "in_channels": semantics.channels + config.features,
            "width": config.generator_width,
            "downs": config.generator_downs,
            "blocks": config.generator_blocks,
            "norm": config.norm,
        },
        "discriminator": {
            "in_channels": semantics.channels + 3,
            "width": config.discriminator_width,
            "layers": config.discriminator_layers,
            "scales": config.discriminator_scales,
            "norm": config.norm,
        },
    }
    if config.doubling != "transposed":  # files that were written before there was a choice keep their hashes
        arguments["generator"]["doubling"] = config.doubling
    kind: type[nn.Module] = networks.GlobalGenerator
    if config.enhancers:
        kind = networks.CoarseToFineGenerator
        arguments["generator"] |= {"enhancers": config.enhancers, "enhancer_blocks": config.enhancer_blocks}
    trained = {
        "generator": networks.initialise(kind(**arguments["generator"])),
        "discriminator": networks.initialise(networks.MultiscaleDiscriminator(**arguments["discriminator"])),
    }
    descriptions = {"generator": {"class": f"pix2pixhd.{kind.__name__}", "arguments": arguments["generator"]}}
    if not config.features:
        style = None
    else:
        style = {"channels": config.features, "regions": "label" if config.label_features else "instance"}
        encoder = {"features": config.features, "width": config.encoder_width, "downs": config.encoder_downs}
        arguments["encoder"] = {**encoder, "norm": config.norm}
        trained["encoder"] = networks.initialise(networks.InstanceEncoder(**arguments["encoder"]))
        descriptions["encoder"] = {"class": "pix2pixhd.InstanceEncoder", "arguments": arguments["encoder"]}
    frozen: dict[str, nn.Module] = {"vgg": load_vgg19(config.vgg_weights)} if config.vgg else {}
    for network in trained.values():
        checkpoint_activations(network, config.checkpoint_activations)
    return Players(trained, frozen, descriptions, style)


def optimizers(config: Config, players: Players) -> dict[str, Optimizer]:
    """Adam for generator and encoder together, Adam for the discriminators (appendix A); for what is not frozen."""
    sides = {"generator": ("generator", "encoder"), "discriminator": ("discriminator",)}
    return {
        side: adam(
            [p for n in names if n in players.trained for p in players.trained[n].parameters() if p.requires_grad],
            config.lr,
            (config.beta1, config.beta2),
        )
        for side, names in sides.items()
    }


def learning_rates(config: Config, epoch: float) -> dict[str, float]:
    """Constant for `epochs`, then one step down per epoch; the last epoch runs at lr / epochs_decay (official code)."""
    late = max(0, math.floor(epoch) - config.epochs)
    rate = config.lr * (1 - late / max(config.epochs_decay, 1))
    return {"generator": rate, "discriminator": rate}


def needs_instances(config: Config) -> bool:
    """Instance features are averaged over objects."""
    return config.instance_features


def reads_codes(config: Config) -> bool:
    """The 7x7 convolution of the global generator depends on a small neighbourhood in the layout alone."""
    return not config.features and not config.enhancers


def synthesise(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
    """Photographs (B, 3, H, W) in [-1, 1]; with an encoder, in the style of the batch's own photographs (section 3.4)."""
    return players["generator"](batch["semantics"], _own_style(config, players, batch))


def _own_style(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor | None:
    """Features (B, F, H, W) of the batch's photographs, pooled over the objects there, or zeros; None without an encoder."""
    if "encoder" not in players:
        return None
    if "image" not in batch:  # the middle of the encoder's range
        return batch["semantics"].new_zeros(len(batch["semantics"]), config.features, *batch["semantics"].shape[2:])
    regions = batch["label"] if config.label_features else instance_keys(batch["label"], batch["instance"])
    features: Tensor = players["encoder"](batch["image"], regions)
    return features


def generate(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
    """As `synthesise`, but from bent layouts where there are any: features are pooled over straight objects, laid over bent."""
    style = _own_style(config, players, batch)
    if style is not None and "seen_from" in batch:
        style = lay(style, batch["seen_from"])  # (B, F, H, W)
    seen = batch.get("seen", batch["semantics"])
    return players["generator"](batch.get("codes", seen) if style is None else seen, style)


def generator_losses(
    config: Config,
    players: Players,
    fake: Tensor,
    batch: Batch,
    judged: list[list[Tensor]],
    real: list[list[Tensor]],
    engine: Engine,
) -> dict[str, Tensor]:
    """Weighted terms of the generator's loss (equations 2 to 5)."""
    found = {"G_gan": losses.over_scales(ADVERSARIAL[config.gan], judged, True)}
    if config.lambda_features:
        # The official code weighs each layer by 4 / (layers + 1): equation 4 for the usual three layers.
        scale = config.lambda_features * 4 / (config.discriminator_layers + 1)
        found["G_features"] = scale * losses.feature_matching(judged, real)
    if config.lambda_l1:
        found["G_l1"] = config.lambda_l1 * losses.l1(fake, batch["image"])
    if "vgg" in players.frozen:
        vgg = players.frozen["vgg"]
        with engine.autocast(), torch.no_grad():
            wanted = vgg(batch["image"])
        with engine.autocast():
            found["G_vgg"] = config.lambda_vgg * losses.perceptual(vgg(fake), wanted)
    return found


def train_step(
    config: Config, players: Players, optimizers: Mapping[str, Optimizer], parts: Sequence[Batch], engine: Engine
) -> dict[str, Tensor]:
    """One update of generator (with encoder) and discriminator from one forward of the generator (official code).

    The discriminator's gradients do not depend on the generator's new weights, so all gradients are taken first, one loss
    after the other to save memory, and both updates follow; the result is that of the official order.

    Args:
        config: Weights of the losses.
        players: All networks.
        optimizers: "generator" and "discriminator".
        parts: The batch of this step, in one or more equal parts, each with `semantics` and `image`; with `codes`, if what the
            global generator sees is there as `networks.indexed.Indexed` as well, which is faster.
        engine: Fabric, or anything that offers backward, no_backward_sync and autocast.

    Returns:
        Detached means over the parts: G_gan, G_features, G_vgg, G_l1 (weighted, those in use), D_real, D_fake; monitors.
    """
    discriminator = players.trained["discriminator"]
    adversarial = ADVERSARIAL[config.gan]
    totals: dict[str, Tensor] = {}
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    for number, batch in enumerate(parts, start=1):
        with ExitStack() as unsynchronised:
            for network in players.trained.values():
                unsynchronised.enter_context(engine.no_backward_sync(network, enabled=number < len(parts)))
            semantics, image = batch["semantics"], batch["image"]
            changed = augment.draw(config.diffaugment, len(image), image.shape[2], image.shape[3], image.device)

            with engine.no_backward_sync(discriminator):  # those of the generated photograph take this gradient along
                scores = discriminator(changed(torch.cat([semantics, image], dim=1)))
                real_loss = losses.over_scales(adversarial, scores, True)
                engine.backward(0.5 * real_loss / len(parts))  # now, so that it needs no memory beside the generator's
            real = [[layer.detach() for layer in layers] for layers in scores]
            del scores

            fake = generate(config, players.trained, batch)  # (B, 3, H, W)
            discriminator.requires_grad_(False)  # the generator's loss leaves no gradient in D
            found = generator_losses(
                config, players, fake, batch, discriminator(changed(torch.cat([semantics, fake], dim=1))), real, engine
            )
            engine.backward(torch.stack(list(found.values())).sum() / len(parts))
            discriminator.requires_grad_(True)

            scores = discriminator(changed(torch.cat([semantics, fake.detach()], dim=1)))
            fake_loss = losses.over_scales(adversarial, scores, False)
            engine.backward(0.5 * fake_loss / len(parts))
            found |= {"D_real": real_loss, "D_fake": fake_loss}
            found |= monitors(real, scores, config.gan, fake, image)
        for name, value in found.items():
            totals[name] = totals.get(name, 0.0) + value.detach() / len(parts)
    for optimizer in optimizers.values():
        optimizer.step()
    return totals
