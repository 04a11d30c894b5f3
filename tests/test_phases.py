"""Coarse-to-fine training: what the phases are, how networks grow at their borders, and where a run may begin."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import signal
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

import gesso
from gesso import train as gesso_train
from gesso.checkpoints import load_model, read_document, save_model, save_state, states
from gesso.cli import main
from gesso.data.preprocessing import Preprocessing
from gesso.errors import ConfigError, ModelFileError
from gesso.model_info import StyleTable
from gesso.recipes import pix2pixhd
from gesso.session import stages
from gesso.train import Result, fit
from training_script import Server, tiny_config, tiny_data, tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")

GROWING: dict[str, Any] = {
    "height": 64,
    "width": 128,
    "generator_width": 2,
    "enhancers": 1,
    "enhancer_blocks": 1,
    "discriminator_scales": 2,
    "coarse_epochs": 1,
    "coarse_epochs_decay": 1,
    "frozen_epochs": 1,
    "epochs": 1,
    "epochs_decay": 0,
    "save_every": 1000,
    "ema": 0.9,
}
BORDERS = (7, 11, 15)  # steps of GROWING on the 7 samples of tiny_dataset, two at a time
TWICE: dict[str, Any] = {
    **GROWING,
    "generator_width": 1,
    "enhancers": 2,
    "discriminator_scales": 3,
    "coarse_epochs_decay": 0,
}


def train(data: Path, run: Path, stop_at: int | None = None, console: Console | None = None, **changes: Any) -> Result:
    config = tiny_config(**{**GROWING, **changes})
    return fit(pix2pixhd, config, tiny_data(data, config), run, device="cpu", stop_at=stop_at, console=console)


def weights(run: Path, part: str = "networks") -> dict[str, Tensor]:
    return load_file(states(run / "state")[-1] / f"{part}.safetensors")


@pytest.fixture(scope="module")
def grown(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("grown") / "run"
    result = train(tiny_dataset, run)
    assert (result.step, result.finished) == (BORDERS[-1], True)
    return run


@pytest.fixture(scope="module")
def at_borders(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The run stopped one step before, at and one step after each border: copies of one run that goes on."""
    found = {}
    for border in BORDERS[:2]:
        for step in (border, border + 1):
            run = tmp_path_factory.mktemp(f"at-{step}") / "run"
            train(tiny_dataset, run, stop_at=step)
            found[step] = run
    return found


# -------------------------------------------------------------------------------------------------- phases are data


def test_a_training_without_enhancers_is_one_phase() -> None:
    config = tiny_config()
    (phase,) = pix2pixhd.phases(config)
    assert (phase.config, phase.shrink, phase.frozen, phase.new) == (config, 1, (), ())


def test_the_published_phases() -> None:
    """G1 at 1024x512 with two discriminators, then the enhancer alone, then both with three (QUIRKS 2.1, 2.2, 2.4)."""
    coarse, alone, joint = pix2pixhd.phases(pix2pixhd.PRESETS["pix2pixhd-cityscapes-1024p"])
    assert [p.name for p in (coarse, alone, joint)] == ["G1", "G2 alone", "G1+G2"]
    assert [p.shrink for p in (coarse, alone, joint)] == [2, 1, 1]
    assert [p.config.discriminator_scales for p in (coarse, alone, joint)] == [2, 3, 3]
    assert [p.config.generator_width for p in (coarse, alone, joint)] == [64, 32, 32]
    assert [(p.config.epochs, p.config.epochs_decay) for p in (coarse, alone, joint)] == [(100, 100), (10, 0), (40, 50)]
    assert [p.frozen for p in (coarse, alone, joint)] == [(), ("generator.trunk.",), ()]
    assert alone.new == ("generator.enhancers.0.", "generator.head.", "discriminator.scales.2.")
    assert (coarse.new, joint.new) == ((), ())


def test_enhancers_are_added_in_the_order_of_resolutions() -> None:
    found = pix2pixhd.phases(tiny_config(**TWICE))
    assert [p.name for p in found] == ["G1", "G2 alone", "G1+G2", "G3 alone", "G1+G2+G3"]
    assert [p.shrink for p in found] == [4, 2, 2, 1, 1]
    assert [p.config.enhancers for p in found] == [0, 1, 1, 2, 2]
    assert found[3].frozen == ("generator.trunk.", "generator.enhancers.0.")


