"""What `gesso ablate` trains: variants of one preset, each training once although several groups may ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.recipes.ablations import Group, Variant
    from gesso.recipes.protocol import TrainingConfig

BASELINE = "baseline"
ENDLESS = 1_000_000  # passes: the budget ends the training, at the full learning rate, however fast a variant is


@dataclass(frozen=True)
class Arm:
    """One variant in one group.

    Attributes:
        group: Name of the group.
        variant: The variant.
        training: Name of its trainings without the seed; other arms may share them.
        config: Its settings, with the first seed; None where they are not possible.
        skipped: Why it is left out; empty if it is not.
    """

    group: str
    variant: Variant
    training: str
    config: TrainingConfig | None
    skipped: str = ""


@dataclass(frozen=True)
class Training:
    """One run folder: a configuration with a seed."""

    name: str
    config: TrainingConfig


@dataclass(frozen=True)
class Plan:
    """Everything that one ablation compares.

    Attributes:
        recipe: Name of the recipe.
        base: The settings that variants change.
        groups: Those that were asked for, with at least two variants left.
        arms: Of all groups that were asked for, in the order of the table; left-out ones too.
        seeds: Of the trainings of each variant.
    """

    recipe: str
    base: TrainingConfig
    groups: Mapping[str, Group]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]

    def compared(self, group: str) -> list[Arm]:
        """The variants of a group that are trained; the first is what the others are compared with."""
        return [arm for arm in self.arms if arm.group == group and not arm.skipped]

    def trainings(self) -> list[Training]:
        """Every run, seed by seed."""
        arms = [arm for group in self.groups for arm in self.compared(group)]
        configs = {arm.training: arm.config for arm in arms if arm.config}
        return [
            Training(run_name(name, seed), config.model_copy(update={"seed": seed}))
            for seed in self.seeds
            for name, config in configs.items()
        ]

    def left_out(self) -> dict[tuple[str, str], list[str]]:
        """(Group, reason) -> the variants that are left out for it."""
        found: dict[tuple[str, str], list[str]] = {}
        for arm in self.arms:
            if arm.skipped:
                found.setdefault((arm.group, arm.skipped), []).append(arm.variant.name)
        return found


def changes_of(arm: Arm, plan: Plan) -> str:
    """What a variant changes, for people."""
    changes = {k: v for k, v in arm.variant.changes(plan.base).items() if v != ""}
    told = [f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
    modes = [f"{arm.variant.modes} styles per class"] if arm.variant.modes else []
    return ", ".join(told + modes) or "as the preset has it"


def run_name(training: str, seed: int) -> str:
    """Name of a run folder."""
    return f"{training}-seed{seed}"


def make_plan(
    recipe: str,
    table: Mapping[str, Group],
    base: TrainingConfig,
    given: Set[str],
    only: Sequence[str],
    seeds: int,
    meaning: Callable[[TrainingConfig], Mapping[str, Any]],
    absent: Callable[[TrainingConfig], str],
) -> Plan:
    """The variants of the chosen groups. Names do not depend on the choice, so that groups can be added later.

    Args:
        recipe: Name of the recipe.
        table: All its groups.
        base: The settings that variants change.
        given: Names of settings that were given by the user: groups do not overrule them.
        only: Names of groups; empty for all.
        seeds: How many.
        meaning: Settings as they come out on the data: trainings whose meaning is the same are one training.
        absent: Why a configuration cannot be trained here; empty if it can.

    Raises:
        ConfigError: A group is not known, the budget cannot decide the length, or no group has two variants left.
    """
    if unknown := [name for name in only if name not in table]:
        raise ConfigError(f"--only {unknown[0]!r} is no group of {recipe}; groups: {', '.join(table)}.")
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: give at least 1; two or more show how much a training depends on chance.")
    if fixed := sorted(given & {"epochs", "epochs_decay", "init_from"}):
        raise ConfigError(
            f"--{fixed[0].replace('_', '-')}: the length of an ablation's trainings is their budget, and all begin from nothing; "
            "leave it out."
        )
    base = type(base).model_validate({**base.model_dump(), "epochs": ENDLESS, "epochs_decay": 0})
    if getattr(base, "enhancers", 0):
        raise ConfigError("Ablations train in one phase: give --enhancers 0, or a preset without enhancers.")
    arms = _arms(table, base, given, meaning)
    chosen = {name: group for name, group in table.items() if name in (only or table)}
    arms = [
        replace(arm, skipped=arm.skipped or absent(arm.config)) if arm.config else arm
        for arm in arms
        if arm.group in chosen
    ]
    left = {name: group for name, group in chosen.items() if sum(a.group == name and not a.skipped for a in arms) > 1}
    plan = Plan(recipe, base, left, tuple(arms), tuple(range(base.seed, base.seed + seeds)))
    if not left:
        told = "; ".join(f"{group} {', '.join(names)}: {why}" for (group, why), names in plan.left_out().items())
        raise ConfigError(f"No group has two variants left to compare. Left out are: {told}.")
    return plan


def _arms(
    table: Mapping[str, Group],
    base: TrainingConfig,
    given: Set[str],
    meaning: Callable[[TrainingConfig], Mapping[str, Any]],
) -> list[Arm]:
    """Every variant of every group, with the name of its training: that of the first variant that trains the same."""
    names = [(meaning(base), BASELINE, base)]
    arms = []
    for group, described in table.items():
        seen: list[tuple[Mapping[str, Any], int, str]] = []
        for variant in described.variants:
            own = f"{group}-{variant.name}"
            config, problem = _configure(base, variant)
            if config is None:
                arms.append(Arm(group, variant, own, None, problem))
                continue
            key = meaning(config)
            name, config = next(((name, first) for other, name, first in names if other == key), (own, config))
            names.append((key, name, config))
            twin = next((other for before, modes, other in seen if (before, modes) == (key, variant.modes)), "")
            seen.append((key, variant.modes, variant.name))
            problem = (
                f"the settings make it the same as {twin}" if twin else _overruled(described, variant, base, given)
            )
            arms.append(Arm(group, variant, name, config, problem))
    return arms


def _configure(base: TrainingConfig, variant: Variant) -> tuple[TrainingConfig | None, str]:
    """The settings of a variant, or what is wrong with them."""
    from pydantic import ValidationError

    try:
        return type(base).model_validate({**base.model_dump(), **variant.changes(base)}), ""
    except ValidationError as error:
        return None, "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())


def _overruled(group: Group, variant: Variant, base: TrainingConfig, given: Set[str]) -> str:
    """Why a variant contradicts what the user gave."""
    changes = variant.changes(base)
    wrong = [name for name in sorted(group.decided & given) if getattr(base, name) != changes[name]]
    return f"{wrong[0].replace('_', ' ')} {getattr(base, wrong[0])} was given" if wrong else ""
