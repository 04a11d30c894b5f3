"""The editor's document on the wire: nothing of a layout is lost, and nothing impossible is taken."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from gesso.editor.wire import DocumentWire, MaskWire, StylesWire, encode_ids, encode_png, mask_fields
from gesso.errors import DataError, LabelError
from gesso.labels import LabelClass, LabelSpace
from gesso.synthesis.editing import Layout, Mask, ObjectKey, ObjectLayer, add_object, move_object
from styled import CAR, SPACE, scene

IDS = st.integers(-(2**31), 2**31 - 1)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Any ground under any objects, many of them hidden behind others or beyond the border."""
    shape = draw(SIZES)
    label = draw(arrays.arrays(np.int32, shape, elements=st.integers(0, len(SPACE))))
    instance = draw(arrays.arrays(np.int32, shape, elements=IDS))
    layers = []
    for class_index, id, written in draw(st.lists(st.tuples(st.integers(0, len(SPACE)), IDS, IDS), max_size=4)):
        cells = draw(arrays.arrays(np.bool_, draw(SIZES), elements=st.booleans()))
        mask = Mask.of(cells, draw(st.integers(-40, 40)), draw(st.integers(-40, 40)))
        if mask is not None:
            layers.append(ObjectLayer(ObjectKey(class_index, id), written, mask))
    used = {*instance.ravel().tolist(), *(layer.key.id for layer in layers), *draw(st.sets(IDS, max_size=3))}
    return Layout(SPACE, label, instance, tuple(layers), frozenset(used))


def same(first: Layout, second: Layout) -> None:
    for name in ("ground_label", "ground_instance", "label", "instance"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert [(x.key, x.written_id, x.mask.box) for x in first.layers] == [
        (x.key, x.written_id, x.mask.box) for x in second.layers
    ]
    for mine, theirs in zip(first.layers, second.layers, strict=True):
        assert np.array_equal(mine.mask.cells, theirs.mask.cells)
    assert first.used_ids == second.used_ids


@given(layouts())
@settings(max_examples=150, deadline=None)
def test_every_layout_comes_back_as_it_was(layout: Layout) -> None:
    document = DocumentWire.of(layout, "a street")
    again = DocumentWire.parse(document.json_bytes())
    assert again == document
    same(again.layout(SPACE), layout)


@given(st.integers(-40, 40), st.integers(-20, 20))
@settings(max_examples=20, deadline=None)
def test_what_is_hidden_or_beyond_the_border_is_kept(dx: int, dy: int) -> None:
    layout = Layout.of(*scene(), SPACE)
    layout, key = add_object(layout, np.ones(layout.shape, dtype=np.bool_), "sky")  # hides everything
    try:
        layout = move_object(layout, (CAR, 26001), dx, dy)
    except LabelError:  # it would be outside altogether
        return
    again = DocumentWire.parse(DocumentWire.of(layout).json_bytes()).layout(SPACE)
    same(again, layout)
    assert again.find(key).mask.pixels == again.label.size


def test_the_wire_is_the_json_that_the_page_reads() -> None:
    layout = Layout.of(*scene(), SPACE)
    document = json.loads(DocumentWire.of(layout, "x", StylesWire(seed=3, classes={"car": 2})).json_bytes())
    assert set(document) == {"version", "width", "height", "ground", "objects", "usedIds", "styles", "name"}
    assert (document["version"], document["width"], document["height"]) == (1, 64, 32)
    assert document["styles"] == {"seed": 3, "classes": {"car": 2}, "z": None, "noise": None}
    back = document["objects"][0]
    assert set(back) == {
        *("class", "id", "writtenId", "x", "y", "width", "height", "mask", "locked", "hidden", "style", "pinned")
    }
    assert [one["id"] for one in document["objects"]] == [layer.key.id for layer in layout.layers]
    label = np.asarray(Image.open(io.BytesIO(base64.b64decode(document["ground"]["label"]))))
    assert label.dtype == np.uint16
    assert np.array_equal(label, layout.ground_label)
    instance = np.asarray(Image.open(io.BytesIO(base64.b64decode(document["ground"]["instance"]))))
    assert np.array_equal(np.ascontiguousarray(instance).view("<i4")[..., 0], layout.ground_instance)
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(back["mask"]))))
    assert set(np.unique(mask).tolist()) <= {0, 255}
    assert np.array_equal(mask > 0, layout.layers[0].mask.cells)


