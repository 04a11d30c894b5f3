"""Styles that a training set holds: clusters of its objects' feature vectors, class by class (pix2pixHD, section 3.4).

`collect` encodes every object of a set of photographs, `cluster` finds the modes of each class by K-means, `find_styles` does
both and adds a thumbnail of the most typical object of each mode; what it returns goes into a model file.

The pictures are drawn in `gesso.synthesis.style_pictures`. Samples are passed in as items of a dataset:
{"image": (3, H, W) in [-1, 1], "label": (H, W), "instance": (H, W), "name"}.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gesso.checkpoints import Model
from gesso.errors import ConfigError, DataError, ModelFileError, StyleError
from gesso.model_info import ModelInfo, StyleTable
from gesso.pictures import Picture, to_uint8
from gesso.synthesis.coherence import leading, together
from gesso.synthesis.features import ObjectFeatures, Regions, encode_objects
from gesso.synthesis.refusals import ADVICE, described
from gesso.synthesis.style_pictures import thumbnail

PUBLISHED_SHARE = 0.5  # of (H * W) // 32: objects above it, about 1/64 of the picture, are clustered (official code)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Progress = Callable[[int, int], object]  # told (done, total)


class Items(Protocol):
    """Samples by number, as `gesso.data.dataset.SemanticDataset`, or a list."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """One sample."""


@dataclass(frozen=True)
class Census:
    """Every object of a set of photographs, in the order of photographs, classes and ids.

    Attributes:
        classes: (N,) class indices.
        ids: (N,) object ids; the class where a class has one vector.
        areas: (N,) pixels.
        shares: (N,) area in units of (H * W) // 32, as the official code keeps it; `PUBLISHED_SHARE` is its limit.
        items: (N,) number of the photograph.
        vectors: (N, F) float32 feature vectors.
        names: Name of each photograph.
    """

    classes: Integers
    ids: Integers
    areas: Integers
    shares: Floats
    items: Integers
    vectors: Floats
    names: tuple[str, ...]


@dataclass(frozen=True)
class Clusters:
    """The modes of one class, the most frequent first.

    Attributes:
        centres: (K, F) float32.
        sizes: (K,) int64 objects.
        typical: (K,) int64 row of the census, of the object nearest to the centre.
        rows: (N,) int64 rows of the census that were clustered.
        assigned: (N,) int64 the cluster of each.
    """

    centres: npt.NDArray[np.float32]
    sizes: Integers
    typical: Integers
    rows: Integers
    assigned: Integers

    def __len__(self) -> int:
        return len(self.centres)


# ---------------------------------------------------------------------------------------------- from objects to modes


def collect(
    encoder: nn.Module, items: Items, regions: Regions, classes: int, progress: Progress | None = None
) -> Census:
    """Encode every object of a set of photographs; ignored pixels are none.

    Args:
        encoder: As `gesso.networks.pix2pixhd.InstanceEncoder`.
        items: Samples with photographs, sized as in training.
        regions: What shares one vector: an "instance", or everything of a "label".
        classes: How many classes the label space has.
        progress: Told how many photographs are done, of how many.

    Raises:
        DataError: There is no sample, or one without a photograph.
    """
    if not len(items):
        raise DataError("There is no photograph to find styles in.")
    found: list[ObjectFeatures] = []
    shares: list[Floats] = []
    names: list[str] = []
    for number in range(len(items)):
        item = items[number]
        names.append(str(item["name"]))
        if "image" not in item:
            raise DataError(
                f"Sample {names[-1]} has no photograph, and styles are found in photographs: give a split that has them, "
                "or name their folder with --images."
            )
        everything = encode_objects(encoder, item["image"], item["label"], item.get("instance"), regions)
        found.append(everything.where(everything.classes < classes))
        shares.append(found[-1].areas / max(item["label"].numel() // 32, 1))
        if progress:
            progress(number + 1, len(items))
    return Census(
        classes=np.concatenate([one.classes for one in found]),
        ids=np.concatenate([one.ids for one in found]),
        areas=np.concatenate([one.areas for one in found]),
        shares=np.concatenate(shares),
        items=np.repeat(np.arange(len(found)), [len(one) for one in found]),
        vectors=np.concatenate([one.vectors for one in found]),
        names=tuple(names),
    )


def large_enough(shares: Floats, areas: Integers, minimum_area: int | None) -> npt.NDArray[np.bool_]:
    """(N,) which objects are clustered: of at least so many pixels, or, as published, above `PUBLISHED_SHARE`."""
    return shares > PUBLISHED_SHARE if minimum_area is None else areas >= minimum_area


def k_means(vectors: Floats, modes: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], Integers]:
    """Centres (K, F) and, for each of the (N, F) vectors, the number of its centre; the largest cluster first.

    At most `modes` clusters, no more than there are different vectors, none of them empty. The same vectors in the same order
    give the same clusters, whatever the number of processors.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    different = len(np.unique(vectors.round(6), axis=0))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # vectors that differ by less than arithmetic can tell
        fitted = KMeans(min(different, modes), random_state=seed, n_init=10).fit(vectors.astype(np.float64))
    sizes = np.bincount(fitted.labels_, minlength=len(fitted.cluster_centers_))
    order = np.lexsort((*fitted.cluster_centers_.T[::-1], -sizes))  # equal sizes in the order of their centres
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return fitted.cluster_centers_[order[: np.count_nonzero(sizes)]], rank[fitted.labels_]


