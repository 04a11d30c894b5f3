"""pix2pix's ablation of its loss (section 4.2, figure 4): models that differ in the objective alone, on held-out layouts.

    python benchmarks/pix2pix_ablation.py DATA OUT.png NAME=MODEL... [--split val] [--count 40] [--rows 5] [--seeds 4]

Draws a sheet with a column per model and prints for each

    difference   mean absolute difference to the real photographs
    variance     how much its photographs differ between layouts, beside how much the real ones do: standard deviation per pixel
                 over all layouts. A generator that ignores its input has 0.
    sharpness    mean gradient of its photographs, beside that of the real ones: blur is below 1
    noise        mean standard deviation per pixel over seeds, of 255: what dropout leaves open
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from methods import items, photograph
from rich.console import Console
from rich.table import Table

from gesso import load
from gesso.cli.common import DataFlags, open_listing, track
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import Preprocessing
from gesso.pictures import Picture, layout_picture, sheet, to_uint8
from gesso.synthesis.synthesizer import Synthesizer


def main() -> None:
    """Read the command line, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", help="NAME=FILE")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=40, help="layouts that are measured")
    parser.add_argument("--rows", type=int, default=5, help="of the sheet")
    parser.add_argument("--seeds", type=int, default=4)
    asked = parser.parse_args()
    console = Console()
    named = dict(text.split("=", 1) for text in asked.models)
    synths = {name: load(file, "cpu") for name, file in named.items()}
    listing = open_listing(asked.data, DataFlags(), asked.split)
    own = Preprocessing.model_validate(next(iter(synths.values())).info.preprocessing)
    held_out = SemanticDataset(listing.samples[: asked.count], listing.space, own, training=False, instances=True)
    layouts = list(items(held_out))
    real = np.stack([to_uint8(item["image"]) for item in layouts])
    made = {
        name: np.stack([photograph(synth, item) for item in track(layouts, name, len(layouts), console)])
        for name, synth in synths.items()
    }
    columns = [[layout_picture(item, listing.space) for item in layouts], *made.values(), list(real)]
    rows: list[list[Picture]] = [[column[n] for column in columns] for n in range(min(asked.rows, len(layouts)))]
    sheet(rows, ["layout", *made, "real"]).save(asked.out)
    table = Table("model", "steps", "difference", "variance", "sharpness", "noise", box=None)
    for name, pictures in made.items():
        figures = (
            np.abs(pictures.astype(float) - real).mean() / 255,
            spread(pictures) / spread(real),
            sharpness(pictures) / sharpness(real),
            noise(synths[name], layouts[: asked.rows], asked.seeds),
        )
        table.add_row(name, str(synths[name].info.step), *(f"{value:.4f}" for value in figures))
    console.print(table)


def spread(pictures: npt.NDArray[np.uint8]) -> float:
    """Mean standard deviation per pixel over (N, H, W, 3) pictures."""
    return float(pictures.astype(float).std(axis=0).mean())


def sharpness(pictures: npt.NDArray[np.uint8]) -> float:
    """Mean absolute difference of neighbours."""
    values = pictures.astype(float)
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean())


def noise(synth: Synthesizer, layouts: list[dict[str, object]], seeds: int) -> float:
    """Mean standard deviation per pixel over seeds."""
    found = [spread(np.stack([photograph(synth, item, seed) for seed in range(seeds)])) for item in layouts]
    return float(np.mean(found))


if __name__ == "__main__":
    main()
