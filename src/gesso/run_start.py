"""Where a run is taken up: from its own newest state, from another training's networks, or from nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gesso import checkpoints
from gesso.data.training import TrainingData
from gesso.errors import ConfigError
from gesso.model_info import ModelInfo, Score
from gesso.recipes.protocol import Recipe, TrainingConfig
from gesso.recipes.transfer import Transfer, plan
from gesso.session import NONE, Parts, misfits, named

UNSAID = {"direction": "AtoB", "input": "auto"}  # what a config.json meant that does not name them
EXCHANGED = (
    "The first input picture is another one: see whether --sources and --images are exchanged, or restore the data"
)


@dataclass
class Start:
    """Where a run is taken up.

    Attributes:
        step: Steps already taken.
        begin: Number of the run's first phase.
        number: Number of the phase to open.
        parts: Weights and moments to open it with; empty at the very beginning, and once they were taken.
        new: Prefixes of names whose weights are not among them.
        told: Lines for people, about what another training gave.
        seconds: Of training, in earlier attempts.
        transferred: For each class what it took over from, where another label space's weights were carried over.
        best: Score of the best model so far, if there is one.
        resumed: Whether it is the run's own state.
    """

    step: int = 0
    begin: int = 0
    number: int = 0
    parts: Parts = field(default_factory=dict)
    new: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    seconds: float = 0.0
    transferred: tuple[dict[str, str], ...] = ()
    best: Score | None = None
    resumed: bool = False

    def take(self) -> Parts:
        """The parts, once: what holds them on would keep gigabytes through the whole training."""
        parts, self.parts = self.parts, {}
        return parts


def find_start(run: Path, recipe: Recipe, config: TrainingConfig, data: TrainingData) -> Start:
    """The newest state of the run folder, or the networks that --init-from names, or nothing.

    Raises:
        ConfigError: --init-from does not fit the training.
        ModelFileError: The state or the model file is damaged.
    """
    kept = checkpoints.states(run / "state")
    if not kept:
        return _seeded(Path(config.init_from), recipe, config, data) if config.init_from else Start()
    document, parts = checkpoints.load_state(kept[-1])
    if document.get("imported"):
        raise ConfigError(
            f"{run} holds imported networks, which no training here began: train with --init-from {run} and another --out."
        )
    try:
        step, begin = int(document["step"]), int(document.get("begin", 0))
        number, seconds = int(document.get("phase", 0)), float(document.get("seconds", 0.0))
        best = Score.model_validate(document["best"]) if document.get("best") else None
        assert "networks" in parts and "optimizers" in parts
    except (KeyError, ValueError, TypeError, AssertionError) as error:
        raise checkpoints.damaged_state(kept[-1], error) from None
    return Start(step, begin, number, parts, seconds=seconds, best=best, resumed=True)


def _seeded(path: Path, recipe: Recipe, config: TrainingConfig, data: TrainingData) -> Start:
    """Another training's networks, and the latest phase that can take over from them."""
    info, parts = read_networks(path)
    transfer = _transfer(path, info, recipe, config, data)
    if transfer is None and (info.semantics, info.label_space) != (data.semantics, data.space):
        theirs, ours = (s.name if s else "pictures" for s in (info.label_space, data.space))
        raise ConfigError(
            f"--init-from {path} was trained on {theirs} ({info.semantics}), these data are {ours} ({data.semantics}): "
            "channels would change their meaning. Use data in the same label space, and set --[no-]boundary and "
            "--[no-]dont-care as there; or carry the weights over class by class with --transfer labels."
        )
    misfit = ["there is no phase"]
    judged = any(name.startswith("discriminator.") for name in parts["networks"])
    phases = recipe.phases(config)
    for number in reversed(range(len(phases))):
        phase, absent = phases[number], () if judged else ("discriminator.",)
        with torch.device("meta"):
            built = recipe.build(without_helpers(phase.config), data.semantics).trained
        taken = {part: transfer.carry(there, built) for part, there in parts.items()} if transfer else parts
        wanted, networks = named(built), taken["networks"]
        for new in dict.fromkeys([absent, (*phase.new, *absent)]):
            added = tuple(prefix for prefix in new if prefix not in phase.replaced)
            lines = [f"{k} is left over" for k in networks if k.startswith(added or NONE)]
            if not (lines := lines + misfits(wanted, networks, new)):
                told = _tell(path, wanted, networks, new, phase.name) + (_tell_styles(path, info, transfer))
                origins = tuple(asdict(origin) for origin in transfer.origins) if transfer else ()
                return Start(0, number, number, taken, new, told, transferred=origins)
            misfit = lines if misfit == ["there is no phase"] else min(misfit, lines, key=len)
    raise ConfigError(
        f"--init-from {path} fits none of the phases of this training ({', '.join(p.name for p in phases)}); nearest: "
        f"{'; '.join(misfit[:3])}{f' and {len(misfit) - 3} more' if len(misfit) > 3 else ''}. Use the widths and depths that "
        "it was trained with; gesso info shows them."
    )