def cluster(
    census: Census, *, modes: int = 10, minimum_area: int | None = None, seed: int = 0, only: Collection[int] = ()
) -> dict[int, Clusters]:
    """Modes of each class by K-means; classes without an object that is large enough have none.

    The order of the photographs does not matter, their names do: they decide in which order K-means sees the objects.

    Args:
        census: The objects.
        modes: Clusters per class at most.
        minimum_area: Pixels that an object must have; None for the published rule, more than 1/64 of the picture.
        seed: Of K-means.
        only: Class indices; empty for all.

    Raises:
        ConfigError: Fewer than one mode or pixel was asked for.
        DataError: No object is large enough.
    """
    refuse_less_than_one(modes, minimum_area)
    kept = large_enough(census.shares, census.areas, minimum_area)
    wanted = np.isin(census.classes, list(only)) if only else np.ones_like(kept)
    if not (kept & wanted).any():
        raise DataError(_nothing_large(census, wanted, minimum_area))
    rows = np.lexsort((census.ids, np.array(census.names)[census.items]))
    rows = rows[(kept & wanted)[rows]]
    return {
        int(index): _clusters(census, rows[census.classes[rows] == index], modes, seed)
        for index in np.unique(census.classes[rows])
    }


def refuse_less_than_one(modes: int, minimum_area: int | None) -> None:
    """Refuse numbers that leave nothing.

    Raises:
        ConfigError: Fewer than one mode or pixel was asked for.
    """
    for flag, value in (("--modes", modes), ("--minimum-area", minimum_area)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} {value} leaves nothing: give at least 1.")


def _clusters(census: Census, rows: Integers, modes: int, seed: int) -> Clusters:
    vectors = census.vectors[rows].astype(np.float64)
    centres, assigned = k_means(vectors, modes, seed)
    gaps = ((vectors - centres[assigned]) ** 2).sum(1)
    typical = [rows[np.flatnonzero(assigned == k)[gaps[assigned == k].argmin()]] for k in range(len(centres))]
    return Clusters(centres.astype(np.float32), np.bincount(assigned), np.array(typical), rows, assigned)


def _nothing_large(census: Census, wanted: npt.NDArray[np.bool_], minimum_area: int | None) -> str:
    limit = "about 1/64 of the picture" if minimum_area is None else f"{minimum_area} pixels"
    areas = census.areas[wanted]
    if not len(areas):
        return "The photographs show no object of the classes asked for: choose others with --classes, or other photographs."
    return (
        f"None of the {len(areas)} objects is large enough to be clustered: the limit is {limit}, the largest has {areas.max()} "
        "pixels. Lower the limit with --minimum-area PIXELS."
    )


