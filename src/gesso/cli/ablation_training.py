"""How `gesso ablate` trains: in rounds of slices, so that whatever slows the machine down slows all variants down alike."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, connection, get_context, parent_process, set_start_method
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors import SafetensorError

from gesso.cli.ablation_records import note
from gesso.cli.common import DataFlags
from gesso.errors import TrainingError

if TYPE_CHECKING:
    from gesso.cli.ablation_plan import Training
    from gesso.recipes.protocol import TrainingConfig
    from gesso.train import TrainingData


@dataclass(frozen=True)
class Budget:
    """How long each run is trained: in seconds of training, or in steps."""

    amount: float
    unit: Literal["seconds", "steps"]

    def part(self, number: int, of: int) -> Budget:
        """What a run has had after so many of its slices."""
        whole = self.amount * number / of
        return Budget(whole if self.unit == "seconds" else -(-self.amount * number // of), self.unit)

    def __str__(self) -> str:
        return f"{self.amount / 60:g} minutes" if self.unit == "seconds" else f"{self.amount:.0f} steps"


@dataclass(frozen=True)
class Source:
    """Where the data of all runs are, as the command line names them."""

    data: Path
    flags: DataFlags
    split: str
    val_split: str


@dataclass(frozen=True)
class Slice:
    """One stretch of the training of one run, for a process of its own.

    Attributes:
        run: The run folder.
        recipe: Name of the recipe.
        config: The settings.
        source: The data.
        until: What the run is to have had.
        device: As `gesso train` takes it.
        round: Number of the round, and of how many.
        parallel: Slices at once.
        digest: Of the data.
    """

    run: Path
    recipe: str
    config: TrainingConfig
    source: Source
    until: Budget
    device: str
    round: tuple[int, int]
    parallel: int
    digest: str


@dataclass(frozen=True)
class Progressed:
    """How far a run is.

    Attributes:
        step: Steps taken.
        seconds: Of training.
    """

    step: int = 0
    seconds: float = 0.0

    def of(self, budget: Budget) -> float:
        """In the budget's unit."""
        return self.seconds if budget.unit == "seconds" else self.step


