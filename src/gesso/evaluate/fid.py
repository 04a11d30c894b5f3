"""Distances between two sets of pictures by their feature vectors, in float64.

Fréchet distance (FID: Heusel et al. 2017, arXiv 1706.08500, equation 6) and kernel distance (KID: Bińkowski et al. 2018,
arXiv 1801.01401). Only over the published Inception weights are they called FID and KID; otherwise reports name the extractor.
The Fréchet distance depends on how many pictures there are: `intervals.equal_size_estimate` keeps that equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gesso.errors import DataError
from gesso.evaluate.features import check_features
from gesso.evaluate.intervals import Features, Floats

CHUNK = 2**20  # values of the kernel held at once, 8 MiB


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of vectors.

    Attributes:
        count: N, how many vectors.
        mean: (D,).
        covariance: (D, D), over N - 1.
    """

    count: int
    mean: Floats
    covariance: Floats


class RunningMoments:
    """Moments of any number of vectors in the memory of one batch (Chan, Golub, LeVeque 1979).

    Args:
        dimension: D.
    """

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    def update(self, features: Features) -> None:
        """Add vectors (B, D).

        Raises:
            DataError: Some are not finite.
        """
        check_features(features)
        batch = features.astype(np.float64)
        count = self._count + len(batch)
        if not len(batch):
            return
        mean = batch.mean(0)
        centred, shift = batch - mean, mean - self._mean
        self._scatter += centred.T @ centred + np.outer(shift, shift) * (self._count * len(batch) / count)
        self._mean = self._mean + shift * (len(batch) / count)
        self._count = count

    def moments(self) -> Moments:
        """Mean and covariance so far.

        Raises:
            DataError: Fewer than two vectors came.
        """
        _check_count(self._count)
        return Moments(self._count, self._mean.copy(), self._scatter / (self._count - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Fréchet distance of two Gaussians: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2), in squared units of the features.

    The trace of the root is the sum of the singular values of R1 R2', where S = R'R: no root of a product that is not symmetric,
    and nothing below zero to clip but rounding.
    """
    return _distance(first.mean, _root(first.covariance), second.mean, _root(second.covariance))


def frechet(first: Features, second: Features) -> float:
    """Fréchet distance of two sets of vectors, (N, D) and (M, D).

    Raises:
        DataError: A set has fewer than two pictures, or vectors that are not finite.
    """
    return _distance(*_mean_and_root(first), *_mean_and_root(second))


def _mean_and_root(features: Features) -> tuple[Floats, Floats]:
    """Mean (D,) and R with R'R the covariance; where there are no more vectors than dimensions they are their own root."""
    check_features(features)
    _check_count(len(features))
    mean = features.astype(np.float64).mean(0)
    root = (features - mean) / np.sqrt(len(features) - 1)
    return mean, root if len(root) <= root.shape[1] else _root(root.T @ root)


def _root(covariance: Floats) -> Floats:
    """R (rank, D) with R'R = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values[-1] * np.finfo(np.float64).eps
    return (vectors[:, kept] * np.sqrt(values[kept])).T


def _distance(mean1: Floats, root1: Floats, mean2: Floats, root2: Floats) -> float:
    both = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    apart = np.square(mean1 - mean2).sum() + np.square(root1).sum() + np.square(root2).sum() - 2 * both
    return max(float(apart), 0.0)


def _check_count(count: int) -> None:
    if count < 2:
        raise DataError(f"A distance between sets of pictures needs 2 or more of each; there is {count}.")


@dataclass(frozen=True)
class KernelDistance:
    """KID as published: over subsets.

    Attributes:
        mean: Over the subsets; may fall below zero, as it is unbiased.
        deviation: Standard deviation over the subsets.
        subsets: How many.
        subset_size: Pictures of each side in one.
    """

    mean: float
    deviation: float
    subsets: int
    subset_size: int


def kernel_distance(first: Features, second: Features) -> float:
    """Squared maximum mean discrepancy under the kernel (x.y / D + 1)^3, unbiased (arXiv 1801.01401, equation 4).

    Args:
        first: (N, D), two rows or more.
        second: (M, D).

    Raises:
        DataError: A set has fewer than two pictures, or vectors that are not finite.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)
    for features in (x, y):
        check_features(features)
        _check_count(len(features))
    return _mean_kernel_of_others(x) + _mean_kernel_of_others(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def _kernel_sum(x: Floats, y: Floats) -> float:
    """Sum of the kernel over all pairs, some rows at a time: the whole matrix of some thousand pictures would not fit."""
    step = max(1, CHUNK // len(y))
    parts = (x[start : start + step] @ y.T / x.shape[1] + 1 for start in range(0, len(x), step))
    return float(sum((base * base * base).sum() for base in parts))


def _mean_kernel_of_others(x: Floats) -> float:
    """Mean over pairs of two different rows."""
    same = np.square(x).sum(1) / x.shape[1] + 1
    return (_kernel_sum(x, x) - float((same * same * same).sum())) / (len(x) * (len(x) - 1))


def kid(
    first: Features, second: Features, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Kernel distance over random subsets, each drawn without replacement.

    Args:
        first: (N, D).
        second: (M, D).
        subsets: How many.
        subset_size: Rows of each side in one; what the smaller side has, if that is less.
        seed: Of the draws.

    Raises:
        DataError: A set has fewer than two pictures, or vectors that are not finite.
    """
    size, random = min(subset_size, len(first), len(second)), np.random.default_rng(seed)
    values = [
        kernel_distance(*(side[random.permutation(len(side))[:size]] for side in (first, second)))
        for _ in range(1 if size == len(first) == len(second) else subsets)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)), len(values), size)
