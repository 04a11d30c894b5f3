"""How fast does `gesso evaluate` measure, where does the time go, and does its memory grow with the number of pictures?

Toy scenes (some, under as many names as are wanted) are measured as a folder of finished pictures, each number of them in a fresh
process, by the trained segmenter's network with random weights. Features of the photographs are kept by a first run that is not
counted.

Example: python benchmarks/evaluate_speed.py --json figures.json
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts import App
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from gesso.cli.common import DataFlags, parse_size, track
from gesso.cli.evaluation import Entry, EvaluationSettings, run_evaluation
from gesso.cli.evaluation_data import open_data
from gesso.cli.evaluation_rows import Bench
from gesso.cli.evaluation_tools import open_instruments
from gesso.data import toy
from gesso.networks.segmenter import Segmenter, initialise
from gesso.segmenter_training import SegmenterSettings
from gesso.synthesis.segmenter import SegmenterInfo, save_segmenter

app = App(help=__doc__)


@app.default
def main(
    *,
    counts: tuple[int, ...] = (100, 250, 500),
    size: str = "256x512",
    scenes: int = 50,
    model: Path | None = None,
    json_file: Path | None = None,
) -> None:
    """Measure, in fresh processes.

    Args:
        counts: Numbers of pictures.
        size: Of all pictures.
        scenes: Different ones among them.
        model: A model file of toy scenes whose pictures are made and measured too.
        json_file: Where the figures go as well.
    """
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, max(counts), scenes, parse_size(size), console)
        for count in counts:
            child("warm", root, count, size)
            found.append(child("one", root, count, size, root / f"out-{count}", *([model] if model else [])))
            tell(found[-1], console)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    console.print(f"{size}, {machine}")
    if json_file:
        json_file.write_text(json.dumps({"size": size, "machine": machine, "runs": found}, indent=1) + "\n")


def write(root: Path, count: int, scenes: int, size: tuple[int, int], console: Console) -> None:
    """Scenes under many names, and slightly blurred ones as a model's pictures."""
    data, space = root / "data" / "val", toy.space()
    for place in (data / "images", data / "labels", data / "instances", root / "pictures"):
        place.mkdir(parents=True)
    for number in track(range(min(scenes, count)), "drawing scenes", min(scenes, count), console):
        scene = toy.scene(0, number, *size)
        blurred = ndimage.gaussian_filter(scene.image, (1, 1, 0))
        pictures = {
            data / "images": scene.image,
            data / "labels": space.to_values(scene.label).astype(np.uint8),
            data / "instances": scene.instance.astype(np.uint16),
            root / "pictures": blurred,
        }
        for place, picture in pictures.items():
            first = place / f"{number:05d}.png"
            Image.fromarray(picture).save(first)
            for copy in range(number + scenes, count, scenes):
                os.link(first, place / f"{copy:05d}.png")
    space.save(root / "data" / "labels.json")
    width = SegmenterSettings().width
    network = initialise(Segmenter(classes=len(space), width=width), torch.Generator().manual_seed(0))
    assert isinstance(network, Segmenter)
    info = SegmenterInfo(label_space=space, width=width, steps=0, origin="nothing", size=size)
    save_segmenter(root / "segmenter.safetensors", network, info)


def child(what: str, root: Path, count: int, *words: Any) -> dict[str, Any]:
    """A command of this file in a process of its own, and the figures that it prints."""
    command = [sys.executable, __file__, what, root, count, *words]
    cache = {**os.environ, "GESSO_CACHE": str(root / "cache")}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=cache, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def settings_of(root: Path, count: int, size: str) -> EvaluationSettings:
    return EvaluationSettings(segmenter=str(root / "segmenter.safetensors"), limit=count, size=size, device="cpu")


@app.command
def warm(root: Path, count: int, size: str) -> None:
    """Keep the features of the photographs."""
    settings, console, flags = settings_of(root, count, size), Console(quiet=True), DataFlags()
    reference, _ = open_data([], root / "data", flags, settings, console)
    instruments = open_instruments(reference, root / "data", flags, settings, "cpu", console)
    Bench(reference, instruments, settings, "cpu", root / "nothing", console).features()
    print("{}")


@app.command
def one(root: Path, count: int, size: str, out: Path, model: Path | None = None) -> None:
    """Measure in this process; what `main` starts."""
    entries = [Entry("pictures", root / "pictures"), *([Entry("model", model)] if model else [])]
    begun, worked = time.perf_counter(), time.process_time()
    settings = settings_of(root, count, size)
    found = run_evaluation(entries, root / "data", DataFlags(), settings, out, Console(quiet=True))
    figures = {
        "pictures": count,
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - worked,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": {row.name: row.seconds for row in found.rows},
    }
    print(json.dumps(figures))


def tell(figures: dict[str, Any], console: Console) -> None:
    """Where the time went, in milliseconds for each picture."""
    count, rows = figures["pictures"], figures["rows"]
    stages = list(dict.fromkeys(stage for seconds in rows.values() for stage in seconds))
    table = Table("ms for a picture", *stages, "all", "pictures/s")
    for name, seconds in rows.items():
        each = [f"{1000 * seconds.get(stage, 0) / count:.1f}" for stage in stages]
        total = sum(seconds.values())
        table.add_row(name, *each, f"{1000 * total / count:.1f}", f"{count / total:.2f}")
    console.print(table)
    console.print(
        f"{count} pictures in {len(rows)} rows: {figures['seconds']:.0f} s in all, {figures['processor_seconds']:.0f} s of the "
        f"processor, report included; peak {figures['peak_mib']:.0f} MiB",
        highlight=False,
    )


if __name__ == "__main__":
    app()
