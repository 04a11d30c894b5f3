"""The doctor against real data, against data broken on purpose, and against data whose meaning it must guess."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from gesso.data import doctor, layouts
from gesso.data.doctor import Finding, Report, examine, propose_space, propose_space_of_colours, render
from gesso.data.doctor import scan as doctor_scan
from gesso.data.layouts import Listing
from gesso.data.spaces import published
from gesso.errors import LabelError
from gesso.labels import LabelClass, LabelSpace, colourise

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 8, 12
SPACE = LabelSpace(
    name="tiny",
    classes=(
        LabelClass(name="ground", values=(0,), colour=(200, 10, 10)),
        LabelClass(name="water", values=(1,), colour=(10, 200, 10)),
        LabelClass(name="boat", values=(2,), colour=(10, 10, 200), thing=True),
    ),
    ignore=(255,),
)
MASKS = LabelSpace(name="masks", classes=SPACE.classes[:2])
TURNED, UPSIDE_DOWN = 6, 3


def label_map(number: int = 0) -> Array:
    """All three classes and some void."""
    label = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) // 8 % 3
    label[0, number % WIDTH] = 255
    return label


def photograph(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape or (HEIGHT, WIDTH, 3), dtype=np.uint8)


def save(array: Array, path: Path, orientation: int = 1, palette: list[int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(array)
    if palette:
        image.putpalette(palette)
    image.save(path, **({"exif": exif} if orientation != 1 else {}))
    return path


def tiny(root: Path, number: int = 3) -> Path:
    """A sound dataset of SPACE, in the convention of CamVid."""
    for i in range(number):
        save(label_map(i), root / f"train/labels/{i:02}.png")
        save(photograph(), root / f"train/images/{i:02}.png")
    SPACE.save(root / "labels.json")
    return root


def look(root: Path, space: LabelSpace | None = None) -> Report:
    return examine(layouts.find(root), space, workers=1)


def folders(root: Path, **more: str) -> Listing:
    """The same folders as nobody's convention, so without a label space unless labels.json lies there."""
    return layouts.folders(root / "train/labels", root / "train/images", **{k: root / v for k, v in more.items()})


def said(report: Report) -> set[tuple[str, str, str]]:
    return {(f.severity, f.code, f.path.name if f.path else "") for f in report.findings}


def only(report: Report) -> Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def first(listing: Listing, number: int) -> Listing:
    return replace(listing, samples=listing.samples[:number])


# ---------------------------------------------------------------------------------------------------------- real data


def test_camvid(camvid: Path) -> None:
    listing = first(layouts.find(camvid), 40)
    report = examine(listing)
    values = [np.asarray(Image.open(s.label)) for s in listing.samples if s.label]
    counts = np.bincount(np.concatenate(values).ravel(), minlength=12)
    assert [use.pixels for use in report.classes] == counts[:11].tolist()
    assert [use.maps for use in report.classes] == [sum((v == i).any() for v in values) for i in range(11)]
    assert report.ignored == counts[11]
    assert list(report.shares.values()) == pytest.approx((counts[:11] / counts[:11].sum()).tolist())
    assert report.ok and not report.of("warning") and report.instances == "components"
    assert report.sizes == {(360, 480): 40} and report.median_size == (360, 480)
    assert report.aspect_ratios == {1.33: 40} and report.photo_modes == {"RGB": 40}


def test_cityscapes(cityscapes_sample: Path) -> None:
    report = look(cityscapes_sample)
    assert report.ok and report.samples == report.photographs == 8 and report.instances == "file"
    assert report.space == published("cityscapes") and report.sizes == {(1024, 2048): 8}
    assert said(report) == {("note", "empty-classes", "")}
    assert {"truck", "bus", "license plate"} <= set(report.empty_classes)


def test_layouts_without_photographs(cityscapes_sample: Path) -> None:
    report = examine(first(layouts.find(cityscapes_sample, "test"), 2))
    assert report.ok and report.photographs == 0
    assert ("note", "no-photographs", "") in said(report)


@pytest.mark.parametrize(("split", "number"), [("train", 13), ("val", 8)])
def test_coco_stuff(coco_stuff_sample: Path, split: str, number: int) -> None:
    report = examine(layouts.find(coco_stuff_sample, split))
    assert report.ok and not report.of("warning") and report.samples == report.maps == number
    assert said(report) == {("note", "empty-classes", ""), ("note", "sizes-differ", "")}
    assert sum(report.shares.values()) == pytest.approx(1) and report.ignored_share > 0
    assert len(report.sizes) > 1 and sum(report.aspect_ratios.values()) == number


