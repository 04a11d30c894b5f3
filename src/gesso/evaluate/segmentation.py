"""Segmentation scores: what a segmenter finds in pictures, beside what their layouts say (FCN, arXiv 1411.4038, section 5).

One confusion matrix in int64 gives all of them. Ignored pixels of the layout are left out. A class that no layout holds is left
out of every mean, whatever the segmenter finds, so that all rows of a table (the oracle's too) average the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gesso.errors import LabelError
from gesso.evaluate.intervals import Floats, Interval, draws, percentiles
from gesso.labels import IntArray

Counts = npt.NDArray[np.int64]
HEADLINE = ("pixel_accuracy", "mean_class_accuracy", "mean_iou", "frequency_weighted_iou")
HITS, LABELLED, FOUND = range(
    3
)  # rows of the margins: right pixels, those of the layout, those that the segmenter found


def check_maps(label: IntArray, found: IntArray, classes: int, origin: str) -> None:
    """Refuse a layout and a segmentation that do not belong together.

    Args:
        label: (H, W) class indices; `classes` where ignored.
        found: (H, W) class indices; `classes` where nothing that the label space knows was found.
        classes: How many classes the label space has.
        origin: Named in errors.

    Raises:
        LabelError: The maps differ in size, or hold something other than 0..classes.
    """
    if label.ndim != 2 or label.shape != found.shape:
        raise LabelError(
            f"{origin}: the layout has shape {label.shape} and the segmentation {found.shape}; both must be the same "
            "(H, W). Scale the picture to its layout before it is segmented."
        )
    for what, values in (("The layout", label), ("The segmenter", found)):
        if values.size and (values.min() < 0 or values.max() > classes):
            raise LabelError(
                f"{origin}: {what} holds class {values.min()} to {values.max()}, but the label space has {classes} "
                f"(0 to {classes - 1}, and {classes} for none). Use a segmenter of this label space, or map its "
                "classes."
            )


class ConfusionMatrix:
    """Pixels by what the layout says and what the segmenter found, over any number of pictures.

    Args:
        classes: C, classes of the label space.

    Attributes:
        counts: (C, C + 1) int64: row = class of the layout, column = class found; the last column for pixels in which the
            segmenter found something that the label space does not know.
        ignored: Pixels that were left out because the layout ignores them.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: Counts = np.zeros((classes, classes + 1), dtype=np.int64)
        self.ignored = 0
        self._of_pictures: list[Counts] = []

    def update(self, label: IntArray, found: IntArray, origin: str = "a picture") -> None:
        """Count one picture.

        Args:
            label: (H, W) class indices of the layout; C where ignored.
            found: (H, W) class indices that the segmenter found; C where it found nothing that the label space knows.
            origin: Named in errors.

        Raises:
            LabelError: The maps differ in size, or hold something other than 0..C; nothing is counted then.
        """
        check_maps(label, found, self.classes, origin)
        kept = label != self.classes
        pairs = label[kept].astype(np.int64) * (self.classes + 1) + found[kept]
        counts = np.bincount(pairs, minlength=self.counts.size).astype(np.int64).reshape(self.counts.shape)
        self.counts += counts
        self.ignored += int(label.size - kept.sum())
        self._of_pictures.append(_margins(counts))

    @property
    def pictures(self) -> int:
        """Pictures counted."""
        return len(self._of_pictures)

    @property
    def of_pictures(self) -> Counts:
        """(N, 3, C) int64: per picture and class the right pixels, those of the layout, and those found."""
        return np.stack(self._of_pictures) if self._of_pictures else np.zeros((0, 3, self.classes), dtype=np.int64)


def _margins(counts: Counts) -> Counts:
    """(C, C + 1) -> (3, C)."""
    return np.stack([np.diagonal(counts), counts.sum(1), counts[:, :-1].sum(0)])


@dataclass(frozen=True)
class ClassScore:
    """One class of the table.

    Attributes:
        name: The class.
        labelled: Pixels that the layouts give it.
        found: Pixels in which the segmenter found it, where no layout ignores them.
        accuracy: Share of the labelled pixels that were found, 0..1; None where no layout holds the class.
        iou: Pixels in both over pixels in either, 0..1; None likewise.
    """

    name: str
    labelled: int
    found: int
    accuracy: float | None
    iou: float | None


