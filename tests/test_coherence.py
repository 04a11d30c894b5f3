"""What is left to chance fits together: modes that photographs show together are drawn together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from gesso.synthesis.coherence import Integers, leading, pick, together
from gesso.synthesis.style import Style
from gesso.synthesis.style_space import ClassModes, StyleSpace, resolve
from styled import CAR, PERSON, ROAD, SKY, SPACE

LIGHT = [(SKY, SKY), (ROAD, ROAD), *((CAR, number) for number in range(40))]


@dataclass(frozen=True)
class Modes:
    """Objects of a class, and their modes."""

    rows: Integers
    assigned: Integers
    count: int

    def __len__(self) -> int:
        return self.count


def vectors(*numbers: float) -> np.ndarray:
    return np.array([[number, 0, 0] for number in numbers], np.float32)


@pytest.fixture
def space() -> StyleSpace:
    """Day (sky 0) with a road that is always 0 and cars 0 and 1, three to one; dusk (sky 1) with road 1 and car 2."""
    modes = {
        SKY: ClassModes(vectors(0.1, 0.2), together=np.array([[9, 0], [0, 4]])),
        ROAD: ClassModes(vectors(0.3, 0.4), together=np.array([[9, 0], [0, 4]])),
        CAR: ClassModes(vectors(0.5, 0.6, 0.7), together=np.array([[30, 0], [10, 0], [0, 5]])),
        PERSON: ClassModes(vectors(0.8, 0.9), together=np.array([[3, 0], [0, 0]]).T),
    }
    return StyleSpace(SPACE, 3, "instance", modes, leader=SKY)


def first(style: Style, objects: list[tuple[int, int]], space: StyleSpace, seed: int) -> dict[tuple[int, int], float]:
    return {key: vector[0] for key, vector in resolve(style, objects, space, seed).items()}


def test_what_is_drawn_fits_together(space: StyleSpace) -> None:
    skies = Counter()
    for seed in range(200):
        drawn = first(Style(), LIGHT, space, seed)
        skies[drawn[SKY, SKY]] += 1
        assert drawn[ROAD, ROAD] == {0.1: 0.3, 0.2: 0.4}[drawn[SKY, SKY]]
        cars = {drawn[CAR, number] for number in range(40)}
        assert cars == ({0.5, 0.6} if drawn[SKY, SKY] == 0.1 else {0.7})
    assert min(skies.values()) > 70, "each mode of the leading class is as likely as the others"


def test_what_is_frequent_is_drawn_often(space: StyleSpace) -> None:
    cars = [(CAR, number) for number in range(4000)]
    drawn = first(Style(classes={"sky": 0}), cars, space, 0)
    assert 0.7 < np.mean([value == 0.5 for value in drawn.values()]) < 0.8


def test_what_was_chosen_for_the_leading_class_leads(space: StyleSpace) -> None:
    for mode, road in ((0, 0.3), (1, 0.4)):
        for style in (
            Style(classes={"sky": mode}),
            Style(instances={f"sky:{SKY}": mode}),
            Style(instances={str(SKY): mode}),
        ):
            assert all(first(style, LIGHT[:2], space, seed)[ROAD, ROAD] == road for seed in range(20))


@pytest.mark.parametrize(("sky", "road"), [(0.14, 0.3), (0.16, 0.4)])
def test_the_sky_of_a_photograph_leads_by_the_mode_that_it_is_nearest_to(
    space: StyleSpace, sky: float, road: float
) -> None:
    for style in (Style(classes={"sky": (sky, 0, 0)}), Style(instances={f"sky:{SKY}": (sky, 0, 0)})):
        drawn = [first(style, LIGHT, space, seed) for seed in range(20)]
        assert {found[ROAD, ROAD] for found in drawn} == {road}
        assert [found[SKY, SKY] for found in drawn] == pytest.approx([sky] * 20), "and is worn as it is"


def test_no_style_depends_on_what_else_is_there(space: StyleSpace) -> None:
    for seed in range(20):
        alone = first(Style(), [(CAR, 7)], space, seed)
        assert alone[CAR, 7] == first(Style(), LIGHT, space, seed)[CAR, 7]


def test_modes_that_never_met_are_drawn_as_published(space: StyleSpace) -> None:
    people = [(PERSON, number) for number in range(400)]
    drawn = first(Style(classes={"sky": 1}), people, space, 0)
    assert 0.4 < np.mean([value == 0.8 for value in drawn.values()]) < 0.6
    alone = replace(space, leader=None)
    seen = {tuple(first(Style(), LIGHT, alone, seed)[key] for key in LIGHT[:2]) for seed in range(60)}
    assert len(seen) == 4, "without a leading class each is drawn by itself"


def test_counting_what_meets() -> None:
    # Photographs 0 and 1 have skies, of modes 1 and 0; photograph 0 a second, smaller one. Photograph 2 has none.
    items, areas = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([50, 9, 5, 40, 8, 30, 7])
    sky = Modes(np.array([0, 2, 3]), np.array([1, 0, 0]), 2)
    road = Modes(np.array([1, 4, 5, 6]), np.array([0, 2, 1, 1]), 3)
    found = {1: sky, 0: road}
    assert leading(found, items, areas) == 0, "three photographs show it"
    counts = together(found, 1, items, areas)
    assert counts[1].tolist() == [[1, 1], [0, 1]]
    assert counts[0].tolist() == [[0, 1], [0, 0], [1, 0]]
    assert leading({1: sky, 5: sky}, items, areas) == 1, "equals: the first"


def test_picking() -> None:
    rng = np.random.default_rng(0)
    assert {pick(rng, np.array([0, 2, 0]), 3) for _ in range(20)} == {1}
    assert (
        {pick(rng, None, 3) for _ in range(50)} == {pick(rng, np.zeros(3, np.int64), 3) for _ in range(50)} == {0, 1, 2}
    )