def _transfer(
    path: Path, info: ModelInfo, recipe: Recipe, config: TrainingConfig, data: TrainingData
) -> Transfer | None:
    """How weights come to the label space of the data; None without --transfer.

    Raises:
        ConfigError: They cannot.
    """
    if config.transfer == "none":
        return None
    if info.recipe != recipe.NAME:
        raise ConfigError(
            f"--init-from {path} is a model of {info.recipe}, this is a training of {recipe.NAME}: their layers are others. Take "
            f"a model of {recipe.NAME}, or a --preset of {info.recipe}."
        )
    return plan((data.space, data.semantics), (info.label_space, info.semantics), config.class_map, str(path))


def _tell_styles(path: Path, info: ModelInfo, transfer: Transfer | None) -> tuple[str, ...]:
    if transfer is None:
        return ()
    lost = f"The styles in {path} belong to its classes and are not carried over: run gesso styles on the new model."
    return (*transfer.told, *([lost] if info.styles else []))


def read_networks(path: Path) -> tuple[ModelInfo, Parts]:
    """What a run folder (networks and averages of its newest state) or a model file holds.

    Raises:
        ModelFileError: There is neither, or it is damaged.
    """
    if path.is_dir():
        info = checkpoints.read_info(path / "model.safetensors")
        if kept := checkpoints.states(path / "state"):
            _, parts = checkpoints.load_state(kept[-1])
            return info, {k: parts.get(k, {}) for k in ("networks", "averaged")}
        path = path / "model.safetensors"
    model = checkpoints.load_model(path)
    return model.info, {"networks": named(model.networks), "averaged": named(model.networks)}


def without_helpers(config: TrainingConfig) -> TrainingConfig:
    """The same settings without frozen helpers, whose weights would have to be read."""
    return config.model_copy(update={"vgg": False}) if getattr(config, "vgg", False) else config


def _tell(
    path: Path, wanted: Mapping[str, Tensor], there: Mapping[str, Tensor], new: tuple[str, ...], phase: str
) -> tuple[str, ...]:
    kept = sum(not k.startswith(new or NONE) for k in wanted)
    lines = [f"{kept} tensors from {path}; training begins with phase {phase}", f"new: {_counted(wanted, new)}"]
    if any(k.startswith(new or NONE) for k in there):
        lines.append(f"left out: {_counted(there, new)}")
    return tuple(lines)


def _counted(tensors: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> str:
    outer = [p for p in prefixes if not any(p != other and p.startswith(other) for other in prefixes)]
    counts = {prefix: sum(k.startswith(prefix) for k in tensors) for prefix in outer}
    return (
        ", ".join(f"{prefix.rstrip('.')} ({count} tensors)" for prefix, count in counts.items() if count) or "nothing"
    )


def check_run(run: Path, recipe: Recipe, config: TrainingConfig, data: TrainingData, free: set[str]) -> None:
    """Refuse to go on in a run folder that was begun with other settings or other data.

    Args:
        run: The run folder.
        recipe: A module of `gesso.recipes`.
        config: The settings now.
        data: The data now.
        free: Settings that may change between attempts.

    Raises:
        ConfigError: Naming every setting that differs.
    """
    path = run / "config.json"
    if not checkpoints.states(run / "state") or not path.exists():
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        settings, facts = dict(begun), dict(begun.get("data", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged ({error}). Mend it, or give another --out.") from None
    defaults = json.loads(type(config).model_construct().model_dump_json())  # for settings that came with a later gesso
    settings = {**defaults, **settings}
    wanted = {"recipe": recipe.NAME, **json.loads(config.model_dump_json())}
    different = [k for k, v in wanted.items() if k not in free and settings.get(k) != v]
    if different:
        listed = ", ".join(f"{k} ({settings.get(k)} there, {wanted[k]} now)" for k in different)
        raise ConfigError(
            f"{run} was begun with other settings: {listed}. Use them again to go on, or give another --out."
        )
    facts = {**UNSAID, **facts}
    for name, now in data.facts().items():
        if (there := facts.get(name, now)) != now:
            given = EXCHANGED if name == "first_input" else "Restore the data"
            given = f"Use --{name} {there} again" if name in UNSAID else given
            raise ConfigError(
                f"{run} was begun on other data: {name} {there} there, {now} now. {given}, or give another --out."
            )


def write_config(run: Path, recipe: Recipe, config: TrainingConfig, data: TrainingData, start: Start) -> None:
    """Write config.json: every setting, where the data came from, and which class took over from which."""
    settings = json.loads(config.model_dump_json())
    origin = {**data.origin, **data.facts()}
    document: dict[str, Any] = {"recipe": recipe.NAME, **settings, "data": origin}
    path = run / "config.json"
    if transferred := list(start.transferred) or (_transferred(path) if start.resumed else None):
        document["transferred"] = transferred
    text = json.dumps(document, indent=1) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    checkpoints.write_safely(path, write)


def _transferred(path: Path) -> Any:
    """What an earlier attempt of the run wrote down of it."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("transferred")
    except (OSError, ValueError, AttributeError):
        return None