def test_without_frozen_epochs_a_new_enhancer_is_trained_with_all_others_at_once() -> None:
    coarse, joint = pix2pixhd.phases(tiny_config(**{**GROWING, "frozen_epochs": 0}))
    assert (joint.name, joint.frozen) == ("G1+G2", ())
    assert joint.new == ("generator.enhancers.0.", "generator.head.", "discriminator.scales.1.")
    assert coarse.config.epochs == GROWING["coarse_epochs"]


def test_without_coarse_epochs_training_begins_with_the_enhancer() -> None:
    found = pix2pixhd.phases(tiny_config(**{**GROWING, "coarse_epochs": 0, "coarse_epochs_decay": 0}))
    assert [p.name for p in found] == ["G2 alone", "G1+G2"]


def test_stages_follow_each_other() -> None:
    found = stages(pix2pixhd, tiny_config(**GROWING), 7)
    assert [(s.first, s.last) for s in found] == [(0, 7), (7, 11), (11, 15)]
    assert [(s.number, s.first, s.last) for s in stages(pix2pixhd, tiny_config(**GROWING), 7, begin=1)] == [
        (1, 0, 4),
        (2, 4, 8),
    ]


def test_too_few_discriminators_for_the_enhancers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--discriminator-scales 3"):
        tiny_config(**{**TWICE, "discriminator_scales": 2})


@pytest.mark.parametrize(
    ("settings", "size", "shrunk"),
    [
        ({"resize": "fixed", "height": 64, "width": 128}, (30, 50), (32, 64)),
        ({"resize": "scale_width", "width": 100}, (60, 120), (25, 50)),
        ({"resize": "none"}, (63, 130), (31, 65)),
        ({"resize": "nearest_multiple", "multiple": 8}, (63, 130), (32, 64)),
    ],
)
def test_shrinking_divides_every_size(settings: dict[str, Any], size: tuple[int, int], shrunk: tuple[int, int]) -> None:
    assert Preprocessing(**settings, shrink=2).plan(size).size == shrunk


def test_shrinking_divides_crops() -> None:
    preprocessing = Preprocessing(crop=(32, 48), shrink=2)
    geometry = preprocessing.plan((64, 96), np.random.default_rng(0))
    assert geometry.resized == (32, 48)
    assert geometry.crop is not None and geometry.crop[2:] == (16, 24)


# ------------------------------------------------------------------------------------------------ growing at borders


def test_each_phase_leaves_a_usable_model(grown: Path) -> None:
    files = sorted((grown / "phases").iterdir())
    assert [f.name for f in files] == ["1-G1.safetensors", "2-G2-alone.safetensors", "3-G1+G2.safetensors"]
    label = np.zeros((32, 64), dtype=np.int64)
    for file in files:
        assert gesso.load(file, "cpu")(label).shape == (32, 64, 3)
    assert files[2].read_bytes() == (grown / "model.safetensors").read_bytes()
    assert load_model(files[0]).info.preprocessing["shrink"] == 2


@pytest.mark.long
def test_losses_go_on_in_one_log(grown: Path) -> None:
    text = (grown / "log.jsonl").read_text()
    steps = [int(n) for n in re.findall(r'"step": (\d+), "G_gan"', text)]
    assert steps == list(range(1, BORDERS[-1] + 1))


def test_a_border_changes_no_weight_but_those_that_are_new(at_borders: dict[int, Path], tiny_dataset: Path) -> None:
    before, after = weights(at_borders[BORDERS[0]]), weights(at_borders[BORDERS[0] + 1])
    trunk = [k for k in before if k.startswith("generator.trunk.")]
    assert trunk and all(torch.equal(before[k], after[k]) for k in trunk)
    carried = [k for k in before if k.startswith("discriminator.scales.0.")]
    assert all(before[k].shape == after[k].shape for k in carried)
    gap = max((before[k] - after[k]).abs().max().item() for k in carried)
    assert 0 < gap < 1e-3, "one step of Adam from the weights of the phase before"
    assert {k.split(".")[2] for k in after if k.startswith("discriminator.scales.")} == {"0", "1"}