# ----------------------------------------------------------------------------------------------- into the model file


def find_styles(
    model: Model,
    items: Items,
    *,
    modes: int = 10,
    minimum_area: int | None = None,
    seed: int = 0,
    only: Collection[str] = (),
    origin: str = "",
    progress: Progress | None = None,
) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Find the styles that photographs hold, for a model's file.

    `info, styles = find_styles(model, items)` and `save_model(path, model.networks, info, styles)` store them.

    Args:
        model: With an encoder; its weights stay as they are.
        items: Samples with photographs, sized as in training.
        modes: Clusters per class at most.
        minimum_area: Pixels that an object must have; None for the published rule, more than 1/64 of the picture.
        seed: Of K-means.
        only: Names of classes; empty for all.
        origin: Where the photographs are from, for people.
        progress: Told how many photographs are done, of how many.

    Returns:
        What the model file says of itself, and `Model.styles`; clusters that the model had before are in neither.

    Raises:
        ModelFileError: The model has no encoder.
        StyleError: The model's style is one of the whole picture.
        LabelError: A class is unknown.
        ConfigError: Fewer than one mode or pixel was asked for.
        DataError: No photograph, or no object that is large enough.
    """
    encoder, regions = require_encoder(model)
    space = model.info.label_space
    assert space is not None, "a model with an encoder has a label space"
    wanted = {space.index(name) for name in only}
    refuse_less_than_one(modes, minimum_area)
    census = collect(encoder, items, regions, len(space), progress)
    found = cluster(census, modes=modes, minimum_area=minimum_area, seed=seed, only=wanted)
    stuff = {index: clusters for index, clusters in found.items() if index not in space.things}
    leader = leading(stuff, census.items, census.areas) if stuff else None
    counts = {} if leader is None else together(found, leader, census.items, census.areas)
    tensors: dict[str, Tensor] = {}
    for index, clusters in found.items():
        pictures = [_thumbnail_of(census, row, items, regions) for row in clusters.typical.tolist()]
        tensors[f"{index}.centres"] = torch.from_numpy(clusters.centres)
        tensors[f"{index}.sizes"] = torch.from_numpy(clusters.sizes)
        tensors[f"{index}.thumbnails"] = torch.from_numpy(np.stack(pictures))
        if counts:
            tensors[f"{index}.together"] = torch.from_numpy(counts[index])
    objects = {space.names[index]: int(clusters.sizes.sum()) for index, clusters in found.items()}
    lead = "" if leader is None else space.names[leader]
    table = StyleTable(origin=origin, modes=modes, minimum_area=minimum_area, seed=seed, objects=objects, leader=lead)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return model.info.model_copy(update={"styles": table, "created": now}), tensors


def require_encoder(model: Model) -> tuple[nn.Module, Regions]:
    """A model's encoder, and what shares one vector.

    Raises:
        ModelFileError: The model has none.
        StyleError: The model has one, but of the whole picture.
    """
    refuse_whole(model.info)
    if "encoder" not in model.networks or model.info.style is None:
        raise ModelFileError(
            "Features were requested from a model without encoder, which cannot take a style from photographs: train one with "
            "--instance-features, or import latest_net_E.pth together with latest_net_G.pth."
        )
    return model.networks["encoder"], model.info.style.regions


def refuse_whole(info: ModelInfo) -> None:
    """See that a model's style is not one of the whole picture, in which there are no modes to be found.

    Raises:
        StyleError: It is.
    """
    if info.style is not None and info.style.kind != "features":
        raise StyleError(
            f"Modes are looks of single objects, but this model's style is {described(info.style)}. {ADVICE[info.style.kind]} "
            "gesso generate --random-styles 8 shows what it can do."
        )


def _thumbnail_of(census: Census, row: int, items: Items, regions: Regions) -> Picture:
    item = items[int(census.items[row])]
    mask = item["label"].numpy() == census.classes[row]
    if regions == "instance":
        mask &= item["instance"].numpy() == census.ids[row]
    return thumbnail(to_uint8(item["image"]), mask)
