"""Does the measuring stick measure? Pictures whose order anybody can see, and whether every column puts them into it.

Real photographs against themselves, blurred at three strengths, photographs of other scenes, and layouts in the colours of
their classes are measured like the pictures of models. Exit code 1 where a column ranks them as nobody would, beyond its
intervals, or does not tell the photographs from what is spoilt most; neighbours whose intervals overlap are listed.

Example: python benchmarks/measuring_stick.py DATASET OUT --size 128x256 --segmenter segmenter.safetensors
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
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
    wrong, unsure = disorder(found)
    tell("Not told apart, as the intervals overlap:", unsure, console)
    tell("Ranked as nobody would:", wrong, console)
    if wrong:
        sys.exit(1)
    measured = len(ranked(found.rows[0]))
    besides = f"; {len(unsure)} pairs of neighbours it does not tell apart" if unsure else ""
    console.print(f"All {measured} columns that were measured rank as a person would{besides}.", soft_wrap=True)


def tell(heading: str, lines: list[str], console: Console) -> None:
    if lines:
        console.print(heading, *lines, sep="\n  ", soft_wrap=True, highlight=False, markup=False)


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


def disorder(found: Evaluation) -> tuple[list[str], list[str]]:
    """What columns rank otherwise than a person would, and what they do not tell apart, each in words."""
    oracle = found.rows[0]
    rows = {row.name: row for row in found.rows}
    wrong, unsure = [], []
    for name in ranked(oracle):
        for row in found.rows[1:]:
            if name in row.numbers and beyond(row, oracle, name):
                wrong.append(f"{COLUMNS[name].title}: {row.name} before the real photographs")
    for columns, names, strict in orders(oracle.name):
        for column in columns:
            if all(column in rows[name].numbers for name in names):
                turned, alike = steps([rows[name] for name in names], column, strict)
                wrong += turned
                unsure += alike
    return wrong, unsure


def orders(oracle: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], bool]]:
    """Columns, the rows that they must put into this order, the best first, and whether the last must be told from the first.

    Clear colours may be read as well as photographs, and a few other photographs may lie as far off as slightly blurred ones.
    """
    yield (*SEEN, *SETS, *OWN), (oracle, *BLURS), True
    yield NEAR, (oracle, *BLURS), False
    yield SEEN, ("blur 1", OTHERS), True  # in stronger blur less may be left than scenes share
    yield OWN, ("blur 3", OTHERS), True
    yield (*SETS, *OWN), ("blur 3", COLOURS), True
    yield SEEN, (oracle, COLOURS), False
    yield SETS, (OTHERS, "blur 1"), False


def steps(rows: list[Row], column: str, strict: bool) -> tuple[list[str], list[str]]:
    """Of rows, the best first: pairs in the wrong order beyond their intervals, and neighbours whose intervals overlap.

    Where it is `strict`, ends whose intervals overlap are wrong too: what cannot tell these apart measures nothing.
    """
    wrong, alike, title = [], [], COLUMNS[column].title
    for first, second in combinations(rows, 2):
        ends = (first.name, second.name) == (rows[0].name, rows[-1].name)
        if beyond(second, first, column):
            wrong.append(f"{title}: {said(second, column)} before {said(first, column)}")
        elif strict and ends and not beyond(first, second, column):
            wrong.append(f"{title}: {said(first, column)} is not told from {said(second, column)}")
    for first, second in pairwise(rows):
        if not beyond(first, second, column) and not beyond(second, first, column):
            alike.append(f"{title}: {said(first, column)} and {said(second, column)}")
    return wrong, alike


def beyond(first: Row, second: Row, column: str) -> bool:
    """Whether a row is better than another by more than their intervals; without these by more than rounding."""
    sign = 1 if COLUMNS[column].better == "higher" else -1
    worst = min(sign * end for end in ends_of(first, column))
    best = max(sign * end for end in ends_of(second, column))
    return worst > best + ROUNDING


def ends_of(row: Row, column: str) -> tuple[float, float]:
    """The interval of a number, or the number alone."""
    number = row.numbers[column]
    return (number.value, number.value) if number.low is None or number.high is None else (number.low, number.high)


def said(row: Row, column: str) -> str:
    low, high = ends_of(row, column)
    return f"{row.name} {row.numbers[column].value:.4f} ({low:.4f} to {high:.4f})"


def ranked(oracle: Row) -> list[str]:
    """The columns that were measured and in which one way is better."""
    return [name for name in oracle.numbers if COLUMNS[name].better]


if __name__ == "__main__":
    try:
        app()
    except GessoError as error:
        sys.exit(f"measuring_stick: {error}")
