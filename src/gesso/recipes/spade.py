"""How SPADE trains (arXiv 1903.07291, section 4; appendix A; official code where the text is silent).

Hinge loss on several scales, feature matching, usually a perceptual loss; with a style encoder a KL term. The generator and
the encoder share one Adam, the discriminators have another, four times as fast. After the generator's update the
discriminators learn from new pictures of the updated generator.

What differs from the official code on purpose: the KL term is the sum over the whole batch, however many processes and parts
share it; the official one is a sum over the photographs on one GPU, so that its weight changes with the number of GPUs.
Samples and validation take the mean of an encoder's distribution, where the official code draws from it. Discriminators learn
once per step (the official code can let them learn more often).
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
from gesso.labels import Semantics
from gesso.networks import spade as networks
from gesso.networks.frugal import checkpoint_activations
from gesso.networks.spade_sizes import HALVINGS, coarsest_grid
from gesso.networks.vgg import load_vgg19
from gesso.recipes import augment
from gesso.recipes.adam import adam
from gesso.recipes.monitors import monitors
from gesso.recipes.protocol import Batch, Engine, Phase, Players, TrainingConfig
from gesso.recipes.spade_checks import check

NAME = "spade"
LATENT_PER_WIDTH = 4  # numbers in a style vector: 256 for the published width (appendix A)
ADVERSARIAL: dict[str, tuple[losses.Scores, losses.Scores]] = {  # of the generator, of the discriminators
    "hinge": (losses.hinge_generator, losses.hinge_discriminator),
    "lsgan": (losses.least_squares, losses.least_squares),
    "vanilla": (losses.vanilla, losses.vanilla),
    "wasserstein": (losses.wasserstein, losses.wasserstein),
}
Outputs = list[list[Tensor]]  # of the discriminators: over scales, of layers, the scores last


class Config(TrainingConfig):
    """Settings of a SPADE training run."""

    generator_width: int = Field(
        64, ge=1, description="channels of the generator at full size; 16 times as many at its coarsest"
    )
    upsampling: Literal["normal", "more", "most"] = Field(
        "normal", description="times the generator doubles its coarsest grid: 5, 6 or 7"
    )
    norm: Literal["instance", "batch", "sync_batch"] = Field(
        "sync_batch", description="normalisation in the generator; sync_batch measures over all processes together"
    )
    kernel: int = Field(
        3,
        ge=1,
        description="size of the convolutions that turn the layout into scales and offsets; odd; --conditioning spade only",
    )
    hidden: int = Field(
        128,
        ge=1,
        description="channels between the layout and its scales and offsets; --conditioning spade only",
    )
    conditioning: Literal["spade", "concat", "input"] = Field(
        "spade",
        description="how the layout enters: by modulation; as channels beside every layer's input, which is the decoder with "
        "concatenation of the paper's table 3; or where the generator begins, scaled down, and nowhere else",
    )
    style_encoder: bool = Field(False, description="train an encoder of the photograph's style, with a KL term")
    latent: int = Field(
        0,
        ge=0,
        description="numbers in the style vector that the generator begins with; 0: with --style-encoder 4 times its width, "
        "which makes the published 256, else none, and it begins with the layout",
    )
    encoder_width: int = Field(64, ge=1, description="channels of the encoder's first layer")
    encoder_downs: int = Field(
        6,
        ge=1,
        le=10,
        description="times the encoder halves the photograph, which it first resizes to a square of 4 * 2^downs pixels, at most "
        "4 times as long as the photograph",
    )
    discriminator_width: int = Field(64, ge=1, description="channels of each discriminator's first layer")
    discriminator_layers: int = Field(3, ge=1, description="layers of stride 2 in each discriminator")
    discriminator_scales: int = Field(2, ge=1, description="discriminators over the image pyramid")
    discriminator_kind: Literal["patch", "resnet", "spade"] = Field(
        "patch", description="form of the discriminators: the paper's, or one of those that it also tried"
    )
    discriminator_norm: Literal["instance", "batch", "sync_batch", "none"] = Field(
        "instance", description="normalisation in the discriminators, beside spectral norm"
    )
    gan: Literal["hinge", "lsgan", "vanilla", "wasserstein"] = Field("hinge", description="adversarial loss")
    lambda_features: float = Field(10.0, ge=0, description="weight of feature matching")
    lambda_l1: float = Field(0.0, ge=0, description="weight of the mean absolute difference; not in the paper")
    vgg: bool = Field(False, description="perceptual loss on VGG-19")
    lambda_vgg: float = Field(10.0, ge=0, description="weight of the perceptual loss")
    vgg_weights: str | None = Field(None, description="local copy of the published VGG-19 weights")
    lambda_kl: float = Field(
        0.05,
        ge=0,
        description="weight of the KL term with --style-encoder, which is a sum over all photographs of a step",
    )
    ttur: bool = Field(
        True, description="two learning rates: half of --lr for the generator, twice for the discriminators"
    )
    beta1: float | None = Field(  # type: ignore[assignment]  # None: what goes with ttur
        None, ge=0, lt=1, description="Adam's decay of the mean gradient; by default 0 with --ttur, else 0.5"
    )
    beta2: float | None = Field(  # type: ignore[assignment]
        None,
        ge=0,
        lt=1,
        description="Adam's decay of the mean squared gradient; by default 0.9 with --ttur, else 0.999",
    )

    @model_validator(mode="after")
    def _check_networks(self) -> Config:
        check(self)
        return self

    @property
    def latent_size(self) -> int:
        """Numbers in the style vector; 0 for a generator that begins with the layout."""
        return self.latent or (LATENT_PER_WIDTH * self.generator_width if self.style_encoder else 0)

    @property
    def training_size(self) -> tuple[int, int] | None:
        """Height and width that is trained at, before padding; None where it depends on the photograph."""
        if self.crop:
            return self.crop
        return (self.height, self.width) if self.resize == "fixed" and self.height and self.width else None

    @property
    def latent_grid(self) -> tuple[int, int] | None:
        """Rows and columns that a style vector is first spread over; None without one, or where that is not known."""
        return coarsest_grid(self.training_size, self.upsampling) if self.latent_size and self.training_size else None

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's decays: what was given, or else what goes with the learning rates.

        The paper's text says 0 and 0.999, its experiments used 0 and 0.9, as the official code does (its issue 50).
        """
        first, second = (0.0, 0.9) if self.ttur else (0.5, 0.999)
        return first if self.beta1 is None else self.beta1, second if self.beta2 is None else self.beta2


