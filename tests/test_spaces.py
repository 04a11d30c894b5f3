"""The label spaces that ship: each file, what the datasets say of them, and real label maps read through them."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gesso import labels
from gesso.data.spaces import PUBLISHED, published, resolve
from gesso.errors import LabelError
from gesso.labels import LabelSpace

FOLDER = Path(str(resources.files("gesso.data"))) / "label_spaces"
COUNTS = {
    "ade20k": 150,
    "ade20k-outdoor": 81,
    "camvid": 11,
    "cityscapes": 35,
    "cityscapes-19": 19,
    "cityscapes-trainids": 19,
    "coco-stuff": 182,
    "facades": 13,
    "landscape": 30,
}
# the train ids of Cityscapes, in order
EVALUATED = (
    "road sidewalk building wall fence pole traffic-light traffic-sign vegetation terrain sky person rider car truck "
    "bus train motorcycle bicycle"
)


def nearest_pair(space: LabelSpace) -> float:
    return min(float(np.linalg.norm(np.subtract(a.colour, b.colour))) for a, b in combinations(space.classes, 2))


def file_values(space: LabelSpace) -> list[int]:
    return sorted([v for c in space.classes for v in c.values] + list(space.ignore))


def read(path: Path) -> npt.NDArray[Any]:
    return np.asarray(Image.open(path))


# ------------------------------------------------------------------------------------------------------- names and files


def test_every_file_is_published() -> None:
    assert list(PUBLISHED) == sorted(path.stem for path in FOLDER.glob("*.json"))
    assert COUNTS.keys() <= set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_space_is_in_order(name: str, tmp_path: Path) -> None:
    space = published(name)
    assert space is published(name), "read once"
    assert space.name == name
    assert len(space) == COUNTS.get(name, len(space))
    assert space.source.strip()
    assert all(c.name == c.name.strip() for c in space.classes)
    space.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text("utf-8") == (FOLDER / f"{name}.json").read_text("utf-8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_coloured_maps_can_be_read_back(name: str) -> None:
    space = published(name)
    label = np.arange(len(space) + bool(space.ignore)).reshape(1, -1)
    indices, report = labels.indices_from_colours(labels.colourise(label, space), space)
    assert (indices == label).all(), "ignored pixels are told from every class"
    assert (report.snapped, report.unknown) == (0, 0)
    assert nearest_pair(space) > 7, "colours differ by more than rounding"


@pytest.mark.parametrize("name", [name for name in PUBLISHED if published(name).ignore])
def test_every_index_survives_a_file(name: str) -> None:
    space = published(name)
    label = np.arange(len(space) + 1).reshape(1, -1)
    assert (space.to_indices(space.to_values(label)) == label).all()


def test_an_unknown_name_lists_the_published_ones() -> None:
    with pytest.raises(LabelError, match=rf"no published label space 'kitti'.*{re.escape(', '.join(PUBLISHED))}"):
        published("kitti")


def test_resolve_takes_names_and_files(tmp_path: Path) -> None:
    assert resolve("camvid") is published("camvid")
    own = tmp_path / "labels.json"
    published("facades").save(own)
    assert resolve(own) == resolve(str(own)) == published("facades")


def test_resolve_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        LabelError, match=r"'camvid2' is neither a published label space nor a file\. Published: ade20k"
    ):
        resolve("camvid2")
    with pytest.raises(LabelError, match=r"is a folder, not a label space; give the JSON file in it"):
        resolve(tmp_path)
    (tmp_path / "labels.json").write_text('{"name": "x"}')
    with pytest.raises(LabelError, match=r"labels\.json is not a valid label space: classes"):
        resolve(tmp_path / "labels.json")


# ---------------------------------------------------------------------------------------------------------- the datasets


def test_cityscapes_has_all_label_ids() -> None:
    space = published("cityscapes")
    assert [c.values for c in space.classes] == [(v,) for v in range(34)] + [(-1,)]
    assert space.ignore == ()
    assert space.names[:4] == ("unlabeled", "ego vehicle", "rectification border", "out of roi")
    assert (space.index("road"), space.index("sky"), space.index("license plate")) == (7, 23, 34)
    assert space.things == tuple(range(24, 34))
    assert space.classes[26].colour == (0, 0, 142) and space.classes[7].colour == (128, 64, 128)
    with pytest.raises(LabelError, match=r"255 \(1 pixels\)"):
        space.to_indices(np.array([[7, 255]]))


def test_cityscapes_19_is_a_selection_of_cityscapes() -> None:
    whole, space = published("cityscapes"), published("cityscapes-19")
    assert " ".join(c.name.replace(" ", "-") for c in space.classes) == EVALUATED
    assert set(space.classes) <= set(whole.classes), "same names, values, colours and things"
    assert file_values(space) == [*range(-1, 34), 255]


def test_cityscapes_train_ids_are_positions() -> None:
    by_label, by_train = published("cityscapes-19"), published("cityscapes-trainids")
    assert by_train.names == by_label.names
    assert by_train.things == by_label.things
    assert (by_train.colours == by_label.colours).all()
    assert [c.values for c in by_train.classes] == [(k,) for k in range(19)]
    assert by_train.ignore == (255, -1)
    assert by_train.to_values(by_label.to_indices(np.array([[7, 33, 0, -1]]))).tolist() == [[0, 18, 255, 255]]


def test_ade20k_counts_from_one() -> None:
    space = published("ade20k")
    assert [c.values for c in space.classes] == [(v,) for v in range(1, 151)]
    assert space.ignore == (0,)
    assert (space.names[0], space.names[2], space.names[12], space.names[149]) == ("wall", "sky", "person", "flag")
    assert len(space.things) == 100
    assert not {"sky", "road", "tree", "building", "plant"} & {space.names[i] for i in space.things}


def test_ade20k_outdoor_is_a_selection_of_ade20k() -> None:
    space = published("ade20k-outdoor")
    assert set(space.classes) <= set(published("ade20k").classes)
    assert file_values(space) == list(range(151))
    assert {"sky", "tree", "sea", "mountain", "building"} <= set(space.names)
    assert not {"bed", "sofa", "ceiling", "kitchen island"} & set(space.names)


def test_coco_stuff_is_numbered_flat() -> None:
    space = published("coco-stuff")
    assert [c.values for c in space.classes] == [(v,) for v in range(182)]
    assert space.ignore == (255,)
    assert space.things == tuple(range(91))
    # COCO's published ids are one larger
    for id_, name in {1: "person", 12: "street sign", 13: "stop sign", 90: "toothbrush", 91: "hair brush"}.items():
        assert space.names[id_ - 1] == name
    for id_, name in {92: "banner", 106: "clouds", 157: "sky-other", 169: "tree", 182: "wood"}.items():
        assert space.names[id_ - 1] == name
    assert nearest_pair(space) > 20


def test_landscape_reads_coco_stuff_files() -> None:
    space, coco = published("landscape"), published("coco-stuff")
    assert file_values(space) == [*range(182), 255]
    assert space.things == ()
    assert nearest_pair(space) > 30
    for material in space.classes:
        assert coco.classes[material.values[0]].colour == material.colour, f"{material.name}: one colour in both spaces"
    values = np.array([[coco.index(n) for n in ("sky-other", "wall-brick", "wall-stone", "leaves", "person")]])
    named = [(*space.names, "ignored")[i] for i in space.to_indices(values)[0]]
    assert named == ["sky", "wall", "wall", "plant", "ignored"]


def test_camvid_follows_the_segnet_version() -> None:
    space = published("camvid")
    assert " ".join(space.names) == "sky building pole road sidewalk tree sign fence car pedestrian bicyclist"
    assert [c.values for c in space.classes] == [(v,) for v in range(11)]
    assert space.ignore == (11,)
    assert space.things == (6, 8, 9, 10)


def test_facades_has_twelve_classes_and_unknown() -> None:
    space = published("facades")
    expected = "unknown background facade window door cornice sill balcony blind deco molding pillar shop"
    assert " ".join(space.names) == expected
    assert [c.values for c in space.classes] == [(v,) for v in range(13)]
    assert space.ignore == ()


# -------------------------------------------------------------------------------------------------------- real label maps


def test_camvid_maps_are_known(camvid: Path) -> None:
    space, seen, top, bottom = published("camvid"), set[int](), [], []
    for path in sorted((camvid / "val").glob("labels/*.png")):
        indices = space.to_indices(read(path), path.name)
        seen |= set(np.unique(indices).tolist())
        top.append((indices[:40] == space.index("sky")).mean())
        bottom.append((indices[-60:] == space.index("road")).mean())
    assert seen == set(range(12)), "all classes and unlabelled pixels"
    assert np.mean(top) > 0.3 and np.mean(bottom) > 0.7, "sky above, road below"


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes-19"])
def test_cityscapes_maps_are_known(name: str, cityscapes_sample: Path) -> None:
    space, seen = published(name), set[int]()
    for path in sorted(cityscapes_sample.glob("*_label/*.png")):
        values = read(path)
        indices = space.to_indices(values, path.name)
        if not space.ignore:
            assert (indices == values).all(), "all label ids are kept as they are"
        seen |= set(np.unique(indices).tolist())
    assert {space.index(n) for n in ("road", "sky", "car", "person", "vegetation")} <= seen


def test_cityscapes_things_are_those_with_instances(cityscapes_sample: Path) -> None:
    space, seen = published("cityscapes"), set[int]()
    for path in sorted(cityscapes_sample.glob("*_inst/*.png")):
        ids = np.unique(read(path))
        seen |= {int(i) // 1000 for i in ids if i >= 1000}
    assert seen and seen <= set(space.things)


def test_coco_stuff_maps_are_known(coco_stuff_sample: Path) -> None:
    # what the photographs plainly show, each on at least a tenth of the picture
    shown = {
        "000000017914": {"cat", "bed", "laptop"},
        "000000138805": {"sky-other", "sea"},
        "000000184101": {"oven"},
        "000000197384": {"truck", "road", "clouds", "tree"},
        "000000000785": {"snow", "person"},
        "000000001268": {"bridge", "river", "person"},
        "000000001584": {"bus", "road", "sky-other", "tree"},
        "000000001818": {"zebra", "grass"},
    }
    space, landscape = published("coco-stuff"), published("landscape")
    for path in sorted(coco_stuff_sample.glob("*_label/*.png")):
        values = read(path)
        indices = space.to_indices(values, path.name)
        painted = landscape.to_indices(values, path.name)
        assert ((painted == len(landscape)) == np.isin(values, landscape.ignore)).all()
        share = np.bincount(indices.ravel(), minlength=len(space)) / indices.size
        large = {space.names[i] for i in np.flatnonzero(share[: len(space)] >= 0.095)}
        assert shown.pop(path.stem, set()) <= large, path.name
    assert shown == {}, "every photograph was found"
