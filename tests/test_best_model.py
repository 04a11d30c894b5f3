"""The best model by a score of held-out photographs, kept beside the latest one, and exact when a run is stopped or killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gesso import validation
from gesso.checkpoints import load_model, read_document, save_model, save_state, states
from gesso.model_info import ModelInfo, Score, StyleTable
from gesso.recipes.protocol import Phase
from gesso.session import Session, Stage
from gesso.train import _may_be_best
from gesso.train_log import RunLog
from gesso.validation import (
    BEST,
    best_in_next_phase,
    best_of_states,
    forget_worse,
    pyramid_gap,
    restore_best,
    styles_lost,
)
from support import picture_model
from training_script import TINY, fit_tiny, tiny_config, tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT: dict[str, Any] = {"epochs": 2, "epochs_decay": 1, "sample_every": 2, "save_every": 4, "ema": 0.9}  # 11 steps
SCRIPT = {2: 0.5, 4: 0.3, 6: 0.4, 8: 0.2, 10: 0.6, 11: 0.25, 3: 0.0, 7: 0.0}  # by step; stops at 3 and 7 must not count


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Scores as in `SCRIPT` instead of real ones."""
    now, show, one = {"step": 0}, validation.show_samples, validation._show_one

    def showing(session: Session, log: RunLog, step: int, counts: bool) -> None:
        now["step"] = step
        show(session, log, step, counts)

    def measured(*arguments: Any) -> Any:
        row, _ = one(*arguments)
        return row, {"l1": SCRIPT.get(now["step"], 1.0)}

    monkeypatch.setattr("gesso.train.show_samples", showing)
    monkeypatch.setattr(validation, "_show_one", measured)
    return now


def scores(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["val_l1"] for line in lines if "val_l1" in line}


def same_best(first: Path, second: Path) -> bool:
    ours, theirs = (load_model(run / BEST) for run in (first, second))
    return (ours.hash, ours.info.best, ours.info.step) == (theirs.hash, theirs.info.best, theirs.info.step)


