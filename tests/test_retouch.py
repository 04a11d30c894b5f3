"""The photo round trip in Python: what changes, what stays to the byte, and whose style is worn."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

import gesso
from gesso.errors import ConfigError, DataError, GessoError, LabelError, StyleError
from gesso.labels import LabelSpace, components
from gesso.synthesis.editing import Layout, move_object
from gesso.synthesis.editing.layout import ObjectKey
from gesso.synthesis.retouching import find_objects, object_name, parse_edits, read_original, retouch_original
from gesso.synthesis.retouching.composing import Patch, compose, opacity
from gesso.synthesis.retouching.membrane import LEAK, membrane
from gesso.synthesis.retouching.sizes import resized_map, working_size
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer
from styled import CAR, CAR_MODES, LEFT, RIGHT, ROAD, SIZE, SKY, SPACE, photograph, scene
from whole_styled import write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
LARGE = (70, 150)  # a photograph's size, which is not the model's


@functools.cache
def street() -> tuple[np.ndarray, np.ndarray]:
    """Sky above road with two cars on it, at the model's size."""
    label = np.full(SIZE, SKY, dtype=np.int32)
    label[14:] = ROAD
    instance = label.copy()
    for id, columns in ((LEFT, slice(8, 20)), (RIGHT, slice(40, 52))):
        label[16:22, columns], instance[16:22, columns] = CAR, id
    return label, instance


def picture(size: tuple[int, int] = LARGE) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, size=(*size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def synth(model_file: Path) -> Synthesizer:
    return gesso.load(model_file, device="cpu")


@pytest.fixture(scope="module")
def original(synth: Synthesizer) -> Any:
    label, instance = street()
    return read_original(picture(), synth, labels=label, instances=instance)


class Seer(PhotoSegmenter):
    """Finds what it was told."""

    def __init__(self, label: np.ndarray, space: LabelSpace = SPACE) -> None:
        super().__init__("seer", "nothing", space, "0" * 64)
        self._label = label

    def _read(self, pixels: Tensor) -> Tensor:
        import torch

        return torch.from_numpy(self._label)


# ----------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize(
    "edit",
    [
        {"remove": "car:26001"},
        {"move": "car:26001", "by": [30, 4], "scale": 1.3},
        {"paste": "car:26002", "by": [-40, 10]},
        {"relabel": "car:26001", "to": "person"},
        {"restyle": "car:26002", "to": 3},
        {"restyle": "road", "to": [0.9, -0.9, 0.3]},
        {"remove": "car"},
        {"relabel": "sky", "to": "building"},
    ],
    ids=str,
)
def test_all_but_what_was_touched_is_the_photographs_own(original: Any, edit: dict[str, Any]) -> None:
    done = gesso.retouch(picture(), original.synth, [edit], labels=street()[0], instances=street()[1])
    assert done.picture.shape == (*LARGE, 3) and done.picture.dtype == np.uint8
    assert (done.picture[~done.touched] == picture()[~done.touched]).all() and not done.touched.all()
    assert (done.touched[done.edited]).all() and done.edited.any()
    assert (done.picture != picture())[done.touched].mean() > 0.5
    again = retouch_original(original, [edit])
    assert (again.picture == done.picture).all() and again.record == done.record


def test_a_segmenter_reads_the_photograph(synth: Synthesizer) -> None:
    label = street()[0]
    found = read_original(picture(), synth, Seer(label))
    assert (found.layout.label == label).all() and (found.layout.instance == components(label, SPACE)).all()
    assert [object_name(found.layout, layer.key) for layer in found.layout.layers] in (
        ["car:1", "car:2"],
        ["car:2", "car:1"],
    )
    done = retouch_original(found, [{"remove": "car:2"}])
    assert done.edited[:, 90:].any() and not done.edited[:, :75].any()
    assert done.record["retouched"]["segmenter"] == "0" * 64


def test_the_whole_picture_is_the_models_own(original: Any) -> None:
    done = retouch_original(original, [{"remove": "car:26001"}], whole=True)
    label, instance = done.layout.label, done.layout.instance
    assert (done.generated == original.synth(label, instance, done.style)).all() and done.touched.all()


def test_a_gray_photograph_stays_gray(synth: Synthesizer) -> None:
    gray = np.repeat(picture()[..., :1], 3, axis=2)
    done = gesso.retouch(gray, synth, [{"remove": "car"}], labels=street()[0])
    assert (done.picture == done.picture[..., :1]).all() and any("gray" in note for note in done.notes)


