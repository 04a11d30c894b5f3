"""`gesso ablate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

from gesso.cli.ablation_checks import check_measuring, refuse_measuring_what_was_learned, refuse_other_runs
from gesso.cli.ablation_measuring import Measuring, check_study, measure, prepare_study, settings_of
from gesso.cli.ablation_plan import Plan, changes_of, make_plan
from gesso.cli.ablation_training import Budget, Source, open_source, train_all
from gesso.cli.common import Data, DataFlags, open_listing, require_space, say_components
from gesso.cli.train import Settings, find_semantics, read_config, resolve
from gesso.cli.train_plan import check_padding, first_geometry, refuse_what_cannot_fit
from gesso.errors import ConfigError
from gesso.recipes.ablations import ABLATIONS, in_use

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
    from gesso.evaluate.ablation_results import Ablation
    from gesso.recipes.protocol import TrainingConfig


def ablate(
    recipe: Literal["pix2pix", "pix2pixhd", "spade"],
    data: Path,
    *,
    budget: float | None = None,
    steps: int | None = None,
    only: str = "",
    preset: str = "",
    config: Path | None = None,
    seeds: int = 2,
    slices: int = 3,
    parallel: int = 1,
    out: Path = Path("ablation"),
    train_split: str = "train",
    split: str = "val",
    train_only: bool = False,
    list_only: bool = False,
    study: str = "",
    device: str = "auto",
    measuring: Annotated[Measuring | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
    flags: Data = None,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Train a paper's variants at equal budget, and report what each part is worth. The same command goes on where it stopped.

    Parameters
    ----------
    recipe: str
        Whose variants.
    data: Path
        Folder of a dataset; see gesso doctor.
    budget: float
        Minutes that each run is trained; samples and saving are not counted.
    steps: int
        Steps that each run is trained, instead of minutes.
    only: str
        Groups of variants, separated by commas; all if nothing is said. --list-only shows them.
    preset: str
        Configuration that the variants change; the recipe's small one if nothing is said.
    config: Path
        YAML or JSON file with settings that all variants share; flags win over it.
    seeds: int
        Runs of each variant, from --seed on.
    slices: int
        Rounds in which the budget is spent, all runs taking turns.
    parallel: int
        Runs that are trained at once, each in a process of one thread; 1 gives each run the whole machine.
    out: Path
        Folder for runs, pictures and the report.
    train_split: str
        Part of DATA to learn from.
    split: str
        Part of DATA to be measured on.
    train_only: bool
        Stop when all runs are trained; the same command without it measures them.
    list_only: bool
        Show the variants and what is left out, and do nothing.
    study: str
        Also prepare a blind comparison by people, in OUT/study, of two variants: their names as --list-only shows them under
        training, or as GROUP-VARIANT, separated by a comma.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    """
    console = Console()
    amount = _budget(budget, steps, list_only)
    _refuse_numbers(slices, parallel)
    source = Source(data, _no_folders(flags or DataFlags()), train_split, split)
    plan = _plan(recipe, preset or f"{recipe}-small", config, settings, source, only, seeds)
    _show(plan, console)
    if list_only or amount is None:
        return
    refuse_measuring_what_was_learned(source)
    evaluation, sides = settings_of(measuring, source, device), check_study(study, plan, out)
    trainings = plan.trainings()
    digest = refuse_other_runs(trainings, out / "runs", recipe, source, amount)
    if not train_only:
        check_measuring(plan, source, evaluation, console)
    _check(plan, source, device, console)
    failed = train_all(trainings, out / "runs", recipe, source, amount, slices, parallel, device, console, digest)
    for name, why in failed.items():
        console.print(f"{name} could not be trained to its end: {why}", soft_wrap=True, markup=False)
    console.print(f"{len(trainings) - len(failed)} runs of {amount} each in {out / 'runs'}", soft_wrap=True)
    if train_only:
        return
    _tell(measure(plan, out, source, amount, failed, evaluation, console), out, console)
    if sides:
        prepare_study(sides, plan, out, failed, console)


def _budget(minutes: float | None, steps: int | None, not_needed: bool) -> Budget | None:
    if minutes is not None and steps is None and 0 < minutes < math.inf:
        return Budget(minutes * 60, "seconds")
    if steps is not None and minutes is None and steps > 0:
        return Budget(steps, "steps")
    if not_needed and minutes is None and steps is None:
        return None
    raise ConfigError(
        "Say how long each run is trained, above 0 and not for ever: either --budget MINUTES or --steps N, not both, not neither."
    )


