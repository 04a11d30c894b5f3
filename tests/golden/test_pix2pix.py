"""Networks, losses and training steps of pix2pix against the official code's numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso import losses
from gesso.importers import load_official
from gesso.recipes import pix2pix, protocol
from support import Golden, PlainEngine, weights

ITEM, STEP = "A1_pix2pix", "A8_pix2pix_step"
KINDS = {"net": "pix2pix.unet", "netD": "pix2pix.patchgan", "netP": "pix2pix.pixelgan"}
CRITERIA: dict[str, losses.Scores] = {
    "vanilla": losses.vanilla,
    "lsgan": losses.least_squares,
    "wgangp": losses.hinge_generator,  # minus or plus the mean
}


def load(tensors: dict[str, Tensor], short: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    official = weights(tensors, f"{short}.")
    if not official:
        pytest.skip(f"{ITEM} holds no weights {short}.*")
    return load_official(official, KINDS[short]).to(dtype)


def pictures(tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    if missing := [name for name in ("in.real_A", "in.real_B") if name not in tensors]:
        pytest.skip(f"{ITEM} holds no {', '.join(missing)}")
    return tensors["in.real_A"].to(dtype), tensors["in.real_B"].to(dtype)


def beginning(key: str, ours: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Of whole pictures the items keep the upper left part."""
    return ours[..., : tensors[key].shape[2], : tensors[key].shape[3]] if key in tensors else ours


def close(ours: float, theirs: float, relative: float = 1e-9) -> None:
    assert math.isclose(ours, theirs, rel_tol=relative, abs_tol=1e-12), f"{ours!r} is not {theirs!r}"


def test_generator(golden: Golden) -> None:
    meta, tensors = golden(ITEM)
    source, _ = pictures(tensors)
    network = load(tensors, "net")
    assert sum(p.numel() for p in network.parameters()) == meta["param_count"]["net"]
    with torch.inference_mode():
        for key, training in (("out.G_eval", False), ("out.G_train", True)):
            made = network.train(training)(source)
            golden.agree(meta, key, beginning(key, made, tensors), tensors)


def test_generator_as_a_whole_in_float64(golden: Golden) -> None:
    """Sum and norm of all pixels, which cropped outputs do not show, and what batch norm has measured."""
    meta, tensors = golden(ITEM)
    source, _ = pictures(tensors, torch.float64)
    network = load(tensors, "net", torch.float64)
    with torch.inference_mode():
        for key, training in (("G_eval_full_checksum", False), ("G_train_full_checksum", True)):
            made = network.train(training)(source)
            if key not in meta:
                continue
            close(made.sum().item(), meta[key]["f64"]["sum"])
            close(made.norm().item(), meta[key]["f64"]["l2"])
            golden.count(ITEM, 2)
    same_buffers(
        golden, ITEM, network, tensors, "net", meta.get("buffers_after", {}).get("G_after_one_train_forward", {})
    )


def test_discriminator(golden: Golden) -> None:
    """In train mode first the generated pictures, then the photographs: the order in which statistics move."""
    meta, tensors = golden(ITEM)
    source, target = pictures(tensors)
    generator, discriminator = load(tensors, "net").train(), load(tensors, "netD")
    assert sum(p.numel() for p in discriminator.parameters()) == meta["param_count"]["netD"]
    real = torch.cat([source, target], dim=1)
    with torch.inference_mode():
        fake = torch.cat([source, generator(source)], dim=1)
        golden.agree(meta, "out.D_real_eval", discriminator.eval()(real), tensors)
        golden.agree(meta, "out.D_fake_train", discriminator.train()(fake), tensors)
        golden.agree(meta, "out.D_real_train", discriminator(real), tensors)


def test_pixelgan(golden: Golden) -> None:
    meta, tensors = golden(ITEM)
    network, both = load(tensors, "netP"), cropped(meta, tensors, torch.float32)
    assert sum(p.numel() for p in network.parameters()) == meta["param_count"]["netP"]
    with torch.inference_mode():
        golden.agree(meta, "out.P_real_eval", network.eval()(both), tensors)
        golden.agree(meta, "out.P_real_train", network.train()(both), tensors)


