"""SPADE's layers, generators, discriminators, encoder and losses against the official code's numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso import labels, losses
from gesso.importers import load_official
from gesso.importers.spade import BLOCKS, _block_modules
from heard import Heard
from support import Golden, weights

LAYERS, GENERATORS, DISCRIMINATORS = "A7a_spade_layers", "A7b_spade_G", "A7c_spade_D"
Meta = dict[str, Any]
Tensors = dict[str, Tensor]
Build = Callable[[Tensors], nn.Module]
CRITERIA: dict[str, tuple[losses.Scores, losses.Scores]] = {  # of D, of G
    "hinge": (losses.hinge_discriminator, losses.hinge_generator),
    "ls": (losses.least_squares, losses.least_squares),
    "original": (losses.vanilla, losses.vanilla),
    "w": (losses.wasserstein, losses.wasserstein),
}


def semantics(config: Meta, tensors: Tensors, prefix: str) -> Tensor:
    """One-hot labels, don't-care channel and boundary map, as the item has them."""
    label = tensors[f"{prefix}.label"][:, 0].long()
    classes, dont_care = config["label_nc"], bool(config.get("dontcare"))
    if dont_care:
        label = torch.where(label == 255, classes, label)
    made = labels.one_hot(label, classes, dont_care)
    edge = tensors.get(f"{prefix}.edge")
    return made if edge is None or not config.get("edge", True) else torch.cat([made, edge.float()], dim=1)


def close(ours: float, theirs: float, relative: float = 1e-9, what: str = "") -> None:
    assert math.isclose(ours, theirs, rel_tol=relative, abs_tol=1e-11), f"{what}: {ours!r} is not {theirs!r}"


def named(build: Build, official: Tensors) -> dict[str, str]:
    """Official names -> ours, found by loading numbered tensors."""
    numbered = {name: torch.full_like(tensor, i) for i, (name, tensor) in enumerate(official.items(), start=1)}
    names = list(official)
    found = {ours: int(tensor.flatten()[0]) for ours, tensor in build(numbered).state_dict().items()}
    assert set(found.values()) - {0} == set(range(1, len(names) + 1))
    return {names[number - 1]: ours for ours, number in found.items() if number}


def same_gradients(
    golden: Golden, meta: Meta, expected: Mapping[str, Any], found: Mapping[str, Tensor | None], what: str
) -> None:
    for name, value in expected.items():
        gradient = found[name]
        assert gradient is not None, name
        close(gradient.norm().item(), value["f64"] if isinstance(value, dict) else value, what=f"{what} {name}")
        golden.count(meta["item"])


def gradients(build: Build, official: Tensors, network: nn.Module) -> dict[str, Tensor | None]:
    parameters = dict(network.named_parameters())
    return {theirs: parameters[ours].grad for theirs, ours in named(build, official).items() if ours in parameters}


def same_buffers(
    golden: Golden,
    meta: Meta,
    expected: Mapping[str, Any],
    build: Build,
    official: Tensors,
    network: nn.Module,
    relative: float = 1e-9,
) -> None:
    """After one forward in train mode: [f32 sum, f32 norm, f64 sum, f64 norm], or a count."""
    names, state = named(build, official), network.state_dict()
    for name, value in expected.items():
        if name == "columns":
            continue
        ours = state[names[name]]
        if isinstance(value, int):
            assert ours.item() == value, name
        else:
            assert ours.dtype is torch.float64
            close(ours.sum().item(), value[2], relative, name)
            close(ours.norm().item(), value[3], relative, name)
        golden.count(meta["item"])


# --------------------------------------------------------------------------------------------------- layers and blocks


def cases(golden: Golden) -> Iterator[tuple[Meta, Tensors, str, Build, Tensors]]:
    meta, tensors = golden(LAYERS)
    there = {name: weights(tensors, f"net.{name}.") for name in meta["config"]["cases"]}
    assert any(there.values()), f"{LAYERS} holds the weights of no case"
    for name, official in there.items():
        if official:
            yield meta, tensors, name, build_as(f"spade.{meta['config']['cases'][name]['kind']}"), official


def build_as(kind: str, **config: Any) -> Build:
    return lambda official: load_official(official, kind, **config)


