"""Segmentation scores: by hand, against scikit-learn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from gesso.errors import DataError, LabelError
from gesso.evaluate.segmentation import HEADLINE, ConfusionMatrix, SegmentationScores, intervals, scores

NAMES = ("road", "sky", "car", "lamp")


def measured(label: np.ndarray, found: np.ndarray, names: tuple[str, ...] = NAMES) -> SegmentationScores:
    matrix = ConfusionMatrix(len(names))
    matrix.update(label, found)
    return scores(matrix, names)


def test_by_hand() -> None:
    """10 pixels count: 3 of 4 road found, 2 of 4 sky, both cars; lamp in no layout; 2 ignored pixels."""
    label = np.array([[0, 0, 0, 0, 1, 1], [1, 1, 2, 2, 4, 4]])
    found = np.array([[0, 0, 0, 1, 1, 1], [3, 2, 2, 2, 3, 0]])
    matrix = ConfusionMatrix(4)
    matrix.update(label, found)
    assert matrix.counts.tolist() == [[3, 1, 0, 0, 0], [0, 2, 1, 1, 0], [0, 0, 2, 0, 0], [0, 0, 0, 0, 0]]
    result = scores(matrix, NAMES)
    iou = (3 / 4, 2 / 5, 2 / 3)
    assert result.pixel_accuracy == pytest.approx(7 / 10)
    assert result.mean_class_accuracy == pytest.approx((3 / 4 + 2 / 4 + 1) / 3)
    assert result.mean_iou == pytest.approx(sum(iou) / 3)
    assert result.frequency_weighted_iou == pytest.approx((4 * iou[0] + 4 * iou[1] + 2 * iou[2]) / 10)
    assert (result.pixels, result.ignored, result.pictures) == (10, 2, 1)
    assert result.absent == ("lamp",)
    assert [row.iou for row in result.classes] == [*map(pytest.approx, iou), None]
    assert (result.classes[3].labelled, result.classes[3].found, result.classes[3].accuracy) == (0, 1, None)


def test_perfect_and_all_wrong() -> None:
    label = np.arange(4).repeat(5).reshape(4, 5)
    for found, value in ((label, 1.0), ((label + 1) % 4, 0.0)):
        assert [getattr(measured(label, found), name) for name in HEADLINE] == [value] * 4


def test_what_the_label_space_does_not_know_is_a_miss_and_nobodys_false_find() -> None:
    label = np.array([[0, 0, 1, 1]])
    result = measured(label, np.array([[0, 4, 1, 1]]))
    assert result.pixel_accuracy == 0.75
    assert [row.iou for row in result.classes[:2]] == [0.5, 1.0]
    assert sum(row.found for row in result.classes) == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 4))
def test_against_scikit_learn(seed: int, classes: int, pictures: int) -> None:
    """Random maps, some classes absent, some pixels ignored; several pictures are one heap of pixels."""
    random = np.random.default_rng(seed)
    there = random.permutation(classes)[: random.integers(1, classes + 1)]
    label = random.choice(np.append(there, classes), size=(pictures, 6, 7))
    label[0, 0, 0] = there[0]  # something to score
    found = random.integers(classes, size=label.shape)
    found = np.where(random.random(label.shape) < 0.5, np.minimum(label, classes - 1), found)
    matrix = ConfusionMatrix(classes)
    for of_label, of_found in zip(label, found, strict=True):
        matrix.update(of_label, of_found)
    names = tuple(map(str, range(classes)))
    result, kept = scores(matrix, names), label != classes
    true, said = label[kept], found[kept]
    present = np.unique(true)
    assert np.array_equal(matrix.counts[:, :-1], metrics.confusion_matrix(true, said, labels=range(classes)))
    iou = metrics.jaccard_score(true, said, labels=present, average=None)
    assert result.pixel_accuracy == pytest.approx(metrics.accuracy_score(true, said))
    assert result.mean_class_accuracy == pytest.approx(
        metrics.recall_score(true, said, labels=present, average="macro")
    )
    assert result.mean_iou == pytest.approx(iou.mean())
    weights = np.array([(true == c).mean() for c in present])
    assert result.frequency_weighted_iou == pytest.approx((iou * weights).sum())
    assert [row.iou for row in result.classes if row.iou is not None] == pytest.approx(iou.tolist())
    assert set(result.absent) == set(names) - set(map(str, present))


def test_counts_are_int64_whatever_the_maps_are() -> None:
    matrix = ConfusionMatrix(200)
    label = np.full((300, 300), 199, dtype=np.uint8)  # 199 * 201 + 199 does not fit into uint8, nor 90,000 into int16
    matrix.update(label, label)
    assert matrix.counts.dtype == np.int64
    assert matrix.counts[199, 199] == 90_000
    assert matrix.of_pictures.dtype == np.int64


def test_order_of_pictures_does_not_matter_and_margins_add_up() -> None:
    random = np.random.default_rng(1)
    pairs = [(random.integers(5, size=(4, 4)), random.integers(4, size=(4, 4))) for _ in range(5)]
    forwards, backwards = ConfusionMatrix(4), ConfusionMatrix(4)
    for (a, b), (c, d) in zip(pairs, reversed(pairs), strict=True):
        forwards.update(a, b)
        backwards.update(c, d)
    assert scores(forwards, NAMES) == scores(backwards, NAMES)
    total = forwards.of_pictures.sum(0)
    assert total[0].tolist() == np.diagonal(forwards.counts).tolist()
    assert total[1].tolist() == forwards.counts.sum(1).tolist()
    assert total[2].tolist() == forwards.counts[:, :4].sum(0).tolist()


def matrix_of(accuracies: list[float]) -> ConfusionMatrix:
    """Pictures of 100 pixels of one class, of which so many per cent are right; the rest is taken for another."""
    matrix = ConfusionMatrix(4)
    for accuracy in accuracies:
        matrix.update(np.zeros((1, 100), int), (np.arange(100) >= 100 * accuracy)[None].astype(int))
    return matrix


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Pixel accuracy of 60 pictures whose mean is known; 95 % of 100 worlds, with room for chance."""
    random, hits = np.random.default_rng(2), 0
    for world in range(100):
        matrix = matrix_of((random.integers(0, 101, 60) / 100).tolist())
        low, high = intervals(matrix, resamples=200, seed=world)["pixel_accuracy"]
        hits += low <= 0.5 <= high
    assert 87 <= hits <= 99