def test_a_layout_that_was_edited_elsewhere_is_taken(original: Any) -> None:
    by_hand = move_object(original.layout, ObjectKey(CAR, LEFT), 4, 1)
    by_name = retouch_original(original, [{"move": "car:26001", "by": [4 * 150 / 64, 70 / 32]}])
    assert (retouch_original(original, by_hand).picture == by_name.picture).all()
    other = Layout.of(street()[0][:16], None, SPACE)
    with pytest.raises(LabelError, match="read_original"):
        retouch_original(original, other)


def test_a_larger_margin_touches_more(original: Any) -> None:
    sizes = [
        retouch_original(original, [{"remove": "car:26001"}], margin=margin).touched.sum() for margin in (0, 4, 12)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
    done = retouch_original(original, [{"remove": "car:26001"}], margin=0)
    assert (done.touched == done.edited).all()


# ---------------------------------------------------------------------------------------------------------------- style


def test_what_stays_and_what_moves_keeps_its_own_features(original: Any) -> None:
    encoded = original.style.instances
    done = retouch_original(original, [{"move": "car:26001", "by": [20, 0]}, {"paste": "car:26002", "by": [-30, 20]}])
    worn = original.synth.resolve(done.layout.label, done.layout.instance, done.style)
    copies = [key for key in worn if key[0] == CAR and key[1] not in (LEFT, RIGHT)]
    assert worn[CAR, LEFT] == encoded[f"car:{LEFT}"] and worn[CAR, RIGHT] == encoded[f"car:{RIGHT}"]
    assert len(copies) == 1 and worn[copies[0]] == encoded[f"car:{RIGHT}"]
    assert worn[ROAD, ROAD] == encoded[f"road:{ROAD}"]


def test_what_is_new_looks_like_its_class_in_the_photograph(original: Any) -> None:
    done = retouch_original(
        original, [{"relabel": "car:26001", "to": "road"}, {"relabel": "sky", "to": "road"}], whole=True
    )
    worn = original.synth.resolve(done.layout.label, done.layout.instance, done.style)
    assert {vector for key, vector in worn.items() if key[0] == ROAD} <= {
        original.style.instances[f"road:{ROAD}"],
        original.means.classes["road"],
    }


def test_a_style_is_taken_from_a_mode_a_vector_or_a_file(original: Any, tmp_path: Path) -> None:
    def worn(to: Any, name: str = "car:26001") -> tuple[float, ...]:
        done = retouch_original(original, [{"restyle": name, "to": to}])
        return original.synth.resolve(done.layout.label, done.layout.instance, done.style)[CAR, LEFT]

    assert worn(2) == pytest.approx(CAR_MODES[2]) and worn(2, "car") == pytest.approx(CAR_MODES[2])
    assert worn([0.1, 0.2, 0.3]) == (0.1, 0.2, 0.3)
    file = tmp_path / "style.json"
    Style(instances={"car:7": (0.0, 0.0, 0.4), "car:8": (0.0, 0.0, 0.6)}).save(file)
    assert worn(str(file)) == pytest.approx((0, 0, 0.5))
    with pytest.raises(StyleError, match="says nothing of road"):
        retouch_original(original, [{"restyle": "road", "to": str(file)}])
    with pytest.raises(StyleError, match="its modes are 0"):
        worn(9)


def test_a_pictures_style_has_no_objects(tmp_path: Path) -> None:
    synth = gesso.load(write_spade_model(tmp_path / "spade.safetensors"), device="cpu")
    label = street()[0]
    found = read_original(picture(), synth, labels=label)
    assert found.style == synth.encode(found.small) and "no object has one by itself" in found.notes[0]
    done = retouch_original(found, [{"remove": "car:1"}])
    assert (done.picture == picture())[~done.touched].all() and done.style.z == found.style.z
    with pytest.raises(StyleError, match="whole picture"):
        retouch_original(found, [{"restyle": "road", "to": 2}])


def test_without_an_encoder_the_seed_decides_and_that_is_said(tmp_path: Path) -> None:
    from styled import clusters, write_styled_model

    file = write_styled_model(tmp_path / "bare.safetensors", encoder=False, styles=clusters())
    found = read_original(picture(), gesso.load(file, device="cpu"), labels=street()[0])
    assert "no encoder" in found.notes[0]
    pictures = [retouch_original(found, [{"relabel": "sky", "to": "car"}], seed=seed).picture for seed in (0, 1)]
    assert (pictures[0] != pictures[1]).any()
    with pytest.raises(ConfigError, match="seed"):
        retouch_original(found, [{"remove": "car"}], seed=-1)


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([{"remove": "car:5"}], r"no car:5.*car:26001, car:26002"),
        ([{"remove": "person"}], "no person in the photograph"),
        ([{"remove": "bus:1"}], "names nothing"),
        ([{"remove": "road:1"}], "not countable"),
        ([{"move": "road", "by": [3, 3]}], "cannot be moved"),
        ([{"move": "car:26001", "by": [900, 0]}], "outside of the picture"),
        ([{"relabel": "car:26001", "to": "bus"}], "bus"),
        ([{"move": "car:26001", "by": [0, 0]}], "change nothing"),
        ([{"remove": "car:26001"}, {"move": "car:26001", "by": [3, 0]}], "removed by an earlier edit"),
        ([{"remove": "sky"}, {"remove": "road"}], "nothing would be left"),
        ([{"restyle": name, "to": [0.9, 0.9, 0.9]} for name in ("sky", "road", "car")], "change every pixel"),
        ([{"remove": "car:26001", "why": 1}], "Edit 1"),
        ([], "no list of edits"),
        ("remove car:1", "no list of edits"),
    ],
)
def test_edits_that_make_no_sense_are_refused(original: Any, edits: Any, said: str) -> None:
    with pytest.raises(GessoError, match=said):
        retouch_original(original, edits)


