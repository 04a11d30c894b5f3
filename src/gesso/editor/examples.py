"""Layouts to start from: of a dataset, or drawn here where there is none.

An `Example` is read when it is asked for. Those of a dataset are sized as the model was trained; without a dataset they are
scenes of the toy world where the model knows it, else a plain horizon in the model's classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from gesso.data import toy
from gesso.data.dataset import SemanticDataset
from gesso.data.layouts import Listing
from gesso.data.preprocessing import Preprocessing, Size
from gesso.errors import DataError, ModelFileError
from gesso.labels import ByteArray, LabelSpace, components
from gesso.pictures import to_uint8
from gesso.synthesis.synthesizer import Synthesizer

TOY_SEED = 1605  # no dataset's, so that these scenes were held out
TOY_SCENES = 12
USUAL = (256, 512)  # pixels, where a model does not say its size
SKIES = ("sky", "cloud", "fog", "ceiling", "background")
GROUNDS = (
    "road",
    "ground",
    "grass",
    "floor",
    "earth",
    "field",
    "terrain",
    "sea",
    "water",
    "river",
    "sand",
    "snow",
    "dirt",
    "facade",
)
BEHIND = ("building", "tree", "vegetation", "mountain", "wall", "hill", "bush", "house", "fence")


@dataclass(frozen=True)
class Loaded:
    """One layout, and what it was seen in.

    Attributes:
        label: (H, W) int32 class indices.
        instance: (H, W) int32 object ids.
        photograph: (H, W, 3) uint8, or None.
    """

    label: npt.NDArray[np.int32]
    instance: npt.NDArray[np.int32]
    photograph: ByteArray | None = None


@dataclass(frozen=True)
class Example:
    """A layout that can be read; `load` raises GessoError where its files are bad."""

    name: str
    load: Callable[[], Loaded]


def collect(synthesizer: Synthesizer, listing: Listing | None = None) -> list[Example]:
    """Examples for a model, none of them read yet.

    Args:
        synthesizer: The model.
        listing: A dataset's split; its order is kept.

    Raises:
        DataError: The dataset holds pictures instead of layouts, or its classes are not the model's.
        ModelFileError: The model's preprocessing is not understood.
    """
    space = synthesizer.label_space
    assert space is not None, "the editor takes models of layouts alone"
    sized = sized_as_trained(synthesizer)
    if listing is not None:
        return _of_listing(listing, space, sized)
    size = trained_size(synthesizer)
    if space.classes == toy.space().classes:
        high, wide = (max(toy.SMALLEST, side) for side in size)
        return [Example(f"toy scene {n + 1}", partial(_toy_scene, n, high, wide)) for n in range(TOY_SCENES)]
    return [Example("horizon", partial(horizon, space, size)), Example("blank", partial(blank, space, size))]


def _of_listing(listing: Listing, space: LabelSpace, sized: Preprocessing) -> list[Example]:
    theirs = listing.space
    if any(sample.source for sample in listing.samples):
        raise DataError(f"{listing.root} holds pictures; the editor wants label maps. Name their folder with --labels.")
    if theirs is not None and (theirs.classes, theirs.ignore) != (space.classes, space.ignore):
        raise DataError(
            f"The layouts in {listing.root} are in the label space {theirs.name} ({len(theirs)} classes), the model knows "
            f"{space.name} ({len(space)} classes). If their values are the model's, copy them apart from their labels.json, or "
            "name it with --space."
        )
    dataset = SemanticDataset(listing.samples, space, sized, training=False)
    return [Example(sample.name, partial(_item, dataset, n)) for n, sample in enumerate(listing.samples)]


def _item(dataset: SemanticDataset, number: int) -> Loaded:
    item = dataset[number]
    label, instance = (item[name].numpy().astype(np.int32) for name in ("label", "instance"))
    return Loaded(label, instance, to_uint8(item["image"]) if "image" in item else None)


def _toy_scene(index: int, height: int, width: int) -> Loaded:
    made = toy.scene(TOY_SEED, index, height, width)
    return Loaded(made.label.astype(np.int32), made.instance, made.image)


# -------------------------------------------------------------------------------------------------- without any data


def horizon(space: LabelSpace, size: Size) -> Loaded:
    """Something like a sky above something like a ground, and between them what stands behind, where the space has such."""
    height, width = size
    sky, behind, ground = stripes(space)
    label = np.full((height, width), ground, dtype=np.int32)
    label[: height * 3 // 5] = behind
    label[: height * 2 // 5] = sky
    return Loaded(label, components(label, space))


def blank(space: LabelSpace, size: Size) -> Loaded:
    """Nothing but the ground."""
    label = np.full(size, stripes(space)[2], dtype=np.int32)
    return Loaded(label, components(label, space))


def stripes(space: LabelSpace) -> tuple[int, int, int]:
    """Indices of the classes that look like a sky, like what stands behind, and like a ground; preferably not countable ones."""
    stuff = [n for n in range(len(space)) if n not in space.things] or list(range(len(space)))
    ground = _like(space, GROUNDS, range(len(space)), stuff[0])
    others = [n for n in stuff if n != ground] or [ground]
    sky = _like(space, SKIES, range(len(space)), others[-1])
    return sky, _like(space, BEHIND, stuff, sky), ground


def _like(space: LabelSpace, words: Sequence[str], among: Sequence[int], otherwise: int) -> int:
    """The class whose name begins with the first word that begins any."""
    names = {n: space.names[n].lower() for n in among}
    return next((n for word in words for n, name in names.items() if name.startswith(word)), otherwise)


# ------------------------------------------------------------------------------------------------------------- sizes


def sized_as_trained(synthesizer: Synthesizer) -> Preprocessing:
    """How layouts are brought to the size of training: without its crops, and without its padding, which is the Synthesizer's.

    Raises:
        ModelFileError: The model file does not say it in a way that is understood.
    """
    try:
        saved = Preprocessing.model_validate(synthesizer.info.preprocessing)
    except ValidationError as error:
        raise ModelFileError(f"The model file's preprocessing is not understood: {error.errors()[0]['msg']}.") from None
    return saved.without_training


def trained_size(synthesizer: Synthesizer) -> Size:
    """(height, width) of training's pictures, as far as the model file says it; else of the pieces that it saw, or `USUAL`.

    Raises:
        ModelFileError: The model file's preprocessing is not understood.
    """
    sized = sized_as_trained(synthesizer)
    if sized.resize == "fixed":
        return sized.scaled(USUAL)
    if sized.resize in ("scale_width", "scale_shortside"):
        return sized.scaled((1, 2))
    return Preprocessing.model_validate(synthesizer.info.preprocessing).cut or USUAL


def comfortable_size(size: Size, trained: Size) -> Size:
    """A size for a photograph that comes: its own up to twice the pixels of training, else as many as in training.

    Its aspect ratio is kept: segmenters and networks have seen things at that scale, and large pictures take long.

    Args:
        size: (height, width) of the photograph.
        trained: (height, width) of training.
    """
    area, usual = size[0] * size[1], trained[0] * trained[1]
    if area <= 2 * usual:
        return size
    scale = (usual / area) ** 0.5
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
