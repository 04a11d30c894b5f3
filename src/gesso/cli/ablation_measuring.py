"""How `gesso ablate` measures what it trained: one evaluation of all runs, then variants beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress

from gesso.cli.ablation_plan import Arm, Plan, changes_of, run_name
from gesso.cli.ablation_records import noted
from gesso.cli.ablation_training import Budget, Source, trained_so_far
from gesso.cli.evaluation import run_evaluation
from gesso.cli.evaluation_settings import MODEL_FILE, Entry, EvaluationSettings
from gesso.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from gesso.evaluate.ablation_results import Ablation, Run, Variant
    from gesso.evaluate.results import Evaluation, Row

OWN = {"split", "train_split", "seed", "batch", "device", "keep_pictures"}  # decided by `ablate`, or flags of training
EVALUATION, PICTURES, STYLED = "evaluation", "pictures", "styled"


def _measuring() -> type[Any]:
    """The flags of `gesso evaluate` that do not mean something else in training."""
    kinds = get_type_hints(EvaluationSettings, include_extras=True)
    taken = [(item.name, kinds[item.name], item.default) for item in fields(EvaluationSettings) if item.name not in OWN]
    found = make_dataclass("Measuring", taken, frozen=True)
    found.__doc__, found.__module__ = EvaluationSettings.__doc__, __name__
    decorated: type[Any] = Parameter(name="*", group="Measuring")(found)
    return decorated


Measuring = _measuring()


def settings_of(flags: Any, source: Source, device: str) -> EvaluationSettings:
    """What `gesso evaluate` would be told; checked.

    Raises:
        ConfigError: The flags make no sense.
    """
    given = asdict(flags) if flags else {}
    found = EvaluationSettings(**given, split=source.val_split, train_split=source.split, device=device)
    found.check()
    return found


def row_name(arm: Arm, seed: int) -> str:
    """Name of a row of the evaluation; arms of one training differ by the styles that are found afterwards."""
    return run_name(_without_seed(arm), seed)


def _without_seed(arm: Arm) -> str:
    return f"{arm.training}-modes{arm.variant.modes}" if arm.variant.modes else arm.training


def named_arms(plan: Plan) -> dict[str, Arm]:
    """By the names that --study takes: that of the training, or GROUP-VARIANT."""
    arms = [arm for group in plan.groups for arm in plan.compared(group)]
    return {f"{arm.group}-{arm.variant.name}": arm for arm in arms} | {_without_seed(arm): arm for arm in arms}


def measure(
    plan: Plan,
    out: Path,
    source: Source,
    budget: Budget,
    failed: Mapping[str, str],
    settings: EvaluationSettings,
    console: Console,
) -> Ablation:
    """Evaluate every run that was trained to its end, and write OUT/ablation.json and OUT/ablation.html.

    Args:
        plan: What is compared.
        out: Folder of the ablation, with the runs in `runs`.
        source: The data.
        budget: What each run had.
        failed: Name of each run that failed -> why.
        settings: How it is measured.
        console: Where progress is shown.

    Raises:
        GessoError: Something cannot be read, made or measured.
    """
    from gesso.evaluate.ablation_report import to_html

    entries = {}
    for arm in (arm for group in plan.groups for arm in plan.compared(group)):
        for seed in plan.seeds:
            run = out / "runs" / run_name(arm.training, seed)
            if run.name not in failed:
                model = _styled(run, arm.variant.modes, source, settings.device, console) if arm.variant.modes else run
                entries[row_name(arm, seed)] = Entry(row_name(arm, seed), model)
    found = run_evaluation(list(entries.values()), source.data, source.flags, settings, out / EVALUATION, console)
    ablation = conclude(plan, out, budget, failed, found)
    ablation.save(out / "ablation.json")
    temporary = out / ".ablation.html"
    temporary.write_text(to_html(ablation, found, out / EVALUATION), encoding="utf-8")
    temporary.replace(out / "ablation.html")
    return ablation


def _styled(run: Path, modes: int, source: Source, device: str, console: Console) -> Path:
    """The model file of a run with so many styles per class, found in what it learned from; kept until the run goes on."""
    from gesso.checkpoints import load_model, read_info, save_model
    from gesso.cli.styles import open_photographs
    from gesso.devices import choose_device
    from gesso.synthesis.styles import find_styles

    model = run / MODEL_FILE
    path = run / STYLED / f"step-{read_info(model).step:08d}-{modes}.safetensors"
    if path.exists():
        return path
    loaded = load_model(model, choose_device(device))
    photographs = open_photographs(loaded, source.data, source.flags, source.split)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{run.name}: encoding objects", total=len(photographs))
        info, styles = find_styles(
            loaded,
            photographs,
            modes=modes,
            origin=f"{source.data}, {source.split}",
            progress=lambda done, _: bar.update(task, completed=done),
        )
    save_model(path, loaded.networks, info, styles)
    return path


def conclude(plan: Plan, out: Path, budget: Budget, failed: Mapping[str, str], found: Evaluation) -> Ablation:
    """Variants beside each other, over seeds and pictures."""
    from gesso.evaluate.ablation_results import Ablation, Comparison
    from gesso.evaluate.ablation_rule import judge

    rows = {row.name: row for row in found.rows}
    comparisons = tuple(
        Comparison(
            name=name,
            question=group.question,
            origin=group.origin,
            variants=_variants(plan, name, out, failed, rows),
        )
        for name, group in plan.groups.items()
    )
    return Ablation(
        recipe=plan.recipe,
        preset=plan.base.preset,
        settings=plan.base.model_dump(mode="json"),
        budget=str(budget),
        seeds=plan.seeds,
        comparisons=judge(comparisons, found.protocol.level),
        level=found.protocol.level,
        left_out=tuple(
            f"{group}: {', '.join(names)} left out: {why}."
            for (group, why), names in plan.left_out().items()
            if group not in plan.groups
        ),
        evaluation=f"{EVALUATION}/evaluation.json",
    )


def _variants(
    plan: Plan, group: str, out: Path, failed: Mapping[str, str], rows: Mapping[str, Row]
) -> tuple[Variant, ...]:
    from gesso.evaluate.ablation_results import Variant, summarise

    found = []
    for arm in (arm for arm in plan.arms if arm.group == group):
        changes = changes_of(arm, plan)
        if arm.skipped:
            found.append(Variant(name=arm.variant.name, changes=changes, skipped=arm.skipped))
            continue
        runs = tuple(_run(out / "runs" / run_name(arm.training, seed), seed, failed) for seed in plan.seeds)
        names = [row_name(arm, run.seed) for run in runs if not run.failed]
        numbers = summarise([rows[name] for name in names])
        found.append(Variant(name=arm.variant.name, changes=changes, runs=runs, rows=tuple(names), numbers=numbers))
    return tuple(found)


def _run(folder: Path, seed: int, failed: Mapping[str, str]) -> Run:
    from gesso.evaluate.ablation_results import Run

    so_far = trained_so_far(folder)
    return Run(
        name=folder.name,
        seed=seed,
        steps=so_far.step,
        seconds=so_far.seconds,
        failed=failed.get(folder.name, ""),
        stretches=noted(folder),
    )


def prepare_study(names: tuple[str, str], plan: Plan, out: Path, failed: Mapping[str, str], console: Console) -> None:
    """Prepare a blind comparison of the pictures of two variants, of the first seed that both have, in OUT/study.

    Raises:
        TrainingError: There is no such seed.
        GessoError: The study cannot be prepared.
    """
    from gesso.study.prepare import prepare

    if (out / "study" / "study.json").exists():
        console.print(f"{out / 'study'} is there already, and is left as it is.", soft_wrap=True, markup=False)
        return
    arms = [named_arms(plan)[name] for name in names]
    seeds = [seed for seed in plan.seeds if not any(run_name(arm.training, seed) in failed for arm in arms)]
    if not seeds:
        raise TrainingError(f"There is no seed with which both {names[0]} and {names[1]} were trained to their end.")
    entries = [Entry(row_name(arm, seeds[0]), out) for arm in arms]
    folders = [out / EVALUATION / PICTURES / entry.folder for entry in entries]
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("blinding pictures", total=None)
        study, remarks = prepare(
            out / "study",
            dict(zip(names, folders, strict=True)),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for remark in remarks:
        console.print(f"Note: {remark}", soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"{out / 'study'}: {names[0]} or {names[1]}, {len(study.scenes)} scenes of seed {seeds[0]}. Let people take part with: "
        f"gesso study serve {out / 'study'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def check_study(study: str, plan: Plan, out: Path) -> tuple[str, str] | None:
    """The two names of --study; None where none is wanted.

    Raises:
        ConfigError: They are not two names of variants, or there is a study of others already.
    """
    if not study:
        return None
    names, known = [name.strip() for name in study.split(",")], named_arms(plan)
    if len(names) != 2 or any(name not in known for name in names):
        raise ConfigError(f"--study {study!r}: give two names, separated by a comma, of {', '.join(known)}.")
    one, other = (_without_seed(known[name]) for name in names)
    if one == other:
        raise ConfigError(f"--study {study!r}: both are {one}, so there would be nothing to compare.")
    folder = out / "study"
    if folder.exists() and (methods := _methods(folder)) != set(names):
        held = f"a study of {' and '.join(sorted(methods))}" if methods else "something else"
        raise ConfigError(f"{folder} holds {held}, and no study is overwritten: move it away first.")
    return names[0], names[1]


def _methods(study: Path) -> set[str]:
    """What a study compares; nothing where there is none."""
    try:
        return set(json.loads((study / "study.json").read_text(encoding="utf-8"))["methods"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
