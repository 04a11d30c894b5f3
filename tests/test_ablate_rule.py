"""When two variants differ: closed forms of the intervals, and how often the rule is wrong where nothing differs."""

from __future__ import annotations

from math import sqrt
from statistics import stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gesso.evaluate.ablation_results import Comparison, Run, Summary, Variant, summarise
from gesso.evaluate.ablation_rule import Spread, beside, common_spread, judge, spread, with_interval
from gesso.evaluate.results import Number, Row

UP, DOWN, NEITHER = "psnr", "frechet", "diversity"
NOBODY = Spread(0.0, 0)
number = st.floats(-100, 100)


def row(name: str = "r", **numbers: tuple[float, float | None, float | None]) -> Row:
    found = {column: Number(value=v, low=low, high=high) for column, (v, low, high) in numbers.items()}
    return Row(name=name, kind="model", numbers=found)


def summary(*seeds: float, pictures: float | None = 0.0) -> Summary:
    return Summary(mean=sum(seeds) / len(seeds), seeds=seeds, pictures=pictures)


def group(*numbers: tuple[float, ...], pictures: float = 0.0, column: str = UP) -> Comparison:
    """Variants with these numbers of their seeds."""
    variants = tuple(
        Variant(
            name=str(place),
            changes="",
            runs=tuple(Run(name=f"{place}-{s}", seed=s, steps=1, seconds=1.0) for s in range(len(seeds))),
            rows=tuple(f"{place}-{s}" for s in range(len(seeds))),
            numbers={column: summary(*seeds, pictures=pictures)},
        )
        for place, seeds in enumerate(numbers)
    )
    return Comparison(name="g", question="?", origin="", variants=variants)


# ---------------------------------------------------------------------------------------------------------- summaries


def test_the_longer_half_of_an_interval_counts() -> None:
    found = summarise([row(mean_iou=(0.4, 0.3, 0.45)), row(mean_iou=(0.5, 0.45, 0.7))])["mean_iou"]
    assert (found.mean, found.seeds, found.low, found.high) == (0.45, (0.4, 0.5), None, None)
    assert found.pictures == pytest.approx(sqrt((0.1**2 + 0.2**2) / 2))


def test_a_number_that_a_seed_lacks_is_none() -> None:
    assert summarise([row(mean_iou=(0.4, 0.3, 0.5)), row(frechet=(4.0, 3.0, 5.0))]) == {}
    assert summarise([]) == {}
    assert summarise([row(mean_iou=(float("nan"), 0.3, 0.5))]) == {}
    assert summarise([row(psnr=(float("inf"), None, None))]) == {}


def test_without_intervals_over_pictures_there_is_a_mean_and_no_verdict() -> None:
    found = summarise([row(density=(1.0, None, None)), row(density=(2.0, 1.5, 2.5))])["density"]
    assert (found.mean, found.pictures) == (1.5, None)
    assert with_interval("density", found, Spread(1.0, 4)) == found
    for one, other in ((found, summary(1, 2)), (summary(1, 2), found)):
        assert beside("density", one, other, NOBODY).verdict is None


# ------------------------------------------------------------------------------------------------------ closed forms


def test_two_variants_alone_are_a_t_test() -> None:
    first, second = (1.0, 2.0, 4.0), (5.0, 7.0, 6.5)
    theirs = stats.ttest_ind(second, first).confidence_interval(0.95)
    found = judge([group(first, second)])[0].variants[1].numbers[UP]
    assert (found.difference_low, found.difference_high) == pytest.approx((theirs.low, theirs.high))
    assert found.verdict == ("better" if theirs.low > 0 else "inconclusive")


def test_the_spread_is_pooled_over_all_variants() -> None:
    numbers = ((1.0, 1.8), (3.0, 3.9), (7.0, 8.0), (0.0, 1.1))
    deviation = sqrt(sum(stdev(seeds) ** 2 for seeds in numbers) / 4)
    for comparisons in ([group(*numbers)], [group(*numbers[:2]), group(*numbers[2:])]):
        comparisons[-1] = comparisons[-1].model_copy(
            update={"variants": tuple(_renamed(v, len(comparisons)) for v in comparisons[-1].variants)}
        )
        found = judge(comparisons)[0].variants[1].numbers[UP]
        assert found.difference == pytest.approx(2.05)
        half = stats.t.ppf(0.975, 4) * deviation
        assert found.difference_high == pytest.approx(2.05 + half)
        assert found.high == pytest.approx(3.45 + half / sqrt(2))


def _renamed(variant: Variant, groups: int) -> Variant:
    runs = tuple(run.model_copy(update={"name": f"{groups}-{run.name}"}) for run in variant.runs)
    return variant.model_copy(update={"runs": runs})


def test_a_training_of_several_groups_counts_once() -> None:
    once, twice = judge([group((1, 2), (3, 5))]), judge([group((1, 2), (3, 5)), group((1, 2), (3, 5))])
    assert twice == once * 2


def test_a_larger_spread_of_the_two_in_question_is_their_own() -> None:
    own, rest = spread([(0.0, 10.0), (1.0, 12.0)]), spread([(0.0, 0.1), (0.0, 0.2)])
    assert common_spread(own, rest) == own
    alike = common_spread(Spread(2.0, 2), Spread(2.0, 2))
    assert alike == Spread(4.0, 4)
    calm = common_spread(Spread(0.2, 2), Spread(10.0, 4))
    assert (calm.variance, calm.freedom) == (pytest.approx(1.7), 6)
    a_little_more = common_spread(Spread(2.4, 2), Spread(4.0, 4))
    assert (a_little_more.variance, a_little_more.freedom) == (pytest.approx(1.2), 6), "never less than its own"


