"""Bending of the layout that the generator is given (arXiv 2011.12636), and of nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from gesso import labels
from gesso.batches import with_semantics
from gesso.checkpoints import states
from gesso.cli.common import DataFlags
from gesso.cli.train import open_data
from gesso.data import warp
from gesso.data.dataset import collate
from gesso.errors import ConfigError
from gesso.estimates import estimate
from gesso.recipes import RECIPES, pix2pixhd
from gesso.train import fit
from support import PlainEngine

pytestmark = pytest.mark.usefixtures("one_thread")

SEEN = {"seen_label", "seen_instance", "seen_from"}
KEYS = [(index, epoch) for epoch in range(4) for index in range(7)]
SMALL: dict[str, Any] = {
    "resize": "fixed",
    "height": 32,
    "width": 64,
    "generator_width": 2,
    "discriminator_width": 4,
    "discriminator_layers": 1,
    "batch": 2,
    "epochs": 2,
    "epochs_decay": 0,
    "workers": 0,
}
CASES: dict[str, dict[str, Any]] = {
    "pix2pix": {"generator_downs": 3, "dropout": 0.0},
    "pix2pix noise": {"generator_downs": 3, "noise_channels": 2},
    "pix2pix parts": {"generator_downs": 3, "norm": "instance", "accumulate": 2},
    "pix2pixhd": {"generator_downs": 2, "generator_blocks": 1},
    "pix2pixhd instances": {
        "generator_downs": 2,
        "generator_blocks": 1,
        "instance_features": True,
        "encoder_width": 2,
        "encoder_downs": 2,
    },
    "pix2pixhd labels": {
        "generator_downs": 2,
        "generator_blocks": 1,
        "label_features": True,
        "encoder_width": 2,
        "encoder_downs": 2,
    },
    "spade": {"hidden": 4, "norm": "instance"},
    "spade style": {
        "hidden": 4,
        "norm": "instance",
        "style_encoder": True,
        "encoder_width": 4,
        "encoder_downs": 3,
    },
}


def configured(name: str, **settings: Any) -> Any:
    recipe, changes = RECIPES[name.split()[0]], SMALL | CASES[name] | settings
    return recipe, recipe.Config.model_validate(changes)


def opened(root: Path, name: str = "pix2pixhd", flags: DataFlags | None = None, **settings: Any) -> Any:
    recipe, config = configured(name, **settings)
    return open_data(recipe, config, root, flags or DataFlags(), "train", "val")


# --- samples ---


def test_the_setting_is_a_strength_and_off_by_default() -> None:
    for recipe in RECIPES.values():
        assert all(preset.warp_layout == 0 for preset in [recipe.Config(), *recipe.PRESETS.values()])
        with pytest.raises(ValidationError, match="warp_layout"):
            recipe.Config(warp_layout=1.5)


@pytest.mark.parametrize("both", [0.0, 0.8])
def test_only_copies_are_bent_and_other_draws_stay_as_they_were(tiny_dataset: Path, both: float) -> None:
    without, data = (opened(tiny_dataset, warp=both, warp_layout=strength) for strength in (0.0, 1.0))
    straight = 0
    for key in KEYS:
        plain, found = without.training[key], data.training[key]
        assert found.keys() - plain.keys() == SEEN
        assert not plain.keys() - found.keys()
        assert all(torch.equal(plain[name], found[name]) for name in ("label", "instance", "image"))
        places = found["seen_from"]
        for name in ("label", "instance"):  # one displacement for both
            assert torch.equal(found[f"seen_{name}"], found[name].flatten()[places])
            assert found[f"seen_{name}"].dtype == found[name].dtype
        straight += torch.equal(places.flatten(), torch.arange(places.numel()))
    assert 0.25 < straight / len(KEYS) < 0.75


def test_it_follows_from_seed_epoch_and_index(tiny_dataset: Path) -> None:
    data, again, other = (opened(tiny_dataset, warp_layout=1.0, seed=seed) for seed in (0, 0, 1))
    kept = {key: data.training[key]["seen_from"] for key in KEYS}
    assert all(torch.equal(again.training[key]["seen_from"], kept[key]) for key in reversed(KEYS))
    assert any(not torch.equal(other.training[key]["seen_from"], kept[key]) for key in KEYS)
    assert any(not torch.equal(kept[0, 0], kept[0, epoch]) for epoch in range(1, 4))


def test_its_displacement_is_that_of_bending() -> None:
    label = torch.arange(24 * 40).reshape(24, 40)
    seed = next(s for s in range(20) if warp.draw((24, 40), 1.0, np.random.default_rng(s)) is not None)
    item: dict[str, Any] = {"label": label}
    warp.bend_layout(item, 1.0, np.random.default_rng(seed))
    field = warp.draw((24, 40), 1.0, np.random.default_rng(seed))
    assert field is not None
    assert item.keys() == {"label", "seen_label", "seen_from"}
    assert torch.equal(item["seen_label"], warp.bend_map(label, field))
    assert not torch.equal(item["seen_label"], label)


def test_held_out_samples_are_never_bent(tiny_dataset: Path) -> None:
    data = opened(tiny_dataset, warp_layout=1.0)
    assert all(not data.validation[index].keys() & SEEN for index in range(2))


def test_phases_at_smaller_sizes_bend_too(tiny_dataset: Path) -> None:
    item = opened(tiny_dataset, warp_layout=1.0).shrunk(2, 4).training[0, 0]
    assert item.keys() >= SEEN and item["seen_from"].shape == item["label"].shape == (16, 32)


# --- batches ---


def crooked(root: Path, name: str = "pix2pixhd", **settings: Any) -> tuple[dict[str, Any], labels.Semantics]:
    """A batch whose first layout is bent and whose second is straight."""
    data = opened(root, name, warp_layout=1.0, **settings)
    items = [data.training[key] for key in KEYS]
    bent = [not torch.equal(item["label"], item["seen_label"]) for item in items]
    batch = collate([items[bent.index(True)], items[bent.index(False)]])
    return with_semantics(batch, data.semantics), data.semantics


@pytest.mark.parametrize("colours", [False, True])
def test_batches_hold_the_semantics_of_bent_layouts(tiny_dataset: Path, colours: bool) -> None:
    flags = DataFlags(input="colours") if colours else None
    batch, semantics = crooked(tiny_dataset, flags=flags, boundary=True)
    assert semantics.boundary and bool(semantics.colours) == colours
    wanted = semantics.encode({"label": batch["seen_label"], "instance": batch["seen_instance"]})
    assert torch.equal(batch["seen"], wanted)
    assert torch.equal(batch["semantics"], semantics.encode(batch))
    assert not torch.equal(batch["seen"][0], batch["semantics"][0])
    assert torch.equal(batch["seen"][1], batch["semantics"][1])


def test_without_the_setting_batches_are_as_ever(tiny_dataset: Path) -> None:
    data = opened(tiny_dataset)
    batch = with_semantics(collate([data.training[0, 0], data.training[1, 0]]), data.semantics)
    assert batch.keys() == {"label", "instance", "image", "name", "size", "semantics"}


# --- training steps ---


class Spy(nn.Module):
    """A network that remembers what it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.given: list[tuple[Any, ...]] = []

    def forward(self, *inputs: Any) -> Any:
        self.given.append(tuple(x.detach().clone() if isinstance(x, Tensor) else x for x in inputs))
        return self.network(*inputs)


