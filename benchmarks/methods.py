"""Several models side by side on the same held-out layouts: a sheet with one column per model, and their distance to the truth.

    python benchmarks/methods.py DATA OUT.png MODEL... [--split val] [--count 6] [--input image] [--direction AtoB]

Each model is given the layouts as it takes them; a random style is left to the seed. The last columns are the colours that each
class has on average in the training photographs, and the real photograph. Printed: the mean absolute difference to all real
photographs of the split, for each model and for the mean colours.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

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
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=6, help="rows of the sheet")
    parser.add_argument("--input", default="auto")
    parser.add_argument("--direction", default="AtoB")
    asked = parser.parse_args()
    console, synths = Console(), [load(file, "cpu") for file in asked.models]
    flags = DataFlags(input=asked.input, direction=asked.direction)
    listing = open_listing(asked.data, flags, asked.split)
    own = Preprocessing.model_validate(synths[0].info.preprocessing)
    held_out = SemanticDataset(listing.samples, listing.space, own, training=False, instances=True)
    means = None
    if listing.space and listing.samples[0].label:
        known = open_listing(asked.data, flags, "train")
        seen = SemanticDataset(known.samples, listing.space, own, training=False)
        means = mean_colours(track(items(seen), "mean colours", len(seen), console), len(listing.space))
    shown = set(np.linspace(0, len(held_out) - 1, asked.count).round().astype(int).tolist())
    names = [f"{synth.info.recipe} {synth.info.step}" for synth in synths] + ["mean colours"] * (means is not None)
    gaps: list[list[float]] = []
    rows: list[list[Picture]] = []
    for number, item in enumerate(track(items(held_out), "synthesising", len(held_out), console)):
        real = to_uint8(item["image"])
        made = [photograph(synth, item) for synth in synths]
        if means is not None:
            made.append(means[item["label"].numpy()])
        gaps.append([float(np.abs(picture.astype(float) - real).mean() / 255) for picture in made])
        if number in shown:
            rows.append([layout_picture(item, listing.space), *made, real])
    sheet(rows, ["layout", *names, "real"]).save(asked.out)
    for name, gap in zip(names, np.mean(gaps, axis=0), strict=True):
        print(f"{name}: mean absolute difference {gap:.4f} of the whole range, over {len(gaps)} photographs")


def items(dataset: SemanticDataset) -> Any:
    """All samples in their order."""
    return (dataset[number] for number in range(len(dataset)))


def photograph(synth: Synthesizer, item: dict[str, Any], seed: int = 0) -> Picture:
    """What a model makes of one sample."""
    if synth.info.semantics.source_channels:
        return synth(item["source"].permute(1, 2, 0).numpy() / 2 + 0.5, seed=seed)
    instance = item["instance"].numpy() if "instance" in item and synth.needs_instances else None
    return synth(item["label"].numpy(), instance, seed=seed)


def mean_colours(samples: Sequence[dict[str, Any]], classes: int) -> Picture:
    """(classes + 1, 3) uint8: the mean colour of each class, ignored pixels last."""
    sums, counts = np.zeros((classes + 1, 3)), np.zeros(classes + 1)
    for item in samples:
        label, image = item["label"].numpy().ravel(), to_uint8(item["image"]).reshape(-1, 3)
        counts += np.bincount(label, minlength=classes + 1)
        sums += np.stack([np.bincount(label, image[:, c], classes + 1) for c in range(3)], axis=1)
    return (sums / np.maximum(counts, 1)[:, None]).round().astype(np.uint8)


if __name__ == "__main__":
    main()
