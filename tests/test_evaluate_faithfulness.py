"""Faithfulness: maps, bands and objects small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from gesso.errors import LabelError
from gesso.evaluate.faithfulness import (
    WRONG,
    FaithfulnessTally,
    boundary_band,
    faithfulness,
    faithfulness_picture,
)
from gesso.labels import LabelClass, LabelSpace

SPACE = LabelSpace(
    name="three",
    classes=(
        LabelClass(name="road", values=(0,), colour=(1, 0, 0)),
        LabelClass(name="car", values=(1,), colour=(0, 1, 0), thing=True),
        LabelClass(name="tree", values=(2,), colour=(0, 0, 1)),
    ),
)
ROWS, COLUMNS = 6, 12


@pytest.fixture
def label() -> np.ndarray:
    """Road, with a 2x2 car at the left, a 2x4 car at the right, and the last row ignored."""
    label = np.zeros((ROWS, COLUMNS), int)
    label[1:3, 1:3] = label[1:3, 7:11] = 1
    label[5] = 3
    return label


def test_a_perfect_result(label: np.ndarray) -> None:
    found = np.where(label == 3, 2, label)  # whatever is found where the layout is ignored
    measured = faithfulness(label, found, SPACE)
    assert not measured.wrong.any()
    assert [score.agreement for score in measured.objects] == [1, 1]
    assert measured.counts.tolist() == [[48, 12, 0], [48, 12, 0], [*measured.counts[2]], [*measured.counts[2]]]


def test_one_object_missing_and_one_half_found(label: np.ndarray) -> None:
    found = label.copy()
    found[1:3, 1:3] = 0
    found[1:3, 7:9] = 2
    measured = faithfulness(label, found, SPACE)
    assert measured.wrong.sum() == 8
    assert [(s.area, s.agreement, s.box) for s in measured.objects] == [(4, 0.0, (1, 1, 3, 3)), (8, 0.5, (7, 1, 11, 3))]
    assert [(s.class_index, s.id) for s in measured.objects] == [(1, 1001), (1, 1002)]
    assert measured.counts[:2].tolist() == [[48, 12, 0], [48, 4, 0]]


def test_touching_objects_are_told_apart_by_the_instance_map(label: np.ndarray) -> None:
    instance = np.zeros_like(label)
    instance[:, 9:] = 77
    found = label.copy()
    found[1:3, 9:11] = 0
    scores = {s.id: (s.area, s.agreement, s.box) for s in faithfulness(label, found, SPACE, instance).objects}
    assert scores == {77: (4, 0.0, (9, 1, 11, 3)), 0: (8, 1.0, (1, 1, 9, 3))}


def test_objects_of_two_classes_with_one_id() -> None:
    things = LabelSpace(name="all", classes=tuple(c.model_copy(update={"thing": True}) for c in SPACE.classes))
    label = np.array([[0, 0, 1, 1, 2, 2]])
    scores = faithfulness(label, np.array([[0, 0, 1, 0, 0, 0]]), things, np.zeros_like(label)).objects
    assert [(s.class_index, s.agreement) for s in scores] == [(2, 0.0), (1, 0.5), (0, 1.0)]


def test_the_band_by_hand() -> None:
    """One border between columns 4 and 5: its pixels are 4 and 5, the band reaches `radius` further."""
    label, instance = np.zeros((3, 10), int), np.zeros((3, 10), int)
    instance[:, 5:] = 1
    for radius, columns in ((0, [4, 5]), (1, [3, 4, 5, 6]), (2.5, [2, 3, 4, 5, 6, 7])):
        assert np.flatnonzero(boundary_band(label, instance, radius)[1]).tolist() == columns
    assert not boundary_band(label, np.zeros_like(instance), 3).any()


def test_the_band_counts_what_it_should(label: np.ndarray) -> None:
    """Errors far from every border are outside the band; ignored pixels never inside it."""
    found = label.copy()
    found[1, 1] = 0  # a corner of a car
    measured = faithfulness(label, found, SPACE, radius=0)
    assert not measured.band[5].any()
    assert measured.band[4].all()  # beside the ignored row
    assert measured.counts[2].tolist() == [int((measured.band & (label == 0)).sum()), 12, 0]
    assert (measured.counts[2] - measured.counts[3]).tolist() == [0, 1, 0]
    far = np.zeros((9, 9), int)
    far[:, 6:] = 2
    broken = far.copy()
    broken[4, 1] = 1
    assert faithfulness(far, broken, SPACE, radius=2).counts.tolist() == [
        [54, 0, 27],
        [53, 0, 27],
        [27, 0, 27],
        [27, 0, 27],
    ]


def test_the_tally_per_class_and_in_all(label: np.ndarray) -> None:
    tally = FaithfulnessTally(SPACE.names)
    found = label.copy()
    found[1:3, 1:3] = 0
    tally.update(faithfulness(label, found, SPACE))
    tally.update(faithfulness(label, label, SPACE))
    road, car, tree = tally.classes()
    assert (road.pixels, road.agreement, road.objects, road.object_agreement) == (96, 1.0, 0, None)
    assert (car.pixels, car.agreement, car.objects, car.object_agreement) == (24, 20 / 24, 4, 0.75)
    assert (car.band_pixels, car.band_agreement) == (24, 20 / 24)
    assert (tree.pixels, tree.agreement, tree.band_agreement) == (0, None, None)
    total = tally.total()
    assert (total.name, total.pixels, total.agreement, total.objects) == ("all", 120, 116 / 120, 4)
    assert total.object_agreement == 0.75


def test_a_layout_that_is_ignored_altogether() -> None:
    nothing = np.full((4, 4), 3)
    measured = faithfulness(nothing, np.zeros((4, 4), int), SPACE)
    assert not measured.wrong.any()
    assert measured.objects == ()
    assert measured.counts.sum() == 0


def test_the_picture() -> None:
    image = np.full((2, 3, 3), (200, 100, 50), np.uint8)
    wrong = np.array([[True, False, False], [False, False, True]])
    picture = faithfulness_picture(image, wrong)
    assert picture.dtype == np.uint8
    assert picture[wrong].tolist() == [list(WRONG)] * 2
    gray = round((0.299 * 200 + 0.587 * 100 + 0.114 * 50) * 0.45)
    assert (picture[~wrong] == gray).all()
    half = faithfulness_picture(image, wrong, strength=0.5)
    assert half[0, 0].tolist() == pytest.approx([(gray + c) / 2 for c in WRONG], abs=1)


def test_what_is_refused(label: np.ndarray) -> None:
    with pytest.raises(LabelError, match=r"same \(H, W\)"):
        faithfulness(label, label[1:], SPACE)
    with pytest.raises(LabelError, match="must be of one size"):
        faithfulness(label, label, SPACE, label[1:])
    with pytest.raises(LabelError, match="The segmenter holds class 0 to 9"):
        faithfulness(label, np.where(label == 1, 9, label), SPACE)
    with pytest.raises(LabelError, match="The layout holds class 0 to 255"):
        faithfulness(np.where(label == 3, 255, label), label, SPACE)
    with pytest.raises(LabelError, match=r"it must be \(6, 12, 3\)"):
        faithfulness_picture(np.zeros((5, 12, 3), np.uint8), label == 1)
