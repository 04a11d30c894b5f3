"""Precision, recall, density and coverage of generated pictures, by balls around feature vectors.

Kynkäänniemi et al. 2019 (arXiv 1904.06991, section 2) and Naeem et al. 2020 (arXiv 2002.09797, section 3). The ball around a
vector reaches as far as its k-th nearest neighbour in its own set. Distances are never held all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gesso.errors import DataError
from gesso.evaluate.features import check_features
from gesso.evaluate.intervals import Features, Floats

CHUNK = 2**21  # distances held at once, 16 MiB of float64
SLACK = 1e-10  # share of the largest squared length: equal vectors lie at distance zero but for rounding


@dataclass(frozen=True)
class NeighbourScores:
    """How two sets lie in each other.

    Attributes:
        precision: Share of generated pictures inside a ball of a real one, 0..1: quality.
        recall: Share of real pictures inside a ball of a generated one, 0..1: variety.
        density: Balls of real pictures that a generated one lies in, over k; 1 is expected of real pictures, more is possible.
        coverage: Share of the balls of real pictures that hold a generated one, 0..1.
        neighbours: k.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int


def neighbour_scores(real: Features, made: Features, neighbours: int = 5) -> NeighbourScores:
    """Precision, recall, density and coverage.

    Args:
        real: (N, D), vectors of photographs.
        made: (M, D), vectors of generated pictures.
        neighbours: k, the neighbour that a ball reaches.

    Raises:
        DataError: A set has no k-th neighbour, or vectors that are not finite.
    """
    for what, features in (("real pictures", real), ("generated pictures", made)):
        check_features(features, what)
        if len(features) <= neighbours:
            raise DataError(
                f"{len(features)} {what} have no {neighbours}-th nearest neighbour: measure more, or choose fewer "
                "neighbours."
            )
    centre = real.astype(np.float64).mean(0)  # far from the origin, squared lengths would drown differences
    x, y = real - centre, made - centre
    slack = SLACK * max(np.square(x).sum(1).max(), np.square(y).sum(1).max())
    real_reach, made_reach = (squared_reach(side, neighbours) + slack for side in (x, y))
    balls, covered, recalled = np.zeros(len(y)), 0, 0
    for rows, squared in _squared_distances(x, y):
        inside = squared <= real_reach[rows, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((squared <= made_reach).any(1).sum())
    return NeighbourScores(
        precision=float((balls > 0).mean()),
        recall=recalled / len(x),
        density=float(balls.mean() / neighbours),
        coverage=covered / len(x),
        neighbours=neighbours,
    )


def squared_reach(features: Floats, neighbours: int) -> Floats:
    """(N, D) -> (N,): squared distance of each vector to its k-th nearest neighbour among the others."""
    reach = np.empty(len(features))
    for rows, squared in _squared_distances(features, features):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.start + len(squared))] = 0.0  # itself comes first
        reach[rows] = np.partition(squared, neighbours, axis=1)[:, neighbours]
    return reach


def _squared_distances(x: Floats, y: Floats) -> Iterator[tuple[slice, Floats]]:
    """Some rows of x at a time, and their squared distances to all of y."""
    lengths, step = np.square(y).sum(1), max(1, CHUNK // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        squared = x[rows] @ y.T
        squared *= -2
        squared += lengths
        squared += np.square(x[rows]).sum(1)[:, None]
        yield rows, np.maximum(squared, 0, out=squared)
