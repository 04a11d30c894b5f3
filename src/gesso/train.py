"""The one training loop, on Lightning Fabric: resumable at any moment, and the same for every paper.

Nothing random is remembered between steps: the order of the data, augmentation and noise are functions of (seed, step), so the
state of a run is its networks, its optimizers and its step, and a resumed run repeats the uninterrupted one bit for bit.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from rich.console import Console

from gesso import checkpoints
from gesso.averaging import follow
from gesso.batches import parts_of_steps
from gesso.data.training import TrainingData
from gesso.devices import choose_device
from gesso.errors import ConfigError
from gesso.launch import read_srun
from gesso.recipes.protocol import Recipe, TrainingConfig
from gesso.run_start import Start, check_run, find_start, write_config
from gesso.session import (
    SYNTHESIS,
    Session,
    Stage,
    WrongWeightsError,
    compile_networks,
    open_session,
    parts_of,
    save,
    stages,
    to_device,
    total_steps,
)
from gesso.train_log import Clock, RunLog
from gesso.validation import (
    BEST,
    best_in_next_phase,
    best_of_states,
    forget_best,
    forget_worse,
    photographs,
    restore_best,
    show_samples,
    styles_lost,
)

__all__ = ["FREE_TO_CHANGE", "SYNTHESIS", "Result", "TrainingData", "fit", "stages", "total_steps"]

FREE_TO_CHANGE = {  # between attempts of one run
    "workers",
    "cache",
    "log_every",
    "sample_every",
    "best_by",
    "save_every",
    "keep",
    "lr",
    "precision",
    "checkpoint_activations",
    "channels_last",
    "compile",
}


@dataclass(frozen=True)
class Result:
    """How a call of `fit` ended.

    Attributes:
        run: The run folder.
        step: Steps taken in all.
        finished: Whether training is complete.
        images_per_second: Photographs per second of this call.
        outside_step: Share of this call's time that was spent outside training steps.
        seconds: Of training, over all attempts since one had a budget; samples and saving are not counted.
        best: The model file of the best model so far; None where none was kept.
    """

    run: Path
    step: int
    finished: bool
    images_per_second: float
    outside_step: float
    seconds: float
    best: Path | None = None


def fit(
    recipe: Recipe,
    config: TrainingConfig,
    data: TrainingData,
    run: Path,
    *,
    device: str = "auto",
    console: Console | None = None,
    stop_at: int | None = None,
    budget: float | None = None,
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
        budget: Stop, with a saved state, after this many seconds of training over all attempts that had a budget; infinity counts
            and does not stop. Samples and saving are not counted, nor what was not saved before a kill.

    Raises:
        ConfigError: The run folder belongs to other settings or data, the batch cannot be shared out, or there is no budget.
        TrainingError: A loss is not finite, or the disk is full.
        ModelFileError: The saved state is damaged.
    """
    if budget is not None and not budget > 0:
        raise ConfigError(f"A budget of {budget:g} seconds trains nothing: give more than 0 with --minutes.")
    fabric = make_fabric(device, config.precision)
    fabric.launch()
    check_run(run, recipe, config, data, FREE_TO_CHANGE)
    start = find_start(run, recipe, config, data)
    plan = stages(recipe, config, len(data.training), start.begin)  # type: ignore[arg-type]
    total = plan[-1].last
    last = total if stop_at is None else max(start.step, min(stop_at, total))
    if fabric.is_global_zero:
        write_config(run, recipe, config, data, start)
        if start.resumed:
            start.best = restore_best(run, start.best, config.best_by)
        else:
            forget_best(run)
    clock = Clock(start.seconds, budget)
    with checkpoints.disk_errors(run):
        log = RunLog(run, start.step, total, console, clock) if fabric.is_global_zero else None
        try:
            step = _phases(fabric, recipe, data, run, plan, start, last, clock, log)
        finally:
            if log:
                log.close()
    fabric.barrier()
    speed, outside = log.speed() if log else (0.0, 0.0)
    best = run / BEST if (run / BEST).exists() else None
    return Result(run, step, step == total, speed, outside, clock.seconds, best)


