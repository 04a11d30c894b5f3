"""Measured values to `Number`s: each with its interval, or with the reason why it has none.

One picture says nothing about others, so there a number stands without an interval, and says so; it never is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np

from gesso.evaluate.fid import frechet, kernel_distance
from gesso.evaluate.intervals import Features, Floats, draws, equal_size_estimate, percentiles
from gesso.evaluate.neighbours import NeighbourScores, neighbour_scores
from gesso.evaluate.results import COLUMNS, Number

ALONE = "of one picture: there is no interval"
FEW = "too few pictures for an interval"
KERNEL_UNIT = 1000.0  # kernel distances are small
HALVES = 100  # draws at most behind the interval of a distance between sets: each costs as much as the distance itself
SMALLEST_SET = 4  # pictures of each side, of which a distance has an interval


@dataclass(frozen=True)
class Sampling:
    """How intervals are drawn.

    Attributes:
        resamples: Draws.
        seed: Of the draws.
        level: Confidence, 0..1.
    """

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95


def ratio_number(parts: Floats, wholes: Floats, sampling: Sampling) -> Number | None:
    """Sum of parts over sum of wholes, such as right pixels over pixels, with a bootstrap interval over pictures.

    Args:
        parts: (N,), one per picture.
        wholes: (N,).
        sampling: Of the interval.

    Returns:
        None where the wholes sum to nothing.
    """
    if not wholes.sum():
        return None
    value = float(parts.sum() / wholes.sum())
    if len(parts) < 2:
        return Number(value=value, note=ALONE)
    if not np.isfinite(value):
        return Number(
            value=value, note=f"{int((~np.isfinite(parts)).sum())} of {len(parts)} are not finite: there is no interval"
        )
    counts = draws(len(parts), sampling.resamples, sampling.seed)
    with np.errstate(invalid="ignore"):  # a draw of pictures that hold nothing of it has no value
        low, high = percentiles(counts @ parts / (counts @ wholes), sampling.level)
    return Number(value=value, low=low, high=high)


def mean_number(values: Floats, sampling: Sampling) -> Number | None:
    """Mean of one value per picture, (N,), with its interval; None of no value."""
    return ratio_number(values, np.ones(len(values)), sampling)


def distribution_numbers(
    real: Features, made: Features, neighbours: int, size: int, sampling: Sampling
) -> tuple[dict[str, Number], dict[str, str]]:
    """Distances and neighbour scores between two sets of pictures, picture by picture of the same layouts.

    Args:
        real: (N, D), vectors of the photographs.
        made: (N, D), vectors of the pictures.
        neighbours: k of precision, recall, density and coverage.
        size: Pictures of each side that are taken; all where that is N.
        sampling: Of the intervals; at most `HALVES` draws.

    Returns:
        Numbers by the names of `results.COLUMNS`, and the reasons why others are not there.
    """
    if size < 2:
        reason = "one picture has no distribution: measure more layouts"
        return {}, dict.fromkeys(("frechet", "kernel", *_SCORES), reason)
    found = {
        "frechet": _set_number(frechet, real, made, size, sampling, lowest=0.0),
        "kernel": _set_number(_scaled_kernel, real, made, size, sampling),
    }
    if size <= neighbours:
        reason = (
            f"{size} pictures have no {neighbours}-th nearest neighbour: measure more layouts, or fewer --neighbours"
        )
        return found, dict.fromkeys(_SCORES, reason)
    shared = _Shared(neighbours)
    spread = size // 2 > neighbours
    for name in _SCORES:
        number = _set_number(shared.measure(name), real, made, size, sampling, lowest=0.0, spread=spread)
        found[name] = _capped(number) if COLUMNS[name].share else number
    return found, {}


def _capped(share: Number) -> Number:
    """An interval that is shifted to a share may reach beyond 1, where no share lies."""
    ends = {key: None if (end := getattr(share, key)) is None else min(end, 1.0) for key in ("low", "high")}
    return share.model_copy(update=ends)


_SCORES = ("precision", "recall", "density", "coverage")


def _scaled_kernel(real: Features, made: Features) -> float:
    return KERNEL_UNIT * kernel_distance(real, made)


class _Shared:
    """Four scores come out of one computation: it is kept, and done once for each of the draws, which are the same for all."""

    def __init__(self, neighbours: int) -> None:
        self._neighbours = neighbours
        self._kept: list[NeighbourScores] = []

    def measure(self, name: str) -> Callable[[Features, Features], float]:
        calls = count()

        def score(real: Features, made: Features) -> float:
            if (call := next(calls)) == len(self._kept):
                self._kept.append(neighbour_scores(real, made, self._neighbours))
            return float(getattr(self._kept[call], name))

        return score


def _set_number(
    measure: Callable[[Features, Features], float],
    real: Features,
    made: Features,
    size: int,
    sampling: Sampling,
    lowest: float = -np.inf,
    spread: bool = True,
) -> Number:
    """A measure between sets, with its interval where there are pictures enough."""
    if size < SMALLEST_SET or not spread:
        chosen = np.sort(np.random.default_rng(sampling.seed).permutation(len(real))[:size])
        return Number(value=measure(real[chosen], made[chosen]), note=FEW)
    estimate = equal_size_estimate(
        measure,
        real,
        made,
        size=size,
        paired=True,
        resamples=min(sampling.resamples, HALVES),
        seed=sampling.seed,
        level=sampling.level,
        lowest=lowest,
    )
    return Number(value=estimate.value, low=estimate.interval.low, high=estimate.interval.high)
