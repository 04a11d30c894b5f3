"""What is input and what is to be made of it: label maps in colours, photographs to label maps, gray to colour, 16 bits."""

from __future__ import annotations

import json
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

import gesso as package
from gesso.checkpoints import load_model, read_info
from gesso.cli.common import DataFlags, open_listing
from gesso.data import layouts
from gesso.data.dataset import SemanticDataset
from gesso.data.layouts import Listing, Sample
from gesso.data.preprocessing import Preprocessing
from gesso.data.readers import read_input, read_photograph
from gesso.data.spaces import published
from gesso.errors import ConfigError, DataError
from gesso.labels import Colour, LabelSpace, Semantics, colourise
from gesso.pictures import nearest_classes, to_uint8
from support import Ended, refused
from training_script import tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")

TOY = published("toy")
KEEP = Preprocessing()


def table(space: LabelSpace) -> tuple[Colour, ...]:
    return tuple((int(r), int(g), int(b)) for r, g, b in space.colours)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def listed(data: Path | None, **flags: Any) -> Listing:
    return open_listing(data, DataFlags(**flags), "train")


# ---------------------------------------------------------------------------------------------- label maps in colours

PAINTED = Semantics(classes=len(TOY), colours=table(TOY))


def test_painted_semantics_equal_the_map_read_as_a_picture(tmp_path: Path) -> None:
    label = np.random.default_rng(0).integers(0, len(TOY) + 1, (8, 12))
    Image.fromarray(colourise(label, TOY)).save(tmp_path / "painted.png")
    sample = Sample("x", source=tmp_path / "painted.png")
    source = SemanticDataset([sample], None, KEEP, training=False)[0]["source"]
    found = PAINTED.encode({"label": torch.from_numpy(label)[None]})
    assert PAINTED.channels == 3 and found.shape == (1, 3, 8, 12) and found.is_contiguous()
    assert torch.equal(found[0], source)


def test_painted_semantics_may_have_boundaries() -> None:
    label = torch.randint(len(TOY), (2, 4, 6))
    both = PAINTED.model_copy(update={"boundary": True})
    planes = both.encode({"label": label, "instance": label})
    alone = Semantics(classes=len(TOY), boundary=True).encode({"label": label, "instance": label})
    assert both.channels == 4 and torch.equal(planes[:, 3], alone[:, -1])
    assert torch.equal(planes[:, :3], PAINTED.encode({"label": label}))


def test_colours_are_written_where_there_are_some() -> None:
    plain = Semantics(classes=3, dont_care=True)
    assert "colours" not in plain.model_dump() and "colours" not in json.loads(plain.model_dump_json())
    assert Semantics.model_validate_json(PAINTED.model_dump_json()) == PAINTED
    assert len(str(PAINTED)) < 100, "the table is not shown"


@pytest.mark.parametrize("changes", [{"classes": 4}, {"dont_care": True}])
def test_colours_must_fit(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="one per class and one of ignored pixels"):
        Semantics.model_validate({**PAINTED.model_dump(), **changes})


@given(st.integers(0, 10**6), st.integers(0, 12))
def test_nearest_classes_bring_back_what_was_painted(seed: int, noise: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, len(TOY), (5, 7))
    shaken = colourise(label, TOY).astype(int) + random.integers(-noise, noise + 1, (5, 7, 3))
    found = nearest_classes(np.clip(shaken, 0, 255).astype(np.uint8), TOY)
    gaps = ((shaken.clip(0, 255)[:, :, None] - TOY.colours[:-1].astype(int)) ** 2).sum(-1)
    assert np.array_equal(found, gaps.argmin(-1)), "by definition"
    if not noise:
        assert np.array_equal(found, label)


# ---------------------------------------------------------------------------------------------- which file is the input


def test_turned_layouts(tiny_dataset: Path) -> None:
    straight, turned = listed(tiny_dataset), listed(tiny_dataset, direction="BtoA")
    assert turned.space == straight.space == TOY
    for one, other in zip(straight.samples, turned.samples, strict=True):
        assert other == Sample(one.name, label=one.label, source=one.image, photo="colour")
        assert (one.target, other.target) == (one.image, one.label)


