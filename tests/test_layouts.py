"""Folder conventions on tiny files, and on the shared real data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gesso.data import layouts
from gesso.data.layouts import Sample
from gesso.data.spaces import published
from gesso.errors import DataError

CITY = "aachen_000000_000019"
COCO = ("000000000009", "000000000025")


def touch(root: Path, *names: str) -> None:
    """Tiny but true pictures."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 4), dtype=np.uint8)).save(root / name)


def names(samples: Iterable[Sample]) -> list[str]:
    return [sample.name for sample in samples]


def official_cityscapes(root: Path) -> None:
    for split, city, frame in (("train", "aachen", "000000_000019"), ("train", "bonn", "000001_000019")):
        stem = f"{city}_{frame}"
        touch(root, f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png")
        touch(root, *(f"gtFine/{split}/{city}/{stem}_gtFine_{k}.png" for k in ("labelIds", "instanceIds", "color")))
        (root / f"gtFine/{split}/{city}/{stem}_gtFine_polygons.json").write_text("{}")
    touch(root, "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png")
    touch(root, "gtCoarse/train_extra/ulm/ulm_000000_000019_gtCoarse_labelIds.png")


def flat_cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        touch(root, f"{split}_img/{CITY}_leftImg8bit.png", f"{split}_label/{CITY}_gtFine_labelIds.png")
        touch(root, f"{split}_inst/{CITY}_gtFine_instanceIds.png")


def flat_coco(root: Path) -> None:
    for stem in COCO:
        touch(root, f"train_img/{stem}.jpg", f"train_label/{stem}.png", f"train_inst/{stem}.png")


def ade20k(root: Path) -> None:
    for folder, kind in (("training", "train"), ("validation", "val")):
        stem = f"ADE_{kind}_00000001"
        touch(root, f"images/{folder}/{stem}.jpg", f"annotations/{folder}/{stem}.png")


def official_coco(root: Path) -> None:
    for split in ("train2017", "val2017"):
        for stem in COCO:
            touch(root, f"images/{split}/{stem}.jpg", f"stuffthingmaps/{split}/{stem}.png")


def camvid(root: Path) -> None:
    for split in ("train", "val"):
        touch(root, f"{split}/images/a.jpg", f"{split}/images/b.JPG", f"{split}/labels/a.png", f"{split}/labels/b.PNG")


def toy(root: Path) -> None:
    camvid(root)
    touch(root, *(f"{s}/instances/{n}.png" for s in ("train", "val") for n in "ab"))
    (root / "train" / "scenes").mkdir()
    published("toy").save(root / "labels.json")


def side_by_side(root: Path) -> None:
    touch(root, "train/1.jpg", "train/2.jpg", "val/3.jpg")


FORMS = {
    official_cityscapes: (
        "cityscapes",
        ["train", "val", "train_extra"],
        ["aachen_000000_000019", "bonn_000001_000019"],
    ),
    flat_cityscapes: ("flat", ["train", "val"], [CITY]),
    flat_coco: ("flat", ["train"], list(COCO)),
    ade20k: ("ade20k", ["train", "val"], ["ADE_train_00000001"]),
    official_coco: ("coco-stuff", ["train", "val"], list(COCO)),
    camvid: ("camvid", ["train", "val"], ["a", "b"]),
    toy: ("toy", ["train", "val"], ["a", "b"]),
    side_by_side: ("pairs", ["train", "val"], ["1", "2"]),
}
SPACES = {
    official_cityscapes: "cityscapes",
    flat_cityscapes: "cityscapes",
    flat_coco: "coco-stuff",
    ade20k: "ade20k",
    official_coco: "coco-stuff",
    camvid: None,  # of any drive but CamVid's: nothing says what the values mean
    toy: "toy",
    side_by_side: None,
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_convention_is_recognised(tmp_path: Path, form) -> None:
    form(tmp_path)
    convention, splits, stems = FORMS[form]
    listing = layouts.find(tmp_path)
    assert (listing.convention, listing.root, listing.split) == (convention, tmp_path, "train")
    assert layouts.splits(tmp_path) == splits
    assert names(listing.samples) == stems
    assert listing.orphans == ()
    assert listing.space == (published(SPACES[form]) if SPACES[form] else None)
    assert layouts.find(tmp_path, "train", convention) == listing
    for sample in listing.samples:
        assert sample.image is not None and sample.image.is_file()
        assert (sample.label is None) == (form is side_by_side)


def test_the_official_cityscapes_tree_in_detail(tmp_path: Path) -> None:
    official_cityscapes(tmp_path)
    first = layouts.cityscapes(tmp_path, "train").samples[0]
    maps = tmp_path / "gtFine/train/aachen"
    assert first.label == maps / f"{CITY}_gtFine_labelIds.png"
    assert first.instance == maps / f"{CITY}_gtFine_instanceIds.png"
    assert first.image == tmp_path / f"leftImg8bit/train/aachen/{CITY}_leftImg8bit.png"
    (layout_only,) = layouts.cityscapes(tmp_path, "val").samples
    assert layout_only.image is None and layout_only.instance is None and layout_only.label is not None
    (coarse,) = layouts.cityscapes(tmp_path, "train_extra").samples
    assert coarse.label and "gtCoarse" in coarse.label.parts


def test_flat_a_and_b_are_photo_to_photo(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/x.png", "train_B/x.jpg")
    listing = layouts.find(tmp_path)
    assert listing.samples == (Sample("x", tmp_path / "train_B/x.jpg", source=tmp_path / "train_A/x.png"),)
    assert listing.space is None


def test_unfamiliar_flat_names_have_no_space(tmp_path: Path) -> None:
    touch(tmp_path, "train_img/house.jpg", "train_label/house.png")
    assert layouts.find(tmp_path).space is None


def test_labels_json_beside_the_data_wins(tmp_path: Path) -> None:
    flat_coco(tmp_path)
    document = {"name": "own", "classes": [{"name": "all", "values": [0], "colour": [1, 2, 3]}]}
    (tmp_path / "labels.json").write_text(json.dumps(document))
    space = layouts.find(tmp_path).space
    assert space is not None and space.name == "own"


def test_camvid_without_split_folders_is_the_training_split(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "labels/a.png")
    assert layouts.splits(tmp_path) == ["train"]
    assert names(layouts.find(tmp_path).samples) == ["a"]
    with pytest.raises(DataError, match="no split 'val'; it has train"):
        layouts.find(tmp_path, "val")


def test_coco_stuff_with_annotations_and_images_at_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "annotations/val2017/1.png", "val2017/1.jpg", "instances/val2017/1.png")
    (sample,) = layouts.coco_stuff(tmp_path, "val").samples
    assert sample == Sample(
        "1", tmp_path / "val2017/1.jpg", tmp_path / "annotations/val2017/1.png", tmp_path / "instances/val2017/1.png"
    )


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_pairs_carry_their_direction(tmp_path: Path, direction) -> None:
    touch(tmp_path, "facade/1.jpg")
    file = tmp_path / "facade/1.jpg"
    (sample,) = layouts.pairs(tmp_path, "facade", direction).samples
    assert sample == Sample("1", image=file, source=file, half=direction)


# --------------------------------------------------------------------------------------------------- plain folders


def test_plain_folders_pair_by_relative_stem(tmp_path: Path) -> None:
    touch(tmp_path, "maps/x/1.png", "maps/y/1.png", "photos/x/1.jpeg", "photos/y/1.webp", "ids/x/1.tif", "ids/y/1.bmp")
    listing = layouts.folders(tmp_path / "maps", tmp_path / "photos", tmp_path / "ids")
    assert names(listing.samples) == ["x/1", "y/1"]
    assert listing.samples[1].image == tmp_path / "photos/y/1.webp"
    assert (listing.convention, listing.split, listing.orphans) == ("folders", "", ())


def test_plain_layouts_without_photographs(tmp_path: Path) -> None:
    touch(tmp_path, "maps/1.png")
    assert layouts.folders(labels=tmp_path / "maps").samples == (Sample("1", label=tmp_path / "maps/1.png"),)


def test_plain_folders_take_the_space_beside_them(tmp_path: Path) -> None:
    touch(tmp_path, "maps/1.png")
    published("camvid").save(tmp_path / "labels.json")
    assert layouts.folders(labels=tmp_path / "maps").space == published("camvid")


def test_photo_to_photo_folders_with_arrays(tmp_path: Path) -> None:
    touch(tmp_path, "visible/1.png")
    (tmp_path / "thermal").mkdir()
    np.save(tmp_path / "thermal/1.npy", np.zeros((2, 4, 5), dtype=np.uint16))
    listing = layouts.folders(sources=tmp_path / "thermal", images=tmp_path / "visible")
    assert listing.samples == (Sample("1", tmp_path / "visible/1.png", source=tmp_path / "thermal/1.npy"),)


@pytest.mark.parametrize(
    "given", [{}, {"images": "a"}, {"labels": "a", "sources": "a"}, {"sources": "a", "instances": "a"}]
)
def test_plain_folders_need_one_kind_of_input(given: dict[str, str]) -> None:
    with pytest.raises(DataError, match="--labels DIR"):
        layouts.folders(**given)


def test_one_file_cannot_be_label_and_photograph(tmp_path: Path) -> None:
    touch(tmp_path, "all/1.png")
    with pytest.raises(DataError, match="label map and photograph at once"):
        layouts.folders(tmp_path / "all", tmp_path / "all")


# ----------------------------------------------------------------------------------------------- orphans and errors


def test_orphans_are_reported_and_left_out(tmp_path: Path) -> None:
    camvid(tmp_path)
    touch(tmp_path, "train/images/only_photo.jpg", "train/labels/only_label.png")
    listing = layouts.find(tmp_path)
    assert names(listing.samples) == ["a", "b"]
    assert {(orphan.path.stem, orphan.lacks) for orphan in listing.orphans} == {
        ("only_photo", "label map"),
        ("only_label", "photograph"),
    }


def test_a_missing_instance_map_makes_an_orphan(tmp_path: Path) -> None:
    toy(tmp_path)
    (tmp_path / "train/instances/a.png").unlink()
    listing = layouts.find(tmp_path)
    assert names(listing.samples) == ["b"]
    assert [(o.path, o.lacks) for o in listing.orphans] == [(tmp_path / "train/labels/a.png", "instance map")]


def test_a_second_file_with_the_same_stem_is_an_orphan(tmp_path: Path) -> None:
    camvid(tmp_path)
    touch(tmp_path, "train/images/a.png")
    listing = layouts.find(tmp_path)
    assert [(o.path, o.lacks) for o in listing.orphans] == [(tmp_path / "train/images/a.png", "unique stem")]
    assert listing.samples[0].image == tmp_path / "train/images/a.jpg"


def test_hidden_and_foreign_files_are_not_samples(tmp_path: Path) -> None:
    camvid(tmp_path)
    touch(tmp_path, "train/images/._a.jpg", "train/images/.b.png.partial/host-1/b.png")
    (tmp_path / "train/images/notes.txt").write_text("none")
    assert layouts.find(tmp_path).orphans == ()


def test_training_needs_photographs_but_a_test_set_does_not(tmp_path: Path) -> None:
    touch(tmp_path, "train/labels/a.png", "test/labels/a.png")
    with pytest.raises(DataError, match=r"photographs.*images, does not exist"):
        layouts.find(tmp_path)
    (sample,) = layouts.find(tmp_path, "test").samples
    assert sample.image is None


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "train/labels").mkdir(parents=True)
    with pytest.raises(DataError, match="labels, holds no image"):
        layouts.find(tmp_path)
    with pytest.raises(DataError, match="holds no image"):
        layouts.pairs(tmp_path, "train")


def test_nothing_in_common_shows_the_stems(tmp_path: Path) -> None:
    touch(tmp_path, "maps/map_1.png", "photos/photo_1.jpg")
    with pytest.raises(DataError, match=r"label map: map_1; photograph: photo_1"):
        layouts.folders(tmp_path / "maps", tmp_path / "photos")


def test_missing_folder(tmp_path: Path) -> None:
    for ask in (layouts.find, layouts.splits, layouts.cityscapes):
        with pytest.raises(DataError, match="nowhere does not exist"):
            ask(tmp_path / "nowhere")


def test_nothing_recognised_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "stuff/1.png")
    with pytest.raises(DataError, match=r"gtFine/SPLIT.*annotations/training.*--labels DIR --images DIR"):
        layouts.find(tmp_path)


