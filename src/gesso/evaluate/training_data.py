"""What generated photographs are worth as training data: a segmenter learns from real ones, generated ones, and both.

Trial          one training, and how well it reads the real photographs that are held out
Source         one row: what was learned from, its trials, its numbers, and how they stand beside those of real photographs
TrainingData   everything, as it is written to training-data.json

The interval of a number is for other pictures (bootstrap; all rows are drawn alike) and, with several seeds, for another training
(Student's t over the seeds, whose spread is pooled over the rows); the two add as squares. The interval of a difference is of
pairs: the same pictures are drawn for both rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from gesso.evaluate.ablation_rule import Spread, spread
from gesso.evaluate.documents import Document, Frozen
from gesso.evaluate.intervals import Floats, draws, percentiles
from gesso.evaluate.numbers import ALONE, Sampling
from gesso.evaluate.results import ClassRow, Number
from gesso.evaluate.segmentation import HEADLINE, HITS, LABELLED, ConfusionMatrix, Counts, headline

REAL, GENERATED, BOTH = "real", "generated", "both"
SOURCES = (REAL, GENERATED, BOTH)
JUDGED = "mean_iou"  # what the plain sentences go by
Answer = Literal["better", "worse", "open"]


class Trial(Document):
    """One training of a segmenter, and what it finds in the held-out photographs.

    Attributes:
        source: What it learned from: "real", "generated" or "both".
        seed: Of everything random in the training.
        steps: That it took.
        seconds: Of training; None where it was interrupted and went on.
        photographs: That it learned from.
        learned: Digest of them, and of how.
        tested: Digest of the held-out photographs.
        segmenter: Its name, with a digest of its weights.
        pictures: (N, 3, C) per held-out photograph and class: right pixels, those of the label map, those found.
    """

    what: ClassVar[str] = "a training for an experiment with training data"
    command: ClassVar[str] = "gesso evaluate --as-training-data"

    source: str
    seed: int
    steps: int
    seconds: float | None
    photographs: int
    learned: str
    tested: str
    segmenter: str
    pictures: tuple[tuple[tuple[int, ...], ...], ...] = Field(repr=False)

    @property
    def margins(self) -> Counts:
        """The counts as an array."""
        return np.array(self.pictures, dtype=np.int64)


def counted(matrix: ConfusionMatrix) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """What a trial keeps of a confusion matrix."""
    return tuple(tuple(tuple(line) for line in picture) for picture in matrix.of_pictures.tolist())


class Difference(Frozen):
    """A number of a row less that of the first row.

    Attributes:
        value: Above 0 where this row has more.
        low: Of its interval; None where there is none.
        high: Of the same.
        answer: "better" or "worse" where the interval does not hold 0, else "open".
    """

    value: float
    low: float | None = None
    high: float | None = None
    answer: Answer = "open"


class Source(Frozen):
    """One row.

    Attributes:
        name: "real", "generated" or "both".
        photographs: That were learned from.
        seeds: Of the trainings.
        steps: Of each training.
        seconds: Of each training, as far as they are known.
        numbers: By the names of `HEADLINE`: mean over the trainings.
        each: The same of each training.
        differences: To the first row; empty for the first.
        classes: IoU per class, mean over the trainings.
    """

    name: str
    photographs: int
    seeds: tuple[int, ...]
    steps: int
    seconds: tuple[float | None, ...]
    numbers: dict[str, Number]
    each: dict[str, tuple[float, ...]]
    differences: dict[str, Difference] = Field(default_factory=dict)
    classes: tuple[ClassRow, ...] = ()


class Conditions(Frozen):
    """Everything that must be the same for two such experiments to be comparable, and what made this one.

    Attributes:
        data: Folder of the real data (its last two names).
        train_split: Part of it that is learned from.
        split: Part of it that is held out.
        held_out: Photographs in that.
        generated: Folder of the generated data (its last two names) and their split.
        models: Hashes of the models that generated them.
        layouts: How many layouts the generated photographs are of.
        augmentations: What was done to those, in words.
        label_space: Name of the label space.
        classes: Its classes.
        size: (height, width) of everything.
        budget: Of each training, in words.
        settings: Of the trainings, as JSON.
        digests: Over names and contents of what was read: "real", "generated", "held out".
        device: That computed.
        threads: Of the processor.
        resamples: Draws behind an interval.
        level: Confidence of the intervals, 0..1.
        seed: Of the draws; trainings have this one and those that follow.
        versions: Of what numbers depend on.
        created: ISO 8601 in UTC.
    """

    data: str
    train_split: str
    split: str
    held_out: int
    generated: str
    models: tuple[str, ...]
    layouts: int
    augmentations: str
    label_space: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    budget: str
    settings: str
    digests: dict[str, str]
    device: str
    threads: int
    resamples: int
    level: float = 0.95
    seed: int
    versions: dict[str, str] = Field(default_factory=dict)
    created: str = ""


class TrainingData(Document):
    """What `gesso evaluate --as-training-data` found; the first row is that of real photographs."""

    what: ClassVar[str] = "an experiment with training data"
    command: ClassVar[str] = "gesso evaluate --as-training-data"

    conditions: Conditions
    rows: tuple[Source, ...]
    findings: tuple[str, ...]


# ------------------------------------------------------------------------------------------------------------- numbers


class _Drawn(NamedTuple):
    """The headline scores of the trials of a row."""

    values: Floats
    """(4, S): of each seed, over all pictures."""

    means: Floats | None
    """(4, R): of each draw of pictures, mean over the seeds; None of one picture."""


def summarise(
    trials: Mapping[str, Sequence[Trial]], classes: Sequence[str], sampling: Sampling | None = None
) -> tuple[Source, ...]:
    """The rows of an experiment.

    Args:
        trials: By the name of the row, the first one the one that others are compared with; each with trials of the same seeds,
            tested on the same photographs.
        classes: Names of the classes.
        sampling: Of the intervals.
    """
    sampling = sampling or Sampling()
    drawn = {name: _drawn([trial.margins for trial in some], sampling) for name, some in trials.items()}
    first = next(iter(drawn.values()))
    found = []
    for name, some in trials.items():
        own, numbers, differences = drawn[name], {}, {}
        for position, score in enumerate(HEADLINE):
            reach = _reach([row.values[position] for row in drawn.values()], sampling.level)
            numbers[score] = _number(own, position, reach, sampling.level)
            if own is not first:
                differences[score] = _difference(own, first, position, reach * sqrt(2), sampling.level)
        found.append(
            Source(
                name=name,
                photographs=some[0].photographs,
                seeds=tuple(trial.seed for trial in some),
                steps=some[0].steps,
                seconds=tuple(trial.seconds for trial in some),
                numbers=numbers,
                each={score: tuple(own.values[n].tolist()) for n, score in enumerate(HEADLINE)},
                differences=differences,
                classes=_classes([trial.margins for trial in some], classes),
            )
        )
    return tuple(found)


def _drawn(margins: Sequence[Counts], sampling: Sampling) -> _Drawn:
    values = np.array([headline(one.sum(0).astype(np.float64)) for one in margins]).T
    pictures = len(margins[0])
    if pictures < 2:
        return _Drawn(values, None)
    counts = draws(pictures, sampling.resamples, sampling.seed)  # of equal seeds the same for every row: pairs
    scored = []
    for one in margins:
        again = (counts @ one.reshape(pictures, -1).astype(np.float64)).reshape(-1, *one.shape[1:])
        scored.append(np.array(headline(again)))
    return _Drawn(values, np.mean(scored, axis=0))


def _reach(seeds: Sequence[Floats], level: float) -> float:
    """Half of the interval that another training of one row's mean has; 0 where nothing is known of that."""
    pooled: Spread = spread([row.tolist() for row in seeds])
    return pooled.reach(level) / sqrt(len(seeds[0])) if pooled.freedom else 0.0


