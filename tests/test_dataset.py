"""Readers, preprocessing and the dataset: closed-form answers, bad input, and the shared real data."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torch.utils.data import DataLoader

from gesso.data import dataset as dataset_module
from gesso.data import layouts, readers
from gesso.data.dataset import SemanticDataset, collate
from gesso.data.layouts import Sample
from gesso.data.preprocessing import Preprocessing, apply_map, apply_photograph, apply_source
from gesso.data.spaces import published
from gesso.errors import DataError, LabelError
from gesso.labels import LabelClass, LabelSpace, components

SPACE = LabelSpace(
    name="three",
    classes=(
        LabelClass(name="sky", values=(7,), colour=(0, 0, 250)),
        LabelClass(name="road", values=(0, 1), colour=(90, 90, 90)),
        LabelClass(name="car", values=(300,), colour=(250, 0, 0), thing=True),
    ),
    ignore=(255,),
)
MASKS = LabelSpace(
    name="masks",
    classes=(
        LabelClass(name="background", values=(0,), colour=(10, 10, 10)),
        LabelClass(name="object", values=(1,), colour=(200, 0, 0)),
    ),
)
NOTHING = Preprocessing()


def save(path: Path, array: Any, **options: Any) -> Path:
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def gradient(high: int, wide: int) -> np.ndarray:
    y, x = np.mgrid[:high, :wide]
    return np.stack([y * 3 % 256, x * 5 % 256, (x + y) % 256], axis=-1).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------- photographs


def test_photographs_of_every_mode_become_rgb(tmp_path: Path) -> None:
    rgb = gradient(4, 6)
    assert (readers.read_photograph(save(tmp_path / "rgb.png", rgb)) == rgb).all()
    gray = readers.read_photograph(save(tmp_path / "gray.png", rgb[..., 0]))
    assert (gray == rgb[..., :1]).all() and gray.shape == (4, 6, 3)
    alpha = np.dstack([rgb, np.zeros((4, 6), dtype=np.uint8)])
    assert (readers.read_photograph(save(tmp_path / "alpha.png", alpha)) == rgb).all()
    Image.fromarray(rgb).quantize(256).save(tmp_path / "palette.png")
    assert np.abs(readers.read_photograph(tmp_path / "palette.png").astype(int) - rgb).max() < 8


def test_16_bit_gray_is_scaled_and_not_cut_off(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    for path in (save(tmp_path / "deep.png", deep), save(tmp_path / "deep.tif", deep)):
        assert readers.read_photograph(path)[0, :, 0].tolist() == [0, 1, 100, 255]
        np.testing.assert_allclose(readers.read_source(path)[0, :, 0], deep[0] / 65535, rtol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = gradient(4, 6)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", stored, exif=exif)
    assert (readers.read_photograph(path) == upright).all()
    assert (readers.read_instance(path) == upright @ np.array([1, 256, 65536])).all()


def test_side_by_side_halves(tmp_path: Path) -> None:
    a, b = gradient(4, 6), 255 - gradient(4, 6)
    path = save(tmp_path / "ab.png", np.hstack([a, b]))
    assert (readers.read_photograph(path, "AtoB") == b).all()
    assert (readers.read_photograph(path, "BtoA") == a).all()
    np.testing.assert_allclose(readers.read_source(path, "AtoB"), a / 255, rtol=1e-6)
    np.testing.assert_allclose(readers.read_source(path, "BtoA"), b / 255, rtol=1e-6)
    with pytest.raises(DataError, match=r"odd\.png is 5 pixels wide"):
        readers.read_photograph(save(tmp_path / "odd.png", gradient(4, 5)), "AtoB")


# -------------------------------------------------------------------------------------------------- source pictures


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_sources_from_arrays_keep_channels_and_depth(tmp_path: Path, channels: int, kind: type) -> None:
    unit = np.linspace(0, 1, 12 * channels).reshape(3, 4, channels)
    scale = np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1
    np.save(tmp_path / "x.npy", (unit * scale).astype(kind))
    source = readers.read_source(tmp_path / "x.npy")
    assert source.dtype == np.float32 and source.shape == (3, 4, channels)
    np.testing.assert_allclose(source, (unit * scale).astype(kind) / scale, rtol=1e-6)


def test_sources_from_pictures(tmp_path: Path) -> None:
    rgb = gradient(4, 6)
    np.testing.assert_allclose(readers.read_source(save(tmp_path / "rgb.png", rgb)), rgb / 255, rtol=1e-6)
    assert readers.read_source(save(tmp_path / "gray.png", rgb[..., 0])).shape == (4, 6, 1)
    assert readers.read_source(save(tmp_path / "alpha.png", np.dstack([rgb, rgb[..., 0]]))).shape == (4, 6, 4)
    assert readers.read_source(save(tmp_path / "bits.png", rgb[..., 0] > 3)).max() == 1
    Image.fromarray(rgb).quantize(8).save(tmp_path / "palette.png")
    assert readers.read_source(tmp_path / "palette.png").shape == (4, 6, 3)
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "print.tif")
    assert readers.read_source(tmp_path / "print.tif").shape == (4, 6, 3)
    floats = (rgb[..., 0] / 255).astype(np.float32)
    assert (readers.read_source(save(tmp_path / "floats.tif", floats))[..., 0] == floats).all()


def test_pages_of_a_tiff_become_channels(tmp_path: Path) -> None:
    bands = [np.full((3, 4), value, dtype=np.uint16) for value in (0, 65535, 13107)]
    pages = [Image.fromarray(band) for band in bands]
    pages[0].save(tmp_path / "bands.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_allclose(readers.read_source(tmp_path / "bands.tif")[0, 0], [0, 1, 0.2], rtol=1e-6)
    odd = Image.fromarray(np.zeros((2, 2), dtype=np.uint16))
    pages[0].save(tmp_path / "odd.tif", save_all=True, append_images=[odd])
    with pytest.raises(DataError, match=r"pages of .*odd\.tif differ in size"):
        readers.read_source(tmp_path / "odd.tif")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.full((2, 2), 300.0), r"float64 values 300\.0\.\.300\.0"),
        (np.full((2, 2), np.nan), "nan"),
        (np.zeros((2, 2), dtype=np.int64), "int64"),
        (np.zeros(4, dtype=np.uint8), r"shape \(4,\)"),
    ],
)
def test_source_arrays_without_a_scale_are_refused(tmp_path: Path, array: np.ndarray, match: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=rf"x\.npy.*{match}"):
        readers.read_source(tmp_path / "x.npy")


def test_integers_beyond_16_bits_are_no_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "wide.tif", np.array([[0, 70000]], dtype=np.int32))
    with pytest.raises(DataError, match=r"wide\.tif holds integers 0\.\.70000"):
        readers.read_source(path)
    with pytest.raises(DataError, match=r"0\.\.70000"):
        readers.read_photograph(path)


def test_a_photograph_has_one_or_three_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "five.npy", np.zeros((2, 2, 5), dtype=np.uint8))
    with pytest.raises(DataError, match="5 channels"):
        readers.read_photograph(tmp_path / "five.npy")
    np.save(tmp_path / "gray.npy", np.full((2, 2), 65535, dtype=np.uint16))
    assert (readers.read_photograph(tmp_path / "gray.npy") == np.full((2, 2, 3), 255)).all()


# ------------------------------------------------------------------------------------------------------ label maps


def test_plain_values_of_every_depth(tmp_path: Path) -> None:
    values, indices = np.array([[7, 0, 1, 255]]), [[0, 1, 1, 3]]
    for name, array in {
        "byte.png": values.astype(np.uint8),
        "word.png": values.astype(np.uint16),
        "long.tif": values.astype(np.int32),
        "rgb.png": np.repeat(values[..., None], 3, axis=2).astype(np.uint8),
    }.items():
        path = save(tmp_path / name, array)
        assert readers.read_values(path).tolist() == values.tolist(), name
        assert readers.read_label(path, SPACE).tolist() == indices, name
    np.save(tmp_path / "x.npy", values)
    assert readers.read_label(tmp_path / "x.npy", SPACE).tolist() == indices
    wide = save(tmp_path / "wide.png", np.array([[300, 7]], dtype=np.uint16))
    assert readers.read_label(wide, SPACE).tolist() == [[2, 0]]


def test_one_bit_and_0_255_masks(tmp_path: Path) -> None:
    mask = np.array([[True, False, True]])
    bits = save(tmp_path / "bits.png", mask)
    assert readers.read_values(bits).tolist() == [[1, 0, 1]]
    for path in (bits, save(tmp_path / "mask.png", mask.astype(np.uint8) * 255)):
        assert readers.read_label(path, MASKS).tolist() == [[1, 0, 1]]
    assert readers.read_label(save(tmp_path / "plain.png", mask.astype(np.uint8)), MASKS).tolist() == [[1, 0, 1]]


def test_255_stays_ignored_where_the_space_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", np.array([[0, 255]], dtype=np.uint8))
    ignoring = LabelSpace(name="masks", classes=MASKS.classes, ignore=(255,))
    assert readers.read_label(path, ignoring).tolist() == [[0, 2]]


def test_soft_masks_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "soft.png", np.array([[0, 128, 255]], dtype=np.uint8))
    with pytest.raises(LabelError, match=r"soft\.png holds values .* 128 \(1 pixels\)"):
        readers.read_label(path, MASKS)


def test_ids_out_of_the_space_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "bad.png", np.array([[7, 9, 9]], dtype=np.uint8))
    with pytest.raises(LabelError, match=r"bad\.png.* 9 \(2 pixels\); the first at row 0, column 1"):
        readers.read_label(path, SPACE)


def test_colour_coded_maps(tmp_path: Path) -> None:
    colours = np.array([[(0, 0, 250), (90, 90, 90), (250, 0, 0), (0, 0, 0)]], dtype=np.uint8)
    path = save(tmp_path / "colours.png", colours)
    assert readers.read_label(path, SPACE).tolist() == [[0, 1, 2, 3]]
    opaque = np.dstack([colours, np.full((1, 4), 255, dtype=np.uint8)])
    assert readers.read_label(save(tmp_path / "rgba.png", opaque), SPACE).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(LabelError, match=r"colours\.png holds colours, not class values"):
        readers.read_values(path)
    colours[0, 0, 0] = 3
    with pytest.raises(LabelError, match=r"blended\.png has 1 pixels .*\(3, 0, 250\) \(1 pixels\)"):
        readers.read_label(save(tmp_path / "blended.png", colours), SPACE)


def palette_file(path: Path, positions: list[int], palette: dict[int, tuple[int, int, int]]) -> Path:
    image = Image.fromarray(np.array([positions], dtype=np.uint8)).convert("P")
    image.putdata(positions)
    image.putpalette([part for n in range(256) for part in palette.get(n, (n, 1, 2))])
    image.save(path)
    return path


def test_palettes(tmp_path: Path) -> None:
    shuffled = palette_file(tmp_path / "shuffled.png", [0, 1, 5], {0: (250, 0, 0), 1: (0, 0, 250), 5: (0, 0, 0)})
    assert readers.read_values(shuffled).tolist() == [[0, 1, 5]]
    assert readers.read_label(shuffled, SPACE).tolist() == [[2, 0, 3]], "the space's colours in an order of their own"
    foreign = palette_file(tmp_path / "foreign.png", [7, 0, 1, 255], {})
    assert readers.read_label(foreign, SPACE).tolist() == [[0, 1, 1, 3]], "colours without meaning: the positions count"
    black = palette_file(tmp_path / "black.png", [7, 0], {7: (0, 0, 0), 0: (0, 0, 0)})
    assert readers.read_label(black, SPACE).tolist() == [[0, 1]], "an empty palette tells nothing"
    with pytest.raises(LabelError, match=r"lost\.png holds values .* 9 \(1 pixels\)"):
        readers.read_label(palette_file(tmp_path / "lost.png", [7, 9], {}), SPACE)


def test_a_jpeg_is_no_map(tmp_path: Path) -> None:
    path = save(tmp_path / "map.jpg", np.zeros((4, 4), dtype=np.uint8))
    for read in (readers.read_values, readers.read_instance, lambda p: readers.read_label(p, SPACE)):
        with pytest.raises(LabelError, match=r"map\.jpg is a JPEG"):
            read(path)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((2, 2)), "float64"),
        (np.zeros((2, 2, 3), dtype=np.uint8), r"shape \(2, 2, 3\)"),
        (np.full((2, 2), 2**40), "32-bit"),
    ],
)
def test_arrays_that_are_no_map(tmp_path: Path, array: np.ndarray, match: str) -> None:
    np.save(tmp_path / "x.npy", array)
    for read in (readers.read_values, readers.read_instance, lambda p: readers.read_label(p, SPACE)):
        with pytest.raises(LabelError, match=rf"x\.npy.*{match}"):
            read(tmp_path / "x.npy")


# --------------------------------------------------------------------------------------------------- instance maps


def test_16_bit_instances_stay_positive(tmp_path: Path) -> None:
    ids = np.array([[0, 26001, 33017, 65535]], dtype=np.uint16)
    path = save(tmp_path / "ids.png", ids)
    with Image.open(path) as image:
        assert image.mode == "I;16"
    assert readers.read_instance(path).tolist() == ids.tolist()
    assert readers.read_instance(save(tmp_path / "ids.tif", ids)).tolist() == ids.tolist()


def test_instances_of_other_kinds(tmp_path: Path) -> None:
    wide = np.array([[0, 70000]], dtype=np.int32)
    assert readers.read_instance(save(tmp_path / "wide.tif", wide)).tolist() == [[0, 70000]]
    assert readers.read_instance(save(tmp_path / "byte.png", np.array([[3, 255]], dtype=np.uint8))).tolist() == [
        [3, 255]
    ]
    panoptic = save(tmp_path / "coco.png", np.array([[(1, 2, 3), (9, 9, 9)]], dtype=np.uint8))
    assert readers.read_instance(panoptic).tolist() == [[1 + 2 * 256 + 3 * 65536, 9 * 65793]]
    palette = palette_file(tmp_path / "palette.png", [4, 2], {})
    assert readers.read_instance(palette).tolist() == [[4, 2]]
    np.save(tmp_path / "x.npy", np.array([[33017]], dtype=np.uint64))
    assert readers.read_instance(tmp_path / "x.npy").tolist() == [[33017]]


# ------------------------------------------------------------------------------------------------------- bad files

READERS = (
    readers.read_photograph,
    readers.read_source,
    readers.read_values,
    readers.read_instance,
    lambda path: readers.read_label(path, SPACE),
)


@pytest.mark.parametrize("read", READERS)
def test_bad_files_are_named_with_a_remedy(tmp_path: Path, read) -> None:
    whole = save(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.png").touch()
    for name, match in (
        ("cut.png", "damaged or incomplete"),
        ("text.png", "not an image"),
        ("empty.png", "not an image"),
        ("text.npy", "damaged or incomplete"),
        ("gone.png", "does not exist"),
        ("gone.npy", "does not exist"),
    ):
        with pytest.raises(DataError, match=rf"{re.escape(name)} .*{match}"):
            read(tmp_path / name)


def test_oversized_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "huge.png", np.zeros((20, 20), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"huge\.png has more pixels"):
        readers.read_photograph(path)


def test_arrays_of_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy cannot be read"):
        readers.read_source(tmp_path / "x.npy")


# --------------------------------------------------------------------------------------------------- preprocessing


@pytest.mark.parametrize(
    ("settings", "size", "resized"),
    [
        ({}, (30, 46), (30, 46)),
        ({"resize": "fixed", "height": 8, "width": 5}, (30, 46), (8, 5)),
        ({"resize": "scale_width", "width": 40}, (30, 46), (26, 40)),
        ({"resize": "scale_shortside", "height": 36}, (30, 46), (36, 55)),
        ({"resize": "scale_shortside", "height": 36}, (46, 30), (55, 36)),
        ({"resize": "nearest_multiple", "multiple": 8}, (41, 27), (40, 24)),
        ({"resize": "nearest_multiple", "multiple": 4}, (30, 46), (32, 48)),
        ({"resize": "nearest_multiple", "multiple": 32}, (5, 46), (32, 32)),
    ],
)
def test_sizes(settings: dict[str, Any], size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert Preprocessing(**settings).plan(size).resized == resized


@pytest.mark.parametrize(
    "settings",
    [
        {"resize": "fixed", "height": 8},
        {"resize": "scale_width", "width": 8, "height": 8},
        {"resize": "scale_shortside", "width": 8},
        {"resize": "none", "width": 8},
        {"resize": "stretch"},
        {"multiple": 0},
        {"crop": (0, 4)},
        {"zoom": 2},
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing(**settings)


def test_preprocessing_survives_json() -> None:
    preprocessing = Preprocessing(resize="fixed", height=286, width=286, crop=(256, 256), flip=True, multiple=32)
    assert Preprocessing.model_validate_json(preprocessing.model_dump_json()) == preprocessing


def test_evaluation_neither_crops_nor_flips() -> None:
    scaled = Preprocessing(resize="scale_width", width=40, crop=(8, 8), flip=True).plan((30, 46))
    assert (scaled.crop, scaled.flip, scaled.size) == (None, False, (26, 40))
    fixed = Preprocessing(resize="fixed", height=286, width=286, crop=(256, 256), flip=True).plan((30, 46))
    assert (fixed.resized, fixed.crop, fixed.flip) == ((256, 256), None, False)


def test_padding_is_a_reflection_at_the_bottom_and_right() -> None:
    values = np.arange(6).reshape(2, 3)
    geometry = Preprocessing(multiple=4).plan((2, 3))
    assert (geometry.size, geometry.padded) == ((2, 3), (4, 4))
    assert apply_map(values, geometry).tolist() == [[0, 1, 2, 1], [3, 4, 5, 4], [0, 1, 2, 1], [3, 4, 5, 4]]


def test_a_crop_larger_than_the_picture_reflects() -> None:
    values = np.arange(6).reshape(2, 3)
    geometry = Preprocessing(crop=(3, 2)).plan((2, 3), np.random.default_rng(0))
    left = geometry.crop[1] if geometry.crop else -1
    assert apply_map(values, geometry).tolist() == values[[0, 1, 0], left : left + 2].tolist()


def test_random_crops_reach_every_corner_and_flips_are_half() -> None:
    preprocessing, rng = Preprocessing(crop=(2, 2), flip=True), np.random.default_rng(0)
    plans = [preprocessing.plan((3, 4), rng) for _ in range(400)]
    assert {plan.crop[:2] for plan in plans if plan.crop} == {(y, x) for y in range(2) for x in range(3)}
    assert 150 < sum(plan.flip for plan in plans) < 250


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_maps_keep_values_and_type(dtype: type) -> None:
    values = np.array([[0, 1], [200, 255 if dtype == np.uint8 else 33017]], dtype=dtype)
    made = apply_map(values, Preprocessing(resize="fixed", height=4, width=4).plan((2, 2)))
    assert made.dtype == dtype and (made == values.repeat(2, 0).repeat(2, 1)).all()


def test_sources_are_resized_like_photographs() -> None:
    picture = gradient(40, 60)
    geometry = Preprocessing(resize="fixed", height=17, width=23).plan((40, 60))
    as_floats = apply_source((picture / 255).astype(np.float32), geometry)
    assert as_floats.min() >= 0 and as_floats.max() <= 1
    assert np.abs(as_floats * 255 - apply_photograph(picture, geometry)).max() <= 1


modes = st.sampled_from(
    [
        {},
        {"resize": "fixed", "height": 11, "width": 7},
        {"resize": "scale_width", "width": 13},
        {"resize": "scale_shortside", "height": 6},
        {"resize": "nearest_multiple"},
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    mode=modes,
    size=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    crop=st.none() | st.tuples(st.integers(1, 16), st.integers(1, 16)),
    multiple=st.sampled_from([1, 4, 16]),
    seed=st.integers(0, 999),
)
def test_pictures_and_maps_take_the_same_way(mode, size, crop, multiple, seed) -> None:
    """The same geometry moves photograph, source and map alike: with constant left and right parts nothing blurs away."""
    preprocessing = Preprocessing(**mode, crop=crop, multiple=multiple, flip=True)
    geometry = preprocessing.plan(size, np.random.default_rng(seed))
    again = preprocessing.plan(size, np.random.default_rng(seed))
    unflipped = preprocessing.place(size, geometry.crop[:2] if geometry.crop else (0, 0), False)
    column = np.broadcast_to(np.arange(size[1]) >= size[1] // 2, size)
    photograph = np.repeat(column[..., None], 3, axis=2).astype(np.uint8) * 255
    label = apply_map(column.astype(np.int32), geometry)
    moved = apply_photograph(photograph, geometry)
    source = apply_source((photograph[..., :1] / 255).astype(np.float32), geometry)
    assert geometry == again and label.shape == moved.shape[:2] == source.shape[:2] == geometry.padded
    assert all(side % multiple == 0 for side in label.shape)
    if geometry.resized == size:
        assert (moved[..., 0] == label * 255).all() and (source[..., 0] == label).all()
    high, wide = geometry.size
    straight = apply_map(column.astype(np.int32), unflipped)[:high, :wide]
    assert (label[:high, :wide] == (straight[:, ::-1] if geometry.flip else straight)).all()
    straight_photo = apply_photograph(photograph, unflipped)[:high, :wide]
    assert (moved[:high, :wide] == (straight_photo[:, ::-1] if geometry.flip else straight_photo)).all()


# --------------------------------------------------------------------------------------------------------- dataset


@pytest.fixture
def world(tmp_path: Path) -> layouts.Listing:
    """Six 12x16 street scenes without instance maps."""
    rng = np.random.default_rng(0)
    for folder in ("train/images", "train/labels"):
        (tmp_path / folder).mkdir(parents=True)
    for n in range(6):
        save(tmp_path / f"train/images/{n}.png", rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        save(tmp_path / f"train/labels/{n}.png", rng.choice([7, 0, 255, 300], (12, 16)).astype(np.uint16))
    SPACE.save(tmp_path / "labels.json")
    return layouts.find(tmp_path)


def test_an_item(world: layouts.Listing) -> None:
    dataset = SemanticDataset(world.samples, world.space, NOTHING, training=False)
    item = dataset[2]
    assert len(dataset) == 6 and item["name"] == "2" and item["size"] == (12, 16)
    label = readers.read_label(world.samples[2].label, SPACE)
    assert item["label"].dtype == item["instance"].dtype == torch.int64
    assert (item["label"].numpy() == label).all() and item["label"].max() == len(SPACE)
    assert (item["instance"].numpy() == components(label, SPACE)).all()
    pixels = readers.read_photograph(world.samples[2].image)
    assert item["image"].shape == (3, 12, 16) and item["image"].dtype == torch.float32
    np.testing.assert_allclose(item["image"].permute(1, 2, 0).numpy(), pixels / 127.5 - 1, atol=1e-6)
    assert item["image"].is_contiguous() and "source" not in item


def test_photograph_label_and_instance_of_an_item_stay_together(tmp_path: Path) -> None:
    label = np.random.default_rng(0).integers(0, 2, (9, 14), dtype=np.uint8)
    files = (np.repeat(label[..., None] * 255, 3, axis=2), label, label.astype(np.uint16) + 33000)
    image, labels, ids = (save(tmp_path / f"{n}.png", array) for n, array in enumerate(files))
    crops = Preprocessing(crop=(6, 20), flip=True, multiple=8)
    dataset = SemanticDataset([Sample("x", image, labels, ids)], MASKS, crops, training=True)
    for epoch in range(12):
        item = dataset[0, epoch]
        assert item["label"].shape == (8, 24) and item["size"] == (6, 20)
        assert torch.equal(item["instance"], item["label"] + 33000)
        assert torch.equal(item["image"], (item["label"] * 2.0 - 1).expand(3, -1, -1))


def test_what_is_not_there_is_absent(world: layouts.Listing) -> None:
    layout = Sample("x", label=world.samples[0].label)
    item = SemanticDataset([layout], SPACE, NOTHING, training=False, instances=False)[0]
    assert item.keys() == {"label", "name", "size"}


def test_instances_come_from_the_file_where_there_is_one(world: layouts.Listing, tmp_path: Path) -> None:
    ids = save(tmp_path / "ids.png", np.full((12, 16), 33017, dtype=np.uint16))
    sample = Sample("x", label=world.samples[0].label, instance=ids)
    assert (SemanticDataset([sample], SPACE, NOTHING, training=False)[0]["instance"] == 33017).all()


def test_photo_to_photo_items(tmp_path: Path) -> None:
    np.save(tmp_path / "thermal.npy", np.full((4, 6, 2), 65535, dtype=np.uint16))
    visible = save(tmp_path / "visible.png", gradient(4, 6))
    sample = Sample("x", visible, source=tmp_path / "thermal.npy")
    item = SemanticDataset([sample], None, Preprocessing(multiple=8), training=True)[0]
    assert item.keys() == {"source", "image", "name", "size"}
    assert item["source"].shape == (2, 8, 8) and (item["source"] == 1).all() and item["size"] == (4, 6)


def test_side_by_side_items_flip_together(tmp_path: Path) -> None:
    half = gradient(8, 8)
    path = save(tmp_path / "ab.png", np.hstack([half, half]))
    sample = Sample("x", path, source=path, half="AtoB")
    dataset = SemanticDataset([sample], None, Preprocessing(crop=(5, 5), flip=True), training=True)
    items = [dataset[0, epoch] for epoch in range(12)]
    assert all(torch.allclose(item["source"], item["image"]) for item in items)
    assert len({item["image"].numpy().tobytes() for item in items}) > 6


def test_files_of_different_size_are_both_named(world: layouts.Listing, tmp_path: Path) -> None:
    label, image = world.samples[0].label, world.samples[0].image
    ids = save(tmp_path / "ids.png", np.zeros((12, 15), dtype=np.uint8))
    turned = save(tmp_path / "turned.png", gradient(16, 12))
    with pytest.raises(DataError, match=r"0\.png is 16x12 but .*ids\.png is 15x12"):
        SemanticDataset([Sample("x", image, label, ids)], SPACE, NOTHING, training=False)[0]
    with pytest.raises(DataError, match=r"0\.png is 16x12 but .*turned\.png is 12x16 .*EXIF"):
        SemanticDataset([Sample("x", turned, label)], SPACE, NOTHING, training=False)[0]
    with pytest.raises(DataError, match=r"turned\.png is 12x16 but .*ids\.png is 15x12"):
        SemanticDataset([Sample("x", ids, source=turned)], None, NOTHING, training=False)[0]


def test_a_dataset_is_refused_before_any_file_is_opened(tmp_path: Path) -> None:
    for samples, match in (
        ([], "at least one sample"),
        ([Sample("x", image=tmp_path)], "neither a label map nor a source"),
        ([Sample("x", label=tmp_path)], "needs a label space"),
    ):
        with pytest.raises(DataError, match=match):
            SemanticDataset(samples, None, NOTHING, training=False)


def test_epochs_differ_and_evaluation_does_not(world: layouts.Listing) -> None:
    crops = Preprocessing(crop=(6, 6), flip=True)
    training = SemanticDataset(world.samples, SPACE, crops, training=True, seed=3)
    assert torch.equal(training[1]["label"], training[1, 0]["label"])
    assert torch.equal(training[-5]["label"], training[1]["label"])
    assert len({training[1, epoch]["image"].numpy().tobytes() for epoch in range(8)}) > 4
    other = SemanticDataset(world.samples, SPACE, crops, training=True, seed=4)
    assert any(not torch.equal(other[n]["image"], training[n]["image"]) for n in range(6))
    still = SemanticDataset(world.samples, SPACE, crops, training=False)
    assert torch.equal(still[1, 0]["image"], still[1, 7]["image"]) and still[1]["size"] == (12, 16)
    with pytest.raises(IndexError):
        training[6]


def test_workers_do_not_change_the_result(world: layouts.Listing) -> None:
    dataset = SemanticDataset(world.samples, SPACE, Preprocessing(crop=(6, 6), flip=True), training=True, seed=1)
    order = [(n, epoch) for epoch in range(2) for n in (3, 1, 5, 0)]
    runs = [
        list(DataLoader(dataset, batch_size=2, sampler=order, num_workers=workers, collate_fn=collate))
        for workers in (0, 1, 2)
    ]
    for run in runs[1:]:
        for ours, theirs in zip(runs[0], run, strict=True):
            assert ours["name"] == theirs["name"]
            assert all(torch.equal(ours[key], theirs[key]) for key in ("label", "instance", "image"))


def test_a_dataset_can_be_pickled_for_spawned_workers(world: layouts.Listing) -> None:
    dataset = SemanticDataset(world.samples, SPACE, Preprocessing(crop=(6, 6), flip=True), training=True)
    first = dataset[0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0]["image"], first["image"])


def test_collate(world: layouts.Listing) -> None:
    dataset = SemanticDataset(world.samples, SPACE, NOTHING, training=False)
    batch = collate([dataset[0], dataset[1]])
    assert batch["name"] == ["0", "1"] and batch["size"] == [(12, 16), (12, 16)]
    assert batch["label"].shape == (2, 12, 16) and batch["image"].shape == (2, 3, 12, 16)
    shrunk = SemanticDataset(world.samples, SPACE, Preprocessing(resize="scale_width", width=8), training=False)
    with pytest.raises(DataError, match=r"differ in 'label'.*\(12, 16\).*\(6, 8\)"):
        collate([dataset[0], shrunk[1]])
    without = {key: value for key, value in dataset[1].items() if key != "image"}
    for items in ([dataset[0], without], [without, dataset[0]]):
        with pytest.raises(DataError, match=r"differ in|other things"):
            collate(items)


# ----------------------------------------------------------------------------------------------------- shared data


def test_camvid(camvid: Path) -> None:
    listing = layouts.find(camvid)
    fixed = Preprocessing(resize="fixed", height=128, width=256, flip=True)
    dataset = SemanticDataset(listing.samples[:4], listing.space, fixed, training=True)
    batch = collate([dataset[n] for n in range(4)])
    assert batch["label"].shape == (4, 128, 256) and batch["label"].unique().numel() > 8
    assert batch["image"].min() >= -1 and batch["image"].max() <= 1 and batch["image"].std() > 0.3
    things = set(published("camvid").things)
    ids = batch["instance"][batch["instance"] >= 1000]
    assert {int(i) // 1000 for i in ids.unique()} <= things and ids.numel() > 0


def test_cityscapes_sample(cityscapes_sample: Path) -> None:
    listing = layouts.find(cityscapes_sample)
    dataset = SemanticDataset(listing.samples[:2], listing.space, NOTHING, training=False)
    bicycles = 0
    for item in (dataset[0], dataset[1]):
        assert item["label"].shape == item["instance"].shape == item["image"].shape[1:] == (1024, 2048)
        assert item["instance"].min() >= 0
        bicycles += int((item["instance"] > 33000).sum())
    assert bicycles > 0


def test_coco_stuff_sample(coco_stuff_sample: Path) -> None:
    listing = layouts.find(coco_stuff_sample, "val")
    fixed = Preprocessing(resize="fixed", height=64, width=64)
    dataset = SemanticDataset(listing.samples, listing.space, fixed, training=False)
    batch = collate([dataset[n] for n in range(len(dataset))])
    assert listing.space is not None and batch["label"].shape == (8, 64, 64)
    assert int(batch["label"].max()) == len(listing.space), "255 became ignored"


# --- decoded files in memory ---


@pytest.mark.parametrize("cache", [0, 2**20, 40_000])
def test_files_that_are_kept_are_decoded_once(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, cache: int) -> None:
    """And items are the same, whoever changed what an earlier call gave; what no longer fits is read again."""
    listing = layouts.find(tiny_dataset, "train")
    decoded: list[Path] = []
    for name in ("read_photograph", "read_label", "read_instance"):
        plain = getattr(dataset_module, name)

        def counted(path: Path, *rest: Any, plain: Any = plain) -> Any:
            decoded.append(path)
            return plain(path, *rest)

        monkeypatch.setattr(dataset_module, name, counted)
    made = [
        SemanticDataset(listing.samples, listing.space, Preprocessing(flip=True), training=True, cache=size)
        for size in (cache, 0)
    ]
    files = 0
    for epoch in range(3):
        for index in range(len(listing.samples)):
            before = len(decoded)
            kept = made[0][index, epoch]
            files += len(decoded) - before
            plain_item = made[1][index, epoch]
            assert kept.keys() == plain_item.keys()
            for key, value in plain_item.items():
                assert torch.equal(kept[key], value) if isinstance(value, torch.Tensor) else kept[key] == value
                if isinstance(value, torch.Tensor):
                    kept[key].zero_()
    every = files if not cache else len(set(decoded))
    assert every <= files <= 3 * len(set(decoded))
    assert (files == len(set(decoded))) is (cache == 2**20)
    assert made[0]._kept.used <= cache
    assert pickle.loads(pickle.dumps(made[0]))._kept.used == 0
