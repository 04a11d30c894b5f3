"""How pix2pixHD trains: settings, learning rates, terms of the losses, and four steps in figures."""

from __future__ import annotations

import copy
import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gesso import labels, losses
from gesso.errors import WeightsError
from gesso.networks.pix2pixhd import GlobalGenerator, InstanceEncoder, MultiscaleDiscriminator
from gesso.networks.vgg import TAPS, VGG19
from gesso.recipes import RECIPES, pix2pixhd
from gesso.recipes.monitors import MONITORS
from gesso.recipes.protocol import Players
from support import PlainEngine

CLASSES, HEIGHT, WIDTH = 4, 32, 32
ALL_PRESETS = [(name, preset) for name, recipe in RECIPES.items() for preset in recipe.PRESETS]
Losses = dict[str, Tensor]


# --- settings ---


@pytest.mark.parametrize(("name", "preset"), ALL_PRESETS)
def test_presets_come_back_from_json(name: str, preset: str) -> None:
    recipe = RECIPES[name]
    config = recipe.PRESETS[preset]
    assert config.preset == preset
    assert recipe.Config(**json.loads(config.model_dump_json())) == config
    assert recipe.Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(("name", "preset"), ALL_PRESETS)
def test_presets_resize_to_what_their_generator_takes(name: str, preset: str) -> None:
    config, multiple = RECIPES[name].PRESETS[preset], RECIPES[name].multiple(RECIPES[name].PRESETS[preset])
    height, width = config.crop or (config.height, config.width)
    assert height % multiple == 0
    assert width % multiple == 0


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_is_described_and_frozen(name: str) -> None:
    config = RECIPES[name].Config()
    for field, info in type(config).model_fields.items():
        assert info.description, field
    with pytest.raises(ValidationError, match="frozen"):
        config.lr = 1.0


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": 0, "epochs_decay": 0}, "--epochs and --epochs-decay are both 0"),
        ({"batch": 3, "accumulate": 2}, "--batch 3 cannot be split into --accumulate 2"),
        ({"resize": "fixed"}, "--resize fixed needs --height and --width"),
        ({"resize": "fixed", "height": 64}, "--resize fixed needs --height and --width"),
        ({"resize": "scale_width"}, "--resize scale_width needs --width"),
        ({"resize": "scale_shortside"}, "--resize scale_shortside needs --height"),
    ],
)
def test_contradictions_name_the_flag(name: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        RECIPES[name].Config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"lambda_feature": 1.0}, {"lr": 0.0}, {"beta1": 1.0}, {"batch": 0}, {"norm": "group"}, {"gan": "wgan"},
        {"lambda_l1": -1.0}, {"discriminator_scales": 0}, {"resize": "stretch"}, {"precision": "16-mixed"},
    ],
)  # fmt: skip
def test_unknown_keys_and_impossible_values_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        pix2pixhd.Config(**settings)


def test_defaults_are_the_official_ones() -> None:
    config = pix2pixhd.Config()
    assert (config.lr, config.beta1, config.beta2, config.batch) == (2e-4, 0.5, 0.999, 1)
    assert (config.epochs, config.epochs_decay) == (100, 100)
    assert (config.generator_width, config.generator_downs, config.generator_blocks) == (64, 4, 9)
    assert (config.discriminator_width, config.discriminator_layers, config.discriminator_scales) == (64, 3, 2)
    assert (config.gan, config.lambda_features, config.lambda_vgg, config.lambda_l1) == ("lsgan", 10.0, 10.0, 0.0)
    assert config.norm == "instance"


# --- learning rates ---


def rates(config: pix2pixhd.Config, epochs: list[float]) -> list[float]:
    found = [pix2pixhd.learning_rates(config, epoch) for epoch in epochs]
    assert all(rate.keys() == {"generator", "discriminator"} and len(set(rate.values())) == 1 for rate in found)
    return [rate["generator"] / config.lr for rate in found]