def test_the_wrong_convention_says_what_is_missing(tmp_path: Path) -> None:
    camvid(tmp_path)
    with pytest.raises(DataError, match="gtFine/SPLIT with leftImg8bit/SPLIT is not there"):
        layouts.find(tmp_path, convention="cityscapes")
    with pytest.raises(DataError, match="allowed: auto, cityscapes"):
        layouts.find(tmp_path, convention="kitti")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_missing_split_lists_those_present(tmp_path: Path, form) -> None:
    form(tmp_path)
    with pytest.raises(DataError, match="no split 'dusk'; it has " + ", ".join(FORMS[form][1])):
        layouts.find(tmp_path, "dusk")


# ----------------------------------------------------------------------------------------------------- shared data


def test_data_shaped_like_camvid_are_not_taken_for_it(tmp_path: Path) -> None:
    camvid(tmp_path)
    assert layouts.find(tmp_path).space is None
    published("facades").save(tmp_path / "labels.json")
    assert layouts.find(tmp_path).space == published("facades")


def test_camvid(camvid: Path) -> None:
    counts = {split: len(layouts.find(camvid, split).samples) for split in layouts.splits(camvid)}
    assert counts == {"train": 367, "val": 101}
    assert layouts.find(camvid).space == published("camvid")


def test_cityscapes_sample(cityscapes_sample: Path) -> None:
    train, test = layouts.find(cityscapes_sample), layouts.find(cityscapes_sample, "test")
    assert (train.convention, len(train.samples), len(test.samples)) == ("flat", 8, 15)
    assert train.space == test.space == published("cityscapes")
    assert all(s.image and s.label and s.instance for s in train.samples)
    assert all(s.image is None and s.label and s.instance for s in test.samples)


def test_coco_stuff_sample(coco_stuff_sample: Path) -> None:
    listings = [layouts.find(coco_stuff_sample, split) for split in layouts.splits(coco_stuff_sample)]
    assert [len(listing.samples) for listing in listings] == [13, 8]
    assert all(listing.space == published("coco-stuff") and not listing.orphans for listing in listings)