def test_what_is_frozen_does_not_move_until_all_are_trained(at_borders: dict[int, Path]) -> None:
    first, second = weights(at_borders[BORDERS[0]]), weights(at_borders[BORDERS[1]])
    third = weights(at_borders[BORDERS[1] + 1])
    for key in (k for k in second if k.startswith("generator.trunk.")):
        assert torch.equal(first[key], second[key]), key
    moved = [k for k in second if k.startswith("generator.trunk.") and not torch.equal(second[k], third[k])]
    assert moved


def test_moments_go_on_where_the_parameters_are_the_same(at_borders: dict[int, Path]) -> None:
    """At the end of the frozen phase G begins with new moments, D goes on (QUIRKS 2.4)."""
    border = weights(at_borders[BORDERS[1] + 1], "optimizers")
    steps = {side: {float(v) for k, v in border.items() if k.startswith(side) and k.endswith("/step")} for side in "gd"}
    assert steps["g"] == {1.0}
    assert steps["d"] == {BORDERS[1] - BORDERS[0] + 1.0}


def test_averages_are_taken_over(at_borders: dict[int, Path]) -> None:
    before = weights(at_borders[BORDERS[0]], "averaged")
    live = weights(at_borders[BORDERS[0]])
    key = "generator.trunk.blocks.0.first.weight"
    assert not torch.equal(before[key], live[key])
    after = weights(at_borders[BORDERS[0] + 1], "averaged")
    torch.testing.assert_close(after[key], before[key].lerp(live[key], 1 - 1 / 10))


@pytest.mark.long
def same_end(run: Path, uninterrupted: Path) -> None:
    for file in sorted(states(uninterrupted / "state")[-1].iterdir()):
        assert (states(run / "state")[-1] / file.name).read_bytes() == file.read_bytes(), f"{file.name} differs"
    for name in ("model.safetensors", *(f"phases/{f.name}" for f in (uninterrupted / "phases").iterdir())):
        ours, theirs = load_file(run / name), load_file(uninterrupted / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs), f"{name} differs"


