"""Held-out scores of a model that makes label maps of photographs: how many pixels get the right class.

    gesso train DATA --direction BtoA --out run
    python benchmarks/photo2labels.py run/model.safetensors DATA [--split val] [--limit N] [--out FOLDER]

The measures of the photo->labels table of pix2pix (arXiv 1611.07004, section 4): accuracy per pixel, and over the classes the
mean accuracy and the mean intersection over union. Each pixel of a generated picture is of the class whose colour is nearest;
true label maps are brought to the size of the pictures by nearest neighbour, and their ignored pixels do not count. Beside
them the share of the most frequent class, which a picture of one colour would reach. `--out` writes the found label maps with
the values of the label space, and a sheet of photographs with true and found classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console

from gesso import load
from gesso.cli.common import DataFlags, track
from gesso.cli.generate import open_layouts, synthesise
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import apply_map
from gesso.data.readers import read_label
from gesso.errors import ConfigError
from gesso.labels import LabelSpace, colourise
from gesso.pictures import layout_picture, nearest_classes, sheet

Indices = npt.NDArray[np.int32]
SHOWN = 8


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="dataset of label maps and photographs")
    parser.add_argument("--split", default="val")
    parser.add_argument("--space", help="label space of DATA, if nothing there says it")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    console = Console()
    synth = load(asked.model, asked.device)
    space = synth.info.target_space
    if space is None:
        raise ConfigError(f"{asked.model} makes photographs, not label maps; train one with --direction BtoA.")
    layouts = open_layouts(
        synth, asked.data, DataFlags(direction="BtoA", space=asked.space), asked.split, asked.limit, False
    )
    made = synthesise(synth, layouts, seed=0, batch=1)
    counts = np.zeros((len(space), len(space)), dtype=np.int64)
    rows = []
    for index, (item, painted) in enumerate(track(made, "painting", len(layouts), console)):
        found, true = nearest_classes(painted, space), true_label(layouts, index)
        counts += confusion(true, found, len(space))
        if asked.out:
            write(asked.out / f"{item['name']}.png", found, space)
            rows.append([layout_picture(item, None), colourise(true, space), colourise(found, space), painted])
    if asked.out:
        shown = [rows[n] for n in np.unique(np.linspace(0, len(rows) - 1, SHOWN).astype(int))]
        sheet(shown, ["photograph", "true", "found", "as painted"], widest=256).save(asked.out / "sheet.png")
    for name, value in scores(counts).items():
        console.print(f"{name}: {value:.4f}")
    console.print(f"over {len(layouts)} photographs of {asked.data}, split {asked.split}", soft_wrap=True)


def true_label(layouts: SemanticDataset, index: int) -> Indices:
    """The label map of a sample as its item is resized; C where ignored."""
    path = layouts.samples[index].label
    assert path is not None and layouts.space is not None
    label = read_label(path, layouts.space)
    return apply_map(label, layouts.preprocessing.plan((label.shape[0], label.shape[1])))


def confusion(true: Indices, found: Indices, classes: int) -> npt.NDArray[np.int64]:
    """(C, C) pixels by true class (rows) and found class (columns), ignored pixels left out."""
    known = true < classes
    pairs = true[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def scores(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    """The measures by name; classes that do not occur are left out of the means over classes."""
    right, true, found = np.diag(counts), counts.sum(1), counts.sum(0)
    there = true > 0
    return {
        "pixel accuracy": float(right.sum() / counts.sum()),
        "class accuracy": float((right[there] / true[there]).mean()),
        "class IoU": float((right[there] / (true + found - right)[there]).mean()),
        "share of the most frequent class": float(true.max() / counts.sum()),
    }


def write(path: Path, found: Indices, space: LabelSpace) -> None:
    """A label map with file values, in 8 or 16 bits."""
    values = space.to_values(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8 if 0 <= values.min() and values.max() < 256 else np.uint16)).save(path)


if __name__ == "__main__":
    main()
