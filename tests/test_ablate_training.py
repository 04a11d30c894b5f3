"""Training many runs at equal budget: rounds of slices, going on after an interruption, failures, processes."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from safetensors import SafetensorError

from gesso import checkpoints, recipes
from gesso.checkpoints import states
from gesso.cli import ablation_training
from gesso.cli.ablation_checks import refuse_other_runs
from gesso.cli.ablation_plan import Training
from gesso.cli.ablation_records import noted
from gesso.cli.ablation_training import Budget, Progressed, Slice, Source, train_all, trained_so_far
from gesso.cli.common import DataFlags
from gesso.errors import ConfigError, DataError, ModelFileError, TrainingError
from gesso.recipes import pix2pixhd
from training_script import TINY, as_flags, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = Budget(6, "steps")


def trainings(*names: str) -> list[Training]:
    return [Training(name, tiny_config(seed=seed, epochs=1000)) for seed, name in enumerate(names)]


def train(
    data: Path,
    out: Path,
    *names: str,
    budget: Budget = STEPS,
    slices: int = 2,
    parallel: int = 1,
    console: Console | None = None,
) -> dict[str, str]:
    source = Source(data, DataFlags(), "train", "val")
    where = console or Console(file=io.StringIO())
    digest = refuse_other_runs(trainings(*names), out, "pix2pixhd", source, budget)
    return train_all(trainings(*names), out, "pix2pixhd", source, budget, slices, parallel, "cpu", where, digest)


@pytest.fixture
def slices_taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """(Name, until) of every slice that is trained."""
    taken: list[tuple[str, float]] = []
    original: Callable[[Slice, Console | None], Progressed] = ablation_training.train_slice

    def noted(order: Slice, console: Console | None = None) -> Progressed:
        taken.append((order.run.name, order.until.amount))
        return original(order, console)

    monkeypatch.setattr(ablation_training, "train_slice", noted)
    return taken


# --------------------------------------------------------------------------------------------------- rounds of slices


def test_a_budget_in_parts() -> None:
    assert [Budget(900.0, "seconds").part(n, 3).amount for n in (1, 2, 3)] == [300, 600, 900]
    assert [Budget(10, "steps").part(n, 4).amount for n in (1, 2, 3, 4)] == [3, 5, 8, 10]
    assert (str(Budget(90.0, "seconds")), str(Budget(10, "steps"))) == ("1.5 minutes", "10 steps")


def test_runs_take_turns(tiny_dataset: Path, tmp_path: Path, slices_taken: list[tuple[str, float]]) -> None:
    assert train(tiny_dataset, tmp_path, "a", "b") == {}
    assert slices_taken == [("a", 3), ("b", 3), ("a", 6), ("b", 6)]
    assert [trained_so_far(tmp_path / name).step for name in ("a", "b")] == [6, 6]
    assert trained_so_far(tmp_path / "a").seconds > 0


def test_what_is_done_is_not_done_again(
    tiny_dataset: Path, tmp_path: Path, slices_taken: list[tuple[str, float]]
) -> None:
    train(tiny_dataset, tmp_path, "a", budget=Budget(4, "steps"), slices=1)
    slices_taken.clear()
    train(tiny_dataset, tmp_path, "a", "b")
    assert slices_taken == [("b", 3), ("a", 6), ("b", 6)], "a had its first slice already"
    slices_taken.clear()
    train(tiny_dataset, tmp_path, "a", "b")
    assert slices_taken == []


def test_slices_do_not_change_a_training(tiny_dataset: Path, tmp_path: Path) -> None:
    train(tiny_dataset, tmp_path / "one", "a", slices=1)
    train(tiny_dataset, tmp_path / "three", "a", slices=3)
    files = [states(tmp_path / name / "a" / "state")[-1] / "networks.safetensors" for name in ("one", "three")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_minutes(tiny_dataset: Path, tmp_path: Path) -> None:
    budget = Budget(0.4, "seconds")
    train(tiny_dataset, tmp_path, "a", "b", budget=budget)
    for name in ("a", "b"):
        had = trained_so_far(tmp_path / name)
        assert had.seconds >= 0.4
        assert had.seconds - had.seconds / had.step < 0.4 + 0.3, "it ends with the step that goes over the time"
    train(tiny_dataset, tmp_path, "a", "b", budget=budget)  # a step beyond the time is no reason to refuse


def test_a_smaller_budget_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    train(tiny_dataset, tmp_path, "a")
    with pytest.raises(ConfigError, match=r"a was trained for 6 steps, more than the 5 steps .* another --out"):
        train(tiny_dataset, tmp_path, "a", budget=Budget(5, "steps"))


@pytest.mark.parametrize(("name", "value"), [("lr", 0.01), ("batch", 1), ("precision", "bf16-mixed")])
def test_a_run_with_other_settings_is_refused_although_it_had_its_share(
    name: str, value: object, tiny_dataset: Path, tmp_path: Path
) -> None:
    train(tiny_dataset, tmp_path, "a")
    changed = [Training("b", tiny_config()), Training("a", tiny_config(seed=0, epochs=1000, **{name: value}))]
    source = Source(tiny_dataset, DataFlags(), "train", "val")
    with pytest.raises(ConfigError, match=rf"a was begun with other settings: {name} \("):
        refuse_other_runs(changed, tmp_path, "pix2pixhd", source, STEPS)
    quicker = [Training("a", tiny_config(seed=0, epochs=1000, save_every=2))]
    assert refuse_other_runs(quicker, tmp_path, "pix2pixhd", source, STEPS)


def test_a_run_on_other_files_of_the_same_names_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    train(tiny_dataset, tmp_path / "out", "a")
    copied = tmp_path / "copied"
    shutil.copytree(tiny_dataset, copied)
    train(copied, tmp_path / "out", "a")  # elsewhere, but the same
    photographs = sorted((copied / "train" / "images").iterdir())
    shutil.copy(photographs[1], photographs[0])
    with pytest.raises(ConfigError, match=r"a was trained on other files: .*Restore the data, or give another --out"):
        train(copied, tmp_path / "out", "a")


def test_how_a_slice_was_trained_is_noted(tiny_dataset: Path, tmp_path: Path) -> None:
    train(tiny_dataset, tmp_path, "a")
    first, second = noted(tmp_path / "a")
    assert [(s.step, s.until, s.round, s.rounds) for s in (first, second)] == [(0, 3, 1, 2), (3, 6, 2, 2)]
    assert (first.unit, first.parallel, first.threads, first.device) == ("steps", 1, 1, "cpu")
    assert (first.split, first.samples, len(first.digest)) == ("train", 7, 16)
    assert first.began < second.began
    assert {"gesso", "torch"} <= first.versions.keys()
    (tmp_path / "a" / "slices.jsonl").write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        noted(tmp_path / "a")


def test_nothing_was_trained_yet_or_the_state_is_damaged(tiny_dataset: Path, tmp_path: Path) -> None:
    assert trained_so_far(tmp_path / "nothing") == Progressed(0, 0.0)
    train(tiny_dataset, tmp_path, "a", slices=1)
    (states(tmp_path / "a" / "state")[-1] / "state.json").write_text("{")
    with pytest.raises(ModelFileError, match="is damaged"):
        trained_so_far(tmp_path / "a")


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings with seed 1 lose their way."""

    def train_step(config: Any, *given: Any) -> Any:
        losses = pix2pixhd.train_step(config, *given)
        return {**losses, "G_gan": losses["G_gan"] * float("nan")} if config.seed == 1 else losses

    broken = SimpleNamespace(**{**vars(pix2pixhd), "train_step": train_step})
    monkeypatch.setitem(recipes.RECIPES, "pix2pixhd", broken)


