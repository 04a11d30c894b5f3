"""The loop: trains a segmenter, and goes on where it was interrupted."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from gesso import checkpoints
from gesso.data.dataset import SemanticDataset
from gesso.devices import choose_device
from gesso.errors import ModelFileError, TrainingError
from gesso.networks.segmenter import Segmenter, initialise
from gesso.segmenter_training.held_out import scored
from gesso.segmenter_training.locking import alone
from gesso.segmenter_training.photographs import Photographs, data_digest
from gesso.segmenter_training.settings import SegmenterSettings
from gesso.synthesis.segmenter import SegmenterInfo, TrainedSegmenter, save_segmenter

SAVE_SECONDS = 60.0
CALLED = "The segmenter {}"
REPORTS = 20  # lines that a log gets where there is no terminal


def train_segmenter(
    training: SemanticDataset,
    validation: SemanticDataset | None,
    out: Path,
    *,
    settings: SegmenterSettings | None = None,
    device: str = "auto",
    console: Console | None = None,
    origin: str = "",
    held_out_origin: str = "",
) -> TrainedSegmenter:
    """Train a segmenter on real photographs, or go on where an earlier call was interrupted, and write its file.

    The same data and settings give the same weights, interrupted or not, on a CPU with the same number of threads.

    Args:
        training: What it learns from; its own random crops, flips and warps are not used.
        validation: Held-out photographs, whose scores are written into the file; None for none.
        out: Where the file goes; the state to go on from is kept beside it until then.
        settings: How; None for the defaults.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        console: Where progress is shown; None for silence.
        origin: What it learns from, as its name says: "camvid train"; the label space's name when empty.
        held_out_origin: What the scores are taken on: "camvid val"; the name of its folder when empty.

    Raises:
        DataError: There is no photograph with a label map, or a file cannot be read.
        TrainingError: The loss is not finite, or the disk is full.
        ConfigError: The device is not on this machine.
    """
    settings = settings or SegmenterSettings()
    digest = data_digest(training, settings, console)
    with alone(out, CALLED.format(out.name), console):
        found = trained(training, digest, out, settings, device, console, origin)
        return scored(found, validation, out, console, held_out_origin)


def trained(
    training: SemanticDataset,
    digest: str,
    out: Path,
    settings: SegmenterSettings,
    device: str,
    console: Console | None,
    origin: str,
) -> TrainedSegmenter:
    """As `train_segmenter`, without scores, where nobody else writes the file."""
    photographs = Photographs(training)
    run = _begin(photographs, digest, out, settings, choose_device(device))
    with _progress(console, settings.steps) as report:
        _loop(run, photographs, report)
    if not _finite(run.network):
        raise _not_finite("The weights", run.step)
    info = SegmenterInfo(
        label_space=photographs.space,
        width=settings.width,
        steps=settings.steps,
        origin=origin or photographs.space.name,
        photographs=len(photographs),
        data_digest=digest,
        size=photographs.size,
    )
    network = run.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    save_segmenter(out, network, info)
    shutil.rmtree(run.folder, ignore_errors=True)
    return TrainedSegmenter(network, info, run.device)


@dataclass
class _Run:
    """A training under way."""

    settings: SegmenterSettings
    network: Segmenter
    optimizer: torch.optim.Optimizer
    names: list[str]
    weights: Tensor
    device: str
    folder: Path
    digest: str
    step: int = 0


def _begin(photographs: Photographs, digest: str, out: Path, settings: SegmenterSettings, device: str) -> _Run:
    with torch.random.fork_rng(
        devices=[]
    ):  # layers draw weights of their own before ours, from everyone's random numbers
        network = Segmenter(classes=len(photographs.space), width=settings.width)
    initialise(network, torch.Generator().manual_seed(settings.seed))
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay)
    names = [name for name, _ in network.named_parameters()]
    weights = photographs.weights(settings.balance).to(device)
    run = _Run(settings, network, optimizer, names, weights, device, out.with_name(f".{out.name}.state"), digest)
    _resume(run)
    return run


def _resume(run: _Run) -> None:
    """Go on from the newest state that is whole and of the same data and settings; remove any other."""
    for folder in reversed(checkpoints.states(run.folder)):
        try:
            document, parts = checkpoints.load_state(folder)
        except ModelFileError:
            continue
        if document.get("digest") == run.digest:
            run.network.load_state_dict(parts["network"])
            checkpoints.restore_optimizer("network", run.optimizer, run.names, parts["optimizer"])
            run.step = document["step"]
            return
    shutil.rmtree(run.folder, ignore_errors=True)


def _save(run: _Run) -> None:
    if not _finite(run.network):
        raise _not_finite("The weights", run.step)  # a state that could never be taken up again
    moments = checkpoints.optimizer_tensors({"network": run.optimizer}, {"network": run.names})
    parts = {"network": run.network.state_dict(), "optimizer": moments}
    checkpoints.save_state(run.folder, run.step, parts, {"digest": run.digest}, keep=1)


def _finite(network: Segmenter) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def _loop(run: _Run, photographs: Photographs, report: Report) -> None:
    settings, saved = run.settings, time.monotonic()
    while run.step < settings.steps:
        images, labels = (tensor.to(run.device) for tensor in photographs.batch(run.step, settings))
        for group in run.optimizer.param_groups:
            group["lr"] = settings.rate(run.step)
        found = run.network(images.contiguous(memory_format=torch.channels_last))
        loss = cross_entropy(found, labels, run.weights)
        run.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.step += 1
        report(run.step, loss)
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(run)
            saved = time.monotonic()


def cross_entropy(scores: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    """Mean over labelled pixels of the weighted cross-entropy.

    Args:
        scores: (B, C, H, W) before the softmax.
        label: (B, H, W); what is not 0..C-1 does not count.
        weights: (C,).

    Returns:
        A number; 0 where no pixel is labelled.
    """
    labelled = (label >= 0) & (label < scores.shape[1])
    total = F.cross_entropy(scores, label.where(labelled, -100), weights, reduction="sum")
    return total / labelled.sum().clamp(min=1)


def _not_finite(what: str, step: int) -> TrainingError:
    return TrainingError(
        f"{what} of the segmenter not finite at step {step}: lower its learning rate, or check the photographs."
    )


class Report:
    """Shows how training goes on: a bar in a terminal, else a line now and then."""

    def __init__(self, console: Console | None, bar: Progress, steps: int) -> None:
        self._console, self._bar, self._steps = console, bar, steps
        self._task = bar.add_task("segmenter", total=steps, loss="")
        self._sum, self._count = torch.zeros(()), 0

    def __call__(self, step: int, loss: Tensor) -> None:
        """One step is done.

        Raises:
            TrainingError: The loss is not finite.
        """
        self._sum, self._count = self._sum.to(loss.device) + loss.detach(), self._count + 1
        if step % max(1, self._steps // REPORTS // 5) == 0 or step == self._steps:
            mean = (self._sum / self._count).item()
            if not math.isfinite(mean):
                raise _not_finite("The loss", step)
            self._bar.update(self._task, completed=step, loss=f"loss {mean:.3f}")
            if self._console and not self._console.is_terminal and step % max(1, self._steps // REPORTS) == 0:
                self._console.print(f"segmenter: step {step} of {self._steps}, loss {mean:.3f}", soft_wrap=True)
            self._sum, self._count = torch.zeros(()), 0


@contextmanager
def _progress(console: Console | None, steps: int) -> Iterator[Report]:
    columns = (
        TextColumn("[bold]training the segmenter"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    quiet = console is None or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        yield Report(console, bar, steps)
