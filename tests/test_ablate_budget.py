"""Training for a stated time: what is counted, where it stops, how it goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from gesso import train_log
from gesso.checkpoints import states
from gesso.errors import ConfigError
from gesso.recipes import pix2pixhd
from gesso.train import Result, fit
from gesso.train_log import Clock, RunLog
from training_script import STEPS, tiny_config, tiny_data, tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")
STEP, SAMPLE = 1.0, 100.0  # seconds, on the clock of these tests


class Time:
    """Stands still but for what is told to take time, and a microsecond whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1e-6
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr(train_log, "time", found)
    return found


def timed(time: Time) -> Any:
    """The recipe, whose steps take a second and whose samples take a hundred."""

    def train_step(*given: Any) -> Any:
        time.now += STEP
        return pix2pixhd.train_step(*given)

    def synthesise(*given: Any) -> Any:
        time.now += SAMPLE
        return pix2pixhd.synthesise(*given)

    return SimpleNamespace(**{**vars(pix2pixhd), "train_step": train_step, "synthesise": synthesise})


def train(time: Time, data: Path, run: Path, budget: float | None, stop_at: int | None = None) -> Result:
    config = tiny_config()
    recipe = timed(time)
    return fit(recipe, config, tiny_data(data, config), run, device="cpu", budget=budget, stop_at=stop_at)


def test_steps_are_counted_and_samples_are_not(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    result = train(time, tiny_dataset, tmp_path / "run", 4.5)
    assert (result.step, result.finished) == (5, False), "the step that goes over the time is the last"
    assert result.seconds == pytest.approx(5, abs=0.01)
    assert time.now > 2 * SAMPLE, "samples were drawn at the beginning and at the end"


@pytest.mark.long
def test_seconds_are_counted_over_all_attempts(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(time, tiny_dataset, run, 2.5).step == 3
    document = json.loads((states(run / "state")[-1] / "state.json").read_text())
    assert document["seconds"] == pytest.approx(3, abs=0.01)
    spent = train(time, tiny_dataset, run, 2.5)
    assert (spent.step, spent.seconds) == (3, pytest.approx(3, abs=0.01)), "the time was over already"
    more = train(time, tiny_dataset, run, 6.5)
    assert (more.step, more.seconds) == (7, pytest.approx(7, abs=0.01))


def test_whatever_ends_first_ends_the_training(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    assert train(time, tiny_dataset, tmp_path / "steps", 9.5, stop_at=2).step == 2
    assert train(time, tiny_dataset, tmp_path / "time", 1.5, stop_at=9).step == 2
    whole = train(time, tiny_dataset, tmp_path / "whole", 1000)
    assert (whole.step, whole.finished) == (STEPS, True)


@pytest.mark.long
def test_what_a_kill_loses_is_not_counted(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(time, tiny_dataset, run, 4.5)
    states(run / "state")[-1].rename(tmp_path / "lost")  # step 5 of 5; step 3 was saved by the way
    result = train(time, tiny_dataset, run, 4.5)
    assert (result.step, result.seconds) == (5, pytest.approx(5, abs=0.01))


def test_a_training_in_parts_is_that_in_one(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    for budget in (1.5, 3.5, 6.5):
        train(time, tiny_dataset, tmp_path / "parts", budget)
    train(time, tiny_dataset, tmp_path / "whole", 6.5)
    files = [states(tmp_path / name / "state")[-1] / "networks.safetensors" for name in ("parts", "whole")]
    assert files[0].parent.name == files[1].parent.name == "step-00000007"
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_no_time_is_refused(budget: float, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trains nothing: give more than 0 with --minutes"):
        train(Time(), tiny_dataset, tmp_path, budget)


def test_where_nobody_asks_for_the_time_states_do_not_tell_it(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    """So that states of equal trainings are equal, byte for byte; what was trained without a budget counts as nothing."""

    def kept(run: Path) -> Any:
        return json.loads((states(run / "state")[-1] / "state.json").read_text()).get("seconds")

    assert train(time, tiny_dataset, tmp_path, None, stop_at=2).step == 2
    assert kept(tmp_path) is None
    assert train(time, tiny_dataset, tmp_path, 2.5).step == 5
    assert kept(tmp_path) == pytest.approx(3, abs=0.01)
    assert train(time, tiny_dataset, tmp_path, None, stop_at=7).step == 7
    assert kept(tmp_path) == pytest.approx(5, abs=0.01), "once it is asked for, every attempt counts"


def test_a_budget_without_end_only_counts(time: Time, tiny_dataset: Path, tmp_path: Path) -> None:
    result = train(time, tiny_dataset, tmp_path, float("inf"), stop_at=4)
    assert (result.step, result.seconds) == (4, pytest.approx(4, abs=0.01))
    document = json.loads((states(tmp_path / "state")[-1] / "state.json").read_text())
    assert document["seconds"] == pytest.approx(4, abs=0.01)


def test_the_command_says_that_the_time_is_over(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ["train", tiny_dataset, "--out", tmp_path / "run", "--device", "cpu", *tiny_flags(epochs=9999)]
    ended = gesso(*words, "--minutes", "0.005")
    assert ended.code == 0, ended.err
    assert "the 0.005 minutes are spent, which count all attempts; give more to go on after" in ended.out
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("limit", "said"),
    [(float("inf"), "step 10 of 1000  G 1.000"), (120.0, "step 10  G 1.000"), (1e9, "step 10 of 1000")],
)
def test_minutes_left_are_those_of_what_ends_first(time: Time, tmp_path: Path, limit: float, said: str) -> None:
    told = io.StringIO()
    clock = Clock(0.0, limit)
    log = RunLog(tmp_path, 0, 1000, Console(file=told, width=200), clock)
    clock.start()
    time.now += 60.0
    log._show(10, "G 1.000", "1.00 images/s")
    log.close()
    assert said in told.getvalue()
    assert f"{1 if limit == 120 else 99} min left" in told.getvalue()


def test_a_narrow_terminal_loses_losses_before_the_time_that_is_left(time: Time, tmp_path: Path) -> None:
    for width, whole in ((200, True), (80, False)):
        shown = io.StringIO()
        log = RunLog(tmp_path / str(width), 0, 1000, Console(file=shown, width=width, force_terminal=True))
        log._show(10, "G_gan 1.000  G_features 2.000  D_real 3.000", "1.25 images/s")
        text = "".join(segment.text for segment in Console(width=width).render(log._bar.get_renderable()))
        log.close()
        assert "10/1000" in text and "1.25 images/s" in text and "-:--:--" in text, "how far, how fast, how long yet"
        assert ("D_real 3.000" in text) == whole


def test_slow_steps_do_not_keep_people_waiting_for_a_line(time: Time, tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0, 1000, None)
    time.now += 100.0
    assert not log.is_due, "loading a model, or drawing samples, is no step"
    for seconds in (20.0, 9.0, 1.0):
        assert not log.is_due
        time.now += seconds
        log.add({"G": torch.tensor(1.0)}, 1, seconds)
    assert log.is_due
    log.flush(3, {})
    assert not log.is_due, "there is one now"
    log.close()
