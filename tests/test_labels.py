"""Label spaces and the pure functions on label maps: closed forms first, then properties against plain Python loops."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gesso import labels
from gesso.errors import LabelError
from gesso.labels import LabelClass, LabelSpace

SPACE = LabelSpace(
    name="street",
    classes=(
        LabelClass(name="road", values=(7, 9), colour=(128, 64, 128)),
        LabelClass(name="car", values=(26,), colour=(0, 0, 142), thing=True),
        LabelClass(name="plate", values=(-1,), colour=(0, 0, 180)),
        LabelClass(name="person", values=(24,), colour=(220, 20, 60), thing=True),
    ),
    ignore=(255, 0),
    source="made for the tests",
)
IGNORED = len(SPACE)

relaxed = settings(deadline=None, max_examples=60)


def maps(largest: int, shape: tuple[int, int] | None = None) -> st.SearchStrategy[Any]:
    """(H, W) int64 maps of 0..largest, small enough for loops."""
    sides = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)
    return hnp.arrays(np.int64, shape or sides, elements=st.integers(0, largest))


@st.composite
def spaces(draw: st.DrawFn) -> LabelSpace:
    """Any valid label space of up to six classes, with and without ignored values."""
    count = draw(st.integers(1, 6))
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=count, max_size=count, unique=True))
    part = st.integers(0, 255)
    colours = draw(st.lists(st.tuples(part, part, part), min_size=count, max_size=count, unique=True))
    values = draw(st.lists(st.integers(-1, 65535), min_size=2 * count, max_size=2 * count + 2, unique=True))
    things = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return LabelSpace(
        name=draw(st.text(min_size=1, max_size=8)),
        classes=tuple(
            LabelClass(name=names[i], values=tuple(values[2 * i : 2 * i + 2]), colour=colours[i], thing=things[i])
            for i in range(count)
        ),
        ignore=tuple(values[2 * count :]),
        source=draw(st.text(max_size=8)),
    )


# -------------------------------------------------------------------------------------------------------- label spaces


def test_a_space_says_what_it_holds() -> None:
    assert len(SPACE) == 4
    assert SPACE.names == ("road", "car", "plate", "person")
    assert SPACE.things == (1, 3)
    assert SPACE.index("plate") == 2
    assert SPACE.colours.tolist() == [[128, 64, 128], [0, 0, 142], [0, 0, 180], [220, 20, 60], [0, 0, 0]]
    assert SPACE.colours.dtype == np.uint8


def test_an_unknown_class_name_lists_the_known_ones() -> None:
    with pytest.raises(LabelError, match=r"no class 'lorry' in street.*road, car, plate, person"):
        SPACE.index("lorry")


def document(second: dict[str, object], space: dict[str, object]) -> dict[str, object]:
    """A valid two-class document, with entries of its second class and of the space replaced."""
    first = {"name": "a", "values": [0], "colour": [0, 0, 0]}
    other = {"name": "b", "values": [1], "colour": [1, 1, 1], "thing": True, **second}
    return {"name": "pair", "ignore": [255], "classes": [first, other], **space}


@pytest.mark.parametrize(
    ("second", "space", "complaint"),
    [
        ({"name": "a"}, {}, r"each class name must be unique.*\['a'\]"),
        ({"colour": [0, 0, 0]}, {}, r"each colour must be unique.*\(0, 0, 0\)"),
        ({"values": [0]}, {}, r"each file value must be unique.*\[0\]"),
        ({"values": [1, 1]}, {}, r"each file value must be unique.*\[1\]"),
        ({}, {"ignore": [1]}, r"each file value must be unique.*\[1\]"),
        ({"values": [65536]}, {}, r"\[65536\] are outside -1\.\.65535"),
        ({}, {"ignore": [-2]}, r"\[-2\] are outside -1\.\.65535"),
        ({"colour": [0, 0, 256]}, {}, r"colours of \['b'\] have parts outside 0\.\.255"),
        ({"values": []}, {}, r"classes\.1\.values"),
        ({"name": ""}, {}, r"classes\.1\.name"),
        ({"id": 3}, {}, r"classes\.1\.id"),
        ({}, {"colours": []}, "colours: Extra inputs"),
        ({}, {"classes": []}, "classes: "),
    ],
)
def test_an_invalid_space_is_refused(second: dict[str, object], space: dict[str, object], complaint: str) -> None:
    assert len(LabelSpace.parse(document({}, {}))) == 2
    with pytest.raises(LabelError, match=rf"mine\.json is not a valid label space: .*{complaint}"):
        LabelSpace.parse(document(second, space), "mine.json")


@pytest.mark.parametrize("content", [[], {"name": "x", "classes": []}, {"classes": [{"name": "a"}]}, 3])
def test_a_document_of_another_form_is_refused(content: object) -> None:
    with pytest.raises(LabelError, match="It needs name, classes"):
        LabelSpace.parse(content)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"Cannot read the label space .*absent\.json: No such file"):
        LabelSpace.load(tmp_path / "absent.json")
    for content in (b"name: yaml", b"\xff\xfe\x00"):
        (tmp_path / "broken.json").write_bytes(content)
        with pytest.raises(LabelError, match=r"broken\.json is not JSON"):
            LabelSpace.load(tmp_path / "broken.json")


@pytest.fixture(scope="module")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("space") / "labels.json"


@relaxed
@given(space=spaces())
def test_save_and_load_round_trip(space: LabelSpace, space_file: Path) -> None:
    space.save(space_file)
    assert LabelSpace.load(space_file) == space
    assert space_file.read_text(encoding="utf-8").count("\n") == 7 + len(space), "one class per line"


def test_a_space_survives_use() -> None:
    fresh = LabelSpace.parse(SPACE.model_dump())
    fresh.lookup(np.zeros((1, 1), dtype=np.uint8))
    assert fresh == SPACE and hash(fresh) == hash(SPACE), "the lookup table is no part of the space's identity"
    assert json.loads(fresh.model_dump_json()) == json.loads(SPACE.model_dump_json())


# --------------------------------------------------------------------------------------------------------- file values


def test_values_become_indices() -> None:
    values = np.array([[7, 9, 26], [-1, 24, 255], [0, 7, 24]])
    expected = [[0, 0, 1], [2, 3, IGNORED], [IGNORED, 0, 3]]
    assert SPACE.to_indices(values).tolist() == expected
    assert SPACE.to_indices(values).dtype == np.int32
    assert SPACE.to_values(np.array(expected)).tolist() == [[7, 7, 26], [-1, 24, 255], [255, 7, 24]]


def test_unknown_values_are_named_counted_and_located() -> None:
    values = np.full((4, 5), 7, dtype=np.uint8)
    values[1, 3] = values[2, 0] = 13
    values[3, 4] = 200
    with pytest.raises(LabelError) as caught:
        SPACE.to_indices(values, "frame_7.png")
    message = str(caught.value)
    assert message.startswith("frame_7.png holds values that street (4 classes) does not know")
    assert "13 (2 pixels), 200 (1 pixels); the first at row 1, column 3" in message
    assert "Allowed: -1, 7, 9, 24, 26; ignored: 0, 255" in message


def test_a_picture_is_not_a_label_map() -> None:
    with pytest.raises(LabelError, match=r"frame\.png has shape \(2, 2, 3\); a label map is \(H, W\)"):
        SPACE.to_indices(np.zeros((2, 2, 3), dtype=np.uint8), "frame.png")


@relaxed
@given(
    space=spaces(),
    values=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    ),
    data=st.data(),
)
def test_lookup_agrees_with_a_dictionary(space: LabelSpace, values: npt.NDArray[Any], data: st.DataObject) -> None:
    known = {v: i for i, c in enumerate(space.classes) for v in c.values} | dict.fromkeys(space.ignore, len(space))
    fitting = [v for v in known if np.iinfo(values.dtype).min <= v <= np.iinfo(values.dtype).max]
    if fitting:  # random values hardly ever hit a class
        values[0, 0] = data.draw(st.sampled_from(fitting))
    expected = [[known.get(int(v), -1) for v in row] for row in values]
    assert space.lookup(values).tolist() == expected


@relaxed
@given(space=spaces(), data=st.data())
def test_indices_survive_a_file(space: LabelSpace, data: st.DataObject) -> None:
    largest = len(space) if space.ignore else len(space) - 1
    indices = data.draw(maps(largest))
    assert (space.to_indices(space.to_values(indices)) == indices).all()


@relaxed
@given(data=st.data())
def test_first_values_survive_indices(data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(np.int64, (3, 4), elements=st.sampled_from([7, 26, -1, 24, 255])))
    assert (SPACE.to_values(SPACE.to_indices(values)) == values).all()


def test_ignored_pixels_never_become_a_class() -> None:
    classes = (
        LabelClass(name="background", values=(0,), colour=(0, 0, 0)),
        LabelClass(name="building", values=(255,), colour=(255, 0, 0)),
    )
    mask = LabelSpace(name="mask", classes=classes)
    assert mask.to_values(np.array([[0, 1]])).tolist() == [[0, 255]]
    with pytest.raises(LabelError, match="mask has no file value for ignored pixels: 255 is 'building'"):
        mask.to_values(np.array([[0, 2]]))
    assert LabelSpace(name="mask", classes=classes[:1]).to_values(np.array([[0, 1]])).tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "none"), ([5], "5"), ([3, 1, 2], "1..3"), ([0, 1, 2, 7], "0..2, 7"), ([-1, 0, 4, 4, 6], "-1..0, 4, 6")],
)
def test_values_are_summed_up(values: list[int], text: str) -> None:
    assert labels.summarise(values) == text


# ------------------------------------------------------------------------------------------------ one-hot and semantics


def test_one_hot_closed_form() -> None:
    label = torch.tensor([[[0, 1, 2]]])
    assert labels.one_hot(label, 2).tolist() == [[[[1, 0, 0]], [[0, 1, 0]]]]
    assert labels.one_hot(label, 2, dont_care=True).tolist() == [[[[1, 0, 0]], [[0, 1, 0]], [[0, 0, 1]]]]


@relaxed
@given(label=maps(5), dtype=st.sampled_from([torch.uint8, torch.int32, torch.int64]))
def test_one_hot_sums_to_one(label: npt.NDArray[np.int64], dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(label).to(dtype).unsqueeze(0)
    whole, without = labels.one_hot(tensor, 5, dont_care=True), labels.one_hot(tensor, 5)
    assert whole.shape == (1, 6, *label.shape) and without.shape == (1, 5, *label.shape)
    assert whole.dtype == torch.float32
    assert (whole.sum(1) == 1).all() and (whole.argmax(1) == tensor).all()
    assert torch.equal(without, whole[:, :5])
    assert torch.equal(without.sum(1), (tensor != 5).float()), "ignored pixels are zero without a don't-care channel"


def test_boundaries_closed_form() -> None:
    instance = torch.tensor([[[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 1, 1], [1, 1, 1, 3]]])
    expected = [[0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert labels.boundaries(instance).tolist() == [[expected]]
    assert labels.boundaries(torch.full((2, 3, 4), 9)).sum() == 0, "the border of the picture is not a boundary"
    assert labels.boundaries(torch.tensor([[[1, 2]]])).tolist() == [[[[1, 1]]]]


def looped_boundaries(ids: npt.NDArray[np.int64]) -> list[list[float]]:
    height, width = ids.shape
    marked = [[0.0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= ny < height and 0 <= nx < width and ids[y, x] != ids[ny, nx]:
                    marked[y][x] = 1.0
    return marked


@relaxed
@given(ids=maps(2))
def test_boundaries_agree_with_a_loop(ids: npt.NDArray[np.int64]) -> None:
    edge = labels.boundaries(torch.from_numpy(ids).unsqueeze(0))
    assert edge.dtype == torch.float32 and edge.shape == (1, 1, *ids.shape)
    assert edge[0, 0].tolist() == looped_boundaries(ids)


@relaxed
@given(ids=hnp.arrays(np.int64, (2, 4, 5), elements=st.integers(0, 2)), dims=st.sampled_from([(1,), (2,), (1, 2)]))
def test_boundaries_flip_with_the_map(ids: npt.NDArray[np.int64], dims: tuple[int, ...]) -> None:
    instance = torch.from_numpy(ids)
    flipped = labels.boundaries(instance.flip(dims))
    assert torch.equal(flipped, labels.boundaries(instance).flip([d + 1 for d in dims]))


def test_equal_ids_in_different_classes_are_different_objects() -> None:
    label, instance = torch.tensor([[[0, 1, 1]]]), torch.tensor([[[5, 5, 5]]], dtype=torch.int32)
    keys = labels.instance_keys(label, instance)
    assert keys.dtype == torch.int64 and keys.shape == label.shape
    assert keys[0, 0, 0] != keys[0, 0, 1] and keys[0, 0, 1] == keys[0, 0, 2]


IDS = st.integers(-(2**31), 2**31 - 1)


@relaxed
@given(first=st.tuples(st.integers(0, 200), IDS), second=st.tuples(st.integers(0, 200), IDS))
@example(first=(0, 2**30), second=(1, 0))
@example(first=(0, 2**31 - 1), second=(1, -1))
@example(first=(3, 7), second=(3, 7))
def test_keys_are_equal_only_for_the_same_object(first: tuple[int, int], second: tuple[int, int]) -> None:
    label, instance = torch.tensor([[[first[0], second[0]]]]), torch.tensor([[[first[1], second[1]]]])
    keys = labels.instance_keys(label, instance).flatten().tolist()
    assert (keys[0] == keys[1]) == (first == second)


@pytest.mark.parametrize("dont_care", [False, True])
@pytest.mark.parametrize("boundary", [False, True])
def test_encode_lists_its_channels_in_order(dont_care: bool, boundary: bool) -> None:
    label = torch.tensor([[[0, 1], [2, 2]]])
    instance = torch.tensor([[[7, 7], [2, 2]]])
    semantics = labels.encode(label, instance, classes=2, dont_care=dont_care, boundary=boundary)
    channels = [[[1, 0], [0, 0]], [[0, 1], [0, 0]]]
    if dont_care:
        channels.append([[0, 0], [1, 1]])
    if boundary:  # 7 of class 0 and 7 of class 1 are two objects
        channels.append([[1, 1], [1, 1]])
    assert semantics.tolist() == [channels]
    assert semantics.dtype == torch.float32


def test_encode_needs_instances_only_for_boundaries() -> None:
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert labels.encode(label, None, classes=3).shape == (1, 3, 2, 2)
    with pytest.raises(AssertionError, match="instance map"):
        labels.encode(label, None, classes=3, boundary=True)


# ----------------------------------------------------------------------------------------------- instances and colours


def test_components_closed_form() -> None:
    label = np.array([[1, 0, 1], [1, 0, 0], [0, 1, IGNORED], [3, 2, 2]])
    expected = [[1001, 0, 1002], [1001, 0, 0], [0, 1003, IGNORED], [3001, 2, 2]]
    result = labels.components(label, SPACE)
    assert result.tolist() == expected, "diagonal neighbours are apart; ids count from 1 in reading order"
    assert result.dtype == np.int32


def flooded(label: npt.NDArray[np.int64], space: LabelSpace) -> list[list[int]]:
    """Components by flood fill in plain Python."""
    height, width = label.shape
    ids = label.tolist()
    seen: set[tuple[int, int]] = set()
    counts = dict.fromkeys(space.things, 0)
    for start in ((y, x) for y in range(height) for x in range(width)):
        kind = int(label[start])
        if start in seen or kind not in counts:
            continue
        counts[kind] += 1
        seen.add(start)
        queue = deque([start])
        while queue:
            y, x = queue.popleft()
            ids[y][x] = kind * 1000 + counts[kind]
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and near not in seen and label[near] == kind:
                    seen.add(near)
                    queue.append(near)
    return ids


@relaxed
@given(label=maps(IGNORED))
def test_components_agree_with_flood_fill(label: npt.NDArray[np.int64]) -> None:
    before = label.copy()
    assert labels.components(label, SPACE).tolist() == flooded(label, SPACE)
    assert (label == before).all(), "the label map is left as it was"


@relaxed
@given(label=maps(1, (9, 9)))
def test_components_agree_on_winding_shapes(label: npt.NDArray[np.int64]) -> None:
    assert labels.components(label, SPACE).tolist() == flooded(label, SPACE)


@relaxed
@given(space=spaces(), data=st.data())
def test_colours_lead_back_to_indices(space: LabelSpace, data: st.DataObject) -> None:
    has_black = (0, 0, 0) in [c.colour for c in space.classes]
    label = data.draw(maps(len(space) - has_black))
    colours = labels.colourise(label, space)
    assert colours.shape == (*label.shape, 3) and colours.dtype == np.uint8
    indices, report = labels.indices_from_colours(colours, space)
    assert (indices == label).all() and indices.dtype == np.int32
    assert report == labels.ColourReport(exact=label.size, snapped=0, unknown=0, worst=())


def test_ignored_pixels_are_black_unless_a_class_is() -> None:
    black = np.zeros((1, 2, 3), dtype=np.uint8)
    assert labels.colourise(np.array([[IGNORED, 1]]), SPACE).tolist() == [[[0, 0, 0], [0, 0, 142]]]
    assert labels.indices_from_colours(black, SPACE)[0].tolist() == [[IGNORED, IGNORED]]
    void = LabelClass(name="void", values=(1,), colour=(0, 0, 0))
    with_void = LabelSpace(name="v", classes=(*SPACE.classes, void))
    assert labels.indices_from_colours(black, with_void)[0].tolist() == [[4, 4]]


def test_tolerance_snaps_and_reports() -> None:
    road, near, far, farther = (128, 64, 128), (131, 68, 128), (128, 64, 134), (10, 250, 10)
    colours = np.array([[road, near, far], [farther, far, road]], dtype=np.uint8)
    indices, report = labels.indices_from_colours(colours, SPACE, tolerance=5.0)
    assert indices.tolist() == [[0, 0, IGNORED], [IGNORED, IGNORED, 0]], "near lies exactly 5 away, far 6"
    assert report == labels.ColourReport(exact=2, snapped=1, unknown=3, worst=((far, 2), (farther, 1)))
    indices, report = labels.indices_from_colours(colours, SPACE)
    assert indices.tolist() == [[0, IGNORED, IGNORED], [IGNORED, IGNORED, 0]]
    assert (report.exact, report.snapped, report.unknown) == (2, 0, 4)


def test_the_report_keeps_the_eight_most_frequent() -> None:
    strange = [(250, 250, 100 + k) for k in range(12) for _ in range(k + 1)]
    _, report = labels.indices_from_colours(np.array([strange], dtype=np.uint8), SPACE)
    assert report.unknown == len(strange)
    assert report.worst == tuple(((250, 250, 100 + k), k + 1) for k in range(11, 3, -1))


@relaxed
@given(colours=hnp.arrays(np.uint8, (3, 4, 3)), tolerance=st.floats(0, 442))
def test_the_nearest_colour_wins(colours: npt.NDArray[np.uint8], tolerance: float) -> None:
    indices, report = labels.indices_from_colours(colours, SPACE, tolerance)
    table = SPACE.colours.astype(float)
    for colour, index in zip(colours.reshape(-1, 3), indices.flatten(), strict=True):
        gaps = [float(np.sqrt(((colour - row) ** 2).sum())) for row in table]
        assert index == (gaps.index(min(gaps)) if min(gaps) <= tolerance else IGNORED)
    assert report.exact + report.snapped + report.unknown == indices.size


def test_more_colours_than_one_slice() -> None:
    y, x = np.mgrid[:160, :160]
    colours = np.stack([y, x, np.full_like(x, 90)], axis=-1).astype(np.uint8)  # 25600 different ones
    indices, report = labels.indices_from_colours(colours, SPACE, tolerance=442)
    gaps = np.linalg.norm(colours[:, :, None] - SPACE.colours.astype(float), axis=-1)
    assert (indices == gaps.argmin(-1)).all()
    assert report.unknown == 0


def test_a_palette_may_order_the_colours_differently() -> None:
    palette = np.array([[220, 20, 60], [0, 0, 0], [128, 64, 129]], dtype=np.uint8)
    values = np.array([[0, 1, 2]], dtype=np.uint8)
    indices, report = labels.indices_from_palette(values, palette, SPACE)
    assert indices.tolist() == [[3, IGNORED, IGNORED]]
    assert report.worst == (((128, 64, 129), 1),)
    assert labels.indices_from_palette(values, palette, SPACE, tolerance=1)[0].tolist() == [[3, IGNORED, 0]]
