"""How time and memory of a training step grow with resolution, width and processes: measured on small networks, fitted, checked.

Each point of the grid is a process of its own: CPU seconds of its fastest step (on one thread; another program on the machine
adds little to them), and the peak of all its memory. The model is a sum of terms whose weights are found by least squares of
the relative errors, none of them negative; points that are left out of the fit, larger than all others, show how far it carries.

Example: python benchmarks/scaling.py --json figures.json
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

if sys.argv[1:2] != ["child"]:  # what is measured imports nothing that it does not need
    from cyclopts import App, Parameter
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

GRID = [(h, 2 * h, width) for h in (64, 128, 192, 256) for width in (8, 16, 32)]
BEYOND = [(384, 768, 16), (256, 512, 48), (512, 1024, 8)]  # left out of the fit
SECONDS = 2.0  # of steps in each process
ROUNDS = 3  # of trainings with one and two processes in turns
TRAINED, PASSED = 12, 4  # steps of each, and those before the clock starts
SCENES, HEIGHT, WIDTH = 8, 64, 128
MIB = 2**20

Term = Callable[[float, float], float]  # of pixels and width
TIME: Mapping[str, Term] = {
    "pixels width^2": lambda pixels, width: pixels * width**2,  # convolutions
    "pixels width": lambda pixels, width: pixels * width,  # normalisation, activations, losses
    "pixels": lambda pixels, width: pixels,  # photographs, one-hot planes
    "width^2": lambda pixels, width: width**2,  # Adam
    "1": lambda pixels, width: 1.0,  # Python and launches
}
MEMORY: Mapping[str, Term] = {
    "pixels width": lambda pixels, width: pixels * width,  # activations
    "pixels": lambda pixels, width: pixels,  # photographs, one-hot planes
    "width^2": lambda pixels, width: width**2,  # weights, gradients, moments
    "1": lambda pixels, width: 1.0,  # Python and PyTorch
}


@dataclass(frozen=True)
class Point:
    """A measured training step.

    Attributes:
        height: Pixels.
        width: Pixels.
        channels: Width of the generator and the discriminators.
        fitted: Whether the model was fitted to it.
        seconds: CPU seconds of the fastest step.
        memory: Bytes at the peak, of the whole process.
        estimate: Bytes that `gesso.estimates` foretells.
        flops: Floating-point operations that it foretells.
    """

    height: int
    width: int
    channels: int
    fitted: bool
    seconds: float
    memory: int
    estimate: int
    flops: int

    @property
    def pixels(self) -> int:
        """Of a photograph."""
        return self.height * self.width


def scaling(
    *,
    steps: bool = True,
    processes: bool = True,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure, fit, and show measured beside predicted.

    Parameters
    ----------
    steps: bool
        Whether to measure steps over resolution and width; some minutes.
    processes: bool
        Whether to compare trainings with one and two processes; some minutes.
    json_file: Path
        Also write the figures to this file.
    """
    console, document = Console(), {"torch": _torch(), "cores": os.cpu_count()}
    if steps:
        document |= measure_steps(console)
    if processes:
        document["processes"] = measure_processes(console)
    if json_file:
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _torch() -> str:
    import torch

    return str(torch.__version__)


# --------------------------------------------------------------------------------------------------- steps, one by one


def measure_steps(console: Console) -> dict[str, Any]:
    """Every point of the grid, and what fits them."""
    wanted = [(*point, True) for point in GRID] + [(*point, False) for point in BEYOND]
    points = [_measured(*point) for point in track(wanted, "steps", console=console, transient=True)]
    fits = {
        "seconds": fit(TIME, points, [point.seconds for point in points]),
        "memory": fit(MEMORY, points, [float(point.memory) for point in points]),
    }
    console.print(_table(points, fits))
    for name, terms in (("seconds", TIME), ("memory", MEMORY)):
        formula = " + ".join(f"{w:.3g} {t}" for t, w in zip(terms, fits[name], strict=True) if w)
        console.print(f"{name} = {formula}", soft_wrap=True)
    return {"points": [asdict(point) for point in points], "fits": fits}