def cropped(meta: dict[str, Any], tensors: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    top, left, height, width = meta["config"]["pixel_crop"]
    return torch.cat(pictures(tensors, dtype), dim=1)[:, :, top : top + height, left : left + width]


def test_losses(golden: Golden) -> None:
    """Float64, and the statistics that D's two calls leave behind."""
    meta, tensors = golden(ITEM)
    source, target = pictures(tensors, torch.float64)
    generator, discriminator = (load(tensors, short, torch.float64).train() for short in ("net", "netD"))
    pixel = load(tensors, "netP", torch.float64).eval()
    with torch.inference_mode():
        made = generator(source)
        fake = discriminator(torch.cat([source, made], dim=1))
        real = discriminator(torch.cat([source, target], dim=1))
        pixels = pixel(cropped(meta, tensors, torch.float64))
    expected = meta["losses_f64"]
    for name, loss in CRITERIA.items():
        found = {
            "D_fake": loss(fake, False),
            "D_real": loss(real, True),
            "G_GAN": loss(fake, True),
            "P_real_eval_true": loss(pixels, True),
            "P_real_eval_false": loss(pixels, False),
        }
        for key, value in expected.get(name, {}).items():
            close(found[key].item(), value)
            golden.count(ITEM)
    close(losses.l1(made, target).item(), expected["L1_mean"])
    close(meta["config"]["lambda_L1"] * losses.l1(made, target).item(), expected["L1_weighted"])
    golden.count(ITEM, 2)
    after = meta.get("buffers_after", {}).get("D_after_fake_then_real_train_forward", {})
    same_buffers(golden, ITEM, discriminator, tensors, "netD", after)


@pytest.mark.parametrize("short", KINDS)
def test_one_perturbed_weight_is_noticed(golden: Golden, short: str) -> None:
    meta, tensors = golden(ITEM)
    key = {"net": "out.G_eval", "netD": "out.D_real_eval", "netP": "out.P_real_eval"}[short]
    if key not in tensors:
        pytest.skip(f"{ITEM} holds no {key}")
    official = weights(tensors, f"{short}.")
    first = next(n for n, t in official.items() if t.dim() == 4)
    official[first] = official[first].clone()
    official[first][0, 0] += 0.05
    network = load_official(official, KINDS[short]).eval()
    source, target = pictures(tensors)
    given = {"net": source, "netD": torch.cat([source, target], dim=1)}
    x = given[short] if short in given else cropped(meta, tensors, torch.float32)
    with torch.inference_mode(), pytest.raises(AssertionError, match="differs by"):
        golden.agree(meta, key, beginning(key, network(x), tensors), tensors)


# --- a training step ---


def official_names(tensors: dict[str, Tensor], short: str) -> dict[str, str]:
    """Official tensor name by ours, found by loading numbered tensors."""
    official = weights(tensors, f"{short}.")
    numbered = {name: torch.full_like(t, i) for i, (name, t) in enumerate(official.items())}
    names = list(official)
    loaded = load_official(numbered, KINDS[short]).state_dict()
    return {ours: names[int(tensor.flatten()[0])] for ours, tensor in loaded.items()}


def same_buffers(
    golden: Golden, item: str, network: nn.Module, tensors: dict[str, Tensor], short: str, expected: dict[str, Any]
) -> None:
    """Sums and norms of what batch norm has measured; columns are (float32 sum, norm, float64 sum, norm), or a count."""
    ours = {theirs: ours for ours, theirs in official_names(tensors, short).items()}
    buffers = dict(network.named_buffers())
    for name, value in expected.items():
        if name == "columns":
            continue
        buffer = buffers[ours[name]]
        if isinstance(value, list):
            close(buffer.sum().item(), value[2])
            close(buffer.norm().item(), value[3])
        else:
            assert int(buffer) == value, name
        golden.count(item)


LOSSES = {"G_gan": "G_GAN", "G_l1": "G_L1", "D_real": "D_real", "D_fake": "D_fake"}


@pytest.mark.parametrize("mode", pix2pix.ADVERSARIAL)
def test_step(golden: Golden, mode: str) -> None:
    """Float64: losses, gradients, weights and statistics after one step of D, then G."""
    meta, outputs = golden(STEP)
    if f"step_{mode}" not in meta:
        pytest.skip(f"{STEP} holds no step with {mode}")
    expected, settings = meta[f"step_{mode}"], meta["config"]
    _, tensors = golden(settings["weights_from"].removesuffix(".safetensors"))
    source, target = pictures(tensors, torch.float64)
    networks = {
        "generator": load(tensors, "net", torch.float64).train(),
        "discriminator": load(tensors, "netD", torch.float64).train(),
    }
    before = {n: {k: p.detach().clone() for k, p in network.named_parameters()} for n, network in networks.items()}
    config = step_config(settings, mode)
    players = protocol.Players(networks)
    batch = {"semantics": source, "image": target}
    found = pix2pix.train_step(config, players, pix2pix.optimizers(config, players), [batch], PlainEngine())
    for ours, theirs in LOSSES.items():
        close(found[ours].item(), expected["losses_f64"][theirs])
        golden.count(STEP)
    for short, key, name in (("net", "netG", "generator"), ("netD", "netD", "discriminator")):
        if key in expected:
            same_update(golden, expected[key], networks[name], before[name], tensors, short)
            same_buffers(golden, STEP, networks[name], tensors, short, expected[key].get("buffers_after", {}))
    key = f"out.G_eval_after_{mode}"
    with torch.inference_mode():
        made = networks["generator"].eval()(source).float()
    golden.agree(meta, key, beginning(key, made, outputs), outputs)


def step_config(settings: dict[str, Any], mode: str) -> pix2pix.Config:
    adam = settings["adam"]
    return pix2pix.Config(
        lr=adam["lr"],
        beta1=adam["betas"][0],
        beta2=adam["betas"][1],
        lambda_l1=settings["lambda_L1"],
        gan=mode,
    )


def same_update(
    golden: Golden,
    expected: dict[str, Any],
    network: nn.Module,
    before: dict[str, Tensor],
    tensors: dict[str, Tensor],
    short: str,
) -> None:
    names = official_names(tensors, short)
    for ours, parameter in network.named_parameters():
        name, new, old = names[ours], parameter.detach(), before[ours]
        assert parameter.grad is not None
        # The columns say: norm of the gradient, then of the parameter after the step and of its change.
        found = [parameter.grad.norm(), new.sum(), new.norm(), (new - old).norm(), (new - old).sum()]
        # A gradient that is zero in mathematics is rounding noise, also in float64: 1e-15 becomes a step of 1e-10.
        slack = 1e-8 if name in expected["noise_grad"] else 1e-11
        for column, mine, theirs in zip(expected["columns"], found, expected["per_param"][name]["f64"], strict=True):
            assert math.isclose(mine.item(), theirs, rel_tol=1e-9, abs_tol=slack), f"{short} {name} {column}"
            golden.count(STEP)