@pytest.mark.parametrize("size", [None, (16, 24)])
def test_label_maps_as_targets_keep_their_colours(tiny_dataset: Path, size: tuple[int, int] | None) -> None:
    resize = Preprocessing(resize="fixed", height=size[0], width=size[1], flip=True) if size else KEEP
    straight, turned = listed(tiny_dataset), listed(tiny_dataset, direction="BtoA")
    ours, theirs = (SemanticDataset(each.samples, TOY, resize, training=True) for each in (turned, straight))
    assert any((theirs[i]["label"] == len(TOY)).any() for i in range(len(theirs))), "some pixels are ignored"
    for index in range(len(ours)):
        item, other = ours[index], theirs[index]
        assert item.keys() == {"source", "image", "name", "size"}
        label = other["label"].numpy()
        assert np.array_equal(to_uint8(item["image"]), colourise(label, TOY)), "no blended colours"
        found = nearest_classes(to_uint8(item["image"]), TOY)
        assert np.array_equal(found[label < len(TOY)], label[label < len(TOY)])
        torch.testing.assert_close(
            item["source"], other["image"], atol=0.05, rtol=0
        )  # in 8 bits, overshoots are cut off twice


def test_a_photograph_as_input_has_three_channels(tmp_path: Path) -> None:
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(tmp_path / "gray.png")
    Image.fromarray(np.full((4, 6, 4), 9, np.uint8)).save(tmp_path / "clear.png")
    for name in ("gray", "clear"):
        photograph = Sample("x", source=tmp_path / f"{name}.png", photo="colour")
        assert read_input(photograph).shape == (4, 6, 3)
        assert read_input(Sample("x", source=photograph.source)).shape == (4, 6, 1 if name == "gray" else 4)


def test_gray_equals_a_folder_of_gray_pictures(tiny_dataset: Path, tmp_path: Path) -> None:
    listing = listed(tiny_dataset, input="gray")
    assert listing.space is None and len(listing.samples) == 7
    for sample in listing.samples:
        assert sample.source == sample.image and sample.label is None
        with Image.open(sample.image or "") as image:
            image.convert("L").save(tmp_path / f"{sample.name}.png")
    folders = layouts.folders(sources=tmp_path, images=tiny_dataset / "train" / "images")
    shrunk = Preprocessing(resize="fixed", height=16, width=24)
    ours, theirs = (SemanticDataset(each.samples, None, shrunk, training=True) for each in (listing, folders))
    for index in range(7):
        assert torch.equal(ours[index]["source"], theirs[index]["source"])
        assert torch.equal(ours[index]["image"], theirs[index]["image"])


@pytest.mark.parametrize("flag", ["images", "sources"])
def test_gray_of_a_bare_folder(tiny_dataset: Path, flag: str) -> None:
    folder = tiny_dataset / "train" / "images"
    found = listed(None, input="gray", **{flag: folder})
    assert {s.source for s in found.samples} == set(folder.iterdir())
    assert all(s == Sample(s.name, image=s.source, source=s.source, photo="gray") for s in found.samples)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_gray_of_side_by_side_pictures_is_that_of_the_target(tmp_path: Path, direction: str) -> None:
    (tmp_path / "train").mkdir()
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(0, 256, (4, 12, 3), dtype=np.uint8)).save(tmp_path / "train" / "0.png")
    (sample,) = listed(tmp_path, input="gray", direction=direction).samples
    target = Image.fromarray(read_photograph(tmp_path / "train" / "0.png", direction))  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_input(sample)[..., 0], np.asarray(target.convert("L")) / np.float32(255))