def _measured(height: int, width: int, channels: int, fitted: bool) -> Point:
    command = [sys.executable, __file__, "child", json.dumps([height, width, channels])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Point(height, width, channels, fitted, **json.loads(ended.stdout.splitlines()[-1]))


def child(height: int, width: int, channels: int) -> dict[str, Any]:
    """Steps of pix2pixHD until the time is over, in this very process."""
    import torch
    from lightning_fabric import Fabric

    from gesso.labels import Semantics
    from gesso.recipes import pix2pixhd as recipe

    torch.manual_seed(0)
    settings = {"generator_downs": 3, "generator_blocks": 4, "discriminator_scales": 2, "vgg": False}
    config = recipe.Config(generator_width=channels, discriminator_width=channels, **settings)
    semantics, fabric = Semantics(classes=20, boundary=True), Fabric(accelerator="cpu", devices=1)
    players = recipe.build(config, semantics)
    optimizers = recipe.optimizers(config, players)
    players.trained = {name: fabric.setup_module(network) for name, network in players.trained.items()}
    rows = torch.arange(height)[:, None] // 16 * 1000 + torch.arange(width) // 16
    batch: dict[str, Any] = {"label": rows[None] % 20, "instance": rows[None], "name": ["patches"]}
    batch |= {"image": torch.rand(1, 3, height, width) * 2 - 1, "semantics": semantics.encode(batch)}
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < SECONDS:
        began = time.process_time()
        recipe.train_step(config, players, optimizers, [batch], fabric)
        taken.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    from gesso.estimates import estimate  # needs memory of its own

    foretold = estimate(recipe, config, semantics, (height, width), measure=False)
    return {"seconds": min(taken[1:]), "memory": peak, "estimate": foretold.memory, "flops": foretold.flops}


def fit(terms: Mapping[str, Term], points: Sequence[Point], measured: Sequence[float]) -> list[float]:
    """Weights of the terms, none negative, with the least squares of relative errors over the points to be fitted."""
    from scipy.optimize import nnls

    chosen = [(point, value) for point, value in zip(points, measured, strict=True) if point.fitted]
    rows = np.array([[term(p.pixels, p.channels) / value for term in terms.values()] for p, value in chosen])
    scale = rows.max(axis=0)  # terms differ by powers of ten
    return [float(weight) for weight in nnls(rows / scale, np.ones(len(rows)))[0] / scale]


def predicted(terms: Mapping[str, Term], weights: Sequence[float], pixels: float, channels: float) -> float:
    """What the model says of a step."""
    return sum(w * term(pixels, channels) for w, term in zip(weights, terms.values(), strict=True))


def _table(points: Sequence[Point], fits: Mapping[str, Sequence[float]]) -> Table:
    table = Table(caption="the last rows were left out of the fit")
    for name in ("pixels", "width", "CPU s", "model", "error", "MiB", "model", "error", "estimates.py", "error"):
        table.add_column(name, justify="right")
    for p in points:
        seconds = predicted(TIME, fits["seconds"], p.pixels, p.channels)
        memory = predicted(MEMORY, fits["memory"], p.pixels, p.channels)
        cells = [
            f"{p.height}x{p.width}",
            str(p.channels),
            f"{p.seconds:.3f}",
            f"{seconds:.3f}",
            _gap(seconds, p.seconds),
        ]
        cells += [f"{p.memory / MIB:.0f}", f"{memory / MIB:.0f}", _gap(memory, p.memory)]
        table.add_row(
            *cells, f"{p.estimate / MIB:.0f}", _gap(p.estimate, p.memory), end_section=p == points[len(GRID) - 1]
        )
    return table


def _gap(foretold: float, found: float) -> str:
    return f"{100 * (foretold / found - 1):+.0f} %"


# ----------------------------------------------------------------------------------------------------- several processes


def measure_processes(console: Console) -> dict[str, Any]:
    """Photographs per second of trainings with one and two gloo processes of one thread each, in turns; batches of 2."""
    from gesso.data import toy

    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        toy.write(Path(folder) / "scenes", SCENES, height=HEIGHT, width=WIDTH)
        turns = [(turn, world) for turn in range(ROUNDS) for world in (1, 2)]
        for turn, world in track(turns, "trainings", console=console, transient=True):
            rates[world].append(_trained(Path(folder) / "scenes", Path(folder) / f"run-{turn}-{world}", world))
    reduced = _rank_times()
    found = {
        "images_per_second": {world: statistics.median(values) for world, values in rates.items()},
        "ratio": statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True)),
        "all_reduce_bytes_per_second": reduced,
    }
    one, two = found["images_per_second"].values()
    console.print(
        f"training with 1 process {one:.3g} images/s, with 2 {two:.3g}; ratio {found['ratio']:.2f} (median of {ROUNDS} turns); "
        f"gloo adds up {reduced / MIB:.0f} MiB of gradients per second",
        soft_wrap=True,
    )
    return found


def _launch(world: int, *words: str) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} failed: {ended.stderr[-2000:]}")
    return ended.stdout


def _trained(scenes: Path, run: Path, world: int) -> float:
    from throughput import between_lines

    settings = ["--preset", "pix2pixhd-small", "--batch", "2", "--workers", "0", "--log-every", "2", "--device", "cpu"]
    size = ["--resize", "fixed", "--height", str(HEIGHT), "--width", str(WIDTH), "--stop-at", str(TRAINED)]
    _launch(world, "-m", "gesso", "train", str(scenes), "--out", str(run), *settings, *size)
    return between_lines(run, after=PASSED)[0]


def _rank_times() -> float:
    return float(_launch(2, __file__, "reduce").split()[-1])


def reduce() -> None:
    """Say how many bytes of gradients per second two processes add up."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    gradients, taken = torch.ones(4 * MIB), []
    for _ in range(8):
        distributed.barrier()
        began = time.perf_counter()
        distributed.all_reduce(gradients)
        taken.append(time.perf_counter() - began)
    if distributed.get_rank() == 0:
        print(gradients.nbytes / statistics.median(taken))
    distributed.destroy_process_group()


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(*json.loads(sys.argv[2]))))
    elif sys.argv[1:2] == ["reduce"]:
        reduce()
    else:
        app = App(help_format="markdown")
        app.default(scaling)
        app()
