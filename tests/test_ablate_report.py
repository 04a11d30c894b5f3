"""What an ablation says of its variants: summaries over seeds, the rule of overlapping intervals, the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluated import evaluation
from gesso.errors import DataError
from gesso.evaluate.ablation_report import findings, to_html
from gesso.evaluate.ablation_results import (
    Ablation,
    Comparison,
    Run,
    Summary,
    Variant,
    beside,
    summarise,
    verdict,
)
from gesso.evaluate.results import Evaluation, Number, Row

UP, DOWN, NEITHER = "mean_iou", "frechet", "diversity"
number = st.floats(-100, 100)


def row(name: str = "r", **numbers: tuple[float, float | None, float | None]) -> Row:
    found = {column: Number(value=v, low=low, high=high) for column, (v, low, high) in numbers.items()}
    return Row(name=name, kind="model", numbers=found)


def summary(*values: float, low: float | None = None, high: float | None = None, half: float = 1.0) -> Summary:
    low, high = (min(values) - half if low is None else low), (max(values) + half if high is None else high)
    return Summary(mean=sum(values) / len(values), low=low, high=high, seeds=values)


# ------------------------------------------------------------------------------------------------------------- numbers


def test_an_interval_spans_those_of_all_seeds() -> None:
    found = summarise([row(mean_iou=(0.4, 0.3, 0.5)), row(mean_iou=(0.5, 0.45, 0.6))])
    assert found == {UP: Summary(mean=0.45, low=0.3, high=0.6, seeds=(0.4, 0.5))}


def test_a_number_that_a_seed_lacks_is_none() -> None:
    assert summarise([row(mean_iou=(0.4, 0.3, 0.5)), row(frechet=(4.0, 3.0, 5.0))]) == {}
    assert summarise([]) == {}
    assert summarise([row(mean_iou=(float("nan"), 0.3, 0.5))]) == {}
    assert summarise([row(psnr=(float("inf"), None, None))]) == {}


def test_without_intervals_there_is_a_mean_and_no_verdict() -> None:
    found = summarise([row(density=(1.0, None, None)), row(density=(2.0, 1.5, 2.5))])["density"]
    assert (found.mean, found.low, found.high) == (1.5, None, None)
    assert verdict("density", found, summary(1.0, 2.0)) is None
    assert verdict("density", summary(1.0, 2.0), found) is None


@pytest.mark.parametrize(
    ("column", "number", "said"),
    [
        (UP, summary(5, 6), "better"), (UP, summary(-5, -6), "worse"),
        (DOWN, summary(5, 6), "worse"), (DOWN, summary(-5, -6), "better"),
        (NEITHER, summary(5, 6), "higher"), (NEITHER, summary(-5, -6), "lower"),
        (UP, summary(1, 6), "inconclusive"), (UP, summary(3, 6), "inconclusive"),
        (UP, summary(3.01, 6), "better"), (UP, summary(50, low=49, high=51), "inconclusive"),
    ],
)  # fmt: skip
def test_a_verdict_needs_intervals_that_do_not_meet(column: str, number: Summary, said: str) -> None:
    """The first variant's is from -1 to 2; with one seed nothing is said, however far apart."""
    assert verdict(column, number, summary(0, 1)) == said


@given(st.lists(number, min_size=2, max_size=4), st.lists(number, min_size=2, max_size=4), st.floats(0, 10))
def test_verdicts_mirror_each_other(one: list[float], other: list[float], half: float) -> None:
    first, second = summary(*one, half=half), summary(*other, half=half)
    mirrored = {"better": "worse", "worse": "better", "inconclusive": "inconclusive"}
    there = verdict(UP, first, second)
    assert there is not None
    assert verdict(UP, second, first) == mirrored[there]
    assert verdict(DOWN, first, second) == mirrored[there]
    if there != "inconclusive":
        assert min(one) > max(other) or max(one) < min(other), "every seed agrees"


def test_beside_the_first_variant() -> None:
    first = {UP: summary(0.5, 0.6, half=0.01)}
    found = beside({UP: summary(0.3, 0.4, half=0.01), DOWN: summary(1, 2)}, first)
    assert found[UP].difference == pytest.approx(-0.2)
    assert found[UP].verdict == "worse"
    assert (found[DOWN].difference, found[DOWN].verdict) == (None, None), "the first has no such number"


# ---------------------------------------------------------------------------------------------------------- documents

SPOILT = {"baseline-seed0": 0.3, "baseline-seed1": 0.35, "g-worse-seed0": 3.0, "g-worse-seed1": 3.1}


def runs(training: str, *seeds: int, failed: str = "") -> tuple[Run, ...]:
    return tuple(Run(name=f"{training}-seed{s}", seed=s, steps=100 + s, seconds=60.0, failed=failed) for s in seeds)