def test_an_object_that_fills_the_picture_cannot_be_removed(synth: Synthesizer) -> None:
    label = np.full(SIZE, CAR, dtype=np.int32)
    with pytest.raises(LabelError, match="fills the whole picture"):
        gesso.retouch(picture(), synth, [{"remove": "car"}], labels=label)


def test_photographs_and_maps_that_do_not_fit_are_refused(synth: Synthesizer, tiny_model: Path) -> None:
    label, instance = street()
    alpha = np.zeros((*LARGE, 4), dtype=np.uint8)
    with pytest.raises(DataError, match="transparent"):
        read_original(alpha, synth, labels=label)
    with pytest.raises(LabelError, match=r"\(32, 60\).*70x150"):
        read_original(picture(), synth, labels=label[:, :60])
    with pytest.raises(LabelError, match="instance map"):
        read_original(picture(), synth, labels=label, instances=instance[:9])
    with pytest.raises(ConfigError, match="not both, not neither"):
        read_original(picture(), synth)
    with pytest.raises(ConfigError, match="less"):
        read_original(
            picture(), synth, Seer(label, SPACE.model_copy(update={"name": "less", "classes": SPACE.classes[1:]}))
        )
    with pytest.raises(ConfigError, match="margin is -1"):
        retouch_original(read_original(picture(), synth, labels=label), [{"remove": "car"}], margin=-1)
    plain = read_original(picture(), gesso.load(tiny_model, device="cpu"), labels=label)
    assert "no style" in plain.notes[0] and plain.style == Style()


def test_names_are_short_where_they_can_be() -> None:
    label = np.full((8, 8), ROAD, dtype=np.int32)
    label[1:3, 1:3], label[5:7, 5:7] = CAR, CAR
    instance = components(label, SPACE)
    layout = Layout.of(label, instance, SPACE)
    assert {object_name(layout, layer.key) for layer in layout.layers} == {"car:1", "car:2"}
    assert find_objects(layout, "car:2") == find_objects(layout, f"car:{1000 * CAR + 2}")
    instance[5:7, 5:7] = 1  # now car:1 is the one with this id
    layout = Layout.of(label, instance, SPACE)
    assert find_objects(layout, "car:1")[1] == [ObjectKey(CAR, 1)]
    assert {object_name(layout, layer.key) for layer in layout.layers} == {"car:1", f"car:{1000 * CAR + 1}"}


def test_edits_survive_a_relabelling() -> None:
    label, instance = street()
    layout = Layout.of(label, instance, SPACE)
    from gesso.synthesis.retouching.edits import apply_edits

    edits = parse_edits([{"relabel": "car:26001", "to": "person"}, {"restyle": "car:26001", "to": 1}])
    edited = apply_edits(layout, edits, SIZE)
    (what, _), *_ = edited.looks
    assert isinstance(what, ObjectKey) and edited.layout.class_name(what) == "person"


# ------------------------------------------------------------------------------------------------------------ composing


def test_the_membrane_of_one_object_is_harmonic() -> None:
    given = np.tile(np.linspace(0, 10, 12, dtype=np.float32)[None, :, None], (9, 1, 3))
    patch = np.zeros((9, 12), dtype=bool)
    patch[1:8, 1:11] = True
    found = membrane(patch, np.zeros((9, 12), dtype=np.int32), np.where(patch[..., None], 99, given), reach=1e6)
    assert found == pytest.approx(given, abs=1e-3), "a plane is its own membrane"


