"""How `gesso demo --train` trains: within some minutes on whatever machine."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import DEFAULT_PRESET, DataFlags
from gesso.errors import TrainingError

if TYPE_CHECKING:
    from gesso.recipes.protocol import Recipe, TrainingConfig
    from gesso.synthesis.synthesizer import Synthesizer
    from gesso.train import Result, TrainingData

TRIAL_STEPS = 12
FALLEN = 0.9  # of the untrained network's error: what is above it may be chance


def train_demo(
    out: Path, scenes: int, minutes: float, size: tuple[int, int], seed: int, device: str, shown: int, console: Console
) -> tuple[Path, Synthesizer]:
    """Scenes, a short training, a page of held-out layouts: the page and the trained model.

    Raises:
        TrainingError: The held-out error did not fall.
    """
    from gesso.cli.demo_page import write_page
    from gesso.cli.toy import toy
    from gesso.synthesis.synthesizer import load

    height, width = size
    console.rule("1 of 3: scenes")
    toy(out / "scenes", count=scenes, size=f"{height}x{width}", seed=seed, time="day")
    console.rule("2 of 3: training")
    # Halving twice instead of three times learns fine structures sooner, which a short training needs more than context.
    changes = {"height": height, "width": width, "seed": seed, "generator_downs": 2}
    began = time.perf_counter()
    result = train_within(Plan(minutes), changes, out / "scenes", out / "run", console, device)
    console.print(f"{result.step} steps; {time.perf_counter() - began:.0f} s, {result.images_per_second:.1f} images/s")
    error = held_out(out / "run")
    console.print(f"{str(error).capitalize()} (mean absolute difference, 0 to 1).", soft_wrap=True, highlight=False)
    console.rule("3 of 3: photographs of layouts that training never saw")
    synth = load(out / "run" / "model.safetensors", device)
    page = write_page(out, synth, shown, console)
    if not error.fell:
        console.print(f"Page: {page.resolve()}", soft_wrap=True)
    refuse_unlearned(error)
    return page, synth


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Attributes:
        minutes: About how long, on this machine.
        falling: Share of the passes, at the end, in which the learning rate falls to zero.
        trial: Steps by which this machine's speed is measured.
    """

    minutes: float
    falling: float = 0.5
    trial: int = TRIAL_STEPS


def train_within(
    plan: Plan, changes: dict[str, Any], scenes: Path, run: Path, console: Console, device: str = "auto"
) -> Result:
    """Train the small preset on toy scenes, or go on: a run that was begun keeps the settings that it was begun with.

    Args:
        plan: How long; of a run that was begun, what it was then.
        changes: Settings that differ from the preset's.
        scenes: Folder of the dataset; held-out samples come from val.
        run: The run folder.
        console: Where progress is shown.
        device: As `gesso train` takes it.

    Raises:
        GessoError: As from `gesso train`.
    """
    from gesso.cli.train import open_data, read_config, resolve
    from gesso.train import fit

    begun = run / "config.json"
    document = read_config(begun) if begun.exists() else dict(changes)
    recipe, config = resolve("" if begun.exists() else DEFAULT_PRESET, document, None)
    data = open_data(recipe, config, scenes, DataFlags(), "train", "val")
    if not begun.exists():
        config = _planned(plan, recipe, config, data, run.with_name(f"{run.name}-trial"), console, device)
    return fit(recipe, config, data, run, device=device, console=console)


def _planned(
    plan: Plan, recipe: Recipe, config: TrainingConfig, data: TrainingData, trial: Path, console: Console, device: str
) -> TrainingConfig:
    """As many passes over the data as this machine makes in the time, some of them at a falling learning rate."""
    from gesso.train import fit

    shutil.rmtree(trial, ignore_errors=True)
    with console.status("measuring this machine"):
        result = fit(recipe, config, data, trial, device=device, stop_at=plan.trial)
    shutil.rmtree(trial)
    samples = len(data.training)  # type: ignore[arg-type]
    speed = result.images_per_second / (
        1 - result.outside_step
    )  # without the samples that so short a trial mostly draws
    passes = max(2, round(plan.minutes * 60 * speed / samples))
    late = int(passes * plan.falling)
    every = max(plan.trial, passes * samples // config.batch // 4)
    changes = {"epochs": passes - late, "epochs_decay": late, "sample_every": every, "save_every": every}
    return type(config).model_validate({**config.model_dump(), **changes})


@dataclass(frozen=True)
class HeldOut:
    """Mean absolute difference to held-out photographs, 0 to 1, as the run's log has it.

    Attributes:
        untrained: Before the first step.
        trained: After the last.
    """

    untrained: float
    trained: float

    def __str__(self) -> str:
        return f"held-out error: {self.untrained:.4f} untrained, {self.trained:.4f} trained"

    @property
    def fell(self) -> bool:
        """Whether training made it clearly smaller."""
        return self.trained < FALLEN * self.untrained  # not so where either is no number


def held_out(run: Path) -> HeldOut:
    """The error on held-out samples before and after training.

    Raises:
        TrainingError: The run's log does not have it.
    """
    log = (json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    found = {line["step"]: line["val_l1"] for line in log if "val_l1" in line}
    if 0 not in found or len(found) < 2:
        raise TrainingError(
            f"{run / 'log.jsonl'} does not say how large the held-out error was before and after training. Give another --out."
        )
    return HeldOut(found[0], found[max(found)])


def refuse_unlearned(error: HeldOut) -> None:
    """See that training made the held-out error smaller: whatever else works, a trainer that does not train is broken.

    Raises:
        TrainingError: It did not.
    """
    if not error.fell:
        raise TrainingError(
            f"Training did not help: {error}, and at least a tenth less was expected. Give it more --minutes and --scenes; if "
            "that does not help either, the trainer is broken."
        )
