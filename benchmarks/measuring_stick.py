"""Does the measuring stick measure? Pictures whose order anybody can see, and whether every column puts them into it.

Real photographs against themselves, blurred at three strengths, photographs of other scenes, and layouts in the colours of
their classes are measured like the pictures of models. Exit code 1 where a column ranks them as nobody would.

Example: python benchmarks/measuring_stick.py DATASET OUT --size 128x256 --segmenter segmenter.safetensors
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from cyclopts import App
from PIL import Image
from rich.console import Console
from scipy import ndimage

from gesso.cli.common import Data, DataFlags, track
from gesso.cli.evaluation import Entry, EvaluationSettings, run_evaluation
from gesso.cli.evaluation_data import open_data
from gesso.cli.evaluation_settings import Settings
from gesso.errors import DataError, GessoError
from gesso.evaluate.compare import print_table
from gesso.evaluate.results import COLUMNS, Evaluation, Row
from gesso.labels import colourise
from gesso.pictures import Picture, to_uint8

BLURS = {"blur 1": 0.008, "blur 2": 0.016, "blur 3": 0.032}  # sigma, as a share of the width: 2, 4 and 8 pixels of 256
OTHERS, COLOURS = "other scenes", "label colours"
SEEN = (
    "pixel_accuracy",
    "mean_class_accuracy",
    "mean_iou",
    "frequency_weighted_iou",
    "object_agreement",
    "band_agreement",
)
SETS = ("frechet", "kernel")
NEAR = ("precision", "recall", "density", "coverage")
OWN = ("l1", "psnr", "ssim")
ROUNDING = 1e-9
app = App(help=__doc__)


@app.default
def main(data: Path, out: Path, *, settings: Settings = None, flags: Data = None) -> None:
    """Spoil the photographs of a dataset, measure them, and check the order.

    Args:
        data: A dataset with label maps and photographs.
        out: Folder for the pictures and the report.
        settings: As for gesso evaluate.
        flags: As for gesso evaluate.
    """
    console, settings = Console(width=160), settings or EvaluationSettings()
    settings = replace(settings, diversity_layouts=0)
    entries = write_pictures(data, flags or DataFlags(), settings, out / "spoilt", console)
    found = run_evaluation(entries, data, flags or DataFlags(), settings, out, console)
    print_table(found.rows, console)
    wrong = list(disorder(found))
    for line in wrong:
        console.print(line, soft_wrap=True, highlight=False)
    if wrong:
        sys.exit(1)
    console.print(f"Every column of {len(COLUMNS)} that was measured ranks as a person would.", soft_wrap=True)


def write_pictures(
    data: Path, flags: DataFlags, settings: EvaluationSettings, out: Path, console: Console
) -> list[Entry]:
    """The photographs of a dataset, spoilt in every way, a folder each."""
    reference, _ = open_data([], data, flags, settings, console)
    layouts = reference.layouts
    if reference.kind != "labels" or not reference.photographs:
        raise DataError(f"{data} has no label maps with photographs.")
    half = len(layouts) // 2
    for number in track(range(len(layouts)), "spoiling", len(layouts), console):
        item = layouts[number]
        other = layouts[(number + half) % len(layouts)]
        photograph = to_uint8(item["image"])
        assert layouts.space is not None
        shown = {
            **{name: blurred(photograph, share) for name, share in BLURS.items()},
            OTHERS: to_uint8(other["image"]),
            COLOURS: colourise(item["label"].numpy(), layouts.space),
        }
        for name, picture in shown.items():
            path = out / name / f"{item['name']}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return [Entry(name, out / name) for name in (*BLURS, OTHERS, COLOURS)]


def blurred(photograph: Picture, share: float) -> Picture:
    sigma = share * photograph.shape[1]
    return np.asarray(
        np.rint(ndimage.gaussian_filter(photograph.astype(np.float64), (sigma, sigma, 0))), dtype=np.uint8
    )


def disorder(found: Evaluation) -> Iterator[str]:
    """What a column ranks otherwise than a person would, in words."""
    oracle = found.rows[0]
    rows = {row.name: row for row in found.rows}
    for name in oracle.numbers:
        if COLUMNS[name].better is None:
            continue
        better = [row.name for row in found.rows if goodness(row, name) > goodness(oracle, name) + ROUNDING]
        if better:
            yield f"{COLUMNS[name].title}: {', '.join(better)} before the real photographs"
    yield from ordered(rows, (*SEEN, *SETS, *OWN), (oracle.name, *BLURS), strict=True)
    yield from ordered(rows, NEAR, (oracle.name, *BLURS), strict=False)
    yield from ordered(
        rows, SEEN, ("blur 1", OTHERS), strict=True
    )  # in stronger blur less may be left than scenes share
    yield from ordered(rows, OWN, ("blur 3", OTHERS), strict=True)
    yield from ordered(rows, (*SETS, *OWN), ("blur 3", COLOURS), strict=True)
    yield from ordered(rows, SEEN, (oracle.name, COLOURS), strict=True)
    yield from ordered(rows, SETS, (OTHERS, "blur 1"), strict=True)


def ordered(rows: dict[str, Row], columns: tuple[str, ...], names: tuple[str, ...], strict: bool) -> Iterator[str]:
    """The columns that do not put these rows into this order, the best first."""
    for column in columns:
        if not all(column in rows[name].numbers for name in names):
            continue
        values = [goodness(rows[name], column) for name in names]
        steps = [before - after for before, after in pairwise(values)]
        if min(steps) < -ROUNDING or (strict and min(steps) <= ROUNDING):
            listed = ", ".join(f"{name} {rows[name].numbers[column].value:.4f}" for name in names)
            yield f"{COLUMNS[column].title}: {listed}"


def goodness(row: Row, column: str) -> float:
    """The value, with a sign that makes more better."""
    return row.numbers[column].value * (1 if COLUMNS[column].better == "higher" else -1)


if __name__ == "__main__":
    try:
        app()
    except GessoError as error:
        sys.exit(f"measuring_stick: {error}")
