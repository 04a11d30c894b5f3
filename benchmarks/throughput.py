"""How fast gesso loads, draws and trains on this machine.

Example: python benchmarks/throughput.py --data DATASET --seconds 20 --json figures.json
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch.utils.data import DataLoader

from gesso.batches import StepSampler, with_semantics
from gesso.cli.common import DataFlags, parse_size
from gesso.cli.train import open_data
from gesso.data import toy
from gesso.data.dataset import collate
from gesso.devices import choose_device
from gesso.errors import GessoError
from gesso.recipes import pix2pixhd
from gesso.train import TrainingData, fit

PRESET = "pix2pixhd-small"
TOY_SCENES = 24
NEVER = 10**9
WARM_UP = 6  # training steps
FETCHED_AHEAD = 2  # samples that a worker has ready, which must not count
Size = tuple[int, int]


@dataclass(frozen=True)
class Figure:
    """One measured figure; `name` says of what, `unit` per what."""

    name: str
    value: float
    unit: str


def throughput(
    *,
    data: Path | None = None,
    size: str | None = None,
    seconds: float = 10.0,
    device: str = "auto",
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure loading, drawing of toy scenes and training.

    Parameters
    ----------
    data: Path
        Folder of a dataset with photographs; toy scenes in a temporary folder by default.
    size: str
        HEIGHTxWIDTH in pixels of everything; by default 256x512 for loading, 128x256 for drawing and training.
    seconds: float
        How long each figure is measured; longer is steadier.
    device: str
        auto, cpu, cuda, cuda:N or mps: where to train.
    json_file: Path
        Also write machine and figures to this file.
    """
    console = Console()
    large, small = (parse_size(size),) * 2 if size else ((256, 512), (128, 256))
    machine = describe_machine(choose_device(device))
    with tempfile.TemporaryDirectory() as folder:
        root = data or draw_scenes(Path(folder) / "scenes", large, console)
        measured = [
            *loading(root, large, seconds, console),
            drawing(small, seconds, console),
            *training(root, small, seconds, device, Path(folder) / "run", console),
        ]
    name = data.resolve().name if data else f"{TOY_SCENES} toy scenes"
    console.print(show(machine, name, measured))
    if json_file:
        document = {"machine": machine, "data": name, "figures": [asdict(figure) for figure in measured]}
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def describe_machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "device": f"{device} ({gpu})" if gpu else device,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def show(machine: dict[str, Any], data: str, figures: Iterable[Figure]) -> Table:
    """The figures as a table under the machine that they were measured on."""
    table = Table(title=", ".join(f"{key} {value}" for key, value in machine.items()), caption=f"data: {data}")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("unit")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.3g}", figure.unit)
    return table


def per_second(name: str, things: Iterable[int], seconds: float, console: Console) -> float:
    """Sum of the numbers that the iterable gives in this time, per second; with a progress bar."""
    columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=seconds)
        stream = iter(things)
        for _ in range(FETCHED_AHEAD + 1):
            next(stream)
        began, count, elapsed = time.perf_counter(), 0, 0.0
        while elapsed < seconds:
            count += next(stream)
            elapsed = time.perf_counter() - began
            bar.update(task, completed=elapsed)
    return count / elapsed


def announce(name: str, console: Console) -> None:
    """What comes next, for those who see no progress bar."""
    if not console.is_terminal:
        console.print(f"{name} ...")


# ------------------------------------------------------------------------------------------------- loading and drawing


def draw_scenes(folder: Path, size: Size, console: Console) -> Path:
    """Toy scenes to load and to train on."""
    announce("drawing toy scenes", console)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing toy scenes", total=TOY_SCENES)
        report: Callable[[int, int], None] = lambda done, _: bar.update(task, completed=done)  # noqa: E731
        toy.write(folder, TOY_SCENES, height=size[0], width=size[1], progress=report)
    return folder


def opened(root: Path, size: Size) -> tuple[pix2pixhd.Config, TrainingData]:
    """The preset at this size, and the dataset prepared for it, augmentation included, as in training."""
    changes = {"resize": "fixed", "height": size[0], "width": size[1], "epochs": NEVER}
    config = pix2pixhd.PRESETS[PRESET].model_copy(update=changes)
    return config, open_data(pix2pixhd, config, root, DataFlags(), "train", "val")


def loading(root: Path, size: Size, seconds: float, console: Console) -> Iterable[Figure]:
    """From files to semantics, with the loader of the training loop."""
    config, data = opened(root, size)
    samples = len(data.training)  # type: ignore[arg-type]
    for workers in (0, 1):
        name = f"loading {size[0]}x{size[1]}, {workers} worker{'s' * (workers != 1)}"
        announce(name, console)
        sampler = StepSampler(samples, config, 0, NEVER, 0, 1)
        loader = DataLoader(data.training, batch_sampler=sampler, num_workers=workers, collate_fn=collate)
        batches = (len(with_semantics(batch, data.semantics)["semantics"]) for batch in loader)
        yield Figure(name, per_second(name, batches, seconds, console), "samples/s")


def drawing(size: Size, seconds: float, console: Console) -> Figure:
    """Toy scenes in one process."""
    name = f"drawing toy scenes {size[0]}x{size[1]}, one core"
    announce(name, console)
    drawn = (len([toy.scene(0, index, *size)]) for index in itertools.count())
    return Figure(name, per_second(name, drawn, seconds, console), "scenes/s")


# ------------------------------------------------------------------------------------------------------------ training


def training(root: Path, size: Size, seconds: float, device: str, run: Path, console: Console) -> list[Figure]:
    """The preset through `gesso.train.fit`: a few steps to warm up, then as many as fit into the time.

    The rates come from the first and the last line of the log between which no samples are drawn and nothing is saved, as in
    most steps of a long training; the last figure is that of the whole call, sheets of samples and saved state included.
    """
    name = f"training {PRESET} {size[0]}x{size[1]}"
    announce(name, console)
    config, data = opened(root, size)
    config = config.model_copy(update={"log_every": 2, "sample_every": NEVER, "save_every": NEVER})
    fit(pix2pixhd, config, data, run, device=device, console=console, stop_at=WARM_UP)
    rate, _ = between_lines(run)
    steps = max(4, round(seconds * rate / config.batch))
    result = fit(pix2pixhd, config, data, run, device=device, console=console, stop_at=WARM_UP + steps)
    rate, outside = between_lines(run, after=WARM_UP)
    return [
        Figure(name, rate, "images/s"),
        Figure("  of its time outside forward, backward and optimizer", 100 * outside, "%"),
        Figure("  with samples and saved state at its end", result.images_per_second, "images/s"),
    ]


def between_lines(run: Path, after: int = 0) -> tuple[float, float]:
    """Images per second, and share of time outside the steps, between the first and last line of the log after a step.

    Each line holds both as means since the start of its call of `fit`.
    """
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    first, *_, last = (line for line in lines if line["step"] > after and "images_per_second" in line)
    elapsed = last["seconds"] - first["seconds"]
    images, outside = (
        last[key] * last["seconds"] - first[key] * first["seconds"] for key in ("images_per_second", "outside_step")
    )
    return images / elapsed, outside / elapsed


if __name__ == "__main__":
    app = App(help_format="markdown")
    app.default(throughput)
    try:
        app()
    except GessoError as error:
        sys.exit(f"throughput: {error}")
