"""What each phase of a coarse-to-fine training added: photographs side by side, details at full size, losses over all phases.

    python benchmarks/coarse_to_fine.py RUN DATA OUT.png [--split val] [--count 3] [--crop 160]

RUN is a run folder with `phases/`. Each row is a held-out layout: G1 enlarged by plain bicubic interpolation, what every later
phase makes of it, and the real photograph; below it, the same part of each at full size. OUT-losses.png shows the losses with the
borders of the phases.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gesso import load
from gesso.cli.common import DataFlags, open_listing
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import Preprocessing
from gesso.pictures import Picture, sheet, to_uint8

COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14))
SHOWN = ("G_gan", "G_features", "G_l1", "D_real", "D_fake")


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--crop", type=int, default=160, help="pixels; side of the detail")
    asked = parser.parse_args()
    files = sorted((asked.run / "phases").glob("*.safetensors"))
    if (newest := asked.run / "model.safetensors").exists() and len(files) < 3:
        files.append(newest)
    listing = open_listing(asked.data, DataFlags(), asked.split)
    numbers = np.linspace(0, len(listing.samples) - 1, asked.count).round().astype(int)
    columns = [photographs(file, listing, numbers) for file in files]
    rows: list[list[Picture]] = []
    for place in range(len(numbers)):
        large = [grown(column[place]["fake"], columns[-1][place]["fake"].shape) for column in columns]
        row = [*large, columns[-1][place]["real"]]
        rows += [row, [detail(picture, columns[-1][place]["label"], asked.crop) for picture in row]]
    titles = [f"{file.stem}{' enlarged' if n == 0 else ''}" for n, file in enumerate(files)]
    sheet(rows, [*titles, "real"], widest=1024).save(asked.out)
    losses(asked.run / "log.jsonl").save(asked.out.with_name(f"{asked.out.stem}-losses.png"))
    for title, column in zip(titles, columns, strict=True):
        gaps = [
            np.abs(grown(c["fake"], c["real_full"].shape).astype(float) - c["real_full"]).mean() / 255 for c in column
        ]
        print(f"{title}: mean absolute difference to the real photographs at full size {np.mean(gaps):.4f}")


def photographs(file: Path, listing: Any, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """What one model makes of the layouts at its own size; with an encoder, in the style of the real photographs."""
    synth = load(file, "cpu")
    own = Preprocessing.model_validate(synth.info.preprocessing)
    samples = [listing.samples[n] for n in numbers]
    items = SemanticDataset(samples, listing.space, own, training=False)
    full = SemanticDataset(samples, listing.space, own.model_copy(update={"shrink": 1}), training=False)
    found = []
    for item, whole in zip(items, full, strict=True):
        label, instance = item["label"].numpy(), item["instance"].numpy()
        real = to_uint8(item["image"])
        style = synth.encode(real, label, instance) if synth.info.style else None
        fake = synth(label, instance, style=style)
        entry = {"fake": fake, "real": real, "real_full": to_uint8(whole["image"]), "label": label}
        found.append(entry)
    return found


def grown(picture: Picture, shape: tuple[int, ...]) -> Picture:
    """Enlarged by bicubic interpolation, where it is smaller."""
    if picture.shape == shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def detail(picture: Picture, label: np.ndarray, side: int) -> Picture:
    """The part with most borders between classes, at full size."""
    edges = (label[:-1, :-1] != label[1:, :-1]) | (label[:-1, :-1] != label[:-1, 1:])
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = min(side, *edges.shape)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(total.argmax(), total.shape)
    return picture[top : top + side, left : left + side]


def losses(log: Path) -> Image.Image:
    """Curves of all losses over all steps, each from 0 to its largest value; borders of phases where epochs begin anew."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [line for line in lines if "G_gan" in line]
    wide, high = 1000, 180
    page = Image.new("RGB", (wide + 20, (high + 24) * len(SHOWN)), (250, 250, 250))
    draw = ImageDraw.Draw(page)
    last = lines[-1]["step"]
    borders = [b["step"] for a, b in pairwise(lines) if b["epoch"] < a["epoch"]]
    for number, (name, colour) in enumerate(zip(SHOWN, COLOURS, strict=True)):
        points = [(line["step"], line[name]) for line in lines if name in line]
        if not points:
            continue
        base, top = (number + 1) * (high + 24) - 4, max(v for _, v in points)
        draw.text((10, base - high - 16), f"{name}, up to {top:.2f}; last {points[-1][1]:.2f}", fill=colour)
        for border in borders:
            x = 10 + wide * border / last
            draw.line([(x, base - high), (x, base)], fill=(160, 160, 160))
        draw.line([(10 + wide * s / last, base - high * v / top) for s, v in points], fill=colour, width=1)
    return page


if __name__ == "__main__":
    main()
