"""What `gesso train` says before it starts: sizes, memory and time, and what cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gesso.cli.common import track
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Geometry
    from gesso.recipes.protocol import Recipe, TrainingConfig
    from gesso.session import Stage
    from gesso.train import TrainingData

MUCH = 2  # times the pixels of a picture that its padding may make of it without a word
ABSURD = 16  # times that are refused, unless so few pixels come of it that they cost nothing
HARMLESS = 2048 * 2048
STRETCHED = 1.15  # times that a picture may become wider or narrower without a word
DEARER = 1.5  # times the pixels that a size may have which is proposed in the place of another
ROUND = 16  # sizes that are proposed are multiples of it


def refuse_what_cannot_fit(
    recipe: Recipe, config: TrainingConfig, data: TrainingData, device: str, console: Console
) -> None:
    """Say before the last and largest phase, hours from now, crashes that its memory is not there.

    Raises:
        ConfigError: The message names what is needed, what is free, and the flags that help.
    """
    from gesso.devices import choose_device
    from gesso.estimates import refuse_too_little_memory
    from gesso.session import stages

    largest = stages(recipe, config, len(data.training))[-1].phase  # type: ignore[arg-type]
    size = _size(data.shrunk(largest.shrink, recipe.multiple(largest.config)), console)
    refuse_too_little_memory(
        recipe, largest.config, data.semantics, size, device=choose_device(device), frozen=largest.frozen
    )


def check_padding(
    recipe: Recipe, config: TrainingConfig, geometry: Geometry, raw: tuple[int, int], console: Console
) -> None:
    """Say where most of what the networks see would be made up, before such pictures are made.

    Args:
        recipe: Whose networks take sizes in multiples.
        config: Settings.
        geometry: What is done to the first picture, as `first_geometry` tells.
        raw: Its own (height, width).
        console: Where it is said.

    Raises:
        ConfigError: Next to nothing would be picture; the message names the flag that asks for it.
    """
    high, wide = geometry.padded
    own = raw if config.resize == "nearest_multiple" else geometry.size  # which does not pad, but enlarges
    times = high * wide / (own[0] * own[1])
    if times <= MUCH:
        return
    flag = "upsampling" if recipe.NAME == "spade" else "generator_downs"
    named = f"--{flag.replace('_', '-')} {getattr(config, flag)}"
    made = f"pictures of {own[0]}x{own[1]} become {high}x{wide}, {times:.0f} times their pixels"
    if times > ABSURD and high * wide > HARMLESS:
        raise ConfigError(f"With {named} {made}, nearly all of it padding. Give fewer halvings, or larger pictures.")
    console.print(
        f"With {named} the networks take sizes in multiples of {recipe.multiple(config)}: {made}. Fewer halvings, or larger "
        "pictures, waste less.",
        soft_wrap=True,
    )


def unstretched(recipe: Recipe, config: TrainingConfig, size: tuple[int, int]) -> tuple[int, int] | None:
    """A size of about as many pixels that keeps the shape of a picture; None where the settings do so, or none was found.

    Args:
        recipe: Whose networks take sizes in multiples.
        config: Settings; only those that resize to one height and width, without a crop, are judged.
        size: (height, width) of the picture in pixels.
    """
    if config.resize != "fixed" or config.crop or not (config.height and config.width):
        return None
    ratio, unit = size[1] / size[0], max(ROUND, recipe.multiple(config))
    if _stretch(config.width / config.height, ratio) < STRETCHED:
        return None
    high = max(unit, unit * round(math.sqrt(config.height * config.width / ratio) / unit))
    wide = max(unit, unit * round(high * ratio / unit))
    fits = _stretch(wide / high, ratio) < STRETCHED and high * wide <= DEARER * config.height * config.width
    return (high, wide) if fits else None


def _stretch(ratio: float, other: float) -> float:
    return max(ratio / other, other / ratio)


def say_stretching(recipe: Recipe, config: TrainingConfig, raw: tuple[int, int], console: Console) -> None:
    """Say where photographs lose their shape, and the size that keeps it; `raw` is (height, width) of the first one."""
    if better := unstretched(recipe, config, raw):
        console.print(
            f"The first photograph, {raw[1]} pixels wide and {raw[0]} high, is stretched to {config.width} by {config.height}. "
            f"--height {better[0]} --width {better[1]} keeps its shape, and costs about as much.",
            soft_wrap=True,
        )


def _size(data: TrainingData, console: Console) -> tuple[int, int]:
    """Height and width that the networks see."""
    return first_geometry(data, console)[0].padded


def first_geometry(data: TrainingData, console: Console) -> tuple[Geometry, tuple[int, int]]:
    """What is done to the first picture in training, and its own size; without making the padded picture."""
    import numpy as np

    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing

    dataset = cast("SemanticDataset", data.training)
    plain = SemanticDataset(
        dataset.samples[:1], dataset.space, Preprocessing(), training=False, instances=dataset.instances
    )
    high, wide = next(track((plain[0] for _ in range(1)), "reading", 1, console))["size"]
    return dataset.preprocessing.plan((high, wide), np.random.default_rng(0)), (high, wide)


def show_plan(
    recipe: Recipe, config: TrainingConfig, data: TrainingData, run: Path, device: str, console: Console
) -> None:
    """Settings, what is taken over, phases, sizes and an estimate of memory and time."""
    from gesso.devices import choose_device
    from gesso.run_start import find_start
    from gesso.session import stages

    samples = len(data.training)  # type: ignore[arg-type]
    console.print_json(json.dumps({"recipe": recipe.NAME, **json.loads(config.model_dump_json())}))
    start = find_start(run, recipe, config, data)
    for line in start.told:
        console.print(line, soft_wrap=True, markup=False, emoji=False)
    for stage in (plan := stages(recipe, config, samples, start.begin)):
        if stage.model:
            console.print(f"\nphase {stage.number + 1} of {plan[-1].number + 1}: [bold]{stage.phase.name}[/bold]")
        view = data.shrunk(stage.phase.shrink, recipe.multiple(stage.phase.config))
        console.print(_phase_table(recipe, stage, view, choose_device(device), console))


def _as_colours(data: TrainingData) -> str:
    found = " as a picture in their colours" if data.semantics.colours else ""
    return f"{found}; targets in the colours of {data.target_space.name}" if data.target_space else found


def _phase_table(recipe: Recipe, stage: Stage, data: TrainingData, device: str, console: Console) -> Table:
    from gesso.estimates import estimate

    phase, steps = stage.phase, stage.last - stage.first
    high, wide = _size(data, console)
    guess = estimate(recipe, phase.config, data.semantics, (high, wide), device=device, frozen=phase.frozen)
    table = Table.grid(padding=(0, 2))
    table.add_row("data", f"{len(data.training)} samples, {high}x{wide} after preprocessing")  # type: ignore[arg-type]
    table.add_row("semantics", f"{data.semantics.channels} channels: {escape(f'{data.semantics}{_as_colours(data)}')}")
    table.add_row("steps", f"{stage.first} to {stage.last}: {phase.config.epochs} + {phase.config.epochs_decay} epochs")
    for name, count in guess.parameters.items():
        table.add_row(name, f"{count:,} parameters")
    if phase.frozen:
        table.add_row("standing still", ", ".join(prefix.rstrip(".") for prefix in phase.frozen))
    if phase.new:
        table.add_row("new", ", ".join(prefix.rstrip(".") for prefix in phase.new))
    table.add_row("arithmetic", f"{guess.flops / 1e9:.1f} GFLOP per step")
    table.add_row("memory", f"about {guess.memory / 2**30:.1f} GiB at the peak")
    if guess.seconds is not None:
        hours = guess.seconds * steps / 3600
        table.add_row("time", f"about {guess.seconds:.2f} s per step here, {hours:.1f} h for all {steps} steps")
    return table
