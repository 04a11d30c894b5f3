"""What an ablation found, as it is written to ablation.json: variants against the published one, over seeds and pictures.

Run           one training: a variant with a seed
Stretch       how a slice of it was trained
Summary       one number of a variant over its seeds
Variant       its trainings, its numbers, and what they say beside the first variant's
Comparison    a group of variants that answer one question
Ablation      everything

`ablation_rule` says when two variants differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Any, ClassVar, Literal

from pydantic import Field

from gesso.evaluate.documents import Document, Frozen
from gesso.evaluate.results import COLUMNS, Number, Row

Verdict = Literal["better", "worse", "higher", "lower", "inconclusive"]


class Stretch(Frozen):
    """One slice of a training, as it began; one that was interrupted is followed by another.

    Attributes:
        began: ISO 8601 in UTC.
        step: Steps taken before.
        until: What the training was to have had after it, in `unit`.
        unit: Seconds or steps.
        round: Its round, from 1.
        rounds: Of how many.
        parallel: Trainings at once.
        threads: Of this one.
        device: That computed.
        split: Part of the data that was learned from.
        samples: In it.
        digest: Over its files.
        versions: Of what numbers depend on.
    """

    began: str
    step: int
    until: float
    unit: Literal["seconds", "steps"]
    round: int
    rounds: int
    parallel: int
    threads: int
    device: str
    split: str
    samples: int
    digest: str
    versions: dict[str, str] = Field(default_factory=dict)


class Run(Frozen):
    """One training.

    Attributes:
        name: Of its folder.
        seed: Of everything that is random in it.
        steps: That it took in its budget.
        seconds: Of training.
        failed: Why it was not trained to its end; it is left out then.
        stretches: How it was trained, slice by slice.
    """

    name: str
    seed: int
    steps: int
    seconds: float
    failed: str = ""
    stretches: tuple[Stretch, ...] = ()


class Summary(Frozen):
    """One number of a variant.

    Attributes:
        mean: Over seeds.
        low: Of the interval over seeds and pictures; None where pictures gave none.
        high: Of the same.
        seeds: The number of each seed.
        pictures: Half of the interval over pictures of one seed (the longer half; root mean square over seeds).
        difference: To the mean of the first variant; None for the first itself, or where it has no such number.
        difference_low: Of the interval of the difference, over seeds and pictures; None with less than two seeds of each.
        difference_high: Of the same.
        verdict: Beside the first variant; "higher" and "lower" where neither is better. None as `difference`,
            and without intervals.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, ...]
    pictures: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: Verdict | None = None

    @property
    def number(self) -> Number:
        """Mean and interval, for tables."""
        return Number(value=self.mean, low=self.low, high=self.high)


class Variant(Frozen):
    """One way to train, or to use what was trained.

    Attributes:
        name: Within its group.
        changes: What it changes, in words.
        runs: Its trainings; other variants may share them.
        rows: Names of its rows in the evaluation, seed by seed.
        numbers: By the names of `COLUMNS`.
        skipped: Why it was left out; empty if it was not.
    """

    name: str
    changes: str
    runs: tuple[Run, ...] = ()
    rows: tuple[str, ...] = ()
    numbers: dict[str, Summary] = Field(default_factory=dict)
    skipped: str = ""

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names of the runs behind its numbers."""
        return tuple(run.name for run in self.runs if not run.failed)


class Comparison(Frozen):
    """Variants that answer one question; the first that was not left out is what the others are compared with."""

    name: str
    question: str
    origin: str
    variants: tuple[Variant, ...]

    @property
    def compared(self) -> tuple[Variant, ...]:
        """The variants that were measured."""
        return tuple(variant for variant in self.variants if variant.rows)

    @property
    def first(self) -> Variant | None:
        """The first variant that was not left out."""
        return next((variant for variant in self.variants if not variant.skipped), None)

    @property
    def baseline(self) -> Variant | None:
        """What the others are compared with; None where all trainings of the first variant failed: no other takes its place."""
        return self.first if self.first and self.first.rows else None

    @property
    def judged(self) -> int:
        """How many numbers have a verdict."""
        return sum(summary.verdict is not None for v in self.variants for summary in v.numbers.values())


class Ablation(Document):
    """What `gesso ablate` found.

    Attributes:
        recipe: Whose variants.
        preset: What they change.
        settings: All settings of the preset with what was given, before any variant.
        budget: Of each training, in words.
        seeds: Of the trainings.
        comparisons: Group by group.
        left_out: Groups that were asked for and not compared, with the reason, in words.
        level: Confidence of the intervals.
        evaluation: Where the evaluation of all rows is, relative to ablation.json.
    """

    what: ClassVar[str] = "an ablation"
    command: ClassVar[str] = "gesso ablate"

    recipe: str
    preset: str
    settings: dict[str, Any]
    budget: str
    seeds: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    left_out: tuple[str, ...] = ()
    level: float = 0.95
    evaluation: str

    @property
    def runs(self) -> dict[str, Run]:
        """Every training once, by its name."""
        return {run.name: run for c in self.comparisons for variant in c.variants for run in variant.runs}


def summarise(rows: Sequence[Row]) -> dict[str, Summary]:
    """The numbers that all seeds of a variant have.

    Args:
        rows: One per seed.
    """
    found = {}
    for column in COLUMNS:
        numbers = [row.numbers[column] for row in rows if column in row.numbers]
        if not numbers or len(numbers) < len(rows) or not all(isfinite(number.value) for number in numbers):
            continue
        values = tuple(number.value for number in numbers)
        halves = [
            max(number.high - number.value, number.value - number.low)
            for number in numbers
            if number.low is not None and number.high is not None
        ]
        known = len(halves) == len(numbers)
        found[column] = Summary(
            mean=sum(values) / len(values),
            seeds=values,
            pictures=sqrt(sum(half**2 for half in halves) / len(halves)) if known else None,
        )
    return found
