"""The one training loop, on Lightning Fabric: resumable at any moment, and the same for every paper.

Nothing random is remembered between steps: the order of the data, augmentation and noise are functions of (seed, step), so the
state of a run is its networks, its optimizers and its step, and a resumed run repeats the uninterrupted one bit for bit.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import is_wrapped
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from gesso import checkpoints
from gesso.batches import parts_of_steps, with_semantics
from gesso.checkpoints import ModelInfo, NetworkDescription, StyleDescription
from gesso.devices import choose_device
from gesso.errors import ConfigError, TrainingError
from gesso.labels import LabelSpace, Semantics
from gesso.pictures import Picture, layout_picture, to_uint8
from gesso.recipes.protocol import Players, Recipe, TrainingConfig
from gesso.train_log import RETRY, RunLog

FREE_TO_CHANGE = {
    "workers",
    "log_every",
    "sample_every",
    "save_every",
    "keep",
    "lr",
    "precision",
}  # between attempts of one run
FIXED_SAMPLES = 6
SYNTHESIS = ("generator", "encoder")  # what a model file holds


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        training: Items as `gesso.data.dataset.SemanticDataset` gives them for keys (index, epoch).
        validation: The same for held-out samples; None if there are none.
        space: The classes; None in photo-to-photo tasks.
        semantics: What the networks' input is made of.
        preprocessing: Kept in the model file.
        origin: Where the data came from, kept in config.json.
    """

    training: Dataset[dict[str, Any]]
    validation: Dataset[dict[str, Any]] | None
    space: LabelSpace | None
    semantics: Semantics
    preprocessing: Mapping[str, Any]
    origin: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """What must stay the same for a run to go on; digests of the names of the samples and of the label space."""
        names = [sample.name for sample in getattr(self.training, "samples", ())]
        space = self.space.model_dump_json() if self.space else ""
        return {
            "samples": len(self.training),  # type: ignore[arg-type]
            "names": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
            "label_space": hashlib.sha256(space.encode()).hexdigest()[:16],
            "semantics": self.semantics.model_dump(),
        }


@dataclass(frozen=True)
class Result:
    """How a call of `fit` ended: the run folder, the steps taken in all, whether training is complete, and its speed."""

    run: Path
    step: int
    finished: bool
    images_per_second: float
    outside_step: float


@dataclass
class Session:
    """Everything a run works with."""

    fabric: Fabric
    recipe: Recipe
    config: TrainingConfig
    data: TrainingData
    run: Path
    players: Players
    optimizers: dict[str, Optimizer]
    averaged: dict[str, nn.Module]

    @property
    def samples(self) -> int:
        """How many training samples there are."""
        return len(self.data.training)  # type: ignore[arg-type]

    def epoch(self, step: int) -> float:
        """Passes over the data before a step."""
        return step * self.config.batch / self.samples

    def for_synthesis(self) -> dict[str, nn.Module]:
        """The networks that the model file holds: averaged ones where there are any."""
        trained = self.players.trained
        return {n: self.averaged.get(n, _bare(trained[n])) for n in SYNTHESIS if n in trained}


def _bare(network: nn.Module) -> nn.Module:
    """A network without Fabric around it: one process can run it alone, while the others wait."""
    return cast(nn.Module, network.module) if is_wrapped(network) else network


