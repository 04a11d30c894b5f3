"""Tests of the toy world: exact maps, known styles, the same scene for the same numbers, and the folder on disk."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.cluster.vq import kmeans2
from scipy.ndimage import binary_erosion, uniform_filter

from gesso.data import layouts, toy
from gesso.data.toy import Scene
from gesso.data.toy.buildings import Silhouette, Visible, front_box, side_box
from gesso.data.toy.composition import compose
from gesso.data.toy.paint import Canvas
from gesso.data.toy.world import SIGN_SHAPES, STYLES, TIMES_OF_DAY, Kind, Prop, World
from gesso.errors import DataError
from gesso.labels import LabelSpace

SPACE = toy.space()
THINGS = {name: index for index, name in enumerate(SPACE.names) if index in SPACE.things}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [toy.scene(3, index) for index in range(40)]


def worlds(count: int) -> list[World]:
    return [compose(np.random.default_rng([8, index])) for index in range(count)]


# --------------------------------------------------------------------------------------------------------- the space


def test_space_lists_the_classes_in_the_order_of_the_painters() -> None:
    assert [name.upper() for name in SPACE.names] == [kind.name for kind in Kind]
    assert SPACE.things == (Kind.BUILDING, Kind.TREE, Kind.SIGN, Kind.CAR, Kind.PERSON)
    assert [c.values for c in SPACE.classes] == [(i,) for i in range(11)]
    assert SPACE.ignore == (255,)


# ------------------------------------------------------------------------------------------------------- determinism


def test_same_numbers_same_scene(scenes: list[Scene]) -> None:
    again = toy.scene(3, 5)
    for ours, theirs in zip(vars(again).values(), vars(scenes[5]).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_every_index_and_seed_is_another_scene(scenes: list[Scene]) -> None:
    pictures = {s.image.tobytes() for s in scenes} | {toy.scene(4, i).image.tobytes() for i in range(5)}
    layouts = {s.instance.tobytes() for s in scenes}
    assert len(pictures) == 45
    assert len(layouts) == 40


def test_another_size_shows_the_same_place(scenes: list[Scene]) -> None:
    small, large = scenes[7], toy.scene(3, 7, 256, 512)
    assert large.attributes["time_of_day"] == small.attributes["time_of_day"]
    assert (large.label[::2, ::2] == small.label).mean() > 0.93
    shrunk = np.asarray(Image.fromarray(large.image).reduce(2), dtype=np.float32)
    assert np.abs(shrunk - small.image).mean() < 8


# -------------------------------------------------------------------------------------------------------------- maps


def check_maps(made: Scene) -> None:
    height, width = made.label.shape
    assert made.image.shape == (height, width, 3)
    assert made.instance.shape == (height, width)
    assert (made.image.dtype, made.label.dtype, made.instance.dtype) == (np.uint8, np.uint8, np.int32)
    assert made.label.max() < len(SPACE)
    countable = np.isin(made.label, SPACE.things)
    np.testing.assert_array_equal(made.instance[countable] // 1000, made.label[countable])
    assert (made.instance[countable] % 1000 >= 1).all()
    np.testing.assert_array_equal(made.instance[~countable], made.label[~countable])


def check_objects(made: Scene) -> None:
    found, counts = np.unique(made.instance[made.instance >= 1000], return_counts=True)
    objects = {o["instance"]: o for o in made.attributes["objects"]}
    assert sorted(objects) == found.tolist()
    for instance, pixels in zip(found.tolist(), counts.tolist(), strict=True):
        thing = objects[instance]
        assert thing["pixels"] == pixels
        assert SPACE.index(thing["class"]) == instance // 1000
        assert thing["style"] in STYLES[thing["class"]]
        rows, columns = np.nonzero(made.instance == instance)
        assert thing["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_maps_agree_with_each_other_and_with_the_list_of_objects(scenes: list[Scene]) -> None:
    for made in scenes:
        check_maps(made)
        check_objects(made)


def test_numbers_of_a_class_run_from_one(scenes: list[Scene]) -> None:
    for made in scenes:
        for index in SPACE.things:
            numbers = sorted(o["instance"] % 1000 for o in made.attributes["objects"] if o["instance"] // 1000 == index)
            assert numbers == list(range(1, len(numbers) + 1))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(32, 80), st.integers(32, 120))
def test_any_small_scene_is_sound(seed: int, index: int, height: int, width: int) -> None:
    made = toy.scene(seed, index, height, width)
    assert made.label.shape == (height, width)
    check_maps(made)
    check_objects(made)
    assert json.loads(json.dumps(made.attributes)) == made.attributes


def test_colours_are_single_precision_all_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NumPy scalar in double precision anywhere in the arithmetic would take half as long again, in silence."""
    painted: defaultdict[np.dtype, int] = defaultdict(int)
    paint = Canvas.paint

    def spy(self: Canvas, box: tuple[int, ...], rgb: np.ndarray, mask: np.ndarray, ordinal: int) -> None:
        painted[rgb.dtype] += 1
        paint(self, box, rgb, mask, ordinal)

    monkeypatch.setattr(Canvas, "paint", spy)
    for index, time in enumerate(TIMES_OF_DAY * 3):
        toy.scene(1, index, 32, 64, time)
    assert list(painted) == [np.float32]
    assert painted[np.dtype(np.float32)] > 100


