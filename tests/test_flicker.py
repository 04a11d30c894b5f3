"""The flicker measure: nothing where a sequence only moves, and exactly what is put on top of that."""

from __future__ import annotations

import numpy as np
import pytest

from gesso.data.spaces import published
from gesso.errors import DataError
from gesso.evaluate.flicker import FlickerMeter, flicker
from gesso.synthesis.motion import Motion, Move, estimate, object_keys, sources

SPACE = published("toy")
CAR, ROAD, TREE = (SPACE.index(name) for name in ("car", "road", "tree"))
SIZE = (48, 96)
ID = CAR * 1000 + 1


def layout(left: int, top: int = 20, wide: int = 20, tall: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A car on a road."""
    label = np.full(SIZE, ROAD)
    label[top : top + tall, max(left, 0) : left + wide] = CAR
    return label, np.where(label == CAR, ID, ROAD)


def painted(left: int, texture: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """That car with a texture that moves along with it, on textured ground."""
    picture = ground.copy()
    picture[20:32, left : left + 20] = texture
    return picture


@pytest.fixture
def textures() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(60, 180, (12, 20, 3), dtype=np.uint8), random.integers(60, 180, (*SIZE, 3), dtype=np.uint8)


def test_what_only_moves_does_not_flicker(textures: tuple[np.ndarray, np.ndarray]) -> None:
    lefts = (10, 13, 17, 22, 22)
    maps = [layout(left) for left in lefts]
    found = flicker([painted(left, *textures) for left in lefts], *zip(*maps, strict=True), SPACE)
    assert found.all == found.objects == found.background == found.moving == found.colour == 0
    assert found.frames == 5 and len(found.pairs) == 4
    assert 0.75 < found.compared < 1


def test_a_change_of_an_objects_colour_is_told_apart_from_the_background(
    textures: tuple[np.ndarray, np.ndarray],
) -> None:
    maps = [layout(10), layout(14)]
    pictures = [painted(10, *textures), painted(14, textures[0] + np.uint8(51), textures[1])]
    found = flicker(pictures, *zip(*maps, strict=True), SPACE)
    assert found.objects == found.moving == pytest.approx(51 / 255)
    assert found.colour == pytest.approx(51 / 255)
    assert found.background == 0
    assert 0 < found.all < 51 / 255
    assert found.relative == pytest.approx(found.all / found.contrast)


def test_noise_moves_pixels_but_hardly_mean_colours(textures: tuple[np.ndarray, np.ndarray]) -> None:
    random = np.random.default_rng(1)
    pictures = [painted(10, random.integers(60, 180, (12, 20, 3), dtype=np.uint8), textures[1]) for _ in range(6)]
    found = flicker(pictures, *zip(*[layout(10)] * 6, strict=True), SPACE)
    assert found.objects == pytest.approx(40 / 255, rel=0.1)  # two uniform numbers lie a third of their range apart
    assert found.colour < found.objects / 5


def test_borders_and_what_was_hidden_do_not_count(textures: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = layout(10), layout(30)
    keys = [object_keys(*maps, SPACE) for maps in (before, now)]
    where = sources(*keys, estimate(before, now, SPACE))
    assert where.seen[22:30, 32:48].all(), "the inside of the car"
    assert not where.seen[20, 30:50].any() and not where.seen[19, 30:50].any(), "its outline, on both sides"
    assert not where.seen[20:32, 10:29].any(), "road that the car hid"
    assert where.moving.sum() == 12 * 20


@pytest.mark.parametrize(("wide", "tall", "left", "top"), [(26, 16, 8, 18), (16, 10, 13, 22)])
def test_growing_and_shrinking_objects_are_laid_over_themselves(wide: int, tall: int, left: int, top: int) -> None:
    motion = estimate(layout(10), layout(left, top, wide, tall), SPACE)
    move = motion.objects[CAR, ID]
    assert move.scale == pytest.approx((20 / wide * 12 / tall) ** 0.5, rel=0.05)
    row, column = move.source(top + (tall - 1) / 2, left + (wide - 1) / 2)
    assert (row, column) == pytest.approx((25.5, 19.5), abs=0.5)


def test_an_object_that_stands_behind_something_stands_still() -> None:
    label, instance = layout(10)
    hidden = (label.copy(), instance.copy())
    for maps, value in zip(hidden, (TREE, TREE * 1000 + 1), strict=True):
        maps[15:40, 22:27] = value
    assert estimate((label, instance), hidden, SPACE).objects[CAR, ID] == Move()


def test_an_object_that_enters_at_the_border_moves_by_its_inner_edge() -> None:
    move = estimate(layout(-12), layout(-8), SPACE).objects[CAR, ID]
    assert (move.down, move.right) == pytest.approx((0, -4))


def test_a_turning_camera_moves_the_background() -> None:
    label = np.random.default_rng(3).choice([ROAD, SPACE.index("sky"), SPACE.index("grass")], (12, 24))
    wide = label.repeat(8, axis=0).repeat(8, axis=1)
    maps = [wide[:, start : start + 120] for start in (10, 15)]
    motion = estimate(*((one, one) for one in maps), SPACE)
    assert motion.background == Move(1.0, 0, 5)
    texture = np.random.default_rng(4).integers(0, 255, (96, 192, 3), dtype=np.uint8)
    pictures = [texture[:, start : start + 120] for start in (10, 15)]
    assert flicker(pictures, maps, maps, SPACE).all == 0


def test_a_known_motion_is_taken_instead_of_a_guess(textures: tuple[np.ndarray, np.ndarray]) -> None:
    meter = FlickerMeter(SPACE)
    meter.add(painted(10, *textures), *layout(10))
    meter.add(painted(14, *textures), *layout(14), Motion({(CAR, ID): Move(1.0, 0, -3)}))
    assert meter.result().objects > 0.05, "one pixel off"


def test_measurable_are_two_frames_of_one_size() -> None:
    meter = FlickerMeter(SPACE)
    meter.add(np.zeros((*SIZE, 3), np.uint8), *layout(5))
    with pytest.raises(DataError, match="at least two"):
        meter.result()
    with pytest.raises(DataError, match="40x40 and 48x96"):
        meter.add(np.zeros((40, 40, 3), np.uint8), *layout(5))


def test_a_document_is_rounded_and_says_null_where_nothing_was_there() -> None:
    road = np.full(SIZE, ROAD)
    pictures = [np.full((*SIZE, 3), gray, np.uint8) for gray in (100, 101)]
    document = flicker(pictures, [road] * 2, [road] * 2, SPACE).document()
    assert document["all"] == document["pairs"][0]["background"] == round(1 / 255, 6)
    assert document["objects"] is document["moving"] is document["colour"] is document["relative"] is None
