"""Numbers about votes: intervals, a test, agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from math import sqrt
from statistics import NormalDist


def wilson(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), without continuity correction.

    Returns:
        Lower and upper end, 0 to 1; (0, 1) where there is no vote.
    """
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / count
    centre = share + z * z / (2 * count)
    reach = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low, high = (centre - reach) / scale, (centre + reach) / scale
    return 0.0 if successes == 0 else low, 1.0 if successes == count else high


def binomial_p(successes: int, count: int) -> float:
    """Two-sided exact binomial test against a fair coin: the probability of votes at least as unlikely as these."""
    from scipy.stats import binomtest

    return float(binomtest(successes, count, 0.5).pvalue) if count else 1.0


def krippendorff(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha for nominal ratings: 1 is full agreement, 0 what chance would give, below 0 less than that.

    Unlike Fleiss' kappa it takes units with different numbers of ratings, as participants see different scenes.

    Args:
        units: The ratings of each unit; units with fewer than two are left out, as nobody can agree there.

    Returns:
        None where no unit has two ratings, or all ratings are the same, so that agreement has no meaning.
    """
    counted = [Counter(unit) for unit in units if len(unit) > 1]
    totals = sum(counted, Counter())
    ratings = totals.total()
    expected = ratings**2 - sum(number**2 for number in totals.values())
    if not expected:
        return None
    observed = sum(
        (unit.total() ** 2 - sum(number**2 for number in unit.values())) / (unit.total() - 1) for unit in counted
    )
    return 1 - observed * (ratings - 1) / expected