def stepped(name: str, batch: dict[str, Any], semantics: labels.Semantics) -> tuple[dict[str, Spy], dict[str, Tensor]]:
    recipe, config = configured(name, warp_layout=1.0)
    torch.manual_seed(0)
    players = recipe.build(config, semantics)
    optimizers = recipe.optimizers(config, players)
    spies = players.trained = {role: Spy(network.train()) for role, network in players.trained.items()}
    tensors = {key: value for key, value in batch.items() if isinstance(value, Tensor)}
    parts = [{key: value[i :: config.accumulate] for key, value in tensors.items()} for i in range(config.accumulate)]
    torch.manual_seed(1)
    return spies, recipe.train_step(config, players, optimizers, parts, PlainEngine())


@pytest.mark.parametrize("name", CASES)
def test_the_generator_alone_is_given_the_bent_layout(name: str, tiny_dataset: Path) -> None:
    batch, semantics = crooked(tiny_dataset, name)
    spies, _ = stepped(name, batch, semantics)
    parts = configured(name)[1].accumulate

    generated = spies["generator"].given
    for position, given in enumerate(generated):
        assert torch.equal(given[0], batch["seen"][position % parts :: parts])
    judged = [x[:, :-3] for (x,) in spies["discriminator"].given]
    pictures = [x[:, -3:] for (x,) in spies["discriminator"].given]
    assert len(judged) >= 2
    for x in judged:
        assert any(
            torch.equal(rows, batch["semantics"][i::parts]) for rows in x.split(2 // parts) for i in range(parts)
        )
        assert not any(torch.equal(row, batch["seen"][0]) for row in x)
    shown = torch.cat(pictures)
    assert all(any(torch.equal(photograph, picture) for picture in shown) for photograph in batch["image"])
    if "encoder" in spies:
        assert all(torch.equal(given[0], batch["image"]) for given in spies["encoder"].given)


@pytest.mark.parametrize("name", CASES)
def test_losses_compare_with_the_true_photograph_and_follow_the_generators_input(name: str, tiny_dataset: Path) -> None:
    """The same step, written as one whose semantics D alone keeps: swapping G's input changes G's terms."""
    batch, semantics = crooked(tiny_dataset, name)
    straight = {key: value for key, value in batch.items() if key not in {*SEEN, "seen"}}
    unbent = {**batch, "seen": batch["semantics"], "seen_from": torch.arange(32 * 64).view(1, 32, 64).expand(2, -1, -1)}
    _, without = stepped(name, straight, semantics)
    _, same = stepped(name, unbent, semantics)
    _, found = stepped(name, batch, semantics)
    assert all(torch.equal(without[term], same[term]) for term in without)  # bent by nothing: the step without
    assert any(not torch.equal(without[term], found[term]) for term in without if term.startswith("G_"))


@pytest.mark.parametrize("name", ["pix2pixhd instances", "pix2pixhd labels"])
def test_features_are_pooled_over_objects_as_photographed_and_laid_over_bent_ones(
    name: str, tiny_dataset: Path
) -> None:
    batch, semantics = crooked(tiny_dataset, name)
    spies, _ = stepped(name, batch, semantics)
    keys, seen_keys = batch["label"], batch["seen_label"]
    if "instances" in name:
        keys = labels.instance_keys(keys, batch["instance"])
        seen_keys = labels.instance_keys(seen_keys, batch["seen_instance"])
    ((image, regions),) = spies["encoder"].given
    assert torch.equal(regions, keys)

    recipe, config = configured(name)
    torch.manual_seed(0)
    pooled = recipe.build(config, semantics).trained["encoder"](image, keys).detach()
    ((_, style),) = spies["generator"].given
    for number in range(2):  # every bent object has the features of the straight one
        for key in keys[number].unique():
            (wanted,) = pooled[number][:, keys[number] == key].unique(dim=1).T
            there = style[number][:, seen_keys[number] == key]
            assert torch.equal(there, wanted[:, None].expand_as(there))
    assert not torch.equal(style[0], pooled[0])
    assert torch.equal(style[1], pooled[1])


def test_gradients_of_laid_features_agree_with_finite_differences() -> None:
    values = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    places = torch.randint(20, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: warp.lay(x, places), (values,))


@pytest.mark.parametrize("name", CASES)
def test_pictures_for_people_are_made_from_the_true_layout(name: str, tiny_dataset: Path) -> None:
    batch, semantics = crooked(tiny_dataset, name)
    recipe, config = configured(name)
    torch.manual_seed(0)
    networks = {role: network.eval() for role, network in recipe.build(config, semantics).trained.items()}
    straight = {key: value for key, value in batch.items() if key not in {*SEEN, "seen"}}
    with torch.no_grad():
        assert torch.equal(recipe.synthesise(config, networks, batch), recipe.synthesise(config, networks, straight))


# --- around it ---


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("pix2pix noise", "32-true"),
        ("pix2pixhd instances", "32-true"),
        ("pix2pixhd instances", "bf16-mixed"),
        ("spade style", "32-true"),
    ],
)
def test_a_step_can_be_estimated(name: str, precision: str) -> None:
    semantics = labels.Semantics(classes=5, boundary=True)
    found = []
    for strength in (0.0, 1.0):
        recipe, config = configured(name, warp_layout=strength, precision=precision)
        found.append(estimate(recipe, config, semantics, (32, 64), measure=False))
    assert found[0].flops == found[1].flops
    assert found[0].memory < found[1].memory