# ----------------------------------------------------------------------------------------------------------- content


def test_every_class_and_style_is_met(scenes: list[Scene]) -> None:
    assert set(np.unique([s.label for s in scenes])) == set(range(len(SPACE)))
    met: defaultdict[str, set[str]] = defaultdict(set)
    for made in scenes:
        met["road"].add(made.attributes["road_surface"])
        met["time"].add(made.attributes["time_of_day"])
        for thing in made.attributes["objects"]:
            met[thing["class"]].add(thing["style"])
    assert met == {"time": set(TIMES_OF_DAY)} | {name: set(styles) for name, styles in STYLES.items()}


def test_sky_is_above_and_road_below(scenes: list[Scene]) -> None:
    for made in scenes:
        rows = np.arange(128)[:, None].repeat(256, axis=1)
        assert (made.label[-1] != Kind.SKY).all()
        assert rows[made.label == Kind.ROAD].min() > 40
        assert rows[made.label == Kind.SKY].max() < 75


def test_maps_show_what_most_of_a_pixel_shows() -> None:
    quarters = np.array([[1, 2, 5, 7, 4, 4, 6, 9], [2, 3, 7, 5, 8, 8, 9, 6]], dtype=np.uint8)
    quarters = np.concatenate(
        [quarters, np.array([[1, 1, 2, 1, 3, 1, 1, 2], [1, 2, 3, 1, 3, 3, 4, 5]], dtype=np.uint8)]
    )
    most = toy._most_frequent(quarters)
    assert most[0, 0] == 2
    assert most[0, 1] in (5, 7)
    assert most[0, 2] in (4, 8)
    assert most[1].tolist() == [1, 1, 3, 1]  # the last pixel is of four classes, and takes its first


def test_objects_overlap_in_most_pictures(scenes: list[Scene]) -> None:
    touching = 0
    for made in scenes:
        across = made.instance[:, 1:] != made.instance[:, :-1]
        pair = (made.instance[:, 1:] > 1000) & (made.instance[:, :-1] > 1000) & across
        not_buildings = (made.label[:, 1:] != Kind.BUILDING) & (made.label[:, :-1] != Kind.BUILDING)
        touching += bool((pair & not_buildings).any())
    assert touching > len(scenes) // 2


def test_a_nearer_car_covers_a_farther_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = compose(np.random.default_rng(1))
    x = world.camera.x
    near = Prop(Kind.CAR, x + 2.0, 10.0, shape="saloon", style="red", colour=(200, 26, 32))
    far = Prop(Kind.CAR, x + 2.6, 18.0, shape="van", style="blue", colour=(28, 76, 186))

    def shown(*props: Prop) -> dict[str, int]:
        monkeypatch.setattr(toy, "compose", lambda *_: dataclasses.replace(world, props=props))
        return {o["style"]: o["pixels"] for o in toy.scene(0, 0).attributes["objects"] if o["class"] == "car"}

    alone, both = shown(near) | shown(far), shown(near, far)
    assert both["red"] == alone["red"]
    assert 0 < both["blue"] < 0.8 * alone["blue"]
    assert shown(far, near) == both


def test_building_faces_skip_only_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [toy.scene(9, index) for index in range(6)]
    monkeypatch.setattr(Silhouette, "meet", lambda self, b: Visible(front_box(self.view, b), side_box(self.view, b)))
    for index, made in enumerate(quick):
        slow = toy.scene(9, index)
        # columns that two walls share may go to either, hence not quite none
        assert (made.instance != slow.instance).mean() < 5e-4
        assert np.abs(made.image.astype(int) - slow.image).mean() < 0.1


def test_props_never_stand_in_one_another() -> None:
    for world in worlds(60):
        cars = [p for p in world.props if p.kind is Kind.CAR]
        for i, one in enumerate(cars):
            for other in cars[:i]:
                assert abs(one.x - other.x) > 1.6 or abs(one.z - other.z) > 2.9


def test_objects_fit_into_the_map_of_ordinals() -> None:
    assert max(len(w.buildings) + len(w.props) for w in worlds(200)) < 240