def test_layers_and_blocks(golden: Golden) -> None:
    heard = Heard(golden(LAYERS)[0], "out.")
    for meta, tensors, name, build, official in cases(golden):
        x, segmentation = tensors[f"in.{name}.x"].float(), tensors[f"in.{name}.seg"].float()
        assert sum(p.numel() for p in build(official).parameters()) == meta["param_count"][f"net.{name}"]
        for mode in ("eval", "train"):
            with torch.no_grad():
                ours = build(official).train(mode == "train")(x, segmentation)
            with heard.of("out."):
                golden.agree(meta, f"out.{name}.{mode}", ours, tensors)
    heard.check(golden(LAYERS)[1])


def test_gradients_and_buffers_of_layers_and_blocks(golden: Golden) -> None:
    heard = Heard(golden(LAYERS)[0], "grad_l2_train_mode")
    for meta, tensors, name, build, official in cases(golden):
        x = tensors[f"in.{name}.x"].double().requires_grad_()
        network = build(official).double().train()
        y = network(x, tensors[f"in.{name}.seg"].double())
        (y * tensors[f"in.{name}.grad_weight"].double()).sum().backward()
        found = gradients(build, official, network) | {"x": x.grad}
        with heard.of(kind := "grad_l2_train_mode"):
            same_gradients(golden, meta, meta.get(kind, {}).get(name, {}).get("f64", {}), found, name)
        if list(network.buffers()):
            with heard.of(kind := "buffers_after_train_forward"):
                same_buffers(golden, meta, meta.get(kind, {}).get(name, {}), build, official, network)
    heard.check()


# ----------------------------------------------------------------------------------------------- generator and encoder


def generator_weights(tensors: Tensors, variant: str, upsampling: str) -> Tensors:
    """The shared weights with what this variant replaces or adds."""
    shared = {n: t for n, t in weights(tensors, "net.").items() if upsampling == "most" or not n.startswith("up_4.")}
    return shared | weights(tensors, f"net_{variant}.")


def variants(golden: Golden) -> Iterator[tuple[Meta, Tensors, str, Build, Tensors]]:
    meta, tensors = golden(GENERATORS)
    assert any(f"in.{name}.label" in tensors for name in meta["variants"]), (
        f"{GENERATORS} holds the layout of no variant"
    )
    for name, variant in meta["variants"].items():
        if f"in.{name}.label" in tensors:
            build = build_as("spade.generator", upsampling=variant["num_up"])
            yield meta, tensors, name, build, generator_weights(tensors, name, variant["num_up"])


def run_generator(network: nn.Module, meta: Meta, tensors: Tensors, name: str) -> Tensor:
    dtype = next(network.parameters()).dtype
    style = tensors[f"out.{name}.z"].to(dtype) if f"out.{name}.z" in tensors else None
    return network(semantics(meta["config"], tensors, f"in.{name}").to(dtype), style)


def test_generators(golden: Golden) -> None:
    heard = Heard(golden(GENERATORS)[0], "out.")
    for meta, tensors, name, build, official in variants(golden):
        assert sum(p.numel() for p in build(official).parameters()) == meta["variants"][name]["n_params"]
        assert len(official) == meta["variants"][name]["n_keys"]
        for mode in ("eval", "train"):
            key = f"out.{name}.{mode}"
            with torch.no_grad():
                ours = run_generator(build(official).train(mode == "train"), meta, tensors, name)
            assert list(ours.shape[2:]) == meta["variants"][name]["image_hw"]
            if key in tensors:
                height, width = tensors[key].shape[2:]  # some items keep the top left corner alone
                with heard.of("out."):
                    golden.agree(meta, key, ours[:, :, :height, :width], tensors)
    heard.check(golden(GENERATORS)[1])


