"""What each paper varied to show what its parts are worth: groups of variants, as changes to the settings of a preset.

The first variant of a group is the published method; the others differ from it in one thing (in two where the paper crossed
them). What a group varies it sets in every variant, so that a variant means the same whatever preset it starts from; only where
terms are removed from what a preset has does the first variant change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One way to train, or one way to use what was trained.

    Attributes:
        name: Within its group; in names of folders.
        settings: What it changes.
        shares: Settings that are a share of the preset's own, rounded down and at least 1: name -> (setting, share).
        modes: Styles per class that are found after the training; 0 leaves the model file as training wrote it.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    modes: int = 0

    def changes(self, base: Any) -> dict[str, Any]:
        """All changes to a `Config`, in numbers."""
        shares = {name: max(1, int(getattr(base, of) * share)) for name, (of, share) in self.shares.items()}
        return {**self.settings, **shares}


@dataclass(frozen=True)
class Group:
    """Variants that answer one question.

    Attributes:
        question: As the report asks it.
        origin: Where the paper does.
        variants: The published method first.
    """

    question: str
    origin: str
    variants: tuple[Variant, ...]

    @property
    def decided(self) -> set[str]:
        """Names of the settings that the group sets in every variant."""
        return set.intersection(*({*variant.settings} for variant in self.variants))


def _objective(name: str, gan: float, l1: float, conditional: bool = True, **more: Any) -> Variant:
    """A variant by the weights of its terms (equation 4 of pix2pix)."""
    weights = {"objective": "", "lambda_gan": gan, "lambda_l1": l1, "conditional": conditional}
    return Variant(name, {**weights, **more})


def _losses(name: str, features: float, vgg: bool) -> Variant:
    return Variant(name, {"lambda_features": features, "vgg": vgg})


def _encoder(name: str, of_objects: bool, of_classes: bool = False, modes: int = 0) -> Variant:
    return Variant(name, {"instance_features": of_objects, "label_features": of_classes}, modes=modes)


PIX2PIX: dict[str, Group] = {
    "objective": Group(
        "Which terms does the objective need?",
        "pix2pix, section 4.2, figure 4",
        (
            _objective("L1+cGAN", 1.0, 100.0),
            _objective("L1", 0.0, 100.0),
            _objective("cGAN", 1.0, 0.0),
            _objective("GAN", 1.0, 0.0, conditional=False),
            _objective("L1+GAN", 1.0, 100.0, conditional=False),
        ),
    ),
    "skips": Group(
        "What do skip connections bring, with and without the adversarial loss?",
        "pix2pix, section 4.3, figure 5",
        (
            _objective("U-Net", 1.0, 100.0, skips=True),
            _objective("encoder-decoder", 1.0, 100.0, skips=False),
            _objective("U-Net-L1", 0.0, 100.0, skips=True),
            _objective("encoder-decoder-L1", 0.0, 100.0, skips=False),
        ),
    ),
    "patch": Group(
        "How large a patch should the discriminator judge?",
        "pix2pix, section 4.4, figure 6",
        (
            Variant("70", {"discriminator_layers": 3}),
            Variant("1", {"discriminator_layers": 0}),
            Variant("16", {"discriminator_layers": 1}),
            Variant("286", {"discriminator_layers": 5}),
        ),
    ),
}
PIX2PIXHD: dict[str, Group] = {
    "boundary": Group(
        "What does the map of object boundaries bring?",
        "pix2pixHD, section 4, comparison with and without boundary maps",
        (Variant("with", {"boundary": True}), Variant("without", {"boundary": False})),
    ),
    "losses": Group(
        "What do feature matching and the perceptual loss bring, alone and together?",
        "pix2pixHD, section 4, analysis of the loss function",
        (
            _losses("features+vgg", 10.0, True),
            _losses("features", 10.0, False),
            _losses("vgg", 0.0, True),
            _losses("neither", 0.0, False),
        ),
    ),
    "discriminators": Group(
        "How many discriminators over the image pyramid? With one, patterns are said to repeat.",
        "pix2pixHD, section 3.2 (3 in its text; 2 in the official code for 1024x512)",
        (
            Variant("2", {"discriminator_scales": 2}),
            Variant("1", {"discriminator_scales": 1}),
            Variant("3", {"discriminator_scales": 3}),
        ),
    ),
    "features": Group(
        "What does an encoder of styles bring, of objects or of classes?",
        "pix2pixHD, section 3.4",
        (_encoder("none", False), _encoder("objects", True, modes=10), _encoder("classes", False, True, modes=10)),
    ),
    "modes": Group(
        "How many styles per class should be found in a training set?",
        "pix2pixHD, section 3.4 (10 there)",
        (
            _encoder("10", True, modes=10),
            _encoder("1", True, modes=1),
            _encoder("5", True, modes=5),
            _encoder("20", True, modes=20),
        ),
    ),
}
SPADE: dict[str, Group] = {
    "kernel": Group(
        "How large should the convolutions of the modulation be?",
        "SPADE, table 4",
        (Variant("3", {"kernel": 3}), Variant("1", {"kernel": 1}), Variant("5", {"kernel": 5})),
    ),
    "norm": Group(
        "Which normalisation should be modulated?",
        "SPADE, table 4",
        (Variant("sync_batch", {"norm": "sync_batch"}), Variant("instance", {"norm": "instance"})),
    ),
    "conditioning": Group(
        "Where should the layout enter: as modulation, as channels of every layer, or at the beginning only?",
        "SPADE, section 3 and table 3",
        tuple(Variant(name, {"conditioning": name}) for name in ("spade", "concat", "input")),
    ),
    "latent": Group(
        "Should the generator begin with the layout, or with random numbers?",
        "SPADE, table 4",
        (
            Variant("layout", {"latent": 0, "style_encoder": False}),
            Variant("z", {"style_encoder": False}, {"latent": ("generator_width", 4)}),
        ),
    ),
    "losses": Group(
        "What does each term of the loss bring, by what is lost without it?",
        "SPADE, ablation of the losses; the L1 term is ours",
        (
            Variant("all"),
            Variant("no-features", {"lambda_features": 0.0}),
            Variant("no-vgg", {"vgg": False}),
            Variant("no-l1", {"lambda_l1": 0.0}),
            Variant("no-kl", {"lambda_kl": 0.0}),
        ),
    ),
    "compact": Group(
        "What is left at half the width of the generator?",
        "SPADE, section 4 (compact model)",
        (
            Variant("full"),
            Variant("half", shares={"generator_width": ("generator_width", 0.5), "hidden": ("hidden", 0.5)}),
        ),
    ),
}
ABLATIONS: dict[str, dict[str, Group]] = {"pix2pix": PIX2PIX, "pix2pixhd": PIX2PIXHD, "spade": SPADE}


def in_use(config: Any) -> dict[str, Any]:
    """The settings of a training that decide what comes of it: without its seed, names, and what belongs to parts it lacks."""
    settings = dict(config.model_dump(exclude={"seed", "preset", "objective"}))
    unused = {
        "vgg": ("lambda_vgg", "vgg_weights"),
        "style_encoder": ("lambda_kl", "encoder_width", "encoder_downs"),
        "lambda_gan": ("conditional", "gan", "discriminator_width", "discriminator_layers"),
    }
    idle = {name for part, names in unused.items() if not settings.get(part, True) for name in names}
    if settings.get("conditioning", "spade") != "spade":  # only modulation has convolutions of its own
        idle |= {"kernel", "hidden"}
    return {name: value for name, value in settings.items() if name not in idle}