def ablation(rows: dict[str, Row], seeds: tuple[int, ...] = (0, 1)) -> Ablation:
    names = {kind: [f"{kind}-seed{s}" for s in seeds] for kind in ("baseline", "g-worse")}
    first, second = (summarise([rows[name] for name in named]) for named in names.values())
    variants = (
        Variant(name="fine", changes="as <it> was", runs=runs("baseline", *seeds), rows=tuple(names["baseline"]), numbers=first),
        Variant(name="spoilt", changes="blur 3", runs=runs("g-worse", *seeds), rows=tuple(names["g-worse"]),
                numbers=beside(second, first)),
        Variant(name="absent", changes="vgg True", skipped="no weights"),
        Variant(name="lost", changes="lr 9", runs=runs("g-lost", *seeds, failed="The loss G became infinite")),
    )  # fmt: skip
    return Ablation(
        recipe="pix2pixhd",
        preset="pix2pixhd-small",
        settings={"lr": 0.0002},
        budget="5 minutes",
        seeds=seeds,
        comparisons=(
            Comparison(name="group", question="What <b> is it worth?", origin="section 9", variants=variants),
        ),
        left_out=("losses: vgg left out: no weights.",),
        evaluation="evaluation/evaluation.json",
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    folder = tmp_path_factory.mktemp("ablation") / "evaluation"
    return folder, evaluation(folder, SPOILT, 7)


def test_a_document_comes_back(found: tuple[Path, Evaluation], tmp_path: Path) -> None:
    written = ablation({row.name: row for row in found[1].rows})
    written.save(tmp_path / "ablation.json")
    assert Ablation.read(tmp_path / "ablation.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["ablation.json"]


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("{", "not what gesso ablate"), ("{}", "not what")])
def test_what_is_no_ablation_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "ablation.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=f"{path}.*{said}"):
        Ablation.read(path)


def test_what_can_be_said(found: tuple[Path, Evaluation]) -> None:
    comparison = ablation({row.name: row for row in found[1].rows}).comparisons[0]
    (line,) = findings(comparison)
    assert line.startswith("spoilt beside fine: worse in ")
    assert "Fréchet distance (125.97 instead of 13.42)" in line
    assert re.search(r"; (higher|lower) in diversity", line)
    assert comparison.compared == comparison.variants[:2]
    assert findings(comparison.model_copy(update={"variants": comparison.variants[1:]})) == []


def test_one_seed_says_nothing(found: tuple[Path, Evaluation]) -> None:
    single = ablation({row.name: row for row in found[1].rows}, seeds=(0,))
    (line,) = findings(single.comparisons[0])
    assert re.fullmatch(r"spoilt beside fine: inconclusive in all \d+ numbers", line)
    assert "nothing is known about chance in training" in to_html(single, found[1], found[0])


def test_the_page(found: tuple[Path, Evaluation]) -> None:
    folder, measured = found
    page = to_html(ablation({row.name: row for row in measured.rows}), measured, folder)
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#|evaluation/evaluation\.html)', page), "nothing else is needed"
    assert "What &lt;b&gt; is it worth?" in page
    assert "as &lt;it&gt; was" in page
    for said in (
        "only where the two intervals do not meet",
        "absent: left out: no weights",
        "lost: lr 9; none of its trainings came to its end",
        "The loss G became infinite",
        "losses: vgg left out: no weights.",
        "6 trainings of 5 minutes each, 2 seeds per variant",
        'class="verdict worse"',
        "seeds ",
    ):
        assert said in page, said
    assert page.count("<img") == 6 * 4, "six layouts of the first seed: layout, photograph, two variants"


def test_a_page_without_pictures(found: tuple[Path, Evaluation], tmp_path: Path) -> None:
    page = to_html(ablation({row.name: row for row in found[1].rows}), found[1], tmp_path)
    assert "<img" not in page
    assert "Pictures" not in page


def test_a_group_in_which_nothing_was_trained(found: tuple[Path, Evaluation]) -> None:
    whole = ablation({row.name: row for row in found[1].rows})
    lost = whole.comparisons[0].model_copy(update={"variants": whole.comparisons[0].variants[2:]})
    page = to_html(whole.model_copy(update={"comparisons": (lost,)}), found[1], found[0])
    assert "absent: left out: no weights" in page
    assert "<h3>" not in page


def test_a_published_variant_that_is_left_out_is_said(found: tuple[Path, Evaluation]) -> None:
    whole = ablation({row.name: row for row in found[1].rows})
    variants = whole.comparisons[0].variants
    turned = whole.comparisons[0].model_copy(update={"variants": (variants[2], *variants[:2])})
    page = to_html(whole.model_copy(update={"comparisons": (turned,)}), found[1], found[0])
    assert "The published variant is left out; the others are compared with fine." in page


def test_any_numbers_make_a_page(found: tuple[Path, Evaluation]) -> None:
    rows: dict[str, Any] = {row.name: row for row in found[1].rows}
    odd = {"psnr": Number(value=float("inf")), "kernel": Number(value=-0.0, low=-1e-9, high=0.0)}
    rows["baseline-seed0"] = rows["baseline-seed0"].model_copy(update={"numbers": odd})
    assert "</html>" in to_html(ablation(rows), found[1], found[0])