@pytest.mark.long
def test_generators_in_float64(golden: Golden) -> None:
    """Sum and norm of the whole photograph, what every layer gives, and what a forward in train mode leaves in the buffers."""
    heard = Heard(golden(GENERATORS)[0], "full_output_checksum", "trace_eval", "buffers_after_train_forward")
    for meta, tensors, name, build, official in variants(golden):
        # z is stored in float32, which shows in the eighth digit.
        relative = 1e-6 if f"out.{name}.z" in tensors else 1e-9
        for mode in ("eval", "train"):
            network = build(official).double().train(mode == "train")
            expected = traces(meta, name) if mode == "eval" else {}
            with torch.no_grad(), recorded(network, expected) as outputs:
                ours = run_generator(network, meta, tensors, name)
            if known := meta.get("full_output_checksum", {}).get(f"out.{name}.{mode}"):
                assert list(ours.shape) == known["shape"]
                close(ours.sum().item(), known["f64"]["sum"], relative, f"{name} {mode}")
                close(ours.norm().item(), known["f64"]["l2"], relative, f"{name} {mode}")
                with heard.of("full_output_checksum"):
                    golden.count(meta["item"], 2)
            with heard.of("trace_eval"):
                for place, value in expected.items():
                    same_trace(golden, meta, place, outputs[place], value)
        with heard.of(kind := "buffers_after_train_forward"):
            same_buffers(golden, meta, meta.get(kind, {}).get(name, {}), build, official, network, relative)
    heard.check()


def traces(meta: Meta, name: str) -> dict[str, Any]:
    """What is known of the outputs of layers in eval mode, by our name of the layer, where it is a module of ours."""
    places = {"fc": "start", "conv_img": "head.1"}
    for number, block in enumerate(BLOCKS):
        places |= {block: f"blocks.{number}"} | _block_modules(f"{block}.", f"blocks.{number}.")
    return {places[k]: v for k, v in meta.get("trace_eval", {}).get(name, {}).items() if k in places}


def same_trace(golden: Golden, meta: Meta, place: str, ours: Tensor, theirs: dict[str, Any]) -> None:
    assert ours.numel() == math.prod(theirs["shape"]), place
    close(ours.norm().item(), theirs["l2"], 1e-5, place)
    assert abs(ours.mean().item() - theirs["mean"]) <= 1e-6 + 1e-5 * abs(theirs["mean"]), place
    golden.count(meta["item"], 2)


