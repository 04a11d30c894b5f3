"""The command line: what it says, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from gesso.checkpoints import load_model, read_info, states
from gesso.cli import COMMANDS, main
from gesso.data.spaces import published
from gesso.errors import DataError
from gesso.recipes import RECIPES
from gesso.synthesis.synthesizer import load, read_record
from training_script import tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def gesso(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in this process."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Ended(code, *capsys.readouterr())

    return run


def refused(ended: Ended, *said: object) -> None:
    """Exit code 1 and one paragraph on stderr that says all of this."""
    assert ended.code == 1, ended
    assert ended.err.startswith("gesso: "), ended.err
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    for words in said:
        assert str(words) in ended.err


def begin(data: object, out: Path, *words: object, **changes: Any) -> list[object]:
    return ["train", data, "--out", out, "--device", "cpu", *tiny_flags(**changes), *words]


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps that was stopped; not to be changed."""
    run = tmp_path_factory.mktemp("cli") / "run"
    with pytest.raises(SystemExit, match="^0$"):
        main([str(word) for word in begin(tiny_dataset, run, "--stop-at", 4)])
    return run


# ---------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(gesso: Any, command: str) -> None:
    ended = gesso(command, "--help")
    assert ended.code == 0
    text, example = COMMANDS[command]
    assert text in ended.out
    assert f"Example: {example}" in ended.out


def test_the_commands_are_listed(gesso: Any) -> None:
    ended = gesso("--help")
    assert ended.code == 0
    assert all(f" {command} " in ended.out for command in COMMANDS)


def test_every_setting_is_a_flag_with_a_description(gesso: Any) -> None:
    said = gesso("train", "--help").out
    for recipe in RECIPES.values():
        for name, field in recipe.Config.model_fields.items():
            assert f"--{name.replace('_', '-')}" in said
            assert name == "preset" or field.description[:30] in said