# Published trainings ran on 8 GPUs (section 4), and the official KL term is a sum over the photographs of one of them, averaged
# over GPUs. Ours is a sum over all: the same training needs an eighth of the published weight, 0.05 (appendix A).
_PUBLISHED: dict[str, Any] = {"vgg": True, "lambda_kl": 0.05 / 8}
_200_EPOCHS: dict[str, Any] = {"epochs": 100, "epochs_decay": 100}  # paper's text: the rate falls from epoch 100 to 200
_512X256: dict[str, Any] = {"resize": "fixed", "height": 256, "width": 512}
_286_TO_256: dict[str, Any] = {"resize": "fixed", "height": 286, "width": 286, "crop": (256, 256)}
# Paper's text (appendix A): size, epochs. Official code: batch 16 (the text says 32 for all data sets), "more" upsampling.
_CITYSCAPES = _PUBLISHED | _512X256 | _200_EPOCHS | {"batch": 16, "upsampling": "more"}
# Paper's text: 256x256, batch 32. Official code: resized to 286, as remembered, not checked against it; no boundary channel.
_ADE20K = _PUBLISHED | _286_TO_256 | _200_EPOCHS | {"batch": 32, "boundary": False}
# Paper's text: 50 epochs, batch 32, style encoder (sections 3 and 4), at 256x256. The size here is that of the demonstration, of
# which neither resizing nor upsampling was published: both are ours.
_512_CROP: dict[str, Any] = {"resize": "scale_shortside", "height": 512, "crop": (512, 512)}
_50_EPOCHS: dict[str, Any] = {"epochs": 50, "epochs_decay": 0}
_LANDSCAPES = (
    _PUBLISHED | _512_CROP | _50_EPOCHS | {"batch": 32, "upsampling": "more", "boundary": False, "style_encoder": True}
)
_OURS: dict[str, Any] = {"ema": 0.999, "sample_every": 500, "save_every": 500}
_SMALL = _OURS | {
    "resize": "fixed",
    "height": 128,
    "width": 256,
    "norm": "instance",
    "encoder_width": 6,
    "encoder_downs": 5,
}
_SMALL |= {"lambda_kl": 0.05 / 8, "lambda_l1": 10.0, "ttur": False, "epochs": 10, "epochs_decay": 10}

