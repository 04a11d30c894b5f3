"""What a run works with in each of its phases, and how one phase takes over from another: networks, optimizers, averages.

A run is a row of phases (coarse-to-fine training has several, most trainings one). Inside a phase nothing changes but weights;
at a border the next phase is built and takes over every weight but those that it names as new. What it takes over has the form
of a saved state, so that a run killed at a border goes on like one that was not.
"""

from __future__ import annotations

import copy
import functools
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import is_wrapped
from torch import Tensor, nn
from torch.optim import Optimizer

from gesso import checkpoints
from gesso.averaging import settled
from gesso.batches import with_semantics
from gesso.compiling import compile_in_place, refusal
from gesso.data.dataset import collate
from gesso.data.training import TrainingData
from gesso.errors import ModelFileError, TrainingError
from gesso.model_info import ModelInfo, NetworkDescription, Score, StyleDescription
from gesso.recipes.protocol import Batch, Phase, Players, Recipe, TrainingConfig
from gesso.train_log import RETRY


class WrongWeightsError(Exception):
    """Weights are not those of the networks that they are meant for; says which tensors differ."""


SYNTHESIS = ("generator", "encoder")  # what a model file holds
MEASURED, MEASURED_AT_ONCE = (
    32,
    8,
)  # samples that statistics of averaged weights are taken from; at most so many in a batch
NONE = ("\0",)  # a prefix that no name has
Parts = dict[str, dict[str, Tensor]]  # of a state: networks, optimizers, averaged


@dataclass(frozen=True)
class Stage:
    """A phase in its place in the run.

    Attributes:
        number: Its number among the recipe's phases.
        phase: What it is.
        first: Steps taken before it.
        last: Steps taken after it.
        model: Name of the model file that stays when it is over; empty in a run of one phase.
    """

    number: int
    phase: Phase
    first: int
    last: int
    model: str = ""