@pytest.mark.long
def test_the_best_model_is_that_of_the_lowest_score(tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = fit_tiny(tiny_dataset, run, **SHORT)
    assert result.best == run / BEST
    best = load_model(run / BEST).info.best
    counting = {step: score for step, score in scores(run).items() if step > 0}
    assert set(counting) == {2, 4, 6, 8, 10, 11}
    assert best is not None and best.by == "val_l1" and best.step == min(counting, key=counting.__getitem__)
    assert best.value == pytest.approx(counting[best.step], abs=1e-6)
    fit_tiny(tiny_dataset, tmp_path / "short", stop_at=best.step, **SHORT)
    assert load_model(run / BEST).hash == load_model(tmp_path / "short" / "model.safetensors").hash
    assert read_document(states(run / "state")[-1])["best"] == best.model_dump()
    assert load_model(run / "model.safetensors").info.best is None


def test_best_and_second_names_by_a_script(scripted: dict[str, int], tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_tiny(tiny_dataset, run, **SHORT)
    assert load_model(run / BEST).info.best == Score(by="val_l1", value=0.2, step=8)
    assert [score and score.step for score in best_of_states(run)] == [8, 8]
    assert [path.name for path in (run / "state").glob("best-*")] == ["best-00000008.safetensors"]
    assert (run / "state" / "best-00000008.safetensors").samefile(run / BEST)


@pytest.mark.long
def test_stops_do_not_count_and_change_nothing(scripted: dict[str, int], tiny_dataset: Path, tmp_path: Path) -> None:
    fit_tiny(tiny_dataset, tmp_path / "whole", **SHORT)
    for stop in (3, 7, None):
        fit_tiny(tiny_dataset, tmp_path / "run", stop_at=stop, **SHORT)
    assert same_best(tmp_path / "run", tmp_path / "whole")


@pytest.mark.long
@pytest.mark.parametrize("killed_at", [6, 8, 10])
def test_killed_after_a_better_model_and_before_the_state(
    scripted: dict[str, int], tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """States are saved at 4 and 8 alone; what was written after them is forgotten, then made again."""
    fit_tiny(tiny_dataset, tmp_path / "whole", **SHORT)
    run = tmp_path / "run"

    def killed(session: Session, log: RunLog, step: int, counts: bool) -> None:
        scripted["step"] = step
        validation.show_samples(session, log, step, counts)
        if step == killed_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gesso.train.show_samples", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_tiny(tiny_dataset, run, **SHORT)
    went_on = {6: 4, 8: 4, 10: 8}[killed_at]
    assert states(run / "state")[-1].name == f"step-{went_on:08d}"
    fit_tiny(tiny_dataset, run, stop_at=went_on, **SHORT)
    best = load_model(run / BEST).info.best
    assert best is not None and best.step == went_on  # that of the state again
    fit_tiny(tiny_dataset, run, **SHORT)
    assert same_best(run, tmp_path / "whole")
    for file in (final := states(tmp_path / "whole" / "state")[-1]).iterdir():
        assert (run / "state" / final.name / file.name).read_bytes() == file.read_bytes()


def test_no_score_no_best_model(tiny_dataset: Path, tmp_path: Path) -> None:
    fit_tiny(tiny_dataset, tmp_path / "run", stop_at=4, **SHORT, best_by="none")
    assert not (tmp_path / "run" / BEST).exists()


def test_without_held_out_photographs_there_is_none_and_it_is_said(
    gesso: Any, tiny_dataset: Path, tmp_path: Path
) -> None:
    command = ["train", tiny_dataset, "--out", tmp_path / "run", "--device", "cpu", *tiny_flags(**SHORT)]
    ended = gesso(*command, "--val-split", "absent", "--stop-at", "2")
    assert ended.code == 0, ended.err
    assert "There are no held-out photographs" in ended.out and "best" not in ended.out.split("none is kept")[1]
    assert not (tmp_path / "run" / BEST).exists()


def test_the_command_names_the_best_model_and_info_shows_its_score(
    gesso: Any, tiny_dataset: Path, tmp_path: Path
) -> None:
    command = ["train", tiny_dataset, "--out", tmp_path / "run", "--device", "cpu", *tiny_flags(**SHORT)]
    ended = gesso(*command, "--best-by", "val_pyramid", "--stop-at", "2")
    assert ended.code == 0, ended.err
    assert "step 2: val_pyramid 0." in ended.out and "the best so far" in ended.out
    assert f"the best one {tmp_path / 'run' / BEST} (val_pyramid 0." in ended.out and "at step 2)" in ended.out
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "the best so far" in line.get("said", "")] == [2]
    assert "val_pyramid 0." in gesso("info", tmp_path / "run" / BEST).out
    said = json.loads(gesso("info", tmp_path / "run" / BEST, "--json").out)
    assert said["best"]["by"] == "val_pyramid" and said["best"]["step"] == said["step"] == 2
    generated = gesso("generate", tmp_path / "run" / BEST, tiny_dataset, "--out", tmp_path / "out", "--device", "cpu")
    assert generated.code == 0, generated.err


def test_another_score_begins_anew(scripted: dict[str, int], tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_tiny(tiny_dataset, run, stop_at=4, **SHORT)
    before = load_model(run / BEST).info.best
    fit_tiny(tiny_dataset, run, stop_at=8, **SHORT, best_by="none")
    assert load_model(run / BEST).info.best == before
    fit_tiny(tiny_dataset, run, **SHORT)
    after = load_model(run / BEST).info.best
    assert (
        before is not None and before.step == 4 and after is not None and after.step == 11
    )  # 8 was not measured by it


# ---------------------------------------------------------------------------------------------------------- the pieces


def a_best(folder: Path, step: int) -> Score:
    """A run folder whose best model is that of a step; files as training leaves them."""
    score = Score(by="val_l1", value=1 / (step + 1), step=step)
    model = load_model(picture_model(3, folder))
    info: ModelInfo = model.info.model_copy(update={"best": score, "step": step})
    save_model(folder / BEST, model.networks, info)
    (folder / "state").mkdir(exist_ok=True)
    shutil.copyfile(folder / BEST, folder / "state" / f"best-{step:08d}.safetensors")
    return score


def step_of(run: Path) -> int:
    best = load_model(run / BEST).info.best
    assert best
    return best.step


def test_a_later_best_gives_way_to_that_of_the_state(tmp_path: Path) -> None:
    earlier, later = a_best(tmp_path, 4), a_best(tmp_path, 8)
    assert restore_best(tmp_path, later, "val_l1") == later and step_of(tmp_path) == 8
    assert restore_best(tmp_path, earlier, "none") == earlier and step_of(tmp_path) == 8
    assert restore_best(tmp_path, earlier, "val_l1") == earlier and step_of(tmp_path) == 4
    assert restore_best(tmp_path, None, "val_l1") is None and not (tmp_path / BEST).exists()


def test_a_best_model_that_somebody_removed_is_not_mourned(tmp_path: Path) -> None:
    score = a_best(tmp_path, 4)
    (tmp_path / BEST).unlink()
    assert restore_best(tmp_path, score, "val_l1") == score and step_of(tmp_path) == 4
    for path in [tmp_path / BEST, *(tmp_path / "state").glob("best-*")]:
        path.unlink()
    assert restore_best(tmp_path, score, "val_l1") is None


def test_second_names_last_as_long_as_a_state_needs_them(tmp_path: Path) -> None:
    scores = [a_best(tmp_path, step) for step in (2, 4, 6)]
    for step, score in ((5, scores[1]), (7, scores[2])):
        save_state(tmp_path / "state", step, {"networks": {}}, {"best": score.model_dump()}, keep=9)
    save_state(tmp_path / "state", 3, {"networks": {}}, {}, keep=9)
    assert best_of_states(tmp_path) == [None, *scores[1:]]
    forget_worse(tmp_path, best_of_states(tmp_path))
    assert sorted(p.name for p in (tmp_path / "state").glob("best-*")) == [
        "best-00000004.safetensors",
        "best-00000006.safetensors",
    ]


@pytest.mark.parametrize("document", ['{"step": 5, "be', "5", '{"best": {"step": "x"}}', None])
def test_an_older_state_that_cannot_be_read_costs_nothing(tmp_path: Path, document: str | None) -> None:
    scores = [a_best(tmp_path, step) for step in (2, 4)]
    for step, score in ((5, scores[0]), (7, scores[1])):
        save_state(tmp_path / "state", step, {"networks": {}}, {"best": score.model_dump()}, keep=9)
    damaged = states(tmp_path / "state")[0] / "state.json"
    damaged.unlink() if document is None else damaged.write_text(document)
    assert best_of_states(tmp_path) is None
    forget_worse(tmp_path, best_of_states(tmp_path))
    assert len(list((tmp_path / "state").glob("best-*"))) == 2


def test_a_damaged_second_name_is_not_taken_for_the_best(tmp_path: Path) -> None:
    earlier, _ = a_best(tmp_path, 4), a_best(tmp_path, 8)
    kept = tmp_path / "state" / "best-00000004.safetensors"
    kept.write_bytes(kept.read_bytes()[:100])
    assert restore_best(tmp_path, earlier, "val_l1") is None and not (tmp_path / BEST).exists()


def test_a_fresh_start_forgets_the_best_of_another_training(tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    a_best(run, 4)
    (run / "config.json").write_text('{"transferred": [{"new": "a", "old": "b", "why": "same name"}]}')
    assert fit_tiny(tiny_dataset, run, stop_at=0, **SHORT).best is None
    assert not list(run.rglob("best*.safetensors"))
    assert "transferred" not in json.loads((run / "config.json").read_text())


def test_styles_in_the_best_model_are_not_replaced_without_a_word(tmp_path: Path) -> None:
    a_best(tmp_path, 4)
    assert styles_lost(tmp_path / BEST) == styles_lost(tmp_path / "absent") == ""
    model = load_model(tmp_path / BEST)
    info = model.info.model_copy(update={"styles": StyleTable(modes=1)})
    save_model(tmp_path / BEST, model.networks, info)
    assert "The styles in best.safetensors" in styles_lost(tmp_path / BEST)


def test_phases_at_one_size_compare() -> None:
    one, two, three = (Stage(number, Phase(str(number), None, shrink), 0, 1) for number, shrink in enumerate((2, 1, 1)))
    score = Score(by="val_l1", value=0.1, step=5, phase=1)
    assert best_in_next_phase(score, two, three) == score.model_copy(update={"phase": 2})
    first = score.model_copy(update={"phase": 0})
    assert best_in_next_phase(first, one, two) == best_in_next_phase(first, two, three) == first
    assert best_in_next_phase(None, two, three) is None


@pytest.mark.parametrize(
    ("new", "given", "counts"),
    [
        ((), "old", True),
        (("discriminator.",), "old", True),
        (("generator.enhancers.0.",), "old", False),
        ((), None, False),
    ],
)
def test_weights_before_training_count_only_if_the_whole_generator_was_taken_over(
    new: tuple[str, ...], given: str | None, counts: bool
) -> None:
    config = tiny_config(init_from=given)
    session: Any = SimpleNamespace(config=config, stage=Stage(0, Phase("all", config, new=new), 0, 9))
    assert _may_be_best(session, 0) == counts


def test_layouts_without_photographs_choose_nothing_and_it_is_said(
    gesso: Any, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_dataset, tmp_path / "da[ta]"))
    for path in (data / "val" / "images").iterdir():
        path.unlink()
    command = ["train", data, "--out", tmp_path / "r[un]", "--device", "cpu", *tiny_flags(**SHORT), "--stop-at", "2"]
    ended = gesso(*command)
    assert ended.code == 0, ended.err
    assert "The held-out layouts (--val-split) have no photographs" in ended.out and "none is kept" in ended.out
    assert f"the model is {tmp_path / 'r[un]' / 'model.safetensors'}" in ended.out.replace("\n", "")


def test_pyramid_gap_in_figures() -> None:
    """A constant difference counts alike at every size; a checkerboard at full size alone; at most four sizes."""
    flat, real = torch.full((3, 16, 16), 0.5), torch.zeros(3, 16, 16)
    assert pyramid_gap(flat, real) == pytest.approx(0.25)
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    assert pyramid_gap(board.expand(3, 16, 16), real) == pytest.approx(0.5 / 4)
    assert pyramid_gap(flat[:, :2, :1], real[:, :2, :1]) == pytest.approx(0.25)


def test_few_are_shown_and_more_are_measured() -> None:
    assert validation._spread(3, 6) == [0, 1, 2]
    assert validation._spread(100, 6) == [0, 19, 39, 59, 79, 99]
    measured, shown = validation._chosen(range(100), validation.MEASURED)
    assert len(set(measured)) == validation.MEASURED and (measured[0], measured[-1]) == (0, 99)
    assert len(shown) == validation.FIXED_SAMPLES and set(shown) < set(measured)


def test_settings_name_the_scores() -> None:
    assert tiny_config().best_by == "val_l1" and TINY.keys().isdisjoint({"best_by"})
    with pytest.raises(ValueError, match="best_by"):
        tiny_config(best_by="fid")


def test_state_of_a_run_with_a_best_model_is_read_as_any_other(tiny_dataset: Path, tmp_path: Path) -> None:
    fit_tiny(tiny_dataset, tmp_path / "run", stop_at=4, **SHORT)
    state = states(tmp_path / "run" / "state")[-1]
    assert {p.stem for p in state.glob("*.safetensors")} == {"networks", "optimizers", "averaged"}
    assert load_file(state / "averaged.safetensors")
