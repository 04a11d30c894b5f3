"""When two variants of an ablation differ: by more than chance in training and in the choice of pictures explains.

The unit is the training. The seeds of a variant spread around its mean; that spread is pooled over all variants of the ablation
(each training once), so that V variants of n seeds give V (n - 1) degrees of freedom where two alone would give 2 (n - 1). The
two that are compared keep their own spread, with its own degrees of freedom, where it is visibly larger than that of the others
(F test), and the larger of both otherwise. The interval of the difference of two means is Student's for the seeds; the halves
of the intervals over pictures add to its half as squares, undivided by the number of seeds, as all seeds are measured on the
same pictures. Where it contains 0, the comparison is inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, sqrt
from typing import NamedTuple

from scipy.special import fdtri, stdtrit

from gesso.evaluate.ablation_results import Comparison, Summary, Variant, Verdict
from gesso.evaluate.results import COLUMNS

SEEDS = 2  # at least so many say something about chance in training
LEVEL = 0.95
VISIBLE = 0.25  # of a larger spread of two variants than of the others, by the F test
NEVER_NEGATIVE = {
    *("frechet", "density", "l1", "style_l1", "style_distance", "random_style_distance", "diversity", "repetition"),
    *(name for name, column in COLUMNS.items() if column.share),
}
Pool = Mapping[tuple[str, ...], Sequence[float]]  # names of a variant's runs -> a number of each


class Spread(NamedTuple):
    """Of seeds around the mean of their variant: sum of squares, and degrees of freedom."""

    squares: float
    freedom: int

    @property
    def variance(self) -> float:
        """Of one training."""
        return self.squares / self.freedom

    def reach(self, level: float) -> float:
        """Student's quantile times the standard deviation of one training."""
        return float(stdtrit(self.freedom, (1 + level) / 2)) * sqrt(self.variance)


def spread(variants: Iterable[Sequence[float]]) -> Spread:
    """Pooled over variants, each with the numbers of its seeds."""
    squares, freedom = 0.0, 0
    for seeds in variants:
        mean = sum(seeds) / len(seeds)
        squares += sum((value - mean) ** 2 for value in seeds)
        freedom += len(seeds) - 1
    return Spread(squares, freedom)


def common_spread(own: Spread, rest: Spread) -> Spread:
    """What stands for the spread of the variants in question.

    Args:
        own: Theirs.
        rest: That of all others.
    """
    if not own.freedom or not rest.freedom:
        return own if own.freedom else rest
    if own.variance > float(fdtri(own.freedom, rest.freedom, 1 - VISIBLE)) * rest.variance:
        return own
    freedom = own.freedom + rest.freedom
    return Spread(max(own.squares + rest.squares, own.variance * freedom), freedom)


def judge(comparisons: Sequence[Comparison], level: float = LEVEL) -> tuple[Comparison, ...]:
    """Give the numbers of all variants their intervals, and say how they stand beside those of the published variants.

    Args:
        comparisons: With numbers from `summarise`.
        level: Confidence of the intervals, the one of the intervals over pictures; 0..1.
    """
    variants = [variant for comparison in comparisons for variant in comparison.compared]
    pools: dict[str, dict[tuple[str, ...], Sequence[float]]] = {}
    for variant in variants:
        for column, summary in variant.numbers.items():
            pools.setdefault(column, {}).setdefault(variant.trainings, summary.seeds)
    return tuple(_judged(comparison, pools, level) for comparison in comparisons)


def _judged(comparison: Comparison, pools: Mapping[str, Pool], level: float) -> Comparison:
    first, found = comparison.baseline, []
    for variant in comparison.variants:
        numbers = {}
        for column, told in variant.numbers.items():
            summary = Summary(mean=told.mean, seeds=told.seeds, pictures=told.pictures)  # whatever was judged before
            before = first.numbers.get(column) if first and variant is not first else None
            summary = with_interval(column, summary, _rest(pools[column], variant), level)
            if first and before:
                summary = beside(column, summary, before, _rest(pools[column], variant, first), level)
            numbers[column] = summary
        found.append(variant.model_copy(update={"numbers": numbers}))
    return comparison.model_copy(update={"variants": tuple(found)})


def _rest(pool: Pool, *without: Variant) -> Spread:
    apart = {variant.trainings for variant in without}
    return spread(seeds for trainings, seeds in pool.items() if trainings not in apart)


def with_interval(column: str, summary: Summary, rest: Spread, level: float = LEVEL) -> Summary:
    """A number with its interval over seeds and pictures; over pictures alone where no variant has two seeds.

    Args:
        column: Name of the number.
        summary: The number.
        rest: Spread of the seeds of all other variants.
        level: Confidence, 0..1.
    """
    if summary.pictures is None:
        return summary
    found = common_spread(spread([summary.seeds]), rest)
    seeds = found.reach(level) / sqrt(len(summary.seeds)) if found.freedom else 0.0
    half = sqrt(seeds**2 + summary.pictures**2)
    lowest, highest = 0.0 if column in NEVER_NEGATIVE else -inf, 1.0 if COLUMNS[column].share else inf
    low, high = max(summary.mean - half, min(lowest, summary.mean)), min(summary.mean + half, highest)
    return summary.model_copy(update={"low": low, "high": max(high, summary.mean)})


def beside(column: str, summary: Summary, first: Summary, rest: Spread, level: float = LEVEL) -> Summary:
    """A number with its difference to the first variant's, the interval of the difference, and what it says.

    Args:
        column: Name of the number.
        summary: The number.
        first: The first variant's.
        rest: Spread of the seeds of all other variants.
        level: Confidence, 0..1.
    """
    difference = summary.mean - first.mean
    found: dict[str, object] = {"difference": difference}
    if summary.pictures is not None and first.pictures is not None:
        found["verdict"] = "inconclusive"
        own = common_spread(spread([summary.seeds, first.seeds]), rest)
        counts = len(summary.seeds), len(first.seeds)
        if min(counts) >= SEEDS and own.squares > 0:  # seeds that agree to the last digit are too coarse a measure
            seeds = own.reach(level) * sqrt(1 / counts[0] + 1 / counts[1])
            half = sqrt(seeds**2 + summary.pictures**2 + first.pictures**2)
            found |= {"difference_low": difference - half, "difference_high": difference + half}
            if half < abs(difference):
                found["verdict"] = _said(column, higher=difference > 0)
    return summary.model_copy(update=found)


def _said(column: str, higher: bool) -> Verdict:
    better = COLUMNS[column].better
    if better is None:
        return "higher" if higher else "lower"
    return "better" if higher == (better == "higher") else "worse"