def test_shapes_do_not_give_styles_away() -> None:
    """Among many signs every shape comes in every colour, about as often."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for world in worlds(300):
        for prop in world.props:
            if prop.kind is Kind.SIGN:
                counts[prop.shape, prop.style] += 1
    expected = sum(counts.values()) / (len(SIGN_SHAPES) * len(STYLES["sign"]))
    assert len(counts) == len(SIGN_SHAPES) * len(STYLES["sign"])
    assert all(0.5 * expected < count < 1.6 * expected for count in counts.values())


# ------------------------------------------------------------------------------------------------------------ styles


def seen(scenes: list[Scene], name: str, least: int, time: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) median colour in the photograph of every large enough object of a class, and (N,) its style."""
    colours, styles = [], []
    for made in scenes:
        if time and made.attributes["time_of_day"] != time:
            continue
        for thing in made.attributes["objects"]:
            if thing["class"] == name and thing["pixels"] >= least:
                colours.append(np.median(made.image[made.instance == thing["instance"]], axis=0))
                styles.append(thing["style"])
    return np.array(colours), np.array(styles)


def named_by_colour(colours: np.ndarray, name: str) -> np.ndarray:
    """The style whose colour, made brighter or darker as light and shade do, comes nearest."""
    palette = np.array(list(STYLES[name].values()), dtype=float)
    gain = np.clip(colours @ palette.T / (palette**2).sum(-1), 0.35, 1.15)
    gap = np.linalg.norm(colours[:, None] - gain[..., None] * palette, axis=-1)
    return np.array(list(STYLES[name]))[gap.argmin(1)]


@pytest.mark.parametrize(("name", "least"), [("car", 150), ("tree", 100), ("person", 60), ("sign", 30)])
def test_photographs_show_the_style(scenes: list[Scene], name: str, least: int) -> None:
    colours, styles = seen(scenes, name, least)
    assert len(styles) >= 25
    assert (named_by_colour(colours, name) == styles).mean() > 0.85


@pytest.mark.parametrize(("name", "least", "right"), [("car", 150, 0.9), ("building", 400, 0.6)])
def test_clusters_are_the_styles(scenes: list[Scene], name: str, least: int, right: float) -> None:
    """K-means in the light of one time of day; of buildings the windows hide half (chance would be a quarter)."""
    colours, styles = seen(scenes, name, least, "overcast")
    starts = np.array([colours[styles == style].mean(0) for style in STYLES[name]])
    _, cluster = kmeans2(colours, starts, minit="matrix")
    assert (np.array(list(STYLES[name]))[cluster] == styles).mean() > right