def total_steps(config: TrainingConfig, samples: int) -> int:
    """Steps of a whole training: every sample is seen `epochs + epochs_decay` times, the last step is filled up."""
    return -(-(config.epochs + config.epochs_decay) * samples // config.batch)


def fit(
    recipe: Recipe,
    config: TrainingConfig,
    data: TrainingData,
    run: Path,
    *,
    device: str = "auto",
    console: Console | None = None,
    stop_at: int | None = None,
) -> Result:
    """Train, or go on training, in a run folder.

    Args:
        recipe: A module of `gesso.recipes`.
        config: Its settings; a run folder that was begun with others is refused.
        data: What to learn from.
        run: The run folder; created if need be, resumed if it holds a state.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        console: Where progress is shown; None for silence.
        stop_at: Stop, with a saved state, after this many steps in all.

    Raises:
        ConfigError: The run folder belongs to other settings or data, or the batch cannot be shared out.
        TrainingError: A loss is not finite, or the disk is full.
        ModelFileError: The saved state is damaged.
    """
    fabric = make_fabric(device, config.precision)
    fabric.launch()
    samples = len(data.training)  # type: ignore[arg-type]
    check_run(run, recipe, config, data)
    torch.manual_seed(config.seed)
    players = recipe.build(config, data.semantics)
    optimizers = recipe.optimizers(config, players)
    averaged = {n: copy.deepcopy(players.trained[n]).eval() for n in SYNTHESIS if n in players.trained and config.ema}
    for network in [*players.trained.values(), *averaged.values()]:
        network.to(fabric.device)  # before the moments of the optimizers, which follow their parameters
    session = Session(fabric, recipe, config, data, run, players, optimizers, averaged)
    first, total = _restore(session), total_steps(config, samples)
    if fabric.is_global_zero:
        _write_config(session)
    _to_device(session)
    last = total if stop_at is None else max(first, min(stop_at, total))
    with checkpoints.disk_errors(run):
        log = RunLog(run, first, total, console) if fabric.is_global_zero else None
        try:
            _loop(session, first, last, log)
        finally:
            if log:
                log.close()
    fabric.barrier()
    speed, outside = log.speed() if log else (0.0, 0.0)
    return Result(run, last, last == total, speed, outside)


def _loop(session: Session, first: int, last: int, log: RunLog | None) -> None:
    config, recipe = session.config, session.recipe
    parts = parts_of_steps(session.fabric, config, session.data.training, session.data.semantics, first, last)
    for step in range(first, last + 1):
        end, new = step == last, step > first or step == 0
        show = new and (step % config.sample_every == 0 or end)
        store = (new and step > 0 and step % config.save_every == 0) or end
        if log and (show or store or step % config.log_every == 0):
            log.flush(step, {"epoch": session.epoch(step), **_rates(session)})
        if log and show:
            _show_samples(session, log, step)
        if log and store:
            save(session, step)
        if end:
            break
        batch = next(parts)
        began = time.perf_counter()
        torch.manual_seed((config.seed * 1_000_003 + step) * 4099 + session.fabric.global_rank)
        for side, rate in recipe.learning_rates(config, session.epoch(step)).items():
            for group in session.optimizers[side].param_groups:
                group["lr"] = rate
        losses = recipe.train_step(config, session.players, session.optimizers, batch, session.fabric)
        _average(session, step)
        if log:
            log.add(losses, config.batch, time.perf_counter() - began)


# ------------------------------------------------------------------------------------------------------------- engine


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric for one process, or for as many as torchrun started."""
    kind, _, number = choose_device(device).partition(":")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return Fabric(
        accelerator=kind,
        devices=[int(number)] if number else local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )


def _to_device(session: Session) -> None:
    fabric, players = session.fabric, session.players
    for name, network in players.trained.items():
        players.trained[name] = fabric.setup_module(network.train())
    for helper in [*players.frozen.values(), *session.averaged.values()]:
        helper.requires_grad_(False).to(fabric.device)
    for side, optimizer in session.optimizers.items():
        session.optimizers[side] = fabric.setup_optimizers(optimizer)  # type: ignore[assignment]


def _average(session: Session, step: int) -> None:
    """Exponential moving average of weights; it forgets faster while there is little to remember."""
    weight = 1 - min(session.config.ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, network in session.averaged.items():
            current = session.players.trained[name].state_dict()
            for key, kept in network.state_dict().items():
                if kept.is_floating_point():
                    kept.lerp_(current[key], weight)
                else:
                    kept.copy_(current[key])


def _rates(session: Session) -> dict[str, float]:
    return {f"lr_{side}": optimizer.param_groups[0]["lr"] for side, optimizer in session.optimizers.items()}


# ------------------------------------------------------------------------------------------------------------ samples


def _show_samples(session: Session, log: RunLog, step: int) -> None:
    """Sheets of layout | generated | real for fixed samples, in evaluation mode, and their mean absolute difference."""
    networks = session.for_synthesis()
    modes = {name: network.training for name, network in networks.items()}
    for network in networks.values():
        network.eval()
    for split, dataset in (("train", session.data.training), ("val", session.data.validation)):
        if dataset is None:
            continue
        count = len(dataset)  # type: ignore[arg-type]
        items = [dataset[int(i)] for i in np.linspace(0, count - 1, min(FIXED_SAMPLES, count))]
        rows, gaps = zip(*(_show_one(session, networks, item) for item in items), strict=True)
        log.pictures(step, split, list(rows), ["layout", "generated", "real"][: len(rows[0])])
        if gaps[0] is not None:
            log.line(step, **{f"{split}_l1": float(np.mean(gaps))})
    for name, network in networks.items():
        network.train(modes[name])


def _show_one(
    session: Session, networks: Mapping[str, nn.Module], item: dict[str, Any]
) -> tuple[list[Picture], float | None]:
    tensors = {k: v.unsqueeze(0) for k, v in item.items() if isinstance(v, Tensor)}
    batch = with_semantics(session.fabric.to_device({**tensors, "name": [item["name"]]}), session.data.semantics)
    with torch.no_grad():
        fake = session.recipe.synthesise(session.config, networks, batch)[0]
    row = [layout_picture(item, session.data.space), to_uint8(fake)]
    if "image" not in item:
        return row, None
    gap = (fake.cpu().float() - item["image"]).abs().mean().item() / 2
    return [*row, to_uint8(item["image"])], gap


# -------------------------------------------------------------------------------------------------------------- state


def save(session: Session, step: int) -> None:
    """Write the state of a run, then its model file."""
    players, data = session.players, session.data
    parts = {
        "networks": _named(players.trained),
        "optimizers": checkpoints.optimizer_tensors(session.optimizers),
        "averaged": _named(session.averaged),
    }
    for name, network in players.trained.items():
        if not all(bool(p.isfinite().all()) for p in network.parameters()):
            raise TrainingError(f"Weights of the {name} became infinite or not a number by step {step}. {RETRY}")
    document = {"samples": session.samples}
    checkpoints.save_state(session.run / "state", step, parts, document, session.config.keep)
    networks = session.for_synthesis()
    info = ModelInfo(
        recipe=session.recipe.NAME,
        preset=session.config.preset,
        networks={n: NetworkDescription.model_validate(players.descriptions[n]) for n in networks},
        label_space=data.space,
        semantics=data.semantics,
        preprocessing=dict(data.preprocessing),
        style=StyleDescription.model_validate(players.style) if players.style else None,
        step=step,
    )
    checkpoints.save_model(session.run / "model.safetensors", {n: m.state_dict() for n, m in networks.items()}, info)


def _named(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}


def _restore(session: Session) -> int:
    """Put the newest state back into fresh networks and optimizers; the number of steps taken."""
    kept = checkpoints.states(session.run / "state")
    if not kept:
        return 0
    document, parts = checkpoints.load_state(kept[-1])
    try:
        for networks, part in ((session.players.trained, "networks"), (session.averaged, "averaged")):
            for name, network in networks.items():
                own = {k.removeprefix(f"{name}."): v for k, v in parts[part].items() if k.startswith(f"{name}.")}
                network.load_state_dict(own, strict=True)
        for side, optimizer in session.optimizers.items():
            checkpoints.restore_optimizer(side, optimizer, parts["optimizers"])
        return int(document["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise checkpoints.damaged_state(kept[-1], error) from None


def check_run(run: Path, recipe: Recipe, config: TrainingConfig, data: TrainingData) -> None:
    """Refuse to go on in a run folder that was begun with other settings or other data.

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
    wanted = {"recipe": recipe.NAME, **json.loads(config.model_dump_json())}
    different = [k for k, v in wanted.items() if k not in FREE_TO_CHANGE and settings.get(k) != v]
    if different:
        listed = ", ".join(f"{k} ({settings.get(k)} there, {wanted[k]} now)" for k in different)
        raise ConfigError(
            f"{run} was begun with other settings: {listed}. Use them again to go on, or give another --out."
        )
    for name, now in data.facts().items():
        if (there := facts.get(name, now)) != now:
            raise ConfigError(
                f"{run} was begun on other data: {name} {there} there, {now} now. Restore the data, or use another --out."
            )


def _write_config(session: Session) -> None:
    settings = json.loads(session.config.model_dump_json())
    origin = {**session.data.origin, **session.data.facts()}
    text = json.dumps({"recipe": session.recipe.NAME, **settings, "data": origin}, indent=1) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    checkpoints.write_safely(session.run / "config.json", write)