def test_learning_rates_are_the_official_ones() -> None:
    config = pix2pixhd.Config(epochs=3, epochs_decay=4, lr=1e-3)
    assert rates(config, [0, 1, 2, 3, 4, 5, 6]) == pytest.approx([1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert rates(config, [7]) == pytest.approx([0])  # the end: nothing is trained at this rate


def test_learning_rates_step_once_per_epoch() -> None:
    config = pix2pixhd.Config(epochs=1, epochs_decay=2)
    assert rates(config, [0.99, 1.0, 1.99, 2.0, 2.99]) == pytest.approx([1, 1, 1, 0.5, 0.5])


def test_learning_rates_without_one_of_the_phases() -> None:
    assert rates(pix2pixhd.Config(epochs=2, epochs_decay=0), [0, 1, 1.9]) == [1, 1, 1]
    assert rates(pix2pixhd.Config(epochs=0, epochs_decay=2), [0, 1]) == [1, 0.5]


# --- building ---


def tiny(**settings: Any) -> pix2pixhd.Config:
    sizes = {"generator_width": 4, "generator_downs": 2, "generator_blocks": 1, "discriminator_width": 4}
    return pix2pixhd.Config(**(sizes | {"discriminator_layers": 2} | settings))


def test_build_follows_the_settings() -> None:
    semantics = labels.Semantics(classes=CLASSES, boundary=True)
    players = pix2pixhd.build(tiny(generator_blocks=3, discriminator_scales=3, norm="batch"), semantics)
    generator, discriminator = players.trained["generator"], players.trained["discriminator"]
    assert isinstance(generator, GlobalGenerator)
    assert isinstance(discriminator, MultiscaleDiscriminator)
    assert generator.trunk.stem[1].weight.shape == (4, CLASSES + 1, 7, 7)
    assert (generator.multiple, len(generator.trunk.blocks), len(discriminator.scales)) == (4, 3, 3)
    assert pix2pixhd.multiple(tiny()) == generator.multiple
    assert discriminator.scales[0].layers[0][0].weight.shape == (4, CLASSES + 1 + 3, 4, 4)
    assert any(isinstance(m, nn.BatchNorm2d) for m in generator.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules())
    assert players.frozen == {}
    assert generator.trunk.stem[1].weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_description_is_enough_to_build_the_generator_again() -> None:
    players = pix2pixhd.build(tiny(), labels.Semantics(classes=CLASSES))
    described = json.loads(json.dumps(players.descriptions["generator"]))
    assert described["class"] == "pix2pixhd.GlobalGenerator"
    again = GlobalGenerator(**described["arguments"])
    again.load_state_dict(players.trained["generator"].state_dict(), strict=True)


def test_perceptual_loss_without_weights_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        pix2pixhd.build(tiny(vgg=True, vgg_weights="nowhere.pth"), labels.Semantics(classes=CLASSES))


def test_encoder_shares_the_generators_optimizer() -> None:
    config = tiny(lr=3e-4, beta1=0.4, beta2=0.9)
    players = formulaic(config, with_encoder=True)
    found = pix2pixhd.optimizers(config, players)
    for side, names in {"generator": ("generator", "encoder"), "discriminator": ("discriminator",)}.items():
        (group,) = found[side].param_groups
        expected = [p for name in names for p in players.trained[name].parameters()]
        assert {id(p) for p in group["params"]} == {id(p) for p in expected}
        assert (group["lr"], group["betas"]) == (3e-4, (0.4, 0.9))


# --- one step ---


def fill(network: nn.Module, number: int) -> nn.Module:
    """Weights by a formula, so that no random generator has to stay as it is."""
    with torch.no_grad():
        for position, tensor in enumerate(network.parameters(), start=1):
            index = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
            tensor.copy_(torch.sin(index * (1.7 + 0.1 * number) + position) * 0.3)
    return network


def formulaic(config: pix2pixhd.Config, with_encoder: bool = False) -> Players:
    channels = CLASSES + 3 * with_encoder
    with torch.random.fork_rng():  # initial weights are overwritten
        networks: dict[str, nn.Module] = {
            "generator": GlobalGenerator(
                in_channels=channels,
                width=config.generator_width,
                downs=config.generator_downs,
                blocks=config.generator_blocks,
                norm=config.norm,
            ),
            "discriminator": MultiscaleDiscriminator(
                in_channels=CLASSES + 3,
                width=config.discriminator_width,
                layers=config.discriminator_layers,
                norm=config.norm,
            ),
        }
        if with_encoder:
            networks["encoder"] = InstanceEncoder(width=2, downs=2)
    return Players({name: fill(net.double(), n) for n, (name, net) in enumerate(networks.items())})


def formulaic_batch(size: int) -> dict[str, Tensor]:
    """A layout of rectangles, and an image that is a wave per class; different in each sample."""
    rows, columns = torch.arange(HEIGHT).reshape(1, -1, 1), torch.arange(WIDTH).reshape(1, 1, -1)
    sample = torch.arange(size).reshape(-1, 1, 1)
    label = ((rows + 5 * sample) // 8 + columns // 12) % CLASSES
    phase = torch.arange(3).reshape(1, 3, 1, 1)
    image = torch.sin(0.3 * label.unsqueeze(1) * (phase + 1) + 0.2 * rows + 0.1 * columns + sample.unsqueeze(1))
    return {
        "label": label,
        "instance": label,
        "semantics": labels.encode(label, label, classes=CLASSES).double(),
        "image": image.double(),
    }


def step(config: pix2pixhd.Config, players: Players, parts: list[dict[str, Tensor]]) -> Losses:
    """One update; its losses without the monitors, which tests/test_small_data.py is about."""
    found = pix2pixhd.train_step(config, players, pix2pixhd.optimizers(config, players), parts, PlainEngine())
    assert found.keys() >= set(MONITORS)
    return {name: value for name, value in found.items() if name not in MONITORS}


def gradients(network: nn.Module) -> list[Tensor]:
    found = [p.grad for p in network.parameters()]
    assert all(g is not None for g in found)
    return [g.clone() for g in found if g is not None]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"G_gan", "G_features"}),
        ({"lambda_features": 0.0}, {"G_gan"}),
        ({"gan": "vanilla"}, {"G_gan", "G_features"}),
        ({"lambda_l1": 2.0}, {"G_gan", "G_features", "G_l1"}),
        ({"gan": "vanilla", "lambda_features": 0.0, "lambda_l1": 1.0}, {"G_gan", "G_l1"}),
        ({"norm": "batch"}, {"G_gan", "G_features"}),
    ],
)
def test_terms_follow_the_settings(settings: dict[str, Any], names: set[str]) -> None:
    """The mean absolute difference is off by default."""
    config = tiny(**settings)
    found = step(config, formulaic(config), [formulaic_batch(1)])
    assert found.keys() == names | {"D_real", "D_fake"}
    assert all(value.isfinite() and value.dim() == 0 and not value.requires_grad for value in found.values())


