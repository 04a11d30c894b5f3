"""What an ablation found, as it is written to ablation.json: variants against the published one, over seeds and pictures.

Run           one training: a variant with a seed
Summary       one number of a variant over its seeds
Variant       its trainings, its numbers, and what they say beside the first variant's
Comparison    a group of variants that answer one question
Ablation      everything

The rule: the interval of a variant spans the intervals over pictures of all its seeds, and a variant is called better or worse
only where its interval and that of the first variant do not meet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gesso.errors import DataError
from gesso.evaluate.results import COLUMNS, Number, Row

FORMAT_VERSION = 1
SEEDS = 2  # at least so many say something about chance in training
Verdict = Literal["better", "worse", "higher", "lower", "inconclusive"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Run(_Frozen):
    """One training.

    Attributes:
        name: Of its folder.
        seed: Of everything that is random in it.
        steps: That it took in its budget.
        seconds: Of training.
        failed: Why it was not trained to its end; it is left out then.
    """

    name: str
    seed: int
    steps: int
    seconds: float
    failed: str = ""


class Summary(_Frozen):
    """One number of a variant.

    Attributes:
        mean: Over seeds.
        low: Of the lowest interval of any seed; None where one has none.
        high: Of the highest.
        seeds: The number of each seed.
        difference: To the mean of the first variant; None for the first itself, or where it has no such number.
        verdict: Beside the first variant; "higher" and "lower" where neither is better. None as above, and without intervals.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]
    difference: float | None = None
    verdict: Verdict | None = None

    @property
    def number(self) -> Number:
        """Mean and interval, for tables."""
        return Number(value=self.mean, low=self.low, high=self.high)


class Variant(_Frozen):
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


class Comparison(_Frozen):
    """Variants that answer one question; the first that was not left out is what the others are compared with."""

    name: str
    question: str
    origin: str
    variants: tuple[Variant, ...]

    @property
    def compared(self) -> tuple[Variant, ...]:
        """The variants that were measured."""
        return tuple(variant for variant in self.variants if variant.rows)


class Ablation(_Frozen):
    """What `gesso ablate` found.

    Attributes:
        recipe: Whose variants.
        preset: What they change.
        settings: All settings of the preset with what was given, before any variant.
        budget: Of each training, in words.
        seeds: Of the trainings.
        comparisons: Group by group.
        left_out: Groups that were asked for and not compared, with the reason, in words.
        evaluation: Where the evaluation of all rows is, relative to ablation.json.
    """

    format_version: int = FORMAT_VERSION
    recipe: str
    preset: str
    settings: dict[str, Any]
    budget: str
    seeds: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    left_out: tuple[str, ...] = ()
    evaluation: str

    def save(self, path: Path) -> None:
        """Write ablation.json.

        Raises:
            OSError: The disk is full or refuses.
        """
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Ablation:
        """Read ablation.json.

        Raises:
            DataError: The file is missing, or is no ablation.
        """
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not what gesso ablate writes"
            raise DataError(f"{path} cannot be read as an ablation: {reason}. gesso ablate writes one.") from None


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
        lows = [number.low for number in numbers if number.low is not None]
        highs = [number.high for number in numbers if number.high is not None]
        known = len(lows) == len(highs) == len(numbers)
        found[column] = Summary(
            mean=sum(values) / len(values),
            low=min(lows) if known else None,
            high=max(highs) if known else None,
            seeds=values,
        )
    return found


def beside(numbers: Mapping[str, Summary], first: Mapping[str, Summary]) -> dict[str, Summary]:
    """The numbers of a variant with what they say beside those of the first variant."""
    return {
        column: summary.model_copy(
            update={"difference": summary.mean - first[column].mean, "verdict": verdict(column, summary, first[column])}
        )
        if column in first
        else summary
        for column, summary in numbers.items()
    }


def verdict(column: str, number: Summary, first: Summary) -> Verdict | None:
    """What a number says beside the first variant's: something only where the intervals over seeds and pictures do not meet."""
    if number.low is None or number.high is None or first.low is None or first.high is None:
        return None
    few = min(len(number.seeds), len(first.seeds)) < SEEDS
    if few or (number.low <= first.high and first.low <= number.high):
        return "inconclusive"
    higher, better = number.mean > first.mean, COLUMNS[column].better
    if better is None:
        return "higher" if higher else "lower"
    return "better" if higher == (better == "higher") else "worse"