def test_both_ways_to_solve_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    given = rng.normal(size=(20, 30, 3)).astype(np.float32)
    regions = (np.arange(30) // 8 + np.zeros((20, 1))).astype(np.int32)
    patch = rng.random((20, 30)) < 0.7
    exact = membrane(patch, regions, given, reach=5)
    monkeypatch.setattr("gesso.synthesis.retouching.membrane.EXACT", 0)
    assert membrane(patch, regions, given, reach=5) == pytest.approx(exact, abs=1e-3)


def test_the_membrane_does_not_cross_outlines_and_forgets() -> None:
    given = np.zeros((9, 40, 1), dtype=np.float32)
    given[:, 0] = 100
    patch = np.zeros((9, 40), dtype=bool)
    patch[:, 1:39] = True
    regions = (np.arange(40) >= 20).astype(np.int32) + np.zeros((9, 1), dtype=np.int32)
    one, two = (membrane(patch, cells, given, reach=1e6)[4, :, 0] for cells in (np.zeros_like(regions), regions))
    assert one[19] == pytest.approx(100 * 20 / 39, abs=1)
    assert two[19] > 60 and two[20] < 40 and two[19] - two[20] > 20 > LEAK
    assert membrane(patch, np.zeros_like(regions), given, reach=3)[4, 20, 0] < 1


def test_colours_meet_at_the_border() -> None:
    """A model whose colours are off by 12 leaves no seam."""
    photo = np.full((40, 60, 3), 120, dtype=np.uint8)
    changed = np.zeros((40, 60), dtype=bool)
    changed[15:25, 20:40] = True
    nothing = np.zeros_like(changed)
    off = Patch(
        np.full_like(photo, 132), changed, nothing, nothing, nothing.astype(np.int32), np.zeros(photo.shape, np.float32)
    )
    corrected, touched = compose(photo, off, margin=4)
    steps = [np.abs(np.diff(corrected.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 2 and touched.sum() > changed.sum()
    known = Patch(**{**vars(off), "expected": np.full(photo.shape, -12, np.float32)})
    assert (compose(photo, known, margin=4)[0] == photo).all(), "what is known of a model's colours is right everywhere"


def test_the_margin_fades_and_spares_what_stays() -> None:
    changed = np.zeros((40, 60), dtype=bool)
    changed[15:25, 20:40] = True
    kept, nothing = np.zeros_like(changed), np.zeros_like(changed)
    kept[:, 40:] = True
    patch = Patch(
        np.zeros((40, 60, 3), np.uint8),
        changed,
        nothing,
        kept,
        nothing.astype(np.int32),
        np.zeros((40, 60, 3), np.float32),
    )
    share = opacity(patch, (40, 60), margin=8)
    assert (share[changed] == 1).all() and (share[19, 15:20] >= share[19, 14:19]).all()
    assert share[20, 11] == 0 and share[20, 14] > 0.5, "8 pixels on the left"
    assert 0 < share[20, 40] < 1 and share[20, 43] == 0, "a rim of the object on the right"
    restyled = Patch(**{**vars(patch), "restyled": changed})
    inwards = opacity(restyled, (40, 60), margin=8)
    assert not inwards[~changed].any() and 0 < inwards[20, 20] < inwards[20, 22] < inwards[20, 30] == 1


@given(
    changed=arrays(bool, (6, 9)),
    restyled=arrays(bool, (6, 9)),
    kept=arrays(bool, (6, 9)),
    margin=st.integers(0, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_whatever_is_put_in_the_rest_is_the_photographs_own(
    changed: np.ndarray, restyled: np.ndarray, kept: np.ndarray, margin: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    photo, made = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((17, 31), (6, 9)))
    regions, expected = rng.integers(0, 3, (6, 9)).astype(np.int32), rng.normal(0, 40, (6, 9, 3)).astype(np.float32)
    found, touched = compose(
        photo, Patch(made, changed, changed & restyled, kept & ~changed, regions, expected), margin
    )
    assert (found == photo)[~touched].all() and found.dtype == np.uint8
    assert touched[resized_map(changed & ~restyled, (17, 31)).astype(bool)].all()


def test_working_sizes_are_those_of_training(synth: Synthesizer) -> None:
    def size(**said: Any) -> tuple[int, int]:
        return working_size(synth.info.model_copy(update={"preprocessing": said}), (300, 400))

    assert working_size(synth.info, LARGE) == SIZE
    assert size(resize="fixed", height=64, width=128, crop=[32, 32]) == (32, 32)
    assert size(resize="scale_width", width=200) == (150, 200) and size(resize="scale_shortside", height=150) == (
        150,
        200,
    )
    assert size() == (300, 400) and size(resize="nearest_multiple", multiple=32, shrink=2) == (160, 192)


def test_the_scene_of_other_tests_is_read_too(synth: Synthesizer) -> None:
    label, instance = scene()[:2]
    found = read_original(photograph(), synth, labels=label, instances=instance)
    assert found.style == synth.encode(photograph(), label, instance)