@pytest.mark.parametrize("gan", ["lsgan", "vanilla"])
@pytest.mark.parametrize("with_encoder", [False, True])
def test_step_takes_the_gradients_of_the_two_losses(gan: str, with_encoder: bool) -> None:
    """Written out: neither side's loss leaves a gradient in the other, and D's is halved."""
    config = tiny(gan=gan, lambda_l1=3.0, lambda_features=5.0)
    players, batch = formulaic(config, with_encoder), formulaic_batch(2)
    plain = copy.deepcopy(players.trained)
    found = step(config, players, [batch])

    score = {"lsgan": losses.least_squares, "vanilla": losses.vanilla}[gan]
    style = (plain["encoder"](batch["image"], batch["label"]),) if with_encoder else ()
    fake = plain["generator"](batch["semantics"], *style)
    judge = plain["discriminator"]
    real_out = judge(torch.cat([batch["semantics"], batch["image"]], 1))
    fake_out = judge(torch.cat([batch["semantics"], fake], 1))
    detached_out = judge(torch.cat([batch["semantics"], fake.detach()], 1))
    expected = {
        "G_gan": sum(score(layers[-1], True) for layers in fake_out),
        "G_features": 5.0 * (4 / 3) * (1 / 2) * sum(
            (f - r.detach()).abs().mean()
            for fakes, reals in zip(fake_out, real_out, strict=True)
            for f, r in zip(fakes[:-1], reals[:-1], strict=True)
        ),
        "G_l1": 3.0 * (fake - batch["image"]).abs().mean(),
        "D_real": sum(score(layers[-1], True) for layers in real_out),
        "D_fake": sum(score(layers[-1], False) for layers in detached_out),
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-12, atol=1e-12)
    of_generator = expected["G_gan"] + expected["G_features"] + expected["G_l1"]
    of_discriminator = 0.5 * (expected["D_real"] + expected["D_fake"])
    for name, network in plain.items():
        loss = of_discriminator if name == "discriminator" else of_generator
        wanted = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
        torch.testing.assert_close(gradients(players.trained[name]), list(wanted), rtol=1e-9, atol=1e-11)


