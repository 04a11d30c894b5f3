"""How sure a number is: percentile intervals over pictures that are drawn again from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gesso.errors import DataError

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32] | Floats


class Interval(NamedTuple):
    """Where a number lies with the stated confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: From all pictures that were taken.
        interval: Around the value.
        pictures: How many were taken (of each side, where there are two).
        resamples: How many draws the interval comes from.
        level: Confidence of the interval, 0..1.
        seed: Of the draws.
    """

    value: float
    interval: Interval
    pictures: int
    resamples: int
    level: float
    seed: int


def percentiles(values: Floats, level: float) -> Interval:
    """The middle `level` (0..1) of the values (N,); those that are not numbers are left out.

    Raises:
        DataError: No value is a number.
    """
    numbers = values[~np.isnan(values)]
    if not len(numbers):
        raise DataError(f"None of {len(values)} draws gave a number, so there is no interval: measure more pictures.")
    low, high = np.quantile(numbers, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def draws(pictures: int, resamples: int, seed: int) -> Floats:
    """How often each picture is drawn when as many as there are get drawn with replacement: (resamples, pictures).

    Raises:
        DataError: There is one picture, which says nothing about others.
    """
    if pictures < 2:
        raise DataError(f"An interval over pictures needs 2 or more; there is {pictures}. Measure more pictures.")
    counts = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=resamples)
    return counts.astype(np.float64)


def mean_estimate(values: Floats, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Estimate:
    """Mean of one number per picture, with a bootstrap interval (Efron 1979).

    Args:
        values: (N,), each a number.
        resamples: Draws.
        seed: Of the draws.
        level: Confidence, 0..1.

    Raises:
        DataError: There is one value only.
    """
    counts = draws(len(values), resamples, seed)
    interval = percentiles(counts @ values / len(values), level)
    return Estimate(float(values.mean()), interval, len(values), resamples, level, seed)


def equal_size_estimate(
    measure: Callable[[Features, Features], float],
    first: Features,
    second: Features,
    *,
    size: int | None = None,
    paired: bool = False,
    resamples: int = 100,
    seed: int = 0,
    level: float = 0.95,
    lowest: float = -np.inf,
) -> Estimate:
    """A measure between two sets at a stated size, because such measures depend on how many pictures there are.

    The value is that of `size` pictures of each side. The interval shifts to it how the measure spreads over random halves of
    them, drawn without replacement: a half differs from the whole as the whole from the world (where an estimate's variance falls
    as 1/N; it is too wide where that falls faster). Drawing with replacement would not do, as repeated pictures shift the
    distances.

    Args:
        measure: Of two sets of features, (N, D) and (N, D).
        first: (N, D), one row per picture.
        second: (M, D).
        size: Pictures of each side, the same for everything in one table; as many as the smaller side has if None.
        paired: Whether row i of both sides belongs to one layout, so that both are drawn together.
        resamples: Draws of halves.
        seed: Of all draws.
        level: Confidence, 0..1.
        lowest: What the measure never falls below.

    Raises:
        DataError: A side has fewer than `size` pictures, or `size` is below 4.
    """
    size = min(len(first), len(second)) if size is None else size
    _check_size(size, first, second, paired)
    random = np.random.default_rng(seed)

    def chosen(count: int, of_first: Features, of_second: Features) -> tuple[Features, Features]:
        rows = np.sort(random.permutation(len(of_first))[:count])
        return of_first[rows], of_second[rows if paired else np.sort(random.permutation(len(of_second))[:count])]

    first, second = chosen(size, first, second)
    value = measure(first, second)
    halves = np.array([measure(*chosen(size // 2, first, second)) for _ in range(resamples)])
    low, high = percentiles(halves - halves.mean() + value, level)
    return Estimate(value, Interval(max(low, lowest), max(high, lowest)), size, resamples, level, seed)


def _check_size(size: int, first: Features, second: Features, paired: bool) -> None:
    if size < 4 or size > min(len(first), len(second)):
        raise DataError(
            f"Sets of {len(first)} and {len(second)} pictures cannot be compared at {size} of each: it takes from 4 to as "
            "many as the smaller set has. Measure more pictures, or choose a smaller size."
        )
    if paired and len(first) != len(second):
        raise DataError(f"{len(first)} pictures cannot be paired with {len(second)}: give as many of each.")
