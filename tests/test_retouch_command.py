"""`gesso retouch`: files in, files out, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gesso.networks.segmenter import Segmenter
from gesso.synthesis.segmenter import SegmenterInfo, save_segmenter
from gesso.synthesis.synthesizer import read_record
from styled import CAR, SPACE, scene
from support import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_file: Path) -> dict[str, Path]:
    """A photograph of 75x150 with its label and instance map, in the current folder."""
    monkeypatch.chdir(tmp_path)
    label, instance = scene()
    photograph = np.random.default_rng(0).integers(0, 256, (75, 150, 3), dtype=np.uint8)
    Image.fromarray(photograph).save("photo.png")
    Image.fromarray(SPACE.to_values(label).astype(np.uint8)).save("labels.png")
    Image.fromarray(instance.astype(np.uint16)).save("instances.png")
    return {"photo": tmp_path / "photo.png", "model": model_file}


def given(files: dict[str, Path]) -> list[object]:
    return ["photo.png", "--model", files["model"], "--labels", "labels.png", "--instances", "instances.png"]


def array(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_car_is_removed_and_all_else_stays(gesso: Any, files: dict[str, Path]) -> None:
    before = files["photo"].read_bytes()
    ended = gesso(
        "retouch", *given(files), "--remove", "car:26001", "--labels-out", "l.png", "--instances-out", "i.png"
    )
    assert ended.code == 0 and "% of the photograph were made anew" in ended.out, ended.err
    photograph, result = array("photo.png"), array("photo-retouched.png")
    same = (photograph == result).all(-1)
    assert same[:, 100:].all() and not same[35:55, 15:40].any() and files["photo"].read_bytes() == before
    record = read_record("photo-retouched.png")
    assert record and record["retouched"]["edits"] == [{"remove": "car:26001"}] and record["style"]["instances"]
    label, instance = array("l.png"), array("i.png")
    assert CAR in SPACE.to_indices(label) and 26001 not in instance and 26002 in instance
    assert label.shape == scene()[0].shape


def test_written_maps_are_read_back(gesso: Any, files: dict[str, Path]) -> None:
    gesso("retouch", *given(files), "--list", "--labels-out", "l.png", "--instances-out", "i.png", "-o", "shown.png")
    assert (SPACE.to_indices(array("l.png")) == scene()[0]).all()
    words = (
        "photo.png",
        "--model",
        files["model"],
        "--labels",
        "l.png",
        "--instances",
        "i.png",
        "--move",
        "car:26002=-9,3,0.8",
    )
    assert gesso("retouch", *words, "-o", "again.png").code == 0
    gesso("retouch", *given(files), "--move", "car:26002=-9,3,0.8", "-o", "first.png")
    assert (array("again.png") == array("first.png")).all()


def test_objects_are_listed_and_shown(gesso: Any, files: dict[str, Path]) -> None:
    ended = gesso("retouch", *given(files), "--list")
    assert ended.code == 0 and all(name in ended.out for name in ("car:26001", "car:26002", "person:7", "road"))
    shown = array("photo-objects.png")
    assert shown.shape[0] >= 512 and (shown.reshape(-1, 3) == SPACE.colours[CAR]).all(-1).any(), (
        "boxes in the class's colour"
    )


def test_edits_come_from_a_file_and_from_flags(gesso: Any, files: dict[str, Path]) -> None:
    document = [{"move": "car:26001", "by": [20, 4], "scale": 1.1}, {"restyle": "road", "to": 1}]
    Path("edits.json").write_text(json.dumps(document), encoding="utf-8")
    assert gesso("retouch", *given(files), "--edits", "edits.json", "--remove", "person:7", "-o", "a.png").code == 0
    flags = ("--move", "car:26001=20,4,1.1", "--restyle", "road=1", "--remove", "person:7")
    assert gesso("retouch", *given(files), *flags, "-o", "b.png").code == 0
    assert (array("a.png") == array("b.png")).all()
    vector = ("--restyle", "car:26002=0.5,-0.5,0", "--paste", "car:26002=30,9", "--relabel", "person:7=car", "--whole")
    assert gesso("retouch", *given(files), *vector, "-o", "c.png").code == 0
    for name in ("labels", "instances"):  # a map of the photograph's own size fits whatever size is worked at
        with Image.open(f"{name}.png") as image:
            image.resize((150, 75), Image.Resampling.NEAREST).save(f"{name}.png")
    ended = gesso("retouch", *given(files), "--restyle", "road=c.png", "--size", "40x80", "-o", "d.png")
    assert ended.code == 0, ended.err
    assert read_record("d.png")["retouched"]["size"] == [40, 80]


def test_nothing_is_overwritten_unless_asked(gesso: Any, files: dict[str, Path]) -> None:
    words = (*given(files), "--remove", "car")
    assert gesso("retouch", *words, "-o", "out.png").code == 0
    first = Path("out.png").read_bytes()
    refused(gesso("retouch", *words, "-o", "out.png"), "out.png is there already", "--overwrite")
    refused(gesso("retouch", *words, "-o", "photo.png"), "photo.png is there already")
    refused(gesso("retouch", *words, "-o", "new.png", "--labels-out", "new.png"), "named for two results")
    refused(gesso("retouch", *words, "-o", "new.jpg"), "would not be a PNG")
    assert Path("out.png").read_bytes() == first and not Path("new.png").exists()
    assert gesso("retouch", *given(files), "--remove", "person", "-o", "out.png", "--overwrite").code == 0
    assert Path("out.png").read_bytes() != first


def test_an_upright_photograph_stays_upright(gesso: Any, files: dict[str, Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(np.rot90(array("photo.png"))).save("turned.png", exif=exif)
    assert gesso("retouch", "turned.png", *given(files)[1:], "--remove", "car:26001", "-o", "a.png").code == 0
    gesso("retouch", *given(files), "--remove", "car:26001", "-o", "b.png")
    assert (array("a.png") == array("b.png")).all()


def test_the_colour_profile_goes_along(gesso: Any, files: dict[str, Path]) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(array("photo.png")).save("photo.png", icc_profile=profile)
    assert gesso("retouch", *given(files), "--remove", "car", "-o", "out.png").code == 0
    with Image.open("out.png") as image:
        assert image.info["icc_profile"] == profile


def test_photographs_without_a_meaning_are_refused(gesso: Any, files: dict[str, Path]) -> None:
    photograph = array("photo.png")
    clear = np.dstack([photograph, np.full(photograph.shape[:2], 200, np.uint8)])
    Image.fromarray(clear).save("clear.png")
    refused(
        gesso("retouch", "clear.png", *given(files)[1:], "--remove", "car"), "clear.png is transparent", "background"
    )
    clear[..., 3] = 255
    Image.fromarray(clear).save("opaque.png")
    assert gesso("retouch", "opaque.png", *given(files)[1:], "--remove", "car").code == 0
    frames = [Image.fromarray(photograph), Image.fromarray(255 - photograph)]
    frames[0].save("moving.png", save_all=True, append_images=frames[1:])
    refused(gesso("retouch", "moving.png", *given(files)[1:], "--remove", "car"), "holds 2 pictures")
    refused(gesso("retouch", "gone.png", *given(files)[1:], "--remove", "car"), "gone.png does not exist")
    Image.fromarray(photograph[:50]).save("other.png")
    assert gesso("retouch", "other.png", *given(files)[1:], "--remove", "car").code == 0, (
        "the map is of the model's size"
    )
    Image.fromarray(np.zeros((20, 20), np.uint8)).save("small.png")
    ended = gesso(
        "retouch", "photo.png", "--model", files["model"], "--labels", "small.png", "--remove", "car", "-o", "x.png"
    )
    refused(ended, "(20, 20)", "75x150", "32x64")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--list", "--remove", "car"), "--list shows the objects"),
        ((), "Nothing is to be done"),
        (("--segmenter", "s.safetensors", "--remove", "car"), "not both"),
        (("--segmenter-classes", "c.json", "--remove", "car"), "--segmenter"),
        (("--move", "car:26001"), "write car:3=DX,DY"),
        (("--move", "car:26001=3"), "write car:3=DX,DY"),
        (("--move", "car:26001=3,4,0"), "write car:3=DX,DY"),
        (("--move", "car:26001=nan,4"), "write car:3=DX,DY"),
        (("--remove", "car=2"), "write car:3"),
        (("--restyle", "road"), "write road=2"),
        (("--relabel", "road"), "write car:3=bus"),
        (("--restyle", "road=gone.json"), "gone.json"),
        (("--edits", "gone.json"), "gone.json"),
        (("--remove", "car", "--size", "big"), "HEIGHTxWIDTH"),
        (("--remove", "car:4"), "car:26001, car:26002"),
    ],
)
def test_what_cannot_be_meant_is_refused(gesso: Any, files: dict[str, Path], words: tuple[str, ...], said: str) -> None:
    refused(gesso("retouch", *given(files), *words, "-o", "x.png"), said)
    assert not Path("x.png").exists()


def test_a_segmenter_reads_what_no_map_says(gesso: Any, files: dict[str, Path]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Segmenter(classes=len(SPACE), width=4)
    with torch.no_grad():
        bias = network.state_dict()[next(name for name in reversed(network.state_dict()) if name.endswith("bias"))]
        bias[SPACE.index("road")] += 100  # sees nothing but road
    save_segmenter(
        "s.safetensors", network, SegmenterInfo(label_space=SPACE, width=4, steps=1, origin="here", size=(32, 64))
    )
    words = ("photo.png", "--model", files["model"], "--segmenter", "s.safetensors")
    ended = gesso("retouch", *words, "--list")
    assert ended.code == 0 and "road" in ended.out and "car" not in ended.out, ended.err
    refused(gesso("retouch", *words, "--remove", "car", "-o", "x.png"), "no car in the photograph")
    refused(gesso("retouch", *words, "--remove", "road", "-o", "x.png"), "nothing would be left")
    refused(gesso("retouch", *words, "--restyle", "road=1", "-o", "x.png"), "change every pixel", "--whole")
    less = SPACE.model_copy(update={"name": "less", "classes": SPACE.classes[:-1]})
    network = Segmenter(classes=len(less), width=4)
    save_segmenter(
        "t.safetensors", network, SegmenterInfo(label_space=less, width=4, steps=1, origin="here", size=(32, 64))
    )
    ended = gesso("retouch", *words[:-1], "t.safetensors", "--remove", "car", "-o", "x.png")
    refused(ended, "less", "toy")
