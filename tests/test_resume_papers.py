"""Runs of pix2pix and SPADE that are stopped and resumed end as those that never stopped, to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gesso.checkpoints import states
from gesso.cli.common import DataFlags
from gesso.cli.train import open_data
from gesso.recipes import RECIPES
from gesso.train import fit

pytestmark = pytest.mark.usefixtures("one_thread")
SHARED: dict[str, Any] = {
    "resize": "fixed",
    "height": 32,
    "width": 64,
    "generator_width": 2,
    "discriminator_width": 4,
    "discriminator_layers": 1,
    "batch": 2,
    "accumulate": 1,
    "epochs": 2,
    "epochs_decay": 0,
    "save_every": 3,
    "workers": 0,
    "ema": 0.9,
    "diffaugment": "color,translation,cutout",
    "warp": 0.5,
}
CASES: dict[str, dict[str, Any]] = {
    "pix2pix dropout": {"generator_downs": 6, "norm": "batch", "dropout": 0.5},  # 32x64 is padded to 64x64
    "pix2pix noise": {"generator_downs": 3, "norm": "batch", "noise_channels": 2, "statistics": "running"},
    "spade layout": {"hidden": 4, "norm": "sync_batch"},
    "spade style": {"hidden": 4, "norm": "batch", "style_encoder": True, "encoder_width": 4, "encoder_downs": 3},
}


def trained(name: str, root: Path, run: Path, *stops: int | None) -> Path:
    recipe = RECIPES[name.split()[0]]
    config = recipe.Config.model_validate({**SHARED, **CASES[name]})
    for stop in stops:
        data = open_data(recipe, config, root, DataFlags(), "train", "val")
        fit(recipe, config, data, run, device="cpu", stop_at=stop)
    return run


@pytest.mark.long
@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_stopped_and_resumed(name: str, tiny_dataset: Path, tmp_path: Path) -> None:
    whole = trained(name, tiny_dataset, tmp_path / "whole", None)
    parts = trained(name, tiny_dataset, tmp_path / "parts", 2, 4, None)
    ours, theirs = (states(run / "state")[-1] for run in (parts, whole))
    assert ours.name == theirs.name
    for file in sorted(theirs.iterdir()):
        assert (ours / file.name).read_bytes() == file.read_bytes(), f"{file.name} differs"
    model, wanted = (load_file(run / "model.safetensors") for run in (parts, whole))
    assert model.keys() == wanted.keys()
    assert all(torch.equal(model[key], wanted[key]) for key in wanted)


@pytest.mark.long
def test_statistics_are_those_of_the_averaged_weights(tiny_dataset: Path, tmp_path: Path) -> None:
    """They are in the model file alone: the state keeps what training measured, so that it can go on exactly."""
    run = trained("spade layout", tiny_dataset, tmp_path / "run", None)
    model, kept = load_file(run / "model.safetensors"), load_file(states(run / "state")[-1] / "averaged.safetensors")
    assert model.keys() == kept.keys()
    differing = {key.rpartition(".")[2] for key in kept if not torch.equal(kept[key], model[key])}
    assert {"running_mean", "running_var"} <= differing
    assert not differing & {"weight", "bias"}


def test_statistics_are_measured_on_pictures_of_different_sizes(tiny_dataset: Path, tmp_path: Path) -> None:
    """Where training takes them one by one, too."""
    root = tmp_path / "data"
    shutil.copytree(tiny_dataset, root)
    for kind in ("images", "labels"):
        path = root / "train" / kind / "scene3.png"
        Image.open(path).crop((0, 0, 32, 32)).save(path)
    recipe = RECIPES["pix2pixhd"]
    changes = {
        "resize": "none",
        "accumulate": 2,
        "norm": "batch",
        "generator_downs": 2,
        "generator_blocks": 1,
        "epochs": 1,
    }
    config = recipe.Config.model_validate(
        {**SHARED, **changes, "discriminator_scales": 1, "diffaugment": "", "warp": 0.0}
    )
    data = open_data(recipe, config, root, DataFlags(), "train", "val")
    assert fit(recipe, config, data, tmp_path / "run", device="cpu").finished