def test_gray_of_paired_pictures_may_be_turned(tmp_path: Path) -> None:
    for side in "AB":
        (tmp_path / f"train_{side}").mkdir()
        Image.new("RGB", (4, 4), (90, 0, ord(side))).save(tmp_path / f"train_{side}" / "0.png")
    for direction, side in (("AtoB", "B"), ("BtoA", "A")):
        (sample,) = listed(tmp_path, input="gray", direction=direction).samples
        assert sample.image == sample.source == tmp_path / f"train_{side}" / "0.png"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"input": "gray", "space": "toy"}, "--space toy gives label maps a meaning"),
        ({"input": "gray", "labels": Path("x")}, "of photographs alone"),
        ({"input": "gray", "images": Path("x"), "sources": Path("y")}, "of photographs alone"),
        ({"input": "colours", "direction": "BtoA"}, "leave one out"),
    ],
)
def test_flags_that_contradict_each_other(tiny_dataset: Path, flags: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        listed(None if flags.keys() & {"labels", "images"} else tiny_dataset, **flags)


def test_what_a_direction_needs(tiny_dataset: Path) -> None:
    labels = tiny_dataset / "train" / "labels"
    with pytest.raises(DataError, match=r"scene0\.png has no photograph that could be the input"):
        listed(None, labels=labels, direction="BtoA")
    with pytest.raises(DataError, match="only label maps can be painted"):
        listed(None, sources=labels, images=tiny_dataset / "train" / "images", input="colours")
    with pytest.raises(DataError, match="holds no photographs that could be made gray"):
        layouts.as_gray(layouts.folders(labels=labels))


# --------------------------------------------------------------------------------------------------- the whole way


def worked(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended


def begin(run: Path, *words: object, steps: int = 2) -> list[object]:
    """The command that trains a tiny model."""
    return ["train", *words, "--out", run, "--device", "cpu", "--stop-at", steps, *tiny_flags()]


WAYS: dict[str, tuple[list[str], Callable[[Semantics], bool]]] = {
    "colours": (["--input", "colours"], lambda found: found == PAINTED),
    "labels": (["--direction", "BtoA"], lambda found: found == Semantics(source_channels=3)),
    "gray": (["--input", "gray"], lambda found: found == Semantics(source_channels=1)),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_commands_for_every_direction(gesso: Any, tiny_dataset: Path, tmp_path: Path, way: str) -> None:
    flags, expected = WAYS[way]
    run, again = tmp_path / "run", tmp_path / "again"
    report = json.loads(worked(gesso("doctor", tiny_dataset, *flags, "--json")).out)
    words = shlex.split(report["train_command"])
    assert report["photographs"] == 7 and words[2 : words.index("--preset")] == [str(tiny_dataset), *flags]

    plan = worked(gesso(*begin(run, tiny_dataset, *flags, "--dry-run"))).out
    assert ("in their colours" in plan, "the colours of toy" in plan) == (way == "colours", way == "labels")
    worked(gesso(*begin(run, tiny_dataset, *flags)))
    info = read_info(run / "model.safetensors")
    assert expected(info.semantics)
    assert (info.label_space, info.target_space) == (
        TOY if way == "colours" else None,
        TOY if way == "labels" else None,
    )
    assert (run / "samples" / "val-00000000.png").exists()
    assert (way == "labels") == ("the colours of toy" in worked(gesso("info", run / "model.safetensors")).out)

    assert "after 3 steps" in worked(gesso(*begin(run, tiny_dataset, *flags, steps=3))).out, "it resumes"
    worked(gesso("train", "--config", run / "config.json", "--out", again, "--stop-at", 3, "--device", "cpu"))
    assert load_model(again / "model.safetensors").hash == load_model(run / "model.safetensors").hash

    made = tmp_path / "made"
    seen = [] if way == "colours" else flags  # the model file knows its colours
    worked(gesso("generate", run / "model.safetensors", tiny_dataset, *seen, "--out", made, "--device", "cpu"))
    assert sorted(path.name for path in made.glob("*.png")) == ["scene0.png", "scene1.png"]
    sheet = ["--contact-sheet", "--limit", 1, "--out", tmp_path / "sheet", "--device", "cpu"]
    worked(gesso("generate", run / "model.safetensors", tiny_dataset, *seen, *sheet))


def test_a_painted_model_takes_label_maps_in_python(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    worked(gesso(*begin(run, tiny_dataset, "--input", "colours")))
    synth = package.load(run / "model.safetensors", device="cpu")
    label = np.arange(32 * 64).reshape(32, 64) % (len(TOY) + 1)
    network = load_model(run / "model.safetensors").networks["generator"]
    with torch.no_grad():
        wanted = to_uint8(network(PAINTED.encode({"label": torch.from_numpy(label)[None]})))[0]
    gap = np.abs(synth(label).astype(int) - wanted)  # layouts are computed as codes, which add in another order
    assert gap.max() <= 1 and gap.mean() < 0.01


def test_gray_pictures_and_photographs_make_the_same(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    run, grays, photos = tmp_path / "run", tmp_path / "grays", tiny_dataset / "val" / "images"
    held_out = ["--images", tiny_dataset / "train" / "images", "--val-images", photos]
    worked(gesso(*begin(run, "--input", "gray", *held_out)))
    assert (run / "samples" / "val-00000000.png").exists()
    grays.mkdir()
    for path in photos.iterdir():
        with Image.open(path) as image:
            image.convert("L").save(grays / path.name)
    inputs = {
        "dataset": [tiny_dataset, "--input", "gray"],
        "folder": [photos, "--input", "gray"],
        "sources": ["--sources", photos, "--input", "gray"],
        "file": [photos / "scene0.png", "--input", "gray"],
        "gray": [grays],
    }
    for name, words in inputs.items():
        worked(gesso("generate", run / "model.safetensors", *words, "--out", tmp_path / name, "--device", "cpu"))
    made = [picture(tmp_path / name / "scene0.png") for name in inputs]
    assert all(np.array_equal(each, made[0]) for each in made)


def test_a_model_of_label_maps_says_what_its_pictures_mean(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    worked(gesso(*begin(run, tiny_dataset, "--direction", "BtoA")))
    model, made = run / "model.safetensors", ("--out", tmp_path / "made", "--device", "cpu")
    refused(
        gesso("generate", model, tiny_dataset, "--direction", "AtoB", *made), "holds label maps", "--direction BtoA"
    )
    worked(gesso("generate", model, tiny_dataset / "val" / "images", *made))  # photographs alone
    other = tmp_path / "facades.json"
    published("facades").save(other)
    words = ["generate", model, tiny_dataset, "--direction", "BtoA", "--space", other, *made]
    refused(gesso(*words), "label space facades", "the model knows toy")
    refused(gesso(*begin(run, tiny_dataset)), "begun on other data")


def test_held_out_accuracy(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "photo2labels.py"))
    true, found = np.array([[0, 0, 1, 3]]), np.array([[0, 1, 1, 2]])  # of three classes; 3 is ignored
    measured = script["scores"](script["confusion"](true, found, 3))
    assert list(measured.values()) == pytest.approx([2 / 3, (1 / 2 + 1) / 2, (1 / 2 + 1 / 2) / 2, 2 / 3])
    run, out = tmp_path / "run", tmp_path / "out"
    worked(gesso(*begin(run, tiny_dataset, "--direction", "BtoA")))
    words = [run / "model.safetensors", tiny_dataset, "--out", out, "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["photo2labels.py", *map(str, words)])
    script["main"]()
    said = capsys.readouterr().out
    assert "pixel accuracy: 0." in said and "over 2 photographs" in said
    assert {path.name for path in out.iterdir()} == {"scene0.png", "scene1.png", "sheet.png"}
    assert set(np.unique(picture(out / "scene0.png"))) <= {value for c in TOY.classes for value in c.values}


def test_colours_have_no_channel_for_ignored_pixels(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    words = begin(tmp_path / "run", tiny_dataset, "--input", "colours", "--dont-care")
    refused(gesso(*words), "--dont-care", "ignored pixels are black")


def test_all_sixteen_bits_reach_the_network(gesso: Any, tmp_path: Path) -> None:
    """Two pictures that differ in their low bytes alone; 8 bits would show them as one."""
    random, (sources, images) = np.random.default_rng(2), (tmp_path / "sources", tmp_path / "images")
    for folder in (sources, images):
        folder.mkdir()
    coarse = random.integers(0, 256, (32, 64), dtype=np.uint16) << 8
    for name, fine in (("a", coarse), ("b", coarse + 255)):
        Image.fromarray(fine).save(sources / f"{name}.png")
        Image.fromarray(random.integers(0, 256, (32, 64, 3), dtype=np.uint8)).save(images / f"{name}.png")
    listing = layouts.folders(sources=sources, images=images)
    first, second = (SemanticDataset(listing.samples, None, KEEP, training=False)[i]["source"] for i in range(2))
    torch.testing.assert_close(second - first, torch.full_like(first, 2 * 255 / 65535), rtol=1e-3, atol=1e-6)
    run, made = tmp_path / "run", tmp_path / "made"
    worked(gesso(*begin(run, "--sources", sources, "--images", images)))
    assert read_info(run / "model.safetensors").semantics == Semantics(source_channels=1)
    worked(gesso("generate", run / "model.safetensors", sources, "--out", made, "--device", "cpu", "--original-size"))
    synth = package.load(run / "model.safetensors", device="cpu")
    for name in "ab":
        deep = picture(sources / f"{name}.png")
        assert deep.dtype == np.uint16 and np.array_equal(picture(made / f"{name}.png"), synth(deep))


def test_pairs_of_odd_width_are_refused_by_name(gesso: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    for name, width in (("even", 64), ("odd", 65)):
        Image.new("RGB", (width, 32)).save(tmp_path / "data" / "train" / f"{name}.png")
    said = "is 65 pixels wide; a side-by-side pair A|B has two halves of equal, whole width"
    ended = gesso("doctor", tmp_path / "data")
    assert ended.code == 1 and "odd.png" in ended.out
    refused(gesso(*begin(tmp_path / "run", tmp_path / "data")), "odd.png", said)