PRESETS: dict[str, Config] = {
    "spade-cityscapes": Config(preset="spade-cityscapes", **_CITYSCAPES),
    "spade-ade20k": Config(preset="spade-ade20k", **_ADE20K),
    # A part of ADE20K (section 4); the text gives no other settings for it.
    "spade-ade20k-outdoor": Config(preset="spade-ade20k-outdoor", **_ADE20K),
    # Paper's text: 100 epochs; it names no decay for this data set. Official code: with boundary channel.
    "spade-coco": Config(preset="spade-coco", **_ADE20K | {"boundary": None, "epochs_decay": 0}),
    "spade-landscapes-512": Config(preset="spade-landscapes-512", **_LANDSCAPES),
    # Ours: half the width of spade-cityscapes throughout, a quarter of its arithmetic.
    "spade-compact": Config(
        preset="spade-compact",
        **_CITYSCAPES | _OURS,
        generator_width=32,
        hidden=64,
        encoder_width=32,
        discriminator_width=32,
    ),
    # Ours: trains on 2 CPU cores at 128x256. Instance norm, as photographs are seen one at a time; equal learning rates, as
    # short trainings need a faster generator than TTUR gives; the L1 term, as in pix2pix, steadies training on little data. The
    # KL term weighs what it weighed per photograph in the published training: at 0.05 z says next to nothing of the light.
    "spade-small": Config(preset="spade-small", **_SMALL, generator_width=12, hidden=24, discriminator_width=32),
    # Ours, for tens of photographs: the small one with two thirds of its channels, half of the discriminators', and more passes.
    "spade-few": Config(
        preset="spade-few",
        **_SMALL | {"epochs": 100, "epochs_decay": 100, "sample_every": 100},
        generator_width=8,
        hidden=16,
        discriminator_width=16,
        diffaugment="color,translation,cutout",
        warp=1.0,
    ),
}


def multiple(config: Config) -> int:
    """What the generator doubles its coarsest grid to."""
    return int(2 ** HALVINGS[config.upsampling])


def phases(config: Config) -> list[Phase]:
    """One: everything is trained together."""
    return [Phase("all", config)]


def build(config: Config, semantics: Semantics) -> Players:
    """Generator, discriminators and, if wanted, style encoder with their initial weights; VGG-19 for the perceptual loss.

    Raises:
        WeightsError: The perceptual loss is on and its weights cannot be had.
    """
    generator: dict[str, Any] = {
        "in_channels": semantics.channels,
        "width": config.generator_width,
        "upsampling": config.upsampling,
        "norm": config.norm,
        "kernel": config.kernel,
        "hidden": config.hidden,
        "latent": config.latent_size,
        "latent_grid": config.latent_grid,
        "conditioning": config.conditioning,
    }
    discriminator: dict[str, Any] = {
        "in_channels": semantics.channels + 3,
        "width": config.discriminator_width,
        "layers": config.discriminator_layers,
        "scales": config.discriminator_scales,
        "norm": config.discriminator_norm,
        "kind": config.discriminator_kind,
        "semantic_channels": semantics.channels if config.discriminator_kind == "spade" else 0,
    }
    trained = {
        "generator": networks.initialise(networks.SpadeGenerator(**generator)),
        "discriminator": networks.initialise(networks.MultiscaleDiscriminator(**discriminator)),
    }
    descriptions = {"generator": {"class": "spade.SpadeGenerator", "arguments": generator}}
    if config.style_encoder:
        encoder: dict[str, Any] = {
            "width": config.encoder_width,
            "latent": config.latent_size,
            "downs": config.encoder_downs,
        }
        trained["encoder"] = networks.initialise(networks.StyleEncoder(**encoder))
        descriptions["encoder"] = {"class": "spade.StyleEncoder", "arguments": encoder}
    frozen: dict[str, nn.Module] = {"vgg": load_vgg19(config.vgg_weights)} if config.vgg else {}
    for network in trained.values():
        checkpoint_activations(network, config.checkpoint_activations)
    style = {"kind": "z", "channels": config.latent_size} if config.latent_size else None
    return Players(trained, frozen, descriptions, style)