@contextmanager
def recorded(network: nn.Module, places: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def keep(place: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.__setitem__(place, output.clone())

    hooks = [network.get_submodule(place).register_forward_hook(keep(place)) for place in places]
    yield found
    for hook in hooks:
        hook.remove()


def test_one_perturbed_weight_is_noticed(golden: Golden) -> None:
    for meta, tensors, name, build, official in variants(golden):
        key = f"out.{name}.eval"
        if key not in tensors:
            continue
        changed = dict(official)
        first = next(n for n, t in official.items() if n.endswith("mlp_gamma.weight"))
        changed[first] = official[first] + 0.05
        height, width = tensors[key].shape[2:]
        with torch.no_grad():
            ours = run_generator(build(changed).eval(), meta, tensors, name)
        with pytest.raises(AssertionError, match="differs by"):
            golden.agree(meta, key, ours[:, :, :height, :width], tensors)
        return  # one will do
    pytest.skip(f"{GENERATORS} holds no photograph")


def test_encoder(golden: Golden) -> None:
    meta, tensors = golden(GENERATORS)
    official, build = weights(tensors, "netE."), build_as("spade.encoder")
    if not official or "in.vae.image" not in tensors:
        pytest.skip(f"{GENERATORS} holds no encoder")
    assert sum(p.numel() for p in build(official).parameters()) == meta["param_count"]["netE"]
    image, heard = tensors["in.vae.image"], Heard(meta)
    for mode in ("eval", "train"):
        with torch.no_grad():
            mean, log_variance = build(official).train(mode == "train")(image.float())
        with heard.of("out.vae.mu_"):
            golden.agree(meta, f"out.vae.mu_{mode}", mean, tensors)
        with heard.of("out.vae.logvar_"):
            golden.agree(meta, f"out.vae.logvar_{mode}", log_variance, tensors)
        if mode == "eval" and "in.vae.eps" in tensors:
            z = mean + tensors["in.vae.eps"].float() * torch.exp(0.5 * log_variance)
            rounding = meta.get("fp64_check", {})  # of z, where it is not told: that of what it is made of
            alike = rounding.get("out.vae.mu_eval", {}), rounding.get("out.vae.logvar_eval", {})
            made = {"max_abs": sum(known.get("max_abs", 0.0) for known in alike) * max(1.0, z.abs().max().item())}
            with heard.of("out.vae.z"):
                known = {"fp64_check": {"out.vae.z": rounding.get("out.vae.z", made)}}
                golden.agree(meta | known, "out.vae.z", z, tensors)
    heard.check(tensors)


def test_encoder_in_float64(golden: Golden) -> None:
    meta, tensors = golden(GENERATORS)
    official, build = weights(tensors, "netE."), build_as("spade.encoder")
    if not official or "in.vae.image" not in tensors:
        pytest.skip(f"{GENERATORS} holds no encoder")
    network, image = build(official).double(), tensors["in.vae.image"].double()
    with torch.no_grad():
        mean, log_variance = network.eval()(image)
        network.train()(image)
    heard = Heard(meta, "kld_vae", "buffers_after_train_forward")
    if "kld_vae" in meta:
        close(losses.kl_divergence(mean, log_variance).item(), meta["kld_vae"]["raw_sum_f64"], what="KL divergence")
        with heard.of("kld_vae"):
            golden.count(meta["item"])
    with heard.of(kind := "buffers_after_train_forward"):
        same_buffers(golden, meta, meta.get(kind, {}).get("netE", {}), build, official, network)
    heard.check()


# ----------------------------------------------------------------------------------------- discriminator and its losses

discriminator = build_as("spade.discriminator")


def judged(network: nn.Module, meta: Meta, tensors: Tensors, image: Tensor) -> list[list[Tensor]]:
    layout = semantics(meta["config"], tensors, "in.batch").to(image.dtype)
    return network(torch.cat([layout, image], dim=1))


def test_discriminator_features(golden: Golden) -> None:
    meta, tensors = golden(DISCRIMINATORS)
    official, image = weights(tensors, "netD."), tensors["in.batch.image"].float()
    network = discriminator(official)
    assert sum(p.numel() for p in network.parameters()) == meta["param_count"]["netD"]
    found = {}
    with torch.no_grad():
        for mode in ("eval", "train"):
            fresh = discriminator(official).train(mode == "train")
            outputs = judged(fresh, meta, tensors, image)
            assert len(outputs) == meta["config"]["num_D"]
            assert {len(layers) for layers in outputs} == {meta["config"]["n_layers_D"] + 1}
            found |= {f"out.D_{mode}.{i}.{j}": t for i, layers in enumerate(outputs) for j, t in enumerate(layers)}
        for scale, layers in enumerate(judged(network.eval(), meta, tensors, -image.flip(-1))):
            found[f"out.D_eval_fake_last.{scale}"] = layers[-1]
    rounding, heard = meta.get("fp64_check", {}), Heard(meta, "out.D_", "D_features")
    for key, ours in found.items():
        # The item tells no rounding error for photographs turned around: it is taken to be that of the others.
        scale, last = key.split(".")[2], meta["config"]["n_layers_D"]
        alike = rounding.get(f"out.D_eval.{scale}.{last}", {})
        with heard.of("out.D_"):
            golden.agree(meta | {"fp64_check": {key: rounding.get(key, alike)}}, key, ours, tensors)
    for entry in meta.get("D_features", []):
        assert list(found[entry["key"]].shape) == entry["full_shape"]
        close(found[entry["key"]].double().norm().item(), entry["l2"], 1e-5, entry["key"])
        assert abs(found[entry["key"]].double().sum().item() - entry["sum"]) <= 1e-5 * found[entry["key"]].abs().sum()
        with heard.of("D_features"):
            golden.count(meta["item"], 2)
    heard.check(tensors)


def test_discriminator_buffers(golden: Golden) -> None:
    meta, tensors = golden(DISCRIMINATORS)
    official = weights(tensors, "netD.")
    network = discriminator(official).double().train()
    with torch.no_grad():
        judged(network, meta, tensors, tensors["in.batch.image"].double())
    heard = Heard(meta)
    with heard.of(kind := "D_buffers_after_train_forward"):
        same_buffers(golden, meta, meta.get(kind, {}), discriminator, official, network)
    heard.check()


@pytest.mark.parametrize("mode", CRITERIA)
def test_criteria(golden: Golden, mode: str) -> None:
    meta, tensors = golden(DISCRIMINATORS)
    if mode not in meta.get("criteria", {}):
        pytest.skip(f"{DISCRIMINATORS} has no criterion {mode}")
    of_d, of_g = CRITERIA[mode]
    network = discriminator(weights(tensors, "netD.")).double().eval()
    image = tensors["in.batch.image"].double()
    with torch.no_grad():
        real, fake = judged(network, meta, tensors, image), judged(network, meta, tensors, -image.flip(-1))
    found = {
        "D_Fake": losses.mean_over_scales(of_d, fake, False),
        "D_real": losses.mean_over_scales(of_d, real, True),
        "GAN(G)": losses.mean_over_scales(of_g, fake, True),
    }
    heard = Heard(meta)
    with heard.of("criteria"):
        for key, value in meta["criteria"][mode]["f64"].items():
            close(found[key].item(), value, what=f"{mode} {key}")
            golden.count(meta["item"])
    heard.check()


class Step:
    """Generator and discriminator with the weights of the item, fresh, in train mode, and one forward of both."""

    def __init__(self, golden: Golden, dtype: torch.dtype = torch.float64) -> None:
        self.meta, tensors = golden(DISCRIMINATORS)
        config = self.meta["config"]
        source = re.match(r"(\w+)\.safetensors(?: \(variant (\w+)\))?", config["generator_weights"])
        assert source is not None
        upsampling = config["variant"]["num_up"]
        self.build = build_as("spade.generator", upsampling=upsampling)
        _, others = golden(source[1])
        self.official = generator_weights(others, source[2] or upsampling, upsampling)
        self.generator = self.build(self.official).to(dtype).train()
        self.official_discriminator = weights(tensors, "netD.")
        self.discriminator = discriminator(self.official_discriminator).to(dtype).train()
        self.layout = semantics(config, tensors, "in.batch").to(dtype)
        self.image, self.tensors = tensors["in.batch.image"].to(dtype), tensors
        self.of_d, self.of_g = CRITERIA[config["gan_mode"]]

    def judge(self, fake: Tensor) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """One call for both, fakes first, as the official code has it."""
        pairs = torch.cat([torch.cat([self.layout, image], dim=1) for image in (fake, self.image)])
        outputs = self.discriminator(pairs)
        half = len(fake)
        return [[t[:half] for t in layers] for layers in outputs], [[t[half:] for t in layers] for layers in outputs]


def test_generator_step(golden: Golden) -> None:
    step = Step(golden)
    fake, real = step.judge(step.generator(step.layout))
    gan = losses.mean_over_scales(step.of_g, fake, True)
    features = losses.feature_matching(fake, real) * step.meta["config"]["lambda_feat"]
    expected = step.meta["generator_losses"]["f64"]
    close(gan.item(), expected["GAN"], what="GAN")
    close(features.item(), expected["GAN_Feat"], what="GAN_Feat")
    (gan + features).backward()
    found, heard = gradients(step.build, step.official, step.generator), Heard(step.meta)
    with heard.of(kind := "grad_l2_generator_step"):
        same_gradients(golden, step.meta, step.meta[kind]["netG"], found, "netG")
    heard.check()


def test_discriminator_step(golden: Golden) -> None:
    step = Step(golden)
    with torch.no_grad():
        photograph = step.generator(step.layout)
    fake, real = step.judge(photograph)
    of_fake = losses.mean_over_scales(step.of_d, fake, False)
    of_real = losses.mean_over_scales(step.of_d, real, True)
    expected = step.meta["discriminator_losses"]["f64"]
    close(of_fake.item(), expected["D_Fake"], what="D_Fake")
    close(of_real.item(), expected["D_real"], what="D_real")
    (of_fake + of_real).backward()
    found, heard = gradients(discriminator, step.official_discriminator, step.discriminator), Heard(step.meta)
    with heard.of(kind := "grad_l2_discriminator_step"):
        same_gradients(golden, step.meta, step.meta[kind], found, "netD")
    heard.check()


def test_fake_of_the_generator_step(golden: Golden) -> None:
    step = Step(golden, torch.float32)
    heard = Heard(step.meta)
    with torch.no_grad(), heard.of("out.fake_train"):
        golden.agree(step.meta, "out.fake_train", step.generator(step.layout), step.tensors)
    heard.check(step.tensors)
