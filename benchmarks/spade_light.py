"""SPADE's style image on toy scenes, where the light of each photograph is known: does the light come along, and only gradually?

    python benchmarks/spade_light.py MODEL SCENES OUT.png [--split val] [--pairs 60] [--steps 9]

MODEL has a style encoder. Each pair gives one layout the style of a photograph at dusk (the toy world's darkest light, lamps lit)
and of one by day, both of other scenes. Printed: the share of pairs where the one at dusk comes out darker, and how much of the
difference between the style images comes along. Then the styles are interpolated in equal steps: the distance of each photograph
to the first one, in features of pictures, should grow from step to step.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from methods import items
from rich.console import Console
from style_measures import feature_distance

from gesso import load
from gesso.cli.common import DataFlags, open_listing, track
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import Preprocessing
from gesso.pictures import layout_picture, sheet, to_uint8
from gesso.synthesis.style import Style


def main() -> None:
    """Read the command line, measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=9)
    asked = parser.parse_args()
    console, synth = Console(), load(asked.model, "cpu")
    listing = open_listing(asked.scenes, DataFlags(), asked.split)
    own = Preprocessing.model_validate(synth.info.preprocessing)
    scenes = list(items(SemanticDataset(listing.samples, listing.space, own, training=False, instances=True)))
    times = [time_of(asked.scenes / asked.split, scene["name"]) for scene in scenes]
    dark = [n for n, time in enumerate(times) if time == "dusk"]
    light = [n for n, time in enumerate(times) if time != "dusk"]
    random = np.random.default_rng(0)
    photographs = [to_uint8(scene["image"]) for scene in scenes]
    right, moved, wanted, rows = 0, 0.0, 0.0, []
    for number in track(range(asked.pairs), "pairs", asked.pairs, console):
        night, day, place = random.choice(dark), random.choice(light), random.integers(len(scenes))
        label, instance = scenes[place]["label"].numpy(), scenes[place]["instance"].numpy()
        made = [synth(label, instance, style=synth.encode(photographs[n])) for n in (night, day)]
        right += made[0].mean() < made[1].mean()
        moved += made[1].mean() - made[0].mean()
        wanted += photographs[day].mean() - photographs[night].mean()
        if number < 6:
            rows.append(
                [layout_picture(scenes[place], listing.space), photographs[night], made[0], photographs[day], made[1]]
            )
    sheet(rows, ["layout", "style at dusk", "wearing it", "style by day", "wearing it"]).save(asked.out)
    print(f"darker with the style at dusk: {right} of {asked.pairs} ({right / asked.pairs:.0%})")
    print(f"difference of brightness: {moved / asked.pairs:.1f} of 255; of the style images {wanted / asked.pairs:.1f}")

    (measure, distance), grown, strips = feature_distance(None, torch.device("cpu")), 0, []
    print(measure)
    for number in range(6):
        place = (7 * number) % len(scenes)
        label, instance = scenes[place]["label"].numpy(), scenes[place]["instance"].numpy()
        ends = [np.array(synth.encode(photographs[n]).z) for n in (light[number], dark[number])]
        shares = np.linspace(0, 1, asked.steps)
        series = [
            synth(label, instance, style=Style(z=tuple((ends[0] * (1 - share) + ends[1] * share).tolist())))
            for share in shares
        ]
        distances = [distance(picture, series[0]) for picture in series[1:]]
        grown += all(a < b for a, b in pairwise(distances))
        print("distances to the start:", " ".join(f"{value:.4f}" for value in distances))
        strips.append(series[:: max(1, asked.steps // 4)])
    sheet(strips).save(asked.out.with_name(f"{asked.out.stem}-interpolated.png"))
    print(f"growing at every step: {grown} of 6 series")


def time_of(folder: Path, name: str) -> str:
    """Time of day of a toy scene."""
    return str(json.loads((folder / "scenes" / f"{Path(name).stem}.json").read_text())["time_of_day"])


if __name__ == "__main__":
    with torch.inference_mode():
        main()