def test_where_nothing_is_known_of_the_ground_there_is_a_class_that_is_not_countable() -> None:
    layout = Layout.of(np.full((3, 4), CAR), np.full((3, 4), 7), SPACE)
    assert layout.ground_label[0, 0] == -1
    again = DocumentWire.of(layout).layout(SPACE)
    assert np.array_equal(again.label, layout.label)
    assert np.array_equal(again.instance, layout.instance)
    assert set(again.ground_label.ravel().tolist()) == {next(n for n, c in enumerate(SPACE.classes) if not c.thing)}
    only = LabelSpace(name="things", classes=(LabelClass(name="car", values=(0,), colour=(1, 2, 3), thing=True),))
    bare = DocumentWire.of(Layout.of(np.zeros((2, 2), dtype=int), None, only))
    assert set(bare.layout(only).ground_label.ravel().tolist()) == {1}, "ignored, where every class is countable"


def test_what_is_hidden_is_not_in_the_picture_and_its_id_stays_used() -> None:
    document = DocumentWire.of(Layout.of(*scene(), SPACE))
    hidden = [one.model_copy(update={"hidden": one.class_ == CAR}) for one in document.objects]
    layout = document.model_copy(update={"objects": tuple(hidden)}).layout(SPACE)
    assert not (layout.label == CAR).any()
    assert {26001, 26002} <= layout.used_ids


# ------------------------------------------------------------------------------------------------------ what is refused


def plain() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DocumentWire.of(Layout.of(*scene(), SPACE)).json_bytes())
    return document


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 2),
        (("version",), "1"),
        (("width",), 0),
        (("width",), 64.5),
        (("height",), True),
        (("width",), 10**9),
        (("name",), "x" * 201),
        (("unheard",), 1),
        (("usedIds",), [2**31]),
        (("usedIds",), ["7"]),
        (("styles", "seed"), -1),
        (("styles", "seed"), 2**63),
        (("styles", "noise"), 1),
        (("styles", "z"), [11.0]),
        (("styles", "classes"), {"car": -1}),
        (("objects", 0, "class"), -1),
        (("objects", 0, "id"), -(2**31) - 1),
        (("objects", 0, "x"), 10**7),
        (("objects", 0, "style"), [0.1, "0.2"]),
        (("objects", 0, "style"), True),
        (("objects", 0, "hidden"), "yes"),
        (("ground", "label"), None),
    ],
)
def test_documents_that_cannot_be_are_refused(place: tuple[Any, ...], value: Any) -> None:
    document = plain()
    inside = document
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    with pytest.raises(DataError, match="document") as refusal:
        DocumentWire.parse(json.dumps(document))
    assert len(str(refusal.value)) < 500
    if place == ("version",) and value == 2:
        assert "format version 2" in str(refusal.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str) -> None:
    for place in ('"style": null', '"x": 4', '"z": null'):
        text = json.dumps(plain())
        assert place in text, place
        name = place.partition(":")[0]
        with pytest.raises(DataError):
            DocumentWire.parse(
                text.replace(place, f"{name}: [{number}]" if "null" in place else f"{name}: {number}", 1)
            )


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, b"\xff\xfe", '{"version": 1}', "\x00"])
def test_what_is_no_document_is_refused(content: str | bytes) -> None:
    with pytest.raises(DataError, match="project's document is not one that gesso writes"):
        DocumentWire.parse(content, "project's document")