def _number(own: _Drawn, position: int, reach: float, level: float) -> Number:
    value = float(own.values[position].mean())
    if own.means is None:
        return Number(value=value, note=ALONE)
    low, high = _ends(value, own.means[position], reach, level)
    return Number(value=value, low=max(low, 0.0), high=min(high, 1.0))


def _difference(own: _Drawn, first: _Drawn, position: int, reach: float, level: float) -> Difference:
    value = float(own.values[position].mean() - first.values[position].mean())
    if own.means is None or first.means is None:
        return Difference(value=value)
    low, high = _ends(value, own.means[position] - first.means[position], reach, level)
    return Difference(value=value, low=low, high=high, answer="better" if low > 0 else "worse" if high < 0 else "open")


def _ends(value: float, drawn: Floats, reach: float, level: float) -> tuple[float, float]:
    """Both ends of an interval over pictures and seeds."""
    low, high = percentiles(drawn, level)
    return value - sqrt(max(value - low, 0.0) ** 2 + reach**2), value + sqrt(max(high - value, 0.0) ** 2 + reach**2)


def _classes(margins: Sequence[Counts], names: Sequence[str]) -> tuple[ClassRow, ...]:
    totals = np.array([one.sum(0) for one in margins]).astype(np.float64)  # (S, 3, C)
    hits, labelled, found = totals[:, HITS], totals[:, LABELLED], totals[:, 2]
    rows = []
    for c, name in enumerate(names):
        pixels = int(labelled[0, c])
        iou = float((hits[:, c] / (labelled[:, c] + found[:, c] - hits[:, c])).mean()) if pixels else None
        accuracy = float((hits[:, c] / labelled[:, c]).mean()) if pixels else None
        rows.append(ClassRow(name=name, pixels=pixels, accuracy=accuracy, iou=iou))
    return tuple(rows)
