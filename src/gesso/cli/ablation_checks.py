"""What `gesso ablate` sees to before hours of training: data, runs that are there, what is measured with afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gesso.cli.ablation_records import digest_of, noted
from gesso.cli.ablation_training import Budget, Source, open_source, trained_so_far
from gesso.cli.common import open_listing
from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gesso.cli.ablation_plan import Plan, Training
    from gesso.cli.evaluation_settings import EvaluationSettings
    from gesso.data.layouts import Listing

LENIENCE = 1.02  # of a budget in seconds: the last step takes a run over its time, and may be a slow one
HICCUP = 1.0  # seconds that a single step may take on a machine that does something else at that moment
FREE_TO_CHANGE = {
    "workers",
    "log_every",
    "sample_every",
    "save_every",
    "keep",
}  # nothing comes of them at the same step


def refuse_measuring_what_was_learned(source: Source) -> None:
    """See that what is measured was not learned from.

    Raises:
        ConfigError: The splits are one, or share files.
        DataError: One of them is not there.
    """
    advice = "Numbers on what was learned from say nothing: give another --split or --train-split."
    if source.split == source.val_split:
        raise ConfigError(f"--train-split and --split are both {source.split!r}. {advice}")
    learned, measured = (_files(open_listing(source.data, source.flags, s)) for s in (source.split, source.val_split))
    if common := sorted(learned & measured):
        raise ConfigError(
            f"The splits {source.split!r} and {source.val_split!r} share {len(common)} files, such as {common[0]}. {advice}"
        )


def _files(listing: Listing) -> set[Path]:
    """The photographs, or whatever there is."""
    return {file.resolve() for sample in listing.samples if (file := sample.target or sample.label or sample.source)}


def refuse_other_runs(trainings: Sequence[Training], folder: Path, recipe: str, source: Source, budget: Budget) -> str:
    """See that every run that is there was trained as it would be now: settings, data, and no longer; the digest of the data.

    Raises:
        ConfigError: One was not; the message says which, and in what.
        ModelFileError: A saved state is damaged.
    """
    from gesso.recipes import RECIPES
    from gesso.run_start import check_run

    digest = digest_of(open_source(source, recipe, trainings[0].config))
    for training in trainings:
        run = folder / training.name
        if not trained_so_far(run).step:
            continue
        check_run(run, RECIPES[recipe], training.config, open_source(source, recipe, training.config), FREE_TO_CHANGE)
        if other := next((s for s in noted(run) if s.digest != digest), None):
            raise ConfigError(
                f"{run} was trained on other files: those of the split {other.split!r} had the digest {other.digest}, those of "
                f"{source.data}, {source.split!r}, have {digest}. Restore the data, or give another --out."
            )
        _refuse_longer(run, budget)
    return digest


def _refuse_longer(run: Path, budget: Budget) -> None:
    had = trained_so_far(run)
    most = LENIENCE * budget.amount + max(2 * had.seconds / max(had.step, 1), HICCUP)
    if had.of(budget) > (most if budget.unit == "seconds" else budget.amount):
        more = Budget(had.of(budget), budget.unit)
        raise ConfigError(
            f"{run} was trained for {more}, more than the {budget} that each run is to have: give a "
            "budget as large as then, or another --out."
        )


def check_measuring(plan: Plan, source: Source, settings: EvaluationSettings, console: Console) -> None:
    """Open everything that is measured with, so that what cannot be had is said before the budget is spent.

    Raises:
        GessoError: As `gesso evaluate` would raise it.
    """
    from gesso.cli.evaluation_data import open_data, open_training
    from gesso.cli.evaluation_tools import open_instruments
    from gesso.devices import choose_device

    device = choose_device(settings.device)
    reference, _ = open_data([], source.data, source.flags, settings, console)
    if not reference.photographs:
        raise DataError(
            f"{source.data}, split {source.val_split!r}, has layouts without photographs to compare with: give another --split."
        )
    if open_source(source, plan.recipe, plan.base).target_space:
        reference = replace(reference, kind="painted")
    if settings.segmenter == "train":
        if reference.kind == "labels":
            open_training(reference, source.data, source.flags, settings)
        settings = _without_training(settings)
    with console.status("opening what is measured with"):
        open_instruments(reference, source.data, source.flags, settings, device, console)


def _without_training(settings: EvaluationSettings) -> EvaluationSettings:
    """The same without a segmenter that would have to be trained, and what is taken of it."""
    own = {name: "auto" for name in ("features", "distance") if getattr(settings, name) == "segmenter"}
    return replace(settings, segmenter="none", segmenter_steps=None, save_segmenter=None, **own)  # type: ignore[arg-type]
