"""The command line: what it says, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from gesso.checkpoints import load_model, read_info, save_model, states
from gesso.cli import COMMANDS, main
from gesso.cli.train import Settings, resolve
from gesso.cli.train_plan import unstretched
from gesso.data.spaces import published
from gesso.errors import DataError
from gesso.recipes import RECIPES, pix2pixhd
from gesso.synthesis.synthesizer import load, read_record
from support import Ended, refused
from training_script import tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")


def begin(out: Path, *words: object, **changes: Any) -> list[object]:
    """The command that trains a tiny model."""
    return ["train", *words, "--out", out, "--device", "cpu", *tiny_flags(**changes)]


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps that was stopped; not to be changed."""
    run = tmp_path_factory.mktemp("cli") / "run"
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(word) for word in begin(run, tiny_dataset, "--stop-at", 4)])
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
    ("line", "named"),
    [
        ("paint", "paint"),
        ("train scenes --learning-rate 1", "--learning-rate"),
        ("train scenes --batch many", "--batch 'many': Input should be a valid integer"),
        (
            "train scenes --gan mse",
            "--gan 'mse': Input should be 'vanilla', 'lsgan', 'hinge' or 'wasserstein'. See gesso train --help",
        ),
        ("train scenes --crop 16", "--crop"),
        ("generate", "--model"),
        ("info", "--model"),
        ("info one two", "two"),
        ("toy scenes --count", "--count"),
        ("toy scenes --count few", "--count"),
    ],
)
def test_wrong_usage_is_an_error(
    gesso: Any, line: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = gesso(*line.split())
    assert ended.code == 2
    assert ended.err.startswith("gesso: ")
    assert ended.err.count("\n") == 1
    assert named in ended.err
    assert "--help" in ended.err
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- from end to end


def test_train_resume_generate_info(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    run, photographs = tmp_path / "run", tmp_path / "photographs"
    ended = gesso(*begin(run, tiny_dataset, "--stop-at", 4))
    assert ended.code == 0
    assert "stopped; run the same command again to go on after 4 steps" in ended.out
    ended = gesso(*begin(run, tiny_dataset))
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
    words = ("--config", settings, "--no-flip", "--lr", "0.0005", "--stop-at", 1)
    assert gesso(*begin(tmp_path / "run", tiny_dataset, *words)).code == 0
    found = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (found["seed"], found["lr"], found["flip"], found["crop"]) == (3, 0.0005, False, [16, 24])
    assert read_info(tmp_path / "run" / "model.safetensors").preprocessing["crop"] == [16, 24]


def test_a_crop_by_flag(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    assert gesso(*begin(tmp_path / "run", tiny_dataset, "--crop", 16, 24, "--stop-at", 1)).code == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["crop"] == [16, 24]


def test_a_dry_run_trains_nothing(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    ended = gesso(*begin(tmp_path / "run", tiny_dataset, "--dry-run"))
    assert ended.code == 0
    assert '"generator_width": 4' in ended.out
    assert "7 samples, 32x64 after preprocessing" in ended.out
    assert "for all 28 steps" in ended.out
    assert not (tmp_path / "run").exists()


def test_toy_scenes_can_be_trained_on(gesso: Any, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    ended = gesso("toy", scenes, "--count", 5, "--size", "32x64", "--seed", 3)
    assert ended.code == 0
    assert f"5 scenes of 32x64 in {scenes}" in ended.out
    names = [path.stem for path in scenes.rglob("images/*.png")]
    assert len(names) == len(set(names)) == 5
    assert gesso(*begin(tmp_path / "run", scenes, "--stop-at", 1)).code == 0
    assert read_info(tmp_path / "run" / "model.safetensors").label_space == published("toy")


# ------------------------------------------------------------------------------------------------------------ generate


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: picture(path) for path in sorted(folder.glob("*.png"))}


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


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
    for source in sources:
        found = pictures(tmp_path / source)
        assert len(found) == (1 if source == "file" else 2)
        assert all(np.array_equal(found[name], wanted[name]) for name in found)
    values = published("toy").to_indices(picture(maps / "scene0.png"))
    assert np.array_equal(load(tiny_model, "cpu")(values), wanted["scene0.png"])


def test_contact_sheet_layouts_and_limit(gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ["--contact-sheet", "--colour", "--batch", 2, "--limit", 3, "--split", "train", "--device", "cpu"]
    assert gesso("generate", tiny_model, tiny_dataset, *words, "--out", tmp_path).code == 0
    names = {f"scene{n}{end}.png" for n in range(3) for end in ("", "-layout")}
    assert {path.name for path in tmp_path.iterdir()} == {*names, "contact-sheet.png"}
    height, width, _ = picture(tmp_path / "contact-sheet.png").shape
    assert width == 3 * 64 + 4 * 4  # layout, generated, real
    assert height > 3 * 32
    layout = picture(tmp_path / "scene0-layout.png")
    space = published("toy")
    values = space.to_indices(picture(tiny_dataset / "train" / "labels" / "scene0.png"))
    assert np.array_equal(layout, space.colours[values])


def test_sizes(gesso: Any, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    for name, size in (("a", (50, 70)), ("b", (41, 33))):
        Image.fromarray(np.full(size, 2, np.uint8)).save(tmp_path / "maps" / f"{name}.png")
    words = ("generate", tiny_model, tmp_path / "maps", "--device", "cpu", "--out")
    assert gesso(*words, tmp_path / "trained").code == 0
    assert {one.shape for one in pictures(tmp_path / "trained").values()} == {(32, 64, 3)}
    assert gesso(*words, tmp_path / "own", "--original-size").code == 0
    assert [one.shape[:2] for one in pictures(tmp_path / "own").values()] == [(50, 70), (41, 33)]
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
    given = ("--sources", sources, "--images", photo_folders / "images")
    assert gesso(*begin(run, *given, "--stop-at", 3)).code == 0
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


def test_a_model_and_data_of_different_kinds(
    gesso: Any, tiny_model: Path, tiny_dataset: Path, photo_folders: Path, tmp_path: Path
) -> None:
    words = ("--sources", photo_folders / "sources", "--out", tmp_path / "out")
    refused(gesso("generate", tiny_model, *words), "takes label maps", photo_folders / "sources", "--labels")
    run = tmp_path / "run"
    given = ("--sources", photo_folders / "sources", "--images", photo_folders / "images")
    assert gesso(*begin(run, *given, "--stop-at", 1)).code == 0
    ended = gesso("generate", run / "model.safetensors", tiny_dataset, "--out", tmp_path / "out")
    refused(ended, "takes pictures", tiny_dataset, "--sources")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def data(tiny_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the data, to be damaged; train/*/scene5 is none of the fixed samples, so the loader meets it first."""
    return Path(shutil.copytree(tiny_dataset, tmp_path / "data"))


def test_missing_folders(gesso: Any, tiny_model: Path, data: Path, tmp_path: Path) -> None:
    gone, out = tmp_path / "gone", tmp_path / "run"
    refused(gesso("train", gone, "--out", out), gone, "does not exist", "check the path")
    refused(gesso("train", data, "--out", out, "--split", "night"), data, "no split 'night'", "train, val")
    refused(gesso("train", "--labels", gone, "--images", data, "--out", out), gone)
    refused(gesso("train", "--out", out), "Give either a dataset folder, or --labels")
    refused(gesso("generate", gone / "model.safetensors", data), gone / "model.safetensors")
    refused(gesso("generate", tiny_model, gone, "--out", out), gone, "does not exist")
    refused(gesso("info", gone), gone)
    refused(gesso("doctor", gone), gone)
    shutil.rmtree(data / "train" / "images")
    refused(gesso("train", data, "--out", out), data / "train" / "images")
    assert not out.exists()


def test_maps_without_a_meaning(gesso: Any, data: Path, tmp_path: Path) -> None:
    (data / "labels.json").unlink()
    (data / "train" / "labels" / "scene2.png").unlink()
    Image.fromarray(np.full((32, 64), 200, np.uint8)).save(data / "train" / "labels" / "scene2.png")
    ended = gesso("train", data, "--space", "camvid", "--out", tmp_path / "run", "--workers", 0)
    refused(ended, "scene", "camvid (11 classes) does not know", "add the value to")
    labels, images = data / "train" / "labels", data / "train" / "images"
    ended = gesso("train", "--labels", labels, "--images", images, "--out", tmp_path / "run")
    refused(ended, labels, "no label space", "--space", "doctor")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_text_file_named_png(gesso: Any, data: Path, tmp_path: Path, workers: int) -> None:
    bad = data / "train" / "images" / "scene5.png"
    bad.write_text("not a picture")
    ended = gesso(*begin(tmp_path / "run", data, workers=workers, sample_every=1000))
    refused(ended, bad, "is not an image", "save it as")
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_jpeg(gesso: Any, data: Path, tmp_path: Path, workers: int) -> None:
    bad = data / "train" / "images" / "scene5.jpg"
    Image.fromarray(picture(bad.with_suffix(".png"))).save(bad, quality=95)
    bad.with_suffix(".png").unlink()
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    refused(gesso(*begin(tmp_path / "run", data, workers=workers)), bad, "damaged or incomplete", "fetch it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_of_200(gesso: Any, data: Path, tmp_path: Path, tiny_model: Path, workers: int) -> None:
    bad = data / "train" / "labels" / "scene5.png"
    label = picture(bad)
    label[5, 6] = 200
    Image.fromarray(label).save(bad)
    said = (bad, "does not know: 200 (1 pixels)", "row 5, column 6", "Mend the file")
    refused(gesso(*begin(tmp_path / "run", data, workers=workers)), *said)
    refused(gesso("generate", tiny_model, data, "--split", "train", "--out", tmp_path / "out"), *said)


def test_a_bad_file_met_late_costs_nothing_that_was_saved(gesso: Any, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert gesso(*begin(run, data, "--stop-at", 3)).code == 0
    bad = data / "train" / "labels" / "scene5.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:40])
    refused(gesso(*begin(run, data)), bad)
    step = load_model(run / "model.safetensors").info.step
    assert states(run / "state")[-1].name == f"step-{step:08d}"
    assert 3 <= step < 7  # each pass over the data needs the bad file
    bad.write_bytes(good)
    assert gesso(*begin(run, data)).code == 0


def test_a_model_cut_in_half(gesso: Any, tiny_model: Path, data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "half.safetensors"
    bad.write_bytes(tiny_model.read_bytes()[: tiny_model.stat().st_size // 2])
    refused(gesso("generate", bad, data, "--out", tmp_path / "out"), bad, "cut off or damaged", "Use another copy")
    refused(gesso("info", bad), bad, "cut off or damaged")
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_renamed_tensor(gesso: Any, tiny_model: Path, data: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    bad, tensors = tmp_path / "renamed.safetensors", load_file(tiny_model)
    tensors["generator.tail.1.bias"] = tensors.pop("generator.head.1.bias")
    with safe_open(tiny_model, "pt") as file:
        save_file(tensors, bad, metadata=file.metadata())
    ended = gesso("generate", bad, data, "--out", tmp_path / "out")
    refused(ended, bad, "missing: generator.head.1.bias", "left over: generator.tail.1.bias", "another copy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bach: 2", ("unknown setting 'bach'", "did you mean batch?")),
        ("7: 2", ("unknown setting '7'", "gesso train --help")),
        ("batch: two", (": batch 'two': Input should be a valid integer",)),
        ("lr: [1, 2]", (": lr [1, 2]: Input should be a valid number",)),
        ("batch: 0", (": batch 0: Input should be greater than or equal to 1",)),
        ("crop: [0, 16]", ("--crop 0: Input should be greater than 0",)),
        ("batch: 3\naccumulate: 2", ("--batch 3 cannot be split into --accumulate 2",)),
        ("preset: pix2pixhd-tiny", ("no preset 'pix2pixhd-tiny'", "pix2pixhd-small")),
        ("data: scenes", ("data 'scenes' is not the data of a run",)),
        ("just words", ("holds no settings", "epochs: 20")),
        ("a: [", ("Cannot read settings",)),
    ],
)
def test_a_bad_config(gesso: Any, tiny_dataset: Path, tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    bad = tmp_path / "settings.yaml"
    bad.write_text(text)
    given = [] if text.startswith("data") else [tiny_dataset]
    ended = gesso("train", *given, "--config", bad, "--out", tmp_path / "run")
    refused(ended, *said)
    assert str(bad) in ended.err or "--" in ended.err or "preset" in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("", "--objective GAN --lambda-l1 50", ("--lambda-l1 50 contradicts --objective GAN", "--lambda-gan above 0")),
        ("", "--objective L1 --lambda-l1 0", ("--lambda-l1 0", "contradicts --objective L1", "--lambda-l1 above 0")),
        ("", "--objective GAN --conditional", ("--conditional contradicts --objective GAN", "--no-conditional")),
        ("objective: cGAN", "--no-conditional", ("--no-conditional contradicts objective cGAN in", "settings.yaml")),
        ("objective: GAN\nlambda_l2: 5", "", ("lambda_l2 5 in", "settings.yaml contradicts objective GAN")),
        ("objective: GAN", "--lambda-l1 7", ("--lambda-l1 7 contradicts objective GAN in", "--objective ''")),
        ("objective: [L1]", "", ("settings.yaml: objective ['L1']: Input should be",)),
        ("objective: L1\nlambda_gan: [1]", "", ("settings.yaml: lambda_gan [1]: Input should be a valid number",)),
    ],
)
def test_an_objective_and_weights_that_contradict_it(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, text: str, flags: str, said: tuple[str, ...]
) -> None:
    (tmp_path / "settings.yaml").write_text(f"preset: pix2pix-small\n{text}\n")
    words = ["--config", tmp_path / "settings.yaml", *flags.split(), "--out", tmp_path / "run", "--dry-run"]
    refused(gesso("train", tiny_dataset, *words), *said)


def test_an_objective_by_flag_wins_over_a_file(tmp_path: Path) -> None:
    def resolved(document: dict[str, Any], **flags: Any) -> Any:
        return resolve("pix2pix-small", document, Settings(**flags))[1]

    first = resolved({}, objective="L1", lambda_l1=10)
    assert (first.lambda_gan, first.lambda_l1) == (0, 10)
    document = {**json.loads(first.model_dump_json()), "__file__": "config.json"}
    assert resolved(document) == first, "what a run keeps contradicts nothing"
    other = resolved(document, objective="GAN")
    assert (other.lambda_gan, other.lambda_l1, other.conditional) == (1, 0, False)
    by_hand = resolved(document, objective="", lambda_gan=2)
    assert (by_hand.lambda_gan, by_hand.lambda_l1) == (2, 10)


def test_bad_flags(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ("train", tiny_dataset, "--out", tmp_path / "run")
    refused(gesso(*words, "--config", tmp_path / "none.yaml"), tmp_path / "none.yaml", "No such file")
    refused(gesso(*words, "--batch", 0), "--batch 0: Input should be greater than or equal to 1")
    refused(gesso(*words, "--crop", 0, 16), "--crop 0: Input should be greater than 0")
    refused(gesso(*words, "--preset", "pix2pixhd-smal"), "did you mean pix2pixhd-small?")
    refused(
        gesso(*words, "--upsampling", "more"), "--upsampling is a setting of spade", "pix2pixhd-small is pix2pixhd's"
    )
    refused(gesso(*words, "--gan", "hinge"), "--gan 'hinge': Input should be 'lsgan' or 'vanilla'")
    refused(gesso(*words, "--device", "abacus"), "'abacus' is not available")
    refused(gesso(*words, "--space", "mars"), "neither a published label space nor a file")
    refused(gesso("toy", tmp_path / "toy", "--size", "big"), "'big' is not a size", "128x256")
    assert not (tmp_path / "run").exists()


def test_other_settings_in_a_run_folder(gesso: Any, tiny_dataset: Path, trained: Path) -> None:
    refused(gesso(*begin(trained, tiny_dataset, batch=3)), trained, "batch (2 there, 3 now)", "another --out")


def test_a_file_where_a_folder_is_wanted(gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(gesso(*begin(tmp_path / "file", tiny_dataset)), tmp_path / "file")
    ended = gesso("generate", tiny_model, tiny_dataset, "--out", tmp_path / "file" / "out")
    refused(ended, tmp_path / "file" / "out", "Not a directory", "Check the path")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        main(["train", str(tmp_path / "gone"), "--debug"])


# ------------------------------------------------------------------------------------------------ as a process of its own


@pytest.mark.long
def as_process(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gesso", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


@pytest.mark.long
def test_an_error_met_in_a_process_that_loads_data(data: Path, tmp_path: Path) -> None:
    bad = data / "train" / "labels" / "scene5.png"
    bad.write_text("not a picture")
    ended = as_process(*begin(tmp_path / "run", data, workers=1, sample_every=1000))
    refused(Ended(ended.returncode, ended.stdout, ended.stderr), bad, "save it as")


@pytest.mark.long
def test_errors_of_a_process_with_and_without_debug(tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"x" * 100)
    ended = as_process("info", tmp_path / "half.safetensors")
    refused(Ended(ended.returncode, ended.stdout, ended.stderr), tmp_path / "half.safetensors")
    ended = as_process("info", tmp_path / "half.safetensors", "--debug")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ModelFileError" in ended.stderr


def test_nobody_reads_on(tiny_model: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "gesso", "info", str(tiny_model), "--json"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == ""


# ------------------------------------------------------------------------------------------------ nothing is misread


def test_generating_never_overwrites_its_input(
    gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    layouts = tmp_path / "layouts"
    shutil.copytree(tiny_dataset / "val" / "labels", layouts)
    before = {file.name: file.read_bytes() for file in layouts.iterdir()}
    refused(gesso("generate", tiny_model, layouts, "--out", layouts), "would overwrite", layouts)
    assert {file.name: file.read_bytes() for file in layouts.iterdir()} == before


def test_layouts_of_another_space_are_not_misread(
    gesso: Any, trained: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_dataset, data)
    published("facades").save(data / "labels.json")
    ended = gesso("generate", trained / "model.safetensors", data, "--out", tmp_path / "out")
    refused(ended, "label space facades", data)


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((240, 320), (160, 208)),
        ((1080, 1920), None),  # nearly the 1:2 of the preset
        ((300, 300), (176, 176)),
        ((320, 240), (208, 160)),
        ((3, 3000), None),  # no size of multiples of 16 with so many pixels has that shape
    ],
)
def test_a_size_that_keeps_the_shape_of_photographs(size: tuple[int, int], kept: tuple[int, int] | None) -> None:
    config = pix2pixhd.Config(resize="fixed", height=128, width=256)
    assert unstretched(pix2pixhd, config, size) == kept
    if kept:
        taken = config.model_copy(update={"height": kept[0], "width": kept[1]})
        assert unstretched(pix2pixhd, taken, size) is None, "who follows the advice is left alone"
    assert (
        unstretched(pix2pixhd, config.model_copy(update={"resize": "none", "height": None, "width": None}), size)
        is None
    )
    assert unstretched(pix2pixhd, config.model_copy(update={"crop": (64, 64)}), size) is None


@pytest.mark.parametrize(
    "preset", ["pix2pix-small", "pix2pix-edges2shoes", "spade-small", "spade-cityscapes", "pix2pixhd-few"]
)
@pytest.mark.parametrize("size", [(240, 320), (240, 480), (240, 560), (320, 240), (480, 480), (1080, 1920)])
def test_the_size_proposed_is_one_that_the_networks_take(preset: str, size: tuple[int, int]) -> None:
    recipe, config = resolve(preset, {}, None)
    if (better := unstretched(recipe, config, size)) is None:
        return
    multiple = recipe.multiple(config)
    asked = np.prod([-(-side // multiple) * multiple for side in (config.height or 0, config.width or 0)])
    assert better[0] % multiple == better[1] % multiple == 0
    assert better[0] * better[1] <= 1.5 * asked, "it costs about as much"
    assert unstretched(recipe, config.model_copy(update={"height": better[0], "width": better[1]}), size) is None


def test_the_doctor_proposes_no_size_where_photographs_have_many_shapes(gesso: Any, tmp_path: Path) -> None:
    for number, size in enumerate([(64, 48), (48, 64), (96, 32), (32, 96)]):
        for kind, mode in (("images", "RGB"), ("labels", "L")):
            (tmp_path / "train" / kind).mkdir(parents=True, exist_ok=True)
            Image.new(mode, size).save(tmp_path / "train" / kind / f"{number}.png")
    assert gesso("doctor", tmp_path, "--write-labels").code == 0
    assert "--height" not in json.loads(gesso("doctor", tmp_path, "--json").out)["train_command"]


def test_stretching_is_said_with_the_size_that_avoids_it(gesso: Any, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind, mode in (("images", "RGB"), ("labels", "L")):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.new(mode, (64, 48)).save(tmp_path / split / kind / "a.png")
    assert gesso("doctor", tmp_path, "--write-labels").code == 0
    command = json.loads(gesso("doctor", tmp_path, "--json").out)["train_command"]
    assert "--preset pix2pixhd-small --height 160 --width 208 --out run" in command
    plain = gesso("train", tmp_path, "--preset", "pix2pixhd-small", "--dry-run", "--out", tmp_path / "run")
    assert (
        "64 pixels wide and 48 high, is stretched to 256 by 128. --height 160 --width 208 keeps its shape" in plain.out
    )
    assert "stretched" not in gesso(*shlex.split(command)[1:-2], "--dry-run", "--out", tmp_path / "run").out


def test_the_doctor_also_sees_held_out_samples(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "my data"
    shutil.copytree(tiny_dataset, data)
    ended = gesso("doctor", data)
    assert ended.code == 0
    assert f"gesso train '{data}'" in ended.out, "a path with a space is quoted"
    broken = sorted((data / "val" / "labels").iterdir())[0]
    values = np.asarray(Image.open(broken)).copy()
    values[3, 4] = 200
    Image.fromarray(values).save(broken)
    ended = gesso("doctor", data)
    assert ended.code == 1
    assert broken.name in ended.out
    assert "gesso train" not in ended.out
    report = json.loads(gesso("doctor", data, "--json").out)
    assert report["train_command"] is None
    assert report["validation"]["findings"]


def test_an_unknown_preset_is_said_first(gesso: Any, tiny_dataset: Path) -> None:
    refused(gesso("doctor", tiny_dataset, "--preset", "nonsense"), "no preset 'nonsense'")


def test_running_out_of_memory_is_no_traceback(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr("gesso.train.fit", fail)
    refused(gesso(*begin(tmp_path / "run", tiny_dataset)), "out of memory", "--accumulate")


def test_a_model_file_that_contradicts_itself_is_refused(gesso: Any, tiny_model: Path, tmp_path: Path) -> None:
    info = read_info(tiny_model)
    fewer = info.model_copy(update={"semantics": info.semantics.model_copy(update={"classes": 3})})
    model = load_model(tiny_model)
    save_model(tmp_path / "odd.safetensors", model.networks, fewer)
    refused(gesso("info", tmp_path / "odd.safetensors"), "contradicts itself", "odd.safetensors")
    halves = {name: network.half() for name, network in model.networks.items()}
    save_model(tmp_path / "half.safetensors", halves, info)
    refused(gesso("info", tmp_path / "half.safetensors"), "float16", "half.safetensors")


def test_plain_folders_may_have_held_out_samples(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    train, val = tiny_dataset / "train", tiny_dataset / "val"
    words = ["--labels", train / "labels", "--images", train / "images", "--space", tiny_dataset / "labels.json"]
    words += ["--val-labels", val / "labels", "--val-images", val / "images"]
    assert gesso(*begin(tmp_path / "run", *words, "--stop-at", 1)).code == 0
    assert (tmp_path / "run" / "samples" / "val-00000000.png").exists()
