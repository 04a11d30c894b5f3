"""What of the data is the input: kept by runs and model files, contradicted only aloud; sizes that padding would make absurd."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from gesso.checkpoints import read_info
from gesso.cli.common import DataFlags
from gesso.cli.train import find_data
from gesso.data.preprocessing import Preprocessing
from support import Ended, picture_model, refused
from training_script import tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")

HIGH, WIDE = 32, 64  # of a half
Command = Callable[..., Ended]


def worked(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended


def begin(run: Path, *words: object, steps: int = 1, **changes: Any) -> list[object]:
    """The command that trains a tiny model."""
    return ["train", *words, "--out", run, "--device", "cpu", "--stop-at", steps, *tiny_flags(**changes)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A|B files train/*.png and val/*.png; their halves in A/ and B/, gray ones of B in gray/."""
    root, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(4)
    for folder in ("files/train", "files/val", "A", "B", "gray"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        both = Image.fromarray(random.integers(0, 256, (HIGH, 2 * WIDE, 3), dtype=np.uint8))
        for split in ("train", "val"):
            both.save(root / "files" / split / f"{number}.png")
        both.crop((0, 0, WIDE, HIGH)).save(root / "A" / f"{number}.png")
        right = both.crop((WIDE, 0, 2 * WIDE, HIGH))
        right.save(root / "B" / f"{number}.png")
        right.convert("L").save(root / "gray" / f"{number}.png")
    return root


def model(folder: Path, channels: int, **said: Any) -> Path:
    """A model file of pictures with random weights, which says this of its input."""
    preprocessing = Preprocessing(resize="fixed", height=HIGH, width=WIDE, multiple=4).model_dump(mode="json")
    return picture_model(channels, folder, preprocessing, **said)


SIDES: dict[str, Any] = {"direction": "BtoA", "input": "auto", "side_by_side": True}


@pytest.fixture
def made(gesso: Command, tmp_path: Path) -> Callable[..., tuple[np.ndarray, str]]:
    """Generate; the first picture and what was printed."""

    def run(path: Path, *words: object) -> tuple[np.ndarray, str]:
        out = tmp_path / f"made{len(list(tmp_path.iterdir()))}"
        said = worked(gesso("generate", path, *words, "--out", out, "--device", "cpu")).out
        with Image.open(out / "0.png") as image:
            return np.array(image), said

    return run


# ----------------------------------------------------------------------------------------------------- a run goes on


def without(run: Path, *names: str) -> None:
    """The config.json of an earlier gesso, which did not name these."""
    document = json.loads((run / "config.json").read_text())
    for name in names:
        del document["data"][name]
    (run / "config.json").write_text(json.dumps(document))


def test_a_run_does_not_go_on_in_the_other_direction(gesso: Command, pairs: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", pairs / "files"
    worked(gesso(*begin(run, data)))
    other = begin(run, data, "--direction", "BtoA", steps=2)
    refused(gesso(*other), "direction AtoB there, BtoA now", "Use --direction AtoB again")
    without(run, "direction", "input")
    refused(gesso(*other), "direction AtoB there, BtoA now")
    assert "after 2 steps" in worked(gesso(*begin(run, data, "--direction", "AtoB", steps=2))).out


def test_a_run_does_not_go_on_with_another_input(gesso: Command, pairs: Path, tmp_path: Path) -> None:
    run, photos = tmp_path / "run", ["--images", pairs / "B"]
    worked(gesso(*begin(run, *photos, "--input", "gray")))
    other = begin(run, *photos, "--sources", pairs / "gray", steps=2)
    refused(gesso(*other), "input gray there, auto now", "Use --input gray again")


def test_a_run_does_not_go_on_with_input_and_target_exchanged(gesso: Command, pairs: Path, tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "elsewhere"
    worked(gesso(*begin(run, "--sources", pairs / "A", "--images", pairs / "B")))
    exchanged = begin(run, "--sources", pairs / "B", "--images", pairs / "A", steps=2)
    refused(gesso(*exchanged), "begun on other data: first_input", "see whether --sources and --images are exchanged")
    for name in "AB":
        shutil.copytree(pairs / name, moved / f"folder {name}")
    there = ["--sources", moved / "folder A", "--images", moved / "folder B"]
    assert "after 2 steps" in worked(gesso(*begin(run, *there, steps=2))).out
    without(run, "first_input")
    assert "after 3 steps" in worked(gesso(*begin(run, *there, steps=3))).out


TOLD = {"root": "data", "split": "train", "convention": "flat", "direction": "BtoA", "input": "colours", "space": "toy"}


@pytest.mark.parametrize("given", [{"direction": "AtoB"}, {"input": "auto"}, {"convention": "auto"}, {"space": "x"}])
def test_flags_win_over_the_data_of_a_run(given: dict[str, Any]) -> None:
    root, flags, _ = find_data(None, DataFlags(**given), "", {"data": TOLD})
    told = {name: TOLD[name] for name in ("convention", "direction", "input", "space")}
    assert {name: getattr(flags, name) for name in told} == {**told, **given}
    assert root == Path("data")


def test_another_input_drops_what_belongs_to_label_maps() -> None:
    folders = {"labels": "l", "images": "i", "instances": "n", "space": "toy"}
    root, flags, _ = find_data(None, DataFlags(input="gray"), "", {"data": folders})
    assert (root, flags) == (None, DataFlags(images=Path("i"), input="gray"))
    _, flags, _ = find_data(None, DataFlags(input="image"), "", {"data": folders})
    assert flags == DataFlags(labels=Path("l"), images=Path("i"), input="image")


def test_the_direction_of_a_config_can_be_turned_back(gesso: Command, pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    worked(gesso(*begin(run, pairs / "files", "--direction", "BtoA")))
    for name, words in (("same", []), ("back", ["--direction", "AtoB"])):
        worked(gesso("train", "--config", run / "config.json", *words, "--out", tmp_path / name, "--stop-at", 1))
    found = [json.loads((tmp_path / name / "config.json").read_text())["data"] for name in ("same", "back")]
    assert [data["direction"] for data in found] == ["BtoA", "AtoB"]


# ----------------------------------------------------------------------------------------------- what a model file says


def test_training_tells_the_model_file(gesso: Command, pairs: Path, tmp_path: Path) -> None:
    ways: dict[str, tuple[list[object], tuple[object, ...]]] = {
        "halves": ([pairs / "files", "--direction", "BtoA"], ("BtoA", "auto", True)),
        "gray": (["--images", pairs / "B", "--input", "gray"], ("AtoB", "gray", False)),
    }
    for name, (words, wanted) in ways.items():
        worked(gesso(*begin(tmp_path / name, *words)))
        info = read_info(tmp_path / name / "model.safetensors")
        assert (info.direction, info.input, info.side_by_side) == wanted


def test_info_tells_it(gesso: Command, tmp_path: Path) -> None:
    path = model(tmp_path, 3, **SIDES)
    assert "--direction BtoA, --input auto: the right half B of side-by-side files" in worked(gesso("info", path)).out
    found = json.loads(worked(gesso("info", path, "--json")).out)
    assert (found["direction"], found["input"], found["side_by_side"]) == ("BtoA", "auto", True)


def test_files_that_do_not_say_it_load(gesso: Command, pairs: Path, tmp_path: Path, made: Any) -> None:
    path, old = model(tmp_path, 3, **SIDES), tmp_path / "old.safetensors"
    with safe_open(path, "pt") as file:
        kept = {key: value for key, value in file.metadata().items() if key not in SIDES}
        save_file({name: file.get_tensor(name) for name in file.keys()}, old, metadata=kept)
    assert (read_info(old).direction, read_info(old).side_by_side) == (None, None)
    assert "trained on" not in worked(gesso("info", old)).out
    image, said = made(old, pairs / "files")
    assert "does not say which half" in said and "--direction BtoA takes the other" in said
    assert np.array_equal(image, made(old, "--sources", pairs / "A")[0])
    _, said = made(old, pairs / "files" / "val")
    assert "of the shape of two pictures of 32x64 side by side" in said and "--convention pairs" in said


def test_the_half_of_training_is_taken(gesso: Command, pairs: Path, tmp_path: Path, made: Any) -> None:
    path = model(tmp_path, 3, **SIDES)
    wanted, said = made(path, "--sources", pairs / "B")
    assert "side" not in said
    bare = pairs / "files" / "val"
    ways: list[list[object]] = [
        [pairs / "files"],
        [pairs / "files", "--direction", "BtoA"],
        [bare, "--direction", "BtoA"],
        [bare, "--convention", "pairs"],
        [bare / "0.png", "--direction", "BtoA"],
        ["--sources", pairs / "B", "--images", pairs / "A"],
    ]
    for words in ways:
        image, said = made(path, *words)
        assert np.array_equal(image, wanted), words
        assert "trained" not in said
    image, said = made(path, pairs / "files", "--direction", "AtoB")
    assert "--direction AtoB was given, but the model was trained with BtoA" in said
    assert np.array_equal(image, made(path, "--sources", pairs / "A")[0])


def test_a_bare_folder_of_pairs_is_not_squeezed(gesso: Command, pairs: Path, tmp_path: Path, made: Any) -> None:
    path, bare = model(tmp_path, 3, **SIDES), pairs / "files" / "val"
    words = ["generate", path, bare, "--out", tmp_path / "out", "--device", "cpu"]
    refused(gesso(*words), "0.png is 32x128", "--convention pairs --direction BtoA", "--sources")
    image, said = made(path, pairs / "B")
    assert "is taken for whole input pictures" in said and "--convention pairs --direction BtoA" in said
    assert np.array_equal(image, made(path, "--sources", pairs / "B")[0])
    assert made(path, "--sources", bare)[0].shape == (HIGH, WIDE, 3), "whole, where that is what was said"


def test_gray_is_taken_as_in_training(gesso: Command, pairs: Path, tmp_path: Path, made: Any) -> None:
    path = model(tmp_path, 1, direction="AtoB", input="gray", side_by_side=False)
    wanted, _ = made(path, pairs / "gray")
    ways: list[list[object]] = [
        [pairs / "B"],
        [pairs / "B" / "0.png"],
        ["--sources", pairs / "B"],
        ["--images", pairs / "B"],
        [pairs / "B", "--input", "gray"],
        ["--sources", pairs / "gray", "--images", pairs / "B"],
    ]
    for words in ways:
        assert np.array_equal(made(path, *words)[0], wanted), words
    words = ["generate", path, pairs / "B", "--input", "image", "--out", tmp_path / "out", "--device", "cpu"]
    ended = gesso(*words)
    refused(ended, pairs / "B" / "0.png")
    assert "--input image was given, but the model was trained with --input gray" in ended.out


def test_colours_for_a_model_of_gray_pictures(gesso: Command, pairs: Path, tmp_path: Path) -> None:
    path = model(tmp_path, 1)
    ended = gesso("generate", path, pairs / "B", "--out", tmp_path / "out", "--device", "cpu")
    refused(ended, pairs / "B" / "0.png", "takes pictures (H, W, 1)", "--input gray")
    ended = gesso("generate", model(tmp_path, 3), pairs / "gray", "--out", tmp_path / "out", "--device", "cpu")
    refused(ended, pairs / "gray" / "0.png", "takes pictures (H, W, 3)")
    assert "--input gray" not in ended.err


# ----------------------------------------------------------------------------------------------------------- sizes of training


@pytest.mark.parametrize(
    ("trained", "wanted"),
    [
        ({"resize": "none"}, (45, 30)),
        ({"resize": "nearest_multiple"}, (48, 32)),  # 30 is nearer to 32 than to 16, and 45 to 48
        ({"resize": "nearest_multiple", "crop": (16, 16)}, (48, 32)),
        ({"resize": "nearest_multiple", "shrink": 2}, (16, 16)),  # half of 32x32, multiples of 32 at full size
        ({"resize": "scale_width", "width": 20}, (30, 20)),
        ({"resize": "fixed", "height": 40, "width": 50, "crop": (16, 20)}, (16, 20)),
    ],
)
def test_layouts_get_the_size_of_training(
    gesso: Command, tmp_path: Path, made: Any, trained: dict[str, Any], wanted: tuple[int, int]
) -> None:
    preprocessing = Preprocessing(multiple=16, **trained)
    path = picture_model(3, tmp_path, preprocessing.model_dump(mode="json"))
    (tmp_path / "pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (45, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "pictures" / "0.png")
    assert made(path, "--sources", tmp_path / "pictures")[0].shape[:2] == wanted == preprocessing.plan((45, 30)).size
    assert made(path, "--sources", tmp_path / "pictures", "--original-size")[0].shape[:2] == (45, 30)


# --------------------------------------------------------------------------------------------------------------- padding


def unet(downs: int, **changes: Any) -> list[str]:
    flags = {
        "generator_downs": downs,
        "generator_width": 2,
        "discriminator_width": 2,
        "discriminator_layers": 1,
        **changes,
    }
    pairs = [(f"--{key.replace('_', '-')}", str(value)) for key, value in flags.items()]
    return ["--preset", "pix2pix-small", *(word for pair in pairs for word in pair), "--dry-run"]


@pytest.mark.parametrize(
    "sizes", [["--height", "32", "--width", "64"], ["--resize", "none"], ["--resize", "nearest_multiple"]]
)
def test_absurd_padding_is_refused_before_it_is_made(
    gesso: Command, tiny_dataset: Path, tmp_path: Path, sizes: list[str]
) -> None:
    if sizes[0] == "--resize":  # the preset's height and width mean nothing to these
        config = tmp_path / "config.yaml"
        config.write_text("height: null\nwidth: null\n")
        sizes = [*sizes, "--config", str(config)]
    ended = gesso("train", tiny_dataset, *unet(16), *sizes, "--out", tmp_path / "run")
    refused(ended, "--generator-downs 16", "32x64 become 65536x65536", "padding")


def test_memory_is_told_without_making_the_picture(gesso: Command, tiny_dataset: Path, tmp_path: Path) -> None:
    """1500 pixels padded to 16384 are no 16 times in each picture's pixels, but would be gigabytes."""
    words = [*unet(14), "--height", "4200", "--width", "4200", "--device", "cpu", "--out", tmp_path / "run"]
    refused(gesso("train", tiny_dataset, *[w for w in words if w != "--dry-run"]), "at 16384x16384 needs about", "GiB")


def test_much_padding_is_said(gesso: Command, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ["train", tiny_dataset, "--height", "32", "--width", "64", "--out", tmp_path / "run"]
    said = worked(gesso(*words, *unet(7))).out
    assert (
        "With --generator-downs 7 the networks take sizes in multiples of 128: pictures of 32x64 become 128x128" in said
    )
    assert "32x64 become" not in worked(gesso(*words, *unet(6))).out, "twice the pixels are no more than twice"