@dataclass(frozen=True)
class SegmentationScores:
    """The scores of a set of pictures, each 0..1.

    Attributes:
        pixel_accuracy: Share of the pixels whose class was found.
        mean_class_accuracy: Mean over classes of the share of their pixels that were found.
        mean_iou: Mean over classes of intersection over union.
        frequency_weighted_iou: The same, weighted by the pixels of each class in the layouts.
        classes: Every class of the label space.
        absent: Names of the classes that no layout holds; they are in no mean.
        pictures: Pictures counted.
        pixels: Pixels counted.
        ignored: Pixels left out.
    """

    pixel_accuracy: float
    mean_class_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    classes: tuple[ClassScore, ...]
    absent: tuple[str, ...]
    pictures: int
    pixels: int
    ignored: int


def scores(matrix: ConfusionMatrix, names: Sequence[str]) -> SegmentationScores:
    """All scores of a confusion matrix.

    Args:
        matrix: Counted.
        names: Of the C classes.

    Raises:
        LabelError: Nothing was counted, or every pixel is ignored.
    """
    assert len(names) == matrix.classes
    if not matrix.counts.any():
        raise LabelError(
            f"There is no pixel to score: {matrix.pictures} pictures, {matrix.ignored} ignored pixels. Check the label space "
            "and the layouts (gesso doctor)."
        )
    margins = _margins(matrix.counts)
    accuracy, iou = _by_class(margins.astype(np.float64))
    table = tuple(
        ClassScore(name, int(margins[LABELLED, c]), int(margins[FOUND, c]), _known(accuracy[c]), _known(iou[c]))
        for c, name in enumerate(names)
    )
    pixel_accuracy, class_accuracy, mean_iou, weighted_iou = map(float, headline(margins.astype(np.float64)))
    absent = tuple(row.name for row in table if not row.labelled)
    return SegmentationScores(
        pixel_accuracy=pixel_accuracy,
        mean_class_accuracy=class_accuracy,
        mean_iou=mean_iou,
        frequency_weighted_iou=weighted_iou,
        classes=table,
        absent=absent,
        pictures=matrix.pictures,
        pixels=int(matrix.counts.sum()),
        ignored=matrix.ignored,
    )


def intervals(
    matrix: ConfusionMatrix, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Bootstrap intervals over pictures for the four headline scores, by name.

    A draw without any picture of a rare class averages over the others.

    Raises:
        DataError: One picture says nothing about others.
    """
    margins = matrix.of_pictures
    drawn = draws(len(margins), resamples, seed) @ margins.reshape(len(margins), -1).astype(np.float64)
    found = headline(drawn.reshape(-1, 3, matrix.classes))
    return {name: percentiles(values, level) for name, values in zip(HEADLINE, found, strict=True)}


def _by_class(margins: Floats) -> tuple[Floats, Floats]:
    """(..., 3, C) -> accuracy and IoU (..., C), not a number for classes that no layout holds."""
    hits, labelled, found = (margins[..., row, :] for row in (HITS, LABELLED, FOUND))
    there = np.where(labelled > 0, labelled, np.nan)
    return hits / there, hits / (there + found - hits)


def headline(margins: Floats) -> tuple[Floats, ...]:
    """The scores of `HEADLINE`, (...) each, of margins (..., 3, C) as `ConfusionMatrix.of_pictures` has them."""
    accuracy, iou = _by_class(margins)
    labelled = margins[..., LABELLED, :]
    present, total = (labelled > 0).sum(-1), labelled.sum(-1)
    with np.errstate(invalid="ignore"):  # a draw of pictures that are ignored altogether has no score
        return (
            margins[..., HITS, :].sum(-1) / total,
            np.nansum(accuracy, -1) / present,
            np.nansum(iou, -1) / present,
            np.nansum(iou * labelled, -1) / total,
        )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
