"""What `gesso evaluate` finds, as it is written to evaluation.json: the protocol, and one row per set of pictures.

Protocol      everything that must be the same for two numbers to be comparable
Number        a value with its interval
Row           one set of pictures: the oracle (real photographs), a model, or a folder of pictures
Evaluation    protocol and rows
COLUMNS       what a number means, its unit, and which way is better
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar, Literal

from pydantic import Field

from gesso.evaluate.documents import Document, Frozen


@dataclass(frozen=True)
class Column:
    """What the numbers of a column are.

    Attributes:
        title: Heading.
        better: Which way is better; None where neither is (diversity: noise is diverse).
        family: What it is computed from: "segmentation", "faithfulness", "distribution", "paired", "diversity" or "repetition".
        share: Whether it is a share 0..1, shown in percent.
        digits: Decimals that are shown.
        meaning: One line for the report.
    """

    title: str
    better: Literal["higher", "lower"] | None
    family: str
    share: bool
    digits: int
    meaning: str


COLUMNS: dict[str, Column] = {
    "pixel_accuracy": Column(
        "pixel accuracy", "higher", "segmentation", True, 1, "pixels in which the segmenter finds the layout's class"
    ),
    "mean_class_accuracy": Column(
        "class accuracy", "higher", "segmentation", True, 1, "the same share per class, averaged over the classes"
    ),
    "mean_iou": Column("mean IoU", "higher", "segmentation", True, 1, "intersection over union, averaged over classes"),
    "frequency_weighted_iou": Column(
        "weighted IoU", "higher", "segmentation", True, 1, "the same, classes weighted by their pixels"
    ),
    "object_agreement": Column(
        "objects", "higher", "faithfulness", True, 1, "share of each object's pixels found right, averaged over objects"
    ),
    "band_agreement": Column(
        "at boundaries",
        "higher",
        "faithfulness",
        True,
        1,
        "pixels found right within a few pixels of object boundaries",
    ),
    "frechet": Column(
        "Fréchet distance",
        "lower",
        "distribution",
        False,
        2,
        "between the features of all pictures and all photographs",
    ),
    "kernel": Column(
        "kernel distance",
        "lower",
        "distribution",
        False,
        2,
        "squared mean discrepancy of features, times 1000; unbiased",
    ),
    "precision": Column(
        "precision", "higher", "distribution", True, 1, "pictures whose features lie among those of photographs"
    ),
    "recall": Column(
        "recall", "higher", "distribution", True, 1, "photographs whose features lie among those of the pictures"
    ),
    "density": Column(
        "density", "higher", "distribution", False, 2, "how deep pictures lie among photographs; 1 is usual"
    ),
    "coverage": Column("coverage", "higher", "distribution", True, 1, "photographs that have a picture near them"),
    "l1": Column("L1", "lower", "paired", False, 4, "mean absolute difference to the layout's own photograph, of 1"),
    "psnr": Column("PSNR", "higher", "paired", False, 2, "peak signal-to-noise ratio to it, in dB"),
    "ssim": Column("SSIM", "higher", "paired", False, 3, "structural similarity to it"),
    "style_l1": Column(
        "L1 in own style", "lower", "paired", False, 4, "L1 where the style is encoded from the photograph itself"
    ),
    "style_distance": Column(
        "distance in own style",
        "lower",
        "paired",
        False,
        4,
        "feature distance to the photograph in its own encoded style",
    ),
    "random_style_distance": Column(
        "distance in random styles", None, "paired", False, 4, "the same pictures in random styles, to compare with"
    ),
    "diversity": Column(
        "diversity", None, "diversity", False, 4, "mean distance between results for one layout; noise is diverse too"
    ),
    "repetition": Column(
        "repetition",
        "lower",
        "repetition",
        False,
        3,
        "how strongly textures repeat: share of fine detail's energy in isolated peaks of the spectrum, beyond photographs",
    ),
}


class SegmenterFacts(Frozen):
    """What pictures were segmented with, and how well it does on real photographs.

    Attributes:
        name: As reports print it, with a digest of its weights; never the name of another network.
        origin: What it learned from, or where it was published.
        scores: Its own headline scores on the real photographs of the evaluated split: the oracle row.
    """

    name: str
    origin: str
    scores: dict[str, float] = Field(default_factory=dict)


class Protocol(Frozen):
    """Everything that must be the same for two numbers to be comparable, and what made them.

    Attributes:
        data: Folder of the dataset (its last two names: paths differ between machines).
        split: Part of it.
        samples: How many layouts.
        samples_digest: Over the names and contents of what was read.
        label_space: Name of the label space; empty for pictures as input.
        classes: Its classes.
        classes_digest: Over what they mean: values in files, ignored values, which are countable.
        size: (height, width) at which everything is compared; None where each picture keeps its own.
        size_rule: The preprocessing that brings layouts and photographs to their size, as JSON.
        resampling: How photographs, label maps and results come to that size.
        segmenter: None where nothing was segmented.
        extractor: What the distribution distances and neighbours were taken of; empty where there are none.
        distance: What diversity and style distances were measured with; empty where there are none.
        band: Half the width of the band around instance boundaries, in pixels.
        neighbours: k of precision, recall, density and coverage.
        set_size: Pictures of each side in distribution distances, the same for every row.
        diversity: (layouts, results per layout).
        style: How results were styled, in words.
        seed: Of results and draws.
        resamples: Draws behind an interval.
        level: Confidence of the intervals, 0..1.
        versions: gesso, torch, and whatever else numbers depend on.
        created: ISO 8601 in UTC.
    """

    data: str
    split: str
    samples: int
    samples_digest: str
    label_space: str = ""
    classes: tuple[str, ...] = ()
    classes_digest: str = ""
    size: tuple[int, int] | None
    size_rule: str = ""
    resampling: str
    segmenter: SegmenterFacts | None = None
    extractor: str = ""
    distance: str = ""
    band: float = 3.0
    neighbours: int = 5
    set_size: int = 0
    diversity: tuple[int, int] = (0, 0)
    style: str = "random"
    seed: int = 0
    resamples: int = 1000
    level: float = 0.95
    versions: dict[str, str] = Field(default_factory=dict)
    created: str = ""

    def differences(self, other: Protocol) -> list[str]:
        """Names of the fields that make numbers incomparable.

        Where the data lie, when and with which versions they were measured, and how well the segmenter does (which follows from
        it and the photographs, but for the device's rounding) make none.
        """
        mine, theirs = self._comparable(), other._comparable()
        return [key for key, value in mine.items() if theirs[key] != value]

    def _comparable(self) -> dict[str, Any]:
        return self.model_dump(exclude={"data": True, "versions": True, "created": True, "segmenter": {"scores"}})


class Number(Frozen):
    """A value with its interval; both ends None where there is none, and why in `note`."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


class ClassRow(Frozen):
    """One class of one row; shares 0..1, None where there is nothing to count."""

    name: str
    pixels: int
    accuracy: float | None = None
    iou: float | None = None
    band_agreement: float | None = None
    objects: int = 0
    object_agreement: float | None = None
    diversity: float | None = None


class LayoutScore(Frozen):
    """One layout of one row: what galleries are chosen by."""

    name: str
    agreement: float | None = None
    l1: float | None = None


class Row(Frozen):
    """One set of pictures.

    Attributes:
        name: As given on the command line, or the file's.
        kind: "oracle" (the real photographs), "model", or "pictures" (a folder).
        facts: Of a model: its hash, recipe, preset, steps; of a folder: a digest of its files.
        numbers: By the names of `COLUMNS`; what could not be measured is not there.
        missing: Why a number is not there, by the name of its column.
        classes: Per class of the label space.
        confusion: (C, C + 1) pixels by class of the layout (rows) and class found (columns, the last: nothing known).
        layouts: Per layout, in the order of the data.
        pictures: Folder of its pictures, relative to evaluation.json; empty for the oracle.
        seconds: By what they went into: "synthesis", "segmentation", "features", and so on.
    """

    name: str
    kind: Literal["oracle", "model", "pictures"]
    facts: dict[str, Any] = Field(default_factory=dict)
    numbers: dict[str, Number] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
    classes: tuple[ClassRow, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    layouts: tuple[LayoutScore, ...] = ()
    pictures: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)


class Evaluation(Document):
    """What one run of `gesso evaluate` found; the first row is the oracle."""

    what: ClassVar[str] = "an evaluation"
    command: ClassVar[str] = "gesso evaluate"

    protocol: Protocol
    rows: tuple[Row, ...]


def best(rows: Iterable[Row], column: str) -> set[str]:
    """Names of the rows, the oracle apart, whose value in a column is the best; none where neither way is better."""
    there = [row for row in rows if row.kind != "oracle" and column in row.numbers]
    values = {row.name: value for row in there if not isnan(value := row.numbers[column].value)}
    if not values or COLUMNS[column].better is None:
        return set()
    goal = max(values.values()) if COLUMNS[column].better == "higher" else min(values.values())
    return {name for name, value in values.items() if value == goal}