def _phases(
    fabric: Fabric,
    recipe: Recipe,
    data: TrainingData,
    run: Path,
    plan: list[Stage],
    start: Start,
    last: int,
    clock: Clock,
    log: RunLog | None,
) -> int:
    """Go through the phases from where the run is taken up, each taking over from the one before; the step that this ends at."""
    parts, new, step, best = start.take(), start.new, start.step, start.best
    for line in start.told:
        _say(log, line)
    if plan[0].phase.config.best_by != "none" and (missing := _nothing_to_measure(data)):
        _say(log, f"{missing}, so that no score can tell the best model: none is kept.")
    if start.step < last and (told := styles_lost(run / "model.safetensors")):
        _say(log, told)
    for stage in (s for s in plan if s.number >= start.number):
        resumed = stage.number == start.number and "optimizers" in parts
        try:
            session = open_session(fabric, recipe, data, run, stage, start.begin, parts, new, resumed)
        except WrongWeightsError as error:
            if not resumed:
                raise ConfigError(f"The networks to begin with do not fit: {error}.") from None
            raise checkpoints.damaged_state(checkpoints.states(run / "state")[-1], error) from None
        parts, session.best = {}, best  # gigabytes that nobody needs any longer
        if left_out := compile_networks(session):
            _say(log, left_out)
        to_device(session)
        if len(plan) > 1:
            _say(log, f"phase {stage.phase.name}: steps {stage.first} to {stage.last}")
        step = _loop(session, step, min(last, stage.last), clock, log)
        if step < stage.last or last <= stage.last:
            break
        following = plan[plan.index(stage) + 1]
        parts, new = parts_of(session), following.phase.new
        best = best_in_next_phase(session.best, stage, following)
        del session
    return step


def _nothing_to_measure(data: TrainingData) -> str:
    """Why no model can be measured; empty where one can."""
    if data.validation is None:
        return "There are no held-out photographs (--val-split)"
    return "" if photographs(data.validation) else "The held-out layouts (--val-split) have no photographs"


def _say(log: RunLog | None, line: str) -> None:
    if log:
        log.say(line)


def _loop(session: Session, first: int, last: int, clock: Clock, log: RunLog | None) -> int:
    """Steps `first` to `last`, or until the time is over; the step that this ends at."""
    config, recipe = session.config, session.recipe
    data = session.data
    parts = parts_of_steps(session.fabric, config, data.training, data.semantics, first, last, session.codes)
    clock.start()
    for step in range(first, last + 1):
        end, new = step == last or _is_over(session.fabric, clock), step > first or step == 0
        show = new and (step % config.sample_every == 0 or end)
        store = (new and step > 0 and step % config.save_every == 0) or end
        if log and (show or store or step % config.log_every == 0 or log.is_due):
            log.flush(step, {"epoch": session.epoch(step), **_rates(session)})
        with clock.stopped():
            if log and show:
                show_samples(session, log, step, counts=_may_be_best(session, step))
            if log and store:
                save(session, step, clock.seconds if clock.asked else None)
                forget_worse(session.run, best_of_states(session.run))
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
    clock.stop()
    return step


def _may_be_best(session: Session, step: int) -> bool:
    """At every sampling and at the end, but not where a run is merely stopped; untrained weights only if all were taken over."""
    config, stage = session.config, session.stage
    due = step % config.sample_every == 0 or step == stage.last
    whole = bool(config.init_from) and not any(name.startswith(SYNTHESIS) for name in stage.phase.new)
    return due and (step > stage.first or (step == 0 and whole))


def _is_over(fabric: Fabric, clock: Clock) -> bool:
    """Whether the first process has no time left."""
    return not math.isinf(clock.limit) and bool(fabric.broadcast(clock.is_over))


# ------------------------------------------------------------------------------------------------------------- engine


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric for one process, or for as many as torchrun or srun started.

    Raises:
        ConfigError: The device is not on this machine, or SLURM gave the machines unequal numbers of processes.
    """
    read_srun()
    kind, _, number = choose_device(device).partition(":")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    place = TorchElasticEnvironment() if world > 1 and "RANK" in os.environ else LightningEnvironment()
    return Fabric(
        accelerator=kind,
        devices=[int(number)] if number else local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
        plugins=[place],  # or Fabric would go by SLURM's variables, which batch scripts have as well
    )


def _average(session: Session, step: int) -> None:
    """Exponential moving average of weights; it forgets faster while there is little to remember."""
    taken = step - session.stage.first
    weight = 1 - min(session.config.ema, (1 + taken) / (10 + taken))
    for name, network in session.averaged.items():
        follow(network, session.players.trained[name], weight)


def _rates(session: Session) -> dict[str, float]:
    return {f"lr_{side}": optimizer.param_groups[0]["lr"] for side, optimizer in session.optimizers.items()}