def trained_so_far(run: Path) -> Progressed:
    """What the newest saved state of a run says.

    Raises:
        ModelFileError: The state is damaged.
    """
    from gesso import checkpoints

    kept = checkpoints.states(run / "state")
    if not kept:
        return Progressed()
    try:
        document = json.loads((kept[-1] / "state.json").read_text(encoding="utf-8"))
        return Progressed(int(document["step"]), float(document.get("seconds", 0.0)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checkpoints.damaged_state(kept[-1], error) from None


def open_source(source: Source, recipe: str, config: TrainingConfig) -> TrainingData:
    """The data of one run."""
    from gesso.cli.train import open_data
    from gesso.recipes import RECIPES

    return open_data(RECIPES[recipe], config, source.data, source.flags, source.split, source.val_split)


def train_slice(order: Slice, console: Console | None = None) -> Progressed:
    """Train one run until it has had its share.

    Raises:
        GessoError: Whatever training raises.
    """
    from gesso.recipes import RECIPES
    from gesso.train import fit

    data = open_source(order.source, order.recipe, order.config)
    limit = order.until
    facts: dict[str, Any] = {
        "step": trained_so_far(order.run).step,
        "until": limit.amount,
        "unit": limit.unit,
        "round": order.round[0],
        "rounds": order.round[1],
        "parallel": order.parallel,
        "split": order.source.split,
        "samples": len(data.training),  # type: ignore[arg-type]
        "digest": order.digest,
    }
    note(order.run, order.device, facts)
    result = fit(
        RECIPES[order.recipe],
        order.config,
        data,
        order.run,
        device=order.device,
        console=console,
        stop_at=int(limit.amount) if limit.unit == "steps" else None,
        budget=limit.amount if limit.unit == "seconds" else math.inf,
    )
    return Progressed(result.step, result.seconds)


def train_all(
    trainings: Sequence[Training],
    folder: Path,
    recipe: str,
    source: Source,
    budget: Budget,
    slices: int,
    parallel: int,
    device: str,
    console: Console,
    digest: str = "",
) -> dict[str, str]:
    """Train every run to its budget; what an earlier call did is not done again.

    Args:
        trainings: The runs.
        folder: Where their folders are.
        recipe: Name of the recipe.
        source: The data.
        budget: Of each run.
        slices: Rounds in which it is spent.
        parallel: Processes at once; with more than one, each computes with one thread.
        device: As `gesso train` takes it.
        console: Where progress is shown.
        digest: Of the data, to be noted.

    Returns:
        Name of each run that failed -> why: its losses became infinite, say. The others are trained all the same.

    Raises:
        TrainingError: Every run failed, the disk is full, or a process was killed.
    """
    failed: dict[str, str] = {}
    work = _in_turn if parallel == 1 else _at_once
    for number in range(1, slices + 1):
        until = budget.part(number, slices)
        orders = {
            t.name: Slice(folder / t.name, recipe, t.config, source, until, device, (number, slices), parallel, digest)
            for t in trainings
            if t.name not in failed and trained_so_far(folder / t.name).of(budget) < until.amount
        }
        if not orders:
            continue
        console.print(f"round {number} of {slices}: {len(orders)} runs to {until}", soft_wrap=True)
        for name, outcome in work(orders, parallel, console):
            if isinstance(outcome, TrainingError):
                failed[name] = str(outcome)
            console.print(f"{name}: {_tell(outcome)}", soft_wrap=True, markup=False, highlight=False)
        if len(failed) == len(trainings):
            raise TrainingError(next(iter(failed.values())))
    return failed


def _tell(outcome: Progressed | TrainingError) -> str:
    if isinstance(outcome, TrainingError):
        return f"failed: {outcome}"
    return f"{outcome.step} steps in {outcome.seconds / 60:.3g} minutes"


Outcomes = Iterator[tuple[str, Progressed | TrainingError]]
Work = Callable[[dict[str, Slice], int, Console], Outcomes]


def _in_turn(orders: dict[str, Slice], _: int, console: Console) -> Outcomes:
    """One slice after the other, with the whole machine."""
    for name, order in orders.items():
        yield name, _attempt(order, console)


def _attempt(order: Slice, console: Console | None = None) -> Progressed | TrainingError:
    """Train, and give back the error of a training that lost its way; what ails the disk ails all trainings, and is raised."""
    try:
        return train_slice(order, console)
    except TrainingError as error:
        if isinstance(error.__context__, OSError | SafetensorError):  # as `checkpoints.disk_errors` tells them
            raise
        return TrainingError(str(error))


def _at_once(orders: dict[str, Slice], parallel: int, console: Console) -> Outcomes:
    """Several slices at once, each in a process of its own."""
    columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    pool = ProcessPoolExecutor(min(parallel, len(orders)), get_context("spawn"), _begin_worker)
    try:
        waiting: dict[Future[Progressed | TrainingError], str] = {
            pool.submit(_attempt, o): name for name, o in orders.items()
        }
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("slices", total=len(waiting))
            while waiting:
                ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
                bar.advance(task, len(ended))
                yield from ((waiting.pop(future), _outcome(future)) for future in ended)
    except BaseException:
        for process in active_children():  # whoever interrupts need not wait for the slices to end
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(future: Future[Progressed | TrainingError]) -> Progressed | TrainingError:
    try:
        return future.result()
    except BrokenProcessPool:
        raise TrainingError(
            "A training process was killed, most often for want of memory. What was saved is intact: run the same command again, "
            "with a smaller --parallel."
        ) from None


def _begin_worker() -> None:
    """Compute with one thread, load data as `gesso train` does; end with the command, however that ends."""
    import torch

    torch.set_num_threads(1)
    set_start_method(None, force=True)  # of processes that load data: the usual one, not that of this process
    parent = parent_process()
    assert parent is not None
    Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