def optimizers(config: Config, players: Players) -> dict[str, Optimizer]:
    """Adam for generator and encoder together, Adam for the discriminators (section 4), each at its first learning rate."""
    sides = {"generator": ("generator", "encoder"), "discriminator": ("discriminator",)}
    rates = learning_rates(config, 0)
    return {
        side: adam(
            [p for n in names if n in players.trained for p in players.trained[n].parameters() if p.requires_grad],
            rates[side],
            config.betas,
        )
        for side, names in sides.items()
    }


def learning_rates(config: Config, epoch: float) -> dict[str, float]:
    """Constant for `epochs`, then one step down per epoch, to lr / epochs_decay in the last (official code).

    With `ttur` (section 4) the generator has half of it and the discriminators twice of it: 0.0001 and 0.0004.
    """
    late = max(0, math.floor(epoch) - config.epochs)
    rate = config.lr * (1 - late / max(config.epochs_decay, 1))
    return (
        {"generator": rate / 2, "discriminator": rate * 2}
        if config.ttur
        else dict.fromkeys(("generator", "discriminator"), rate)
    )


def needs_instances(config: Config) -> bool:
    """Nothing but the boundary channel is made of instances."""
    return False


def reads_codes(config: Config) -> bool:
    """Modulation depends on a small neighbourhood in the layout alone."""
    return config.conditioning == "spade"


