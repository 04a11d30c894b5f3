"""What an ablation says of its variants: its document, its sentences, its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from evaluated import evaluation
from gesso.errors import DataError
from gesso.evaluate.ablation_report import to_html
from gesso.evaluate.ablation_results import Ablation, Comparison, Run, Stretch, Variant, summarise
from gesso.evaluate.ablation_rule import judge
from gesso.evaluate.ablation_words import cautions, findings, how_trained, took_turns
from gesso.evaluate.results import Evaluation, Number, Row

# ---------------------------------------------------------------------------------------------------------- documents

SPOILT = {"baseline-seed0": 0.3, "baseline-seed1": 0.35, "g-worse-seed0": 3.0, "g-worse-seed1": 3.1}


def stretch(round: int, rounds: int = 2, began: float | None = None, **changes: Any) -> Stretch:
    """A slice that began at a second of its minute: by default that of its round."""
    facts: dict[str, Any] = {
        "began": f"2026-01-01T10:00:{round if began is None else began:06.3f}+00:00",
        "step": 50 * (round - 1),
        "until": 300.0 * round / rounds,
        "unit": "seconds",
        "round": round,
        "rounds": rounds,
        "parallel": 1,
        "threads": 2,
        "device": "cpu",
        "split": "train",
        "samples": 40,
        "digest": "0123456789abcdef",
        "versions": {"torch": "2.11"},
    }
    return Stretch(**{**facts, **changes})


def runs(training: str, *seeds: int, failed: str = "", stretches: tuple[Stretch, ...] | None = None) -> tuple[Run, ...]:
    slices = (stretch(1), stretch(2)) if stretches is None else stretches
    return tuple(
        Run(name=f"{training}-seed{s}", seed=s, steps=100 + s, seconds=60.0, failed=failed, stretches=slices)
        for s in seeds
    )


def ablation(rows: dict[str, Row], seeds: tuple[int, ...] = (0, 1)) -> Ablation:
    names = {kind: [f"{kind}-seed{s}" for s in seeds] for kind in ("baseline", "g-worse")}
    first, second = (summarise([rows[name] for name in named]) for named in names.values())
    variants = (
        Variant(name="fine", changes="as <it> was", runs=runs("baseline", *seeds), rows=tuple(names["baseline"]), numbers=first),
        Variant(name="spoilt", changes="blur 3", runs=runs("g-worse", *seeds), rows=tuple(names["g-worse"]),
                numbers=second),
        Variant(name="absent", changes="vgg True", skipped="no weights"),
        Variant(name="lost", changes="lr 9", runs=runs("g-lost", *seeds, failed="The loss G became infinite")),
    )  # fmt: skip
    return Ablation(
        recipe="pix2pixhd",
        preset="pix2pixhd-small",
        settings={"lr": 0.0002},
        budget="5 minutes",
        seeds=seeds,
        comparisons=judge(
            [Comparison(name="group", question="What <b> is it worth?", origin="section 9", variants=variants)]
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


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("{", "no JSON"), ("{}", "is not an ablation")])
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
    (caution,) = cautions(comparison, 0.95)
    judged = comparison.judged
    assert judged == len(comparison.variants[1].numbers) > 10
    assert caution.startswith(
        f"{judged} numbers were judged, each at 5 %: if the variants did not differ at all, about "
    )
    assert f"about {judged * (1 - 0.95):.1f} of them would be called different by chance" in caution


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
        "where the interval of the difference, which stands below too, does not contain 0",
        "5 % of them are called different by chance",
        "in 2 rounds in which all took turns",
        "learned from 40 of split train, digest 0123456789abcdef",
        "cpu, 2 threads, 1 at a time; 2 slices",
        "absent: left out: no weights",
        "lost: lr 9; none of its trainings came to its end",
        "The loss G became infinite",
        "losses: vgg left out: no weights.",
        "6 trainings of 5 minutes each (2 of them failed), 2 seeds per variant",
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


def test_failed_trainings_are_not_hidden(found: tuple[Path, Evaluation]) -> None:
    whole = ablation({row.name: row for row in found[1].rows})
    first, second, *_ = whole.comparisons[0].variants
    (lost,) = runs("g-worse", 1, failed="The loss G became infinite")
    one_left = second.model_copy(update={"runs": (second.runs[0], lost), "rows": second.rows[:1]})
    comparison = whole.comparisons[0].model_copy(update={"variants": (first, one_left)})
    assert cautions(comparison, 0.95)[0] == (
        "spoilt: 1 of 2 trainings came to their end; g-worse-seed1 failed, and counts in no number."
    )
    page = to_html(whole.model_copy(update={"comparisons": (comparison,)}), found[1], found[0])
    assert "spoilt: blur 3; 1 of 2 trainings failed" in page
    assert "4 trainings of 5 minutes each (1 of them failed)" in page


def test_where_the_published_variant_failed_nothing_takes_its_place(found: tuple[Path, Evaluation]) -> None:
    whole = ablation({row.name: row for row in found[1].rows})
    first, second, _, lost = whole.comparisons[0].variants
    turned = whole.comparisons[0].model_copy(update={"variants": (lost, first, second)})
    (judged,) = judge([turned])
    assert judged.baseline is None
    assert judged.judged == 0, "no verdicts"
    assert findings(judged) == []
    said = "None of the trainings of lost came to its end: there is nothing to compare the others with."
    assert cautions(judged, 0.95) == [said]
    page = to_html(whole.model_copy(update={"comparisons": (judged,)}), found[1], found[0])
    assert page.count(said) == 2, "where things are said, and at the group"
    assert "verdict worse" not in page


# --------------------------------------------------------------------------------------------------- how it was trained


def trained(*stretches: tuple[Stretch, ...], budget: str = "5 minutes") -> Ablation:
    found = tuple(runs(f"t{number}", 0, stretches=s)[0] for number, s in enumerate(stretches))
    variants = tuple(Variant(name=run.name, changes="", runs=(run,), rows=(run.name,)) for run in found)
    comparison = Comparison(name="g", question="?", origin="", variants=variants)
    return Ablation(
        recipe="r", preset="p", settings={}, budget=budget, seeds=(0,), comparisons=(comparison,), evaluation="e"
    )


def test_turns_are_told_only_where_they_were_taken() -> None:
    together = trained((stretch(1), stretch(2)), (stretch(1, began=1.5), stretch(2, began=2.5)))
    assert how_trained(together) == [
        "All trainings had 5 minutes: one after another, in 2 rounds in which all took turns."
    ]
    again = trained((stretch(1), stretch(1, began=1.8), stretch(2)), (stretch(1), stretch(2)))
    assert took_turns([*again.runs.values()]), "an attempt that was interrupted is part of its slice"
    added = trained((stretch(1), stretch(2)), (stretch(1, began=3), stretch(2, began=4)))
    (line,) = how_trained(added)
    assert "but not in turns throughout" in line
    assert "took steps from some" in line
    other = trained((stretch(1), stretch(2)), (stretch(1, 1),))
    assert "but not in turns throughout" in how_trained(other)[0]


def test_one_piece_is_told() -> None:
    (line,) = how_trained(trained((stretch(1, 1),), (stretch(1, 1, began=9),)))
    assert line.startswith("All trainings had 5 minutes: one after another, each in one piece. Whatever slowed")
    steps = {"unit": "steps", "parallel": 3}
    (line,) = how_trained(trained((stretch(1, 1, **steps),), (stretch(1, 1, **steps),), budget="9 steps"))
    assert line == "All trainings had 9 steps: 3 at a time, each in one piece."


def test_unlike_trainings_are_told() -> None:
    lines = how_trained(trained((stretch(1), stretch(2)), (stretch(1, device="cuda"), stretch(2, threads=1))))
    assert "Not all trainings were made alike, by device: cpu: 1 trainings; cuda, cpu: 1 trainings." in lines
    assert "Not all trainings were made alike, by threads: 2: 1 trainings; 2, 1: 1 trainings." in lines
    assert len(lines) == 3


def test_what_was_not_noted_is_not_claimed() -> None:
    (line,) = how_trained(trained((stretch(1), stretch(2)), ()))
    assert line == "All trainings had 5 minutes; when and with what they were trained is not recorded of all."


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
