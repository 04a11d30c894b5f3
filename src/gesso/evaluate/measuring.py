"""One set of pictures to one row of the table: picture by picture, in the memory of vectors and scores.

Example         one layout with its photograph, at the size at which everything is compared
Tools           what pictures are measured with
Measuring       takes pictures as they come, and gives the row
Real            what the rows of models are measured against: it comes out of measuring the photographs
Styled          what `gesso.evaluate.styling` found beside
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gesso.errors import DataError
from gesso.evaluate.faithfulness import FaithfulnessTally, faithfulness
from gesso.evaluate.features import FeatureExtractor, check_features, check_pictures
from gesso.evaluate.intervals import Floats
from gesso.evaluate.numbers import ALONE, Sampling, distribution_numbers, mean_number, ratio_number
from gesso.evaluate.paired import paired_scores
from gesso.evaluate.results import COLUMNS, ClassRow, LayoutScore, Number, Row
from gesso.evaluate.segmentation import HEADLINE, ConfusionMatrix, intervals, scores
from gesso.labels import ByteArray, IntArray, LabelSpace

Segment = Callable[[ByteArray], IntArray]
Vectors = npt.NDArray[np.float32]
PAIRED = ("l1", "psnr", "ssim")


@dataclass(frozen=True)
class Example:
    """One layout with what belongs to it, at the size at which everything is compared.

    Attributes:
        name: Of the sample.
        label: (H, W) class indices, C where ignored; None where the input is a picture.
        instance: (H, W) object ids; None for connected components.
        photograph: (H, W, 3) uint8; None where there is none.
    """

    name: str
    label: IntArray | None = None
    instance: IntArray | None = None
    photograph: ByteArray | None = None


@dataclass(frozen=True)
class Tools:
    """What pictures are measured with; what is None is not measured.

    Attributes:
        space: The label space of the layouts.
        segment: (B, H, W, 3) uint8 -> (B, H, W) class indices.
        extractor: Makes the vectors of distances between sets.
        repetition: (B, H, W, 3) uint8 -> (B,), how strongly each picture repeats itself.
        faithful: Whether objects and their boundaries are looked at where there is a segmentation.
        paired: Whether pictures are compared with their own photographs.
        band: Half the width of the band around boundaries, in pixels.
        neighbours: k of precision, recall, density and coverage.
        set_size: Pictures of each side in distances between sets; 0 takes all.
        sampling: How intervals are drawn.
        reasons: Why something is not measured, by family of columns or name of a column.
    """

    space: LabelSpace | None = None
    segment: Segment | None = None
    extractor: FeatureExtractor | None = None
    repetition: Callable[[ByteArray], Floats] | None = None
    faithful: bool = True
    paired: bool = True
    band: float = 3.0
    neighbours: int = 5
    set_size: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Real:
    """What is known of the photographs, in the order of the data.

    Attributes:
        features: (N, D).
        repetition: (N,).
    """

    features: Vectors | None = None
    repetition: Floats | None = None


@dataclass(frozen=True)
class Styled:
    """What was found of a model's styles.

    Attributes:
        numbers: By the names of `results.COLUMNS`.
        missing: Why others are not there.
        classes: Diversity inside the classes, by name.
    """

    numbers: Mapping[str, Number] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)


class Measuring:
    """Measures one set of pictures.

    Args:
        tools: With what.
        features: (N, D), the vectors of all pictures to come, where they are known already.

    Attributes:
        seconds: By what they went into.
    """

    def __init__(self, tools: Tools, features: Vectors | None = None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._tools = tools
        self._known = features
        self._names: list[str] = []
        self._matrix = ConfusionMatrix(len(tools.space)) if tools.space and tools.segment else None
        self._tally = FaithfulnessTally(tools.space.names if tools.space else ())
        self._agreement: list[float | None] = []
        self._objects: list[tuple[float, int]] = []  # of each picture: sum of its objects' shares, and how many objects
        self._band: list[tuple[int, int]] = []  # of each picture: pixels found right inside the band, and pixels there
        self._l1: list[float | None] = []
        self._paired: dict[str, list[float]] = {name: [] for name in PAIRED}
        self._features: list[Vectors] = []
        self._repetition: list[float] = []

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the seconds inside under a name."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += perf_counter() - start

    def update(self, examples: Sequence[Example], pictures: Sequence[ByteArray]) -> None:
        """Measure some pictures; what is found of one never depends on the others.

        Args:
            examples: The layouts, in the order of the data.
            pictures: (H, W, 3) uint8 each, of the size of their layouts.

        Raises:
            DataError: A picture is no (H, W, 3) uint8, or has another size than its photograph; or its features are not finite.
            LabelError: A picture has another size than its layout, or the segmenter knows other classes.
        """
        pairs = zip(examples, pictures, strict=True)
        for _, group in groupby(pairs, key=lambda pair: (pair[1].shape, pair[1].dtype)):
            some, shown = zip(*group, strict=True)
            self._measure(some, np.stack(shown))

    def _measure(self, examples: Sequence[Example], pictures: ByteArray) -> None:
        tools, names = self._tools, ", ".join(example.name for example in examples)
        check_pictures(pictures, names)
        self._names += [example.name for example in examples]
        if tools.segment and tools.space:
            with self.timed("segmentation"):
                found = tools.segment(pictures)
            with self.timed("layouts"):
                for example, one in zip(examples, found, strict=True):
                    self._compare(example, one, tools.space)
        if tools.extractor and self._known is None:
            with self.timed("features"):
                each = [tools.extractor(picture[None]) for picture in pictures]  # sums of a batch would round otherwise
                vectors = np.concatenate(each).astype(np.float32)
                check_features(vectors, f"the features of {names}")
                self._features.append(vectors)
        with self.timed("paired"):
            self._compare_photographs(examples, pictures)
        if tools.repetition:
            with self.timed("repetition"):
                self._repetition += tools.repetition(pictures).tolist()

    def _compare(self, example: Example, found: IntArray, space: LabelSpace) -> None:
        """A layout with what was found in its picture."""
        assert self._matrix is not None and example.label is not None
        self._matrix.update(example.label, found, example.name)
        counted = example.label < len(space)
        self._agreement.append(float((example.label == found)[counted].mean()) if counted.any() else None)
        if not self._tools.faithful:
            return
        measured = faithfulness(example.label, found, space, example.instance, self._tools.band)
        self._tally.update(measured)
        self._objects.append((sum(one.agreement for one in measured.objects), len(measured.objects)))
        near, near_right = measured.counts[2:].sum(1).tolist()
        self._band.append((near_right, near))

    def _compare_photographs(self, examples: Sequence[Example], pictures: ByteArray) -> None:
        photographs = [example.photograph for example in examples if example.photograph is not None]
        if not self._tools.paired or len(photographs) < len(examples):
            self._l1 += [None] * len(examples)
            return
        found = paired_scores(pictures, np.stack(photographs))
        for name in PAIRED:
            self._paired[name] += getattr(found, name).tolist()
        self._l1 += found.l1.tolist()

    # ----------------------------------------------------------------------------------------------------- what was found

    @property
    def real(self) -> Real:
        """What was found of these pictures, for others to be measured against."""
        vectors = self._known if self._known is not None else _joined(self._features)
        return Real(vectors, np.array(self._repetition) if self._repetition else None)

    def row(
        self,
        name: str,
        kind: Literal["oracle", "model", "pictures"],
        against: Real,
        *,
        styled: Styled | None = None,
        facts: Mapping[str, Any] | None = None,
        pictures: str = "",
    ) -> Row:
        """The row of all pictures that were measured.

        Args:
            name: Of the row.
            kind: What the pictures are.
            against: The photographs.
            styled: What was found of a model's styles.
            facts: Of the model, or the folder.
            pictures: Folder of the pictures, relative to evaluation.json.

        Raises:
            DataError: Nothing was measured.
            LabelError: Every pixel is ignored.
        """
        if not self._names:
            raise DataError(f"{name}: there is no picture to measure.")
        styled, missing = styled or Styled(), dict(self._tools.reasons)
        with self.timed("intervals"):
            numbers = {**self._segmentation(), **self._faithfulness(), **self._pairs(), **styled.numbers}
            numbers |= self._repeated(against) | self._distribution(against, missing)
        return Row(
            name=name,
            kind=kind,
            facts=dict(facts or {}),
            numbers={column: numbers[column] for column in COLUMNS if column in numbers},
            missing=_explained(numbers, {**missing, **styled.missing}),
            classes=self._classes(styled),
            confusion=tuple(map(tuple, self._matrix.counts.tolist())) if self._matrix else (),
            layouts=self._layouts(),
            pictures=pictures,
            seconds={what: round(spent, 3) for what, spent in self.seconds.items()},
        )

    def _segmentation(self) -> dict[str, Number]:
        if self._matrix is None:
            return {}
        assert self._tools.space is not None
        found, sampling = scores(self._matrix, self._tools.space.names), self._tools.sampling
        if self._matrix.pictures < 2:
            return {name: Number(value=getattr(found, name), note=ALONE) for name in HEADLINE}
        spans = intervals(self._matrix, sampling.resamples, sampling.seed, sampling.level)
        return {
            name: Number(value=getattr(found, name), low=spans[name].low, high=spans[name].high) for name in HEADLINE
        }

    def _faithfulness(self) -> dict[str, Number]:
        found: dict[str, Number | None] = {}
        for name, pairs in (("object_agreement", self._objects), ("band_agreement", self._band)):
            parts, wholes = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
            found[name] = ratio_number(parts, wholes, self._tools.sampling)
        return _known(found)

    def _pairs(self) -> dict[str, Number]:
        found = _known({name: mean_number(np.array(v), self._tools.sampling) for name, v in self._paired.items() if v})
        if equal := sum(map(np.isinf, self._paired["psnr"])):
            note = f"{equal} of {len(self._names)} pictures equal their photographs: there is no interval"
            found["psnr"] = found["psnr"].model_copy(update={"note": note})
        return found

    def _repeated(self, against: Real) -> dict[str, Number]:
        """How much more these pictures repeat themselves than the photographs do; never less than nothing."""
        if not self._repetition or against.repetition is None:
            return {}
        found = mean_number(np.array(self._repetition) - against.repetition, self._tools.sampling)
        assert found is not None
        ends = {key: None if (end := getattr(found, key)) is None else max(end, 0.0) for key in ("low", "high")}
        return {"repetition": found.model_copy(update={"value": max(found.value, 0.0), **ends})}

    def _distribution(self, against: Real, missing: dict[str, str]) -> dict[str, Number]:
        made = self.real.features
        if made is None or against.features is None:
            return {}
        tools = self._tools
        size = tools.set_size or len(made)
        numbers, reasons = distribution_numbers(against.features, made, tools.neighbours, size, tools.sampling)
        missing.update(reasons)
        return numbers

    def _classes(self, styled: Styled) -> tuple[ClassRow, ...]:
        if self._matrix is None:
            return ()
        assert self._tools.space is not None
        found = scores(self._matrix, self._tools.space.names).classes
        return tuple(
            ClassRow(
                name=one.name,
                pixels=one.labelled,
                accuracy=one.accuracy,
                iou=one.iou,
                band_agreement=near.band_agreement,
                objects=near.objects,
                object_agreement=near.object_agreement,
                diversity=styled.classes.get(one.name),
            )
            for one, near in zip(found, self._tally.classes(), strict=True)
        )

    def _layouts(self) -> tuple[LayoutScore, ...]:
        agreement = self._agreement or [None] * len(self._names)
        listed = zip(self._names, agreement, self._l1, strict=True)
        return tuple(LayoutScore(name=name, agreement=share, l1=l1) for name, share, l1 in listed)


def _joined(parts: Sequence[Vectors]) -> Vectors | None:
    return np.concatenate(parts) if parts else None


def _known(numbers: Mapping[str, Number | None]) -> dict[str, Number]:
    return {name: number for name, number in numbers.items() if number is not None}


def _explained(numbers: Mapping[str, Number], reasons: Mapping[str, str]) -> dict[str, str]:
    """Why a column has no number, for each that has none: its own reason, or that of its family."""
    nothing = "there is nothing of it in these layouts"
    return {
        name: reasons.get(name) or reasons.get(column.family) or nothing
        for name, column in COLUMNS.items()
        if name not in numbers
    }
