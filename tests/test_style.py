"""Styles: as data, as text, as vectors of objects, and as what a photograph shows."""

from __future__ import annotations

import json
import logging
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gesso
from gesso.agreement import refuse_foreign_instances
from gesso.checkpoints import load_model
from gesso.data import layouts, toy
from gesso.data.dataset import SemanticDataset
from gesso.data.doctor.scan import scan_sample
from gesso.data.preprocessing import Preprocessing
from gesso.data.readers import read_instance, read_label
from gesso.errors import ConfigError, DataError, LabelError, ModelFileError, StyleError
from gesso.labels import LabelClass, LabelSpace
from gesso.synthesis.features import encode_objects
from gesso.synthesis.style import IGNORED, LARGEST, Style, object_name, parse_style
from gesso.synthesis.style_space import (
    ClassModes,
    StyleSpace,
    copy_style,
    fitted,
    mix,
    objects_of,
    resolve,
    shortest,
)
from gesso.synthesis.synthesizer import Synthesizer, load, read_record, read_style, save_png
from styled import (
    CAR,
    CAR_MODES,
    LEFT,
    PERSON,
    RIGHT,
    ROAD,
    ROAD_MODES,
    SIZE,
    SKY,
    SPACE,
    TREE,
    clusters,
    colour,
    mirrored,
    photograph,
    scene,
    write_scenes,
    write_styled_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny_styled_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_styled_model(tmp_path_factory.mktemp("styled") / "model.safetensors", styles=clusters())


@pytest.fixture(scope="module")
def label_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One style per class, and no use for instance maps."""
    path = tmp_path_factory.mktemp("styled") / "labels.safetensors"
    return write_styled_model(path, "label", styles=clusters(), boundary=False)


@pytest.fixture
def synth(tiny_styled_model: Path) -> Synthesizer:
    return load(tiny_styled_model, "cpu")


@pytest.fixture
def mirror(tiny_styled_model: Path) -> Synthesizer:
    """Its pictures are its style maps."""
    return Synthesizer(mirrored(load_model(tiny_styled_model)))


@pytest.fixture
def space(synth: Synthesizer) -> StyleSpace:
    return synth.require_style()


# ------------------------------------------------------------------------------------------------------------- as data

numbers = st.floats(-LARGEST, LARGEST)
choices = st.one_of(st.integers(0, 10**6), st.lists(numbers, min_size=1, max_size=5).map(tuple))
ids = st.integers(-(2**31), 2**31 - 1)
class_names = st.sampled_from([*SPACE.names, IGNORED])
object_names = st.one_of(ids.map(str), st.tuples(class_names, ids).map(lambda pair: f"{pair[0]}:{pair[1]}"))
styles = st.builds(
    Style,
    seed=st.none() | st.integers(0, 2**63),
    classes=st.dictionaries(class_names, choices, max_size=4),
    instances=st.dictionaries(object_names, choices, max_size=4),
)


@settings(deadline=None)
@given(styles)
def test_json_holds_a_style_exactly(style: Style) -> None:
    assert Style.model_validate_json(style.model_dump_json()) == style
    assert Style.parse(json.loads(json.dumps(style.model_dump(mode="json")))) == style


@settings(deadline=None)
@given(styles)
def test_text_holds_the_choices_of_a_style_exactly(style: Style) -> None:
    def written(choice: Any) -> str:
        return str(choice) if isinstance(choice, int) else ",".join(map(repr, choice)) + ","

    words = [f"{name}={written(choice)}" for name, choice in style.classes.items()]
    words += [f"instance:{name}={written(choice)}" for name, choice in style.instances.items()]
    assert parse_style(words, SPACE) == style.model_copy(update={"seed": None})


def test_files_hold_a_style(tmp_path: Path) -> None:
    style = Style(seed=4, classes={"car": 3}, instances={26001: (0.1, -0.25, 1), "car:26002": 0})  # type: ignore[dict-item]
    style.save(tmp_path / "style.json")
    assert Style.load(tmp_path / "style.json") == read_style(tmp_path / "style.json") == style
    assert json.loads((tmp_path / "style.json").read_text())["instances"] == {
        "26001": [0.1, -0.25, 1.0],
        "car:26002": 0,
    }


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["car=3"], Style(classes={"car": 3})),
        (["car=3", "car=1", "road=0"], Style(classes={"car": 1, "road": 0})),
        (["car=0.1,-0.3,0.5"], Style(classes={"car": (0.1, -0.3, 0.5)})),
        (["car = 0.5"], Style(classes={"car": (0.5,)})),
        (["car=1,"], Style(classes={"car": (1.0,)})),
        (["instance:26001=2", "car=1"], Style(classes={"car": 1}, instances={"26001": 2})),
        (["instance:car:007=2"], Style(instances={"car:7": 2})),
        (["instance:-5=1e-1,2"], Style(instances={"-5": (0.1, 2.0)})),
        (["(ignored)=0,0,0"], Style(classes={IGNORED: (0.0, 0.0, 0.0)})),
        ([], Style()),
    ],
)
def test_choices_in_text(words: list[str], wanted: Style) -> None:
    assert parse_style(words, SPACE) == wanted


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("car", "'car' is not a choice of style; write CLASS=MODE"),
        ("=3", "not a choice"),
        ("car=", "not a choice"),
        ("car=red", "not a choice"),
        ("car=1;road=2", "no class of toy"),
        ("car=0.1,,0.2", "not a choice"),
        ("car=-1", r"classes.car: -1 is neither the number of a mode \(0, 1, ...\) nor a vector"),
        ("car=nan", "numbers in -10..10"),
        ("car=0.1,inf", "numbers in -10..10"),
        ("car=0,0,11", "numbers in -10..10"),
        ("instance:x=1", "'x' is no object: write its id"),
        ("instance:car:=1", "is no object"),
        ("tank=3", r"'tank', which is no class of toy; its classes are sky, building, .*person. For a single object"),
        ("car:26001=1", "'car:26001', which is no class"),
    ],
)
def test_text_that_is_no_choice(word: str, said: str) -> None:
    with pytest.raises(StyleError, match=said):
        parse_style([word], SPACE)


def test_a_class_name_may_hold_what_separates() -> None:
    names = ("wall=old", "traffic light", "a:b")
    classes = tuple(LabelClass(name=n, values=(i,), colour=(i, 0, 0)) for i, n in enumerate(names))
    odd = LabelSpace(name="odd", classes=classes)
    wanted = Style(classes=dict.fromkeys(names, 1), instances={"a:b:5": 2})
    assert parse_style(["wall=old=1", "traffic light=1", "a:b=1", "instance:a:b:5=2"], odd) == wanted


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"classes": {"car": True}}, "True is neither"),
        ({"classes": {"car": []}}, "neither"),
        ({"classes": {"car": [0.5, "1"]}}, "neither"),
        ({"classes": {"car": "3"}}, "neither"),
        ({"instances": {"the red one": 1}}, "is no object"),
        ({"colour": 3}, "colour: Extra inputs are not permitted"),
        ({"seed": -1}, "seed"),
        ([1], "valid dictionary"),
    ],
)
def test_a_document_that_is_no_style(document: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "style.json").write_text(json.dumps(document))
    with pytest.raises(StyleError, match=rf"The style .*style.json is not valid.*{said}.*It may hold seed, classes"):
        Style.load(tmp_path / "style.json")


def test_files_that_hold_no_style(tmp_path: Path) -> None:
    with pytest.raises(StyleError, match=r"Cannot read the style .*none.json: No such file"):
        Style.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("car=3")
    with pytest.raises(StyleError, match=r"text.json is not JSON"):
        Style.load(tmp_path / "text.json")
    with pytest.raises(StyleError, match=r"Cannot read a style from .*none.png"):
        read_style(tmp_path / "none.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "other.png")
    with pytest.raises(StyleError, match=r"other.png was not generated by gesso.*--style-image"):
        read_style(tmp_path / "other.png")
    save_png(tmp_path / "odd.png", np.zeros((2, 2, 3), np.uint8), {"style": {"classes": 3}})
    with pytest.raises(StyleError, match=r"The style in .*odd.png is not valid: classes"):
        read_style(tmp_path / "odd.png")


def test_later_choices_on_top() -> None:
    first = Style(seed=1, classes={"car": 0, "road": 1}, instances={"5": 1, "car:6": 2, "road:7": 0})
    later = Style(classes={"car": 3}, instances={"car:8": 1})
    wanted = Style(seed=1, classes={"car": 3, "road": 1}, instances={"5": 1, "road:7": 0, "car:8": 1})
    assert first.updated(later) == wanted
    assert first.updated(Style(seed=2)).seed == 2
    assert Style().updated(first) == first.updated(Style()) == first


@settings(deadline=None)
@given(ids)
def test_names_of_objects(number: int) -> None:
    assert object_name(number) == object_name(f" {number} ") == str(number)
    assert object_name(f"car:{number}") == f"car:{number}"


# -------------------------------------------------------------------------------------------------- vectors of objects

OBJECTS = [(SKY, 0), (ROAD, 200), (CAR, LEFT), (CAR, RIGHT), (PERSON, 7)]


def test_an_instance_wins_over_its_class_and_both_over_chance(space: StyleSpace) -> None:
    style = Style(classes={"car": 1, "person": (0.1, 0.2, 0.3)}, instances={RIGHT: 2, f"car:{LEFT}": 3})  # type: ignore[dict-item]
    found = resolve(style, OBJECTS, space, seed=5)
    assert list(found) == OBJECTS
    assert found[CAR, LEFT] == CAR_MODES[3]
    assert found[CAR, RIGHT] == CAR_MODES[2]
    assert found[PERSON, 7] == (0.1, 0.2, 0.3)
    assert found[ROAD, 200] in ROAD_MODES
    assert found[SKY, 0] == (0, 0, 0)
    assert resolve(Style(classes={"car": 1}), OBJECTS, space)[CAR, LEFT] == CAR_MODES[1]


def test_class_and_id_win_over_the_id_alone(space: StyleSpace) -> None:
    for instances in ({str(LEFT): 0, f"car:{LEFT}": 1}, {f"car:{LEFT}": 1, str(LEFT): 0}):
        assert resolve(Style(instances=instances), OBJECTS, space)[CAR, LEFT] == CAR_MODES[1]
        assert fitted(Style(instances=instances), OBJECTS, space).instances == {f"car:{LEFT}": 1}


def test_chance_is_uniform_and_depends_on_seed_class_and_id_alone(space: StyleSpace) -> None:
    many = [(CAR, number) for number in range(-2000, 2000)]
    drawn = resolve(Style(), many, space, seed=3)
    assert all(880 < count < 1120 for count in Counter(drawn.values()).values())  # 1000 each, standard deviation 27
    assert set(drawn.values()) == set(CAR_MODES)
    few = resolve(Style(classes={"road": 1}), [(ROAD, 1), *many[7:30:5]], space, seed=3)
    assert all(few[key] == drawn[key] for key in many[7:30:5])
    other = resolve(Style(), many, space, seed=4)
    assert 0.7 < np.mean([drawn[key] != other[key] for key in many]) < 0.8  # independent: three quarters differ
    assert resolve(Style(seed=4), many, space, seed=3) == other
    roads = resolve(Style(), [(ROAD, number) for _, number in many], space, seed=3)
    agree = np.mean([CAR_MODES.index(drawn[CAR, n]) % 2 == ROAD_MODES.index(roads[ROAD, n]) for _, n in many])  # type: ignore[arg-type]
    assert 0.45 < agree < 0.55


def test_a_mode_is_exactly_its_centre() -> None:
    vectors = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    own = StyleSpace(SPACE, 3, "instance", {CAR: ClassModes(vectors)})
    for mode in range(5):
        vector = own.vector(mode, CAR)
        assert np.array_equal(np.asarray(vector, dtype=np.float32), vectors[mode])
        assert own.vector(
            Style.model_validate_json(Style(classes={"car": vector}).model_dump_json()).classes["car"], CAR
        )
    assert shortest([np.float32(0.1)]) == (0.1,)


@settings(deadline=None)
@given(st.dictionaries(st.tuples(st.integers(0, 255), ids), st.just(0), min_size=1, max_size=12))
def test_objects_of_a_layout(objects: dict[tuple[int, int], int]) -> None:
    pixels = torch.tensor(list(objects) * 2).T
    label, instance = pixels[:, None]
    assert objects_of(label, instance, "instance") == sorted(objects)
    classes = sorted({index for index, _ in objects})
    assert objects_of(label, None, "label") == [(index, index) for index in classes]


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (Style(classes={"tank": 0}), r"'tank', which is no class of toy; its classes are sky"),
        (Style(classes={"car": 4}), r"Mode 4 was chosen for car; its modes are 0\.\.3"),
        (Style(instances={"26001": 9}), r"Mode 9 was chosen for car; its modes are 0\.\.3"),
        (Style(classes={"sky": 0}), r"Mode 0 was chosen for sky, which has no clusters .*with clusters: road, car.*vector of 3"),
        (Style(classes={"bus": 0, "car": 1}), "'bus', which is no class"),
        (Style(classes={IGNORED: 0}), r"chosen for \(ignored\), which has no clusters"),
        (Style(classes={"car": (0.5, 0.5)}), r"vector chosen for car has 2 numbers; this model keeps 3"),
        (Style(instances={"26001": (0.5,)}), r"vector chosen for car has 1 numbers; this model keeps 3"),
        (Style(instances={"5": 0}), r"object 5, which the layout does not hold. It holds car:26001, car:26002, person:7, sky:0"),
        (Style(instances={"car:5": 0}), r"object car:5, which the layout does not hold. It holds car:26001, car:26002\.$"),
        (Style(instances={"person:26001": 0}), r"object person:26001, which the layout does not hold. It holds person:7"),
        (Style(instances={"tank:5": 0}), "'tank', which is no class"),
    ],
)  # fmt: skip
def test_choices_that_do_not_fit(style: Style, said: str, space: StyleSpace) -> None:
    with pytest.raises(StyleError, match=said):
        resolve(style, OBJECTS, space)


def test_an_ambiguous_id(space: StyleSpace) -> None:
    objects = [(CAR, 1), (PERSON, 1), (CAR, 2)]
    with pytest.raises(
        StyleError, match=r"id 1 is used by objects of several classes: car:1, person:1. Name the class"
    ):
        resolve(Style(instances={"1": 0}), objects, space)
    assert resolve(Style(instances={"car:1": 0, "2": 1}), objects, space)[CAR, 1] == CAR_MODES[0]


def test_the_list_of_objects_is_cut(space: StyleSpace) -> None:
    with pytest.raises(StyleError, match=r"It holds car:0, car:1, .*car:7 and 12 more\.$"):
        resolve(Style(instances={"99": 0}), [(CAR, n) for n in range(20)], space)


def test_a_model_without_any_clusters_says_how_to_get_them() -> None:
    bare = StyleSpace(SPACE, 3, "instance", {})
    with pytest.raises(StyleError, match=r"No class has: gesso styles MODEL --data DIR"):
        resolve(Style(classes={"car": 0}), OBJECTS, bare)


def test_one_style_per_class(space: StyleSpace) -> None:
    shared = StyleSpace(SPACE, 3, "label", space.modes)
    objects = [(ROAD, ROAD), (CAR, CAR)]
    assert resolve(Style(classes={"car": 2}), objects, shared)[CAR, CAR] == CAR_MODES[2]
    drawn = {resolve(Style(), objects, shared, seed)[CAR, CAR] for seed in range(40)}
    assert drawn == set(CAR_MODES)
    for name in ("26001", str(CAR)):
        with pytest.raises(StyleError, match=r"keeps one style per class: choose for the class"):
            resolve(Style(instances={name: 2}), objects, shared)


def test_mixing(space: StyleSpace) -> None:
    first, second = (resolve(Style(classes={"car": mode, "road": 0}), OBJECTS, space) for mode in (0, 1))
    assert (mix(first, second, 0), mix(first, second, 1)) == (first, second)
    half = mix(first, second, 0.5)
    assert half[CAR, LEFT] == pytest.approx((0.1, -0.15, 0.2), abs=1e-6)
    assert half[ROAD, 200] == ROAD_MODES[0]
    for other, t in ((second, 1.5), (second, -0.1), ({(CAR, 1): (0.0,)}, 0.5)):
        with pytest.raises(StyleError, match="Only styles of the same objects can be mixed"):
            mix(first, other, t)


def test_copying(space: StyleSpace) -> None:
    style = Style(seed=3, classes={"car": 1}, instances={str(LEFT): 2})
    vectors = resolve(style, OBJECTS, space)
    copied = copy_style(style, vectors, LEFT, f"car:{RIGHT}", space)
    assert resolve(copied, OBJECTS, space) == {**vectors, (CAR, RIGHT): CAR_MODES[2]}
    back = copy_style(style, vectors, RIGHT, LEFT, space)
    assert resolve(back, OBJECTS, space) == {**vectors, (CAR, LEFT): CAR_MODES[1]}
    with pytest.raises(StyleError, match="object 5, which the layout does not hold"):
        copy_style(style, vectors, 5, LEFT, space)
    with pytest.raises(StyleError, match="'the red one' is no object"):
        copy_style(style, vectors, LEFT, "the red one", space)


def test_vectors_as_a_style(space: StyleSpace) -> None:
    vectors = resolve(Style(), [*OBJECTS, (len(SPACE), 1100)], space, seed=8)
    style = space.style(vectors)
    assert style.instances[f"{IGNORED}:1100"] == (0, 0, 0)
    assert resolve(style, list(vectors), space, seed=1) == vectors


# --------------------------------------------------------------------------------------------------- in photographs


def test_every_pixel_wears_the_style_of_its_object(mirror: Synthesizer) -> None:
    label, instance = scene()
    style = Style(classes={"car": 1, "sky": (0.2, 0.4, 0.6)}, instances={str(RIGHT): 2})
    for size in (np.s_[:, :], np.s_[:31, 3:]):
        image = mirror(label[size], instance[size], style)
        for key, vector in mirror.resolve(label[size], instance[size], style).items():
            mask = (label[size] == key[0]) & (instance[size] == key[1])
            assert mask.any()
            assert (image[mask] == colour(vector)).all(), key


def test_changing_one_object_changes_its_pixels_alone(mirror: Synthesizer) -> None:
    label, instance = scene()
    before, after = (mirror(label, instance, Style(instances={str(LEFT): mode}), seed=1) for mode in (0, 1))
    assert np.array_equal((before != after).any(-1), instance == LEFT)


def test_the_same_call_gives_the_same_photograph(synth: Synthesizer) -> None:
    label, instance = scene()
    first = synth(label, instance, seed=2)
    torch.rand(3)
    assert np.array_equal(synth(label, instance, seed=2), first)
    assert np.array_equal(synth(label, instance, Style(), seed=2), first)
    assert np.array_equal(synth(label, instance, Style(seed=2), seed=9), first)
    drawn = synth.resolve(label, instance, seed=2)
    assert np.array_equal(synth(label, instance, synth.require_style().style(drawn)), first)
    modes = [synth(label, instance, Style(classes={"car": mode}), seed=2) for mode in range(4)]
    assert all(not np.array_equal(a, b) for a, b in permutations(modes, 2))


def test_a_batch_equals_its_layouts_one_by_one(synth: Synthesizer) -> None:
    maps = [scene(), scene(right=99)]
    label, instance = (np.stack(both) for both in zip(*maps, strict=True))
    each = [Style(instances={str(RIGHT): 0}), Style(seed=5, classes={"car": 2})]
    for style, alone in ((None, [None, None]), (each, each)):
        images = synth(label, instance, style, seed=3)
        for image, one, (a, b) in zip(images, alone, maps, strict=True):
            assert np.array_equal(synth(a, b, one, seed=3), image)


def test_one_style_for_several_layouts(mirror: Synthesizer) -> None:
    maps = [scene(), scene(right=99)]
    label, instance = (np.stack(both) for both in zip(*maps, strict=True))
    images = mirror(label, instance, Style(instances={"99": 1, str(LEFT): 3}))
    assert (images[1][instance[1] == 99] == colour(CAR_MODES[1])).all()
    assert (images[:, 14, 4] == colour(CAR_MODES[3])).all()
    with pytest.raises(StyleError, match="object 5, which none of the layouts holds"):
        mirror(label, instance, Style(instances={"5": 1}))
    with pytest.raises(StyleError, match="object 99, which the layout does not hold"):
        mirror(label, instance, [Style(instances={"99": 1}), Style()])


@pytest.mark.parametrize("style", [[Style(), Style()], [], "car=3", {"classes": {}}, [None]])
def test_what_is_no_style_for_a_layout(synth: Synthesizer, style: Any) -> None:
    with pytest.raises(StyleError, match=r"came as style for 1 layouts; give one gesso.Style, or one per layout"):
        synth(*scene(), style)


def test_one_style_per_class_needs_no_instances(label_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    label, _ = scene()
    synth = Synthesizer(mirrored(load_model(label_model)))
    with caplog.at_level(logging.WARNING):
        image = synth(label, style=Style(classes={"car": 3, "sky": 3 * (0.1,), "person": 3 * (0.0,)}))
    assert not caplog.records
    assert (image[label == CAR] == colour(CAR_MODES[3])).all()
    assert (image[label == ROAD] == image[12, 0]).all()
    assert synth.objects(label) == [(i, i) for i in sorted({SKY, ROAD, CAR, PERSON, len(SPACE)})]
    with pytest.raises(StyleError, match="one style per class"):
        synth(label, style=Style(instances={"26001": 3}))


def test_objects_without_an_instance_map_are_components(mirror: Synthesizer, caplog: pytest.LogCaptureFixture) -> None:
    label = np.full(SIZE, ROAD)
    label[4:12, 4:12] = label[20:28, 40:52] = CAR
    with caplog.at_level(logging.WARNING):
        image = mirror(label, style=Style(instances={f"car:{CAR * 1000 + 2}": 0, str(CAR * 1000 + 1): 1}))
    assert (image[20:28, 40:52] == colour(CAR_MODES[0])).all()
    assert (image[4:12, 4:12] == colour(CAR_MODES[1])).all()
    assert "touching objects of a class count as one" in caplog.text


def test_what_the_clusters_leave_open_is_said_once(mirror: Synthesizer, caplog: pytest.LogCaptureFixture) -> None:
    label, instance = scene()
    with caplog.at_level(logging.WARNING):
        image = mirror(label, instance)
        mirror(label, instance, Style(classes={"sky": (0.0, 0.0, 0.0)}), seed=1)
    assert [r.getMessage() for r in caplog.records] == [
        "The model file has no clusters of sky, building, marking, sidewalk, grass, tree, pole, sign and 1 more: "
        "the middle of the range stands in for a random style. "
        "gesso styles MODEL --data DIR computes them."
    ]
    assert (image[label == SKY] == 128).all()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mirror(label, instance, Style(classes={"sky": (0.0, 0.0, 5.0), "person": (0.0, 0.0, 0.0)}))
    assert "outside -1..1" in caplog.text


def test_a_model_with_clusters_alone(tmp_path: Path) -> None:
    synth = load(write_styled_model(tmp_path / "m.safetensors", encoder=False, styles=clusters()), "cpu")
    label, instance = scene()
    assert not np.array_equal(synth(label, instance, seed=1), synth(label, instance, seed=2))
    for ask in (synth.encode, synth.class_means):
        with pytest.raises(ModelFileError, match="Features were requested from a model without encoder"):
            ask(photograph(), label, instance)


def test_modes_of_a_class(synth: Synthesizer) -> None:
    cars, road, sky = synth.modes("car"), synth.modes("road"), synth.modes("sky")
    assert np.allclose(cars.vectors, CAR_MODES)
    assert cars.sizes is not None and cars.sizes.tolist() == [40, 30, 20, 10]
    assert cars.thumbnails is not None and cars.thumbnails.shape == (4, 8, 8, 3)
    assert (len(road), road.thumbnails, len(sky), sky.vectors.shape) == (2, None, 0, (0, 3))
    with pytest.raises(StyleError, match="'tank', which is no class"):
        synth.modes("tank")


@pytest.mark.parametrize("call", ["objects", "resolve", "encode", "class_means", "modes"])
def test_a_model_without_style_has_none_to_tell(tiny_model: Path, call: str) -> None:
    plain = load(tiny_model, "cpu")
    label, instance = scene()
    arguments: Any = {"modes": ("car",), "encode": (photograph(), label, instance)}.get(call, (label, instance))
    arguments = (photograph(), label, instance) if call == "class_means" else arguments
    with pytest.raises((StyleError, ModelFileError), match=r"has no style|model without encoder"):
        getattr(plain, call)(*arguments)


# --------------------------------------------------------------------------------------------- the style of photographs


def test_a_photograph_gives_each_of_its_objects_its_features(mirror: Synthesizer) -> None:
    label, instance = scene()
    style = mirror.encode(photograph(), label, instance)
    tensors = torch.from_numpy(label), torch.from_numpy(instance)
    image = torch.from_numpy(photograph()).permute(2, 0, 1) / 255 * 2 - 1
    wanted = encode_objects(mirror._model.networks["encoder"], image, *tensors, "instance")
    found = mirror.resolve(label, instance, style)
    assert list(found) == wanted.keys
    assert np.allclose(list(found.values()), wanted.vectors, atol=1e-6)
    assert f"{IGNORED}:{len(SPACE) * 100}" in style.instances
    assert mirror.encode(photograph(), label, instance) == style
    with pytest.raises(StyleError, match=f"object car:{RIGHT}, which the layout does not hold"):
        mirror(*scene(right=5), style)


def test_class_means_are_weighted_by_area_and_fit_other_layouts(mirror: Synthesizer) -> None:
    label, instance = scene()
    means = mirror.class_means(photograph(), label, instance)
    each = mirror.resolve(label, instance, mirror.encode(photograph(), label, instance))
    left, right = (label == CAR) & (instance == LEFT), (label == CAR) & (instance == RIGHT)
    weighted = np.average([each[CAR, LEFT], each[CAR, RIGHT]], axis=0, weights=[left.sum(), right.sum()])
    assert np.allclose(means.classes["car"], weighted, atol=1e-6)
    assert set(means.classes) == {"sky", "road", "car", "person", IGNORED}
    other, ids_of = scene(left=5, right=6)
    other[:4] = ids_of[:4] = TREE  # not in the photograph: stays open
    worn = mirror.resolve(other, ids_of, means)
    assert worn[CAR, 5] == worn[CAR, 6] == means.classes["car"]
    assert worn[TREE, TREE] == (0, 0, 0)


def test_one_style_per_class_from_a_photograph(label_model: Path) -> None:
    synth, (label, _) = load(label_model, "cpu"), scene()
    style = synth.encode(photograph(), label)
    assert style == synth.class_means(photograph(), label)
    assert set(style.classes) == {"sky", "road", "car", "person", IGNORED} and not style.instances


def test_photographs_that_do_not_fit(synth: Synthesizer) -> None:
    label, instance = scene()
    with pytest.raises(LabelError, match=r"photograph is 30x64, its label map 32x64"):
        synth.encode(photograph()[:30], label, instance)
    for wrong in (photograph().astype(np.float32), photograph()[..., 0], np.zeros((*SIZE, 4), np.uint8)):
        with pytest.raises(DataError, match=r"A photograph is \(H, W, 3\) uint8"):
            synth.encode(wrong, label, instance)
    with pytest.raises(LabelError, match=r"One layout \(H, W\) is wanted here; \(2, 32, 64\) came"):
        synth.encode(photograph(), np.stack([label, label]), np.stack([instance, instance]))


def test_a_generated_picture_can_be_made_again_from_its_record(tiny_styled_model: Path, tmp_path: Path) -> None:
    synth, (label, instance) = load(tiny_styled_model, "cpu"), scene()
    chosen = [
        None,
        Style(seed=7),
        Style(classes={"car": 2}, instances={str(LEFT): (0.1, 1 / 3, -0.7)}),
        synth.encode(photograph(), label, instance),
    ]
    for number, style in enumerate(chosen):
        path = tmp_path / f"{number}.png"
        save_png(path, image := synth(label, instance, style, seed=4), synth.record(4, style))
        record = read_record(path)
        assert record is not None and record["model"] == synth.hash
        again = None if record["style"] is None else Style.parse(record["style"])
        assert again == style
        fresh = load(tiny_styled_model, "cpu")
        assert np.array_equal(fresh(label, instance, again, record["seed"]), image)
        assert np.array_equal(fresh(label, instance, read_style(path)), image)  # the seed is in it


# ----------------------------------------------------------------------------------------- maps that disagree


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (np.zeros((32, 60), int), r"instance map has shape \(32, 60\), the label map \(32, 64\)"),
        (np.zeros((1, 32, 64), int), r"instance map has shape \(1, 32, 64\)"),
        (np.zeros(SIZE), r"holds integers, one object id per pixel; float64"),
        (np.full(SIZE, 2**33), r"ids 8589934592\.\.8589934592; allowed are those of 32 bits"),
    ],
)
def test_what_is_no_instance_map(synth: Synthesizer, instance: npt.NDArray[Any], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        synth(scene()[0], instance)


def toy_maps() -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    scenes = [toy.scene(2, index) for index in range(5)]
    return [(SPACE.to_indices(one.label), one.instance) for one in scenes]


def shared_maps(root: Path, split: str) -> tuple[list[tuple[npt.NDArray[Any], npt.NDArray[Any]]], LabelSpace]:
    listing = layouts.find(root, split)
    assert listing.space is not None
    maps = []
    for sample in listing.samples:
        assert sample.label and sample.instance
        maps.append((read_label(sample.label, listing.space), read_instance(sample.instance)))
    return maps, listing.space


def confront(maps: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]], space: LabelSpace) -> int:
    """Own instance maps are taken, all others refused; how many others there were."""
    for label, instance in maps:
        refuse_foreign_instances(label, instance, space)
    pairs = list(permutations(maps, 2))
    for (label, _), (_, other) in pairs:
        resized = np.asarray(
            Image.fromarray(other.astype(np.int32)).resize(label.shape[::-1], Image.Resampling.NEAREST)
        )
        with pytest.raises(LabelError, match="The instance map disagrees with the label map"):
            refuse_foreign_instances(label, resized, space)
    return len(pairs)


def test_instance_maps_of_other_toy_scenes_are_refused() -> None:
    assert confront(toy_maps(), SPACE) == 20


@pytest.mark.parametrize("split", ["train", "val"])
def test_instance_maps_of_other_pictures_of_coco_are_refused(coco_stuff_sample: Path, split: str) -> None:
    maps, space = shared_maps(coco_stuff_sample, split)
    assert confront(maps[:6], space) >= 20
    for label, instance in maps[6:]:
        refuse_foreign_instances(label, instance, space)


def test_instance_maps_of_other_frames_of_cityscapes_are_refused(cityscapes_sample: Path) -> None:
    maps, space = shared_maps(cityscapes_sample, "train")
    for step in (4, 8):
        assert confront([(label[::step, ::step], instance[::step, ::step]) for label, instance in maps], space) >= 20


def test_ids_are_opaque() -> None:
    for label, instance in toy_maps():
        refuse_foreign_instances(label, np.zeros_like(instance), SPACE)  # says nothing of objects, and nothing wrong
        refuse_foreign_instances(label, instance % 1000, SPACE)  # objects of different classes share ids
        refuse_foreign_instances(label, np.where(np.isin(label, SPACE.things), instance, 0), SPACE)  # all stuff is one
        refuse_foreign_instances(label, np.roll(instance, 1, axis=1), SPACE)  # a little off
        refuse_foreign_instances(label, instance * 64 + np.arange(label.shape[1]) // 4, SPACE)  # many pieces
        refuse_foreign_instances(np.full_like(label, ROAD), instance, SPACE)  # nothing countable to compare with


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True])
def test_seeds_out_of_range(synth: Synthesizer, seed: Any) -> None:
    for call in (synth, synth.resolve):
        with pytest.raises(ConfigError, match=r"The seed is .*from 0 to 9223372036854775807"):
            call(*scene(), seed=seed)


def test_training_and_the_doctor_refuse_a_foreign_instance_map(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data")
    path = root / "val" / "instances" / "two.png"
    listing = layouts.find(root, "val")
    assert scan_sample(listing.samples[1], listing.space).findings == ()
    Image.fromarray(np.asarray(Image.open(path))[::-1, ::-1].copy()).save(path)
    photographs = SemanticDataset(listing.samples, listing.space, Preprocessing(), training=True)
    assert photographs[0]["instance"].shape == SIZE
    with pytest.raises(
        LabelError, match=r"instances/two\.png does not fit .*labels/two\.png: The instance map disagrees"
    ):
        photographs[1]
    (finding,) = scan_sample(listing.samples[1], listing.space).findings
    assert (finding.severity, finding.code, finding.path) == ("error", "foreign-instances", path)


def test_the_synthesizer_refuses_a_foreign_instance_map(synth: Synthesizer) -> None:
    (label, instance), (_, other), *_ = toy_maps()
    assert synth(label, instance).shape == (128, 256, 3)
    for call in (synth, synth.resolve, synth.objects):
        with pytest.raises(LabelError, match=r"disagrees with the label map.*not mirrored"):
            call(label, other)


# ------------------------------------------------------------------------------------------------------- documents


def test_the_page_about_styles_runs_with_a_model_that_has_some(
    tiny_styled_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snippets run with a plain model too, as those of every page; here with style."""
    page = (Path(__file__).parents[1] / "docs" / "styles.md").read_text(encoding="utf-8")
    snippets = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert snippets
    (tmp_path / "model.safetensors").write_bytes(tiny_styled_model.read_bytes())
    Image.fromarray(SPACE.to_values(scene()[0]).astype(np.uint8)).save(tmp_path / "layout.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(snippet, names)
    assert isinstance(names["synth"], gesso.Synthesizer)
    assert isinstance(names["style"], gesso.Style)
    assert names["image"].shape == (*SIZE, 3)