@dataclass
class Session:
    """Everything a run works with in one phase."""

    fabric: Fabric
    recipe: Recipe
    stage: Stage
    begin: int
    data: TrainingData
    run: Path
    players: Players
    optimizers: dict[str, Optimizer]
    averaged: dict[str, nn.Module]
    measured: dict[int, Mapping[str, nn.Module]] = field(default_factory=dict)  # by step, while it is needed
    best: Score | None = None  # of the best model of the run so far

    @property
    def config(self) -> TrainingConfig:
        """The settings of this phase."""
        return self.stage.phase.config

    @property
    def codes(self) -> bool:
        """Whether generators see layouts as codes: on CPUs, where looking up takes less time than computing."""
        device = self.fabric.device.type
        compiled = self.config.compile and not refusal(device)  # a graph of lookups would fit one layout
        return device == "cpu" and not compiled and self.recipe.reads_codes(self.config)

    @property
    def samples(self) -> int:
        """How many training samples there are."""
        return len(self.data.training)  # type: ignore[arg-type]

    def epoch(self, step: int) -> float:
        """Passes over the data in this phase before a step."""
        return (step - self.stage.first) * self.config.batch / self.samples

    def for_synthesis(self, step: int) -> Mapping[str, nn.Module]:
        """The networks that the model file holds: averaged ones where there are any, with statistics of their own."""
        trained = self.players.trained
        if not self.averaged:
            return {n: _bare(trained[n]) for n in SYNTHESIS if n in trained}
        if step not in self.measured:
            torch.manual_seed(self.config.seed)
            run = functools.partial(self.recipe.generate, self.config)
            self.measured = {step: settled(self.averaged, self._first_batches, run)}
        return self.measured[step]

    def _first_batches(self) -> Iterator[Batch]:
        """The first samples as training sees them, always the same ones, on the device; equally large ones together.

        Of few photographs several passes, with their own crops, flips and bends: copies would seem never to vary.
        """
        waiting: dict[torch.Size, list[tuple[int, dict[str, Any]]]] = {}  # index and item, by size
        full, size = set(), min(self.config.batch // self.config.accumulate, MEASURED_AT_ONCE)
        data, passes = self.data.training, max(1, MEASURED // self.samples)
        for epoch, index in itertools.product(range(passes), range(min(MEASURED, self.samples))):
            item = data[index, epoch]
            shape = item["image"].shape
            together = waiting.setdefault(shape, [])
            together.append((index, item))
            if len(together) == size:
                full.add(shape)
                yield self._batch([item for _, item in waiting.pop(shape)])
        for rest in (rest for shape, rest in waiting.items() if shape not in full):
            more = (data[index, epoch] for epoch in itertools.count(passes) for index, _ in rest)
            # As many as training has: one value alone cannot be normalised.
            yield self._batch(list(itertools.islice(itertools.chain((item for _, item in rest), more), size)))

    def _batch(self, items: list[dict[str, Any]]) -> Batch:
        straight = [{key: value for key, value in item.items() if not key.startswith("seen")} for item in items]
        return with_semantics(self.fabric.to_device(collate(straight)), self.data.semantics, self.codes)


def total_steps(config: TrainingConfig, samples: int) -> int:
    """Steps of a phase: every sample is seen `epochs + epochs_decay` times, the last step is filled up."""
    return -(-(config.epochs + config.epochs_decay) * samples // config.batch)


def stages(recipe: Recipe, config: TrainingConfig, samples: int, begin: int = 0) -> list[Stage]:
    """The phases of a run in their order, from the one numbered `begin`."""
    found: list[Stage] = []
    first, phases = 0, recipe.phases(config)
    for number, phase in enumerate(phases):
        if number >= begin:
            last = first + total_steps(phase.config, samples)
            model = f"{number + 1}-{phase.name.replace(' ', '-')}.safetensors" if len(phases) > 1 else ""
            found.append(Stage(number, phase, first, last, model))
            first = last
    return found


def _bare(network: nn.Module) -> nn.Module:
    """A network without Fabric around it: one process can run it alone, while the others wait."""
    return cast(nn.Module, network.module) if is_wrapped(network) else network


# --------------------------------------------------------------------------------------------------- opening a phase


def open_session(
    fabric: Fabric,
    recipe: Recipe,
    data: TrainingData,
    run: Path,
    stage: Stage,
    begin: int,
    parts: Parts,
    new: tuple[str, ...],
    resumed: bool,
) -> Session:
    """Build the networks of a phase and put in what came before.

    Args:
        fabric: The engine.
        recipe: A module of `gesso.recipes`.
        data: What the whole run learns from; the phase sees it at its own size.
        run: The run folder.
        stage: The phase.
        begin: Number of the run's first phase.
        parts: Earlier weights and moments; empty at the very beginning.
        new: Prefixes of names whose weights are the phase's own, such as those of a network that was just added.
        resumed: Whether the parts are a state of this very phase, of which nothing may be missing.

    Raises:
        WrongWeightsError: The earlier weights are not those that the phase takes over; the message names what differs.
    """
    phase = stage.phase
    torch.manual_seed(phase.config.seed + 7919 * stage.number)
    players = recipe.build(phase.config, data.semantics)
    if parts:
        fill(players.trained, parts["networks"], new)
    averaged = {
        n: copy.deepcopy(players.trained[n]).eval() for n in SYNTHESIS if n in players.trained and phase.config.ema
    }
    if resumed and averaged and "averaged" not in parts:
        raise WrongWeightsError("the averaged weights are missing")
    if averaged and parts.get("averaged"):  # imported networks have none
        fill(averaged, parts["averaged"], new)
    freeze(players, phase.frozen)
    layout = torch.channels_last if phase.config.channels_last else torch.contiguous_format
    for network in [*players.trained.values(), *averaged.values()]:
        network.to(fabric.device, memory_format=layout)  # type: ignore[call-overload]  # before the moments, which follow
    optimizers = recipe.optimizers(phase.config, players)
    for side, optimizer in optimizers.items():
        order, tensors = _parameter_names(optimizer, players), parts.get("optimizers", {})
        had = {name for key in tensors for owner, name, _ in [key.split("/")] if owner == side}
        if resumed and had and had != set(order):
            raise WrongWeightsError(f"the moments of {side} are of other parameters, or of fewer")
        # They go on where an optimizer has the parameters that it had; otherwise they begin anew.
        if had == set(order) and not any(name.startswith(new or NONE) for name in order):
            checkpoints.restore_optimizer(side, optimizer, order, tensors)
    view = data.shrunk(phase.shrink, recipe.multiple(phase.config))
    return Session(fabric, recipe, stage, begin, view, run, players, optimizers, averaged)


def fill(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], new: tuple[str, ...] = ()) -> None:
    """Put earlier weights into networks, all of them but those whose names begin with one of `new`.

    Raises:
        WrongWeightsError: A tensor is missing, left over, or of another shape.
    """
    wanted = named(networks)
    if found := misfits(wanted, tensors, new):
        raise WrongWeightsError("; ".join(found[:4]))
    with torch.no_grad():
        for name, tensor in wanted.items():
            if not name.startswith(new or NONE):
                tensor.copy_(tensors[name])


def misfits(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], new: tuple[str, ...]) -> list[str]:
    """What keeps weights from being taken over, a line each; empty when they fit."""
    kept = {k: v for k, v in wanted.items() if not k.startswith(new or NONE)}
    there = {k: v for k, v in tensors.items() if not k.startswith(new or NONE)}
    lines = [f"{k} is missing" for k in kept if k not in there]
    lines += [f"{k} is left over" for k in there if k not in kept]
    return lines + [
        f"{k} has shape {tuple(there[k].shape)}, {tuple(v.shape)} is needed"
        for k, v in kept.items()
        if k in there and there[k].shape != v.shape
    ]


def freeze(players: Players, frozen: tuple[str, ...]) -> None:
    """Let parameters whose names (NETWORK.PARAMETER) begin with one of `frozen` have no gradient."""
    for name, network in players.trained.items():
        for key, parameter in network.named_parameters():
            parameter.requires_grad_(not f"{name}.{key}".startswith(frozen or NONE))


def _parameter_names(optimizer: Optimizer, players: Players) -> list[str]:
    names = {id(p): f"{n}.{k}" for n, network in players.trained.items() for k, p in _bare(network).named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def compile_networks(session: Session) -> str:
    """Have networks compiled when they are first called, if so wanted; why not, where that cannot be."""
    if not session.config.compile:
        return ""
    if reason := refusal(session.fabric.device.type):
        why = f"torch.compile does not work here ({reason}). It needs a C++ compiler, and on GPUs Triton."
        return f"--compile is left out: {why}"
    for network in session.players.trained.values():
        compile_in_place(network)
    return ""


def to_device(session: Session) -> None:
    """Hand networks and optimizers to the engine."""
    fabric, players = session.fabric, session.players
    for name, network in players.trained.items():
        players.trained[name] = fabric.setup_module(network.train())
    for helper in [*players.frozen.values(), *session.averaged.values()]:
        helper.requires_grad_(False).to(fabric.device)
    for side, optimizer in session.optimizers.items():
        session.optimizers[side] = fabric.setup_optimizers(optimizer)  # type: ignore[assignment]


# ------------------------------------------------------------------------------------------------------------- saving


def parts_of(session: Session) -> Parts:
    """Everything that a later step depends on, as a state holds it."""
    players = session.players
    orders = {side: _parameter_names(optimizer, players) for side, optimizer in session.optimizers.items()}
    return {
        "networks": named(players.trained),
        "optimizers": checkpoints.optimizer_tensors(session.optimizers, orders),
        "averaged": named(session.averaged),
    }


def named(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """All tensors of networks, as NETWORK.NAME."""
    return {f"{n}.{k}": value for n, network in networks.items() for k, value in _bare(network).state_dict().items()}


def save(session: Session, step: int, seconds: float | None) -> None:
    """Write the state of a run, then its model file; at the end of one of several phases also a copy that stays.

    Args:
        session: What is trained.
        step: Steps taken.
        seconds: Of training, over all attempts; None where they are not counted.
    """
    players, stage = session.players, session.stage
    if _is_saved(session, step):
        return
    for name, network in players.trained.items():
        if not all(bool(p.isfinite().all()) for p in network.parameters()):
            raise TrainingError(f"Weights of the {name} became infinite or not a number by step {step}. {RETRY}")
    document: dict[str, Any] = {
        "samples": session.samples,
        "phase": stage.number,
        "phase_began": stage.first,
        "begin": session.begin,
    }
    document |= {} if seconds is None else {"seconds": seconds}
    document |= {"best": session.best.model_dump()} if session.best else {}
    checkpoints.save_state(session.run / "state", step, parts_of(session), document, session.config.keep)
    networks, info = session.for_synthesis(step), model_info(session, step)
    model = session.run / "model.safetensors"
    checkpoints.save_model(model, {n: m.state_dict() for n, m in networks.items()}, info)
    session.measured.clear()
    if step == stage.last and stage.model:
        checkpoints.write_safely(session.run / "phases" / stage.model, lambda temporary: same_file(model, temporary))


def model_info(session: Session, step: int) -> ModelInfo:
    """What the model file says of itself after so many steps."""
    players, data = session.players, session.data
    return ModelInfo(
        recipe=session.recipe.NAME,
        preset=session.config.preset,
        networks={
            n: NetworkDescription.model_validate(players.descriptions[n]) for n in SYNTHESIS if n in players.trained
        },
        label_space=data.space,
        semantics=data.semantics,
        preprocessing=dict(data.preprocessing),
        style=StyleDescription.model_validate(players.style) if players.style else None,
        step=step,
        target_space=data.target_space,
        **data.read_as(),
    )


def _is_saved(session: Session, step: int) -> bool:
    """Whether all files of this step are there: a model file that got styles since is not to be replaced."""
    run, stage = session.run, session.stage
    copied = step < stage.last or not stage.model or (run / "phases" / stage.model).exists()
    newest = checkpoints.states(run / "state")[-1:]
    return copied and [p.name for p in newest] == [checkpoints.state_name(step)] and model_step(run) == step


def model_step(run: Path) -> int | None:
    """Steps behind the model file of a run; None where there is no sound one."""
    try:
        return checkpoints.read_info(run / "model.safetensors").step
    except ModelFileError:
        return None


def same_file(model: Path, other: Path) -> None:
    """A second name for a file that is never written to, or a copy where the disk knows no second names."""
    try:
        os.link(model, other)
    except OSError:
        shutil.copyfile(model, other)