def changed(**ground: str) -> DocumentWire:
    document = DocumentWire.of(Layout.of(*scene(), SPACE))
    return document.model_copy(update={"ground": document.ground.model_copy(update=ground)})


@pytest.mark.parametrize(
    "png",
    [
        "",
        "no base64!",
        base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
        encode_png(np.zeros((32, 64), np.uint16))[:-400] + "AAAA",
        encode_png(np.zeros((64, 32), np.uint16)),
        encode_png(np.zeros((32, 64, 3), np.uint8)),
    ],
    ids=["empty", "letters", "cut", "damaged", "turned", "colours"],
)
def test_damaged_or_other_maps_are_refused(png: str) -> None:
    for field in ("label", "instance"):
        with pytest.raises(DataError, match=f"ground's {field} map"):
            changed(**{field: png}).layout(SPACE)


def test_classes_that_the_model_does_not_have_are_counted() -> None:
    wrong = np.zeros((32, 64), np.uint16)
    wrong[0, :3], wrong[1, :2] = 99, 65535
    with pytest.raises(LabelError, match=r"99 \(3 pixels\), 65535 \(2 pixels\)"):
        changed(label=encode_png(wrong)).layout(SPACE)
    document = DocumentWire.of(Layout.of(*scene(), SPACE))
    stranger = document.objects[0].model_copy(update={"class_": len(SPACE) + 1})
    with pytest.raises(LabelError, match="object 1"):
        document.model_copy(update={"objects": (stranger,)}).layout(SPACE)


def test_masks_hold_0_and_255_alone_and_empty_ones_are_left_out() -> None:
    document = DocumentWire.of(Layout.of(*scene(), SPACE))
    for level, count in ((0, 0), (255, 1)):
        cells = encode_png(np.full((2, 3), level, np.uint8))
        one = document.objects[0].model_copy(update={"width": 3, "height": 2, "mask": cells})
        assert len(document.model_copy(update={"objects": (one,)}).layout(SPACE).layers) == count
    soft = document.objects[0].model_copy(
        update={"width": 3, "height": 2, "mask": encode_png(np.full((2, 3), 128, np.uint8))}
    )
    with pytest.raises(DataError, match="0 and 255"):
        document.model_copy(update={"objects": (soft,)}).layout(SPACE)


def test_sizes_are_refused_before_anything_is_decoded() -> None:
    bad = changed(label="no png", instance="no png")
    with pytest.raises(DataError, match=r"30000 x 30000.*allowed are 8388608"):
        bad.model_copy(update={"width": 30000, "height": 30000}).layout(SPACE)
    with pytest.raises(DataError, match=r"2048 pixels; allowed are 2047"):
        bad.layout(SPACE, pixels=2047)
    large = [one.model_copy(update={"width": 8000, "height": 2000}) for one in bad.objects]
    with pytest.raises(DataError, match="masks"):
        bad.model_copy(update={"objects": tuple(large * 9)}).layout(SPACE)


def test_a_png_of_another_size_than_it_is_said_to_have_is_not_decoded() -> None:
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "PNG")
    bomb = MaskWire(x=0, y=0, width=2, height=2, mask=base64.b64encode(file.getvalue()).decode())
    with pytest.raises(DataError, match="4000 x 4000"):
        bomb.decode("object 1")


@given(arrays.arrays(np.int32, SIZES, elements=IDS))
@settings(max_examples=30, deadline=None)
def test_ids_of_32_bits_survive(ids: np.ndarray) -> None:
    document = changed(instance=encode_ids(np.resize(ids, (32, 64))))
    assert np.array_equal(document.layout(SPACE).ground_instance, np.resize(ids, (32, 64)))


def test_a_mask_alone_comes_back() -> None:
    mask = replace(Layout.of(*scene(), SPACE).layers[0].mask, left=-3, top=40)
    again = MaskWire(**mask_fields(mask)).decode("it")
    assert again is not None
    assert again.box == mask.box
    assert np.array_equal(again.cells, mask.cells)
