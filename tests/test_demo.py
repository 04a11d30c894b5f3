"""`gesso demo`: the shipped model and its page, the editor at the end, and training from scratch that must help."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

import gesso.cli.demo as command
import gesso.cli.demo_shipped as shipped
import gesso.cli.demo_training as training
import gesso.cli.edit as editor
import gesso.demo_model as package
from gesso.checkpoints import load_model, read_info
from gesso.data import toy
from gesso.data.layouts import Listing
from gesso.editor.projects import open_project
from gesso.editor.rendering import Renderer
from gesso.editor.server import Project
from gesso.errors import ModelFileError, TrainingError
from gesso.recipes import pix2pixhd
from gesso.synthesis.style_space import ClassModes
from gesso.synthesis.synthesizer import Synthesizer, read_record
from styled import clusters, write_styled_model
from support import refused

SHORT = ("--train", "--scenes", 10, "--minutes", 0.02, "--size", "32x64", "--device", "cpu")
SCRIPT = Path(__file__).parents[1] / "examples" / "demo_model.py"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model in the place of the shipped one."""
    path = write_styled_model(tmp_path / "shipped.safetensors", styles=clusters())
    monkeypatch.setattr(package, "shipped_model", lambda: path)
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Synthesizer, Listing, Project]]:
    """What the editor was opened with."""
    found: list[tuple[Synthesizer, Listing, Project]] = []

    def serve(synth: Synthesizer, **given: Any) -> None:
        found.append((synth, given["listing"], given["project"]))

    monkeypatch.setattr(editor, "serve", serve)
    monkeypatch.setattr(command.webbrowser, "open", lambda address: pytest.fail(f"a browser was opened at {address}"))
    return found


# -------------------------------------------------------------------------------------------------- the shipped model


@pytest.mark.usefixtures("one_thread")
def test_the_shipped_model_makes_photographs_and_a_page(model: Path, tmp_path: Path, gesso: Any) -> None:
    out = tmp_path / "demo"
    ended = gesso("demo", "--out", out, "--scenes", 3, "--device", "cpu")
    assert ended.code == 0, ended.err
    page = (out / "index.html").read_text()
    assert f"Page: {(out / 'index.html').resolve()}" in ended.out
    names = [f"{shipped.FIRST + n}.png" for n in range(3)]
    assert sorted(path.name for path in (out / "photographs").iterdir()) == names
    assert page.count('<img alt="" src="data:image/png;base64,') == 3 * 3 + 4, (
        "three rows of three, and four styles of a car"
    )
    assert re.findall(r"<h3>(.*?)</h3>", page) == [f"car:{shown_car(out)} in modes 0, 2, 1, 3"]
    assert f"gesso generate {model} {out / 'held-out'} --random-styles" in page
    record = read_record(out / "photographs" / names[0])
    assert record is not None
    assert record["model"] == load_model(model).hash
    assert not (out / "run").exists(), "nothing is trained"


def shown_car(out: Path) -> int:
    """The id of the largest car of the held-out scenes, at the size that the model takes."""
    found = []
    for path in sorted((out / "held-out" / "val" / "instances").iterdir()):
        ids = np.asarray(Image.open(path).resize((64, 32), Image.Resampling.NEAREST))
        numbers, pixels = np.unique(ids[ids // 1000 == toy.space().index("car")], return_counts=True)
        found += list(zip(pixels.tolist(), numbers.tolist(), strict=True))
    return max(found)[1]


def test_its_scenes_are_held_out_whatever_the_seed(tmp_path: Path) -> None:
    numbers = list(shipped.write_held_out(tmp_path, 2, seed=6))
    assert min(numbers) >= 1_000_000, "no training takes so many scenes"
    made = toy.scene(6, numbers[1], *shipped.SIZE)
    for kind, pixels in (("images", made.image), ("labels", made.label), ("instances", made.instance)):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "val" / kind / f"{numbers[1]}.png")), pixels)


def test_scenes_of_an_earlier_demo_do_not_stay(tmp_path: Path) -> None:
    assert len(list(shipped.write_held_out(tmp_path, 3, seed=1))) == 3
    own = tmp_path / "val" / "images" / "mine.png"
    own.write_bytes(b"somebody's")
    assert list(shipped.write_held_out(tmp_path, 1, seed=2)) == [shipped.FIRST]
    for kind in ("images", "labels", "instances"):
        found = {path.name for path in (tmp_path / "val" / kind).iterdir()}
        assert found - {own.name} == {f"{shipped.FIRST}.png"}
    assert own.is_file()


def test_another_seed_gives_other_scenes(model: Path, tmp_path: Path, gesso: Any) -> None:
    pages = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert gesso("demo", "--out", tmp_path / name, "--scenes", 1, "--seed", seed, "--device", "cpu").code == 0
        pages.append((tmp_path / name / "index.html").read_text().replace(str(tmp_path / name), ""))
    assert pages[0] == pages[1] != pages[2]