def test_texture_alone_tells_road_surfaces_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same streets paved both ways: mean colours differ far less than between streets, contrast far more."""
    colours, contrasts = np.empty((2, 12, 3)), np.empty((2, 12))
    for index in range(12):
        world = compose(np.random.default_rng([6, index]), "day")
        for number, surface in enumerate(("asphalt", "cobbles")):
            street = dataclasses.replace(world.street, surface=surface)
            paved = dataclasses.replace(world, street=street)
            monkeypatch.setattr(toy, "compose", lambda *_, paved=paved: paved)
            made = toy.scene(6, index)
            assert made.attributes["road_surface"] == surface
            road, grey = made.label == Kind.ROAD, made.image.mean(axis=2)
            mean = uniform_filter(grey, 5)
            contrast = np.sqrt(np.maximum(uniform_filter(grey**2, 5) - mean**2, 0)) / mean
            colours[number, index] = made.image[road].mean(axis=0)
            contrasts[number, index] = np.median(contrast[binary_erosion(road, np.ones((5, 5)))])
    asphalt, cobbles = colours
    assert (np.abs((cobbles - asphalt).mean(axis=0)) < 0.1 * asphalt.std(axis=0)).all()
    assert (np.abs(cobbles - asphalt) < 3).all()
    assert contrasts[1].min() > 1.5 * contrasts[0].max()


def test_dusk_is_darker_and_warmer_than_an_overcast_day(scenes: list[Scene]) -> None:
    road = {
        time: np.mean([s.image[s.label == Kind.ROAD].mean(0) for s in scenes if s.attributes["time_of_day"] == time], 0)
        for time in TIMES_OF_DAY
    }
    assert road["dusk"].mean() < road["overcast"].mean()
    assert road["dusk"][0] - road["dusk"][2] > road["overcast"][0] - road["overcast"][2] + 10


# ------------------------------------------------------------------------------------------------------------ folder


def names(folder: Path) -> list[str]:
    return sorted(p.stem for p in folder.iterdir())


def test_write_reads_back(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    toy.write(tmp_path / "toy", 6, height=48, width=96, seed=2, progress=lambda done, count: told.append((done, count)))
    assert told == [(i, 6) for i in range(1, 7)]
    assert LabelSpace.load(tmp_path / "toy" / "labels.json") == SPACE
    for split, expected in (("train", [0, 1, 2, 3, 5]), ("val", [4])):
        for kind in ("images", "labels", "instances", "scenes"):
            assert names(tmp_path / "toy" / split / kind) == [f"{i:06d}" for i in expected]
    made, folder = toy.scene(2, 4, 48, 96), tmp_path / "toy" / "val"
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "images" / "000004.png")), made.image)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "labels" / "000004.png")), made.label)
    instances = Image.open(folder / "instances" / "000004.png")
    assert instances.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(instances), made.instance)
    assert json.loads((folder / "scenes" / "000004.json").read_text()) == made.attributes


def test_the_folder_is_found_as_a_toy_dataset(tmp_path: Path) -> None:
    toy.write(tmp_path, 6, height=32, width=64)
    assert layouts.splits(tmp_path) == ["train", "val"]
    for split, count in (("train", 5), ("val", 1)):
        listing = layouts.find(tmp_path, split)
        assert (listing.convention, listing.space, len(listing.samples)) == ("toy", SPACE, count)
        assert listing.orphans == ()
        for sample in listing.samples:
            assert sample.image and sample.label and sample.instance
            values = np.asarray(Image.open(sample.label))
            np.testing.assert_array_equal(SPACE.to_indices(values), values)


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 1), (4, 1), (5, 1), (11, 2)])
def test_something_is_held_out(tmp_path: Path, count: int, held_out: int) -> None:
    toy.write(tmp_path, count, height=32, width=32)
    assert len(names(tmp_path / "val" / "images")) == held_out
    assert len(names(tmp_path / "train" / "images")) == count - held_out


@pytest.mark.long
def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    toy.write(tmp_path, 3, height=32, width=64)
    before = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    toy.write(tmp_path, 3, height=32, width=64)
    assert {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == before


@pytest.mark.long
def test_several_processes_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write(tmp_path / "one", 6, height=32, width=64)
    monkeypatch.setattr(toy, "IN_ONE_PROCESS", 2)
    monkeypatch.setattr(toy, "cpu_count", lambda: 2)
    toy.write(tmp_path / "two", 6, height=32, width=64)
    one, two = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*.*")} for r in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert len(one) == 6 * 4 + 1


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (0, 0)])
def test_too_small_a_size_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{size[0]}x{size[1]}.*at least.*32x32"):
        toy.scene(0, 0, *size)
    with pytest.raises(DataError, match="32x32"):
        toy.write(tmp_path, 2, height=size[0], width=size[1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(seed: int, index: int) -> None:
    with pytest.raises(DataError, match="-1"):
        toy.scene(seed, index)


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 scenes"):
        toy.write(tmp_path, 0)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not a toy dataset"):
        toy.write(tmp_path, 2, height=32, width=32)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_another_dataset_with_a_label_space_is_refused(tmp_path: Path) -> None:
    other = SPACE.model_copy(update={"name": "mine"})
    other.save(tmp_path / "labels.json")
    with pytest.raises(DataError, match="not a toy dataset"):
        toy.write(tmp_path, 2, height=32, width=32)
    assert LabelSpace.load(tmp_path / "labels.json").name == "mine"


@pytest.mark.parametrize("other", [{"seed": 1}, {"count": 3}, {"height": 40}, {"width": 40}])
def test_scenes_of_other_arguments_are_not_mixed(tmp_path: Path, other: dict[str, int]) -> None:
    arguments = {"count": 6, "height": 32, "width": 32, "seed": 0}
    toy.write(tmp_path, **arguments)
    with pytest.raises(DataError, match=r"other scenes.*seed 0.*empty or new folder"):
        toy.write(tmp_path, **(arguments | other))


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    toy.write(tmp_path, 3, height=32, width=32)
    half, whole = tmp_path / "train" / "scenes" / "000001.json", toy.scene(0, 1, 32, 32).attributes
    half.write_text('{"seed": 0, "ind')
    (tmp_path / "val" / "images" / "000002.png").unlink()
    toy.write(tmp_path, 3, height=32, width=32)
    assert json.loads(half.read_text()) == whole
    assert names(tmp_path / "val" / "images") == ["000002"]


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not a folder"):
        toy.write(tmp_path / "file", 2, height=32, width=32)


def test_the_time_of_day_can_be_fixed() -> None:
    free, fixed = toy.scene(5, 2, 48, 96), toy.scene(5, 2, 48, 96, "dusk")
    assert fixed.attributes["time_of_day"] == fixed.attributes["fixed_time"] == "dusk"
    assert np.array_equal(fixed.label, free.label), "the place stays the same"
    assert len({toy.scene(5, index, 32, 32, "day").attributes["time_of_day"] for index in range(6)}) == 1
    with pytest.raises(DataError, match="no time of day 'noon'"):
        toy.scene(0, 0, time="noon")