def test_pictures_as_input_are_refused_in_words(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(255, size=(32, 64, 3), dtype=np.uint8)
    for folder in ("sources", "images"):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    flags = DataFlags(sources=tmp_path / "sources", images=tmp_path / "images")
    for name in ("pix2pix", "pix2pixhd", "spade"):
        recipe, config = configured(name, warp_layout=0.5)
        with pytest.raises(ConfigError, match=re.escape("--warp-layout bends label maps")):
            open_data(recipe, config, None, flags, "train", "val")
        recipe, config = configured(name, warp=0.5)
        assert open_data(recipe, config, None, flags, "train", "val").training.warp == 0.5


def trained(name: str, root: Path, run: Path, *stops: int | None) -> Path:
    recipe, config = configured(name, warp_layout=1.0, warp=0.5, ema=0.9, save_every=3, sample_every=3)
    for stop in stops:
        fit(
            recipe,
            config,
            open_data(recipe, config, root, DataFlags(), "train", "val"),
            run,
            stop_at=stop,
            device="cpu",
        )
    return run


def test_stopped_and_resumed(tiny_dataset: Path, tmp_path: Path) -> None:
    name = "pix2pixhd instances"
    whole = trained(name, tiny_dataset, tmp_path / "whole", None)
    parts = trained(name, tiny_dataset, tmp_path / "parts", 2, 4, None)
    ours, theirs = (states(run / "state")[-1] for run in (parts, whole))
    assert ours.name == theirs.name
    for file in sorted(theirs.iterdir()):
        assert (ours / file.name).read_bytes() == file.read_bytes(), f"{file.name} differs"


def test_a_run_cannot_go_on_with_another_strength(tiny_dataset: Path, tmp_path: Path) -> None:
    run = trained("pix2pixhd", tiny_dataset, tmp_path / "run", 1)
    recipe, config = configured("pix2pixhd", warp=0.5, ema=0.9, save_every=3, sample_every=3)
    data = open_data(pix2pixhd, config, tiny_dataset, DataFlags(), "train", "val")
    with pytest.raises(ConfigError, match=r"warp_layout \(1\.0 there, 0\.0 now\)"):
        fit(recipe, config, data, run, device="cpu")
