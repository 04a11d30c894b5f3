"""Edges to photographs: the detector, `gesso edges`, and `--input image` for data whose labels are pictures."""

from __future__ import annotations

import inspect
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gesso.checkpoints import load_model, read_info
from gesso.cli import edges as edges_command
from gesso.cli.common import DataFlags, open_listing
from gesso.data import layouts
from gesso.data.edges import HIGH, LOW, SIGMA, edge_picture, find_edges
from gesso.errors import ConfigError
from support import Ended, refused
from training_script import tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")

# -------------------------------------------------------------------------------------------------------- the detector


def gray(values: np.ndarray) -> np.ndarray:
    """(H, W) brightness 0..1 as a photograph (H, W, 3)."""
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


def bands(*steps: float, width: int = 40, start: float = 0.1) -> np.ndarray:
    """A photograph of upright bands, each brighter than the one before by a step of contrast."""
    levels = start + np.cumsum([0.0, *steps])
    return gray(np.tile(np.repeat(levels, width), (50, 1)))


def square() -> np.ndarray:
    """White rows 20..59, columns 15..64 on black, 80x80."""
    white = np.zeros((80, 80))
    white[20:60, 15:65] = 1
    return gray(white)


@pytest.mark.parametrize("sigma", [0.6, SIGMA, 3.0])
def test_a_square_gives_one_closed_line_along_its_border(sigma: float) -> None:
    edges = find_edges(square(), sigma=sigma)
    inside = square()[..., 0] > 0
    near = ndimage.binary_dilation(inside, np.ones((3, 3))) & ~ndimage.binary_erosion(inside, np.ones((3, 3)))
    strays = edges & ~near
    assert strays.sum() <= 8 * sigma, "smoothing may round off the corners, nothing else"
    regions, count = ndimage.label(~edges)  # by the four neighbours, so that a diagonal line closes
    assert count == 2 and regions[40, 40] != regions[0, 0]
    assert ndimage.label(edges, np.ones((3, 3)))[1] == 1
    blocks = edges[1:, 1:] & edges[1:, :-1] & edges[:-1, 1:] & edges[:-1, :-1]
    assert not blocks.any(), "one pixel wide"
    assert abs(int(edges.sum()) - 2 * (40 + 50)) <= 8 + 8 * sigma


@pytest.mark.parametrize("sigma", [0.0, 0.5, SIGMA, 4.0, 10.0])
@pytest.mark.parametrize("contrast", [0.1, 0.4])
def test_a_threshold_is_the_contrast_of_a_sharp_border_at_any_smoothing(sigma: float, contrast: float) -> None:
    photograph = bands(contrast, width=60)
    contrast = float(np.ptp(photograph)) / 255  # as stored
    below, above = contrast * 0.999, contrast * 1.001
    assert find_edges(photograph, sigma=sigma, low=below, high=below).any(axis=1)[2:-2].all()
    assert not find_edges(photograph, sigma=sigma, low=above, high=above).any()


