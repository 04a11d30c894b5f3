"""Diversity: how far apart results for one layout are, under different styles or noise; over the picture and inside classes.

Mean over all pairs of results, then over layouts (as the LPIPS of BicycleGAN, arXiv 1711.11586, section 5.2). More is not better:
noise is diverse. Reports put it beside the quality, and name the distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gesso.errors import DataError
from gesso.evaluate.features import check_pictures, to_tensor
from gesso.evaluate.intervals import Estimate, mean_estimate
from gesso.labels import ByteArray, IntArray

PAIRS = 4  # pairs of pictures in one call of the distance


class Distance(Protocol):
    """A distance between pictures, such as `Lpips` or `FeatureDistance`."""

    name: str

    def __call__(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) twice in [-1, 1], and (B, H, W) where to look, never empty -> (B,)."""


@dataclass(frozen=True)
class LayoutDiversity:
    """Of one layout.

    Attributes:
        picture: Mean distance over all pairs, over the whole picture.
        classes: By class index, the mean distance inside the pixels of that class.
        results: How many results were compared.
    """

    picture: float
    classes: Mapping[int, float]
    results: int


@dataclass(frozen=True)
class DiversityScores:
    """Over layouts.

    Attributes:
        distance: Name of the distance.
        picture: Mean over layouts, with a bootstrap interval over layouts.
        classes: By class name: mean over the layouts that hold the class, and how many these are.
        layouts: How many.
        results: Results per layout; the least, where they differ.
    """

    distance: str
    picture: Estimate
    classes: Mapping[str, tuple[float, int]]
    layouts: int
    results: int


def layout_diversity(
    results: ByteArray,
    distance: Distance,
    label: IntArray | None = None,
    classes: Sequence[int] = (),
    device: str | torch.device = "cpu",
) -> LayoutDiversity:
    """Mean pairwise distance of the results for one layout.

    Args:
        results: (S, H, W, 3) uint8, two or more.
        distance: What tells two pictures apart.
        label: (H, W) class indices; needed for `classes`.
        classes: Inside which classes to look too; those that the layout does not hold are passed over.
        device: Where the distance runs.

    Raises:
        DataError: There is one result only, results are not uint8, or the layout is of another size.
    """
    check_pictures(results, "the results for one layout")
    if len(results) < 2:
        raise DataError("Diversity compares results for one layout with each other; there is 1. Make two or more.")
    if label is not None and label.shape != results.shape[1:3]:
        raise DataError(
            f"The layout is {label.shape}, its results are {results.shape[1:3]} (height, width): give one size."
        )
    images = to_tensor(results)
    masks = {c: torch.from_numpy(label == c) for c in classes if (label == c).any()} if label is not None else {}
    inside = {c: _mean_distance(images, distance, mask, device) for c, mask in masks.items()}
    picture = _mean_distance(images, distance, None, device)
    return LayoutDiversity(picture, inside, len(results))


def _mean_distance(images: Tensor, distance: Distance, mask: Tensor | None, device: str | torch.device) -> float:
    pairs = torch.tensor(list(combinations(range(len(images)), 2)))  # (P, 2)
    found = []
    with torch.inference_mode():
        for part in torch.split(pairs, PAIRS):
            where = None if mask is None else mask.expand(len(part), -1, -1).to(device)
            first, second = (images[part[:, side]].to(device) for side in (0, 1))
            found.append(distance(first, second, where).double().cpu())
    return float(torch.cat(found).mean())


def diversity(
    layouts: Sequence[LayoutDiversity], names: Sequence[str], distance: str, resamples: int = 1000, seed: int = 0
) -> DiversityScores:
    """Diversity over layouts.

    Args:
        layouts: From `layout_diversity`, two or more.
        names: Of the classes of the label space.
        distance: Name of the distance.
        resamples: Draws of the interval.
        seed: Of the draws.

    Raises:
        DataError: There is one layout only, or a distance is not finite.
    """
    values: npt.NDArray[np.float64] = np.array([layout.picture for layout in layouts], dtype=np.float64)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"The results of layout {bad + 1} have no finite distance: a picture or the weights are damaged."
        )
    inside = {c: [layout.classes[c] for layout in layouts if c in layout.classes] for c in range(len(names))}
    table = {names[c]: (float(np.mean(found)), len(found)) for c, found in inside.items() if found}
    picture = mean_estimate(values, resamples, seed)
    return DiversityScores(distance, picture, table, len(layouts), min(layout.results for layout in layouts))
