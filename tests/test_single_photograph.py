"""A data set of a single photograph, down to a single pixel inside the networks: what averaged weights are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gesso.cli.common import DataFlags
from gesso.cli.train import open_data
from gesso.errors import ConfigError, DataError
from gesso.recipes import spade
from gesso.train import fit

pytestmark = pytest.mark.usefixtures("one_thread")
TINY: dict[str, Any] = {
    "generator_width": 2,
    "hidden": 4,
    "norm": "sync_batch",
    "discriminator_width": 4,
    "discriminator_layers": 1,
    "resize": "none",
    "batch": 2,
    "epochs_decay": 0,
    "workers": 0,
    "ema": 0.9,
}


@pytest.fixture
def single(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The first sample of the tiny data, 32x64."""
    for kind in ("images", "labels"):
        (tmp_path / "data" / "train" / kind).mkdir(parents=True)
        name = f"train/{kind}/scene0.png"
        (tmp_path / "data" / name).write_bytes((tiny_dataset / name).read_bytes())
    (tmp_path / "data" / "labels.json").write_bytes((tiny_dataset / "labels.json").read_bytes())
    return tmp_path / "data"


def narrow(root: Path, name: str = "scene0") -> None:
    """32x32 is 1x1 where SPADE begins."""
    for path in root.glob(f"train/*/{name}.png"):
        Image.open(path).crop((0, 0, 32, 32)).save(path)


def train(root: Path, run: Path, **changes: Any) -> dict[str, torch.Tensor]:
    config = spade.Config(**{**TINY, **changes})
    data = open_data(spade, config, root, DataFlags(), "train", "val")
    fit(spade, config, data, run, device="cpu", stop_at=1)
    return load_file(run / "model.safetensors")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The photographs of each batch that statistics are measured on."""
    seen: list[torch.Tensor] = []

    def note(networks: Any, batches: Any, run: Any) -> Any:
        seen[:] = [batch["image"] for batch in batches()]
        return networks

    monkeypatch.setattr("gesso.session.settled", note)
    return seen


def test_statistics_see_the_crops_and_flips_of_many_passes(
    single: Path, tmp_path: Path, measured: list[torch.Tensor]
) -> None:
    train(single, tmp_path / "run", crop=(32, 32))
    assert [len(images) for images in measured] == [2] * 16
    assert len(torch.unique(torch.cat(measured), dim=0)) > 20


def test_so_does_a_picture_of_a_size_of_its_own(
    tiny_dataset: Path, tmp_path: Path, measured: list[torch.Tensor]
) -> None:
    for path in (p for p in tiny_dataset.rglob("*") if p.is_file() and "val" not in p.parts):
        copy = tmp_path / "data" / path.relative_to(tiny_dataset)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    narrow(tmp_path / "data", "scene3")
    # So many processes would take them one by one; this one gets no further than to the first sheet of samples.
    with pytest.raises(DataError, match="scene3"):
        train(tmp_path / "data", tmp_path / "run", batch=16, accumulate=2)
    (alone,) = (images for images in measured if images.shape[3] == 32)
    assert len(alone) == 8
    assert len(torch.unique(alone, dim=0)) == 2, "as it is and mirrored"


@pytest.mark.long
def test_at_a_single_pixel_the_variance_is_that_of_training(single: Path, tmp_path: Path) -> None:
    """Copies would have none, and every other layout would be blown up 300 times."""
    name = "generator.blocks.0.first_norm.norm.running_var"
    assert 0 < train(single, tmp_path / "crops", crop=(32, 32))[name].max() < 1
    narrow(single)
    always_the_same = train(single, tmp_path / "same", flip=False)[name]
    assert torch.equal(always_the_same, torch.ones_like(always_the_same))


def test_one_at_a_time_is_refused_before_training(single: Path, tmp_path: Path) -> None:
    narrow(single)
    with pytest.raises(ConfigError, match="a single value per channel"):
        train(single, tmp_path / "run", batch=1)
    assert not (tmp_path / "run" / "state").exists()
