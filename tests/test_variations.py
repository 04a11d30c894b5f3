"""Objects taken out of layouts and put into others: closed-form layouts, before and after."""

from __future__ import annotations

import numpy as np
import pytest

from gesso.data.spaces import published
from gesso.synthesis.editing import Layout, ObjectKey
from gesso.synthesis.variations import put_in, take_out

SPACE = published("toy")
CAR, TREE, ROAD, SKY, HOUSE = (SPACE.index(name) for name in ("car", "tree", "road", "sky", "building"))


def street(*cars: tuple[int, int, int, int]) -> Layout:
    """Sky above road, 40x80, with cars at (left, top, right, bottom), ids 9001 and on."""
    label = np.full((40, 80), SKY)
    label[15:] = ROAD
    instance = label.copy()
    for number, (left, top, right, bottom) in enumerate(cars, start=1):
        label[top:bottom, left:right], instance[top:bottom, left:right] = CAR, CAR * 1000 + number
    return Layout.of(label, instance, SPACE)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_all_that_is_asked_for_goes_and_the_street_is_seen() -> None:
    layout, empty = street((10, 18, 20, 26), (40, 20, 56, 30)), street()
    bare, gone = take_out(layout, 5, [CAR], random())
    assert set(gone) == {ObjectKey(CAR, 9001), ObjectKey(CAR, 9002)}
    assert np.array_equal(bare.label, empty.label) and np.array_equal(bare.instance, empty.instance)
    one, gone = take_out(layout, 1, [CAR], random())
    assert len(gone) == 1 and [o.key for o in one.objects()] == [
        k for k in (x.key for x in layout.objects()) if k not in gone
    ]
    assert take_out(layout, 3, [TREE], random()) == (layout, ())
    assert take_out(layout, 0, [CAR], random())[1] == ()


def test_each_object_goes_as_often() -> None:
    layout = street((10, 18, 20, 26), (40, 20, 56, 30))
    first = [take_out(layout, 1, [CAR], random(seed))[1][0].id for seed in range(200)]
    assert 70 < first.count(9001) < 130


def test_specks_stay() -> None:
    assert take_out(street((10, 18, 14, 22)), 1, [CAR], random())[1] == ()


def test_an_object_that_fills_the_picture_stays() -> None:
    label = np.full((20, 20), CAR)
    layout = Layout.of(label, label * 1000 + 1, SPACE)
    assert take_out(layout, 1, [CAR], random())[1] == ()


def test_a_pasted_object_stands_as_high_as_it_did() -> None:
    donor = street((10, 18, 20, 26))
    for seed in range(20):
        changed, pasted = put_in(street(), [donor], [CAR], random(seed))
        assert pasted is not None, "on an empty street there is always room"
        seen = changed.label == CAR
        assert np.flatnonzero(seen.any(1)).tolist() == list(range(18, 26))
        assert 5 <= seen.any(0).sum() <= 10, "whole, or cut by the border, at least half of it"
        assert (changed.instance[seen] == pasted.key.id).all() and pasted.at[1] == 26
        assert pasted.origin == ObjectKey(CAR, 9001) and pasted.donor == 0


def test_heights_scale_with_the_picture() -> None:
    donor = street((10, 18, 20, 26))
    large = Layout.of(np.full((80, 80), ROAD), np.full((80, 80), ROAD), SPACE)
    _, pasted = put_in(large, [donor], [CAR], random(3))
    assert pasted is not None and pasted.at[1] == 52


@pytest.mark.parametrize(("bottom", "nearer"), [(24, False), (34, True)])
def test_what_stands_lower_is_nearer(bottom: int, nearer: bool) -> None:
    """A car that stands at 30 hides one pasted higher, and is hidden by one pasted lower, wherever the two meet."""
    layout, donor, met = street((20, 18, 50, 30)), street((10, bottom - 14, 30, bottom)), 0
    there = layout.instance == 9001
    for seed in range(30):
        changed, pasted = put_in(layout, [donor], [CAR], random(seed))
        assert pasted is not None
        new = changed.find(pasted.key).mask
        window, cells = new.within(*layout.shape)
        whole = np.zeros(layout.shape, bool)
        whole[window] = cells
        both = whole & there
        met += both.any()
        assert (changed.instance[both] == (pasted.key.id if nearer else 9001)).all()
        assert (changed.instance == pasted.key.id).sum() >= new.pixels / 2, "at least half of it is seen"
    assert met > 3


def test_a_facade_that_reaches_lower_elsewhere_hides_nothing() -> None:
    """It stands at 20 where the car is pasted, at 38 far to the left: feet are compared where the two meet."""
    label = np.full((40, 80), SKY)
    label[15:] = ROAD
    label[2:20], label[2:38, :6] = HOUSE, HOUSE
    layout = Layout.of(label, np.where(label == HOUSE, HOUSE * 1000 + 1, label), SPACE)
    assert [layer.mask.box for layer in layout.layers] == [(0, 2, 80, 38)]
    for seed in range(10):
        changed, pasted = put_in(layout, [street((10, 16, 24, 28))], [CAR], random(seed))
        assert pasted is not None and pasted.at[0] >= 6
        beside = np.flatnonzero((changed.instance == pasted.key.id).any(0)).max()
        assert changed.instance[17, beside] == pasted.key.id, "it stands in front of the facade"


def test_many_places_are_tried() -> None:
    """Most of the street is behind a large car; what is left takes an object almost every time."""
    layout, donor = street((0, 10, 56, 38)), street((10, 12, 20, 20))
    found = [put_in(layout, [donor], [CAR], random(seed))[1] for seed in range(40)]
    assert sum(one is not None for one in found) >= 36
    assert all(one.at[0] >= 56 for one in found if one), "the ground is seen at its foot"


def test_what_nobody_would_see_is_not_pasted() -> None:
    layout, donor = street((0, 10, 80, 38)), street((10, 12, 30, 20))
    assert put_in(layout, [donor], [CAR], random()) == (layout, None)


def test_an_object_stands_on_what_it_stood_on() -> None:
    """On road, which is in the right half alone."""
    label = np.full((40, 80), SKY)
    label[15:, 40:] = ROAD
    half = Layout.of(label, label, SPACE)
    found = [put_in(half, [street((10, 18, 20, 26))], [CAR], random(seed))[1] for seed in range(30)]
    assert {one.at[0] >= 40 for one in found if one} == {True}
    flying = street((10, 2, 20, 10))
    assert put_in(Layout.of(np.full((40, 80), ROAD), None, SPACE), [flying], [CAR], random())[1] is None
    road = Layout.of(np.full((40, 80), ROAD), None, SPACE)
    _, pasted = put_in(road, [flying, street((10, 18, 20, 26))], [CAR], random(1))
    assert pasted is not None and pasted.donor == 1, "the next donor's stands here"


def test_only_whole_objects_are_copied() -> None:
    cut, speck = street((0, 18, 20, 26)), street((10, 18, 14, 22))
    whole = street((30, 18, 50, 26))
    assert put_in(street(), [cut, speck], [CAR], random())[1] is None
    _, pasted = put_in(street(), [cut, speck, whole], [CAR], random(1))
    assert pasted is not None and pasted.donor == 2
    assert put_in(street(), [], [CAR], random())[1] is None
