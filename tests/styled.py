"""A tiny model with style, and scenes for it: what the tests of styles share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gesso.checkpoints import Model, save_model
from gesso.data.preprocessing import Preprocessing
from gesso.data.spaces import published
from gesso.labels import Semantics
from gesso.model_info import ModelInfo, NetworkDescription, StyleDescription, StyleTable
from gesso.networks import pix2pixhd

SPACE = published("toy")
CAR, PERSON, ROAD, SKY, TREE = (SPACE.index(name) for name in ("car", "person", "road", "sky", "tree"))
SIZE = (32, 64)
LEFT, RIGHT = 26001, 26002  # the cars of `scene`
CAR_MODES = ((0.9, -0.5, 0.1), (-0.7, 0.2, 0.3), (0.0, 0.8, -0.8), (-0.2, -0.9, 0.6))
ROAD_MODES = ((0.5, 0.5, 0.5), (-0.5, -0.5, -0.5))
Ints = npt.NDArray[np.int64]


def clusters() -> dict[str, Tensor]:
    """Four modes of cars, two of road, none of anything else; the road's without thumbnails."""
    return {
        f"{CAR}.centres": torch.tensor(CAR_MODES),
        f"{CAR}.sizes": torch.tensor([40, 30, 20, 10]),
        f"{CAR}.thumbnails": torch.zeros(4, 8, 8, 3, dtype=torch.uint8),
        f"{ROAD}.centres": torch.tensor(ROAD_MODES),
        f"{ROAD}.sizes": torch.tensor([7, 5]),
    }


def write_styled_model(
    path: Path,
    regions: Literal["instance", "label"] = "instance",
    encoder: bool = True,
    styles: dict[str, Tensor] | None = None,
    boundary: bool = True,
) -> Path:
    """Random weights, 3 numbers per object, sizes in multiples of 4; trained at 32x64, as it says."""
    semantics = Semantics(classes=len(SPACE), dont_care=True, boundary=boundary)
    arguments = {
        "generator": {"in_channels": semantics.channels + 3, "width": 4, "downs": 2, "blocks": 1},
        "encoder": {"width": 4, "downs": 2},
    }
    kinds = {"generator": pix2pixhd.GlobalGenerator, "encoder": pix2pixhd.InstanceEncoder}
    names = ["generator", "encoder"] if encoder else ["generator"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        networks = {name: pix2pixhd.initialise(kinds[name](**arguments[name])) for name in names}
    info = ModelInfo(
        recipe="pix2pixhd",
        networks={
            name: NetworkDescription(name=f"pix2pixhd.{kinds[name].__name__}", arguments=arguments[name])
            for name in names
        },
        label_space=SPACE,
        semantics=semantics,
        preprocessing=Preprocessing(resize="fixed", height=SIZE[0], width=SIZE[1], multiple=4).model_dump(mode="json"),
        style=StyleDescription(channels=3, regions=regions),
        styles=StyleTable(origin="scenes, train", modes=4) if styles else None,
    )
    save_model(path, networks, info, styles)
    return path


class Mirror(torch.nn.Module):
    """Stands in for a generator: the picture is the style map."""

    multiple = 4

    def forward(self, semantics: Tensor, style: Tensor) -> Tensor:
        assert semantics.shape[-2:] == style.shape[-2:]
        return style


def mirrored(model: Model) -> Model:
    """The model with `Mirror` in place of its generator."""
    return Model({**model.networks, "generator": Mirror()}, model.info, model.hash, model.styles)


def colour(vector: tuple[float, ...]) -> list[int]:
    """What `Mirror` shows where an object has this vector."""
    return [round((number + 1) * 127.5) for number in vector]


def scene(left: int = LEFT, right: int = RIGHT) -> tuple[Ints, Ints]:
    """Label and instance map, 32x64: sky above road, two cars, a person with the id 7, ignored pixels at the bottom."""
    label = np.full(SIZE, SKY)
    label[12:] = ROAD
    label[30:] = len(SPACE)
    instance = label * 100
    for index, number, rows, columns in (
        (CAR, left, np.s_[14:24], np.s_[4:20]),
        (CAR, right, np.s_[16:26], np.s_[20:44]),
        (PERSON, 7, np.s_[8:28], np.s_[50:56]),
    ):
        label[rows, columns], instance[rows, columns] = index, number
    return label, instance


def photograph(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Noise, brighter to the right."""
    noise = np.random.default_rng(seed).integers(0, 120, (*SIZE, 3))
    return (noise + np.arange(SIZE[1])[None, :, None] * 2).astype(np.uint8)


def write_scenes(root: Path) -> Path:
    """Two held-out scenes with photographs and instance maps: one with the cars 26001 and 26002, one with 26001 and 99."""
    for kind in ("labels", "instances", "images"):
        (root / "val" / kind).mkdir(parents=True)
    for name, right in (("one", RIGHT), ("two", 99)):
        label, instance = scene(right=right)
        Image.fromarray(SPACE.to_values(label).astype(np.uint8)).save(root / "val" / "labels" / f"{name}.png")
        Image.fromarray(instance.astype(np.uint16)).save(root / "val" / "instances" / f"{name}.png")
        Image.fromarray(photograph(right)).save(root / "val" / "images" / f"{name}.png")
    SPACE.save(root / "labels.json")
    return root