def _refuse_numbers(slices: int, parallel: int) -> None:
    if slices < 1 or parallel < 1:
        raise ConfigError(f"--slices {slices} --parallel {parallel}: both are at least 1.")


def _no_folders(flags: DataFlags) -> DataFlags:
    """Refuse folders: what is measured on must not be what was learned from."""
    if given := [name for name in ("labels", "images", "instances", "sources") if getattr(flags, name)]:
        raise ConfigError(
            f"--{given[0]}: an ablation learns from one part of a dataset and measures on another; give DATA with splits."
        )
    return flags


def _plan(
    recipe: str,
    preset: str,
    config: Path | None,
    settings: Any,
    source: Source,
    only: str,
    seeds: int,
) -> Plan:
    """The variants, as far as they make sense with these settings and data."""
    document = read_config(config)
    described, base = resolve(preset, document, settings)
    if described.NAME != recipe:
        raise ConfigError(f"--preset {preset} is {described.NAME}'s; give one of {recipe}.")
    listing = open_listing(source.data, source.flags, source.split)
    require_space(listing)
    given = (settings.model_fields_set if settings else set()) | (document.keys() & type(base).model_fields.keys())
    return make_plan(
        recipe,
        ABLATIONS[recipe],
        base,
        given - {"preset"},
        [name.strip() for name in only.split(",")] if only else [],
        seeds,
        lambda config: _meaning(config, listing),
        _absent,
    )


def _meaning(config: TrainingConfig, listing: Listing) -> dict[str, Any]:
    """The settings that decide what is trained, as they come out on the data."""
    return {**in_use(config), "boundary": find_semantics(listing, config).boundary}


def _absent(config: TrainingConfig) -> str:
    """Why a configuration cannot be trained here: the weights of the perceptual loss are not there, and large to fetch."""
    from gesso.networks.published import cache_folder
    from gesso.networks.vgg import FILE

    kept = cache_folder() / FILE.name
    if not getattr(config, "vgg", False) or getattr(config, "vgg_weights", None) or kept.exists():
        return ""
    return f"the weights of {FILE.title} are not at hand: give --vgg-weights FILE, or put {FILE.url} at {kept}"


def _show(plan: Plan, console: Console) -> None:
    """The variants, with what they change, and what is left out."""
    heads = [Column(head, no_wrap=True) for head in ("group", "variant", "training")]  # --study takes them as they are
    table = Table(*heads, Column("changes", overflow="fold"))
    for arm in plan.arms:
        table.add_row(arm.group, arm.variant.name, "left out" if arm.skipped else arm.training, changes_of(arm, plan))
    console.print(table)
    for (group, why), names in plan.left_out().items():
        console.print(f"{group}: {', '.join(names)} left out: {why}.", soft_wrap=True, markup=False, highlight=False)
    runs = f"{len(plan.trainings())} runs with {len(plan.seeds)} seed{'s' * (len(plan.seeds) != 1)}"
    console.print(f"{', '.join(plan.groups)}: {runs}", soft_wrap=True, markup=False, highlight=False)


def _check(plan: Plan, source: Source, device: str, console: Console) -> None:
    """Say before hours of training what cannot be trained."""
    from gesso.recipes import RECIPES

    recipe = RECIPES[plan.recipe]
    learning = open_source(source, plan.recipe, plan.base)
    say_components(learning.training, console)
    check_padding(recipe, plan.base, *first_geometry(learning, console), console)
    with console.status("estimating memory"):
        for training in plan.trainings():
            if training.config.seed == plan.seeds[0]:
                data = open_source(source, plan.recipe, training.config)
                refuse_what_cannot_fit(recipe, training.config, data, device, console)


def _tell(ablation: Ablation, out: Path, console: Console) -> None:
    """Each comparison as a table, with what can be said."""
    from gesso.evaluate.ablation_words import cautions, findings
    from gesso.evaluate.compare import print_table
    from gesso.evaluate.results import Row

    for comparison in ablation.comparisons:
        console.rule(f"{comparison.name}: {comparison.question}", align="left")
        rows = [
            Row(name=variant.name, kind="model", numbers={k: s.number for k, s in variant.numbers.items()})
            for variant in comparison.compared
        ]
        print_table(rows, console)
        for line in [*findings(comparison), *cautions(comparison, ablation.level)]:
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"{out / 'ablation.html'} has the report, {out / 'ablation.json'} the numbers.", soft_wrap=True, highlight=False
    )