def test_a_model_without_styles_has_a_page_without_them(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    monkeypatch.setattr(package, "shipped_model", lambda: tiny_model)
    assert gesso("demo", "--out", tmp_path / "demo", "--scenes", 1, "--device", "cpu").code == 0
    assert "other styles" not in (tmp_path / "demo" / "index.html").read_text()


def test_an_installation_without_the_model_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    monkeypatch.setattr(package, "MODEL", tmp_path / "model.safetensors")
    ended = gesso("demo", "--out", tmp_path / "demo")
    refused(
        ended,
        "not in this installation",
        tmp_path / "model.safetensors",
        "gesso demo --train",
        "examples/demo_model.py",
    )
    assert not (tmp_path / "demo").exists()
    (tmp_path / "model.safetensors").touch()
    assert package.shipped_model() == tmp_path / "model.safetensors"


def test_the_model_that_ships_is_small_and_described() -> None:
    assert package.shipped_model().parent == Path(package.__file__).parent
    check_what_ships(package.shipped_model())


def check_what_ships(file: Path) -> None:
    """A small model of the toy world with styles of cars, and beside it what belongs to just this model."""
    model = load_model(file)
    assert file.stat().st_size <= script().LARGEST
    assert model.info.stored_as == "float16"
    assert model.info.label_space is not None
    assert model.info.label_space.classes == toy.space().classes
    assert len(model.styles[f"{model.info.label_space.index('car')}.centres"]) > 1
    evaluation = json.loads((file.parent / "evaluation.json").read_text())
    assert model.hash.startswith(evaluation["rows"][1]["facts"]["hash"])
    assert model.hash in (file.parent / "README.md").read_text()
    with Image.open(file.parent / "held-out.jpg") as picture:
        assert picture.width > 3 * model.info.preprocessing["width"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", 2), "--minutes 2.0: the model that gesso demo shows is trained already. Add --train"),
        (("--minutes", 2, "--size", "8x8"), "--minutes 2.0 --size 8x8: "),
        (("--scenes", 0), "--scenes 0: at least 1 is needed"),
        (("--train", "--scenes", 1), "--scenes 1: at least 2 are needed"),
        (("--train", "--minutes", 0), "--minutes 0.0: more than 0"),
        (("--train", "--minutes", "nan"), "--minutes nan: more than 0"),
        (("--train", "--size", "8by8"), "'8by8' is not a size"),
    ],
)
def test_flags_that_make_no_sense(words: tuple[object, ...], said: str, tmp_path: Path, gesso: Any) -> None:
    refused(gesso("demo", "--out", tmp_path / "demo", *words), said)
    assert not (tmp_path / "demo").exists()


# ---------------------------------------------------------------------------------------------------------- the pages


@given(st.data())
def test_a_view_shows_the_object_inside_the_picture(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(32, 200)), data.draw(st.integers(32, 400))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = np.zeros((height, width), dtype=bool)
    mask[top : data.draw(st.integers(top + 1, height)), left : data.draw(st.integers(left + 1, width))] = True
    rows, columns = shipped._view(mask)
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width
    assert columns.stop - columns.start == 2 * (rows.stop - rows.start)
    places = np.argwhere(mask)
    middle = places[0] + (places[-1] - places[0]) // 2
    assert rows.start <= middle[0] < rows.stop
    assert columns.start <= middle[1] < columns.stop


def test_modes_that_are_shown_are_far_from_each_other() -> None:
    modes = ClassModes(np.array([[0.0], [0.1], [1.0], [-0.5], [0.9]], dtype=np.float32))
    assert shipped.far_apart(modes, 3) == [0, 2, 3]
    assert sorted(shipped.far_apart(modes, 9)) == [0, 1, 2, 3, 4]


# --------------------------------------------------------------------------------------------------------- the editor


def at_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_has_screen", lambda: True)