def test_step_leaves_every_network_trainable_and_changed() -> None:
    config = tiny()
    players = formulaic(config, with_encoder=True)
    before = copy.deepcopy(players.trained)
    step(config, players, [formulaic_batch(1)])
    for name, network in players.trained.items():
        assert all(p.requires_grad for p in network.parameters())
        assert any(
            not torch.equal(p, old) for p, old in zip(network.parameters(), before[name].parameters(), strict=True)
        )


@pytest.mark.parametrize("with_encoder", [False, True])
def test_a_batch_in_parts_makes_the_same_update(with_encoder: bool) -> None:
    config = tiny(lambda_l1=1.0)
    whole, split = formulaic(config, with_encoder), formulaic(config, with_encoder)
    both = formulaic_batch(2)
    parts = [{key: value[i : i + 1] for key, value in both.items()} for i in range(2)]
    at_once, in_parts = step(config, whole, [both]), step(config, split, parts)
    for name in at_once:
        torch.testing.assert_close(in_parts[name], at_once[name], rtol=1e-9, atol=1e-12)
    for name, network in whole.trained.items():
        torch.testing.assert_close(
            list(split.trained[name].parameters()), list(network.parameters()), rtol=1e-9, atol=1e-9
        )


class CountingEngine(PlainEngine):
    """Notes for which networks averaging over processes is put off."""

    def __init__(self) -> None:
        self.put_off: list[bool] = []

    def no_backward_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        self.put_off.append(enabled)
        return nullcontext()


def test_gradients_are_averaged_over_processes_in_the_last_part_only() -> None:
    config, engine = tiny(), CountingEngine()
    players = formulaic(config)
    parts = [formulaic_batch(1)] * 3
    pix2pixhd.train_step(config, players, pix2pixhd.optimizers(config, players), parts, engine)
    # Per part: generator, discriminator, and D's gradient of the photograph, which always waits for that of the generated one.
    assert engine.put_off == [True, True, True] * 2 + [False, False, True]


# --- perceptual loss ---


@pytest.fixture(scope="module")
def vgg() -> VGG19:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VGG19().double()