@pytest.mark.parametrize(
    "words",
    [
        ["paint"],
        ["train", "scenes", "--learning-rate", "1"],
        ["train", "scenes", "--batch", "many"],
        ["train", "scenes", "--gan", "wasserstein"],
        ["generate"],
        ["info"],
        ["info", "a", "b"],
        ["toy", "scenes", "--count"],
    ],
)
def test_wrong_usage_is_an_error(gesso: Any, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = gesso(*words)
    assert ended.code != 0
    assert "Traceback" not in ended.out + ended.err
    assert words[-1].lstrip("-") in ended.out + ended.err or len(words) == 1
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- from end to end


def test_train_resume_generate_info(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    run, photographs = tmp_path / "run", tmp_path / "photographs"
    ended = gesso(*begin(tiny_dataset, run, "--stop-at", 4))
    assert ended.code == 0
    assert "stopped; run the same command again to go on after 4 steps" in ended.out
    ended = gesso(*begin(tiny_dataset, run))
    assert ended.code == 0
    assert f"finished after 28 steps; the model is {run / 'model.safetensors'}" in ended.out

    ended = gesso("generate", run / "model.safetensors", tiny_dataset, "--out", photographs, "--device", "cpu")
    assert ended.code == 0
    assert "2 photographs in" in ended.out  # the held-out split is taken where there is one
    assert sorted(path.name for path in photographs.iterdir()) == ["scene0.png", "scene1.png"]

    ended = gesso("info", run / "model.safetensors")
    assert ended.code == 0
    for words in ("28 steps", load_model(run / "model.safetensors").hash, "11 classes + ignored pixels", "10 person"):
        assert words in ended.out


def test_info_for_machines(gesso: Any, tiny_model: Path) -> None:
    document = json.loads(gesso("info", tiny_model, "--json").out)
    assert document["hash"] == load_model(tiny_model).hash
    assert document["step"] == 3
    assert document["networks"]["generator"]["class"] == "pix2pixhd.GlobalGenerator"


def test_the_config_of_a_run_loads_again(gesso: Any, trained: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    config = trained / "config.json"
    assert gesso("train", "--config", config, "--out", again, "--stop-at", 4, "--device", "cpu").code == 0
    assert (again / "config.json").read_text() == config.read_text()
    assert load_model(again / "model.safetensors").hash == load_model(trained / "model.safetensors").hash


def test_settings_from_yaml_and_flags(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("seed: 3\nlr: 0.001\nflip: true\ncrop: [16, 24]\n")
    words = begin(tiny_dataset, tmp_path / "run", "--config", settings, "--no-flip", "--lr", "0.0005", "--stop-at", 1)
    assert gesso(*words).code == 0
    found = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (found["seed"], found["lr"], found["flip"], found["crop"]) == (3, 0.0005, False, [16, 24])
    assert read_info(tmp_path / "run" / "model.safetensors").preprocessing["crop"] == [16, 24]


def test_a_crop_by_flag(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    assert gesso(*begin(tiny_dataset, tmp_path / "run", "--crop", 16, 24, "--stop-at", 1)).code == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["crop"] == [16, 24]


# ------------------------------------------------------------------------------------------------------------ generate


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_generated_pictures_can_be_made_again(gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        words = ("generate", tiny_model, tiny_dataset, "--split", "train", "--seed", 4, "--out", tmp_path / name)
        assert gesso(*words, "--device", "cpu").code == 0
    one, two = pictures(tmp_path / "one"), pictures(tmp_path / "two")
    assert one.keys() == two.keys() == {f"scene{n}.png" for n in range(7)}
    assert all(np.array_equal(one[name], two[name]) for name in one)
    record = read_record(tmp_path / "one" / "scene0.png")
    assert record is not None
    assert (record["model"], record["seed"]) == (load_model(tiny_model).hash, 4)


def test_a_folder_a_file_and_a_dataset_give_the_same(
    gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    maps = tiny_dataset / "val" / "labels"
    sources: dict[str, list[object]] = {
        "dataset": [tiny_dataset],
        "split": [tiny_dataset, "--split", "val"],
        "folder": [maps],
        "labels": ["--labels", maps],
        "file": [maps / "scene0.png"],
    }
    for name, words in sources.items():
        assert gesso("generate", tiny_model, *words, "--out", tmp_path / name, "--device", "cpu").code == 0
    wanted = pictures(tmp_path / "dataset")
    assert list(wanted) == ["scene0.png", "scene1.png"]
    for name in sources:
        found = pictures(tmp_path / name)
        assert len(found) == (1 if name == "file" else 2)
        assert all(np.array_equal(found[picture], wanted[picture]) for picture in found)
    values = published("toy").to_indices(np.asarray(Image.open(maps / "scene0.png")))
    assert np.array_equal(load(tiny_model, "cpu")(values), wanted["scene0.png"])


def test_contact_sheet_layouts_and_limit(gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ["--contact-sheet", "--colour", "--batch", 2, "--limit", 3, "--split", "train", "--device", "cpu"]
    assert gesso("generate", tiny_model, tiny_dataset, *words, "--out", tmp_path).code == 0
    names = {f"scene{n}{end}.png" for n in range(3) for end in ("", "-layout")}
    assert {path.name for path in tmp_path.iterdir()} == {*names, "contact-sheet.png"}
    page = Image.open(tmp_path / "contact-sheet.png")
    assert page.width == 3 * 64 + 4 * 4  # layout, generated, real
    assert page.height > 3 * 32
    layout = np.asarray(Image.open(tmp_path / "scene0-layout.png"))
    space = published("toy")
    values = space.to_indices(np.asarray(Image.open(tiny_dataset / "train" / "labels" / "scene0.png")))
    assert np.array_equal(layout, space.colours[values])


def test_sizes(gesso: Any, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    for name, size in (("a", (50, 70)), ("b", (41, 33))):
        Image.fromarray(np.full(size, 2, np.uint8)).save(tmp_path / "maps" / f"{name}.png")
    words = ("generate", tiny_model, tmp_path / "maps", "--device", "cpu", "--out")
    assert gesso(*words, tmp_path / "trained").code == 0
    assert {picture.shape for picture in pictures(tmp_path / "trained").values()} == {(32, 64, 3)}
    assert gesso(*words, tmp_path / "own", "--original-size").code == 0
    assert [picture.shape[:2] for picture in pictures(tmp_path / "own").values()] == [(50, 70), (41, 33)]
    refused(gesso(*words, tmp_path / "both", "--original-size", "--batch", 2), "differ in 'label'", "batch size of 1")


def test_a_damaged_photograph_beside_a_layout_is_not_in_the_way(
    gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(tiny_dataset, tmp_path / "data")
    (root / "val" / "images" / "scene1.png").write_text("gone")
    words = ("generate", tiny_model, root, "--out", tmp_path / "out", "--device", "cpu")
    assert gesso(*words).code == 0
    refused(gesso(*words, "--contact-sheet"), root / "val" / "images" / "scene1.png", "not an image")


@pytest.mark.parametrize("flag", ["--batch", "--limit"])
def test_counts_are_at_least_one(gesso: Any, tiny_model: Path, tiny_dataset: Path, flag: str) -> None:
    refused(gesso("generate", tiny_model, tiny_dataset, flag, 0), f"{flag} 0", "at least 1")


# ------------------------------------------------------------------------------------------------------ photo to photo


@pytest.fixture(scope="module")
def photo_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sources/*.png in 16-bit gray, and the photographs images/*.png."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(2)
    for folder in ("sources", "images"):
        (root / folder).mkdir()
    for number in range(4):
        depth = random.integers(0, 65536, (32, 64), dtype=np.uint16)
        Image.fromarray(depth).save(root / "sources" / f"{number}.png")
        image = np.stack([depth >> 8, 255 - (depth >> 8), depth >> 9], axis=-1).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
    return root


def test_photo_to_photo(gesso: Any, photo_folders: Path, tmp_path: Path) -> None:
    run, sources = tmp_path / "run", photo_folders / "sources"
    words = begin("--sources", run, sources, "--images", photo_folders / "images", "--stop-at", 3)
    assert gesso(words[0], words[1], *words[8 + 2 * 99 :], *words[2:]).code == 0
    info = read_info(run / "model.safetensors")
    assert info.label_space is None
    assert info.semantics.source_channels == 1
    model = run / "model.safetensors"
    for name, given in (("flag", ["--sources", sources]), ("folder", [sources]), ("file", [sources / "2.png"])):
        assert gesso("generate", model, *given, "--out", tmp_path / name, "--device", "cpu").code == 0
    wanted = pictures(tmp_path / "flag")
    assert list(wanted) == [f"{n}.png" for n in range(4)]
    assert np.array_equal(pictures(tmp_path / "file")["2.png"], wanted["2.png"])
    assert all(np.array_equal(pictures(tmp_path / "folder")[name], wanted[name]) for name in wanted)
    said = gesso("info", model).out
    assert "1 channels (picture)" in said
    assert "none: the input is a picture" in said
    again = gesso("train", "--config", run / "config.json", "--out", tmp_path / "again", "--stop-at", 3)
    assert again.code == 0, again.err
    assert load_model(tmp_path / "again" / "model.safetensors").hash == load_model(model).hash
