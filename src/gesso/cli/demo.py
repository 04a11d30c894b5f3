"""`gesso demo`."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gesso.cli.common import DEFAULT_PRESET, DataFlags, parse_size
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.recipes.protocol import Recipe, TrainingConfig
    from gesso.train import TrainingData

TRIAL_STEPS = 12
SHOWN = 8


def demo(
    *, out: Path = Path("demo-run"), scenes: int = 240, minutes: float = 4.0, size: str = "96x192", seed: int = 0
) -> None:
    """Toy scenes, a short training, photographs and a page that shows them.

    Parameters
    ----------
    out: Path
        Folder for scenes, run, photographs and index.html; a demo that was interrupted goes on there.
    scenes: int
        How many street scenes are drawn; a fifth of them is held out.
    minutes: float
        About how long to train on this machine.
    size: str
        HEIGHTxWIDTH in pixels of scenes and photographs.
    seed: int
        Of scenes, initial weights and the order of training.
    """
    from gesso.cli.demo_page import write_page
    from gesso.cli.toy import toy
    from gesso.cli.train import open_data
    from gesso.train import fit

    if scenes < 2 or minutes <= 0:
        raise ConfigError(
            f"--scenes {scenes} --minutes {minutes}: at least 2 scenes and more than 0 minutes are needed."
        )
    console = Console()
    height, width = parse_size(size)
    console.rule("1 of 3: scenes")
    toy(out / "scenes", count=scenes, size=size, seed=seed, time="day")
    console.rule("2 of 3: training")
    # Halving twice instead of three times learns fine structures sooner, which a short training needs more than context.
    recipe, config = _settings(out, {"height": height, "width": width, "seed": seed, "generator_downs": 2})
    data = open_data(recipe, config, out / "scenes", DataFlags(), "train", "val")
    if not (out / "run" / "config.json").exists():
        config = _fit_into(minutes, recipe, config, data, out, console)
    began = time.perf_counter()
    result = fit(recipe, config, data, out / "run", console=console)
    console.print(f"{result.step} steps; {time.perf_counter() - began:.0f} s, {result.images_per_second:.1f} images/s")
    console.rule("3 of 3: photographs of layouts that training never saw")
    page = write_page(out, SHOWN, console)
    console.print(f"Page: {page.resolve()}", soft_wrap=True)
    if _may_open_browser():
        webbrowser.open(page.resolve().as_uri())


def _settings(out: Path, changes: dict[str, int]) -> tuple[Recipe, TrainingConfig]:
    """The settings of a demo that was begun in this folder, or fresh ones."""
    from gesso.cli.train import read_config, resolve

    begun = out / "run" / "config.json"
    return resolve("", read_config(begun), None) if begun.exists() else resolve(DEFAULT_PRESET, dict(changes), None)


def _fit_into(
    minutes: float, recipe: Recipe, config: TrainingConfig, data: TrainingData, out: Path, console: Console
) -> TrainingConfig:
    """As many passes over the data as this machine makes in the time, half of them at a falling learning rate."""
    import shutil

    from gesso.train import fit

    trial = out / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    with console.status("measuring this machine"):
        result = fit(recipe, config, data, trial, stop_at=TRIAL_STEPS)
    shutil.rmtree(trial)
    samples = len(data.training)  # type: ignore[arg-type]
    speed = result.images_per_second / (
        1 - result.outside_step
    )  # without the samples that so short a trial mostly draws
    passes = max(2, round(minutes * 60 * speed / samples))
    every = max(TRIAL_STEPS, passes * samples // config.batch // 4)
    changes = {"epochs": passes - passes // 2, "epochs_decay": passes // 2, "sample_every": every, "save_every": every}
    return type(config).model_validate({**config.model_dump(), **changes})


def _may_open_browser() -> bool:
    """Only for a person at a screen."""
    screen = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return screen and sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("1", "true", "yes")
