"""Networks, losses and training steps of pix2pixHD against the official code's numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso import labels, losses
from gesso.importers import load_official
from gesso.networks.pix2pixhd import shrink
from gesso.recipes import pix2pixhd, protocol
from support import Golden, PlainEngine, weights

GENERATORS = {"A2_hd_global": "pix2pixhd.global", "A3_hd_local1": "pix2pixhd.local", "A4_hd_local2": "pix2pixhd.local"}


def semantics(config: dict[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    label, instance = tensors["in.label"][:, 0].long(), tensors["in.inst"][:, 0].long()
    made = labels.encode(label, instance, classes=config["label_nc"], boundary=config.get("edge", True))
    if config.get("edge", True) and "in.edge" in tensors:
        assert torch.equal(made[:, -1:], tensors["in.edge"].float()), "boundary map differs"
    return made


def close(ours: float, theirs: float, relative: float = 1e-9) -> None:
    assert math.isclose(ours, theirs, rel_tol=relative, abs_tol=1e-12), f"{ours!r} is not {theirs!r}"


@pytest.mark.parametrize("name", GENERATORS)
def test_generator(golden: Golden, name: str) -> None:
    meta, tensors = golden(name)
    network = load_official(weights(tensors, "net."), GENERATORS[name])
    assert sum(p.numel() for p in network.parameters()) == meta["param_count"]["net"]
    style = tensors["in.feat"].float() if "in.feat" in tensors else None
    layout = semantics(meta["config"], tensors)
    with torch.inference_mode():
        for mode in (True, False):
            golden.agree(meta, "out.y", network.train(mode)(layout, style), tensors)
    golden.agree(meta, "out.input_downsampled_last", shrink(layout)[:, -1:], tensors)


@pytest.mark.parametrize("name", GENERATORS)
def test_one_perturbed_weight_is_noticed(golden: Golden, name: str) -> None:
    meta, tensors = golden(name)
    if "out.y" not in tensors:
        pytest.skip(f"{name} holds no output")
    official = weights(tensors, "net.")
    first = next(n for n, t in official.items() if t.dim() == 4)
    official[first] = official[first].clone()
    official[first][0, 0] += 0.05
    style = tensors["in.feat"].float() if "in.feat" in tensors else None
    network = load_official(official, GENERATORS[name])
    with torch.inference_mode(), pytest.raises(AssertionError, match="differs by"):
        golden.agree(meta, "out.y", network(semantics(meta["config"], tensors), style), tensors)


class Players:
    """Generator, discriminator and perhaps encoder of an item, in float32 or float64."""

    def __init__(self, tensors: dict[str, Tensor], config: dict[str, Any], dtype: torch.dtype) -> None:
        self.generator = load_official(weights(tensors, "net."), "pix2pixhd.global").to(dtype)
        self.discriminator = load_official(weights(tensors, "netD."), "pix2pixhd.discriminator").to(dtype)
        encoding = weights(tensors, "netE.")
        self.encoder = load_official(encoding, "pix2pixhd.encoder").to(dtype) if encoding else None
        self.semantics = semantics(config, tensors).to(dtype)
        self.image = tensors["in.image"].to(dtype)
        self.instance = tensors["in.inst"][:, 0].long()

    def fake(self) -> Tensor:
        style = self.encoder(self.image, self.instance) if self.encoder else None
        return self.generator(self.semantics, style)

    def judge(self, image: Tensor) -> list[list[Tensor]]:
        return self.discriminator(torch.cat([self.semantics, image], dim=1))


@pytest.mark.parametrize("name", ["A5_hd_disc", "A5b_hd_feat"])
def test_discriminator_features(golden: Golden, name: str) -> None:
    meta, tensors = golden(name)
    players = Players(tensors, meta["config"], torch.float32)
    with torch.inference_mode():
        fake = players.fake()
        outputs = players.judge(players.image)
    assert len(outputs) == meta["config"]["num_D"]
    golden.agree(meta, "out.fake", fake, tensors)
    for scale, layers in enumerate(outputs):
        for layer, values in enumerate(layers):
            golden.agree(meta, f"out.D_real.{scale}.{layer}", values, tensors)
    for entry in meta.get("D_real_features", []):
        scale, layer = map(int, entry["key"].split(".")[-2:])
        assert list(outputs[scale][layer].shape) == entry["full_shape"]
        close(outputs[scale][layer].double().norm().item(), entry["l2"], 1e-4)


@pytest.mark.parametrize("name", ["A5_hd_disc", "A5b_hd_feat"])
def test_losses_and_gradients(golden: Golden, name: str) -> None:
    """Float64: losses and the gradient norm of every parameter."""
    meta, tensors = golden(name)
    config = meta["config"]
    players = Players(tensors, config, torch.float64)
    fake = players.fake()
    real, judged = players.judge(players.image), players.judge(fake)
    found = {
        "G_GAN": losses.over_scales(losses.least_squares, judged, True),
        "G_GAN_Feat": losses.feature_matching(judged, real) * config["lambda_feat"] * 4 / (config["n_layers_D"] + 1),
        "D_real": losses.over_scales(losses.least_squares, real, True),
        "D_fake": losses.over_scales(losses.least_squares, players.judge(fake.detach()), False),
    }
    found["loss_G"] = found["G_GAN"] + found["G_GAN_Feat"]
    found["loss_D"] = 0.5 * (found["D_real"] + found["D_fake"])
    for key, value in meta["losses_f64"].items():
        close(found[key].item(), value)
        golden.count(meta["item"])
    _same_gradients(golden, meta, "grad_l2_of_loss_G", found["loss_G"], tensors, players)
    _same_gradients(golden, meta, "grad_l2_of_loss_D", found["loss_D"], tensors, players)


def _same_gradients(
    golden: Golden, meta: dict[str, Any], key: str, loss: Tensor, tensors: dict[str, Tensor], players: Players
) -> None:
    networks = {"netG": players.generator, "netD": players.discriminator, "netE": players.encoder}
    for short, expected in meta[key].items():
        network = networks[short]
        assert network is not None
        parameters = dict(zip(official_order(tensors, short, network), network.parameters(), strict=True))
        gradients = torch.autograd.grad(loss, [parameters[n] for n in expected], retain_graph=True)
        for gradient, (parameter, value) in zip(gradients, expected.items(), strict=True):
            norm = gradient.norm().item()
            assert math.isclose(norm, value["f64"], rel_tol=1e-9, abs_tol=1e-11), f"{short} {parameter}: {norm} {value}"
            golden.count(meta["item"])


def official_order(tensors: dict[str, Tensor], short: str, network: nn.Module) -> list[str]:
    """Official parameter names in the order of our parameters, found by loading numbered tensors."""
    prefix = {"netG": "net.", "netD": "netD.", "netE": "netE."}[short]
    official = {n: t for n, t in weights(tensors, prefix).items() if "running" not in n and "num_batches" not in n}
    numbered = {n: torch.full_like(t, float(i)) for i, (n, t) in enumerate(official.items())}
    others = {n: t for n, t in weights(tensors, prefix).items() if n not in official}
    kind = {"netG": "pix2pixhd.global", "netD": "pix2pixhd.discriminator", "netE": "pix2pixhd.encoder"}[short]
    names = list(official)
    return [names[int(p.flatten()[0])] for p in load_official({**numbered, **others}, kind).parameters()]


def test_encoder(golden: Golden) -> None:
    meta, tensors = golden("A6_hd_encoder")
    network = load_official(weights(tensors, "netE."), "pix2pixhd.encoder")
    assert sum(p.numel() for p in network.parameters()) == meta["param_count"]["netE"]
    image, instance = tensors["in.image"].float(), tensors["in.inst"][:, 0].long()
    with torch.inference_mode():
        golden.agree(meta, "out.encoder_dense", network.head(network.trunk(image)), tensors)
        golden.agree(meta, "out.encoder_pooled", network(image, instance), tensors)


def test_encoder_gradients(golden: Golden) -> None:
    meta, tensors = golden("A6_hd_encoder")
    network = load_official(weights(tensors, "netE."), "pix2pixhd.encoder").double()
    image = tensors["in.image"].double().requires_grad_()
    pooled = network(image, tensors["in.inst"][:, 0].long())
    (pooled * tensors["in.grad_weight"].double()).sum().backward()
    gradients = dict(zip(official_order(tensors, "netE", network), (p.grad for p in network.parameters()), strict=True))
    gradients["image"] = image.grad
    for key, value in meta["grad_l2"]["f64"].items():
        gradient = gradients[key]
        assert gradient is not None
        assert math.isclose(gradient.norm().item(), value, rel_tol=1e-9, abs_tol=1e-10), key
        golden.count(meta["item"])


def test_boundaries_and_one_hot(golden: Golden) -> None:
    meta, tensors = golden("A6_hd_encoder")
    for key, expected in tensors.items():
        if key.startswith("out.edge_"):
            source = key.replace("out.", "in.") if key != "out.edge_encoder_map" else "in.inst"
            assert torch.equal(labels.boundaries(tensors[source][:, 0]), expected.float()), key
            golden.count(meta["item"])
    if "out.onehot" in tensors:
        made = labels.one_hot(tensors["in.onehot_label"][:, 0].long(), tensors["out.onehot"].shape[1])
        assert torch.equal(made, tensors["out.onehot"].float())
        golden.count(meta["item"])


def step_config(config: dict[str, Any]) -> pix2pixhd.Config:
    adam = config["adam"]
    return pix2pixhd.Config(
        lr=adam["lr"],
        beta1=adam["betas"][0],
        beta2=adam["betas"][1],
        lambda_features=config["lambda_feat"],
        discriminator_layers=config["n_layers_D"],
        gan="lsgan" if "lsgan" in config.get("gan", "lsgan") else "vanilla",
        vgg=bool(config.get("vgg", False)),
    )


NAMES = {"D_real": "D_real", "D_fake": "D_fake", "G_gan": "G_GAN", "G_features": "G_GAN_Feat"}


@pytest.mark.parametrize("name", ["A8_hd_step", "A8b_hd_feat_step"])
def test_training_step_in_float64(golden: Golden, name: str) -> None:
    """One official iteration: losses, then the state of every parameter; and the losses of the next iteration."""
    meta, outputs = golden(name)
    _, tensors = golden(meta["config"]["weights_from"].removesuffix(".safetensors"))
    _, batch_tensors = golden(meta["config"]["batch_from"].removesuffix(".safetensors"))
    sides = Players(
        batch_tensors | {k: v for k, v in tensors.items() if k.startswith("net")}, meta["config"], torch.float64
    )
    networks = {"generator": sides.generator, "discriminator": sides.discriminator}
    if sides.encoder is not None:
        networks["encoder"] = sides.encoder
    before = {n: [p.detach().clone() for p in network.parameters()] for n, network in networks.items()}
    players = protocol.Players(networks)
    config = step_config(meta["config"])
    optimizers = pix2pixhd.optimizers(config, players)
    label, instance = batch_tensors["in.label"][:, 0].long(), sides.instance
    batch = {"semantics": sides.semantics, "image": sides.image, "label": label, "instance": instance}

    for iteration in (1, 2):
        found = pix2pixhd.train_step(config, players, optimizers, [batch], PlainEngine())
        for ours, theirs in NAMES.items():
            close(found[ours].item(), meta[f"losses_iter{iteration}_f64"][theirs])
            golden.count(meta["item"])
        if iteration == 1:
            for short, network in (("netG", "generator"), ("netD", "discriminator"), ("netE", "encoder")):
                if short in meta:
                    _same_update(golden, meta, short, networks[network], before[network], tensors)
            with torch.no_grad():
                fake = pix2pixhd.synthesise(pix2pixhd.Config(), networks, batch).float()
            golden.agree(meta, "out.fake_after", fake, outputs)


def _same_update(
    golden: Golden,
    meta: dict[str, Any],
    short: str,
    network: nn.Module,
    before: list[Tensor],
    tensors: dict[str, Tensor],
) -> None:
    expected = meta[short]["per_param"]
    names = official_order(tensors, short, network)
    for name, parameter, old in zip(names, network.parameters(), before, strict=True):
        new = parameter.detach()
        assert parameter.grad is not None
        # The columns say: norm of the gradient, then of the parameter after the step and of its change.
        found = [parameter.grad.norm(), new.sum(), new.norm(), (new - old).norm(), (new - old).sum()]
        noise = name in meta[short]["noise_grad"]
        for column, ours, theirs in zip(meta[short]["columns"], found, expected[name]["f64"], strict=True):
            # A gradient that is zero in mathematics is rounding noise, also in float64: 1e-15 becomes a step of 1e-10.
            slack = 1e-8 if noise else 1e-11
            # Numbers are stored with 12 digits.
            assert math.isclose(ours.item(), theirs, rel_tol=1e-9, abs_tol=slack), f"{short} {name} {column}"
            golden.count(meta["item"])