def test_thresholds_are_monotone() -> None:
    steps = (0.05, 0.1, 0.2, 0.3)
    found = [lines_of(find_edges(bands(*steps), low=t, high=t)) for t in (0.02, 0.07, 0.15, 0.25, 0.35)]
    borders = [39, 79, 119, 159]  # the last column before each
    for number, lines in enumerate(found):
        wanted = borders[number:]
        assert len(lines) == len(wanted)
        assert all(line - border in (0, 1) for line, border in zip(lines, wanted, strict=True))
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    shares = [find_edges(noise, low=t / 2, high=t).mean() for t in (0.05, 0.1, 0.2, 0.4, 0.8)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.1 and shares[-1] == 0


def lines_of(edges: np.ndarray) -> list[int]:
    """The columns of upright lines; their ends, near the top and the bottom, are left out."""
    assert (edges[5:-5] == edges[25]).all()
    return np.flatnonzero(edges[25]).tolist()


def test_a_line_goes_on_down_to_the_low_threshold() -> None:
    fading = np.linspace(0.3, 0, 300)
    photograph = gray(np.vstack([np.full((30, 300), 0.5), np.tile(0.5 - fading, (30, 1))]))
    reached = np.flatnonzero(find_edges(photograph, low=0.1, high=0.2).any(axis=0))
    assert abs(fading[reached.max()] - 0.1) < 0.01
    assert not find_edges(photograph, low=0.1, high=0.31).any()
    assert np.flatnonzero(find_edges(photograph, low=0.2, high=0.2).any(axis=0)).max() < reached.max()


def test_nothing_is_drawn_where_nothing_is() -> None:
    assert not find_edges(np.full((40, 60, 3), 200, np.uint8), low=0.001, high=0.001).any()
    for shape in ((1, 1), (1, 9), (2, 2), (3, 3)):
        assert find_edges(np.zeros((*shape, 3), np.uint8)).shape == shape


def test_colours_of_unlike_brightness_have_a_border() -> None:
    photograph = np.zeros((20, 40, 3), np.uint8)
    photograph[:, :20, 2], photograph[:, 20:, 1] = 255, 255  # blue | green
    assert set(lines_in(find_edges(photograph))) <= {19, 20}


def lines_in(edges: np.ndarray) -> list[int]:
    columns = np.flatnonzero(edges.any(axis=0)).tolist()
    assert columns
    return columns


def test_pictures_of_edges() -> None:
    edges = find_edges(square())
    white, black = edge_picture(edges), edge_picture(edges, invert=True)
    assert white.dtype == black.dtype == np.uint8
    assert set(np.unique(white)) == {0, 255}
    assert ((white == 255) == edges).all()
    assert (white.astype(int) + black == 255).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": -1.0}, "--sigma -1"),
        ({"sigma": float("nan")}, "--sigma nan"),
        ({"sigma": 1e6}, "0 to 100 pixels"),
        ({"low": 0.3, "high": 0.1}, "--low 0.3 --high 0.1"),
        ({"low": 0.0}, "--low 0 "),
        ({"high": 2.0}, "--high 2"),
        ({"high": float("nan")}, "--high nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_edges(square(), **settings)


# -------------------------------------------------------------------------------------------------------- gesso edges


def worked(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended


def begin(run: Path, *words: object) -> list[object]:
    """The command that trains a tiny model for two steps."""
    return ["train", *words, "--out", run, "--device", "cpu", "--stop-at", 2, *tiny_flags()]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def photos(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Photographs of 32x64: JPEG, PNG, one lying on its side by its EXIF orientation, one in a subfolder."""
    folder = tmp_path / "my photos"
    (folder / "more").mkdir(parents=True)
    images = [Image.open(tiny_dataset / "train" / "images" / f"scene{n}.png") for n in range(4)]
    images[0].save(folder / "a.jpg", quality=95)
    images[1].save(folder / "b.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    images[2].transpose(Image.Transpose.ROTATE_90).save(folder / "c.jpg", quality=95, exif=turned)
    images[3].convert("L").save(folder / "more" / "d.png")
    return folder


def test_photographs_to_edges_to_photographs(gesso: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "edges"
    said = worked(gesso("edges", photos, "-o", out)).out
    assert "4 edge maps in" in said and "lines cover" in said
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == ["a.png", "b.png", "c.png", "more", "more/d.png"]
    for path in out.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size, image.format) == ("L", (64, 32), "PNG")
            assert set(np.unique(np.asarray(image))) == {0, 255}
    assert np.array_equal(picture(out / "b.png") == 255, find_edges(picture(photos / "b.png")))

    listing = layouts.folders(sources=out, images=photos)
    assert (len(listing.samples), listing.orphans) == (4, ())
    command = shlex.split(next(line for line in said.splitlines() if line.strip().startswith("gesso train")))
    given = command[2 : command.index("--out")]
    assert given == ["--sources", str(out), "--images", str(photos)]
    run = tmp_path / "run"
    worked(gesso("doctor", *given))
    worked(gesso(*begin(run, *given)))
    assert read_info(run / "model.safetensors").semantics.source_channels == 1
    worked(gesso("generate", run / "model.safetensors", out, "--out", tmp_path / "made", "--device", "cpu"))
    assert picture(tmp_path / "made" / "more" / "d.png").shape == (32, 64, 3)


def test_inverted_and_other_settings(gesso: Any, photos: Path, tmp_path: Path) -> None:
    worked(gesso("edges", photos, "--out", tmp_path / "white", "--sigma", 0.8, "--low", 0.1, "--high", 0.3))
    worked(gesso("edges", photos, "-o", tmp_path / "black", "--sigma", 0.8, "--low", 0.1, "--high", 0.3, "--invert"))
    white, black = picture(tmp_path / "white" / "b.png"), picture(tmp_path / "black" / "b.png")
    assert (white.astype(int) + black == 255).all()
    wanted = find_edges(picture(photos / "b.png"), sigma=0.8, low=0.1, high=0.3)
    assert np.array_equal(white == 255, wanted)
    assert not np.array_equal(wanted, find_edges(picture(photos / "b.png")))


def test_another_size(gesso: Any, photos: Path, tmp_path: Path) -> None:
    said = worked(gesso("edges", photos, "-o", tmp_path / "small", "--resize", "16x24")).out
    assert picture(tmp_path / "small" / "a.png").shape == (16, 24)
    assert "gesso train" not in said, "their photographs have another size"
    words = ("edges", photos, "-o", tmp_path / "small", "--resize", "16x24", "--photographs", tmp_path / "looked at")
    assert (
        f"gesso train --sources {tmp_path / 'small'} --images '{tmp_path / 'looked at'}'" in worked(gesso(*words)).out
    )
    with Image.open(photos / "b.png") as image:
        resized = np.asarray(image.resize((24, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(picture(tmp_path / "looked at" / "b.png"), resized)
    assert np.array_equal(picture(tmp_path / "small" / "b.png") == 255, find_edges(resized))
    assert picture(tmp_path / "looked at" / "c.png").shape == (16, 24, 3)
    pairs = layouts.folders(sources=tmp_path / "small", images=tmp_path / "looked at")
    assert (len(pairs.samples), pairs.orphans) == (4, ())


def test_files_of_the_same_name_are_said(gesso: Any, photos: Path, tmp_path: Path) -> None:
    Image.open(photos / "b.png").save(photos / "b.webp")
    said = worked(gesso("edges", photos, "-o", tmp_path / "edges")).out
    assert "4 edge maps" in said and f"1 files, such as {photos / 'b.webp'}" in said


def test_photographs_without_edges_are_said(gesso: Any, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), (90, 90, 90)).save(photos / "fog.png")
    said = worked(gesso("edges", photos, "-o", tmp_path / "edges")).out
    assert "1 of them are empty" in said and "--high" in said
    assert not picture(tmp_path / "edges" / "fog.png").any()


def test_photographs_without_any_edge_are_refused(gesso: Any, tmp_path: Path) -> None:
    """As are label maps, whose small values look black."""
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.tile(np.arange(8, dtype=np.uint8), (16, 4))).save(maps / f"{name}.png")
    refused(gesso("edges", maps, "-o", tmp_path / "edges"), "All 2 edge maps", "are empty", maps, "--high 0.1")


def test_the_defaults_of_the_command_are_those_of_the_function() -> None:
    command, function = inspect.signature(edges_command.edges), inspect.signature(find_edges)
    for name, value in (("sigma", SIGMA), ("low", LOW), ("high", HIGH)):
        assert command.parameters[name].default == function.parameters[name].default == value


def test_a_folder_that_is_not_of_photographs(gesso: Any, tiny_dataset: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "edges"
    refused(gesso("edges", tmp_path / "gone", "-o", out), tmp_path / "gone", "does not exist", "check the path")
    refused(gesso("edges", photos / "b.png", "-o", out), photos / "b.png", "not a folder")
    (tmp_path / "empty").mkdir()
    refused(gesso("edges", tmp_path / "empty", "-o", out), tmp_path / "empty", "holds no photograph", ".jpg")
    images = tiny_dataset / "train" / "images"
    refused(gesso("edges", tiny_dataset, "-o", out), "is a dataset", images)
    refused(gesso("edges", tiny_dataset / "train", "-o", out), "is a dataset", images)
    assert not out.exists()
    worked(gesso("edges", images, "-o", out))


def test_splits_of_photographs_are_no_dataset(gesso: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "more").rename(photos / "val")
    worked(gesso("edges", photos, "-o", tmp_path / "edges"))
    assert (tmp_path / "edges" / "val" / "d.png").exists()
    (photos / "val").rename(tmp_path / "val")
    (tmp_path / "both").mkdir()
    (tmp_path / "val").rename(tmp_path / "both" / "val")
    worked(gesso("edges", tmp_path / "both", "-o", tmp_path / "of both"))
    assert (tmp_path / "of both" / "val" / "d.png").exists()


def test_photographs_are_never_overwritten(gesso: Any, photos: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    refused(gesso("edges", photos, "-o", photos), photos, "folders apart", "--out")
    refused(gesso("edges", photos, "-o", photos / "more" / "edges"), photos, "folders apart")
    refused(gesso("edges", photos / "more", "-o", photos), photos / "more", "folders apart")
    refused(gesso("edges", photos, "-o", tmp_path / "x", "--photographs", photos), photos, "folders apart")
    refused(gesso("edges", photos, "-o", tmp_path / "x", "--photographs", tmp_path / "x"), "folders apart")
    links = tmp_path / "links"
    links.mkdir()
    (links / "b.png").symlink_to(photos / "b.png")
    refused(gesso("edges", links, "-o", photos), photos / "b.png", "would overwrite")
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before
    assert not (tmp_path / "x").exists()


def test_bad_input(gesso: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "edges"
    refused(gesso("edges", photos, "-o", out, "--low", 0.5), "--low 0.5 --high 0.1", "low is not above high")
    refused(gesso("edges", photos, "-o", out, "--resize", "big"), "'big' is not a size")
    assert not out.exists()
    (photos / "c.jpg").write_bytes((photos / "c.jpg").read_bytes()[:300])
    refused(gesso("edges", photos, "-o", out), photos / "c.jpg", "damaged or incomplete")
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"], "what came before it is whole"
    (tmp_path / "file").touch()
    refused(gesso("edges", photos / "more", "-o", tmp_path / "file" / "edges"), tmp_path / "file" / "edges")


def test_a_write_that_fails_leaves_no_half_file(
    gesso: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "edges"
    worked(gesso("edges", photos, "-o", out))
    before = {path: path.read_bytes() for path in out.rglob("*.png")}

    def half(self: Image.Image, path: Path, *_: object, **__: object) -> None:
        Path(path).write_bytes(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    refused(gesso("edges", photos, "-o", out, "--invert"), out / "a.png")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_command_is_light_until_it_runs() -> None:
    script = "import sys, gesso.cli.edges; print(*{'skimage', 'scipy', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_edges_of_camvid(camvid: Path) -> None:
    shares = [find_edges(picture(path)).mean() for path in sorted((camvid / "val" / "images").glob("*.jpg"))[::25]]
    assert shares and 0.01 < min(shares) and max(shares) < 0.2


# ------------------------------------------------------------------------------------------------------ --input image

KINDS = {  # what a picture may be: its channels, and whether it has 16 bits
    "edges": (1, False),
    "depth": (1, True),
    "drawing": (3, False),
    "cutout": (4, False),
    "stack": (5, True),
}


def save_input(kind: str, folder: Path, name: str, random: np.random.Generator) -> None:
    channels, deep = KINDS[kind]
    shape = (32, 64) if channels == 1 else (32, 64, channels)
    values = random.integers(0, 65536 if deep else 256, shape, dtype=np.uint16 if deep else np.uint8)
    if kind == "stack":
        np.save(folder / f"{name}.npy", values)
    else:
        Image.fromarray(values).save(folder / f"{name}.png")


def dataset(kind: str, root: Path, label: str = "{split}/labels", image: str = "{split}/images") -> Path:
    """Pictures in the place of label maps: 3 to train on, 1 held out."""
    random = np.random.default_rng(4)
    for split, count in (("train", 3), ("val", 1)):
        folders = root / label.format(split=split), root / image.format(split=split)
        for folder in folders:
            folder.mkdir(parents=True)
        for number in range(count):
            save_input(kind, folders[0], f"{split}{number}", random)
            photograph = random.integers(0, 256, (32, 64, 3), dtype=np.uint8)
            Image.fromarray(photograph).save(folders[1] / f"{split}{number}.png")
    return root


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_in_the_place_of_label_maps(gesso: Any, kind: str, tmp_path: Path) -> None:
    root, run, again = dataset(kind, tmp_path / "data"), tmp_path / "run", tmp_path / "again"
    said = worked(gesso("doctor", root, "--input", "image", "--json"))
    report = json.loads(said.out)
    assert report["source_channels"] == KINDS[kind][0] and report["label_space"] is None
    words = shlex.split(report["train_command"])
    given = words[2 : words.index("--preset")]
    assert given == [str(root), "--input", "image"]

    assert f"{KINDS[kind][0]} channels: classes=0" in worked(gesso(*begin(run, *given, "--dry-run"))).out
    worked(gesso(*begin(run, *given)))
    info = read_info(run / "model.safetensors")
    assert (info.semantics.source_channels, info.label_space) == (KINDS[kind][0], None)
    assert (run / "samples" / "val-00000000.png").exists(), "held-out samples are pictures too"

    assert json.loads((run / "config.json").read_text())["data"]["input"] == "image"
    worked(gesso("train", "--config", run / "config.json", "--out", again, "--stop-at", 2, "--device", "cpu"))
    assert load_model(again / "model.safetensors").hash == load_model(run / "model.safetensors").hash

    inputs = {"dataset": [root, "--input", "image"], "folder": [root / "val" / "labels"]}
    for name, words in inputs.items():
        worked(gesso("generate", run / "model.safetensors", *words, "--out", tmp_path / name, "--device", "cpu"))
    made = [picture(tmp_path / name / "val0.png") for name in inputs]
    assert made[0].shape == (32, 64, 3) and np.array_equal(*made)


def test_a_run_goes_on_with_the_same_input_only(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    worked(gesso(*begin(run, tiny_dataset, "--input", "image")))
    words = begin(run, tiny_dataset, "--input", "image")
    words[words.index("--stop-at") + 1] = 3
    assert "after 3 steps" in worked(gesso(*words)).out
    refused(gesso(*begin(run, tiny_dataset)), run, "begun on other data")


def read(**flags: Any) -> layouts.Listing:
    data = flags.pop("data", None)
    return open_listing(data, DataFlags(input="image", **flags), "train")


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("{split}/labels", "{split}/images"),
        ("{split}_label", "{split}_img"),
        ("{split}_A", "{split}_B"),
        ("annotations/{split}2017", "images/{split}2017"),
    ],
)
def test_any_convention_may_hold_pictures(tmp_path: Path, label: str, image: str) -> None:
    root = dataset("drawing", tmp_path, label, image)
    listing = read(data=root)
    assert listing.space is None
    assert [s.source for s in listing.samples] == sorted((root / label.format(split="train")).iterdir())
    assert [s.image for s in listing.samples] == sorted((root / image.format(split="train")).iterdir())
    assert not any(s.label or s.instance for s in listing.samples)
    assert layouts.as_pictures(listing) == listing


def test_instances_and_the_label_space_are_left_out(tiny_dataset: Path) -> None:
    found = layouts.find(tiny_dataset)
    assert found.space is not None
    listing = layouts.as_pictures(found)
    assert listing.space is None
    assert [(s.name, s.source, s.image) for s in listing.samples] == [(s.name, s.label, s.image) for s in found.samples]


def test_folders_named_one_by_one(tmp_path: Path) -> None:
    root = dataset("edges", tmp_path)
    maps, images = root / "train" / "labels", root / "train" / "images"
    as_labels, as_sources = read(labels=maps, images=images), layouts.folders(sources=maps, images=images)
    assert as_labels.samples == as_sources.samples
    turned = read(data=root, direction="BtoA")  # photographs to edges
    assert [(s.source, s.image) for s in turned.samples] == [(s.image, s.source) for s in as_sources.samples]


def test_held_out_folders_are_read_alike(gesso: Any, tmp_path: Path) -> None:
    root, run = dataset("drawing", tmp_path / "data"), tmp_path / "run"
    words = [f"--{kind}s={root / 'train' / f'{kind}s'}" for kind in ("label", "image")]
    words += [f"--val-{kind}s={root / 'val' / f'{kind}s'}" for kind in ("label", "image")]
    worked(gesso(*begin(run, *words, "--input", "image")))
    assert (run / "samples" / "val-00000000.png").exists()
    worked(
        gesso("train", "--config", run / "config.json", "--out", tmp_path / "again", "--stop-at", 1, "--device", "cpu")
    )


def test_held_out_folders_are_turned_alike(gesso: Any, tmp_path: Path) -> None:
    root, run = dataset("edges", tmp_path / "data"), tmp_path / "run"  # inputs of 1 channel, photographs of 3
    words = [f"--sources={root / 'train' / 'labels'}", f"--images={root / 'train' / 'images'}", "--direction=BtoA"]
    words += [f"--val-sources={root / 'val' / 'labels'}", f"--val-images={root / 'val' / 'images'}"]
    worked(gesso(*begin(run, *words)))
    assert read_info(run / "model.safetensors").semantics.source_channels == 3
    assert (run / "samples" / "val-00000000.png").exists()


def test_what_pictures_do_not_have(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    for name, value in (("space", "toy"), ("instances", tiny_dataset / "train" / "labels")):
        words = ["--labels", tiny_dataset / "train" / "labels"] if name == "instances" else [tiny_dataset]
        ended = gesso(*begin(tmp_path / "run", *words, "--input", "image", f"--{name}", value))
        refused(ended, f"--{name} {value}", "--input image", "leave one out")
    assert not (tmp_path / "run").exists()
    assert gesso("doctor", tiny_dataset, "--input", "sound").code == 2


def test_the_right_flag_is_named_where_it_is_missing(
    gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    root, run = dataset("edges", tmp_path / "data"), tmp_path / "run"
    refused(gesso(*begin(run, root)), "no label space", "--input image")
    refused(gesso(*begin(run, root, "--direction", "BtoA")), "no label space", "--input image")
    worked(gesso(*begin(run, root, "--input", "image")))
    made = ("--out", tmp_path / "made", "--device", "cpu")
    asked = [root, "--input", "auto", *made]  # without it, pictures are taken as in training
    refused(gesso("generate", run / "model.safetensors", *asked), "takes pictures", root, "--input image")
    for data in (tiny_dataset, tiny_dataset / "val" / "labels", tiny_dataset / "val" / "labels" / "scene0.png"):
        refused(gesso("generate", tiny_model, data, "--input", "image", *made), "takes label maps")


def test_pictures_of_unlike_channels(gesso: Any, tmp_path: Path) -> None:
    root = dataset("drawing", tmp_path / "data")
    save_input("edges", root / "train" / "labels", "train1", np.random.default_rng(1))
    ended = gesso("doctor", root, "--input", "image")
    assert ended.code == 1 and "channels" in ended.out
    refused(gesso(*begin(tmp_path / "run", root, "--input", "image")), "train1", "have 1 channels", "take 3")
