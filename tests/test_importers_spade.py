"""Official SPADE weights: what has to be said, what is refused, and what is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso.errors import ModelFileError
from gesso.importers import import_official, load_official, pix2pix, pix2pixhd, spade
from gesso.networks.frugal import Layers
from gesso.networks.spade import MultiscaleDiscriminator, SpadeGenerator, StyleEncoder, initialise

WORDS = {
    "start.linear.": "fc.",
    "start.": "fc.",
    "head.1.": "conv_img.",
    "first.": "conv_0.",
    "second.": "conv_1.",
    "shortcut.": "conv_s.",
    "first_norm.": "norm_0.",
    "second_norm.": "norm_1.",
    "shortcut_norm.": "norm_s.",
}
INSIDE = {"norm.": "param_free_norm.", "shared.": "mlp_shared.0.", "gamma.": "mlp_gamma.", "beta.": "mlp_beta."}
SPECTRAL = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"}
BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")


def official_generator(network: SpadeGenerator) -> dict[str, Tensor]:
    """Our tensors under official names, written down here a second time."""
    found = {}
    state = network.state_dict()
    for ours, tensor in state.items():
        if block := re.match(r"blocks\.(\d)\.(\w+\.)(.+)", ours):
            number, part, rest = int(block[1]), block[2], block[3]
            if part.endswith("norm."):
                module, _, leaf = rest.rpartition(".")
                rest = f"{INSIDE[module + '.']}{leaf}"
            elif f"blocks.{number}.{part}u" in state:
                rest = SPECTRAL.get(rest, rest)
            found[f"{BLOCKS[number]}.{WORDS[part]}{rest}"] = tensor
        else:
            prefix = next(p for p in WORDS if ours.startswith(p))
            found[WORDS[prefix] + ours.removeprefix(prefix)] = tensor
    return found


@pytest.fixture(autouse=True)
def fixed_random_numbers(one_thread: None) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def generator(**changes: Any) -> SpadeGenerator:
    torch.manual_seed(0)
    network = SpadeGenerator(**{"in_channels": 5, "width": 2, "hidden": 6, "norm": "batch"} | changes)
    initialise(network, gain=1.0)
    return network.eval()


def layout(network: SpadeGenerator) -> Tensor:
    return torch.rand(1, 5, network.multiple, 2 * network.multiple, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("upsampling", ["normal", "more", "most"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "instance"}, {"kernel": 1, "hidden": 7, "width": 3}, {"spectral": False}, {"out_channels": 1}],
    ids=str,
)
def test_generators_come_back(upsampling: str, changes: dict[str, Any]) -> None:
    network = generator(upsampling=upsampling, **changes)
    found = import_official(official_generator(network), "spade.generator", upsampling=upsampling)
    expected = {"in_channels": 5, "width": 2, "hidden": 6, "norm": "batch", "upsampling": upsampling} | changes
    assert expected.items() <= found.arguments.items()
    rebuilt = SpadeGenerator(**found.arguments).eval()
    rebuilt.load_state_dict(found.network.state_dict())
    assert torch.equal(rebuilt(layout(network)), network(layout(network)))


def test_the_caller_s_tensors_are_not_shared() -> None:
    tensors = official_generator(generator())
    network = load_official(tensors, "spade.generator", upsampling="normal")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    network.train()(torch.rand(2, 5, 32, 64))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors.items())


# --- normal, more and most ---


def refusal(tensors: dict[str, Tensor], kind: str, **config: Any) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_official(tensors, kind, **config)
    return str(caught.value)


def test_normal_and_more_have_to_be_told_apart_by_hand() -> None:
    tensors = official_generator(generator())
    said = refusal(tensors, "spade.generator")
    assert "same tensors" in said
    assert "upsampling normal or more" in said
    assert "opt.txt" in said
    sizes = {
        name: load_official(tensors, "spade.generator", upsampling=name).multiple  # type: ignore[union-attr]
        for name in ("normal", "more")
    }
    assert sizes == {"normal": 32, "more": 64}


@pytest.mark.parametrize("upsampling", ["normal", "more"])
def test_most_is_recognised_and_not_loaded_as_anything_else(upsampling: str) -> None:
    tensors = official_generator(generator(upsampling="most"))
    assert import_official(tensors, "spade.generator").arguments["upsampling"] == "most"
    said = refusal(tensors, "spade.generator", upsampling=upsampling)
    assert "up_4." in said
    assert f"cannot be loaded as {upsampling!r}" in said


def test_other_weights_are_not_loaded_as_most() -> None:
    assert "no block up_4" in refusal(official_generator(generator()), "spade.generator", upsampling="most")


def test_an_unknown_upsampling_is_refused() -> None:
    said = refusal(official_generator(generator()), "spade.generator", upsampling="twice")
    assert "'twice'" in said
    assert "normal, more and most" in said


# --- the latent grid ---


def test_the_latent_grid_may_be_said_or_left_to_the_first_layout() -> None:
    network = generator(latent=4, latent_grid=(2, 4))
    tensors, z = official_generator(network), torch.ones(1, 4)
    semantics = torch.rand(1, 5, 64, 128)
    said = import_official(tensors, "spade.generator", upsampling="normal", latent_grid=(2, 4))
    assert said.arguments["latent_grid"] == (2, 4)
    assert said.arguments["latent"] == 4
    left = import_official(tensors, "spade.generator", upsampling="normal")
    assert left.arguments["latent_cells"] == 8
    expected = network(semantics, z)
    for found in (said, left):
        assert torch.equal(found.network.eval()(semantics, z), expected)
        assert found.network.latent_grid == (2, 4)


def test_another_latent_grid_is_refused() -> None:
    tensors = official_generator(generator(latent=4, latent_grid=(2, 4)))
    said = refusal(tensors, "spade.generator", upsampling="normal", latent_grid=(3, 3))
    assert "fc.weight has shape (256, 4)" in said
    assert "3 rows and 3 columns" in said


def test_a_latent_grid_for_weights_without_z_is_refused() -> None:
    tensors = official_generator(generator())
    said = refusal(tensors, "spade.generator", upsampling="normal", latent_grid=(1, 2))
    assert "begin from the layout" in said


# --- discriminators and encoders ---


def official_layers(layers: Layers | nn.Sequential, names: list[str]) -> dict[str, Tensor]:
    found = {}
    for module, name in zip(layers, names, strict=True):
        spectral = "u" in dict(module.named_buffers())
        for leaf, tensor in module.state_dict().items():
            found[f"{name}.{SPECTRAL.get(leaf, leaf) if spectral else leaf}"] = tensor
    return found


def official_discriminator(network: MultiscaleDiscriminator, norm: str) -> dict[str, Tensor]:
    found = {}
    for s, scale in enumerate(network.scales):
        last = len(scale.layers) - 1
        for j, layers in enumerate(scale.layers):
            start = f"discriminator_{s}.model{j}.0"
            if j in (0, last) or norm == "none":
                found |= official_layers(layers, [start, "norm", "activation"][: len(layers)])
            else:
                found |= official_layers(layers, [f"{start}.0", f"{start}.1", "activation"])
    return found


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize(("scales", "layers"), [(2, 3), (1, 2), (3, 4)])
def test_discriminators_come_back(norm: str, scales: int, layers: int) -> None:
    arguments = {"in_channels": 7, "width": 3, "layers": layers, "scales": scales, "norm": norm, "spectral": True}
    network = MultiscaleDiscriminator(**arguments).eval()
    found = import_official(official_discriminator(network, norm), "spade.discriminator")
    assert found.arguments == arguments
    x = torch.rand(1, 7, 64, 64)
    torch.testing.assert_close(found.network.eval()(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("downs", [5, 6])
def test_encoders_come_back(norm: str, downs: int) -> None:
    arguments = {"in_channels": 3, "width": 2, "latent": 5, "downs": downs, "norm": norm}
    network = StyleEncoder(**arguments).eval()
    names = []
    for i in range(downs):
        own = f"layer{i + 1}" if norm == "none" else f"layer{i + 1}.0"
        names += [own, f"layer{i + 1}.1", "activation"]
    tensors = official_layers(network.down, names)
    tensors |= {f"fc_mu.{leaf}": t for leaf, t in network.mean.state_dict().items()}
    tensors |= {f"fc_var.{leaf}": t for leaf, t in network.log_variance.state_dict().items()}
    found = import_official(tensors, "spade.encoder")
    assert found.arguments == arguments
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(found.network.eval()(image), network(image), rtol=0, atol=0)
    assert spade.kind_of(tensors) == "encoder"


# --- damaged files ---


def test_no_weights_at_all() -> None:
    for kind in ("generator", "discriminator", "encoder", "layer", "block"):
        config = {"upsampling": "normal"} if kind == "generator" else {}
        refusal({}, f"spade.{kind}", **config)
        refusal({"model.1.weight": torch.zeros(3, 3, 3, 3)}, f"spade.{kind}", **config)


@pytest.mark.parametrize("leaf", ["weight_u", "weight_v"])
def test_spectral_norm_without_its_vectors_is_refused(leaf: str) -> None:
    """Loaded without them, the weights would be divided by anything."""
    tensors = {n: t for n, t in official_generator(generator()).items() if not n.endswith(leaf)}
    assert f"head_0.conv_0.{leaf}" in refusal(tensors, "spade.generator", upsampling="normal")


@pytest.mark.parametrize("count", [None, 0, 7])
def test_any_count_of_batches_will_do(count: int | None) -> None:
    tensors = official_generator(generator())
    for name in [n for n in tensors if n.endswith("num_batches_tracked")]:
        tensors.pop(name)
        if count is not None:
            tensors[name] = torch.tensor(count)
    network = load_official(tensors, "spade.generator", upsampling="normal")
    counted = [t.item() for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")]
    assert set(counted) == {count or 0}
    assert len(counted) == 18


def test_a_width_that_is_none_is_refused() -> None:
    tensors = official_generator(generator(width=1))
    tensors["head_0.conv_0.weight_orig"] = torch.zeros(17, 16, 3, 3)
    said = refusal(tensors, "spade.generator", upsampling="normal")
    assert "head_0.conv_0.weight_orig has 17 channels" in said


# --- which file is which ---


def test_kinds_of_files() -> None:
    files = {
        "generator": official_generator(generator()),
        "discriminator": official_discriminator(MultiscaleDiscriminator(in_channels=7, width=2), "instance"),
    }
    for kind, tensors in files.items():
        assert spade.kind_of(tensors) == kind
    for others in (["model.1.weight"], ["layer0.0.weight"], ["model.model.0.weight"], ["scale0_layer0.0.weight"], []):
        assert spade.kind_of(dict.fromkeys(others, torch.zeros(1))) is None


def test_modules_of_other_papers_have_kinds_of_their_own() -> None:
    assert pix2pixhd.kind_of(official_generator(generator())) is None
    assert pix2pix.kind_of(official_generator(generator())) is None