@pytest.mark.usefixtures("model")
def test_at_a_screen_the_editor_opens_with_the_held_out_scenes(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    at_a_screen(monkeypatch)
    ended = gesso("demo", "--out", tmp_path / "demo", "--scenes", 2, "--device", "cpu")
    assert ended.code == 0, ended.err
    ((synth, listing, project),) = served
    assert synth.style_kind == "features"
    assert [sample.name for sample in listing.samples] == [str(shipped.FIRST), str(shipped.FIRST + 1)]
    assert all(sample.label and sample.instance and sample.image for sample in listing.samples)
    assert project.content == (tmp_path / "demo" / project.name).read_bytes()
    scene = open_project(Renderer(synth), project.content)
    assert scene.sameModel
    assert scene.document.name == str(shipped.FIRST)
    seen = np.asarray(Image.open(listing.samples[0].label).resize((64, 32), Image.Resampling.NEAREST))
    assert np.array_equal(scene.document.layout(toy.space()).label, seen), "the first scene is ready"


@pytest.mark.usefixtures("model")
def test_without_a_screen_it_stays_closed_and_says_so(served: list[Any], tmp_path: Path, gesso: Any) -> None:
    ended = gesso("demo", "--out", tmp_path / "demo", "--scenes", 1, "--device", "cpu")
    assert (ended.code, served) == (0, [])
    assert "The editor stays closed: this is no terminal with a display." in ended.out
    assert gesso("demo", "--out", tmp_path / "demo", "--scenes", 1, "--device", "cpu", "--edit").code == 0
    assert len(served) == 1, "--edit opens it all the same"


@pytest.mark.usefixtures("model")
def test_machines_are_left_alone(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    at_a_screen(monkeypatch)
    opened: list[str] = []
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    ended = gesso("demo", "--out", tmp_path / "demo", "--scenes", 1, "--device", "cpu", "--no-edit")
    assert (ended.code, served) == (0, [])
    assert "editor" not in ended.out
    assert opened == [(tmp_path / "demo" / "index.html").resolve().as_uri()], "a person at a screen sees the page"


def test_a_screen_is_a_terminal_with_a_display_outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.sys, "platform", "linux")
    for name in ("WAYLAND_DISPLAY", "BROWSER", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command.sys, "stdout", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setenv("DISPLAY", ":0")
    assert command._has_screen()
    for name, value in (("CI", "true"), ("DISPLAY", None)):
        with monkeypatch.context() as changed:
            changed.setenv(name, value) if value else changed.delenv(name)
            assert not command._has_screen()


@pytest.mark.usefixtures("model")
def test_without_the_web_extra_it_stays_closed_and_says_so(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    at_a_screen(monkeypatch)
    monkeypatch.setattr(command, "WEB", ("sys", "no_such_package"))
    monkeypatch.setattr(command.webbrowser, "open", lambda address: True)
    ended = gesso("demo", "--out", tmp_path / "demo", "--scenes", 1, "--device", "cpu")
    assert (ended.code, served) == (0, [])
    assert "The editor stays closed: the editor needs packages that are not installed (no_such_package): " in ended.out
    assert "gesso[web]" in ended.out
    refused(
        gesso("demo", "--out", tmp_path / "other", "--edit"),
        "--edit: the editor needs packages that are not installed (no_such_package)",
        "gesso[web]",
    )
    assert not (tmp_path / "other").exists(), "said before anything is drawn"


# --------------------------------------------------------------------------------------------------- from scratch


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
def test_training_from_scratch_makes_the_held_out_error_smaller(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    at_a_screen(monkeypatch)
    monkeypatch.setattr(command.webbrowser, "open", lambda address: True)
    out = tmp_path / "demo"
    ended = gesso("demo", "--out", out, *SHORT)
    assert ended.code == 0, ended.err
    found = re.search(r"Held-out error: (\S+) untrained, (\S+) trained", ended.out)
    assert found, ended.out
    error = training.held_out(out / "run")
    assert [f"{error.untrained:.4f}", f"{error.trained:.4f}"] == list(found.groups())
    assert error.trained < error.untrained
    assert "Mean absolute difference" in (out / "index.html").read_text()
    assert served == [], "the page is all that --train ends with"
    step = read_info(out / "run" / "model.safetensors").step
    assert f"for {step} steps" in (out / "index.html").read_text()
    again = gesso("demo", "--out", out, *SHORT, "--edit")
    assert again.code == 0, again.err
    assert read_info(out / "run" / "model.safetensors").step == step, "a finished demo is shown again"
    assert [len(listing.samples) for _, listing, _ in served] == [2]


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
def test_a_trainer_that_does_not_train_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any
) -> None:
    monkeypatch.setattr(
        pix2pixhd, "learning_rates", lambda config, epoch: {"generator": 0.0, "discriminator": config.lr}
    )
    ended = gesso("demo", "--out", tmp_path / "demo", *SHORT)
    refused(ended, "Training did not help: held-out error:", "the trainer is broken")
    assert (tmp_path / "demo" / "index.html").is_file(), "the page shows what came of it"


@pytest.mark.parametrize(("trained", "fell"), [(0.10, True), (0.17, True), (0.19, False), (0.2, False), (0.3, False)])
def test_an_error_has_fallen_when_it_is_clearly_smaller(trained: float, fell: bool) -> None:
    assert training.HeldOut(0.2, trained).fell is fell
    assert not training.HeldOut(0.2, float("nan")).fell
    assert not training.HeldOut(float("nan"), trained).fell


def test_a_log_without_the_error_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 20, "val_l1": 0.1}\n{"step": 40, "val_l1": 0.1}\n')
    with pytest.raises(TrainingError, match="does not say how large the held-out error was before and after"):
        training.held_out(tmp_path)


@pytest.mark.usefixtures("one_thread")
def test_a_short_plan_still_passes_twice_and_lets_the_rate_fall(tmp_path: Path) -> None:
    toy.write(tmp_path / "scenes", 5, height=32, width=64)
    plan = training.Plan(minutes=1e-6, falling=0.5, trial=1)
    small = {"height": 32, "width": 64, "generator_width": 4, "discriminator_width": 4}
    result = training.train_within(plan, small, tmp_path / "scenes", tmp_path / "run", Console(quiet=True), "cpu")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["epochs"], config["epochs_decay"]) == (1, 1)
    assert result.finished
    assert result.step == 2 * 4
    assert not (tmp_path / "run-trial").exists()


# ---------------------------------------------------------------------------------------------------------- the script


def script() -> Any:
    spec = importlib.util.spec_from_file_location("demo_model_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for what annotations mean
    spec.loader.exec_module(module)
    return module


def test_a_model_file_that_is_too_large_does_not_ship(tmp_path: Path) -> None:
    made = script()
    model = tmp_path / "model.safetensors"
    model.write_bytes(bytes(8_000_000))
    assert made.refuse_large(model) == 8_000_000
    model.write_bytes(bytes(8_000_001))
    with pytest.raises(ModelFileError, match=r"model\.safetensors has 8\.00 MB, and 8 MB may ship"):
        made.refuse_large(model)


def test_the_readme_tells_what_was_really_used() -> None:
    made = script()
    usual = "python examples/demo_model.py OUT --scenes 1500 --ship"
    assert made.command_line(1500, None, None) == usual
    assert made.command_line(1500, 1, 2) == f"{usual} --passes 1 --segmenter-steps 2"
    assert made.lasting(made.STAGES, None) == made.STAGES
    tried = made.lasting({**made.STAGES, "whole": made.Stage(2, 3)}, 1)
    assert [(name, stage.passes, stage.falling) for name, stage in tried.items()] == [("crops", 1, 0), ("whole", 1, 0)]
    assert tried["crops"].settings == made.STAGES["crops"].settings


def test_a_copy_that_fails_leaves_what_ships_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = script()
    new, folder = tmp_path / "model.safetensors", tmp_path / "package"
    new.write_bytes(b"new")
    folder.mkdir()
    (folder / new.name).write_bytes(b"old")

    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as failing:
        failing.setattr(made.shutil, "copyfile", half)
        with pytest.raises(TrainingError, match=r"model\.safetensors"):
            made.put([new], folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {new.name: b"old"}
    made.put([new], folder)
    assert (folder / new.name).read_bytes() == b"new"


def test_its_settings_are_ones_that_training_takes() -> None:
    made = script()
    for stage in made.STAGES.values():
        settings = {name.replace("-", "_"): value for name, value in {**made.ALWAYS, **stage.settings}.items()}
        assert pix2pixhd.Config.model_validate(
            {**pix2pixhd.PRESETS[settings["preset"]].model_dump(), **settings}
        ).features
        assert stage.passes + stage.falling > 0


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_script_makes_what_the_package_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gesso: Any) -> None:
    made = script()
    monkeypatch.chdir(tmp_path)  # the script changes the folder
    monkeypatch.setattr(made, "SIZE", (64, 128))
    monkeypatch.setattr(made, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(made, "ALWAYS", {**made.ALWAYS, "height": 64, "width": 128})
    monkeypatch.setattr(made, "STAGES", {"crops": made.Stage(12, 0, {"crop": (32, 64)}), "whole": made.Stage(2, 3)})
    (tmp_path / "package").mkdir()
    for _ in range(2):  # the second time everything is there already
        monkeypatch.chdir(tmp_path)
        made.demo_model(tmp_path / "made", passes=1, device="cpu", scenes=10, segmenter_steps=2, ship=True)
    shipped_files = {path.name for path in (tmp_path / "package").iterdir()}
    assert shipped_files == {"model.safetensors", "evaluation.json", "held-out.jpg", "README.md"}
    monkeypatch.setattr(package, "MODEL", tmp_path / "package" / "model.safetensors")
    check_what_ships(package.MODEL)
    told = "".join((tmp_path / "package" / name).read_text() for name in ("evaluation.json", "README.md"))
    assert str(tmp_path) not in told
    assert "--ship --passes 1 --segmenter-steps 2`" in told
    assert told.count("1 passes and 0 at a falling learning rate") == 2, "what was used, not what is usual"
    ended = gesso("demo", "--out", tmp_path / "demo", "--scenes", 1, "--device", "cpu")
    assert ended.code == 0, ended.err