# ------------------------------------------------------------------------------------------- broken in twelve ways


@pytest.fixture(scope="module")
def clean(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 samples of CamVid, spread over its sequences."""
    root = tmp_path_factory.mktemp("camvid")
    for sample in layouts.find(camvid).samples[::22][:16]:
        assert sample.label and sample.image
        for folder, file in (("labels", sample.label), ("images", sample.image)):
            (root / "train" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, root / "train" / folder / file.name)
    return root


def _twice(photo: Path) -> Path:
    Image.open(photo).save(photo.with_suffix(".png"))
    return photo.with_suffix(".png")


def _rewritten(path: Path, change: Callable[[Array], Array]) -> Path:
    Image.fromarray(change(np.asarray(Image.open(path)).copy())).save(path)
    return path


def _one_pixel(label: Array) -> Array:
    label[100, 200] = 200
    return label


def _in_colour(label: Array) -> Array:
    space = published("camvid")
    return colourise(space.to_indices(label), space)


def _wide(label: Array) -> Array:
    return np.where(label == 3, np.uint16(40000), label)


def broken(root: Path) -> dict[Path, tuple[str, str]]:
    """Break one sample in each of the twelve ways; the file to be named -> (severity, code)."""
    samples = layouts.find(root).samples
    labels, photos = [s.label for s in samples], [s.image for s in samples]
    assert all(labels) and all(photos)
    m, p = [Path(str(x)) for x in labels], [Path(str(x)) for x in photos]
    m[0].unlink()
    p[1].unlink()
    p[4].write_bytes(p[4].read_bytes()[:9000])
    m[5].write_text("this is no picture")
    save(np.asarray(Image.open(p[11])), p[11], TURNED)
    return {
        p[0]: ("warning", "label-missing"),
        m[1]: ("warning", "photo-missing"),
        _rewritten(m[2], _one_pixel): ("error", "unknown-id"),
        _rewritten(m[3], lambda label: label[::2, ::2]): ("error", "size-mismatch"),
        p[4]: ("error", "unreadable"),
        m[5]: ("error", "unreadable"),
        _rewritten(m[6], _in_colour): ("warning", "colour-coded"),
        _rewritten(m[7], lambda label: ((label == 3) * 255).astype(np.uint8)): ("error", "binary-mask"),
        _rewritten(m[8], _wide): ("error", "wide-ids"),
        _rewritten(m[9], lambda label: np.full_like(label, 11)): ("warning", "all-void"),
        _twice(p[10]): ("warning", "duplicate-stem"),
        p[11]: ("error", "exif-rotation"),
    }


def test_clean_copy_has_no_findings(clean: Path) -> None:
    assert look(clean).findings == ()


@pytest.fixture(scope="module")
def twelve(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[Path, tuple[str, str]]]:
    root = tmp_path_factory.mktemp("twelve") / "camvid"
    shutil.copytree(clean, root)
    expected = broken(root)
    return look(root), expected


def test_twelve_findings_each_naming_its_file(twelve: tuple[Report, dict[Path, tuple[str, str]]]) -> None:
    report, expected = twelve
    assert len(expected) == 12
    assert sorted((f.path, (f.severity, f.code)) for f in report.findings if f.path) == sorted(expected.items())
    assert all(f.path for f in report.findings), "no other finding"
    assert not report.ok


def test_the_unknown_pixel_is_placed(twelve: tuple[Report, dict[Path, tuple[str, str]]]) -> None:
    report, expected = twelve
    (item,) = (u for u in report.unknown if u.value == 200)
    assert (item.pixels, item.files, item.row, item.column) == (1, 1, 100, 200)
    assert expected[item.path] == ("error", "unknown-id")
    (finding,) = (f for f in report.findings if f.code == "unknown-id")
    assert "200 (1 pixel)" in finding.message and "row 100, column 200" in finding.message


def test_json_of_the_twelve(twelve: tuple[Report, dict[Path, tuple[str, str]]]) -> None:
    report, expected = twelve
    document = json.loads(json.dumps(report.to_json()))
    assert {f["path"] for f in document["findings"]} == {str(path) for path in expected}
    assert document["ok"] is False and document["median_size"] == [360, 480]
    assert sum(c["share"] for c in document["classes"]) == pytest.approx(1)


def test_rendering_of_the_twelve(twelve: tuple[Report, dict[Path, tuple[str, str]]]) -> None:
    report, expected = twelve
    text = rendered(report)
    assert all(path.name in text for path in expected)
    assert "Training would fail: 7 errors, 5 warnings, 0 notes." in text
    assert max(map(len, text.splitlines())) <= 100


# ------------------------------------------------------------------------------------------------ one thing at a time


def test_sound_data_has_no_findings(tmp_path: Path) -> None:
    report = look(tiny(tmp_path))
    assert report.findings == () and report.ok and report.instances == "components"


def test_the_report_does_not_depend_on_threads_and_progress_counts_up(tmp_path: Path) -> None:
    root = tiny(tmp_path, 9)
    save(label_map() + 7, root / "train/labels/03.png")
    listing, steps = layouts.find(root), []
    reports = [examine(listing, workers=w, progress=lambda *step: steps.append(step)).to_json() for w in (1, 4)]
    assert reports[0] == reports[1]
    assert steps == 2 * [(i, 9) for i in range(1, 10)]


def test_unknown_values_add_up(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    for name, row in (("01", 5), ("02", 3)):
        label = label_map()
        label[row, 4:6] = 77
        save(label, root / f"train/labels/{name}.png")
    (item,) = look(root).unknown
    assert (item.value, item.pixels, item.files) == (77, 4, 2)
    assert (item.path.name, item.row, item.column) == ("01.png", 5, 4)


def test_known_pixels_beside_unknown_ones_count(tmp_path: Path) -> None:
    root = tiny(tmp_path, 1)
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[0, 0] = 9
    save(label, root / "train/labels/00.png")
    assert [use.pixels for use in look(root).classes] == [HEIGHT * WIDTH - 1, 0, 0]


def test_values_stretched_to_16_bits(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    save(np.full((HEIGHT, WIDTH), 200 * 257, np.uint16), root / "train/labels/01.png")
    finding = only(look(root))
    assert finding.code == "wide-ids" and "divide them by 257" in finding.message


def test_file_is_blamed_once(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    save(np.full((HEIGHT + 2, WIDTH), 255, np.uint8), root / "train/labels/01.png")
    report = look(root)
    assert said(report) == {("error", "size-mismatch", "01.png")}  # rather than all-void
    assert report.sizes == {(HEIGHT, WIDTH): 2}


def test_the_odd_one_out_of_three_is_named(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    for i in range(3):
        save(label_map(), root / f"train/instances/{i:02}.png")
    save(photograph(HEIGHT, WIDTH + 4, 3), root / "train/images/00.png")
    save(photograph(HEIGHT, WIDTH + 4), root / "train/instances/01.png")
    save(np.zeros((HEIGHT, WIDTH + 4), np.uint8), root / "train/labels/02.png")
    report = look(root)
    found = sorted((f.code, f.path.parent.name, f.path.name) for f in report.of("error") if f.path)
    assert found == [
        ("size-mismatch", folder, f"0{i}.png") for i, folder in enumerate(("images", "instances", "labels"))
    ]
    assert report.instances == "file"


def test_lossy_and_fractional_maps(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    for name in ("01", "02"):
        (root / f"train/labels/{name}.png").unlink()
    save(label_map(), root / "train/labels/01.jpg")
    np.save(root / "train/labels/02.npy", np.full((HEIGHT, WIDTH), 0.5))
    assert said(look(root)) == {("error", "lossy-map", "01.jpg"), ("error", "not-a-map", "02.npy")}


def test_colours_of_another_space(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    save(photograph(), root / "train/labels/01.png")
    finding = only(look(root))
    assert (finding.severity, finding.code) == ("error", "colour-coded")
    assert str(root) not in finding.message and "tiny does not have" in finding.message


def test_colour_coding_of_the_whole_dataset_is_said_once(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    for i in range(3):
        save(colourise(SPACE.to_indices(label_map()), SPACE), root / f"train/labels/{i:02}.png")
    finding = only(look(root))
    assert (finding.severity, finding.code) == ("note", "colour-coded") and "2 other files" in finding.message


def test_masks(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    mask = (label_map() == 1).astype(np.uint8) * 255
    save(mask, root / "train/labels/01.png")
    assert said(look(root)) == {("note", "binary-mask", "01.png")}  # one class and void: possible
    for i in range(3):
        save(mask, root / f"train/labels/{i:02}.png")
    assert ("warning", "binary-mask", "00.png") in said(look(root))  # everywhere: hardly
    assert look(root, MASKS).findings == ()
    assert [use.pixels for use in look(root, MASKS).classes] == [3 * int((mask == v).sum()) for v in (0, 255)]


def test_palettes_read_in_two_ways(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    own = [200, 10, 10, 10, 10, 200, 10, 200, 10]  # the colours of SPACE in another order
    for i, palette in enumerate((own, list(range(9)), list(range(9)))):
        label = np.where(label_map() == 255, 0, label_map()).astype(np.uint8)
        save(label, root / f"train/labels/{i:02}.png", palette=palette)
    assert said(look(root)) == {("warning", "mixed-palettes", "00.png"), ("warning", "colour-coded", "00.png")}


@pytest.mark.parametrize(
    ("orientation", "stored", "severity"),
    [
        (UPSIDE_DOWN, (HEIGHT, WIDTH), "warning"),  # fits either way
        (TURNED, (WIDTH, HEIGHT), "note"),  # fits only upright
        (TURNED, (HEIGHT, WIDTH), "error"),
    ],
)
def test_exif_rotation(tmp_path: Path, orientation: int, stored: tuple[int, int], severity: str) -> None:
    root = tiny(tmp_path)
    (root / "train/images/01.png").unlink()
    save(photograph(*stored, 3), root / "train/images/01.jpg", orientation)
    assert said(look(root)) == {(severity, "exif-rotation", "01.jpg")}


def test_photo_and_map_turned_alike(tmp_path: Path) -> None:
    root = tiny(tmp_path, 1)
    save(photograph(), root / "train/images/00.png", UPSIDE_DOWN)
    save(label_map(), root / "train/labels/00.png", UPSIDE_DOWN)
    assert {f.severity for f in look(root).findings} == {"note"}


def test_strange_exceptions_do_not_end_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, half: str) -> Array:
        raise MemoryError("too large")

    monkeypatch.setattr(doctor_scan, "read_photograph", fail)
    report = look(tiny(tmp_path))
    assert len(report.of("error")) == 3 and "MemoryError: too large" in report.findings[0].message


def test_orphaned_instances_and_twins(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    save(label_map(), root / "train/instances/00.png")
    save(label_map(), root / "train/labels/00.tif")
    report = look(root)
    assert ("warning", "instance-missing", "01.png") in said(report)
    (twin,) = (f for f in report.findings if f.code == "duplicate-stem")
    assert twin.path == root / "train/labels/00.tif" and "00.png, which is used instead" in twin.message


def test_notes_about_photographs_sizes_and_strays(tmp_path: Path) -> None:
    root = tiny(tmp_path, 11)
    save(photograph(HEIGHT, WIDTH), root / "train/images/04.png")
    save(np.zeros((HEIGHT, 3 * WIDTH), np.uint8), root / "train/labels/05.png")
    save(photograph(HEIGHT, 3 * WIDTH, 3), root / "train/images/05.png")
    for i in range(11):
        label = np.where(label_map() == 2, 1, label_map()).astype(np.uint8)
        label[4, 4] = 2 if i == 7 else 1
        if i != 5:
            save(label, root / f"train/labels/{i:02}.png")
    report = look(root)
    assert said(report) == {
        ("note", "photo-modes", ""),
        ("note", "sizes-differ", ""),
        ("note", "stray-class", "07.png"),
    }
    assert "1 of 11 photographs are gray" in next(f.message for f in report.findings if f.code == "photo-modes")
    assert report.aspect_ratios == {1.5: 10, 4.5: 1} and report.median_size == (HEIGHT, WIDTH)


def test_training_folders_without_photographs(tmp_path: Path) -> None:
    report = examine(layouts.folders(tiny(tmp_path) / "train/labels"), SPACE)
    assert said(report) == {("error", "no-photographs", "")} and not report.ok


def test_photo_to_photo(tmp_path: Path) -> None:
    for i in range(3):
        save(photograph(HEIGHT, WIDTH, 4) if i == 1 else photograph(), tmp_path / f"train_A/{i}.png")
        save(photograph(), tmp_path / f"train_B/{i}.png")
    report = look(tmp_path)
    assert said(report) == {("error", "channels-differ", "1.png")}
    assert report.source_channels == 3 and report.space is None and report.instances == "none"
    assert "sources" in rendered(report)


def test_side_by_side_files_are_blamed_once(tmp_path: Path) -> None:
    for i in range(3):
        save(photograph(HEIGHT, WIDTH + i % 2, 3), tmp_path / f"train/{i}.png")
    finding = only(look(tmp_path))
    assert finding.path == tmp_path / "train/1.png" and finding.code == "unreadable"


# -------------------------------------------------------------------------------------------- data without a label space


def test_space_from_values(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    (root / "labels.json").unlink()
    steps: list[tuple[int, int]] = []
    report = examine(folders(root), progress=lambda *step: steps.append(step))
    assert report.proposed and report.space and steps[-1] == (6, 6)
    assert [c.values for c in report.space.classes] == [(0,), (1,), (2,)] and report.space.ignore == (255,)
    assert said(report) == {("error", "no-label-space", "")} and "--write-labels" in report.findings[0].message
    assert report.accept().ok and not report.accept().proposed
    assert report.maps == 3 and report.ignored == 3

    report.space.save(root / "train/labels.json")
    again = examine(folders(root))
    assert again.ok and again.space and again.space.names == report.space.names and not again.proposed


def test_space_from_colours_reads_every_map(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    (root / "labels.json").unlink()
    for i in range(3):
        save(colourise(SPACE.to_indices(label_map(i)), SPACE), root / f"train/labels/{i:02}.png")
    report = examine(folders(root)).accept()
    assert report.ok and {c.colour for c in report.classes} == {c.colour for c in SPACE.classes}
    assert sum(use.pixels for use in report.classes) + report.ignored == 3 * HEIGHT * WIDTH and report.ignored == 3


def test_space_from_masks(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    (root / "labels.json").unlink()
    for i in range(3):
        save((label_map(i) == 1).astype(np.uint8) * 255, root / f"train/labels/{i:02}.png")
    report = examine(folders(root)).accept()
    assert report.ok and [use.name for use in report.classes] == ["background", "foreground"]
    assert report.classes[1].pixels == sum(int((label_map(i) == 1).sum()) for i in range(3))


def test_space_takes_the_colours_of_palettes(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    (root / "labels.json").unlink()
    for i in range(3):
        save(label_map(i) % 3, root / f"train/labels/{i:02}.png", palette=[0, 0, 0, 128, 0, 0, 0, 128, 0])
    report = examine(folders(root)).accept()
    assert report.ok and report.findings == ()
    assert [use.colour for use in report.classes] == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]


def test_photographs_as_label_maps_give_no_space(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    (root / "labels.json").unlink()
    for i in range(3):
        save(photograph(40, 40, 3), root / f"train/labels/{i:02}.png")
    report = examine(folders(root))
    assert report.space is None and not report.proposed and not report.accept().ok
    assert report.findings[0].code == "no-label-space" and "blended" in report.findings[0].message
    assert report.shares == {} and report.empty_classes == ()


@given(st.sets(st.integers(0, 2000), min_size=1, max_size=200).filter(lambda values: values - {255}))
def test_proposed_spaces_know_every_value(values: set[int]) -> None:
    space = propose_space(values)
    indices = space.lookup(np.array(sorted(values)))
    assert ((indices >= 0) | (values == {0, 255})).all()
    assert all(max(c.colour) != min(c.colour) for c in space.classes), "no gray: a gray picture is no colour code"


@pytest.mark.parametrize("values", [(), (255,), range(300), (0, 70000)])
def test_no_space_for_these_values(values: tuple[int, ...]) -> None:
    with pytest.raises(LabelError, match="--space"):
        propose_space(values)


def test_black_of_two_colours_is_a_class() -> None:
    two = propose_space_of_colours({(0, 0, 0): 10, (255, 0, 0): 90})
    assert [c.colour for c in two.classes] == [(255, 0, 0), (0, 0, 0)]
    three = propose_space_of_colours({(0, 0, 0): 10, (255, 0, 0): 90, (0, 255, 0): 95})
    assert [c.colour for c in three.classes] == [(0, 255, 0), (255, 0, 0)]


# ---------------------------------------------------------------------------------------------------------- rendering


def rendered(report: Report, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=100, **options)
    render(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_rendering_shows_classes_in_their_colours(tmp_path: Path) -> None:
    text = rendered(look(tiny(tmp_path)), force_terminal=True, color_system="truecolor")
    assert "\x1b[38;2;200;10;10m██" in text and "Training can start" in text


def test_rendering_cuts_long_lists(tmp_path: Path) -> None:
    root = tiny(tmp_path, 9)
    for i in range(8):
        save(label_map() + 7, root / f"train/labels/{i:02}.png")
    text = rendered(look(root))
    assert "unknown-id in 8 files" in text and "... and 3 more" in text
    assert "labels/04.png" in text and "labels/05.png" not in text
    assert "values without a class" in text


def test_rendering_in_ascii(coco_stuff_sample: Path) -> None:
    report = look(coco_stuff_sample)

    class Ascii(io.StringIO):
        encoding = "ascii"

    console = Console(file=Ascii(), width=100)
    render(report, console)
    text = console.file.getvalue()
    assert text.isascii() and "########" in text
    assert "rarer classes" in text and "125 of 182 classes never occur" in text


def test_public_names() -> None:
    assert all(hasattr(doctor, name) for name in doctor.__all__)