def test_perceptual_term(vgg: VGG19) -> None:
    """Its value is lambda times the weighted distances, computed here layer by layer; its gradient reaches G, not VGG."""
    assert TAPS == (1, 6, 11, 20, 29)
    assert losses.PERCEPTUAL_WEIGHTS == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    config, batch = tiny(lambda_vgg=7.0), formulaic_batch(1)
    without, with_it = formulaic(config), formulaic(config)
    with_it.frozen["vgg"] = vgg
    generator = copy.deepcopy(without.trained["generator"])
    plain, found = step(config, without, [batch]), step(config, with_it, [batch])
    assert found.keys() - plain.keys() == {"G_vgg"}

    fake = generator(batch["semantics"])
    term, f, r = torch.zeros((), dtype=torch.float64), fake, batch["image"]
    weights = dict(zip((1, 6, 11, 20, 29), (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), strict=True))
    for slot, layer in enumerate(vgg.features):
        f, r = layer(f), layer(r)
        term = term + weights.get(slot, 0.0) * (f - r).abs().mean()
    assert term > 0
    torch.testing.assert_close(found["G_vgg"], 7.0 * term.detach(), rtol=1e-12, atol=0)
    share = torch.autograd.grad(7.0 * term, list(generator.parameters()))
    base, full = gradients(without.trained["generator"]), gradients(with_it.trained["generator"])
    assert max(s.abs().max().item() for s in share) > 1e-6
    torch.testing.assert_close(full, [b + s for b, s in zip(base, share, strict=True)], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        gradients(with_it.trained["discriminator"]), gradients(without.trained["discriminator"]), rtol=0, atol=0
    )
    assert all(p.grad is None for p in vgg.parameters())


# --- four steps in figures ---

CURVES: dict[str, tuple[dict[str, Any], bool, dict[str, list[float]]]] = {
    # settings, whether there is an encoder, figures
    "as published": (
        {},
        False,
        {
            "G_gan": [2.193754046, 1.762751318, 1.511488771, 1.280244827],
            "G_features": [9.631260357, 9.367130747, 8.675866232, 7.704195961],
            "D_real": [2.269939712, 1.758016399, 1.457627602, 1.261339783],
            "D_fake": [0.7221906221, 0.4410964623, 0.3652305917, 0.3319197439],
        },
    ),
    "vanilla, l1, encoder": (
        {"gan": "vanilla", "lambda_l1": 10.0},
        True,
        {
            "G_gan": [1.336881287, 1.320567469, 1.323345094, 1.330015411],
            "G_features": [11.25710643, 10.09362868, 9.26222086, 9.111594253],
            "G_l1": [8.408813758, 8.283133124, 8.206823101, 8.139292968],
            "D_real": [1.352825739, 1.320868604, 1.312757022, 1.311974914],
            "D_fake": [1.606619628, 1.550390725, 1.513884621, 1.491213844],
        },
    ),
    "batch norm, no feature matching": (
        {"norm": "batch", "lambda_features": 0.0},
        False,
        {
            "G_gan": [4.281288265, 3.895247845, 3.585642624, 3.304814608],
            "D_real": [4.224531416, 3.909006283, 3.636899043, 3.392146606],
            "D_fake": [1.429678523, 1.139890427, 0.9216433969, 0.7303708694],
        },
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_four_steps_give_the_same_losses(name: str) -> None:
    """Regression: losses of four steps in float64, relative 1e-6.

    Weights and batch are the formulae above, the learning rate is 1e-3. The figures are what this very function's `curves`
    were when one step had been shown to agree with the official code (tests/golden); print `curves` to make them again.
    """
    settings, with_encoder, expected = CURVES[name]
    assert curves(settings, with_encoder) == {
        term: pytest.approx(values, rel=1e-6, abs=0) for term, values in expected.items()
    }


def curves(settings: dict[str, Any], with_encoder: bool) -> dict[str, list[float]]:
    config = tiny(lr=1e-3, **settings)
    players, batch = formulaic(config, with_encoder), formulaic_batch(2)
    optimizers = pix2pixhd.optimizers(config, players)
    found: dict[str, list[float]] = {}
    for _ in range(4):
        for term, value in pix2pixhd.train_step(config, players, optimizers, [batch], PlainEngine()).items():
            if term not in MONITORS:
                found.setdefault(term, []).append(value.item())
    return found