@pytest.mark.long
def test_stopped_at_and_beside_every_border_is_the_same(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    for border in BORDERS:
        for step in (border - 1, border, border + 1):
            assert train(tiny_dataset, tmp_path / "run", stop_at=step).step <= step
    same_end(tmp_path / "run", grown)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


def test_scores_say_of_which_phase_they_are_and_those_at_one_size_compare(grown: Path) -> None:
    lines = [json.loads(line) for line in (grown / "log.jsonl").read_text().splitlines()]
    found = {line["step"]: (line["phase"], line["val_l1"]) for line in lines if "val_l1" in line}
    assert {step: phase for step, (phase, _) in found.items() if step} == dict(zip(BORDERS, range(3), strict=True))
    best = load_model(grown / "best.safetensors").info.best
    assert best is not None and best.step == min(BORDERS[1:], key=lambda step: found[step][1])
    assert best.phase == found[best.step][0]
    assert read_document(states(grown / "state")[-1])["best"]["phase"] == 2


@pytest.mark.long
def test_killed_while_a_phase_is_being_saved(server: Server, tiny_dataset: Path, tmp_path: Path) -> None:
    """One run, killed in the state, in the model file, and twice in what is written again when it goes on.

    Flushes to the disk: 2 of config.json, 6 of the first phase's last state, 2 of its model file, 2 of the copy that stays;
    once the state is there, it is not written again.
    """
    run, whole = tmp_path / "run", tmp_path / "whole"
    begin = ["train", str(tiny_dataset), "--device", "cpu", *tiny_flags(**GROWING, best_by="none")]
    assert server.run([*begin, "--out", str(whole)]) == 0, server.errors.read_text()
    for flush in (4, 9, 4, 6):
        kill_at(server, [*begin, "--out", str(run)], flush)
        assert flush == 4 or states(run / "state")[-1].name == f"step-{BORDERS[0]:08d}"
    assert server.run([*begin, "--out", str(run)]) == 0, server.errors.read_text()
    same_end(run, whole)


@pytest.mark.long
def kill_at(server: Server, command: list[str], flush: int) -> None:
    child = server.start(command, hang_at=flush, marker=str(server.marker))
    end = time.monotonic() + 60
    while not server.marker.exists():
        assert time.monotonic() < end, "the training to be killed does not get on"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL


def test_two_enhancers(tiny_dataset: Path, tmp_path: Path) -> None:
    """G3, and an encoder that is carried through all phases."""
    features = {"instance_features": True, "encoder_width": 2, "encoder_downs": 2}
    result = train(tiny_dataset, tmp_path / "run", **{**TWICE, **features})
    assert result.finished
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.info.networks["generator"].arguments["enhancers"] == 2
    assert model.info.style is not None and model.info.style.regions == "instance"
    assert len(list((tmp_path / "run" / "phases").iterdir())) == 5


@pytest.mark.long
def test_nothing_of_an_earlier_phase_is_held_on_to(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a phase took over (weights, moments, averages) and its session are gone before the next phase's first step."""
    sessions: list[weakref.ref[Any]] = []
    moments: list[weakref.ref[Any]] = []
    alive: list[tuple[int, int]] = []
    opened, loop = gesso_train.open_session, gesso_train._loop

    def remember(*arguments: Any) -> Any:
        moments.extend(weakref.ref(t) for t in arguments[6].get("averaged", {}).values())
        session = opened(*arguments)
        sessions.append(weakref.ref(session))
        return session

    def count(*arguments: Any) -> int:
        gc.collect()
        alive.append((sum(ref() is not None for ref in sessions), sum(ref() is not None for ref in moments)))
        return loop(*arguments)

    monkeypatch.setattr(gesso_train, "open_session", remember)
    monkeypatch.setattr(gesso_train, "_loop", count)
    train(tiny_dataset, tmp_path / "run", stop_at=BORDERS[0])
    train(tiny_dataset, tmp_path / "run")
    assert alive == [(1, 0)] * 4
    assert len(moments) > 50


def test_a_finished_run_keeps_the_styles_that_it_got_since(tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = {"instance_features": True, "encoder_width": 2, "encoder_downs": 2, "enhancers": 0}
    train(tiny_dataset, run, stop_at=2, **changes)
    model = load_model(run / "model.safetensors")
    styles = {"9.centres": torch.zeros(2, 3)}
    info = model.info.model_copy(update={"styles": StyleTable(modes=2)})
    save_model(run / "model.safetensors", model.networks, info, styles)
    train(tiny_dataset, run, stop_at=2, **changes)
    assert load_model(run / "model.safetensors").styles.keys() == styles.keys()
    console = Console(record=True, width=400, file=io.StringIO())
    train(tiny_dataset, run, stop_at=3, console=console, **changes)
    assert "Run gesso styles again" in console.export_text()
    assert not load_model(run / "model.safetensors").styles


# ------------------------------------------------------------------------------------------------------- --init-from


def told(tiny_dataset: Path, run: Path, **changes: Any) -> str:
    console = Console(record=True, width=400, file=io.StringIO())
    train(tiny_dataset, run, console=console, **changes)
    return console.export_text()


def test_a_model_file_seeds_the_enhancer(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    model = grown / "phases" / "1-G1.safetensors"
    text = told(tiny_dataset, tmp_path / "run", init_from=str(model), stop_at=1)
    assert "training begins with phase G2 alone" in text
    new = re.search(r"new: (.*)", text)
    assert new and "generator.enhancers.0 (10 tensors)" in new[1]
    assert "discriminator (12 tensors)" in new[1] and "generator.trunk" not in new[1]
    ours, theirs = weights(tmp_path / "run"), load_file(model)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs if k.startswith("generator.trunk."))


@pytest.mark.long
def test_a_run_folder_seeds_generator_average_and_discriminator(tiny_dataset: Path, tmp_path: Path) -> None:
    coarse = {"enhancers": 0, "generator_width": 4, "discriminator_scales": 1, "height": 32, "width": 64}
    train(tiny_dataset, tmp_path / "coarse", **coarse)
    text = told(tiny_dataset, tmp_path / "run", init_from=str(tmp_path / "coarse"), stop_at=0)
    assert (
        "new: generator.enhancers.0 (10 tensors), generator.head (2 tensors), discriminator.scales.1 (6 tensors)"
        in text
    )
    for part in ("networks", "averaged"):
        ours, theirs = weights(tmp_path / "run", part), weights(tmp_path / "coarse", part)
        shared = [k for k in theirs if not k.startswith("generator.head.")]
        assert shared and all(torch.equal(ours[k], theirs[k]) for k in shared)


def test_a_seeded_run_goes_on_without_what_seeded_it(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    seed = tmp_path / "seed.safetensors"
    seed.write_bytes((grown / "phases" / "1-G1.safetensors").read_bytes())
    whole = train(tiny_dataset, tmp_path / "whole", init_from=str(seed))
    train(tiny_dataset, tmp_path / "run", init_from=str(seed), stop_at=2)
    seed.unlink()
    assert train(tiny_dataset, tmp_path / "run", init_from=str(seed)).step == whole.step == BORDERS[2] - BORDERS[0]
    same_end(tmp_path / "run", tmp_path / "whole")


def test_a_model_that_fits_no_phase_is_refused(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fits none of the phases .*generator\.trunk\.stem\.1\.weight has shape"):
        train(tiny_dataset, tmp_path / "run", init_from=str(grown), generator_width=3)
    assert not (tmp_path / "run").exists()


def test_a_model_of_other_channels_is_refused(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="channels would change their meaning"):
        train(tiny_dataset, tmp_path / "run", init_from=str(grown), boundary=False)


def test_a_finished_enhancer_is_gone_on_with_not_begun_again(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """Also where that phase would otherwise bring a new one."""
    text = told(tiny_dataset, tmp_path / "run", init_from=str(grown), frozen_epochs=0, stop_at=0)
    assert "training begins with phase G1+G2" in text and "new: nothing" in text
    ours, theirs = weights(tmp_path / "run"), weights(grown)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_an_enhancer_of_another_depth_is_not_dropped_but_refused(
    grown: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"fits none of the phases .*generator\.enhancers\.0"):
        train(tiny_dataset, tmp_path / "run", init_from=str(grown), enhancer_blocks=2)


def test_what_is_left_out_is_told(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    model = grown / "phases" / "1-G1.safetensors"
    text = told(tiny_dataset, tmp_path / "run", init_from=str(model), stop_at=0)
    assert "left out: generator.head (2 tensors)" in text


def test_imported_networks_are_begun_from_not_gone_on_with(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_state(run / "state", 0, {"networks": weights(grown), "optimizers": {}, "averaged": {}}, {"imported": True}, 1)
    with pytest.raises(ConfigError, match=r"--init-from .* and another --out"):
        train(tiny_dataset, run)
    assert not (run / "config.json").exists()


def test_nothing_to_begin_from(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no file"):
        train(tiny_dataset, tmp_path / "run", init_from=str(tmp_path / "absent.safetensors"))


# ------------------------------------------------------------------------------------------------------ command line


def test_the_plan_shows_the_phases(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        main(["train", str(tiny_dataset), "--out", str(tmp_path / "run"), *tiny_flags(**GROWING), "--dry-run"])
    shown = capsys.readouterr().out
    assert re.findall(r"phase (\d) of 3: (.*)", shown) == [("1", "G1"), ("2", "G2 alone"), ("3", "G1+G2")]
    assert re.search(r"standing still\s+generator\.trunk", shown)
    assert "32x64 after preprocessing" in shown and "64x128 after preprocessing" in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_the_plan_begins_where_the_training_would(
    grown: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    seed = str(grown / "phases" / "1-G1.safetensors")
    with pytest.raises(SystemExit, match="0"):
        flags = tiny_flags(**GROWING, init_from=seed)
        main(["train", str(tiny_dataset), "--out", str(tmp_path / "run"), *flags, "--dry-run"])
    shown = capsys.readouterr().out
    assert "new: generator.enhancers.0" in shown
    assert re.findall(r"phase (\d) of 3: (.*)", shown) == [("2", "G2 alone"), ("3", "G1+G2")]


def test_what_cannot_fit_into_memory_is_refused_before_training(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gesso.estimates.available_memory", lambda device: 2**20)
    with pytest.raises(SystemExit, match="1"):
        main(["train", str(tiny_dataset), "--out", str(tmp_path / "run"), *tiny_flags(**GROWING)])
    assert "--checkpoint-activations" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