def synthesise(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
    """Photographs (B, 3, H, W) in [-1, 1], the same at every call.

    With an encoder in the style of the batch's own photographs: the mean of what it gives. Without an encoder, or without
    photographs, style vectors are from N(0, 1) by the run's seed.
    """
    style = None
    if "encoder" in players and "image" in batch:
        style, _ = players["encoder"](batch["image"])
    elif config.latent_size:
        generator = torch.Generator().manual_seed(config.seed)
        drawn = torch.randn(len(batch["semantics"]), config.latent_size, generator=generator)
        style = drawn.to(batch["semantics"])
    return players["generator"](batch["semantics"], style)


# ------------------------------------------------------------------------------------------------------------------ a step


def generate(config: Config, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
    """Photographs in random styles: around those of their own photographs, or from N(0, 1)."""
    return _forward(config, players, batch)[0]


def train_step(
    config: Config, players: Players, optimizers: Mapping[str, Optimizer], parts: Sequence[Batch], engine: Engine
) -> dict[str, Tensor]:
    """One update of generator and encoder, then one of the discriminators from new pictures (official code).

    So all networks see two forwards in training mode: two power iterations of spectral norm, two updates of running statistics.
    A batch in several parts makes that two per part, and batch norm measures part by part.

    Args:
        config: Weights of the losses.
        players: All networks.
        optimizers: "generator" and "discriminator".
        parts: The batch of this step, in one or more equal parts, each with `semantics` and `image`; with `codes`, if what the
            generator sees is there as `networks.indexed.Indexed` as well, which is faster.
        engine: Fabric, or anything that offers backward, no_backward_sync and autocast.

    Returns:
        Detached means over the parts: G_gan, G_features, G_l1, G_vgg, G_kl (weighted, those in use), D_real, D_fake; monitors.
    """
    totals: dict[str, Tensor] = {}
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    for side, terms in (("generator", _generator_part), ("discriminator", _discriminator_part)):
        for number, batch in enumerate(parts, start=1):
            with ExitStack() as unsynchronised:
                for network in players.trained.values():
                    unsynchronised.enter_context(engine.no_backward_sync(network, enabled=number < len(parts)))
                for name, value in terms(config, players, batch, engine, len(parts)).items():
                    totals[name] = totals.get(name, 0.0) + value.detach() / len(parts)
        if side in optimizers:  # a rehearsal has none
            optimizers[side].step()
    return totals


def _generator_part(config: Config, players: Players, batch: Batch, engine: Engine, parts: int) -> dict[str, Tensor]:
    """Gradients of generator and encoder from one part of a batch; the terms of their loss."""
    discriminator = players.trained["discriminator"]
    fake, posterior = _forward(config, players.trained, batch)
    discriminator.requires_grad_(False)  # the generator's loss leaves no gradient in D
    judged, real = _judge(config, discriminator, batch, fake)
    found = generator_losses(config, players, fake, batch, judged, real, engine)
    if posterior:
        mu, logvar = posterior
        # Gradients become means over parts and processes: what is to be a sum over the batch is made as large first.
        found["G_kl"] = config.lambda_kl * (config.batch / len(mu)) * losses.kl_divergence(mu, logvar)
    engine.backward(torch.stack(list(found.values())).sum() / parts)
    discriminator.requires_grad_(True)
    return found


def _discriminator_part(
    config: Config, players: Players, batch: Batch, engine: Engine, parts: int
) -> dict[str, Tensor]:
    """Gradients of the discriminators from one part of a batch; the terms of their loss, which is not halved; monitors."""
    with torch.no_grad():
        fake, _ = _forward(config, players.trained, batch)
    judged, real = _judge(config, players.trained["discriminator"], batch, fake)
    _, adversarial = ADVERSARIAL[config.gan]
    found = {
        "D_real": losses.mean_over_scales(adversarial, real, True),
        "D_fake": losses.mean_over_scales(adversarial, judged, False),
    }
    engine.backward((found["D_real"] + found["D_fake"]) / parts)
    return found | monitors(real, judged, config.gan, fake, batch["image"])


def generator_losses(
    config: Config, players: Players, fake: Tensor, batch: Batch, judged: Outputs, real: Outputs, engine: Engine
) -> dict[str, Tensor]:
    """Weighted terms of the generator's loss, but for the KL term (appendix A)."""
    adversarial, _ = ADVERSARIAL[config.gan]
    found = {"G_gan": losses.mean_over_scales(adversarial, judged, True)}
    if config.lambda_features:
        found["G_features"] = config.lambda_features * losses.feature_matching(judged, real)
    if config.lambda_l1:
        found["G_l1"] = config.lambda_l1 * losses.l1(fake, batch["image"])
    if "vgg" in players.frozen:
        vgg = players.frozen["vgg"]
        with engine.autocast(), torch.no_grad():
            wanted = vgg(batch["image"])
        with engine.autocast():
            found["G_vgg"] = config.lambda_vgg * losses.perceptual(vgg(fake), wanted)
    return found


def _forward(
    config: Config, players: Mapping[str, nn.Module], batch: Batch
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Photographs (B, 3, H, W) in random styles and, with an encoder, the mean and log-variance (B, latent) of its styles."""
    style = posterior = None
    if "encoder" in players:
        mu, logvar = posterior = players["encoder"](batch["image"])
        style = mu + _normal_like(mu) * (0.5 * logvar).exp()  # reparameterisation (appendix A)
    elif config.latent_size:
        style = _normal_like(batch["semantics"].new_empty(len(batch["semantics"]), config.latent_size))
    seen = batch.get("codes", batch.get("seen", batch["semantics"]))
    return players["generator"](seen, style), posterior


def _normal_like(tensor: Tensor) -> Tensor:
    """From N(0, 1), drawn on the CPU: alike on every device."""
    return torch.randn(tensor.shape, dtype=tensor.dtype).to(tensor.device)


def _judge(config: Config, discriminator: nn.Module, batch: Batch, fake: Tensor) -> tuple[Outputs, Outputs]:
    """What the discriminators give for generated pictures and for photographs, in one call on both (official code)."""
    semantics, image = batch["semantics"], batch["image"]
    changed = augment.draw(config.diffaugment, len(image), image.shape[2], image.shape[3], image.device)
    pairs = [changed(torch.cat([semantics, picture], dim=1)) for picture in (fake, image)]  # (B, C + 3, H, W) each
    outputs = discriminator(torch.cat(pairs))  # of (2B, ...)
    judged = [[layer[: len(image)] for layer in layers] for layers in outputs]
    real = [[layer[len(image) :] for layer in layers] for layers in outputs]
    return judged, real