def test_intervals_of_equal_pictures_are_points_and_seeds_repeat() -> None:
    assert intervals(matrix_of([0.25] * 5))["mean_iou"] == pytest.approx((0.25, 0.25))
    matrix = matrix_of([0.1, 0.5, 0.9, 0.7])
    assert set(intervals(matrix)) == set(HEADLINE)
    assert intervals(matrix, seed=3) == intervals(matrix, seed=3)
    low, high = intervals(matrix)["pixel_accuracy"]
    assert low < scores(matrix, NAMES).pixel_accuracy < high


def test_a_draw_without_any_counted_pixel_is_left_out() -> None:
    """One picture in two is ignored altogether; draws of that alone have no score."""
    matrix = matrix_of([0.5])
    matrix.update(np.full((1, 3), 4), np.zeros((1, 3), int))
    assert intervals(matrix)["pixel_accuracy"] == pytest.approx((0.5, 0.5))


def test_one_picture_has_scores_but_no_interval() -> None:
    matrix = matrix_of([0.5])
    assert scores(matrix, NAMES).pixel_accuracy == 0.5
    with pytest.raises(DataError, match=r"needs 2 or more; there is 1"):
        intervals(matrix)


@pytest.mark.parametrize(
    ("label", "found", "said"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "same (H, W)"),
        (np.zeros((1, 2, 3), int), np.zeros((1, 2, 3), int), "same (H, W)"),
        (np.zeros((2, 2), int), np.full((2, 2), 5), "The segmenter holds class 5 to 5, but the label space has 4"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "Use a segmenter of this label space"),
        (np.full((2, 2), 255), np.zeros((2, 2), int), "The layout holds class 255 to 255"),
    ],
)
def test_maps_that_do_not_belong_together(label: np.ndarray, found: np.ndarray, said: str) -> None:
    matrix = ConfusionMatrix(4)
    with pytest.raises(LabelError) as caught:
        matrix.update(label, found, "frame7.png")
    assert said in str(caught.value)
    assert "frame7.png" in str(caught.value)
    assert matrix.pictures == 0
    assert not matrix.counts.any()


def test_nothing_to_score() -> None:
    matrix = ConfusionMatrix(4)
    with pytest.raises(LabelError, match="0 pictures, 0 ignored"):
        scores(matrix, NAMES)
    matrix.update(np.full((2, 2), 4), np.zeros((2, 2), int))
    with pytest.raises(LabelError, match="1 pictures, 4 ignored"):
        scores(matrix, NAMES)