@pytest.mark.usefixtures("spoiled")
def test_a_run_that_fails_does_not_stop_the_others(tiny_dataset: Path, tmp_path: Path) -> None:
    told = io.StringIO()
    failed = train(tiny_dataset, tmp_path, "a", "b", "c", console=Console(file=told, width=200))
    assert list(failed) == ["b"]
    assert "The loss G_gan became infinite or not a number" in failed["b"]
    assert "b: failed: The loss" in told.getvalue()
    assert [trained_so_far(tmp_path / name).step for name in ("a", "b", "c")] == [6, 0, 6]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("write error")])
def test_a_full_disk_stops_the_command(
    error: Exception, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def full(order: Slice, console: Console | None = None) -> Progressed:
        begun.append(order.run.name)
        with checkpoints.disk_errors(order.run / "state"):
            raise error

    monkeypatch.setattr(ablation_training, "train_slice", full)
    with pytest.raises(TrainingError, match="could not be written"):
        train(tiny_dataset, tmp_path, "a", "b")
    assert begun == ["a"]


@pytest.mark.usefixtures("spoiled")
def test_if_all_fail_it_is_an_error(tiny_dataset: Path, tmp_path: Path) -> None:
    source = Source(tiny_dataset, DataFlags(), "train", "val")
    lost = [Training("b", tiny_config(seed=1))]
    with pytest.raises(TrainingError, match="became infinite"):
        train_all(lost, tmp_path, "pix2pixhd", source, STEPS, 2, 1, "cpu", Console(file=io.StringIO()))


# ----------------------------------------------------------------------------------------------------------- processes


@pytest.mark.slow
def test_processes_train_what_one_trains(tiny_dataset: Path, tmp_path: Path) -> None:
    train(tiny_dataset, tmp_path / "alone", "a", "b")
    train(tiny_dataset, tmp_path / "together", "a", "b", parallel=2)
    for name in ("a", "b"):
        files = [states(tmp_path / way / name / "state")[-1] / "networks.safetensors" for way in ("alone", "together")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_command_leaves_no_process_and_goes_on(how: int, tiny_dataset: Path, tmp_path: Path) -> None:
    settings = {name: value for name, value in TINY.items() if not name.startswith("epochs")} | {"save_every": 5}
    words = [
        "--only",
        "boundary",
        "--seeds",
        "1",
        "--parallel",
        "2",
        "--train-only",
        "--device",
        "cpu",
        "--out",
        tmp_path,
    ]
    given = [*map(str, words), *as_flags(settings)]
    command = [sys.executable, "-m", "gesso", "ablate", "pix2pixhd", str(tiny_dataset), *given]
    process = subprocess.Popen(
        [*command, "--budget", "9"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(lambda: all(states(tmp_path / "runs" / run / "state") for run in RUNS), 90)
    finally:
        process.send_signal(how)
        process.wait(60)
    wait_for(lambda: not alive(process.pid), 30)
    had = min(trained_so_far(tmp_path / "runs" / run).step for run in RUNS)
    assert had >= 5
    steps = 10 + max(trained_so_far(tmp_path / "runs" / run).step for run in RUNS)
    done = subprocess.run([*command, "--steps", str(steps)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {trained_so_far(tmp_path / "runs" / run).step for run in RUNS} == {steps}


RUNS = ("baseline-seed0", "boundary-without-seed0")


def wait_for(ready: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.2)


def alive(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z" and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found