def test_halves_add_as_squares() -> None:
    bare, on_pictures = (judge([group((1, 2), (4, 6), pictures=p)])[0].variants[1].numbers[UP] for p in (0.0, 3.0))
    assert bare.difference_high is not None
    assert on_pictures.difference_high is not None
    assert bare.difference is not None
    seeds = bare.difference_high - bare.difference
    assert on_pictures.difference_high - bare.difference == pytest.approx(sqrt(seeds**2 + 3**2 + 3**2))


def test_shares_stay_shares() -> None:
    found = with_interval("recall", summary(0.1, 0.9, pictures=0.1), NOBODY)
    assert (found.low, found.high) == (0.0, 1.0)
    assert with_interval("kernel", summary(0.1, 0.9, pictures=0.1), NOBODY).low == pytest.approx(-4.6, abs=0.5)


# ------------------------------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("column", "numbers", "said"),
    [
        (UP, (9, 9.1), "better"), (UP, (-9, -9.1), "worse"), (DOWN, (9, 9.1), "worse"), (DOWN, (-9, -9.1), "better"),
        (NEITHER, (9, 9.1), "higher"), (NEITHER, (-9, -9.1), "lower"),
        (UP, (0.2, 0.3), "inconclusive"), (UP, (50,), "inconclusive"),
    ],
)  # fmt: skip
def test_verdicts(column: str, numbers: tuple[float, ...], said: str) -> None:
    """Seeds apart, (0, 0.1) and (0.2, 0.3) say nothing; one seed never does, however far away."""
    found = judge([group((0, 0.1), numbers, column=column)])[0].variants[1].numbers[column]
    assert found.verdict == said
    assert (found.difference_low is None) == (len(numbers) == 1)


def test_seeds_that_all_agree_are_too_coarse() -> None:
    found = judge([group((0.5, 0.5), (0.75, 0.75), column="recall")])[0].variants[1].numbers["recall"]
    assert (found.verdict, found.difference_low) == ("inconclusive", None)


def test_pictures_alone_can_leave_it_open() -> None:
    assert judge([group((0, 0.1), (9, 9.1), pictures=7)])[0].variants[1].numbers[UP].verdict == "inconclusive"


seeds = st.lists(number, min_size=2, max_size=4).map(tuple)


@given(seeds, seeds, st.floats(0, 10))
def test_verdicts_mirror_each_other(one: tuple[float, ...], other: tuple[float, ...], pictures: float) -> None:
    def said(column: str, *numbers: tuple[float, ...]) -> Any:
        return judge([group(*numbers, pictures=pictures, column=column)])[0].variants[1].numbers[column]

    mirrored = {"better": "worse", "worse": "better", "inconclusive": "inconclusive"}
    there, back = said(UP, one, other), said(UP, other, one)
    assert back.verdict == mirrored[there.verdict] == said(DOWN, one, other).verdict
    if there.difference_low is not None:
        assert (there.verdict == "inconclusive") == (there.difference_low <= 0 <= there.difference_high)


# ---------------------------------------------------------------------------------------------------------- simulation


def called_different(
    variants: int, count: int, pictures: float, shift: float = 0.0, noisy: float = 1.0, trials: int = 500
) -> float:
    """How often the second variant is called different from the first, with so many variants of so many seeds.

    Args:
        variants: How many; all but the second have the same mean.
        count: Seeds of each, of standard deviation 1.
        pictures: Standard deviation by the choice of pictures, of a variant as a whole; its interval comes from 50 of them.
        shift: Of the second.
        noisy: Standard deviation of the seeds of the first two.
        trials: Simulated ablations.
    """
    random = np.random.default_rng([variants, count, int(10 * pictures)])
    called = 0
    for _ in range(trials):
        scale = np.where(np.arange(variants) < 2, noisy, 1.0)[:, None]
        values = random.normal(size=(variants, count)) * scale + random.normal(size=(variants, 1)) * pictures
        values[1] += shift
        half = 1.96 * pictures * sqrt(random.chisquare(49) / 49)
        (found,) = judge([group(*map(tuple, values.tolist()), pictures=half)])
        called += found.variants[1].numbers[UP].verdict != "inconclusive"
    return called / trials


CERTAIN = 0.03  # three standard errors of 5 % in 500 trials


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("pictures", [0.0, 0.3, 3.0])
def test_equal_variants_are_rarely_called_different(count: int, pictures: float) -> None:
    assert called_different(4, count, pictures) <= 0.05 + CERTAIN


@pytest.mark.parametrize(("count", "least"), [(2, 0.4), (3, 0.7), (5, 0.95)])
def test_three_standard_deviations_are_found(count: int, least: float) -> None:
    assert called_different(4, count, 0.0, shift=3.0, trials=200) >= least


ON_PICTURES = 2 * stats.t.sf(1.96, 49)  # 5.6 %: of a bootstrap interval of 50 pictures alone


@pytest.mark.slow
@pytest.mark.parametrize("variants", [2, 4, 8])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_how_often_the_rule_is_wrong_and_right(variants: int, count: int) -> None:
    """More exactly, for any number of variants; two that spread more than the others are a little too rarely alike.

    The bounds leave three standard errors of 3000 trials.
    """
    for pictures in (0.0, 0.3, 1.0, 3.0):
        assert called_different(variants, count, pictures, trials=3000) <= ON_PICTURES + 0.014
    assert called_different(variants, count, 0.0, noisy=3.0, trials=3000) <= 0.09
    assert called_different(variants, count, 0.0, shift=3.0, trials=1000) >= {2: 0.33, 3: 0.7, 5: 0.95}[count]
